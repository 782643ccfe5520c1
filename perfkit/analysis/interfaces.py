"""The network interfaces that a monitor watched, by the names of its frame's columns."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pandas as pd

TUNNELS = ("tun", "tap")
_RATE = re.compile(r"net_(?P<nic>.+)_(?P<way>recv|send)_bps")


@dataclass(frozen=True, slots=True)
class RateColumn:
    """A column of rates: which interface's, and `recv` or `send`.

    Attributes:
        is_tunnel: The interface is a tunnel's device: its traffic is in another interface's as well.
    """

    name: str
    nic: str
    way: str
    is_tunnel: bool


def rate_columns(monitor: pd.DataFrame, device: str = "") -> list[RateColumn]:
    """Columns of rates in which there is any, in their order.

    Args:
        device: The VPN's, where it is known; a name that begins like a tunnel's is one anyway.

    In a frame of several hosts each has the columns of all; one host's rows fill only its own.
    """
    filled = monitor.columns[monitor.notna().any().to_numpy()]
    found = [_RATE.fullmatch(str(name)) for name in filled]
    return [
        RateColumn(m[0], m["nic"], m["way"], m["nic"] == device or m["nic"].startswith(TUNNELS))
        for m in found
        if m
    ]

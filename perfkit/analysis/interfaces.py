"""The network interfaces that a monitor watched, by the names of its frame's columns."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pandas as pd

TUNNELS = ("tun", "tap")
_RATE = re.compile(r"net_(?P<nic>.+)_(?P<way>recv|send)_bps")


@dataclass(frozen=True, slots=True)
class RateColumn:
    """A column of rates: which interface's, and `recv` or `send`."""

    name: str
    nic: str
    way: str

    @property
    def is_tunnel(self) -> bool:
        """The interface is a tunnel's device: its traffic is in another interface's as well."""
        return self.nic.startswith(TUNNELS)


def rate_columns(monitor: pd.DataFrame) -> list[RateColumn]:
    """Columns of rates in which there is any, in their order.

    In a frame of several hosts each has the columns of all; one host's rows fill only its own.
    """
    filled = monitor.columns[monitor.notna().any().to_numpy()]
    found = [_RATE.fullmatch(str(name)) for name in filled]
    return [RateColumn(match[0], match["nic"], match["way"]) for match in found if match]

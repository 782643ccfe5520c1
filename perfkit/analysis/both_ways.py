"""Traffic both ways at once: what clients sent and what they received, beside each other, never added.

A sum of both would be neither: a link carries each direction by itself, and a tunnel may be slower in
one of them. So such a test has no `goodput_bps` but `goodput_up_bps` (clients to server) and
`goodput_down_bps` (server to clients), each by the end that received it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfkit.analysis import rates


class Way(StrEnum):
    """A direction of traffic; its value is what stands in the names of its figures."""

    ANY = ""  # of a test that has only one, whichever it is
    UP = "up"
    DOWN = "down"


Ways = tuple[Way, ...]
ONE: Ways = (Way.ANY,)
BOTH: Ways = (Way.UP, Way.DOWN)
GOODPUT = ("goodput_bps", "goodput_up_bps", "goodput_down_bps")
METHOD = (
    "Up: clients to server, by the server's log; down: server to clients, by their logs; each over the "
    "clients that count, in the steady window. VPN CPU is per Gbit of both directions, which is the work "
    "that it did; the NIC's rate is that of its busier direction"
)


def name(figure: str, way: Way) -> str:
    """`goodput_up_bps` of `goodput_bps`, `jain_up` of `jain`."""
    stem = figure.removesuffix("_bps")
    return f"{stem}_{way}{figure.removeprefix(stem)}" if way else figure


def figures(by_way: Mapping[Way, NDArray[np.float64]]) -> dict[str, float]:
    """Total, median client and Jain's index of each direction.

    Args:
        by_way: Goodput in bit/s of each client that counts; NaN where nobody says what arrived.
    """
    found: dict[str, float] = {}
    for way, values in by_way.items():
        if len(values):
            found[name("goodput_bps", way)] = float(values.sum())
            found[name("client_median_bps", way)] = float(np.median(values))
            found[name("jain", way)] = rates.jain_index(values)
    return found


def why_one_way(
    placed: pd.DataFrame, server: str, clients: Sequence[str], why_not_known: str = ""
) -> dict[str, str]:
    """Clients of which traffic arrived in one direction only, or in none, and which one is missing.

    Only the end that would have received it can say so: without its log nothing is known.

    Args:
        placed: All lines of a slot (`run-traffic`).
        why_not_known: Why the server's logs do not say it of all clients; empty: they do.
    """
    nothing = "nothing arrived at the server"
    if why_not_known:
        nothing = f"whether anything arrived at the server is not known ({why_not_known})"
    arrived, side = rates.receiver_rows(placed, server)
    if side != "receiver":
        return {}
    moved = arrived[(arrived["size_bytes"] > 0).to_numpy()]
    up = moved["up"].to_numpy(dtype=bool)
    by_way = {Way.UP: set(moved["host"][up]), Way.DOWN: set(moved["host"][~up])}
    logs = set(placed["log_host"].astype("str"))
    found = {}
    for client in clients:
        missing = [
            words
            for way, end, words in (
                (Way.UP, server, nothing),
                (Way.DOWN, client, "nothing arrived from the server"),
            )
            if end in logs and client not in by_way[way]
        ]
        if missing:
            found[client] = f"exit status 0, but {' and '.join(missing)}"
    return found

"""How the figures of a run are made: the texts behind its tables, for the page of methods.

A table's caption says what a reader must know beside its figures; these say the rest, once.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from perfkit.analysis.slot_figures import QUANTILES_METHOD
from perfkit.report.document import fill, write_page
from perfkit.report.tables import ReportTable

PAGE = "methods.html"
OVER_CLIENTS = (
    "Goodput in the steady window, receiver side, over the clients that count; a client that moved "
    f"nothing is one of them. s.d. with n - 1, CV = s.d. / mean. {QUANTILES_METHOD}."
)
SERVER_METHOD = (
    "Means over the monitor's whole ticks in the steady window, weighted by their length: ticks that "
    "were missed make the next a longer one, and the s.d. over ticks a smaller one; ratios "
    "against all goodput of the same ticks, failed clients' included. CPU total = 100 - idle - wait, "
    "all cores; cores used = that share of the cores there are. NIC and tunnel: bytes with their "
    "headers, as received, or as sent where the server sends. VPN CPU and cores: CPU seconds of its "
    "process in the window, and per second of it; s/Gbit: CPU seconds over all goodput between the "
    "process's first and last sample in the window."
)
CORES_METHOD = (
    " Busiest core: the one with the highest mean over the window; by tick: the mean of whichever "
    "was busiest in each tick, which a process that moves from core to core does not hide from."
)
ABOUT_TICKS = (
    " NIC, tunnel, CPU and NIC / goodput: over the monitor's whole ticks in that window, goodput of the "
    "same ticks; see Server load."
)
WINDOWS_METHOD = (
    "By the clients' recorded starts and ends: steady from the last start to the first end, outer from "
    "the first start to the last end; latest start: after the planned one. Clients with connect_first connect "
    "before their test, and start when they are to send. Clock bound: half the round "
    "trip in which a host's offset to the controller was measured, the largest; what lies between two "
    "hosts' moments is known within twice that"
)
SENSITIVITY_METHOD = (
    "Each edge of the steady window alone, and both, moved by so many seconds; shown is the largest "
    "absolute change relative to the figure of the window itself. Inwards: only windows in which "
    "every client is active. Any: also windows that take in the start or the end of the test."
)


def write(folder: Path, heading: str, tables: Iterable[ReportTable], now: datetime) -> None:
    """Write the page of methods beside a report: a section a table that has one."""
    made = [table for table in tables if table.method]
    about = f"How each table of the report is made; {now.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    write_page(folder / PAGE, fill("methods", heading=heading, about=about, tables=made))

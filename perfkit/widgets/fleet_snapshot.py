"""What there is to see of a fleet at one moment, as text and as plain HTML.

Text that came from a host goes into the page as text only, without its terminal escapes.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import quote

from perfkit.fleet.inventory import HostRecord
from perfkit.model import HostState
from perfkit.report.document import fill
from perfkit.units import format_duration

_HERE = Path(__file__).parent

# Letter, colour, ink. Okabe and Ito's colours can be told apart by colour-blind people; the letter
# says the same, and a failed host is round as well.
LOOKS: dict[HostState, tuple[str, str, str]] = {
    HostState.REQUESTED: ("·", "transparent", "inherit"),
    HostState.RUNNING: ("r", "#56b4e9", "#000"),
    HostState.REACHABLE: ("R", "#0072b2", "#fff"),
    HostState.CONFIGURED: ("c", "#f0e442", "#000"),
    HostState.ARMED: ("a", "#e69f00", "#000"),
    HostState.DONE: ("d", "#009e73", "#000"),
    HostState.RELEASED: ("-", "transparent", "inherit"),
    HostState.FAILED: ("X", "#d55e00", "#000"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What is to be seen at one moment; `expected_s` is None where nobody knows."""

    stage: str
    note: str
    records: Sequence[HostRecord]
    elapsed_s: float
    expected_s: float | None = None

    @property
    def line(self) -> str:
        """Hosts by state, and the note."""
        counts = {s: sum(r.state is s for r in self.records) for s in HostState}
        parts = [f"{count} {state}" for state, count in counts.items() if count]
        return ", ".join(parts or ["no hosts"]) + (f"; {self.note}" if self.note else "")

    @property
    def time(self) -> str:
        """Elapsed, and expected where it is known."""
        about = f" of about {format_duration(self.expected_s)}" if self.expected_s else ""
        return f"{format_duration(self.elapsed_s)}{about}"

    @property
    def failed(self) -> list[HostRecord]:
        """Hosts that failed."""
        return [record for record in self.records if record.state is HostState.FAILED]


def to_html(now: Shown) -> str:
    """The grid without a widget: cells with titles, counts, and who is in which state."""
    by_state = {s: [r.name for r in now.records if r.state is s] for s in HostState}
    return fill(
        "fleet",
        "perfkit.widgets",
        now=now,
        style=_stylesheet(),
        looks=LOOKS,
        by_state={state: ranges(names) for state, names in by_state.items() if names},
    )


def failed_html(failed: Sequence[HostRecord]) -> str:
    """A table of failed hosts, each with its reason and a link to its log; empty without any.

    A link is relative to the notebook's folder: Jupyter opens what lies below its own.
    """
    addresses = {record.name: quote(os.path.relpath(record.log or ".")) for record in failed}
    return fill("failed", "perfkit.widgets", failed=failed, addresses=addresses) if failed else ""


_NUMBERED = re.compile(r"(.*?)(\d+)")


def ranges(names: Sequence[str]) -> str:
    """Names in short: `server, client-001 to client-040, client-042`."""
    parts = []
    for _, group in itertools.groupby(enumerate(names), key=_run_of):
        run = [name for _, name in group]
        parts.append(run[0] if len(run) == 1 else f"{run[0]} to {run[-1]}")
    return ", ".join(parts)


def _run_of(pair: tuple[int, str]) -> tuple[str, int]:
    """The same for names that follow each other."""
    place, name = pair
    numbered = _NUMBERED.fullmatch(name)
    return (numbered[1], int(numbered[2]) - place) if numbered else (name, -1)


@cache
def _stylesheet() -> str:
    return (_HERE / "fleet_grid.css").read_text(encoding="utf-8")

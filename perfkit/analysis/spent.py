"""What a campaign has cost so far, and what half the width of its intervals would cost.

Read from its journal and manifest alone: the fleet lives from its launch to its release, whether a
block is under way or not, and all of it is paid for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from perfkit.analysis.campaign_cells import finished_blocks
from perfkit.runs import journal
from perfkit.runs.folder import Run
from perfkit.runs.journal import Event
from perfkit.settings.levels import parse_counts
from perfkit.units import format_count, format_duration

HALF_WIDTH = 4  # times the repetitions: the standard error falls with the root of their number


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What an answer has cost.

    Attributes:
        blocks: That were run to their end.
        void: How many of them do not count.
        hosts: Of the fleet, the server among them.
        elapsed_s: From the launch to the release, else to the last thing that happened.
        blocks_s: Of it, in blocks.
        usd_per_h: Of the fleet; 0: free.
    """

    blocks: int
    void: int
    hosts: int
    elapsed_s: float
    blocks_s: float
    usd_per_h: float

    @property
    def host_s(self) -> float:
        """Host-seconds: each host, as long as it lived."""
        return self.hosts * self.elapsed_s

    @property
    def usd(self) -> float:
        """By the prices of the estimate, no bill."""
        return self.usd_per_h * self.elapsed_s / 3600

    @property
    def lines(self) -> tuple[str, ...]:
        """What was used; and what half the width would cost on top."""
        void = f", {self.void} of them void" if self.void else ""
        used = (
            f"{format_count(self.blocks, 'block')}{void}, {format_duration(self.elapsed_s)}, "
            f"{self._hosts_and_money(self.elapsed_s)}"
        )
        if self.blocks == self.void:
            return (used,)
        more_s = (HALF_WIDTH - 1) * self.blocks_s
        more = (HALF_WIDTH - 1) * (self.blocks - self.void)
        half = (
            f"half the width takes {HALF_WIDTH} times the repetitions: about "
            f"{format_count(more, 'block')} more, {format_duration(more_s)}, "
            f"{self._hosts_and_money(more_s)}"
        )
        return used, half

    def _hosts_and_money(self, seconds: float) -> str:
        money = f", {self.usd_per_h * seconds / 3600:.2f} USD" if self.usd_per_h else ""
        return f"{self.hosts * seconds:,.0f} host-seconds{money}"


def spent(run: Run) -> Spent:
    """Read what a campaign has cost so far.

    Raises:
        RunError, JournalError: manifest or journal cannot be read.
    """
    manifest, blocks = run.manifest(), finished_blocks(run)
    return Spent(
        blocks=len(blocks),
        void=sum(bool(block.void) for block in blocks),
        hosts=max(parse_counts(manifest["parameters"]["clients"])) + 1,
        elapsed_s=_elapsed_s(journal.read(run.journal_path).events),
        blocks_s=sum(block.seconds for block in blocks if block.seconds == block.seconds),
        usd_per_h=float(manifest.get("usd_per_h", 0.0)),
    )


def _elapsed_s(events: Sequence[Event]) -> float:
    """From the first launch to the release."""
    begun = [event.t_utc for event in events if event.fields.get("phase") == "launch"]
    if not begun:
        return 0.0
    released = [event.t_utc for event in events if event.kind == "released"]
    return ((released or [events[-1].t_utc])[-1] - begun[0]).total_seconds()

"""What a person sees of a campaign while its blocks are run, and how it is stopped.

Without a notebook: one line a block. The first interrupt only asks: the block under way ends, and the
campaign answers with what is known. The second one is an interrupt like any other.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from types import FrameType, TracebackType
from typing import Any

import click
import numpy as np
import pandas as pd

from perfkit.analysis.answers import frame
from perfkit.campaign.blocks import BlockLog, Claim
from perfkit.runs import campaign_folder
from perfkit.runs.design import Design
from perfkit.runs.folder import Run
from perfkit.units import format_duration


class CampaignView:
    """Lives as long as its block. Interrupts are taken only in the main thread."""

    def __init__(self, cells: pd.DataFrame) -> None:
        """Nothing is shown yet.

        Args:
            cells: The cells frame of the blocks that were run before.
        """
        self._rows: list[Mapping[str, Any]] = [
            {str(name): value for name, value in row.items()} for row in cells.to_dict("records")
        ]
        self.is_stop_asked = False
        self._before: Any = None
        self._is_main = threading.current_thread() is threading.main_thread()

    def __enter__(self) -> CampaignView:
        if self._is_main:
            self._before = signal.signal(signal.SIGINT, self._on_interrupt)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._is_main:
            signal.signal(signal.SIGINT, self._before)

    def _on_interrupt(self, _number: int, _frame: FrameType | None) -> None:
        if self.is_stop_asked:
            raise KeyboardInterrupt
        self.is_stop_asked = True
        self.line("stops when this block is over; a second interrupt ends it at once")

    def note(self, claim: Claim, text: str) -> None:
        """What is going on in the block, about once a second."""

    def line(self, text: str) -> None:
        """Something that happened, now."""
        clock = datetime.now(UTC).strftime("%H:%M:%S")
        click.echo(f"{clock} {text}")

    def show(self, design: Design, log: BlockLog, rows: Sequence[Mapping[str, Any]]) -> None:
        """A block is over: what it came to, what its cells are so far, how long the rest takes.

        Args:
            rows: Of the cells frame, those of this block.
        """
        self._rows += rows
        self.line(block_line(design, log, frame.cells_frame(self._rows)))


def cells_so_far(run: Run) -> pd.DataFrame:
    """The cells frame as it was left, or an empty one."""
    path = campaign_folder.cells_path(run)
    return frame.load(path) if path.exists() else frame.cells_frame([])


def block_line(design: Design, log: BlockLog, cells: pd.DataFrame) -> str:
    """`block 12 of 42: 20 clients base, repetition 2: tunnel-tcp 338 Mbit/s, so far 341, 12 min left`."""
    claim = log.claims[-1]
    fixed = design.repetitions is not None
    left = sum(
        not log.is_over(planned) and planned.clients in log.repetitions.get(r, design.clients)
        for r, of_one in enumerate(design.order, start=1)
        for planned in of_one
    )
    count = f"{len(log.claims)} of {'' if fixed else 'at most '}{len(log.claims) + left}"
    what = f"{claim.clients} clients {claim.variant}, repetition {claim.repetition}"
    done = [c.seconds for c in log.claims if c.end == "done"]
    rest = f", {format_duration(left * float(np.mean(done)))} left" if done and left else ""
    if claim.end == "void":
        return f"block {count}: {what}: VOID, {claim.why}{rest}"
    figures = ", ".join(_figure(cells, claim, test) for test in design.tests)
    return f"block {count}: {what}: {figures}{rest}"


def _figure(cells: pd.DataFrame, claim: Claim, test: str) -> str:
    own = cells[(cells["test"] == test).to_numpy()]
    of_cell = own[
        (
            (own["clients"] == claim.clients)
            & (own["variant"] == claim.variant)
            & (own["void"] == "")
        ).to_numpy()
    ]
    now = of_cell.loc[(of_cell["block"] == claim.block).to_numpy(), "goodput_bps"]
    if now.empty or not np.isfinite(now.iloc[0]):
        return f"{test} without a figure"
    mean = float(np.exp(np.log(of_cell["goodput_bps"].dropna().to_numpy(dtype=float)).mean()))
    so_far = f", so far {mean / 1e6:.0f}" if len(of_cell) > 1 else ""
    return f"{test} {float(now.iloc[0]) / 1e6:.0f} Mbit/s{so_far}"

"""What a person sees of a campaign while its blocks are run, and how it is stopped.

Without a notebook: one line a block. In one: a grid of cells by repetitions, filled as they come.
The first interrupt, like the button, only asks: the block under way ends, and the campaign answers
with what is known. A second interrupt ends it at once.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from time import monotonic
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from perfkit.analysis.answers import frame
from perfkit.campaign.blocks import BlockLog, Claim
from perfkit.campaign.campaign_progress import block_line, grid, headline_column
from perfkit.campaign.session import Session
from perfkit.model import NetworkPath
from perfkit.runs import campaign_folder
from perfkit.runs.design import Design
from perfkit.widgets.fleet_snapshot import Shown
from perfkit.widgets.fleet_table import is_interactive, place_given

if TYPE_CHECKING:
    from perfkit.widgets.campaign_grid import CampaignGrid

STOPS = "stops when this block is over; a second interrupt ends it at once"


class CampaignView:
    """Shows a campaign for as long as its block lasts. Interrupts are taken in the main thread only.

    Attributes:
        is_stop_asked: No block is to be begun any more.
    """

    def __init__(self, session: Session, design: Design) -> None:
        path = campaign_folder.cells_path(session.run)
        before = frame.load(path) if path.exists() else frame.cells_frame([])
        self._rows: list[Mapping[str, Any]] = [*frame.to_records(before)]
        tunnel = [t.name for t in session.settings.tests if t.path is NetworkPath.TUNNEL]
        self._test = (tunnel or list(design.tests))[0]
        self._session, self._design, self._log = session, design, BlockLog()
        self._started = monotonic()
        self.is_stop_asked = self._is_stop_said = False
        self._before: Any = None
        self._is_main = threading.current_thread() is threading.main_thread()
        self._grid: CampaignGrid | None = None

    def __enter__(self) -> CampaignView:
        if is_interactive() and place_given() is None:
            from perfkit.widgets.campaign_grid import CampaignGrid  # noqa: PLC0415 -- loads ipywidgets

            self._grid = CampaignGrid(self.ask_stop)
        if self._is_main:
            self._before = signal.signal(signal.SIGINT, self._on_interrupt)
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_main:  # None: one that Python did not set
            signal.signal(signal.SIGINT, signal.SIG_DFL if self._before is None else self._before)
        if self._grid is not None:
            self._grid.close()

    def ask_stop(self) -> None:
        """Have the campaign end with the block under way; from any thread."""
        self.is_stop_asked = True

    def _on_interrupt(self, _number: int, _frame: FrameType | None) -> None:
        if self.is_stop_asked:
            raise KeyboardInterrupt
        self.ask_stop()  # said by `note`: nothing may be printed from here

    def note(self, claim: Claim, text: str) -> None:
        """What is going on in the block, about once a second."""
        if self.is_stop_asked and not self._is_stop_said:
            self._is_stop_said = True
            self.line(STOPS)
        if self._grid is not None:
            self._draw(f"block {claim.block}, {claim.clients} clients {claim.variant}: {text}")

    def line(self, text: str) -> None:
        """Something that happened, now."""
        place = place_given()
        if self._grid is not None:
            self._draw(text)
        elif place is not None and place.screen is not None:  # in the background
            hosts = self._session.inventory.records()
            elapsed_s = monotonic() - self._started
            place.screen.show(Shown(stage="measure", note=text, records=hosts, elapsed_s=elapsed_s))
        else:
            click.echo(f"{datetime.now(UTC):%H:%M:%S} {text}")

    def begin(self, log: BlockLog) -> None:
        """A block was claimed."""
        self._log = log

    def show(self, log: BlockLog, rows: Sequence[Mapping[str, Any]]) -> None:
        """A block is over: what it came to, what its cells are so far, how long the rest takes.

        Args:
            rows: Of the cells frame, those of this block.
        """
        self._log = log
        self._rows += rows
        self.line(block_line(self._design, log, frame.cells_frame(self._rows)))

    def _draw(self, note: str) -> None:
        if self._grid is not None:
            cells = frame.cells_frame(self._rows)
            column = headline_column(cells, self._test)
            what = column.label if self._design.capacity is None else "capacity, (trials)"
            head = f"{self._session.run.id}: {self._test}, {what}"
            self._grid.show(head, note, grid(self._design, self._log, cells, self._test))

"""The windows of a campaign: its blocks under one another, one at a time opened in the picker.

    picker = open_picker(run)     a run or a block: `SegmentPicker`; a campaign: `BlockPicker`
    picker                        the last expression of a cell
    picker.skip(3)                the first 3 s of every tunnel test, a rule that is kept
    picker.open(12)               the twelfth block, to drag its windows

Where nobody watches, the picture of all blocks is shown and nothing is chosen.
"""

from __future__ import annotations

import base64
from typing import Any

import click
from IPython.display import display

from perfkit.analysis import campaign_cells, window_rules
from perfkit.analysis.campaign_cells import BlockRecord
from perfkit.errors import RunError, did_you_mean
from perfkit.report.block_plots import draw_blocks
from perfkit.runs import campaign_folder
from perfkit.runs.folder import Run
from perfkit.units import format_count
from perfkit.widgets.fleet_table import is_interactive
from perfkit.widgets.segment_picker import SegmentPicker

_NONE = "open a block …"


def open_picker(run: Run) -> SegmentPicker | BlockPicker:
    """What shows the windows of a run, of a block, or of all blocks of a campaign.

    Raises:
        RunError: it measured nothing. SegmentError: a segments.json is damaged.
    """
    return BlockPicker(run) if campaign_folder.is_campaign(run) else SegmentPicker(run)


def _words(record: BlockRecord) -> str:
    return f"block {record.block}: {format_count(record.clients, 'client')}, {record.variant}"


class BlockPicker:
    """The blocks of a campaign, to be looked at and opened.

    Args:
        who: Who says a rule; None: as `SegmentPicker`.

    Raises:
        RunError: no block was run to its end.
    """

    def __init__(self, run: Run, *, who: str | None = None) -> None:
        self.run = run
        self._who = who or window_rules.whoever()
        self.is_watched = is_interactive()
        self._records = {record.block: record for record in campaign_cells.finished_blocks(run)}
        if not self._records:
            raise RunError(f"{run.id}: no block was run to its end; there is no window to choose")

    def open(self, block: int) -> SegmentPicker:
        """The picker of one block; what is chosen there is in the next answer.

        Raises:
            RunError: there is no such block.
        """
        if block not in self._records:
            known = [str(number) for number in self._records]
            raise RunError(f"{self.run.id}: no block {block}; {did_you_mean(str(block), known)}")
        return SegmentPicker(Run(self.run.root / self._records[block].folder))

    def skip(self, first_s: float, *, tests: str = "tunnel") -> BlockPicker:
        """Skip the first seconds of all tests of a kind; 0 takes it back.

        Raises:
            SegmentError: no such test, or too little would be left of a window.
        """
        window_rules.skip_first(self.run, first_s, tests=tests, who=self._who)
        return self

    def __str__(self) -> str:
        """A line for each block, after the rules."""
        rules = [str(rule) for rule in window_rules.load(self.run)]
        lines = [
            _words(one) + (f", void: {one.void}" if one.void else "")
            for one in self._records.values()
        ]
        return "\n".join([*rules, *lines])

    def __repr__(self) -> str:
        return f"<BlockPicker {self.run.id}: {len(self._records)} blocks>"

    def _ipython_display_(self) -> None:
        """The picture of all blocks; in front of a person also a list to open one."""
        if not self.is_watched:
            click.echo(str(self))
        rules = [str(rule) for rule in window_rules.load(self.run)]
        plot = draw_blocks(self.run)
        data: dict[str, Any] = {
            "text/plain": "\n".join([repr(self), *rules]),
            "image/png": base64.b64encode(plot.png).decode(),
        }
        display(data, raw=True, metadata={"image/png": {"alt": plot.alt}})
        if self.is_watched:
            display(self._chooser())

    def _chooser(self) -> Any:
        """A list of the blocks; the chosen one's picker opens below it."""
        import ipywidgets as widgets  # type: ignore[import-untyped]  # noqa: PLC0415 -- loads slowly

        choices = [(_NONE, None)] + [(_words(one), one.block) for one in self._records.values()]
        chooser, below = widgets.Dropdown(options=choices), widgets.Output()

        def show(change: dict[str, Any]) -> None:
            below.clear_output()
            if change["new"] is not None:
                with below:
                    display(self.open(change["new"]))

        chooser.observe(show, names="value")
        return widgets.VBox([chooser, below])

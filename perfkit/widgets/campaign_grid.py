"""A campaign in a notebook: cells by repetitions, filled as they come, and a button that stops it.

The table is plain HTML that is replaced in place, so it is still there when the notebook is opened
again; only the button is a widget.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets  # type: ignore[import-untyped] # ships no types
from IPython.display import DisplayHandle

from perfkit.report.document import fill
from perfkit.widgets.fleet_grid import hear_beside_a_cell


class CampaignGrid:
    """The place in a notebook's output; made in the cell's own thread."""

    def __init__(self, on_stop: Callable[[], None]) -> None:
        self._button = ipywidgets.Button(
            description="Stop after this block",
            tooltip="The campaign answers with what is known",
            layout={"width": "auto"},
        )
        hear_beside_a_cell(self._button.comm)
        self._on_stop = on_stop
        self._button.on_click(self._clicked)
        self._stop_place, self._place = DisplayHandle(), DisplayHandle()
        self._stop_place.display(self._button)
        self._place.display({"text/html": "", "text/plain": ""}, raw=True)

    def _clicked(self, button: Any) -> None:
        button.disabled, button.description = True, "Stops after this block"
        self._on_stop()

    def show(self, head: str, note: str, rows: Sequence[Any]) -> None:
        """Bring the table up to date.

        Args:
            rows: Each with `clients`, `variant`, `cells` (a text a repetition) and `so_far`.
        """
        html = fill(
            "campaign",
            "perfkit.widgets",
            head=head,
            note=note,
            rows=rows,
            variants=len({row.variant for row in rows}) > 1,
            repetitions=max((len(row.cells) for row in rows), default=0),
        )
        self._place.update({"text/html": html, "text/plain": f"{head} {note}"}, raw=True)

    def close(self) -> None:
        """Leave the table; there is nothing to stop any more."""
        self._stop_place.update({"text/html": "", "text/plain": ""}, raw=True)
        self._button.close()

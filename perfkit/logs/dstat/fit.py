"""Cells to columns, for a row that may have other cells than the head has columns."""

from __future__ import annotations

from functools import cache

_WIDEST = 200  # cells, so that a damaged head cannot make the search deep


class Fitter:
    """Gives a row's cells to the columns.

    pcp-dstat writes one empty cell for a group that had no figures, whatever the group's width.
    Which groups those are follows from where the empty cells are, once for each such pattern.
    """

    def __init__(self, spans: tuple[int, ...], *, absent_groups: bool) -> None:
        self._spans, self._absent_groups = spans, absent_groups
        self._width = sum(spans)
        self._known: dict[tuple[bool, ...], list[int] | None] = {}

    def fit(self, cells: list[bytes]) -> list[bytes] | None:
        """As many cells as columns; None when there is no one way to that."""
        width = self._width
        while len(cells) > width and not cells[-1].strip():
            cells.pop()
        if len(cells) == width:
            return cells
        if len(cells) > width or not self._absent_groups:
            return None
        pattern = tuple(not cell.strip() for cell in cells)
        if pattern not in self._known:
            self._known[pattern] = _places(pattern, self._spans)
        places = self._known[pattern]
        return None if places is None else [b"" if p < 0 else cells[p] for p in places]


def _places(empty: tuple[bool, ...], spans: tuple[int, ...]) -> list[int] | None:
    """For each column the cell it has, or -1; None when there is no way or more than one.

    Groups are read as filled or empty as a whole if that is possible. Ways that differ only in
    which empty cell is whose are one: the columns are empty either way.
    """
    if len(empty) > _WIDEST:
        return None
    for mixed in (False, True):
        ways = _ways(empty, spans, mixed=mixed)
        if ways:
            return ways[0] if ways[0] == ways[1] else None
    return None


def _ways(empty: tuple[bool, ...], spans: tuple[int, ...], *, mixed: bool) -> list[list[int]]:
    """The first and the last way to give cells to groups; none when there is none.

    Args:
        mixed: A group may have figures and empty cells beside each other.
    """

    def is_full(span: int, cell: int) -> bool:
        own = empty[cell : cell + spans[span]]
        whole = len(own) == spans[span] and (mixed or all(own) or not any(own))
        return whole and fits(span + 1, cell + spans[span])

    def is_absent(span: int, cell: int) -> bool:
        return empty[cell] and fits(span + 1, cell + 1)

    @cache
    def fits(span: int, cell: int) -> bool:
        if span == len(spans) or cell >= len(empty):
            return span == len(spans) and cell == len(empty)
        return is_full(span, cell) or is_absent(span, cell)

    def way(*, full_first: bool) -> list[int]:
        places, cell = list[int](), 0
        for span, columns in enumerate(spans):
            if is_full(span, cell) and (full_first or not is_absent(span, cell)):
                places += [-1 if empty[c] else c for c in range(cell, cell + columns)]
                cell += columns
            else:
                places += [-1] * columns
                cell += 1
        return places

    return [way(full_first=True), way(full_first=False)] if fits(0, 0) else []

"""Where a panel's legend goes: on the line of its title, from the right, never over the title."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

APART_PX = 10  # of a title and its legend


@dataclass(frozen=True, slots=True)
class Entry:
    """One line's place, in pixels across: a sample of the line, and the right end of its name."""

    sample_begin: float
    sample_end: float
    name_end: float


@dataclass(frozen=True, slots=True)
class _Spacing:
    """How long a sample is, how far it is from its name, and that from the next entry."""

    sample_px: int
    gap_px: int
    apart_px: int

    def needed_px(self, names_px: Sequence[float]) -> float:
        each = self.sample_px + self.gap_px + self.apart_px
        return sum(names_px) + len(names_px) * each - self.apart_px


_SPACINGS = (_Spacing(26, 6, 14), _Spacing(18, 4, 9), _Spacing(12, 3, 6))  # as room gets scarce


def place(
    names: Sequence[str], title: str, *, begin_px: float, end_px: float, size_px: float
) -> list[Entry]:
    """Lay out a legend as loosely as it fits between a bold title and the right end.

    Args:
        begin_px, end_px: Of the panel, across; the title stands at its beginning.
        size_px: Of the letters.

    Returns:
        One entry a name; as narrow as can be where nothing fits.
    """
    names_px = [width_px(name, size_px) for name in names]
    room_px = end_px - begin_px - width_px(title, size_px, weight="bold") - APART_PX
    fitting = (spacing for spacing in _SPACINGS if spacing.needed_px(names_px) <= room_px)
    spacing = next(fitting, _SPACINGS[-1])
    entries, right = [], end_px
    for name_px in reversed(names_px):
        sample_end = right - name_px - spacing.gap_px
        entries.append(Entry(sample_end - spacing.sample_px, sample_end, right))
        right = sample_end - spacing.sample_px - spacing.apart_px
    return entries[::-1]


@functools.cache
def width_px(words: str, size_px: float, weight: str = "normal") -> float:
    """How wide words are, in the font that pictures are drawn with."""
    face = FontProperties(size=size_px, weight=weight)
    return float(text_to_path.get_text_width_height_descent(words, face, ismath=False)[0])

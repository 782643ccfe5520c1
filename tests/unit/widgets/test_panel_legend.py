"""Legends of narrow panels: beside the title, in its line, as loose as there is room."""

from __future__ import annotations

from itertools import pairwise

import pytest

from perfkit.widgets.panel_legend import APART_PX, Entry, place, width_px
from perfkit.widgets.timeline_picture import LEAST_WIDTH_PX, LEFT_PX, MOST_WIDTH_PX, RIGHT_PX

PANELS = {
    "NIC (Gbit/s)": ["received", "sent"],
    "Tunnel (Mbit/s)": ["received", "sent"],
    "CPU (%)": ["busy", "system", "user"],
}
SIZE_PX = 11.5


def placed(title: str, picture_px: int) -> list[Entry]:
    end_px = float(picture_px - RIGHT_PX)
    return place(PANELS[title], title, begin_px=LEFT_PX, end_px=end_px, size_px=SIZE_PX)


@pytest.mark.parametrize("title", PANELS)
@pytest.mark.parametrize("picture_px", [LEAST_WIDTH_PX, 360, 960, MOST_WIDTH_PX])
def test_a_legend_does_not_touch_its_title_nor_itself(title: str, picture_px: int) -> None:
    entries = placed(title, picture_px)
    title_end = LEFT_PX + width_px(title, SIZE_PX, weight="bold")
    assert entries[0].sample_begin >= title_end + APART_PX
    assert entries[-1].name_end == picture_px - RIGHT_PX
    for name, entry in zip(PANELS[title], entries, strict=True):
        assert entry.sample_begin + 10 < entry.sample_end
        assert entry.sample_end < entry.name_end - width_px(name, SIZE_PX)
    for left, right in pairwise(entries):
        assert left.name_end < right.sample_begin


def test_where_there_is_room_lines_are_shown_longer() -> None:
    narrow, wide = (placed("CPU (%)", width)[0] for width in (LEAST_WIDTH_PX, 960))
    assert wide.sample_end - wide.sample_begin > narrow.sample_end - narrow.sample_begin


def test_a_panel_of_one_line_has_no_legend() -> None:
    assert place([], "Clients active", begin_px=58, end_px=300, size_px=SIZE_PX) == []

"""What is said of a campaign while it runs."""

from __future__ import annotations

from typing import Any

import pandas as pd
from campaign_lines import Lines, design, next_of

from perfkit.analysis.answers.frame import cells_frame
from perfkit.campaign import blocks
from perfkit.campaign.campaign_progress import block_line, grid

TEST = "direct-tcp"


def cells(*goodput_mbps: float) -> pd.DataFrame:
    """One block with two clients in each repetition."""
    rows: list[dict[str, Any]] = [
        {
            "block": number,
            "folder": f"blocks/{number:04d}",
            "repetition": number,
            "clients": 2,
            "variant": "base",
            "test": TEST,
            "path": "direct",
            "position": 1,
            "goodput_bps": value * 1e6,
        }
        for number, value in enumerate(goodput_mbps, start=1)
    ]
    return cells_frame(rows)


def test_a_block_of_a_test_without_goodput_is_said_by_its_headline_figure() -> None:
    plan, lines = run_of_two("done", "done")
    frame = cells(0.0, 0.0).assign(goodput_bps=float("nan"), kind="connect-storm")
    frame["connect_median_s"] = [0.25, 0.26]
    said = block_line(plan, lines.log, frame)
    assert "direct-tcp 0.26 s (so far 0.255 ±" in said, said
    assert grid(plan, lines.log, frame, TEST)[0].cells == ("0.25", "0.26")


def run_of_two(*ends: str) -> tuple[Any, Lines]:
    """Repetitions of two clients alone, each with one block that ends so."""
    plan, lines = design(clients=(2,)), Lines()
    for repetition, end in enumerate(ends, start=1):
        lines.begin(repetition, 2)
        todo = next_of(plan, lines)
        lines.claim(todo)
        if end == "void":
            lines.add(blocks.VOID, block=todo.number, rule="clock", why="it moved")
        lines.add(blocks.DONE, block=todo.number, seconds=60.0)
    return plan, lines


def test_a_block_is_one_line_with_its_figure_and_what_is_left() -> None:
    plan, lines = run_of_two("done")
    assert block_line(plan, lines.log, cells(338.0)) == (
        "block 1 of 2: 2 clients base, repetition 1: direct-tcp 338 Mbit/s, 1 min 00 s left"
    )


def test_from_the_second_block_of_a_cell_on_the_line_has_its_estimate_with_the_interval() -> None:
    plan, lines = run_of_two("done", "done")
    said = block_line(plan, lines.log, cells(300.0, 303.0))
    assert said.startswith("block 2 of 2: ")
    assert "direct-tcp 303 Mbit/s (so far 301 ±6 %)" in said
    assert "left" not in said


def test_a_void_block_says_by_which_rule() -> None:
    plan, lines = run_of_two("void")
    assert "VOID, clock: it moved" in block_line(plan, lines.log, cells(300.0))


def test_a_block_without_a_figure_says_so() -> None:
    plan, lines = run_of_two("done")
    assert "direct-tcp without a figure" in block_line(plan, lines.log, cells(float("nan")))


def test_the_grid_has_a_row_a_cell_and_a_column_a_repetition() -> None:
    plan, lines = run_of_two("done", "void")
    (row,) = grid(plan, lines.log, cells(300.0), TEST)
    assert (row.clients, row.cells, row.so_far) == (2, ("300", "void"), "300")


def test_the_grid_shows_which_block_is_under_way_and_which_counts_are_not_visited() -> None:
    plan, lines = design(), Lines()
    lines.begin(1, 2)
    lines.claim(next_of(plan, lines))
    one, two = grid(plan, lines.log, cells(), TEST)
    assert one.cells == ("–", "")
    assert two.cells == ("…", "")

"""Memory per client: the slope over client counts, and how sure it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
import pytest

from perfkit.analysis.answers.frame import cells_frame
from perfkit.analysis.answers.memory_slope import MemorySlope, memory_slopes

SIZES = (50, 200, 500)
EMPTY, EACH = 8_000_000.0, 95_000.0  # what is planted, byte


def blocks(
    memory: Callable[[int], float], sizes: Sequence[int] = SIZES, repetitions: int = 4
) -> pd.DataFrame:
    places = [(repetition, size) for repetition in range(1, repetitions + 1) for size in sizes]
    return cells_frame(
        {
            "block": number,
            "repetition": repetition,
            "clients": size,
            "variant": "base",
            "test": "idle",
            "path": "tunnel",
            "position": 1,
            "vpn_rss_bytes": memory(size),
        }
        for number, (repetition, size) in enumerate(places, start=1)
    )


def slope_of(frame: pd.DataFrame) -> MemorySlope:
    (found,) = memory_slopes(frame)
    return found


def test_a_straight_line_is_found_with_what_the_process_needs_by_itself() -> None:
    found = slope_of(blocks(lambda size: EMPTY + EACH * size))
    assert found.per_client_bytes == pytest.approx(EACH)
    assert found.without_bytes == pytest.approx(EMPTY)
    assert (found.sizes, found.blocks) == (SIZES, 12)
    assert found.off_share < 1e-6


@pytest.mark.parametrize("off_the_line", [0.0, 200_000.0], ids=["straight", "sizes off the line"])
def test_the_interval_holds_the_planted_slope_as_often_as_it_says(off_the_line: float) -> None:
    chance, held, campaigns = np.random.default_rng(3), 0, 500
    empty = blocks(lambda _size: 0.0)  # a frame takes longer to make than to fill
    for _ in range(campaigns):
        off: Mapping[int, float] = {size: chance.normal(0, off_the_line) for size in SIZES}
        memory = [EMPTY + EACH * n + off[n] + chance.normal(0, 1e5) for n in empty["clients"]]
        found = slope_of(empty.assign(vpn_rss_bytes=memory))
        held += found.low_bytes <= EACH <= found.high_bytes
    assert 0.92 <= held / campaigns <= 0.98


def test_repetitions_of_a_size_off_the_line_make_nobody_surer() -> None:
    step = {50: 0.0, 200: 3e6, 500: 0.0}
    few, many = (
        slope_of(blocks(lambda n: EMPTY + EACH * n + step[n], repetitions=times))
        for times in (2, 9)
    )
    assert many.high_bytes - many.low_bytes == pytest.approx(few.high_bytes - few.low_bytes)
    assert few.low_bytes < EACH < few.high_bytes
    assert few.off_share > 0.05


def test_two_sizes_are_no_line_and_void_blocks_are_in_none() -> None:
    assert memory_slopes(blocks(lambda size: EACH * size, sizes=(50, 200))) == []
    frame = blocks(lambda size: EMPTY + EACH * size)
    frame.loc[frame["clients"] == 500, "void"] = "missing-clients: one"
    assert memory_slopes(frame) == []


def test_one_block_a_size_has_an_interval_over_sizes() -> None:
    chance = np.random.default_rng(1)
    frame = blocks(lambda size: EMPTY + EACH * size + chance.normal(0, 1e5), repetitions=1)
    found = slope_of(frame)
    assert found.low_bytes < found.per_client_bytes < found.high_bytes

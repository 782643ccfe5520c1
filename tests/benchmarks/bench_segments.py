"""How well windows are told from a server's NIC rate alone, on loads whose truth is known.

    python tests/benchmarks/bench_segments.py           or: pytest tests/benchmarks/bench_segments.py -m benchmark -s
    BENCH_SEEDS=20 BENCH_BLOCKS=9,40 for more

Two methods on the same loads: perfkit's, which knows the plan's number, lengths and gaps; and a
threshold (Otsu on the log rate, gaps up to 10 s closed, blocks under 5 s dropped), which knows
nothing. Both get the same trimming of ramps.

    count    blocks found too many or too few, over all loads
    missed   blocks with no guess that overlaps them by half (and is of that slot, if the method says)
    edges    error of the borders of matched blocks: median, p95, max, seconds
    F1       borders matched one to one within 1, 2, 5 s
    mean     error of the mean rate in the steady window: median, max, over matched blocks
    sure     guesses with confidence over 0.8, and how many of those are off by more than 2 s
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from perfkit.analysis import blocks, propose
from perfkit.analysis.blocks import Block, Grid, Plan
from perfkit.analysis.propose import Guess
from perfkit.model import Window
from tests.known_loads import CASES, Case, Score, make_load

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(900)]

FIRST_SEED = 2000  # the constants in `blocks` were chosen on seeds under 1010
SEEDS = int(os.environ.get("BENCH_SEEDS", "5"))
BLOCKS = [int(word) for word in os.environ.get("BENCH_BLOCKS", "9,40").split(",")]
MERGE_S, LEAST_S = 10.0, 5.0
SURE, WRONG_S = 0.8, 2.0

Windows = Sequence[Window | None]
Method = Callable[[Grid, Sequence[Plan]], Sequence[Guess | Block | None]]


def threshold(grid: Grid, _: Sequence[Plan]) -> list[Block]:
    """Otsu's threshold on the log rate, then hysteresis in time."""
    level = np.nan_to_num(grid.level, nan=3.0)
    counts, borders = np.histogram(level, bins=128)
    middle = (borders[:-1] + borders[1:]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    total = np.cumsum(counts * middle)
    split = (total / np.maximum(below, 1) - (total[-1] - total) / np.maximum(above, 1)) ** 2
    active = level > middle[int(np.argmax(below * above * split))]
    changes = np.flatnonzero(np.diff(np.concatenate([[0], active.astype(int), [0]])))
    found: list[Block] = []
    for first, end in changes.reshape(-1, 2).tolist():
        if found and (first - found[-1].end) * grid.step_s <= MERGE_S:
            found[-1] = Block(found[-1].first, end)
        else:
            found.append(Block(first, end))
    return [b for b in found if (b.end - b.first) * grid.step_s >= LEAST_S]


def windows_of(grid: Grid, found: Guess | Block | None) -> tuple[Window | None, Window | None]:
    if isinstance(found, Block):
        return propose.outer_window(grid, found), propose.steady_window(grid, found)
    return (found.outer, found.steady) if found else (None, None)


def score(method: Method, case: Case, n_blocks: int, seeds: int) -> str:
    """One row of the table."""
    total, elapsed_s, sure, wrong, guesses = Score(), 0.0, 0, 0, 0
    for seed in range(FIRST_SEED, FIRST_SEED + seeds):
        load = make_load(case, blocks=n_blocks, seed=seed)
        began_s = time.perf_counter()
        grid = blocks.to_grid(load.begin_s, load.end_s, load.rate_bps)
        found = method(grid, load.plans)
        elapsed_s += time.perf_counter() - began_s
        outer, steady = (
            zip(*(windows_of(grid, f) for f in found), strict=True) if found else ((), ())
        )
        worst_s = total.add(load, outer, steady)
        trust = [f.confidence if isinstance(f, Guess) else 0.0 for f in found if f]
        guesses += len(trust)
        sure += sum(c > SURE for c in trust)
        wrong += sum(c > SURE and e > WRONG_S for c, e in zip(trust, worst_s, strict=True))
    edges = np.array(total.edge_errors_s or [np.nan])
    means = 100 * np.array(total.mean_errors or [np.nan])
    f1 = " ".join(f"{total.f1(margin_s):4.2f}" for margin_s in total.hits)
    known = f"{sure:3d}/{guesses:<3d} {wrong:3d}" if method is propose.guess else "      -    "
    return (
        f"{sum(total.count_errors):5d} {total.missed:4d}/{total.blocks:<4d}"
        f"{np.median(edges):6.2f} {np.quantile(edges, 0.95):6.2f} {edges.max():6.2f}  {f1}  "
        f"{np.median(means):6.2f} {means.max():6.2f}  {known} {elapsed_s / seeds:7.3f}"
    )


METHODS: dict[str, Method] = {
    "perfkit": propose.guess,
    "Otsu": threshold,
}
HEAD = (
    f"{'case':28} {'method':10} {'count':>5} {'missed':>9} {'edge med':>8} {'p95':>4} {'max s':>7}  "
    f"F1 1s  2s   5s   {'mean %':>6} {'max':>6}  {'sure':>7} wrong  s/load"
)


def table() -> str:
    """All cases, all methods."""
    lines = []
    for n_blocks in BLOCKS:
        lines += ["", f"{n_blocks} blocks of 60 s, {SEEDS} loads a case", HEAD]
        for case in CASES:
            for name, method in METHODS.items():
                lines.append(f"{case.name:28} {name:10} {score(method, case, n_blocks, SEEDS)}")
    return "\n".join(lines)


def test_the_table_of_scores() -> None:
    sys.stdout.write(f"{table()}\n")


if __name__ == "__main__":
    sys.stdout.write(f"{table()}\n")

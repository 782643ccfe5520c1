"""How often a comparison of runs is right, on synthetic runs whose true difference is known.

    python tests/benchmarks/bench_compare.py            or: pytest tests/benchmarks/bench_compare.py -m benchmark -s
    BENCH_PAIRS=200 for more pairs a row

Every client's goodput is drawn anew for every run (15 % apart, and 8 % from second to second), so
runs differ although nothing was changed. Each row compares so many pairs of sides.

    better, open, worse   verdicts on the total goodput of both tests, in percent; open: none, or
                          not enough data
    inside                intervals of that ratio that hold the truth; 95 is meant
    alarmed               pairs with a better or worse on a primary figure; without a true
                          difference these are false, and at most 5 are meant
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

import pytest

from perfkit.analysis.compare import compare
from perfkit.analysis.run_summary import Reduced, reduce_run
from perfkit.analysis.sides import to_sides
from perfkit.testing.runs import make_run

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(3600)]

PAIRS = int(os.environ.get("BENCH_PAIRS", "40"))
RATE_MBPS = 900.0
DURATION_S = 20
# Clients, runs a side, true change of the rate.
ROWS = [
    (clients, runs, change)
    for clients, runs in ((10, 2), (10, 3), (10, 5), (40, 3))
    for change in (0.0, 0.1, -0.1)
]
HEAD = "clients runs  true  better  open worse  inside  alarmed   s"


def side(folder: Path, clients: int, runs: int, rate_mbps: float, seed: int) -> list[Reduced]:
    return [
        reduce_run(
            make_run(
                folder / f"{seed}-{number}",
                clients=clients,
                duration_s=DURATION_S,
                rate_mbps=rate_mbps,
                seed=seed * 100 + number,
            )
        )
        for number in range(runs)
    ]


def score(clients: int, runs: int, change: float, pairs: int) -> str:
    """One row of the table."""
    began_s = time.perf_counter()
    verdicts: list[str] = []
    inside = alarmed = 0
    for pair in range(pairs):
        with tempfile.TemporaryDirectory() as folder:
            a = side(Path(folder), clients, runs, RATE_MBPS, 2 * pair)
            b = side(Path(folder), clients, runs, RATE_MBPS * (1 + change), 2 * pair + 1)
        found = compare(to_sides([a, b])).differences
        alarmed += any(d.is_primary and d.verdict in ("better", "worse") for d in found)
        for d in found:
            if d.figure.key == "goodput_bps":
                verdicts.append(d.verdict)
                low, high = d.contrast.ratios(0.95)
                inside += low <= 1 + change <= high
    shares = [100 * verdicts.count(v) / len(verdicts) for v in ("better", "worse")]
    shares.insert(1, 100 - sum(shares))
    return (
        f"{clients:7d} {runs:4d} {change:+5.0%}  {shares[0]:6.1f} {shares[1]:5.1f} {shares[2]:5.1f} "
        f"{100 * inside / len(verdicts):7.1f} {100 * alarmed / pairs:8.1f} "
        f"{time.perf_counter() - began_s:4.0f}"
    )


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_a_comparison_is_right_as_often_as_it_says(row: tuple[int, int, float]) -> None:
    print(f"\n{HEAD}\n{score(*row, PAIRS)}")


if __name__ == "__main__":
    print(f"{PAIRS} pairs a row, two tests of {DURATION_S} s each\n{HEAD}")
    for one in ROWS:
        print(score(*one, PAIRS), flush=True)
    sys.exit(0)

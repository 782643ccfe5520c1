"""How often the answers of campaigns are right, on campaigns whose truth is known.

    python tests/benchmarks/bench_campaigns.py             or: pytest tests/benchmarks/bench_campaigns.py -m benchmark -s
    ... bench_campaigns.py cells growth                    only these tables
    BENCH_SCALE=0.1 for a tenth of the campaigns a row, BENCH_SEED=7 for another draw

The campaigns come from tests/campaign_truth.py, which shares no code with the analysis. Each
module `truths_<table>` beside this one has `rows(seed, scale)`, which gives one `TruthRow` after
the other. The exit status is 1 if any row was missed.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

from truth_row import TruthRow  # noqa: E402 -- found by the line above

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(7200)]

TABLES = ("cells", "growth", "verdicts", "capacity")
SEED = int(os.environ.get("BENCH_SEED", "12"))
SCALE = float(os.environ.get("BENCH_SCALE", "1"))


def rows(table: str) -> Iterator[TruthRow]:
    """The rows of one table; none while its module is not there."""
    if (Path(__file__).parent / f"truths_{table}.py").is_file():
        yield from importlib.import_module(f"truths_{table}").rows(SEED, SCALE)


def measure(tables: Sequence[str]) -> list[TruthRow]:
    """Print each row as it comes."""
    found = []
    print(f"seed {SEED}, scale {SCALE:g}")
    print(f"{'what':58} {'expected':28} {'got':34} ok       s")
    for table in tables:
        for row in rows(table):
            found.append(row)
            verdict = "yes" if row.ok else "MISSED"
            print(
                f"{row.what:58} {row.expected:28} {row.got:34} {verdict:6} {row.seconds:5.1f}",
                flush=True,
            )
    return found


@pytest.mark.parametrize("table", TABLES)
def test_every_truth_is_met(table: str) -> None:
    missed = [row for row in measure([table]) if not row.ok]
    assert not missed


def main(arguments: Sequence[str]) -> int:
    """Print the table, its minutes and what was missed."""
    unknown = sorted(set(arguments) - set(TABLES))
    if unknown:
        print(f"no table {unknown}; known are: {', '.join(TABLES)}")
        return 2
    begun = time.monotonic()
    found = measure(arguments or TABLES)
    missed = [row for row in found if not row.ok]
    print(
        f"{len(found)} rows, {len(missed)} missed, {(time.monotonic() - begun) / 60:.1f} minutes, seed {SEED}"
    )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

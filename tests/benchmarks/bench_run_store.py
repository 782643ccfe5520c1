"""The store of runs beside plain pandas: 1,000 runs of a year, asked before and after compaction.

    python tests/benchmarks/bench_run_store.py [RUNS] [--png FILE]

Eight synthetic runs are analysed; the others are written from their rows, with another start, version
and goodput, by the store's own writer. The peer reads the CSV of each run's report.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from perfkit.campaign import run_store
from perfkit.report import export, page
from perfkit.runs.folder import Run, write_json
from perfkit.store import parts, picture, query
from perfkit.store.compact import compact
from perfkit.testing.runs import make_run

ANALYSED = 8
VERSIONS = {"2.5.9": 0.88, "2.6.14": 1.0, "2.7.1": 1.12}  # factor on the goodput
SQL = (
    "SELECT vpn_version, date_trunc('month', started) AS month, count(*) AS runs, "
    "median(goodput_bps) / 1e6 AS mbps FROM tunnel GROUP BY ALL ORDER BY ALL"
)
REPEATS = 5


@contextmanager
def timed(what: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    print(f"{what:58} {time.perf_counter() - began:8.3f} s")


def best_of(what: str, call: Callable[[], Any]) -> Any:
    """The least and the median time of several calls."""
    took = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        made = call()
        took.append(time.perf_counter() - began)
    print(f"{what:58} {min(took):8.3f} s   median {np.median(took):.3f} s")
    return made


def make_runs(runs_dir: Path, count: int) -> None:
    chance = np.random.default_rng(1)
    source = runs_dir.parent / "analysed"
    made = []
    for seed in range(ANALYSED):
        run = make_run(source / f"run-{seed}", clients=(5, 10)[seed % 2], duration_s=10, seed=seed)
        report = page.compose(run, with_plots=False)
        made.append((report, run_store.of_run(report)))
    os.fsync = lambda _fd: None  # writing is not what is measured
    first = datetime(2025, 12, 1, tzinfo=UTC)
    for number in range(count):
        report, tables = made[number % ANALYSED]
        started = first + timedelta(days=365 * number / count)
        version = list(VERSIONS)[min(int(3 * number / count + chance.uniform(0, 0.6)), 2)]
        factor = VERSIONS[version] * float(np.exp(chance.normal(0, 0.03)))
        run = Run(runs_dir / f"{started:%Y%m%dT%H%M%SZ}-bench-{number:06x}")
        own = {"run": run.id, "started": started, "vpn_version": version, "copy_of": ""}
        rows = {name: [{**row, **own} for row in rows] for name, rows in tables.items()}
        for row in rows["tests"]:
            row["goodput_bps"] *= factor  # type: ignore[index] # made above as a dict
        run.root.mkdir(parents=True)
        write_json(run.manifest_path, {"format": 1, "run": run.id, "name": "bench"})
        parts.write(run, rows)
        export.write(report.tables["tests"], run.report_dir, ("csv",))


def by_pandas(runs_dir: Path) -> pd.DataFrame:
    """The same by reading each run's CSV; version and start are not in it, so only the median."""
    frames = [
        pd.read_csv(path, comment="#") for path in sorted(runs_dir.glob("*/report/tests.csv"))
    ]
    whole = pd.concat(frames)
    column = next(name for name in whole.columns if "goodput" in name.lower())
    return whole[whole.iloc[:, 0].str.contains("tunnel")][column].median()


def main() -> None:
    words = [word for word in sys.argv[1:] if word.isdecimal()]
    count = int(words[0]) if words else 1000
    with tempfile.TemporaryDirectory() as folder:
        runs_dir = Path(folder) / "runs"
        with timed(f"{count} runs written, {ANALYSED} of them analysed"):
            make_runs(runs_dir, count)
        best_of("pandas: the CSV of each run's report", lambda: by_pandas(runs_dir))
        before = best_of("the store before compaction", lambda: query.ask(SQL, runs_dir).frame)
        with timed("compaction"):
            print(compact(runs_dir))
        after = best_of("the store after compaction", lambda: query.ask(SQL, runs_dir).frame)
        pd.testing.assert_frame_equal(before, after)
        with timed("a second compaction, nothing new"):
            compact(runs_dir)
        print(after.to_string(index=False, max_rows=8))
        if "--png" in sys.argv:
            made = picture.figure_over_time("goodput_bps", runs_dir=str(runs_dir))
            picture.save(made.plot, Path(sys.argv[sys.argv.index("--png") + 1]))


if __name__ == "__main__":
    main()

"""A thousand runs reduced: by this process, and by a Dask cluster of one and of two processes.

    python tests/benchmarks/bench_executor.py               two processors that nobody else uses; minutes
    ... --runs 100                                          fewer of them

The runs are synthetic and small, with two clients and one test, so that what a unit costs by itself
counts most: with larger runs the cluster gains more. All three go over the same folders, one after the
other, in a drawn order; what they find is compared to the last digit. The cluster's processes are up
before the clock starts; connecting to them, and their first import of pandas, are inside. The exit
status is 1 if anything differs.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parents[1])]

from dask_processes import DEADLINE_S, started  # noqa: E402 -- found by the line above

from perfkit.analysis.sides import reduce_sides  # noqa: E402 -- as above
from perfkit.executors import dask_cluster, mapping  # noqa: E402 -- as above
from perfkit.runs.folder import Run  # noqa: E402 -- as above
from perfkit.testing.runs import make_run  # noqa: E402 -- as above

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(3600)]

PROCESSES = (0, 1, 2)  # 0: no cluster, this process alone


def make(folder: Path, number: int) -> Run:
    return make_run(folder / f"{number:04d}", clients=2, tests=("tunnel-tcp",), seed=number)


def make_all(folder: Path, count: int) -> list[Run]:
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), spawn) as pool:
        return list(pool.map(make, [folder] * count, range(count), chunksize=20))


def reduced(runs: Sequence[Run], processes: int, folder: Path) -> tuple[float, list[bytes]]:
    """Seconds, and what was found, from logs that nobody has looked at."""
    for run in runs:
        run.segments_path.unlink(missing_ok=True)
    with ExitStack() as ends:
        executor = ""
        if processes:
            cluster = ends.enter_context(started(folder, workers=processes))
            executor = cluster.address
            with dask_cluster.connect(executor) as there:
                there.client.wait_for_workers(processes, timeout=DEADLINE_S)
        begun = time.monotonic()
        sides = reduce_sides([[run] for run in runs], {}, executor)
        elapsed_s = time.monotonic() - begun
    found = [mapping.to_json(run) for side in sides for run in side]
    return elapsed_s, sorted(found)


def measure(count: int) -> bool:
    """Print the table; returns whether all three found the same."""
    with tempfile.TemporaryDirectory() as name:
        begun = time.monotonic()
        runs = make_all(Path(name), count)
        print(f"{count} runs made in {time.monotonic() - begun:.0f} s")
        order = list(PROCESSES)
        random.shuffle(order)  # the machine's speed may drift
        seconds, found = {}, {}
        for processes in order:
            place = Path(name) / f"cluster-{processes}"
            seconds[processes], found[processes] = reduced(runs, processes, place)
    print(f"{'who':24}{'s':>8}{'runs/s':>8}{'of alone':>10}   order {order}")
    for processes in PROCESSES:
        who = f"cluster of {processes}" if processes else "this process alone"
        took_s = seconds[processes]
        print(f"{who:24}{took_s:8.1f}{count / took_s:8.1f}{took_s / seconds[0]:10.2f}")
    print(f"two workers / one: {seconds[2] / seconds[1]:.2f}")
    same = found[0] == found[1] == found[2]
    print(f"the same to the last digit: {'yes' if same else 'NO'}")
    return same


def test_a_cluster_finds_the_same_in_many_runs() -> None:
    assert measure(100)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    sys.exit(0 if measure(parser.parse_args().runs) else 1)

"""Logs read by a Dask cluster: a scheduler here, two worker processes, TCP over loopback."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest
from distributed import Client, LocalCluster

from perfkit.errors import LogError
from perfkit.logs.format import Reading
from perfkit.logs.reader import read, read_many

DATA = Path(__file__).parents[1] / "data"


class Kept(Executor):
    """A client's executor, while somebody holds on to the work: the cluster keeps its results."""

    def __init__(self, client: Client) -> None:
        self._client, self._executor = client, client.get_executor()
        self.held: list[Any] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.held.append(self._client.submit(fn, *args, **kwargs))
        return self._executor.submit(fn, *args, **kwargs)


def is_tracker(process: psutil.Process) -> bool:
    """Python's own, which lives as long as this process."""
    with contextlib.suppress(psutil.Error):
        return "resource_tracker" in str(process.cmdline())
    return False


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    with (
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            protocol="tcp",
            dashboard_address="127.0.0.1:0",  # any free port; None is port 8787
        ) as cluster,
        Client(cluster) as made,
    ):
        made.wait_for_workers(2)
        yield made
        mine = [
            process
            for process in psutil.Process().children(recursive=True)
            if process.pid not in before and not is_tracker(process)
        ]
    _, alive = psutil.wait_procs(mine, timeout=60)
    assert [process.cmdline() for process in alive] == []


@pytest.fixture
def executor(client: Client) -> Kept:
    return Kept(client)


def test_a_cluster_of_two_processes_reads_what_is_read_here(executor: Kept, client: Client) -> None:
    pids = client.run(os.getpid)
    assert len({*pids.values(), os.getpid()}) == 3
    assert all(address.startswith("tcp://127.0.0.1:") for address in pids)
    paths = [*sorted((DATA / "iperf2").glob("*.log")), *sorted((DATA / "dool").glob("*.csv"))]
    for path, found in zip(paths, read_many(paths, executor), strict=True):
        assert isinstance(found, Reading)
        pd.testing.assert_frame_equal(found.frame, read(path).frame, check_exact=True)


def test_a_file_that_changes_between_two_reads_is_read_anew(executor: Kept, tmp_path: Path) -> None:
    path, absent = tmp_path / "monitor.csv", tmp_path / "absent.csv"
    lines = (DATA / "dool" / "monitor.csv").read_text().splitlines(keepends=True)
    for kept in (len(lines) - 2, len(lines) - 1, len(lines)):
        path.write_text("".join(lines[:kept]))
        found, missing = read_many([path, absent], executor)
        assert isinstance(found, Reading)
        assert isinstance(missing, LogError)
        pd.testing.assert_frame_equal(found.frame, read(path).frame, check_exact=True)
    absent.write_text(path.read_text())
    assert isinstance(read_many([absent], executor)[0], Reading)


def test_one_file_rewritten_in_place_with_equal_size_and_time_is_read_anew(
    executor: Kept, tmp_path: Path
) -> None:
    path = tmp_path / "monitor.csv"
    text = (DATA / "dool" / "monitor.csv").read_text()
    path.write_text(text)
    before = path.stat()
    [first] = read_many([path], executor)
    path.write_text(text.replace("18756", "28756"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    [second] = read_many([path], executor)
    assert isinstance(first, Reading)
    assert isinstance(second, Reading)
    assert not second.frame.equals(first.frame)

"""Many runs by a real Dask cluster: a scheduler and two workers, processes of their own, over TCP.

A worker is killed while it is in the middle of a block. To know that it is, one file of the block is
a named pipe: whoever has it open waits for what never comes.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from dask_processes import DEADLINE_S, started, wait_until
from distributed import KilledWorker

from perfkit.analysis import campaign_cells
from perfkit.analysis.sides import reduce_sides
from perfkit.cli.app import main
from perfkit.errors import ExecutorError
from perfkit.executors import dask_cluster
from perfkit.executors.dask_cluster import Patience, connect
from perfkit.executors.mapping import to_json
from perfkit.runs import campaign_folder
from perfkit.runs.folder import Run
from perfkit.testing.campaigns import make_campaign


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A campaign of which nothing has been made but its logs."""
    root = tmp_path_factory.mktemp("made") / "20260101T000000Z-camp-000000"
    return make_campaign(
        root,
        clients=(1, 2),
        repetitions=2,
        tests=("tunnel-tcp",),
        void=(),
        duration_s=6,
        is_reduced=False,
    )


@pytest.fixture
def two(measured: Run, tmp_path: Path) -> tuple[Run, Run]:
    """The same campaign twice: for this process alone, and for the cluster."""
    return tuple(
        Run(shutil.copytree(measured.root, tmp_path / name / measured.root.name))
        for name in ("alone", "shared")
    )  # type: ignore[return-value]


class Trap:
    """The manifest of a block as a named pipe: whoever reads it is held there."""

    def __init__(self, block: Run) -> None:
        self._path = block.manifest_path
        self._kept = self._path.rename(self._path.with_name("kept"))
        os.mkfifo(self._path)
        self._end = -1

    def caught(
        self, workers: list[subprocess.Popen[bytes]], going: Future[Any]
    ) -> subprocess.Popen[bytes]:
        """The worker that is held; waits for one, unless the work is over already."""

        def opened() -> bool:
            assert not going.done(), going
            with contextlib.suppress(OSError):  # nobody reads yet
                self._end = os.open(self._path, os.O_WRONLY | os.O_NONBLOCK)
            return self._end >= 0

        def holds(pid: int) -> bool:
            links = []
            for entry in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    links.append(entry.readlink())
            return self._path in links

        wait_until(opened)
        return wait_until(lambda: [one for one in workers if holds(one.pid)])[0]

    def spring(self) -> None:
        """Put the manifest back; who is held stays held."""
        self._kept.replace(self._path)

    def close(self) -> None:
        os.close(self._end)


def test_a_campaign_whose_worker_is_killed_in_the_middle_of_a_block_has_the_same_cells(
    two: tuple[Run, Run], tmp_path: Path
) -> None:
    alone, shared = two
    expected = campaign_cells.refresh(alone)
    trap = Trap(campaign_folder.block_runs(shared)[2])
    with started(tmp_path / "cluster") as cluster, ThreadPoolExecutor(1) as thread:
        going = thread.submit(campaign_cells.refresh, shared, cluster.address)
        victim = trap.caught(cluster.workers, going)
        trap.spring()
        victim.kill()
        assert victim.wait(60) == -signal.SIGKILL
        trap.close()
        assert going.result(DEADLINE_S).equals(expected)
        cells = [campaign_folder.cells_path(one).read_bytes() for one in two]
        assert cells[0] == cells[1]
        assert list(shared.root.rglob("outcome-*")) == []
        # The one that is left goes on: a comparison, and the shell.
        [side] = reduce_sides([[alone]], {})
        [same] = reduce_sides([[shared]], {}, cluster.address)
        assert [to_json(run) for run in same] == [to_json(run) for run in side]
        words = ["report", str(shared.root), "--executor", cluster.address]
        done = CliRunner().invoke(main, words)
        assert done.exit_code == 0, done.output
        assert (shared.report_dir / "index.html").exists()


def test_a_scheduler_that_is_killed_ends_the_work_with_an_error_that_says_so(
    two: tuple[Run, Run], tmp_path: Path
) -> None:
    shared = two[1]
    trap = Trap(campaign_folder.block_runs(shared)[0])
    with started(tmp_path / "cluster", workers=1) as cluster, ThreadPoolExecutor(1) as thread:
        going = thread.submit(campaign_cells.refresh, shared, cluster.address)
        trap.caught(cluster.workers, going)
        cluster.scheduler.kill()
        with pytest.raises(ExecutorError, match="the scheduler is gone"):
            going.result(DEADLINE_S)
        trap.spring()
        trap.close()
    assert list(shared.root.rglob("outcome-*")) == []
    assert not campaign_folder.cells_path(shared).exists()


def test_a_scheduler_without_workers_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    patience = Patience(scheduler_s=DEADLINE_S, workers_s=0.1)
    with (
        started(tmp_path / "cluster", workers=0) as cluster,
        pytest.raises(ExecutorError, match=f"dask worker {cluster.address}"),
        connect(cluster.address, patience),
    ):
        raise AssertionError("connected")


@pytest.mark.parametrize("answers", [False, True], ids=["nobody", "another program"])
def test_an_address_without_a_scheduler_is_an_error_with_the_remedy(*, answers: bool) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        if answers:
            other.listen()
        address = f"tcp://127.0.0.1:{other.getsockname()[1]}"
        with (
            pytest.raises(
                ExecutorError, match="no Dask scheduler can be talked to there"
            ) as raised,
            connect(address, Patience(scheduler_s=0.5)),
        ):
            raise AssertionError("connected")
        assert address in str(raised.value)
        assert "dask scheduler" in str(raised.value)
        assert "\n" not in str(raised.value)


class Silent:
    """A client whose scheduler was there, and does not answer any more."""

    status = "running"
    scheduler = SimpleNamespace(ncores=None)

    def sync(self, _ask: object, callback_timeout: float) -> None:
        raise TimeoutError(callback_timeout)


def test_a_scheduler_that_falls_silent_before_its_workers_come_is_not_waited_for_for_ever() -> None:
    cluster = dask_cluster.Cluster("tcp://h:1", Silent(), Patience())  # type: ignore[arg-type]
    with pytest.raises(ExecutorError, match="does not answer any more"):
        cluster.wait_for_workers()


class Unasked:
    """A client of which nothing is asked."""

    status = "running"


def test_each_way_in_which_a_cluster_fails_has_its_own_words() -> None:
    cluster = dask_cluster.Cluster("tcp://h:1", Unasked(), Patience())  # type: ignore[arg-type]
    assert "every worker that began it died" in cluster.death(KilledWorker("k", None, 3))
    cancelled: Future[str] = Future()
    cancelled.cancel()
    for exc, said in (
        (ModuleNotFoundError("No module named 'perfkit'"), "a worker has no perfkit"),
        (ValueError("what?"), "ValueError: what?"),
    ):
        with pytest.raises(ExecutorError, match=said):
            cluster.death(exc)

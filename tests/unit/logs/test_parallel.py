from __future__ import annotations

import multiprocessing
import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from perfkit.errors import LogError, TruncatedError
from perfkit.logs import parallel, registry
from perfkit.logs.format import Reading
from perfkit.logs.iperf2.text import parse_many
from perfkit.logs.reader import read, read_many, read_run
from perfkit.logs.registry import formats
from perfkit.testing.runs import make_run

DATA = Path(__file__).parents[2] / "data"


class Foreign(Executor):
    """The least an executor can be: it works when it is asked for the result."""

    def __init__(self) -> None:
        self.submitted = 0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.submitted += 1
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


class Remembering(Foreign):
    """Gives what an equal call gave, as executors do that take their work for pure."""

    def __init__(self) -> None:
        super().__init__()
        self.given: dict[bytes, Future[Any]] = {}

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        key = pickle.dumps((fn, args, kwargs))
        if key not in self.given:
            self.given[key] = super().submit(fn, *args, **kwargs)
        return self.given[key]


EXECUTORS: dict[str, Callable[[], Executor]] = {
    "threads": lambda: ThreadPoolExecutor(2),
    "processes": lambda: ProcessPoolExecutor(2, multiprocessing.get_context("spawn")),
    "foreign": Foreign,
}


@pytest.fixture(scope="module", params=EXECUTORS)
def executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    with EXECUTORS[request.param]() as made:
        yield made


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    """Real logs of several formats, one that is empty and one that is not there."""
    (tmp_path / "empty.log").write_bytes(b"")
    real = [*sorted((DATA / "iperf2").glob("*.log")), *sorted((DATA / "dool").glob("*.csv"))]
    return [real[0], tmp_path / "empty.log", *real[1:], tmp_path / "absent.log"]


def test_any_executor_reads_what_one_at_a_time_reads(executor: Executor, paths: list[Path]) -> None:
    found = read_many(paths, executor)
    assert [one.path for one in found] == paths
    for path, one in zip(paths, found, strict=True):
        if isinstance(one, LogError):
            with pytest.raises(type(one), match=str(path)):
                read(path)
        else:
            pd.testing.assert_frame_equal(one.frame, read(path).frame, check_exact=True)
    assert [type(one) for one in found if isinstance(one, LogError)] == [TruncatedError, LogError]


def test_small_logs_of_a_format_are_read_together_and_each_as_if_alone(
    paths: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = {path: read(path) for path in paths if path.parent == DATA / "iperf2"}
    known = formats()
    together: list[int] = []

    def read_together(logs: Sequence[tuple[bytes, Path]]) -> list[Reading]:
        together.append(len(logs))
        return parse_many(logs)

    mine = {**known, "iperf2": replace(known["iperf2"], parse_many=read_together)}
    monkeypatch.setattr(registry, "formats", lambda: mine)
    found = read_many(paths)
    assert together == [len(alone)]
    for path, one in zip(paths, found, strict=True):
        if path in alone:
            assert isinstance(one, Reading)
            pd.testing.assert_frame_equal(one.frame, alone[path].frame, check_exact=True)
            assert replace(one, frame=alone[path].frame) == alone[path]


def test_any_executor_reads_a_run(executor: Executor, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", clients=5, failed={"client-002": "refused"})
    alone, shared = read_run(run), read_run(run, executor)
    for name in ("traffic", "monitor", "process", "events"):
        pd.testing.assert_frame_equal(getattr(alone, name), getattr(shared, name))
    assert (alone.logs, alone.findings, alone.messages) == (
        shared.logs,
        shared.findings,
        shared.messages,
    )


def test_small_logs_start_no_threads(paths: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "ThreadPoolExecutor", lambda *_, **__: pytest.fail("a pool"))
    assert len(read_many(paths)) == len(paths)


def test_large_logs_are_shared_among_threads(
    paths: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = Foreign()
    monkeypatch.setattr(parallel, "ThreadPoolExecutor", lambda *_, **__: pool)
    # private: a few small logs stand for many large ones
    monkeypatch.setattr(parallel, "_BYTES_WORTH_A_POOL", 1)
    # private: a few small logs stand for many large ones
    monkeypatch.setattr(parallel, "_MEAN_BYTES_WORTH_A_POOL", 1)
    # private: a few small logs stand for many large ones
    monkeypatch.setattr(parallel, "_CHUNK_FILES", 4)
    monkeypatch.setattr(parallel.os, "cpu_count", lambda: 2)
    assert [one.path for one in read_many(paths)] == paths
    assert pool.submitted == -(-len(paths) // 4)


def test_no_logs_are_no_readings() -> None:
    assert read_many([]) == []
    assert read_many([], Foreign()) == []


def appended(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text.splitlines(keepends=True)[-1])


def rewritten_alike(path: Path, text: str) -> None:
    """Same size, same time of change, same inode."""
    before = path.stat()
    path.write_text(text.replace("1000", "2000"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    while path.stat().st_ctime_ns == before.st_ctime_ns:  # until the kernel's clock has ticked
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replaced(path: Path, text: str) -> None:
    other = path.with_suffix(".new")
    other.write_text(text.replace("1000", "2000"))
    other.replace(path)


LOG = "epoch,pid,cpu_s,rss_bytes\n100.5,7,1.25,4096\n101.5,7,1.5,1000\n"
CHANGES = [appended, rewritten_alike, replaced]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("age_s", [0, 3600], ids=["new", "old"])
def test_an_executor_that_remembers_its_work_reads_a_changed_file_again(
    tmp_path: Path, change: Callable[[Path, str], None], age_s: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, executor = tmp_path / "procstat.csv", Remembering()
    path.write_text(LOG)
    now_ns = parallel.time.time_ns() + age_s * 10**9
    monkeypatch.setattr(parallel.time, "time_ns", lambda: now_ns)
    for _ in range(2):
        [found] = read_many([path], executor)
        assert isinstance(found, Reading)
        change(path, path.read_text())
    [last] = read_many([path], executor)
    assert isinstance(last, Reading)
    pd.testing.assert_frame_equal(last.frame, read(path).frame)


def test_a_file_that_comes_to_be_is_read_by_an_executor_that_remembers(tmp_path: Path) -> None:
    path, executor = tmp_path / "procstat.csv", Remembering()
    assert isinstance(read_many([path], executor)[0], LogError)
    path.write_text(LOG)
    assert isinstance(read_many([path], executor)[0], Reading)


def test_an_old_file_that_did_not_change_is_the_same_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, executor = tmp_path / "procstat.csv", Remembering()
    path.write_text(LOG)
    monkeypatch.setattr(parallel.time, "time_ns", lambda: path.stat().st_mtime_ns + 3600 * 10**9)
    read_many([path, path], executor)
    read_many([path, path], executor)
    assert executor.submitted == 1

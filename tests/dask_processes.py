"""A Dask cluster of processes of its own, over TCP on loopback."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import TypeVar

DEADLINE_S = 240.0
T = TypeVar("T")


def wait_until(found: Callable[[], T]) -> T:
    """What is found, as soon as something is."""
    until_s = monotonic() + DEADLINE_S
    while not (value := found()):
        assert monotonic() < until_s, found
        sleep(0.01)
    return value


def whole_json(path: Path) -> dict[str, object]:
    """What is in a file, once all of it is; the scheduler writes its own in place."""
    with contextlib.suppress(FileNotFoundError, ValueError):
        return dict(json.loads(path.read_text()))
    return {}


@dataclass
class Cluster:
    address: str
    scheduler: subprocess.Popen[bytes]
    workers: list[subprocess.Popen[bytes]]


@contextlib.contextmanager
def started(folder: Path, workers: int = 2) -> Iterator[Cluster]:
    """A cluster of processes of its own; ended by their ids."""
    folder.mkdir()
    said = folder / "scheduler.json"
    both = ["--host", "127.0.0.1", "--no-dashboard"]
    with contextlib.ExitStack() as ends:
        log = ends.enter_context((folder / "log").open("wb"))

        def start(program: str, *words: str) -> subprocess.Popen[bytes]:
            command = [sys.executable, "-m", f"distributed.cli.{program}", *words, *both]
            process = subprocess.Popen(
                command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
            ends.callback(process.wait, 60)
            ends.callback(process.kill)
            return process

        scheduler = start("dask_scheduler", "--port", "0", "--scheduler-file", str(said))
        address = str(wait_until(lambda: whole_json(said))["address"])
        one = ("--nthreads", "1", "--no-nanny", "--memory-limit", "0")
        yield Cluster(
            address, scheduler, [start("dask_worker", address, *one) for _ in range(workers)]
        )

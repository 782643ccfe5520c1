"""The same work on many runs, blocks or logs: here, by a pool, or by the workers of a cluster.

What works is `executor=`, the same word everywhere:

======================  ============================================================================
None or empty           this process, one unit after the other
`processes`             a process for each processor of this machine
`tcp://HOST:PORT`       the workers of the Dask cluster whose scheduler listens there; `tls://` as well
an `Executor`           anything with the `submit` of `concurrent.futures`
======================  ============================================================================

Workers write their outcome into the run's folder and send back a small record (`at_worker`); it is
checked here against the file before that is read. The outcome is the same whoever works. Dask itself
is trusted as one's own shell is: who can reach a scheduler can run programs on it and its clients.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import multiprocessing
import os
import secrets
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    wait,
)
from dataclasses import asdict, dataclass, field, is_dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from pydantic import TypeAdapter, ValidationError

from perfkit import untrusted
from perfkit.errors import ExecutorError, PerfkitError, RunError, UnitsFailedError, UntrustedError
from perfkit.executors.address import PROCESSES, checked
from perfkit.executors.at_worker import Order, Record, carry_out, versions
from perfkit.retry import RetryPolicy

POLL_S = 2.0  # between two looks whether the workers are still there
ARRIVE_S = 60.0  # a shared file system may show a file late
_OUTCOME_BYTES = 256 * 2**20
T = TypeVar("T")
Where = str | Executor | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """One piece of work.

    Attributes:
        name: What messages call it: the id of its run, the path of its log.
        arguments: Of the work; they can be pickled.
        folder: Where a worker puts the outcome; None: that is a short text, and comes back itself.
    """

    name: str
    arguments: tuple[Any, ...]
    folder: Path | None


@dataclass(frozen=True, slots=True)
class Handover(Generic[T]):
    """How an outcome is kept in a file; `load` raises a `PerfkitError` of what is no such file."""

    dump: Callable[[T], bytes]
    load: Callable[[bytes], T]


def to_json(value: Any) -> bytes:
    """A dataclass, or plain data, as JSON; NaN and infinity too."""
    plain = asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
    return json.dumps(plain).encode()


def json_of(kind: type[T]) -> Handover[T]:
    """The form of an outcome whose types pydantic can check."""
    adapter = functools.cache(lambda: TypeAdapter(kind))  # made at the first use: it is slow

    def load(data: bytes) -> T:
        value = untrusted.parse_json(data, limit_bytes=_OUTCOME_BYTES, ours=True)
        try:
            return adapter().validate_python(value)
        except ValidationError as exc:
            first = exc.errors()[0]
            place = ".".join(map(str, first["loc"]))
            raise UntrustedError(f"no {kind.__name__} at {place}: {first['msg']}") from exc

    return Handover(to_json, load)


DONE: Handover[None] = json_of(type(None))  # the work has written all that it makes
TEXT: Handover[str] = Handover(str.encode, lambda data: data.decode("utf-8", "replace"))


class Workers(Protocol):
    """Workers, as `each` uses them."""

    @property
    def width(self) -> int:
        """Units that are handed out at a time."""

    def submit(self, order: Order) -> Future[str]:
        """Hand out a unit."""

    def check(self, waiting: Collection[str]) -> None:
        """Look whether anything can still come; called now and then while nothing does.

        Raises:
            ExecutorError: nothing can.
        """

    def death(self, exc: BaseException) -> str:
        """How the workers died that had a unit.

        Raises:
            ExecutorError: it is another failure, of the pool and not of that unit.
        """

    def forget(self, units: Collection[Future[str]]) -> None:
        """Nobody wants these units any more."""


def each(
    work: Callable[..., T], units: Sequence[Unit], executor: Where = None, *, form: Handover[T]
) -> list[T]:
    """Do the same work on all units.

    Args:
        work: A function of a module. It may be called twice on a unit, and by several threads.
        executor: Who works; see above.
        form: How a worker keeps the outcome.

    Returns:
        The outcomes, in the order of the units.

    Raises:
        UnitsFailedError: some units could not be done; all others were.
        ExecutorError: there are no workers, or none that can do it.
        PerfkitError: without an executor, what the work raised on the first unit that failed.
    """
    if executor is None or executor == "":
        return [work(*unit.arguments) for unit in units]
    if not units:
        return []
    with _pool(executor) as pool, contextlib.closing(_Call(work, units, form, pool)) as call:
        return call.outcomes()


@contextlib.contextmanager
def _pool(executor: str | Executor) -> Iterator[Workers]:
    if not isinstance(executor, str):
        yield _Plain(executor)
        return
    try:
        checked(executor)
    except ValueError as exc:
        raise ExecutorError(f"executor {executor!r}: {exc}") from exc
    if executor == PROCESSES:
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(os.cpu_count(), spawn) as processes:
            yield _Plain(processes)
        return
    from perfkit.executors.dask_cluster import connect  # noqa: PLC0415 -- loads Dask

    with connect(executor) as cluster:
        yield cluster


@dataclass(frozen=True, slots=True)
class _Plain:
    """Any executor of `concurrent.futures`."""

    executor: Executor
    width: int = 4 * (os.cpu_count() or 1)

    def submit(self, order: Order) -> Future[str]:
        return self.executor.submit(carry_out, order)

    def check(self, waiting: Collection[str]) -> None:
        """Such an executor says itself that it is broken."""

    def forget(self, units: Collection[Future[str]]) -> None:
        for unit in units:
            unit.cancel()

    def death(self, exc: BaseException) -> str:
        if isinstance(exc, BrokenExecutor):
            raise ExecutorError(
                "a process of the pool died, for want of memory or by a signal, and the pool with it; "
                "give the same command again, or leave executor out"
            ) from exc
        raise ExecutorError(f"the executor failed: {type(exc).__name__}: {exc}") from exc


@dataclass(slots=True)
class _Call(Generic[T]):
    """One call of `each` that has workers."""

    work: Callable[..., T]
    units: Sequence[Unit]
    form: Handover[T]
    pool: Workers
    token: str = field(default_factory=lambda: secrets.token_hex(8))
    found: dict[int, T] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    running: dict[Future[str], int] = field(default_factory=dict)

    def outcomes(self) -> list[T]:
        """Do all units; those at whose side workers died once more, each by itself.

        A worker that dies takes all units with it that it had; only alone it shows whose fault it is.
        """
        for number in self._drive(range(len(self.units)), self.pool.width):
            for why in self._drive([number], 1).values():
                self.failures[self.units[number].name] = why
        if self.failures:
            raise UnitsFailedError(f"{len(self.units)} units", self.failures)
        return [self.found[number] for number in range(len(self.units))]

    def close(self) -> None:
        """Leave nothing behind: no unit that nobody wants, no file that nobody reads."""
        self.pool.forget(self.running)
        for number in range(len(self.units)):
            if (place := self._place(number)) is not None:
                with contextlib.suppress(OSError):
                    place.unlink()

    def _drive(self, numbers: Iterable[int], width: int) -> dict[int, str]:
        """Hand out units, so many at a time; returns how workers died, by unit."""
        deaths: dict[int, str] = {}
        todo = iter(numbers)
        for _ in range(width):
            self._hand_out_next(todo)
        while self.running:
            ended, _ = wait(self.running, timeout=POLL_S, return_when=FIRST_COMPLETED)
            if not ended:
                self.pool.check([self.units[number].name for number in self.running.values()])
            for future in ended:
                number = self.running.pop(future)
                try:
                    said = future.result()
                except Exception as exc:  # noqa: BLE001 - whatever a worker met; the pool knows it
                    deaths[number] = self.pool.death(exc)
                else:
                    self._take(number, said)
                self._hand_out_next(todo)
        return deaths

    def _place(self, number: int) -> Path | None:
        folder = self.units[number].folder
        return None if folder is None else folder / f"outcome-{self.token}-{number}"

    def _hand_out_next(self, todo: Iterator[int]) -> None:
        """Hand out the next unit whose folder can be written to."""
        for number in todo:
            unit, place = self.units[number], self._place(number)
            if place is not None:
                try:
                    place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                    place.touch(mode=0o600)
                except OSError as exc:
                    self.failures[unit.name] = f"{place.parent}: cannot be written ({exc.strerror})"
                    continue
            order = Order(
                work=self.work,
                arguments=unit.arguments,
                dump=self.form.dump,
                place=place,
                versions=versions(),
            )
            self.running[self.pool.submit(order)] = number
            return

    def _take(self, number: int, said: object) -> None:
        """Read what a worker has left, after a look at what it says of it.

        Raises:
            ExecutorError: that worker can do no unit.
        """
        unit, place = self.units[number], self._place(number)
        try:
            record = _record(said)
            if not (record.refused or record.error):
                data = record.text.encode() if place is None else _arrived(place, record)
                self.found[number] = self.form.load(data)
        except PerfkitError as exc:
            self.failures[unit.name] = str(exc)
            return
        finally:
            if place is not None:
                place.unlink(missing_ok=True)
        if record.refused:
            raise ExecutorError(f"worker {record.worker}: {record.refused}")
        if record.error:
            self.failures[unit.name] = record.error


def _record(said: object) -> Record:
    """What a worker said, if it is a record.

    Raises:
        UntrustedError: it is none.
    """
    if not isinstance(said, str):
        raise UntrustedError(f"a worker sent {type(said).__name__}, not a record")
    try:
        return TypeAdapter(Record).validate_python(untrusted.parse_json(said, ours=True))
    except ValidationError as exc:
        raise UntrustedError(f"a worker sent no record: {exc.errors()[0]['msg']}") from exc


def _arrived(place: Path, record: Record) -> bytes:
    """The file that a worker wrote, as it wrote it.

    Raises:
        RunError: it is not there, or another one, for longer than a shared file system may take.
    """
    for _ in RetryPolicy().attempts(ARRIVE_S):
        with contextlib.suppress(OSError, UntrustedError):
            data = untrusted.read_file(place, min(record.size_bytes, _OUTCOME_BYTES))
            if hashlib.sha256(data).hexdigest() == record.sha256:
                return data
    raise RunError(
        f"{place}: not what worker {record.worker} says it wrote, after {ARRIVE_S:g} s; do both see "
        "the same file system? Give the same command again"
    )

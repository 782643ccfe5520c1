"""The workers of a Dask cluster; the one module that imports Dask.

A unit whose worker dies is given to another by the scheduler; after several deaths it gives up
(`distributed.scheduler.allowed-failures`, three more by default), and says `KilledWorker`. Every wait
has an end: for the scheduler, for a first worker, for one to come back when the last is gone. A unit
itself may take as long as it takes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Collection, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from time import monotonic, sleep
from typing import TYPE_CHECKING

from perfkit.errors import ExecutorError
from perfkit.executors.at_worker import Order, carry_out
from perfkit.units import format_some
from perfkit.untrusted import one_line

if TYPE_CHECKING:
    from distributed import Client

_START = "dask scheduler; dask worker ADDRESS on each machine"
_LEAST_WIDTH = 64  # workers may join later
_LOOK_S = 0.1  # between two looks for a first worker
_NAMED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long is waited, seconds.

    Attributes:
        scheduler_s: For the scheduler to answer.
        workers_s: For a worker, while there is none.
    """

    scheduler_s: float = 30.0
    workers_s: float = 120.0


PATIENCE = Patience()


@contextlib.contextmanager
def connect(address: str, patience: Patience = PATIENCE) -> Iterator[Cluster]:
    """The cluster of the scheduler at an address, for as long as the context lasts.

    Raises:
        ExecutorError: Dask is not installed, nobody answers there, or it has no workers.
    """
    try:
        from distributed import Client  # noqa: PLC0415 -- slow to load, and an extra
    except ImportError as exc:
        raise ExecutorError(
            f"executor {address}: Dask is not installed here; pip install 'perfkit[dask]', here and at "
            "the workers"
        ) from exc
    with _quiet():
        try:
            if address.startswith("tcp:"):
                with ThreadPoolExecutor(1) as aside:  # here an event loop may run, as in a notebook
                    aside.submit(asyncio.run, _knock(address, patience.scheduler_s)).result()
            client = Client(
                address, timeout=patience.scheduler_s, set_as_default=False, name="perfkit"
            )
        except Exception as exc:  # of any kind where the other side is another program, or version
            raise ExecutorError(
                f"executor {address}: no Dask scheduler can be talked to there within "
                f"{patience.scheduler_s:g} s ({type(exc).__name__}: {one_line(str(exc), 200)}); is it "
                f"running, and is the address right? {_START}"
            ) from exc
        try:
            cluster = Cluster(address, client, patience)
            cluster.wait_for_workers()
            yield cluster
        finally:
            with contextlib.suppress(OSError):  # it is gone already, or silent
                client.close(timeout=patience.scheduler_s)


async def _knock(address: str, timeout_s: float) -> None:
    """Connect and go away: a client waits for ever for a program that takes the call and is silent.

    With TLS, who does not answer as a server does is found out in time.
    """
    from distributed.comm.core import connect as call  # noqa: PLC0415 -- as below

    comm = await asyncio.wait_for(call(address, timeout=timeout_s), timeout_s)
    comm.abort()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the tracebacks that Dask logs of a lost connection: an error of ours says it."""
    loggers = [logging.getLogger(name) for name in ("distributed", "distributed.client")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


@dataclass(slots=True)
class Cluster:
    """A `perfkit.executors.mapping.Workers`."""

    address: str
    client: Client
    patience: Patience
    width: int = _LEAST_WIDTH
    _seen_s: float = field(default_factory=monotonic)

    def submit(self, order: Order) -> Future[str]:
        """Hand out a unit; each is a call of its own, however alike."""
        try:
            made: Future[str] = self.client.get_executor(pure=False).submit(carry_out, order)
        except (OSError, RuntimeError) as exc:
            raise self._gone() from exc
        return made

    def wait_for_workers(self) -> None:
        """Wait for a first worker.

        Dask's own wait has no end where the scheduler is silent.

        Raises:
            ExecutorError: there is none for as long as one waits, or the scheduler is gone.
        """
        while not (threads := self._threads()):
            if monotonic() - self._seen_s > self.patience.workers_s:
                raise self._no_workers("it")
            sleep(_LOOK_S)
        self._seen_s = monotonic()
        self.width = max(_LEAST_WIDTH, 4 * threads)

    def check(self, waiting: Collection[str]) -> None:
        """Are scheduler and workers still there?"""
        if self._threads():
            self._seen_s = monotonic()
        elif monotonic() - self._seen_s > self.patience.workers_s:
            raise self._no_workers(f"the rest ({format_some(sorted(waiting), _NAMED)})")

    def forget(self, units: Collection[Future[str]]) -> None:
        """The scheduler forgets what a client wanted when the client goes."""

    def death(self, exc: BaseException) -> str:
        """How the workers died that had a unit."""
        from distributed import KilledWorker  # noqa: PLC0415 -- as above

        if isinstance(exc, KilledWorker):
            return (
                "every worker that began it died, by a signal or for want of memory; look at the "
                "workers' logs, or do it without executor"
            )
        if isinstance(exc, CancelledError):
            raise self._gone() from exc
        if isinstance(exc, ImportError | AttributeError):
            raise ExecutorError(
                f"executor {self.address}: a worker has no perfkit, or another one ({exc}); pip install "
                "'perfkit[dask]' there, of the same version"
            ) from exc
        said = f"{type(exc).__name__}: {one_line(str(exc))}"
        raise ExecutorError(f"executor {self.address}: {said}") from exc

    def _threads(self) -> int:
        """Threads of all workers, as the scheduler says.

        Raises:
            ExecutorError: it says nothing.
        """
        scheduler = self.client.scheduler
        if self.client.status != "running" or scheduler is None:
            raise self._gone()
        try:
            threads = self.client.sync(scheduler.ncores, callback_timeout=self.patience.scheduler_s)
        except (OSError, RuntimeError, CancelledError) as exc:
            raise self._gone() from exc
        return sum(dict(threads).values())

    def _gone(self) -> ExecutorError:
        return ExecutorError(
            f"executor {self.address}: the scheduler is gone, or does not answer any more; start it and "
            "its workers, and give the same command again, or leave executor out"
        )

    def _no_workers(self, what: str) -> ExecutorError:
        return ExecutorError(
            f"executor {self.address}: no worker for {what} in {self.patience.workers_s:g} s; start "
            f"some: dask worker {self.address}"
        )

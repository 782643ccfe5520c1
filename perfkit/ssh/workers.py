"""A bounded number of threads that do one thing to every host, and report as hosts finish.

Hosts come from an iterator, which may wait: the first ones are worked on while others are still
launching. Every host yields one `HostResult`; nothing a host does raises here or holds up the
others. A host past its deadline is reported and its thread left behind (it is a daemon, and
`on_expired` cuts off the connection it waits for). A host that is merely slow gives its place to
the next one, so that many dead hosts cost one timeout together and not one after another.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import monotonic

from perfkit.errors import PerfkitError
from perfkit.model import Host, HostResult, StageResult
from perfkit.untrusted import one_line

SLOW_AFTER_S = 15.0  # a host that takes longer waits for something: it costs memory, not CPU
WAKES_EVERY_S = 0.5  # so that a stop gets through to a thread that is not the main one
MAX_SLOW_FACTOR = 4  # threads at most, slow hosts included, in multiples of `threads`

_log = logging.getLogger(__name__)


def run_on_hosts(
    stage: str,
    hosts: Iterable[Host],
    work: Callable[[Host], None],
    *,
    threads: int,
    deadline_s: float,
    on_result: Callable[[HostResult], None] | None = None,
    on_expired: Callable[[Host, str], None] | None = None,
    log_path: Callable[[Host], Path | None] | None = None,
) -> StageResult:
    """Do `work` to every host and return what became of each.

    An interrupt leaves at once: no host is begun any more, and threads at work end with the
    process. `on_result` and `on_expired` are called from the calling thread.

    Args:
        stage: Name of the phase, for the result and the threads.
        hosts: Taken one at a time in a thread of its own; its iterator may block.
        work: Called in a thread with one host. A `PerfkitError` fails that host.
        threads: Hosts worked on at a time, not counting those that take over `SLOW_AFTER_S`.
        deadline_s: Longest time for one host.
        on_result: Told each host's result as soon as there is one.
        on_expired: Told a host that is past its deadline, with the reason, to cut it off.
        log_path: Where a host's log is, for its result.

    Returns:
        One `HostResult` a host, in the order in which they finished.

    Raises:
        BaseException: only what the iterator of hosts raised, once all begun hosts are done.
    """
    if threads < 1:
        raise ValueError(f"threads must be at least 1, got {threads}")
    return _Stage(
        name=stage,
        work=work,
        threads=threads,
        deadline_s=deadline_s,
        on_result=on_result,
        on_expired=on_expired,
        log_path=log_path,
    ).run(hosts)


@dataclass(slots=True, kw_only=True)
class _Stage:
    """The calling thread's side: it alone touches these attributes; threads send it what to do."""

    name: str
    work: Callable[[Host], None]
    threads: int
    deadline_s: float
    on_result: Callable[[HostResult], None] | None
    on_expired: Callable[[Host, str], None] | None
    log_path: Callable[[Host], Path | None] | None
    inbox: queue.SimpleQueue[Callable[[], None]] = field(default_factory=queue.SimpleQueue)
    waiting: list[Host] = field(default_factory=list)
    # At work: the host and when it began.
    begun: dict[str, tuple[Host, float]] = field(default_factory=dict)
    results: list[HostResult] = field(default_factory=list)
    feeding: bool = True
    error: BaseException | None = None

    def run(self, hosts: Iterable[Host]) -> StageResult:
        started = monotonic()
        stop = threading.Event()
        self._thread(f"{self.name}-hosts", lambda: self._feed(hosts, stop))
        try:
            while self.feeding or self.waiting or self.begun:
                self._begin()
                self._take()
                self._expire()
        finally:
            stop.set()
        if self.error is not None:
            raise self.error
        return StageResult(
            stage=self.name, results=tuple(self.results), elapsed_s=monotonic() - started
        )

    def _thread(self, name: str, target: Callable[[], None]) -> None:
        threading.Thread(target=target, name=name, daemon=True).start()

    def _feed(self, hosts: Iterable[Host], stop: threading.Event) -> None:
        error: BaseException | None = None
        try:
            for host in hosts:
                if stop.is_set():
                    return
                self.inbox.put(partial(self.waiting.append, host))
        except BaseException as exc:  # noqa: BLE001 -- raised again in the calling thread
            error = exc
        self.inbox.put(partial(self._no_more, error))

    def _no_more(self, error: BaseException | None) -> None:
        self.feeding, self.error = False, error

    def _begin(self) -> None:
        now = monotonic()
        quick = sum(now - begun < SLOW_AFTER_S for _, begun in self.begun.values())
        room = min(self.threads - quick, self.threads * MAX_SLOW_FACTOR - len(self.begun))
        for _ in range(min(room, len(self.waiting))):
            host = self.waiting.pop(0)
            self.begun[host.name] = (host, monotonic())
            self._thread(f"{self.name}-{host.name}", lambda host=host: self._do(host))  # type: ignore[misc] # mypy cannot infer a lambda's default

    def _do(self, host: Host) -> None:
        error: BaseException | None = None
        try:
            self.work(host)
        except BaseException as exc:  # noqa: BLE001 -- becomes the host's result
            error = exc
            if not isinstance(exc, PerfkitError):
                _log.exception("%s: unexpected error on %s", self.name, host.name)
        self.inbox.put(partial(self._finish, host.name, error))

    def _finish(self, name: str, error: BaseException | None) -> None:
        if name in self.begun:  # otherwise it came after its deadline
            self._report(name, _reason(name, error))

    def _take(self) -> None:
        """Do what one thread has sent, or wait until a deadline or a place may have come free."""
        now = monotonic()
        moments = [begun + SLOW_AFTER_S - now for _, begun in self.begun.values()]
        moments = [moment for moment in moments if moment > 0] if self.waiting else []
        moments += [begun + self.deadline_s - now for _, begun in self.begun.values()]
        try:
            do = self.inbox.get(timeout=max(0.0, min([*moments, WAKES_EVERY_S])))
        except queue.Empty:
            return
        do()

    def _expire(self) -> None:
        now = monotonic()
        late = [host for host, begun in self.begun.values() if now - begun >= self.deadline_s]
        for host in late:
            reason = f"{self.name}: not done within {self.deadline_s:g} s"
            self._report(host.name, f"LostError: {reason}")
            if self.on_expired is not None:
                self.on_expired(host, reason)

    def _report(self, name: str, reason: str) -> None:
        host, begun = self.begun.pop(name)
        result = HostResult(
            host=name,
            ok=not reason,
            elapsed_s=monotonic() - begun,
            reason=reason,
            log=self.log_path(host) if self.log_path else None,
        )
        self.results.append(result)
        if self.on_result is not None:
            self.on_result(result)


def _reason(host: str, error: BaseException | None) -> str:
    """`ErrorClass: first line`, without the host's name in front; empty without an error."""
    if error is None:
        return ""
    first_line = (str(error).splitlines() or [""])[0]
    return one_line(f"{type(error).__name__}: {first_line.removeprefix(f'{host}: ')}")

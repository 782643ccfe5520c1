"""The same work on many machines at once: one that fails does not stop the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

from perfkit.errors import PerfkitError

AT_ONCE = 64  # more than a lab has: whoever does not answer costs a whole timeout


class Named(Protocol):
    """A machine, or a host, by its name."""

    @property
    def name(self) -> str:
        """Unique among those that are worked on."""


N = TypeVar("N", bound=Named)
T = TypeVar("T")


def on_all(machines: Sequence[N], work: Callable[[N], T]) -> dict[str, T | PerfkitError]:
    """Do the same with many machines at once; by name, what came of it or what went wrong."""

    def guarded(machine: N) -> T | PerfkitError:
        try:
            return work(machine)
        except PerfkitError as exc:
            return exc

    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="machines") as pool:
        names = [machine.name for machine in machines]
        return dict(zip(names, pool.map(guarded, machines), strict=True))

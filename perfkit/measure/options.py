"""Options of a measurement, and the callbacks that report its progress."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from perfkit.measure.pacing import Pacing
from perfkit.model import Host, HostResult, Role, StageResult


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureProgress:
    """How far the tests are; `t_s` from T0, negative before it."""

    t_s: float
    end_s: float
    slot: str | None

    def __str__(self) -> str:
        if self.t_s < 0:
            return f"T0 in {-self.t_s:.0f} s"
        left_s = self.end_s - self.t_s
        if left_s <= 0:
            return f"T+{self.t_s:.0f} s: the tests are over"
        return f"T+{self.t_s:.0f} s: {self.slot or 'between tests'}, {left_s:.0f} s to go"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to measure, beyond what is measured.

    Attributes:
        bin_dir: The folder with run-slot, monitor and procstat (resources/bin).
        monitor: Which hosts dool watches, see `watched`.
        interfaces: Those it watches, as far as they exist on the host; `@192.0.2.1` is the one
            that has the address or leads to it, `tunnel:vpn0` a VPN's device.
        pid_file: Below the work folder, of the process procstat watches; empty: none.
        max_clock_error_s: A host whose clock is certainly further off is not armed.
        pacing: How sharply these hosts can start.
        pass_deadline_s: A pass over the hosts takes no longer; who is not done by then failed.
        idle_s: Between the last order and the first client; nothing but servers is begun meanwhile.
        keep_logs: The only logs of earlier tests that stay on a host; None: all do.
    """

    bin_dir: Path
    threads: int = 16
    monitor: Literal["server", "all"] = "server"
    interfaces: tuple[str, ...] = ("eth0",)
    pid_file: str = ""
    max_clock_error_s: float = 0.1
    pacing: Pacing = field(default_factory=Pacing)
    pass_deadline_s: float = 120.0
    idle_s: float = 0.0
    keep_logs: tuple[str, ...] | None = None

    def watched(self, hosts: Sequence[Host]) -> frozenset[str]:
        """The names of those on which the monitor runs.

        Of hosts that share a machine it is the first: all of them see the machine's processors, which
        are counted once.
        """
        first = {host.machine or host.name: host.name for host in reversed(hosts)}
        servers = {host.name for host in hosts if host.role is Role.SERVER}
        return frozenset(servers.union(first.values() if self.monitor == "all" else ()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """What the caller hears, and the clock (tests bring their own).

    Attributes:
        on_progress: About once a second while the tests run.
        on_result: Pass (`ready`, `arm`, `finish`) and result, as each host ends a pass.
        check: Told who is armed and who failed, before T0; what it raises ends the measurement.
        on_armed: Told T0 (epoch seconds) once all orders are given: from here the hosts go alone.
        on_over: Told each host that did its tests, in that host's thread: its logs are whole.
        on_disarmed: Told before the orders are taken back, when the measurement is broken off.
    """

    on_progress: Callable[[MeasureProgress], None] = lambda _progress: None
    on_result: Callable[[str, HostResult], None] = lambda _pass, _result: None
    check: Callable[[StageResult], None] = lambda _result: None
    on_armed: Callable[[float], None] = lambda _t0_utc_s: None
    on_over: Callable[[Host], None] = lambda _host: None
    on_disarmed: Callable[[], None] = lambda: None
    now: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep

"""The tests, started on all hosts at the same instant, watched until they are over.

Three passes over the hosts, each through the bounded pool: *ready* (files, tools, clock; the
monitor starts), *arm* (each host gets its orders and confirms them before T0), *finish* (each
host's records are there; clock again; the monitor stops). T0 is chosen between the first two,
when it is known who is ready and how long a pass takes. A host that fails a pass is named and
left out of the next; nothing ever runs late.

From T0 on the hosts need nobody: each follows its own orders. A controller that dies after the
second pass is replaced by another one with `Measurement.resume`, which waits for the end of the timetable
and does the third.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from perfkit.errors import HostError, RunError, StageError
from perfkit.measure.clocks import ClockSample, certain_error_s, measure_clock
from perfkit.measure.disarming import STOP_DEADLINE_S, stop_hosts, stop_script
from perfkit.measure.options import Hooks, MeasureProgress, Options
from perfkit.measure.outcome import Outcome, judge, outcome_script, parse_outcome, record_names
from perfkit.measure.plan import (
    SERVER_LEAD_S,
    SERVER_OUTLASTS_S,
    Addresses,
    begin_s,
    timetable_dict,
)
from perfkit.measure.provision import files_for, provision
from perfkit.measure.starters import ARM_MARGIN_S, Starter, Timetable
from perfkit.model import Host, HostResult, Role, Slot, StageResult
from perfkit.runs.folder import Run, write_json
from perfkit.ssh.remote import RemotePool
from perfkit.ssh.workers import run_on_hosts
from perfkit.units import NS_PER_S

ARM_RESERVE_S = 1.5
POLL_S = 0.5
WAIT_ON_HOST_S = 5.0  # in one command; shorter than a silence after which a host is asked for life
MONITOR_SPARE_S = 600  # the monitor ends by itself if nobody stops it


@dataclass(slots=True, kw_only=True)
class Measurement:
    """All slots on all hosts, once: what is to be done, the results so far, and who is still in.

    Attributes:
        hosts: Clients and the run's own server; configured.
        addresses: Of the run's own server.
    """

    run: Run
    hosts: Sequence[Host]
    slots: Sequence[Slot]
    pool: RemotePool
    starter: Starter
    addresses: Addresses
    options: Options
    hooks: Hooks = field(default_factory=Hooks)
    results: dict[str, HostResult] = field(default_factory=dict)
    clocks: list[dict[str, Any]] = field(default_factory=list)
    clock_errors_s: dict[str, float] = field(default_factory=dict)
    watched: frozenset[str] = frozenset()
    lock: threading.Lock = field(default_factory=threading.Lock)

    def measure(self) -> StageResult:
        """Run all slots on all hosts.

        Writes timetable.json and raw/controller/clocks.json; on the hosts it leaves the logs. When it
        is interrupted before the last slot is over, or `hooks.check` raises, all that waits or runs on
        the hosts is stopped.

        Returns:
            One result a host; a failed one says in which slot, and what its script said last.

        Raises:
            StageError: no client, or not the server that a slot needs, could be armed.
        """
        started_s = time.monotonic()
        try:
            self.make_ready()
            timetable = self.arm()
            self.wait(timetable)
        except BaseException:
            self.abort()
            raise
        finally:
            self.save_clocks()
        self.finish(timetable)
        return self.result(time.monotonic() - started_s)

    def resume(self) -> StageResult:
        """Finish a measurement whose controller died after all hosts, those given, had their orders.

        Nothing is started and nothing repeated. What a host did meanwhile is proven by its own
        records, which must be of this timetable; where there is none, the host failed.

        Raises:
            RunError: timetable.json is missing or of other slots.
        """
        started_s = time.monotonic()
        timetable = self.load_timetable()
        self.load_clocks()
        self.wait(timetable)
        self.finish(timetable)
        return self.result(time.monotonic() - started_s)

    @property
    def alive(self) -> list[Host]:
        """Hosts that have not failed, the server first: all others need it."""
        alive = [h for h in self.hosts if h.name not in self.results or self.results[h.name].ok]
        return sorted(alive, key=lambda host: host.role is not Role.SERVER)

    @property
    def last_end_s(self) -> float:
        """When the last slot is over, from T0."""
        return max((slot.end_s for slot in self.slots), default=0.0)

    def result(self, elapsed_s: float) -> StageResult:
        """What became of each host up to now."""
        results = tuple(self.results[h.name] for h in self.hosts if h.name in self.results)
        return StageResult(stage="measure", results=results, elapsed_s=elapsed_s)

    def make_ready(self) -> None:
        """Files, tools, clock, monitor."""
        self.watched = self.options.watched(self.hosts)
        self._pass("ready", self.alive, self._make_host_ready, self.options.pass_deadline_s)
        self._insist("ready")

    def _make_host_ready(self, host: Host) -> None:
        remote, watched = self.pool.get(host), host.name in self.watched
        files = files_for(host, self.slots, self.options.bin_dir, watched=watched)
        provision(
            remote,
            files,
            more_checks=self.starter.ready_script(),
            watched=watched,
            keep_logs=self.options.keep_logs,
        )
        self._check_clock(self._take_clock(host, "before"))
        if watched:
            limit_s = round(self.last_end_s) + MONITOR_SPARE_S
            words = [f"{host.workdir}/{it}" for it in ("bin/monitor", self.options.pid_file)]
            remote.start_detached([words[0], str(limit_s), words[1], *self.options.interfaces])

    def _take_clock(self, host: Host, when: str) -> ClockSample:
        sample = measure_clock(self.pool.get(host))
        self._note_clock(sample.to_dict(when))
        return sample

    def _note_clock(self, row: dict[str, Any]) -> None:
        with self.lock:
            self.clocks.append(row)
            if row["when"] == "before":
                self.clock_errors_s[row["host"]] = certain_error_s(row)

    def _check_clock(self, sample: ClockSample) -> None:
        if abs(sample.offset_s) - sample.bound_s > self.options.max_clock_error_s:
            raise HostError(
                sample.host,
                f"its clock is {sample.offset_s:+.3f} s off the controller's "
                f"(+- {sample.bound_s:.3f} s; at most {self.options.max_clock_error_s:g} s is "
                "accepted), so its tests would start at another moment: synchronise it, for "
                "example with chrony",
            )

    def _by_clock_of(self, host: Host, timetable: Timetable) -> Timetable:
        """The timetable as the host's clock shows it, as it was measured before the tests."""
        return replace(timetable, clock_error_s=self.clock_errors_s.get(host.name, 0.0))

    def arm(self) -> Timetable:
        """Choose T0, write the timetable, and have every host confirm its orders before T0."""
        timetable = Timetable(
            slots=self.slots,
            t0_utc_s=self._choose_t0(),
            addresses=self.addresses,
            pacing=self.options.pacing,
            clients=sorted(host.name for host in self.hosts if host.role is Role.CLIENT),
        )
        t0_utc_s, starter = timetable.t0_utc_s, self.starter.name
        written = timetable_dict(
            self.slots, t0_utc_s=t0_utc_s, starter=starter, addresses=self.addresses
        )
        write_json(self.run.timetable_path, written)
        confirm_by_s = timetable.confirm_by_s

        def arm_host(host: Host) -> None:
            if self.hooks.now() > confirm_by_s:
                raise HostError(host.name, "it was not armed in time: use more threads")
            theirs = self._by_clock_of(host, timetable)
            script = self.starter.arm_script(host, theirs)
            host_time_s = self.pool.get(host).run_for_int(script) / NS_PER_S
            if host_time_s > theirs.confirm_by_s:
                raise HostError(
                    host.name,
                    f"armed {host_time_s - theirs.confirm_by_s:.1f} s too late by its own clock; "
                    "use fewer hosts or more threads",
                )

        ready = self.alive
        self._pass("arm", ready, arm_host, max(0.1, round(confirm_by_s - self.hooks.now(), 1)))
        dropped = [host for host in ready if not self.results[host.name].ok]
        self._stop_hosts(dropped, deadline_s=5.0)
        self._insist("armed")
        self.hooks.check(self.result(0.0))
        self.save_clocks()
        self.hooks.on_armed(timetable.t0_utc_s)
        return timetable

    def load_timetable(self) -> Timetable:
        """The timetable that the hosts were armed with."""
        written = self.run.load_json(self.run.timetable_path)
        unsaid = {"servers": 1, "connect_s": 0.0}
        keys = ("name", "start_s", "duration_s", *unsaid)
        planned = [tuple(getattr(slot, key) for key in keys) for slot in self.slots]
        found = [tuple({**unsaid, **row}[key] for key in keys) for row in written["slots"]]
        if found != planned:
            raise RunError(
                f"{self.run.timetable_path}: slots {found}, {planned} expected: config/ of the run "
                "was changed after the tests had begun; put it back"
            )
        return Timetable(
            slots=self.slots,
            t0_utc_s=float(written["t0_utc_s"]),
            addresses=self.addresses,
            pacing=self.options.pacing,
        )

    def load_clocks(self) -> None:
        """What the controller before us measured of the clocks."""
        if self.run.clocks_path.exists():
            for row in self.run.load_json(self.run.clocks_path):
                self._note_clock(row)

    def _choose_t0(self) -> float:
        """As soon as all can be armed.

        Arming is one round trip where making ready was several, but hosts that are armed begin to
        wait, which on a shared machine the others feel: so a whole pass is allowed for it. That is
        reckoned from the hosts that made it, because one that hung until its time limit says nothing
        about the others. The slowest of them twice over is the reserve.
        """
        took_s = [self.results[host.name].elapsed_s for host in self.alive]
        pass_s = sum(took_s) / self.options.threads + 2 * min(max(took_s), 10.0)
        waits_s = max(ARM_RESERVE_S + ARM_MARGIN_S + SERVER_LEAD_S, self.options.idle_s)
        first_s = min((begin_s(slot, Role.CLIENT) for slot in self.slots), default=0.0)
        return self.starter.first_t0_s(self.hooks.now() + pass_s + waits_s - min(first_s, 0.0))

    def wait(self, timetable: Timetable) -> None:
        """Report progress until the last slot is over."""
        while True:
            t_s = self.hooks.now() - timetable.t0_utc_s
            current = [slot.name for slot in self.slots if slot.start_s <= t_s < slot.end_s]
            slot = current[0] if current else None
            self.hooks.on_progress(MeasureProgress(t_s=t_s, end_s=self.last_end_s, slot=slot))
            left_s = self.last_end_s - t_s
            if left_s <= 0:
                return
            self.hooks.sleep(min(1.0, left_s))

    def finish(self, timetable: Timetable) -> None:
        """Wait for every host's records, judge them, and leave nothing running there.

        The server comes last: when no client runs any more, it need not wait for its time limit.
        """
        grace_s = max((slot.grace_s for slot in self.slots), default=0.0) + SERVER_OUTLASTS_S
        give_up_s = timetable.t0_utc_s + self.last_end_s + grace_s + 5.0

        def finish_host(host: Host) -> None:
            remote = self.pool.get(host)
            names = record_names(timetable.slots_of(host.role), host.role)
            disarm = self.starter.disarm_script(host, is_over=True)

            def ask() -> Outcome:
                wait_s = min(WAIT_ON_HOST_S, max(0.0, give_up_s - self.hooks.now()))
                script = outcome_script(host, names, disarm, wait_s=wait_s)
                limit_s = wait_s + remote.access.command_timeout_s
                return parse_outcome(remote.run_script(script, timeout_s=limit_s).stdout)

            outcome = ask()
            while outcome.pending and self.hooks.now() < give_up_s:
                self.hooks.sleep(POLL_S)
                outcome = ask()
            if outcome.pending:
                remote.run_script(stop_script(host, self.starter))
            with contextlib.suppress(HostError):  # a test that ran well stays one without it
                self._take_clock(host, "after")
            problems = judge(
                host.role,
                names,
                outcome,
                self._by_clock_of(host, timetable).starts_of(host.role),
                late_s=self.options.pacing.late_of(host.role),
            )
            if problems:
                raise HostError(host.name, "; ".join(problems))
            self.hooks.on_over(host)

        alive = self.alive
        for role in (Role.CLIENT, Role.SERVER):
            left_s = max(0.0, give_up_s - self.hooks.now())
            hosts = [host for host in alive if host.role is role]
            deadline_s = left_s + self.options.pass_deadline_s
            self._pass("finish", hosts, finish_host, deadline_s, self._collected)
        self.save_clocks()

    def _collected(self, host: Host) -> Path:
        """Where what a host's tests printed will be: that says more than what configured it."""
        return self.run.host_raw_dir(host.name)

    def abort(self) -> None:
        """End all that waits or runs on the hosts, failed ones included."""
        try:
            self.hooks.on_disarmed()
        finally:
            self._stop_hosts(self.hosts, deadline_s=STOP_DEADLINE_S)

    def _stop_hosts(self, hosts: Iterable[Host], *, deadline_s: float) -> None:
        stop_hosts(
            hosts,
            pool=self.pool,
            starter=self.starter,
            threads=self.options.threads,
            deadline_s=deadline_s,
        )

    def save_clocks(self) -> None:
        """Write what is known of the clocks, also after a failure."""
        with self.lock:
            rows = sorted(self.clocks, key=lambda row: (row["when"] != "before", row["host"]))
        if rows:
            write_json(self.run.clocks_path, rows)

    def _pass(
        self,
        name: str,
        hosts: Sequence[Host],
        work: Callable[[Host], None],
        deadline_s: float,
        log_path: Callable[[Host], Path] | None = None,
    ) -> None:
        stage = run_on_hosts(
            name,
            hosts,
            work,
            threads=self.options.threads,
            deadline_s=deadline_s,
            on_result=lambda result: self.hooks.on_result(name, result),
            on_expired=self.pool.drop,
            log_path=log_path or self.pool.log_path,
        )
        self.results.update({result.host: result for result in stage.results})

    def _insist(self, state: str) -> None:
        """Go on only with a client, and with the server if a slot needs it."""
        roles = {host.role for host in self.alive}
        needs_server = any(slot.test.server is None for slot in self.slots)
        if needs_server and Role.SERVER not in roles:
            raise self._shortfall(Role.SERVER, f"the server is not {state}")
        if Role.CLIENT not in roles:
            raise self._shortfall(Role.CLIENT, f"no client is {state}")

    def _shortfall(self, role: Role, what: str) -> StageError:
        names = [host.name for host in self.hosts if host.role is role]
        reasons = [f"\n  {name}: {self.results[name].reason}" for name in names]
        return StageError(
            f"measure: {what}{''.join(reasons[:10]) or ': there is none'}",
            tuple(self.results.values()),
        )

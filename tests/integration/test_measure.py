"""Tests started on real hosts at the same instant, watched, and collected.

One fleet for the module: a server and five clients in namespaces. The cron test is armed first
and looked at last, because cron makes everybody wait for the next minute.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from measured_fleet import LATE_S, RESOURCES, TICK_S, Fleet, launch, shipped, spec
from sick_hosts import WRONG_DATE_PATH, clock_off

from perfkit.errors import RunError, StageError
from perfkit.measure.clocks import measure_clock
from perfkit.measure.collect import collect
from perfkit.measure.options import MeasureProgress
from perfkit.measure.pacing import Pacing
from perfkit.measure.plan import Addresses, fires_utc, plan
from perfkit.measure.provision import files_for, provision
from perfkit.measure.runner import Measurement
from perfkit.measure.starters import CronStarter, Timetable
from perfkit.model import Host, StageResult

pytestmark = pytest.mark.root

ARMED_WITHIN_S = 20.0  # before cron's next minute, on a busy machine

CRON = CronStarter(
    shell="/bin/sh", path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
)


@pytest.fixture(scope="module")
def fleet(
    needs_root: None,
    needs_tools: Callable[..., None],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Fleet]:
    needs_tools("iperf", "cron", "sshd")
    yield from launch(tmp_path_factory.mktemp("measure"), "namespaces", 5)


@dataclass(frozen=True)
class CronArmed:
    host: Host
    fires_s: float
    start_s: float


@pytest.fixture(scope="module", autouse=True)
def cron_armed(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> CronArmed:
    """The last client's own cron, told to fire in the next minute.

    A slot starts a minute or two after its line fires. To save that minute, only the order is
    moved to shortly after the firing; crontab, daemon and run-slot are as in a run.
    """
    host = fleet.client(5)
    folder = tmp_path_factory.mktemp("cron")
    slots = plan([spec("by-cron", folder, "echo by cron; tr '\\0' '\\n' </proc/$PPID/cmdline")])
    remote = fleet.pool.get(host)
    provision(
        remote,
        files_for(host, slots, RESOURCES / "bin", watched=False),
        more_checks=CRON.ready_script(),
        watched=False,
    )
    now_s = time.time()
    next_minute_s = (now_s + ARMED_WITHIN_S) // 60 * 60 + 60
    timetable = Timetable(
        slots=slots,
        t0_utc_s=next_minute_s + 60,
        addresses=Addresses(remote="127.0.0.1"),
        pacing=Pacing(late_s=LATE_S),
    )
    fires_s = fires_utc(datetime.fromtimestamp(timetable.t0_utc_s, UTC), slots[0]).timestamp()
    assert fires_s == next_minute_s
    remote.run_script(CRON.arm_script(host, timetable))
    start_s = fires_s + 8.25  # cron has woken up by then, however busy the machine
    orders = f"{host.workdir}/slots/01-by-cron.order"
    for key, moment_s in (("start", start_s), ("end", start_s + 1), ("limit", start_s + 20)):
        ns = round(moment_s * 1000) * 10**6
        remote.run_script(f"sed -i 's/^{key}_ns=.*/{key}_ns={ns}/' {orders}")
    return CronArmed(host, fires_s, start_s)


@pytest.fixture(scope="module")
def measured(fleet: Fleet) -> tuple[StageResult, list[MeasureProgress], list[tuple[str, str]]]:
    """One shipped test with two programs on the server, measured with three clients and collected."""
    seen: list[MeasureProgress] = []
    passes: list[tuple[str, str]] = []
    slots = plan([replace(shipped("direct-tcp", 2), clients_per_server=2)], clients=3)
    result = fleet.measure(
        slots,
        on_progress=seen.append,
        on_result=lambda stage, host: passes.append((stage, host.host)),
    )
    collected = collect(fleet.run, fleet.hosts[:4], slots, pool=fleet.pool, threads=6)
    assert collected.failed == ()
    return result, seen, passes


def test_all_hosts_start_at_the_instant_of_the_timetable(
    fleet: Fleet, measured: tuple[StageResult, list[MeasureProgress], list[tuple[str, str]]]
) -> None:
    result, _, _ = measured
    assert [r.host for r in result.ok] == ["server", "client-001", "client-002", "client-003"], (
        result
    )
    table = fleet.run.load_json(fleet.run.timetable_path)
    for host in fleet.hosts[1:4]:
        events = fleet.events(host, "01-direct-tcp")
        assert events["planned_start_utc_s"] == pytest.approx(table["t0_utc_s"], abs=1e-6)
        assert -TICK_S < events["start_utc_s"] - table["t0_utc_s"] < LATE_S
        assert events["exit_status"] == 0
        assert events["starter"] == "epoch"
    first, second, third = fleet.hosts[1:4]
    for name, port, served in (("server", 5001, {first, third}), ("server-2", 5002, {second})):
        server = fleet.events(fleet.hosts[0], f"01-direct-tcp.{name}")
        assert server["start_utc_s"] < table["t0_utc_s"]
        assert server["end_utc_s"] > table["t0_utc_s"] + 2
        log = (fleet.run.host_raw_dir("server") / f"01-direct-tcp.{name}.log").read_text()
        for host in fleet.hosts[1:4]:
            is_there = f"port {port} connected with {host.address} port" in log
            assert is_there is (host in served)


def test_a_host_whose_clock_is_off_starts_with_the_others(fleet: Fleet, tmp_path: Path) -> None:
    own, hosts, off_s = fleet.in_new_run(tmp_path), [fleet.hosts[0], fleet.client(4)], 3.0
    slots = plan([spec("quick", tmp_path, "true")])
    chosen = own.measurement(slots, hosts)
    chosen["options"] = replace(chosen["options"], max_clock_error_s=10.0)
    own.sh(hosts[1], clock_off(off_s))
    try:
        result = Measurement(**chosen).measure()
    finally:
        own.sh(hosts[1], f"rm {WRONG_DATE_PATH}")
    assert result.failed == (), result
    assert collect(own.run, hosts, slots, pool=fleet.pool, threads=2).failed == ()
    (clock,) = [
        row
        for row in own.run.load_json(own.run.clocks_path)
        if (row["host"], row["when"]) == (hosts[1].name, "before")
    ]
    assert clock["offset_s"] == pytest.approx(off_s, abs=clock["bound_s"] + 0.001)
    t0_utc_s = own.run.load_json(own.run.timetable_path)["t0_utc_s"]
    events = own.events(hosts[1], "01-quick")
    assert events["planned_start_utc_s"] - t0_utc_s == pytest.approx(clock["offset_s"], abs=1e-6)
    true_start_s = events["start_utc_s"] - off_s - t0_utc_s
    assert -TICK_S - clock["bound_s"] < true_start_s < LATE_S


def test_passes_and_progress_are_reported(
    measured: tuple[StageResult, list[MeasureProgress], list[tuple[str, str]]],
) -> None:
    _, seen, passes = measured
    for stage in ("ready", "arm", "finish"):
        assert sorted(host for name, host in passes if name == stage) == [
            "client-001",
            "client-002",
            "client-003",
            "server",
        ]
    assert str(seen[0]).startswith("T0 in ")
    assert {p.slot for p in seen} <= {None, "01-direct-tcp"}
    assert seen[-1].t_s >= 2
    assert len(seen) < 5 + 1.5 * (seen[-1].t_s - seen[0].t_s)  # about once a second


def test_clocks_are_measured_before_and_after_and_agree_on_one_machine(
    fleet: Fleet, measured: object
) -> None:
    rows = fleet.run.load_json(fleet.run.clocks_path)
    assert [(r["when"], r["host"]) for r in rows] == [
        (when, host)
        for when in ("before", "after")
        for host in ("client-001", "client-002", "client-003", "server")
    ]
    for row in rows:
        assert abs(row["offset_s"]) <= row["bound_s"] < 1


def test_the_server_was_watched_and_nothing_is_left_running(fleet: Fleet, measured: object) -> None:
    lines = (fleet.run.host_raw_dir("server") / "monitor.csv").read_text().splitlines()
    assert any('"net/eth0"' in line for line in lines)
    epochs = [float(line.split(",")[0]) for line in lines if line[:1].isdigit()]
    t0_s = fleet.run.load_json(fleet.run.timetable_path)["t0_utc_s"]
    assert epochs[0] < t0_s
    assert (
        epochs[-1] > t0_s
    )  # it is stopped soon after the test: its last row may be a second older
    assert not (fleet.run.host_raw_dir("client-001") / "monitor.csv").exists()
    for host in fleet.hosts[:4]:
        assert not fleet.still_runs(host, "run-slot", "iperf", "dool", "procstat")


def test_each_client_that_fails_is_named_with_its_reason_and_the_others_go_on(
    fleet: Fleet, tmp_path: Path
) -> None:
    own = fleet.in_new_run(tmp_path)
    text = """case $(hostname) in
        client-002) echo 'no route to peer'; exit 7 ;;
        client-003) sleep 60 ;;
        *) echo fine ;;
    esac"""
    slots = plan([spec("moody", tmp_path, text, duration_s=0.5)])
    gone = replace(fleet.client(4), name="client-009", address="127.0.0.1", port=1)
    result = own.measure(slots, [*fleet.hosts[:4], gone])
    reasons = {r.host: r.reason for r in result.failed}
    assert [r.host for r in result.ok] == ["server", "client-001", "client-003"]
    assert (
        "01-moody ended with exit status 7 (last output: no route to peer)" in reasons["client-002"]
    )
    assert reasons["client-009"].startswith("UnreachableError")
    collected = collect(own.run, fleet.hosts[1:4], slots, pool=fleet.pool, threads=4)
    assert collected.failed == ()  # a failed test's log is collected as well
    said = {
        r.host: [log.name for log in sorted(r.log.glob("*.log"))] for r in result.failed if r.log
    }
    assert "01-moody.log" in said["client-002"]  # what its failure names is there now
    # One that was ended at its limit may have sent all the time; its record says so.
    assert own.events(fleet.client(3), "01-moody")["timed_out"] is True


def test_a_host_whose_clock_is_wrong_is_not_armed(fleet: Fleet, tmp_path: Path) -> None:
    own = fleet.in_new_run(tmp_path)
    slow, right = fleet.client(2), fleet.client(1)
    shim = "/usr/local/bin/date"  # on that host only: its root is its own
    fleet.sh(
        slow,
        f'printf \'#!/bin/sh\\nexec /bin/date -d "7 seconds ago" "$@"\\n\' >{shim}; chmod +x {shim}',
    )
    try:
        sample = measure_clock(fleet.pool.get(slow))
        armed: list[StageResult] = []
        slots = plan([spec("quick", tmp_path, "echo done", duration_s=0.2)])
        result = own.measure(slots, [fleet.hosts[0], right, slow], check=armed.append)
    finally:
        fleet.sh(slow, f"rm {shim}")
    assert sample.offset_s == pytest.approx(-7, abs=sample.bound_s + 0.01)
    assert [r.host for r in result.ok] == ["server", "client-001"]
    (failed,) = result.failed
    assert failed.host == "client-002"
    assert re.search(r"its clock is -[67]\.\d\d\d s off", failed.reason)
    assert "chrony" in failed.reason
    assert armed[0].failed == (failed,)  # the caller knew before T0
    assert "01-quick" not in fleet.sh(slow, f"ls {slow.workdir}/logs")


@pytest.mark.parametrize("when", ["check", "on_progress"])
def test_a_measurement_that_is_broken_off_leaves_nothing_waiting_on_the_hosts(
    fleet: Fleet, tmp_path: Path, when: str
) -> None:
    own = fleet.in_new_run(tmp_path)
    slots = plan([spec("never", tmp_path, "echo must not run", duration_s=5)])
    error = {"check": StageError("too few"), "on_progress": KeyboardInterrupt()}[when]

    def abort(_: object) -> None:
        assert "run-slot" in own.processes(fleet.client(1))
        raise error

    with pytest.raises(type(error)):
        own.measure(slots, fleet.hosts[:3], **{when: abort})
    for host in fleet.hosts[:3]:
        assert not own.still_runs(host, "run-slot", "dool")
        assert "01-never" not in own.sh(host, f"ls {host.workdir}/logs")


def test_hosts_that_were_armed_prove_by_their_records_what_they_did_alone(
    fleet: Fleet, tmp_path: Path
) -> None:
    own = fleet.in_new_run(tmp_path)
    slots = plan([spec("alone", tmp_path, "echo done", duration_s=0.2)])
    settings = own.measurement(slots, fleet.hosts[:3])
    dying = Measurement(**settings)  # `measure` takes its orders back; who dies does not
    dying.make_ready()
    timetable = dying.arm()  # and here the controller dies
    own.sh(fleet.client(2), f"{fleet.client(2).workdir}/bin/run-slot stop")
    result = Measurement(**settings).resume()
    assert [r.host for r in result.ok] == ["server", "client-001"]
    (failed,) = result.failed
    assert "01-alone has no record: it did not run, or did not end" in failed.reason
    assert own.run.load_json(own.run.timetable_path)["t0_utc_s"] == timetable.t0_utc_s
    rows = own.run.load_json(own.run.clocks_path)
    assert [row["when"] for row in rows] == ["before"] * 3 + ["after"] * 3
    with pytest.raises(RunError, match="config/ of the run was changed"):
        Measurement(**own.measurement(plan([shipped("direct-tcp", 2)]), fleet.hosts[:3])).resume()


def test_without_its_server_or_any_client_nothing_is_started(fleet: Fleet, tmp_path: Path) -> None:
    own = fleet.in_new_run(tmp_path)
    slots = plan([spec("never", tmp_path, "echo must not run")])
    gone = [replace(host, address="127.0.0.1", port=1) for host in fleet.hosts[:2]]
    with pytest.raises(StageError, match=r"the server is not ready\n  server: UnreachableError"):
        own.measure(slots, [gone[0], fleet.client(2)])
    with pytest.raises(StageError, match=r"no client is ready\n  client-001: UnreachableError"):
        own.measure(slots, [fleet.hosts[0], gone[1]])
    with pytest.raises(StageError, match="the server is not ready: there is none"):
        own.measure(slots, [fleet.client(1)])
    assert not own.run.timetable_path.exists()


def test_hosts_on_loopback_measure_as_well(tmp_path: Path) -> None:
    for lonely in launch(tmp_path, "loopback", 1):
        slots = plan([spec("quick", tmp_path, 'echo "$1 $PERFKIT_DURATION_S"', duration_s=0.2)])
        result = lonely.measure(slots, lonely.hosts)
        assert result.failed == (), result
        collected = collect(lonely.run, lonely.hosts, slots, pool=lonely.pool, threads=2)
        assert collected.failed == ()
        log = lonely.run.host_raw_dir("client-001") / "01-quick.log"
        assert log.read_text() == "127.0.0.1 0.2\n"


def test_a_hosts_own_cron_starts_a_test_at_the_exact_second(
    fleet: Fleet, cron_armed: CronArmed, tmp_path: Path
) -> None:
    own, host = fleet.in_new_run(tmp_path), cron_armed.host
    record = f"{host.workdir}/logs/01-by-cron.events.json"
    assert "01-by-cron.order" in own.sh(host, "crontab -l")
    while f"{record}\n" not in own.sh(host, f"ls {record} 2>/dev/null || :"):
        assert time.time() < cron_armed.start_s + 40, own.sh(host, "crontab -l")
        time.sleep(0.5)
    slots = plan([spec("by-cron", tmp_path, "true")])
    assert collect(own.run, [host], slots, pool=fleet.pool, threads=1).failed == ()
    events = own.events(host, "01-by-cron")
    assert events["starter"] == "cron"
    assert events["exit_status"] == 0
    assert -TICK_S < events["start_utc_s"] - cron_armed.start_s < LATE_S
    assert cron_armed.fires_s < events["start_utc_s"]
    own.sh(host, CRON.disarm_script(host))
    assert own.sh(host, "crontab -l 2>&1 || :").strip() == "no crontab for root"

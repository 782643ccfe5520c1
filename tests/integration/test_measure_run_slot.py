"""run-slot, the test scripts and the monitor, run directly on this machine over loopback.

Each test makes a work folder like the one on a host. Starts are fractions of a second ahead, and
what a test waits for is always the end of a process it started. A starved machine may start it
late: but for the tests about that, orders allow it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from measured_fleet import LATE_S, TICK_S
from own_ports import free_port

RESOURCES = Path(__file__).parents[2] / "resources"
NS = 10**9


class Workdir:
    """A host's work folder, and the processes started in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.started: list[subprocess.Popen[str]] = []
        for folder in ("tests", "slots", "logs"):
            (root / folder).mkdir(parents=True)
        shutil.copytree(RESOURCES / "bin", root / "bin")

    def script(self, name: str, text: str) -> None:
        path = self.root / "tests" / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def order(
        self,
        slot: str,
        test: str,
        *,
        in_s: float,
        duration_s: float = 1,
        grace_s: float = 20,
        late_s: float = LATE_S,
        **more: str,
    ) -> tuple[Path, int]:
        """Write an order that starts `in_s` from now; returns it and its start, ns."""
        start_ns = time.time_ns() + round(in_s * NS)
        end_ns = start_ns + round(duration_s * NS)
        lines = {
            "host": "client-001",
            "role": "client",
            "slot": slot,
            "test": test,
            "starter": "epoch",
            "start_ns": start_ns,
            "end_ns": end_ns,
            "limit_ns": end_ns + round(grace_s * NS),
            "late_ns": round(late_s * NS),
            "duration_s": duration_s,
            "remote": "127.0.0.1",
            "peer": "127.0.0.1",
        } | more
        path = self.root / "slots" / f"{slot}.{lines['role']}.order"
        path.write_text("".join(f"{key}={value}\n" for key, value in lines.items()))
        return path, start_ns

    def start(self, *argv: str | Path) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [self.root / "bin" / argv[0], *argv[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def run(self, *argv: str | Path) -> tuple[int, str]:
        process = self.start(*argv)
        output, _ = process.communicate(timeout=60)
        return process.returncode, output

    def events(self, slot: str) -> dict[str, Any]:
        return dict(json.loads((self.root / "logs" / f"{slot}.events.json").read_text()))

    def log(self, slot: str) -> str:
        return (self.root / "logs" / f"{slot}.log").read_text()

    def end(self) -> None:
        """End what a failed test left behind, by session."""
        for process in self.started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            if process.stdout:
                process.stdout.close()


@pytest.fixture
def workdir(tmp_path: Path) -> Iterator[Workdir]:
    made = Workdir(tmp_path / "work dir")  # a blank in the path must not matter
    yield made
    made.end()


def wait_until(
    condition: Callable[[], bool], limit_s: float = 60, *, pause_s: float = 0.02
) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(pause_s)


def test_a_test_is_told_when_its_slot_starts_and_where_the_vpn_is(workdir: Workdir) -> None:
    workdir.script("told", 'echo "$PERFKIT_T0 $PERFKIT_VPN_DIR"')
    t0_ns = 1_795_000_000_250_000_000
    order, _ = workdir.order("01-told", "told", in_s=0.1, t0_ns=str(t0_ns))
    workdir.run("run-slot", order)
    assert workdir.log("01-told") == "1795000000.250000000 \n"  # there is no VPN
    start = workdir.root / "vpn" / "start"
    start.parent.mkdir()
    start.write_text("#!/bin/sh\n")
    start.chmod(0o755)
    order, start_ns = workdir.order("02-told", "told", in_s=0.1)
    workdir.run("run-slot", order)
    moment = f"{start_ns // NS}.{start_ns % NS:09d}"
    assert workdir.log("02-told") == f"{moment} {start.parent}\n"


def test_a_test_that_connects_first_is_told_when_to_send_and_another_one_is_not(
    workdir: Workdir,
) -> None:
    workdir.script("told", 'echo "send at $PERFKIT_SEND_AT"')
    send_ns = 1_795_000_000_250_000_000
    first, _ = workdir.order("01-told", "told", in_s=0.1, send_ns=str(send_ns))
    second, _ = workdir.order("02-told", "told", in_s=0.2)
    workdir.run("run-slot", first, second)  # in one shell: nothing is left of the first order
    assert workdir.log("01-told") == "send at 1795000000.250000000\n"
    assert workdir.log("02-told") == "send at \n"


def test_a_test_starts_at_its_instant_and_its_outcome_is_recorded(workdir: Workdir) -> None:
    workdir.script(
        "hello", 'echo "$1 $2 $PERFKIT_DURATION_S"; date +%s.%N >began; sleep 0.3; exit 3'
    )
    order, start_ns = workdir.order("01-hello", "hello", in_s=0.4, peer="10.8.0.1")
    status, output = workdir.run("run-slot", order)
    events = workdir.events("01-hello")
    start_s = start_ns / NS
    assert (status, output) == (0, "")
    assert workdir.log("01-hello") == "127.0.0.1 10.8.0.1 1\n"
    assert start_s - TICK_S < events["start_utc_s"] < start_s + LATE_S
    assert float((workdir.root / "began").read_text()) > start_s
    assert events["start_utc_s"] - TICK_S < events["last_output_utc_s"]
    assert events["last_output_utc_s"] + 0.3 - TICK_S < events["end_utc_s"]
    assert events["planned_start_utc_s"] == pytest.approx(start_s, abs=1e-6)
    assert events["planned_end_utc_s"] == pytest.approx(start_s + 1, abs=1e-6)
    assert {
        key: events[key] for key in ("slot", "host", "starter", "exit_status", "timed_out")
    } == {
        "slot": "01-hello",
        "host": "client-001",
        "starter": "epoch",
        "exit_status": 3,
        "timed_out": False,
    }


def test_one_waiter_runs_several_orders_one_after_the_other(workdir: Workdir) -> None:
    workdir.script("a", "echo first")
    workdir.script("b", "echo second")
    orders = [workdir.order("01-a", "a", in_s=0.2)[0], workdir.order("02-b", "b", in_s=0.8)[0]]
    assert workdir.run("run-slot", *orders) == (0, "")
    assert (workdir.log("01-a"), workdir.log("02-b")) == ("first\n", "second\n")
    first, second = workdir.events("01-a"), workdir.events("02-b")
    for events in (first, second):
        assert events["planned_start_utc_s"] - TICK_S < events["start_utc_s"]
    assert first["end_utc_s"] - TICK_S < second["start_utc_s"]


def test_a_start_that_is_past_is_recorded_as_missed_and_never_run_late(workdir: Workdir) -> None:
    workdir.script("hello", "echo must not run")
    order, _ = workdir.order("01-hello", "hello", in_s=-1, late_s=0.5)
    status, _output = workdir.run("run-slot", order)
    events = workdir.events("01-hello")
    assert status == 1
    assert [events[key] for key in ("start_utc_s", "end_utc_s", "exit_status")] == [None] * 3
    assert "missed" in workdir.log("01-hello")


def test_a_crontab_line_that_fires_a_year_later_does_nothing(workdir: Workdir) -> None:
    workdir.script("hello", "echo must not run")
    order, _ = workdir.order("01-hello", "hello", in_s=-365 * 86_400, starter="cron")
    status, output = workdir.run("run-slot", order)
    assert status == 1
    assert "planned long ago" in output
    assert list((workdir.root / "logs").iterdir()) == []


def test_a_crontab_line_that_fires_long_before_its_time_does_nothing(workdir: Workdir) -> None:
    order, _ = workdir.order("01-hello", "hello", in_s=3600, starter="cron")
    status, output = workdir.run("run-slot", order)
    assert status == 1
    assert "not due yet" in output


def test_an_order_that_has_run_is_not_run_again(workdir: Workdir) -> None:
    workdir.script("hello", "echo once")
    order, _ = workdir.order("01-hello", "hello", in_s=0.1)
    workdir.run("run-slot", order)
    before = workdir.events("01-hello")
    status, output = workdir.run("run-slot", order)
    assert status == 0
    assert "has run already" in output
    assert workdir.events("01-hello") == before


def test_a_test_that_hangs_dies_with_its_children_at_its_limit(workdir: Workdir) -> None:
    workdir.script("hang", "echo $$ >pids; sleep 60 & echo $! >>pids; sleep 60")
    order, start_ns = workdir.order("01-hang", "hang", in_s=0.1, duration_s=3, grace_s=1)
    workdir.run("run-slot", order)
    events = workdir.events("01-hang")
    assert events["timed_out"] is True
    assert events["exit_status"] == 124
    assert 4 - TICK_S < events["end_utc_s"] - start_ns / NS < 50  # it would take 60
    pids = (workdir.root / "pids").read_text().split()
    assert len(pids) == 2
    wait_until(lambda: all(is_gone(int(pid)) for pid in pids))


def is_gone(pid: int) -> bool:
    """Ended; a zombie that its parent has not collected counts as ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True
    return stat.rpartition(")")[2].split()[0] == "Z"


def test_stop_ends_a_waiter_at_once_and_the_test_it_runs(workdir: Workdir) -> None:
    workdir.script("hang", "echo $$ >pid; exec sleep 60")
    running, _ = workdir.order("01-hang", "hang", in_s=0.05, duration_s=30)
    waiting, _ = workdir.order("02-hang", "hang", in_s=120, duration_s=30)
    waiters = [workdir.start("run-slot", order) for order in (running, waiting)]
    pid_file = workdir.root / "pid"
    wait_until(lambda: pid_file.exists() and pid_file.read_text() != "")
    wait_until(lambda: len(list((workdir.root / "slots").glob("*.waiter"))) == 2)
    assert workdir.run("run-slot", "stop") == (0, "")
    assert [waiter.wait(timeout=15) for waiter in waiters] == [143, 143]  # before the second begins
    wait_until(lambda: is_gone(int(pid_file.read_text())))
    assert list((workdir.root / "slots").glob("*.waiter")) == []
    assert list((workdir.root / "logs").glob("*.events.json")) == []


def test_a_stop_right_behind_the_start_of_what_is_waited_for_is_not_lost(workdir: Workdir) -> None:
    """A child of a shell has the shell's traps until it has become its own program."""
    workdir.script("hang", "exec sleep 60")
    for _ in range(60):
        order, _start = workdir.order("01-hang", "hang", in_s=600)
        waiter = workdir.start("run-slot", order)
        place = workdir.root / "slots" / f"{waiter.pid}.waiter"
        wait_until(place.exists, pause_s=0.0)
        wait_until(lambda pid=waiter.pid: has_forked_sleep(pid), pause_s=0.0)
        waiter.send_signal(signal.SIGTERM)
        assert waiter.wait(timeout=25) == 143  # it would be asleep for 30


def has_forked_sleep(pid: int) -> bool:
    """A child is there that still is the shell, or is asleep as it should be."""
    own = Path(f"/proc/{pid}/cmdline").read_bytes()
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{child}/cmdline").read_bytes()
            if words == own or words.startswith(b"sleep"):
                return True
    return False


SUMMING_UP = "trap 'echo summary; exit 0' INT; echo ready; while :; do sleep 1; done"


def test_a_server_may_still_print_its_summary_at_its_limit(workdir: Workdir) -> None:
    workdir.script("s.server", SUMMING_UP)
    order, _ = workdir.order("01-s", "s", in_s=0.1, duration_s=3, grace_s=0.5, role="server")
    assert workdir.run("run-slot", order) == (0, "")
    events = workdir.events("01-s.server")
    assert (events["exit_status"], events["timed_out"]) == (0, False)
    assert workdir.log("01-s.server") == "ready\nsummary\n"


def test_finish_ends_a_server_that_has_nothing_left_to_serve(workdir: Workdir) -> None:
    workdir.script("s.server", SUMMING_UP)
    order, _ = workdir.order("01-s", "s", in_s=0.1, duration_s=1, grace_s=30, role="server")
    waiter = workdir.start("run-slot", order)
    wait_until(
        lambda: (log := workdir.root / "logs/01-s.server.log").exists() and log.read_text() != ""
    )
    assert workdir.run("run-slot", "finish") == (0, "")
    assert waiter.wait(timeout=20) == 0  # its time would be over in 31
    events = workdir.events("01-s.server")
    assert (events["exit_status"], events["timed_out"]) == (0, False)
    assert workdir.log("01-s.server") == "ready\nsummary\n"


def test_a_waiter_that_was_being_started_while_all_were_stopped_finds_no_order(
    workdir: Workdir,
) -> None:
    workdir.script("late", "echo must not run")
    order, _ = workdir.order("01-late", "late", in_s=0.1)
    assert workdir.run("run-slot", "stop") == (0, "")
    status, output = workdir.run("run-slot", order)
    assert status == 1
    assert "01-late.client.order: cannot be read" in output
    assert not list((workdir.root / "logs").iterdir())


def test_stop_leaves_a_process_alone_that_only_has_the_waiters_number(workdir: Workdir) -> None:
    other = subprocess.Popen(["sleep", "30"])
    try:
        (workdir.root / "slots" / f"{other.pid}.waiter").touch()
        assert workdir.run("run-slot", "stop") == (0, "")
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


@pytest.mark.parametrize(
    ("text", "said"),
    [("evil=1\n", "unknown key evil"), ("host=a\n", "incomplete"), (None, "cannot be read")],
)
def test_a_damaged_order_is_refused_by_name(workdir: Workdir, text: str | None, said: str) -> None:
    order = workdir.root / "slots" / "x.order"
    if text is not None:
        order.write_text(text)
    status, output = workdir.run("run-slot", order)
    assert status != 0
    assert said in output
    assert "x.order" in output


def test_a_value_in_an_order_is_never_evaluated(workdir: Workdir) -> None:
    workdir.script("hello", 'echo "$1"')
    order, _ = workdir.order("01-hello", "hello", in_s=0.1, remote="$(touch evaluated)`id`")
    workdir.run("run-slot", order)
    assert workdir.log("01-hello") == "$(touch evaluated)`id`\n"
    assert not (workdir.root / "evaluated").exists()


def use_port(workdir: Workdir, *scripts: str) -> None:
    """Install shipped test scripts, on a port of their own: others may test beside us."""
    port = free_port()
    for name in scripts:
        text = (RESOURCES / "tests" / name).read_text()
        assert "iperf " in text
        text = text.replace("#!/bin/sh\n", "").replace("iperf ", f"iperf -p {port} ", 1)
        workdir.script(name, text if "iperf -p" in text else "exit 99")


@pytest.mark.parametrize("test", ["direct-tcp", "tunnel-tcp"])
def test_the_shipped_tests_measure_between_client_and_server(
    workdir: Workdir, needs_tools: Callable[..., None], test: str
) -> None:
    needs_tools("iperf")
    use_port(workdir, test, f"{test}.server")
    unused = {"direct-tcp": "peer", "tunnel-tcp": "remote"}[test]
    served, _ = workdir.order(f"01-{test}", test, in_s=0.1, duration_s=2, role="server", grace_s=30)
    server = workdir.start("run-slot", served)
    log = workdir.root / "logs" / f"01-{test}.server.log"
    wait_until(lambda: log.exists() and "Server listening" in log.read_text())
    order, _ = workdir.order(f"01-{test}", test, in_s=0.4, **{unused: "192.0.2.1"})
    assert workdir.run("run-slot", order)[0] == 0
    assert workdir.run("run-slot", "finish") == (0, "")  # as when all clients are done
    server.communicate(timeout=60)
    seen, made = workdir.events(f"01-{test}.server"), workdir.events(f"01-{test}")
    assert (made["exit_status"], made["timed_out"]) == (0, False)
    assert (seen["exit_status"], seen["timed_out"]) == (0, False)
    assert seen["start_utc_s"] < made["start_utc_s"] < made["end_utc_s"] < seen["end_utc_s"]
    assert "[ ID] Interval" in workdir.log(f"01-{test}")
    assert workdir.log(f"01-{test}.server").count("bits/sec") >= 2


def test_a_client_without_its_server_ends_at_once_with_a_status(
    workdir: Workdir, needs_tools: Callable[..., None]
) -> None:
    needs_tools("iperf")
    use_port(workdir, "direct-tcp")
    order, _ = workdir.order("01-direct-tcp", "direct-tcp", in_s=0.1, duration_s=40)
    workdir.run("run-slot", order)
    events = workdir.events("01-direct-tcp")
    assert events["exit_status"] == 1
    assert events["end_utc_s"] - events["start_utc_s"] < 20
    assert "Connection refused" in workdir.log("01-direct-tcp")


def test_what_a_server_has_in_the_background_ends_with_its_slot(workdir: Workdir) -> None:
    workdir.script("two.server", "sleep 250 & echo $! >pid; exec sleep 260")
    order, _ = workdir.order("01-two", "two", in_s=0.1, duration_s=2.5, grace_s=0.5, role="server")
    workdir.run("run-slot", order)
    wait_until(lambda: is_gone(int((workdir.root / "pid").read_text())))


def test_a_server_that_ignores_int_is_killed_after_its_slot(workdir: Workdir) -> None:
    workdir.script("deaf.server", "trap '' INT; sleep 60 & echo $! >pid; while :; do wait; done")
    order, _ = workdir.order(
        "01-deaf", "deaf", in_s=0.1, duration_s=2.5, grace_s=0.5, role="server"
    )
    workdir.run("run-slot", order)
    assert workdir.events("01-deaf.server")["exit_status"] == 137
    wait_until(lambda: is_gone(int((workdir.root / "pid").read_text())))


def test_the_monitor_writes_epochs_and_starts_again_after_a_death(workdir: Workdir) -> None:
    carried = pytest.importorskip("dool.__main__").__file__
    shutil.copy(carried, workdir.root / "bin" / "dool")
    pid_file = workdir.root / "watched.pid"
    pid_file.write_text(f"{os.getpid()}\n")
    monitor = workdir.start("monitor", "900", pid_file, "@127.0.0.1", "no-such-if")
    csv, stat = (workdir.root / "logs" / name for name in ("monitor.csv", "procstat.csv"))
    wait_until(lambda: csv.exists() and len(data_rows(csv)) >= 1)
    first = child_named(monitor.pid, "dool")
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: len(data_rows(csv)) >= 3 and csv.read_text().count('"Cmdline:"') == 2)
    wait_until(lambda: stat.exists() and sum(map(on_a_full_second, data_rows(stat))) >= 2, 240)
    assert workdir.run("monitor", "stop") == (0, "")
    assert monitor.wait(timeout=20) != 0
    wait_until(lambda: child_named(monitor.pid, "dool") == 0)
    assert '"net/lo"' in csv.read_text()
    assert '"total cpu usage:siq"' in csv.read_text()
    header, *rows = stat.read_text().splitlines()
    assert header == "epoch,pid,cpu_s,rss_bytes,pss_bytes"
    epoch_s, pid, cpu_s, rss_bytes, pss_bytes = (float(cell) for cell in rows[0].split(","))
    assert 0 < time.time() - epoch_s < 600
    assert pid == os.getpid()
    assert cpu_s > 0
    assert rss_bytes > 1e6
    assert 0 < pss_bytes <= rss_bytes


@pytest.mark.root
@pytest.mark.parametrize("has_counters", [True, False])
def test_the_monitor_samples_the_limits_of_a_network_card_only_where_it_counts_them(
    workdir: Workdir, has_counters: bool
) -> None:
    nicstat, dool = (workdir.root / "bin" / name for name in ("nicstat", "dool"))
    nicstat.write_text(
        "import sys, time\nopen('logs/asked', 'w').close()\n"
        f"if len(sys.argv) < 3: sys.exit({int(not has_counters)})\n"
        "open(sys.argv[2], 'w').write(sys.argv[1])\ntime.sleep(900)\n"
    )
    dool.write_text("import time\nopen('logs/monitor.csv', 'w').close()\ntime.sleep(900)\n")
    script = """
        ip link add nic0 type veth peer name nic1
        mount -t tmpfs none /sys
        mkdir -p /sys/class/net/nic0/device /sys/class/net/nic1
        exec bin/monitor 900 no.pid nic0 tunnel:nic1
    """
    monitor = subprocess.Popen(
        ["unshare", "--net", "--mount", "sh", "-ec", script],
        cwd=workdir.root,
        env={**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"},
        start_new_session=True,
        text=True,
    )
    workdir.started.append(monitor)
    logs = workdir.root / "logs"
    for name in ("monitor.csv", "asked"):
        wait_until((logs / name).exists, 240)
    if has_counters:
        wait_until(
            lambda: (logs / "nic.csv").exists() and (logs / "nic.csv").read_text() != "", 240
        )
        assert (logs / "nic.csv").read_text() == "nic0"
    assert workdir.run("monitor", "stop") == (0, "")
    assert monitor.wait(timeout=60) != 0
    assert (logs / "nic.csv").exists() == has_counters


def data_rows(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if line[:1].isdigit()]


def on_a_full_second(row: str) -> bool:
    epoch_s = float(row.split(",", maxsplit=1)[0])
    return abs(epoch_s - round(epoch_s)) < 0.2


def child_named(session: int, program: str) -> int:
    """A living process of a session whose command line holds `program`; 0 when there is none."""
    for folder in Path("/proc").glob("[0-9]*"):
        pid = int(folder.name)
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            if os.getsid(pid) == session and any(w.endswith(program.encode()) for w in words):
                return pid
        except OSError:
            continue
    return 0


@pytest.fixture
def shared_module(workdir: Workdir, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Python module of the machine that has not been compiled yet."""
    monkeypatch.setenv("PYTHONPATH", str(workdir.root / "lib"))
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    (workdir.root / "lib").mkdir()
    module = workdir.root / "lib" / "of_the_machine.py"
    module.write_text("")
    return module


USES_THE_MODULE = "#!/usr/bin/python3\nimport of_the_machine\nopen('done', 'w').close()\n"


def test_a_test_in_python_leaves_no_byte_code_beside_the_machines_modules(
    workdir: Workdir, shared_module: Path
) -> None:
    workdir.script("python", "")
    (workdir.root / "tests/python").write_text(USES_THE_MODULE)
    order, _ = workdir.order("01-python", "python", in_s=0.1)
    assert workdir.run("run-slot", order) == (0, "")
    assert workdir.log("01-python") == ""
    assert (workdir.root / "done").exists()
    assert list(shared_module.parent.iterdir()) == [shared_module]


def test_the_monitor_leaves_no_byte_code_beside_the_machines_modules(
    workdir: Workdir, shared_module: Path
) -> None:
    (workdir.root / "bin/procstat").write_text(USES_THE_MODULE)
    (workdir.root / "bin/dool").write_text("import time\ntime.sleep(60)\n")
    monitor = workdir.start("monitor", "60", workdir.root / "no.pid", "lo")
    wait_until((workdir.root / "done").exists)
    assert workdir.run("monitor", "stop") == (0, "")
    assert monitor.wait(timeout=20) != 0
    assert list(shared_module.parent.iterdir()) == [shared_module]


def test_a_monitor_that_was_being_started_when_it_was_stopped_does_not_begin(
    workdir: Workdir,
) -> None:
    assert workdir.run("monitor", "stop") == (0, "")
    assert workdir.run("monitor", "60", workdir.root / "no.pid", "lo") == (0, "")
    assert not (workdir.root / "logs/monitor.csv").exists()


def test_the_monitor_ends_by_itself_at_its_limit(workdir: Workdir) -> None:
    (workdir.root / "bin" / "dool").write_text("import time\ntime.sleep(60)\n")
    monitor = workdir.start("monitor", "1", workdir.root / "no.pid", "lo")
    assert monitor.wait(timeout=40) in (124, -signal.SIGKILL, 137)  # its dool would take 60
    wait_until(lambda: child_named(monitor.pid, "dool") == 0)

"""Hosts made sick in every way a fleet knows, and what perfkit must say of each.

One campaign on real hosts carries all of them: a fault is a row of `FAULTS`, with what is done to the
host before or during the campaign, and the words in which it must be named.
"""

from __future__ import annotations

import json
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from project_copy import copy_project

from perfkit.campaign import phases
from perfkit.errors import RunError
from perfkit.fleet.local.provider import LocalProvider
from perfkit.fleet.provider import ListedHost
from perfkit.model import HostState, StageResult
from perfkit.report.page import Report
from perfkit.runs.folder import Run

# The usual recipe, after a command that is the host's own.
FABFILE = """
import importlib.util
import json
from pathlib import Path
from fabric import task

here = Path(__file__).parent
spec = importlib.util.spec_from_file_location("usual", here / "usual.py")
usual = importlib.util.module_from_spec(spec)
spec.loader.exec_module(usual)
setup_server = usual.setup_server
FIRST = json.loads((here / "first.json").read_text())


@task
def setup_client(c):
    command = FIRST.get(c.config.perfkit["host"])
    if command:
        c.run(command)
    usual.setup_client(c)
"""

SSHD_PID = "$(cat /run/sshd.pid)"
SOME_BYTES = 2_000_000  # more than SSH says in these seconds
TARPIT = """
import itertools, socket, threading, time
while True:
    try:
        server = socket.create_server(("", 22), reuse_port=False)
        break
    except OSError:
        time.sleep(0.1)  # the sshd before us has not ended yet
def drip(link):
    for n in itertools.count():
        link.sendall(b"%d\\r\\n" % n)  # lines before the banner are allowed, and never end
        time.sleep(0.5)
while True:
    threading.Thread(target=drip, args=(server.accept()[0],), daemon=True).start()
"""
STRANGERS = """
import socket, time
kept = [socket.create_connection(("127.0.0.1", 22)) for _ in range(3)]
time.sleep(5)  # strangers who do not log in: sshd turns everybody else away meanwhile
"""
LOCK_OUT = (
    "-o UserKnownHostsFile=/dev/null -o GlobalKnownHostsFile=/dev/null -o ConnectTimeout=4 -F none"
)

# `date` in front of the host's own; with -r it tells a file's time stamp, by the same wrong clock.
WRONG_DATE_PATH = "/usr/local/bin/date"
WRONG_DATE = """\
cat >{path} <<'end'
#!/bin/sh
[ "$1" != -r ] || exec /bin/date -d "$(/bin/date -r "$2" '+%F %T.%N %z') {offset_s:+.9f} seconds" "$3"
exec /bin/date -d "{offset_s:+.9f} seconds" "$@"
end
chmod +x {path}
"""


def clock_off(offset_s: float) -> str:
    """Shell text that sets the host's clock off, as far as its programs ask `date` for it."""
    return WRONG_DATE.format(path=WRONG_DATE_PATH, offset_s=offset_s)


@dataclass(frozen=True)
class Fault:
    """One way to be sick.

    Attributes:
        says: A regular expression for the reason in the inventory; empty: the host must be well.
        inside: Shell text run in the host's namespaces before it is configured.
        first: Shell text that its recipe begins with.
        during: Shell text run on this machine once the host sends in the first test; $PID is the
            host's first.
    """

    name: str
    says: str = ""
    inside: str = ""
    first: str = ""
    during: str = ""


FAULTS = (
    Fault("no sshd", r"UnreachableError: .*connection refused", f"kill -KILL {SSHD_PID}"),
    Fault("sshd stopped", r"UnreachableError: .*no SSH session.*banner", f"kill -STOP {SSHD_PID}"),
    Fault(
        "tarpit",
        r"UnreachableError: .*it did not finish its SSH greeting",
        f"kill -KILL {SSHD_PID}; setsid python3 -c '{TARPIT}' >/dev/null 2>&1 </dev/null &",
    ),
    Fault(
        "blackhole",
        r"UnreachableError: .*no answer in time",
        "nft add table inet dark; "
        "nft 'add chain inet dark inward { type filter hook input priority 0; policy drop; }'",
    ),
    Fault(
        "reset mid-command",
        r"LostError: connection lost .*its outcome is not known",
        first="setsid sh -c 'sleep 1; kill -KILL $(ps -o pid= -C sshd)' >/dev/null 2>&1 "
        "</dev/null & sleep 60; echo survived",
    ),
    Fault(
        "host dies while it is configured",
        r"(LostError|UnreachableError): ",
        first="setsid sh -c 'sleep 1; ip link set eth0 down' >/dev/null 2>&1 </dev/null & sleep 60",
    ),
    Fault(
        "no room on its disk",
        r"TransferError: .*is the host's disk full\?",
        "mount -t tmpfs -o size=4k none /var/lib/perfkit",
    ),
    Fault("endless output", r"CommandTimeoutError: still running after", first="yes"),
    Fault(
        "asks and reads",
        r"PromptError: .*Overwrite the database\? \[y/N\]",
        first="printf 'Overwrite the database? [y/N] '; read answer",
    ),
    Fault(
        "asks the terminal",
        r"PromptError: ",
        first="printf 'Passphrase: ' >/dev/tty; read answer </dev/tty || exit 1",
    ),
    Fault(
        "asks for a new password",
        r"PromptError: ",
        first="passwd root",
    ),
    Fault(
        "asks about a configuration file",
        r"PromptError: .*default=N",
        first="printf '*** issue (Y/I/N/O/D/Z) [default=N] ? '; read answer || exit 1",
    ),
    Fault(
        "sudo wants a password",
        r"PromptError: .*password is required",
        first="echo 'sudo: a password is required' >&2; exit 1",
    ),
    Fault(
        "ssh wants a host key confirmed",
        r"PromptError: .*host key",
        first=f"ssh {LOCK_OUT} 198.18.0.1 true || ssh {LOCK_OUT} localhost true",
    ),
    Fault(
        "clock off",
        r"HostError: its clock is -(6\.[6-9]|7\.[0-3])\d+ s off",
        first=clock_off(-7),
    ),
    Fault("dies in a test", r"(LostError|UnreachableError): ", during="kill -KILL $PID"),
    Fault(
        "few logins at a time",
        inside="echo 'MaxStartups 2:100:3' >>/etc/ssh/sshd_config; kill -HUP $(cat /run/sshd.pid); "
        f"sleep 0.3; setsid python3 -c '{STRANGERS}' >/dev/null 2>&1 </dev/null &",
    ),
    Fault("slow link", inside="tc qdisc add dev eth0 root tbf rate 20mbit burst 64kb latency 50ms"),
    Fault("well"),
    Fault("well too"),
)


@dataclass
class SickCampaign:
    """What became of the campaign."""

    run: Run
    names: dict[str, str]  # fault -> host
    reasons: dict[str, str] = field(default_factory=dict)  # host -> why it failed
    done: set[str] = field(default_factory=set)
    measured: StageResult | None = None
    report: Report | None = None
    elapsed_s: dict[str, float] = field(default_factory=dict)  # phase -> seconds
    host_s: dict[str, float] = field(default_factory=dict)  # host -> seconds in configure
    left: list[str] = field(default_factory=list)

    def reason(self, fault: str) -> str:
        return self.reasons.get(self.names[fault], "")


def campaign(folder: Path, faults: tuple[Fault, ...] = FAULTS) -> SickCampaign:
    """Run one with a client for each fault; $PERFKIT_HOME must be `folder`, which must be empty."""
    copy_project(folder, "config", "resources")
    (folder / "resources/fabfile.py").rename(folder / "resources/usual.py")
    (folder / "resources/fabfile.py").write_text(FABFILE)
    names = {fault.name: f"client-{n:03d}" for n, fault in enumerate(faults, start=1)}
    first = {names[fault.name]: fault.first for fault in faults if fault.first}
    (folder / "resources/first.json").write_text(json.dumps(first))
    limits = "connect_timeout_s = 5\ncommand_timeout_s = 15\nhost_deadline_s = 120\n"
    (folder / "config/ssh.conf").write_text(f"[ssh]\n{limits}")
    chosen = {"name": "sick", "on_shortfall": "go", "runs_dir": str(folder / "runs")}
    with phases.start(clients=len(faults), duration_s=3, tests="direct-tcp", **chosen) as session:
        made = SickCampaign(session.run, names)
        try:
            phases.launch(session)
            pids = {host.name: _pid_of(host.identity) for host in _hosts(session.run)}
            for fault in faults:
                if fault.inside:
                    inside(pids[names[fault.name]], fault.inside)
            configured = phases.configure(session)
            made.host_s = {result.host: result.elapsed_s for result in configured.results}
            with _During(
                session.run, [(pids[names[f.name]], f.during) for f in faults if f.during]
            ):
                made.measured = phases.measure(session)
            phases.collect(session)
        finally:
            phases.release(session)
        made.reasons = {r.name: r.reason for r in session.inventory.records() if r.reason}
        made.done = {host.name for host in session.inventory.have_been(HostState.DONE)}
        made.elapsed_s = dict(session.progress().done)
        made.left = [*_names(session.run), *LocalProvider().residue(session.run.id)]
    phases.segment(made.run)
    made.report = phases.report(made.run, echo=False)
    return made


def _hosts(run: Run) -> list[ListedHost]:
    return list(LocalProvider().hosts(run.id))


def _names(run: Run) -> list[str]:
    return [host.name for host in LocalProvider().hosts(run.id)]


def _pid_of(identity: str) -> int:
    return int(identity.removeprefix("pid "))


def inside(pid: int, script: str) -> str:
    """Run shell text with all rights in a host's namespaces; returns what it prints."""
    command = ["nsenter", "-t", str(pid), "-n", "-p", "-m", "sh", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"{script}: {done.stderr}"
    return done.stdout


class _During:
    """Does things to hosts in the first test, as soon as they have sent something."""

    def __init__(self, run: Run, deeds: list[tuple[int, str]]) -> None:
        self._run, self._deeds, self._over = run, deeds, threading.Event()
        self._thread = threading.Thread(target=self._wait_and_do, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(10)

    def _wait_and_do(self) -> None:
        while not self._over.wait(0.05):
            try:
                table = self._run.load_json(self._run.timetable_path)
            except RunError:
                continue
            self._over.wait(max(0.0, table["t0_utc_s"] - time.time()))
            for pid, script in self._deeds:
                before = _sent_bytes(pid)
                while _sent_bytes(pid) < before + SOME_BYTES and not self._over.wait(0.05):
                    pass
                subprocess.run(["sh", "-c", script], env={"PID": str(pid)}, check=True)
            return


def _sent_bytes(pid: int) -> int:
    """What a host has sent since it was made."""
    lines = Path(f"/proc/{pid}/net/dev").read_text().splitlines()
    (counters,) = (line.partition(":")[2] for line in lines if line.strip().startswith("eth0:"))
    return int(counters.split()[8])

"""How long local hosts take until every sshd greets, and what an idle one costs in memory.

    pytest tests/benchmarks/bench_launch.py -m benchmark -s        BENCH_HOSTS=1000 for more

Beside it, in the same run, what a plain shell script does with `ip netns`, one veth and one sshd
per host: no own root, no processes of its own, no cron, no /dev. Needs root, and a machine that is
doing nothing else.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest
from local_runs import LocalRun, new_key, wait_until

from perfkit.fleet.local import linux, tags
from perfkit.fleet.local.provider import LocalProvider

pytestmark = [pytest.mark.benchmark, pytest.mark.root, pytest.mark.timeout(600)]

N_HOSTS = int(os.environ.get("BENCH_HOSTS", "100"))
LAUNCH_TARGET_S = 4.0  # for 100 hosts
MEMORY_TARGET_MB = 5.0

SHELL = """
set -e
mount -t tmpfs none /run && mkdir /run/sshd && cd /run
ip link add br0 type bridge && ip link set br0 up && ip addr add 10.99.0.1/16 dev br0
for i in $(seq $1); do
    address=10.99.$((i / 250 + 1)).$((i % 250 + 1))
    ip netns add h$i
    ip link add v$i type veth peer name eth0 netns h$i
    ip link set v$i master br0 up
    ip -n h$i addr add $address/16 dev eth0
    ip -n h$i link set eth0 up
    ip netns exec h$i $2 -h $3 -o UsePAM=no -o PidFile=none -f /dev/null
    echo $address
done
"""


@dataclass(frozen=True)
class Measured:
    what: str
    hosts: int
    launched_s: float
    reachable_s: float
    pss_mb: float  # of all processes, shared pages divided among those who share them
    available_mb: float  # what MemAvailable fell by: kernel memory included, others' noise too

    def __str__(self) -> str:
        return (
            f"{self.what:32} {self.hosts:5} hosts  launched {self.launched_s:6.2f} s  "
            f"all sshds greet {self.reachable_s:6.2f} s  per host: "
            f"processes {self.pss_mb:5.2f} MB, MemAvailable {self.available_mb:5.2f} MB"
        )


def say(text: str) -> None:
    """The benchmark's output is what it prints."""
    sys.stdout.write(f"{text}\n")


def greets(address: str) -> bool:
    try:
        with socket.create_connection((address, 22), 5) as link:
            return link.recv(4) == b"SSH-"
    except OSError:
        return False


def wait_for_all(addresses: Iterable[str]) -> None:
    for address in addresses:
        assert wait_until(lambda address=address: greets(address), 60), address  # type: ignore[misc]


def available_mb() -> float:
    fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    return int(fields["MemAvailable"].split()[0]) / 1000


def pss_mb(pids: Iterable[int]) -> float:
    """Memory of the processes and all they started."""
    parents = {}
    for pid in tags.pids():
        stat = Path(f"/proc/{pid}/stat")
        if stat.exists():
            parents[pid] = int(stat.read_text().rpartition(")")[2].split()[1])
    wanted = set(pids)
    while more := {pid for pid, parent in parents.items() if parent in wanted} - wanted:
        wanted |= more
    total_kb = 0
    for pid in wanted:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total_kb += int(line.split()[1])
    return total_kb / 1000


def measure_perfkit(folder: Path, n_hosts: int = N_HOSTS) -> Measured:
    provider = LocalProvider("namespaces")
    run = LocalRun(folder)
    names = ["server", *(f"client-{number:04d}" for number in range(1, n_hosts))]
    request = run.request(*names, life_s=600)
    before_mb, begin_s = available_mb(), time.monotonic()
    try:
        hosts = provider.launch(request)
        launched_s = time.monotonic() - begin_s
        wait_for_all(host.address for host in hosts)
        reachable_s = time.monotonic() - begin_s
        time.sleep(1)
        return Measured(
            "perfkit, isolation=namespaces",
            n_hosts,
            launched_s,
            reachable_s,
            pss_mb(tagged.pid for tagged in tags.scan(run.run_id)) / n_hosts,
            (before_mb - available_mb()) / n_hosts,
        )
    finally:
        release_s = time.monotonic()
        assert provider.release(run.run_id).leaked == ()
        say(f"\nreleased in {time.monotonic() - release_s:.2f} s")


def measure_shell(folder: Path, n_hosts: int = N_HOSTS) -> Measured:
    private, _ = new_key()
    key = folder / "shell_key"
    key.write_text(private)
    key.chmod(0o600)
    done = subprocess.run(
        [sys.executable, __file__, str(key), str(n_hosts)],
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    return Measured("plain shell, ip netns and sshd", n_hosts, **json.loads(done.stdout))


def measure_shell_here(key: str, n_hosts: int) -> None:
    """In a process, network and mount namespace of its own, so that all of it goes with it."""
    linux.unshare(linux.CLONE_NEWNET | linux.CLONE_NEWNS)
    linux.make_mounts_private()
    before_mb, begin_s = available_mb(), time.monotonic()
    script = ["sh", "-c", SHELL, "sh", str(n_hosts), "/usr/sbin/sshd", key]
    addresses = subprocess.run(script, capture_output=True, text=True, check=True).stdout.split()
    launched_s = time.monotonic() - begin_s
    wait_for_all(addresses)
    reachable_s = time.monotonic() - begin_s
    time.sleep(1)
    daemons = [
        pid for pid in tags.pids() if key.encode() in command_line(pid) and pid != os.getpid()
    ]
    measured = {
        "launched_s": launched_s,
        "reachable_s": reachable_s,
        "pss_mb": pss_mb(daemons) / n_hosts,
        "available_mb": (before_mb - available_mb()) / n_hosts,
    }
    for pid in daemons:
        if command_line(pid).startswith(b"sshd"):
            os.kill(pid, 15)
    say(json.dumps(measured))


def command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def test_launch_time_and_memory_of_local_hosts(tmp_path: Path) -> None:
    shell = measure_shell(tmp_path)
    ours = measure_perfkit(tmp_path)
    say(f"{shell}\n{ours}\nload average {os.getloadavg()[0]:.1f}, {os.cpu_count()} processors")
    assert ours.reachable_s <= max(1.0, N_HOSTS / 100) * LAUNCH_TARGET_S
    assert ours.pss_mb <= MEMORY_TARGET_MB


if __name__ == "__main__":
    measure_shell_here(sys.argv[1], int(sys.argv[2]))

"""Thousands of local hosts: launched, reached, connected by OpenVPN, pinged, released; by phase.

    BENCH_HOSTS=3800 pytest tests/benchmarks/bench_thousands.py -m benchmark -s

Prints time, memory and process numbers of each phase. What this machine cannot carry is refused before
anything is made, with the limit that is reached first. Needs root, and a machine that is doing
nothing else.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from bench_launch import available_mb, greets, say
from local_runs import LocalRun, in_fresh_process, wait_until

from perfkit.fleet.local import cleanup, tags
from perfkit.fleet.local.provider import LocalProvider
from perfkit.fleet.provider import LaunchRequest
from perfkit.model import Host
from perfkit.runs.folder import Run
from perfkit.vpn.base import get_vpn
from perfkit.vpn.plan import TunnelPlan

pytestmark = [pytest.mark.benchmark, pytest.mark.root, pytest.mark.timeout(1800)]

N_HOSTS = int(os.environ.get("BENCH_HOSTS", "1200"))
BATCH = 25  # as a fleet asks for them
PINGED = 300
RESOURCES = Path(__file__).parents[2] / "resources"
RELEASE = """
import sys
from perfkit.fleet.local.provider import LocalProvider
provider = LocalProvider("namespaces")
print(len(provider.release(sys.argv[1]).released), list(provider.residue(sys.argv[1])))
"""
PING = 'n=0; for a in "$@"; do ping -n -q -c 1 -W 9 $a >/dev/null && n=$((n+1)); done; echo $n'


def tasks() -> int:
    return int(Path("/proc/loadavg").read_text().split()[3].partition("/")[2])


class Phases:
    """Says how long each phase took and what all of them have taken of the machine."""

    def __init__(self) -> None:
        self._begin_s, self._free_mb, self._tasks = time.monotonic(), available_mb(), tasks()

    def say(self, what: str) -> None:
        now_s = time.monotonic()
        used_mb = self._free_mb - available_mb()
        say(
            f"{what:34} {now_s - self._begin_s:7.1f} s   MemAvailable {used_mb:7.0f} MB less, "
            f"{used_mb / N_HOSTS:5.2f} a host   {tasks() - self._tasks:6} process numbers"
        )
        self._begin_s = now_s


def batches(request: LaunchRequest) -> list[LaunchRequest]:
    return [
        dataclasses.replace(
            request, hosts=request.hosts[start : start + BATCH], token=f"batch {start}"
        )
        for start in range(0, len(request.hosts), BATCH)
    ]


class Tunnels:
    """OpenVPN on hosts of a run, with the files that a campaign would give them."""

    def __init__(self, hosts: list[Host], pids: dict[str, int], folder: Path) -> None:
        self._hosts, self._pids = hosts, pids
        vpn = get_vpn("openvpn", RESOURCES)
        assert vpn is not None
        plan = TunnelPlan(server_address=hosts[0].address, clients=len(hosts) - 1)
        vpn.prepare(cast(Run, SimpleNamespace(keys_dir=folder)), plan)
        for host in hosts:
            place = self._place(host)
            (place / "vpn").mkdir(parents=True)
            (place / "logs").mkdir()
            for name, content in vpn.files(host, folder / "none").items():
                (place / "vpn" / name).write_bytes(content)
                (place / "vpn" / name).chmod(0o600)

    def _place(self, host: Host) -> Path:
        return Path(f"/proc/{self._pids[host.name]}/root/root/work")

    def inside(self, host: Host, *command: str) -> str:
        """What a command says in all namespaces of a host."""
        return subprocess.run(
            ["nsenter", "-t", str(self._pids[host.name]), "-a", *command],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True, timeout=600,
        ).stdout  # fmt: skip

    def start(self, host: Host) -> None:
        self.inside(host, "sh", "-c", "cd /root/work/vpn && sh ./start")

    def connected(self) -> list[str]:
        """The clients' addresses in the tunnel, as the server's status has them."""
        status = (self._place(self._hosts[0]) / "logs/openvpn-status.log").read_text()
        lines = (line.split("\t") for line in status.splitlines())
        return [fields[3] for fields in lines if fields[0] == "CLIENT_LIST"]


def test_thousands_of_hosts_come_are_connected_and_go(tmp_path: Path) -> None:
    provider, run = LocalProvider("namespaces", programs=("openvpn",)), LocalRun(tmp_path)
    provider.preflight(N_HOSTS)
    request = run.request("server", *(f"client-{n:04d}" for n in range(1, N_HOSTS)), life_s=1800)
    say(f"\n{N_HOSTS} hosts, {os.cpu_count()} processors, {available_mb():.0f} MB free")
    phases = Phases()
    try:
        hosts = list(itertools.chain(*map(provider.launch, batches(request))))
        phases.say("launched")
        with ThreadPoolExecutor(16) as pool:
            answers = pool.map(lambda host: wait_until(lambda: greets(host.address), 60), hosts)
            assert all(answers)
        phases.say("all sshds greet")
        pids = {it.fields["name"]: it.pid for it in tags.scan(run.run_id) if it.kind == tags.HOST}
        tunnels = Tunnels(hosts, pids, tmp_path)
        phases.say("keys and configurations")
        tunnels.start(hosts[0])
        with ThreadPoolExecutor(6) as pool:
            list(pool.map(tunnels.start, hosts[1:]))
        phases.say("OpenVPN started")
        assert wait_until(lambda: len(tunnels.connected()) == N_HOSTS - 1, 300)
        phases.say(f"{len(tunnels.connected())} tunnels")
        some = tunnels.connected()[:: max(1, N_HOSTS // PINGED)]
        answered = int(tunnels.inside(hosts[0], "sh", "-c", PING, "sh", *some))
        phases.say(f"{answered} of {len(some)} answer a ping")
        assert answered == len(some)
    finally:
        said = in_fresh_process(RELEASE, run.run_id)
        phases.say("released by its tag")
    assert said == f"{N_HOSTS} []\n"
    assert cleanup.uplinks(run.run_id) == []

"""What configuring costs, held against bare Fabric threads doing the same commands and files.

    pytest tests/benchmarks/bench_configure.py -m benchmark -s        BENCH_HOSTS=1000 for more

The hosts are configured once; then both ways take turns on the same hosts,
each with new connections, so that OpenVPN's own start is in neither. Bare Fabric has no pins, no
limits, no logs and reads the same fabfile; the bundles and the facts are made for it beforehand.
"""

from __future__ import annotations

import importlib.util
import os
import shlex
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import fabric
import pytest

from perfkit.configure import facts, recipes
from perfkit.fleet.provider import HostRequest, LaunchRequest, get_provider
from perfkit.model import Host, Role
from perfkit.runs import folder
from perfkit.runs.folder import Run
from perfkit.ssh.keys import make_ssh_key
from perfkit.ssh.known_hosts import pin_hosts
from perfkit.ssh.remote import Access, RemotePool
from perfkit.vpn.health import check_tunnels
from perfkit.vpn.openvpn.ca import Authority
from perfkit.vpn.openvpn.configuration import OpenVpn
from perfkit.vpn.plan import TunnelPlan

RESOURCES = Path(__file__).parents[2] / "resources"
VPN = OpenVpn(RESOURCES)
VERSION = "version " + shlex.join(VPN.traits.version_command)
N_HOSTS = int(os.environ.get("BENCH_HOSTS", "100"))
THREADS = 32
ROUNDS = 5
MOST_TIMES_BARE = 3.0

pytestmark = [pytest.mark.benchmark, pytest.mark.root]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Run, list[Host]]]:
    run = folder.create(tmp_path_factory.mktemp("runs"), "bench", {})
    key = make_ssh_key()
    folder.write_atomic(run.key_path, key.private_openssh.encode())
    requests = []
    for n in range(N_HOSTS):
        pair = make_ssh_key()
        name, role = (f"client-{n:03d}", Role.CLIENT) if n else ("server", Role.SERVER)
        requests.append(
            HostRequest(
                name=name,
                role=role,
                host_key=pair.public_openssh,
                host_key_private=pair.private_openssh,
            )
        )
    provider = get_provider("local", isolation="namespaces")
    try:
        hosts = provider.launch(
            LaunchRequest(
                token=run.id,
                run_id=run.id,
                owner="bench",
                expires_utc=datetime.now(UTC) + timedelta(minutes=10),
                authorized_key=key.public_openssh,
                hosts=tuple(requests),
            )
        )
        pin_hosts(run.known_hosts_path, hosts)
        yield run, list(hosts)
    finally:
        provider.release(run.id)


def with_perfkit(run: Run, hosts: list[Host], plan: TunnelPlan) -> None:
    access = Access(key_path=run.key_path, known_hosts_path=run.known_hosts_path)
    with RemotePool(access, run.root / "hosts") as pool:
        stage = recipes.configure(
            run,
            hosts,
            pool=pool,
            threads=THREADS,
            resources_dir=RESOURCES,
            vpn=VPN,
            tunnel=plan,
        )
    assert stage.failed == (), str(stage)


def with_bare_fabric(run: Run, hosts: list[Host]) -> None:
    spec = importlib.util.spec_from_file_location("bare_fabfile", RESOURCES / "fabfile.py")
    assert spec is not None
    assert spec.loader is not None
    fabfile = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fabfile)

    def configure(host: Host) -> None:
        connect = {"key_filename": str(run.key_path), "allow_agent": False, "look_for_keys": False}
        with fabric.Connection(
            host.address, user=host.user, port=host.port, connect_kwargs=connect
        ) as c:
            c.config.run.in_stream = False  # threads cannot share this terminal's input
            c.config["perfkit"] = {
                "workdir": host.workdir,
                "bundle": str(run.host_dir(host.name) / "bundle"),
            }
            getattr(fabfile, f"setup_{host.role}")(c)
            # private: the script without the SSH of facts, to time Fabric alone
            script = f"cd {host.workdir}/logs\n{facts._SCRIPT.replace('VPN_VERSION', VERSION)}"
            assert c.run(script, hide=True).ok

    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(configure, hosts))


def timed(work: Callable[[], None]) -> tuple[float, float]:
    """Wall seconds, and CPU seconds of this process."""
    wall, cpu = time.monotonic(), time.process_time()
    work()
    return time.monotonic() - wall, time.process_time() - cpu


def test_configuring_costs_at_most_three_times_bare_fabric(
    fleet: tuple[Run, list[Host]], capsys: pytest.CaptureFixture[str]
) -> None:
    run, hosts = fleet
    server = next(host for host in hosts if host.role is Role.SERVER)
    plan = TunnelPlan(server_address=server.address, clients=len(hosts))
    first_s, _ = timed(lambda: with_perfkit(run, hosts, plan))
    access = Access(key_path=run.key_path, known_hosts_path=run.known_hosts_path)
    with RemotePool(access) as pool:
        started = time.monotonic()
        health = check_tunnels(hosts, pool, vpn=VPN, peer=plan.server_tunnel_address)
        gate_s = time.monotonic() - started
    assert all(it.ok for it in health.values())
    ours, bare = [], []
    for _ in range(ROUNDS):
        ours.append(timed(lambda: with_perfkit(run, hosts, plan)))
        bare.append(timed(lambda: with_bare_fabric(run, hosts)))
    ratios = [mine[0] / theirs[0] for mine, theirs in zip(ours, bare, strict=True)]
    with capsys.disabled():
        print(f"\n{len(hosts)} hosts, {THREADS} threads, {ROUNDS} rounds (median wall / CPU, s)")
        for name, rows in (("perfkit", ours), ("bare fabric", bare)):
            wall, cpu = (statistics.median(column) for column in zip(*rows, strict=True))
            print(f"  {name:12} {wall:6.2f} / {cpu:6.2f}")
        print(f"  ratio        {statistics.median(ratios):6.2f}  (each: {ratios})")
        print(f"  first time, with OpenVPN's start {first_s:.2f} s; the gate {gate_s:.2f} s")
    assert statistics.median(ratios) <= MOST_TIMES_BARE


def issue_all(authority: Authority, names: list[str]) -> None:
    for name in names:
        authority.issue(name, Role.CLIENT)


def test_a_hundred_certificates_take_less_than_a_second(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    authority = Authority(tmp_path / "keys")
    names = [f"client-{n:03d}" for n in range(100)]
    wall_s, _ = timed(lambda: issue_all(authority, names))
    with capsys.disabled():
        print(f"\n100 certificates: {wall_s:.3f} s")
    assert wall_s < 1.0

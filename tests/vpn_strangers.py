"""Clients that a run's OpenVPN server must not let in, tried on a real one, all at once."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from existing_hosts import Lab
from local_runs import wait_until

from perfkit.configure.bundles import Bundles
from perfkit.model import Role
from perfkit.runs import folder as runs
from perfkit.vpn.openvpn.ca import Authority, Credentials
from perfkit.vpn.openvpn.configuration import OpenVpn
from perfkit.vpn.plan import TunnelPlan

RESOURCES = Path(__file__).parents[1] / "resources"
UP = "Initialization Sequence Completed"
# What the server's log must say of the strangers that came as far as to be heard.
REFUSALS = (
    "certificate revoked: CN=client-003",
    "certificate has expired: CN=client-004",
    "unsuitable certificate purpose: CN=server",
    "unable to get local issuer certificate: CN=client-001",
    "tls-crypt unwrap error",
)
GOOD = "the run's own client"


def credentials(keys_dir: Path, theirs: Authority, folder: Path) -> dict[str, Credentials]:
    """A certificate and key for each kind of client."""
    ours, expired = Authority(keys_dir), Authority(keys_dir, days=-0.001)
    revoked = ours.issue("client-003", Role.CLIENT)
    ours.revoke(revoked.certificate)
    return {
        GOOD: ours.issue("client-001", Role.CLIENT),
        "revoked": revoked,
        "of another run's authority": theirs.issue("client-001", Role.CLIENT),
        "the server's certificate as a client": ours.issue("server", Role.SERVER),
        "expired": expired.issue("client-004", Role.CLIENT),
        "a certificate without its key": Credentials(
            certificate=ours.issue("client-005", Role.CLIENT).certificate,
            key=theirs.issue("client-005", Role.CLIENT).key,
        ),
    }


def try_all(lab: Lab, folder: Path, wait_s: float = 4.0) -> dict[str, bool]:
    """Who got in: the run's own client, and each that should not."""
    run, other = (runs.create(folder / "runs", name, {}) for name in ("ours", "theirs"))
    server, client = lab.hosts[0], lab.hosts[1]
    theirs = Authority(other.keys_dir)
    plan = TunnelPlan(server_address=server.address, clients=9)
    bundles = Bundles(run, RESOURCES, (OpenVpn(RESOURCES), plan), {})
    kinds = credentials(run.keys_dir, theirs, folder)
    bundle = bundles.make(client) / "vpn"
    servers_log = _start(lab, "server", lab.pids["server"], bundles.make(server) / "vpn", "tun0")
    logs: dict[str, Callable[[], str]] = {}
    for number, (kind, given) in enumerate(kinds.items()):
        own = folder / f"client-{number}"
        shutil.copytree(bundle, own)
        (own / "host.crt").write_text(given.certificate)
        (own / "host.key").write_text(given.key)
        logs[kind] = _start(lab, "client", lab.pids[client.name], own, f"tun{number}")
    # A client of another run altogether, who lacks our tls-crypt key: the server does not answer.
    own = folder / "stranger"
    shutil.copytree(bundle, own)
    (own / "tls-crypt.key").write_text(theirs.tls_crypt_key)
    logs["without the run's tls-crypt key"] = _start(
        lab, "client", lab.pids[client.name], own, "tun99"
    )
    wait_until(lambda: UP in logs[GOOD](), 60)
    wait_until(lambda: all(refusal in servers_log() for refusal in REFUSALS), 60)
    wait_until(lambda: any(UP in log() for kind, log in logs.items() if kind != GOOD), wait_s)
    return {kind: UP in log() for kind, log in logs.items()}


def _start(lab: Lab, role: str, pid: int, files: Path, device: str) -> Callable[[], str]:
    """Put the files on the host and start OpenVPN there; returns what reads its log."""
    place = Path(f"/var/lib/vpn/{files.name}-{device}")
    seen_here = Path(f"/proc/{pid}/root{place}")
    (seen_here / "logs").mkdir(parents=True)
    shutil.copytree(files, seen_here / "openvpn")
    host = next(host for host in lab.hosts if lab.pids[host.name] == pid)
    lab.inside(
        host,
        f"cd {place}/openvpn && openvpn --cd $PWD --config {role}.conf --dev {device} --daemon"
        " </dev/null >/dev/null 2>&1 || cat ../logs/openvpn.log",
    )
    log = seen_here / "logs/openvpn.log"
    return lambda: log.read_text() if log.exists() else ""

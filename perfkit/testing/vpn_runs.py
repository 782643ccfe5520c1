"""A run's VPN as the contract's tests need it: its files, and hosts on which it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote

from perfkit.configure.bundles import Bundles
from perfkit.model import Host, Role
from perfkit.runs.folder import Run
from perfkit.ssh.remote import CommandResult, RemotePool
from perfkit.vpn import base
from perfkit.vpn.health import TunnelHealth, check_tunnels
from perfkit.vpn.plan import TunnelPlan

NAMES = ("server", "client-001", "client-002")
# Every process but logins and this look.
_PROCESSES = "for p in /proc/[0-9]*; do tr '\\0' ' ' <$p/cmdline; echo; done 2>/dev/null"


def make(name: str, resources_dir: Path) -> base.Vpn:
    """A VPN object, as a process of its own would make it."""
    vpn = base.get_vpn(name, resources_dir)
    assert vpn is not None
    return vpn


def example_host(name: str) -> Host:
    """A host of that name which is nowhere; `server` is the server."""
    role = Role.SERVER if name == "server" else Role.CLIENT
    return Host(name=name, role=role, address="192.0.2.9", host_key="")


def texts_below(folder: Path) -> dict[str, bytes]:
    """The content of every file, by path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def secrets_of(vpn: base.Vpn, run: Run) -> dict[str, bytes]:
    """The content of the run's files that its VPN calls secret, by path below the run's folder."""
    found = {path for pattern in vpn.traits.secrets for path in run.root.glob(pattern)}
    return {str(path.relative_to(run.root)): path.read_bytes() for path in sorted(found)}


@dataclass
class Made:
    """A run with the bundle of a server and two clients."""

    vpn: base.Vpn
    run: Run
    resources_dir: Path
    bundles: dict[str, Path] = field(default_factory=dict)

    def prepare(
        self, server_address: str = "192.0.2.1", variants: Mapping[str, base.Vpn] | None = None
    ) -> Bundles:
        """Open the run's bundles, once more if they were opened before."""
        plan = TunnelPlan(server_address=server_address, clients=len(NAMES) - 1)
        return Bundles(self.run, self.resources_dir, (self.vpn, plan), {}, variants)


@dataclass
class Started:
    """Real hosts that have the files of a VPN, and the way to them."""

    vpn: base.Vpn
    hosts: dict[str, Host]
    pool: RemotePool
    plan: TunnelPlan

    def sh(self, name: str, script: str) -> CommandResult:
        """Run a script in the VPN's folder on a host, as root."""
        host = self.hosts[name]
        return self.pool.get(host).run_script(
            f"cd {quote(host.workdir)}/{base.FOLDER} && {{\n{script}\n}}"
        )

    def everywhere(self, script: str) -> None:
        """Run `start` or `stop` on every host, the server first."""
        for name in self.hosts:
            self.sh(name, f"./{script}")

    def health(self, timeout_s: float = 60.0) -> dict[str, TunnelHealth]:
        """What the gate finds on every host."""
        peer = self.plan.server_tunnel_address
        return check_tunnels(
            self.hosts.values(), self.pool, vpn=self.vpn, peer=peer, timeout_s=timeout_s
        )

    def reasons(self) -> dict[str, str]:
        """What keeps a host from using its tunnel; nothing if a ping came through."""
        return {name: it.reason for name, it in self.health().items() if not it.ok}

    def has_device(self, name: str) -> bool:
        """Whether the tunnel's device is there on a host."""
        device = quote(self.vpn.traits.devices[self.hosts[name].role])
        return bool(self.sh(name, f"[ ! -e /sys/class/net/{device} ] || echo yes").stdout)

    def has_process(self, name: str) -> bool:
        """Whether a process of the VPN carries the packets, and not the kernel."""
        pid_file = quote(f"../{self.vpn.traits.pid_file or 'none'}")
        return bool(self.sh(name, f"[ ! -s {pid_file} ] || echo yes").stdout)

    def processes(self, name: str) -> list[str]:
        """Command lines of the host's processes but those of its logins."""
        lines = self.sh(name, _PROCESSES).stdout.splitlines()
        passing = ("sshd", "tr ", "sh -c", "sh ", "/bin/sh", "sleep ", "timeout ", "wg ", "awk ")
        return sorted(line for line in lines if line.strip() and not line.startswith(passing))


def with_option(vpn: base.Vpn, name: str, value: str) -> base.Vpn:
    """The VPN with an option for both roles."""
    return vpn.changed(base.Changes(options={role: {name: value} for role in Role}))


def push(pool: RemotePool, host: Host, folder: Path) -> None:
    """Put the files of a bundle's VPN on its host."""
    remote, place = pool.get(host), f"{host.workdir}/{base.FOLDER}"
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    folders = {f"{place}/{path.parent.relative_to(folder)}" for path in files}
    remote.run(["mkdir", "-p", *sorted(folders), f"{host.workdir}/logs"])
    for path in files:
        mode = path.stat().st_mode & 0o777
        remote.put(path, f"{place}/{path.relative_to(folder)}", mode=mode)

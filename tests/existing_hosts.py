"""Machines that "exist already", for the tests of provider=static: local hosts of another run.

They are made directly with the local provider, as somebody's lab would be there, and described in a
static.conf; the static provider knows nothing of where they come from.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from local_runs import LocalRun
from project_copy import copy_project

from perfkit.fleet.local.provider import LocalProvider
from perfkit.model import Host

# Every file of its own but logs, with owner, mode and content; every process but logins and this
# look; crontab (whose file begins with the time of its last change), interfaces, routes.
LISTING = r"""
PATH=$PATH:/usr/sbin:/sbin
find / -xdev -path /var/log -prune -o -printf '%p %y %M %u %g %l\n' | sort
find / -xdev \( -path /var/log -o -path /var/spool/cron \) -prune -o -type f -exec sha256sum {} + | sort
for dir in /proc/[0-9]*; do
    [ "$(readlink $dir/ns/pid)" = "$(readlink /proc/1/ns/pid)" ] && tr '\0\n' '  ' <$dir/cmdline && echo
done 2>/dev/null | grep -v -e LISTING -e '^find ' -e '^sort' -e '^tr ' -e '^sshd: ' | sort
crontab -l 2>&1
ip -o link | cut -d ' ' -f 2-3
ip -o addr | cut -d ' ' -f 2-7
ip route
"""
# What has changed in the folders it shares with this machine, which may be changed as well.
CHANGED_SINCE = "find {folders} -xdev -newerct @{since_s:.3f} 2>/dev/null || true"  # some just went
SHARED_FOLDERS = """awk '$3 == "overlay" { print $2 }' /proc/self/mounts"""


def listens(port: int = 22) -> str:
    """A condition of sh: somebody listens at the port. sshd goes into the background before."""
    return f"grep -qs ':{port:04X} .* 0A ' /proc/net/tcp /proc/net/tcp6"


def until_it_listens(port: int = 22) -> str:
    """Words of sh that wait for it."""
    return f"until {listens(port)}; do sleep 0.1; done"


@dataclass
class Lab:
    """Some machines and the folder of the static.conf that names them."""

    run: LocalRun
    hosts: Sequence[Host]
    config_dir: Path
    pids: dict[str, int] = field(default_factory=dict)

    @property
    def clients(self) -> list[Host]:
        return [host for host in self.hosts if host.role == "client"]

    def write_conf(self, *sections: str, **common: str) -> None:
        """Write static.conf: all machines, each with its pinned key, or these sections."""
        settings = "".join(f"{key} = {value}\n" for key, value in common.items())
        head = f"[static]\nssh_config = /dev/null\n{settings}"
        machines = sections or [self.section(host) for host in self.hosts]
        (self.config_dir / "static.conf").write_text("\n".join([head, *machines]))

    def section(self, host: Host, name: str = "", **more: str) -> str:
        keys = {
            "role": host.role.value,
            "address": host.address,
            "port": str(host.port),
            "key_file": str(self.run.key_path),
            "host_key": host.host_key,
            **more,
        }
        lines = [f"{key} = {value}\n" for key, value in keys.items()]
        return "".join([f"[{name or f'lab-{host.name}'}]\n", *lines])

    def inside(self, host: Host, script: str) -> str:
        """What a script prints on the machine, run beside SSH."""
        pid = str(self.pids[host.name])
        argv = ["nsenter", "-t", pid, "-m", "-u", "-i", "-n", "-p", "sh", "-c", script]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=150, check=True)
        return done.stdout

    def link_up(self, network: str = "10.77.0") -> dict[str, str]:
        """A second network, beside the one that SSH takes: a bridge on the server, called `ten`,
        and a cable to it from every client; returns the addresses by host.
        """
        server, *clients = self.hosts
        addresses = {server.name: f"{network}.1"}
        self.inside(server, f"ip link add ten type bridge && ip addr add {network}.1/24 dev ten")
        for number, client in enumerate(clients, start=2):
            addresses[client.name] = f"{network}.{number}"
            here, there = self.pids[server.name], self.pids[client.name]
            cable = f"ip link add ten{number} netns {here} type veth peer name ten0 netns {there}"
            subprocess.run(cable.split(), check=True, timeout=30)
            self.inside(server, f"ip link set ten{number} master ten up")
            self.inside(client, f"ip addr add {addresses[client.name]}/24 dev ten0")
            self.inside(client, "ip link set ten0 up")
        self.inside(server, "ip link set ten up")
        return addresses

    def listing(self, host: Host) -> list[str]:
        """What there is on a machine, line by line."""
        return self.inside(host, LISTING).splitlines()

    def changed_since(self, host: Host, since_s: float) -> list[str]:
        """Files that the machine has changed in the folders it shares with this one (seconds of
        work: they are large).

        Whoever installs a package here meanwhile changes the same files on both.
        """
        folders = self.inside(host, SHARED_FOLDERS).split()
        # The time of a change is that of the kernel's last tick, up to 10 ms before it.
        look = CHANGED_SINCE.format(folders=" ".join(folders), since_s=since_s - 0.011)
        left: set[str] = set()
        for round_no in range(3):  # what a host has changed stays so; temporary files here do not
            there = set(self.inside(host, look).splitlines())
            # Second, so that whatever was changed here when it was seen there is seen here as well.
            here = subprocess.run(["sh", "-c", look], capture_output=True, text=True, check=True)
            found = there - set(here.stdout.splitlines())
            left = left & found if round_no else found
            if not left:
                break
        return sorted(left)


@contextmanager
def existing_hosts(folder: Path, n_clients: int) -> Iterator[Lab]:
    """Have machines for a while."""
    provider = LocalProvider("namespaces")
    run = LocalRun(folder)
    names = [f"client-{n:03d}" for n in range(1, n_clients + 1)]
    config_dir = folder / "config"
    copy_project(folder, "config")
    try:
        hosts = provider.launch(run.request("server", *names, life_s=1800))
        lab = Lab(run, hosts, config_dir)
        lab.pids = {h.name: int(h.identity.split()[1]) for h in provider.hosts(run.run_id)}
        lab.write_conf()
        yield lab
    finally:
        provider.release(run.run_id)

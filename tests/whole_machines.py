"""Machines that "exist already" with every right of root inside, for the tests of packed hosts.

A local host may make no user namespace, so no hosts of its own. These are made by the test: each has
its own network, mount, PID, UTS, IPC and cgroup namespaces, its own root and its own sshd, and is in
the machine's user namespace. All are joined to one switch, as a lab's are.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from project_copy import copy_project

from perfkit.ssh.keys import make_ssh_key

FAR_S = 60.0
UNSHARE = [
    "unshare",
    "--net",
    "--mount",
    "--pid",
    "--uts",
    "--ipc",
    "--cgroup",
    "--fork",
    "--kill-child",
]
# $1: an empty folder, $2: the machine's name. Its /etc is a copy, with keys put there before.
MACHINE = r"""
set -eu
PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount --make-rprivate /
mount -t tmpfs -o mode=0755 machine "$1"
cd "$1"
for name in bin sbin lib lib32 lib64 libx32; do
    if [ -L "/$name" ]; then cp -P "/$name" .
    elif [ -d "/$name" ]; then mkdir "$name"; mount --bind "/$name" "$name"
    fi
done
mkdir -p usr dev proc sys run/sshd run/lock root mnt home var/lib var/log var/spool/cron/crontabs var/cache
mkdir -m 1777 tmp var/tmp
ln -s /run var/run
chgrp crontab var/spool/cron/crontabs
chmod 1730 var/spool/cron/crontabs
mount --bind /usr usr
cp -a /etc .
printf '127.0.0.1 localhost\n' >etc/hosts
mount --rbind /dev dev
mount -t proc proc proc
mount -t sysfs sysfs sys
hostname "$2"
ip link set lo up
cat >etc/ssh/machine_key && chmod 600 etc/ssh/machine_key
pivot_root . mnt
exec chroot . sh -c 'umount -l /mnt && exec tini -- sleep 1800' <dev/null >dev/null 2>&1
"""
SSHD = r"""
cat >/etc/ssh/machine.conf <<END
HostKey /etc/ssh/machine_key
AuthorizedKeysFile /etc/ssh/machine_authorized
PermitRootLogin prohibit-password
AuthenticationMethods publickey
UsePAM no
UseDNS no
PidFile /run/sshd.pid
MaxStartups 100
Subsystem sftp internal-sftp
END
chmod 600 /etc/ssh/machine_authorized
/usr/sbin/sshd -f /etc/ssh/machine.conf
until grep -qs ':0016 .* 0A ' /proc/net/tcp; do sleep 0.05; done
"""


@dataclass
class Machine:
    """One of them: its PID 1 as seen here, its address on the switch."""

    name: str
    address: str
    process: subprocess.Popen[bytes]
    host_key: str
    pid: int = 0

    def inside(self, script: str, stdin: bytes = b"") -> str:
        """What a script prints on the machine, run beside SSH."""
        argv = ["nsenter", "-t", str(self.pid), "-a", "sh", "-c", script]
        done = subprocess.run(argv, input=stdin, capture_output=True, timeout=150, check=False)
        assert done.returncode == 0, (script, done.stderr)
        return done.stdout.decode()

    @contextlib.contextmanager
    def rebooting(self) -> Iterator[None]:
        """Let it die, and its network answer for it meanwhile: connections are refused at once."""
        with Path(f"/proc/{self.pid}/ns/net").open():
            self.end()
            yield

    def end(self) -> None:
        """Switch it off: nothing of it is left."""
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid or self.process.pid, signal.SIGKILL)
            self.process.kill()
            self.process.wait(FAR_S)


@dataclass
class MachineLab:
    """The machines, and the folder of the static.conf that names them."""

    config_dir: Path
    key_path: Path
    machines: dict[str, Machine] = field(default_factory=dict)

    def write_conf(self, **common: str) -> None:
        settings = "".join(f"{key} = {value}\n" for key, value in common.items())
        text = f"[static]\nssh_config = /dev/null\n{settings}"
        for name, machine in self.machines.items():
            role = "server" if name == "lab-server" else "client"
            text += (
                f"\n[{name}]\nrole = {role}\naddress = {machine.address}\n"
                f"key_file = {self.key_path}\nhost_key = {machine.host_key}\n"
            )
        (self.config_dir / "static.conf").write_text(text)


@contextlib.contextmanager
def whole_machines(folder: Path, n_clients: int) -> Iterator[MachineLab]:
    """Have a server and some client machines, joined by one switch, for a while."""
    copy_project(folder, "config")
    key = make_ssh_key()
    key_path = folder / "lab_key"
    key_path.write_text(key.private_openssh)
    key_path.chmod(0o600)
    lab = MachineLab(folder / "config", key_path)
    network = f"10.{os.getpid() % 200 + 20}.{os.getpid() // 200 % 250}"
    cable = f"pkl{os.getpid() % 10**8}"
    with contextlib.ExitStack() as stack:
        switch = _switch(stack, cable, f"{network}.254/24")
        names = ["lab-server", *(f"lab-{number}" for number in range(1, n_clients + 1))]
        for number, name in enumerate(names, 1):
            machine = _start(folder / name, name, f"{network}.{number}")
            stack.callback(machine.end)
            lab.machines[name] = machine
        for number, machine in enumerate(lab.machines.values(), 1):
            machine.pid = _first_process(machine.process.pid)
            port = f"ip link add port{number} type veth peer name eth0 netns {machine.pid}"
            _in_network(switch, f"{port} && ip link set port{number} master lab up")
            machine.inside(f"ip addr add {machine.address}/24 dev eth0 && ip link set eth0 up")
            machine.inside("cat >/etc/ssh/machine_authorized", key.public_openssh.encode())
            machine.inside(SSHD)
        lab.write_conf()
        yield lab


def _switch(stack: contextlib.ExitStack, cable: str, here: str) -> int:
    """A bridge in a network of its own, and this machine's cable to it; the PID that holds it."""
    holder = subprocess.Popen(
        ["unshare", "--net", "sh", "-c", "echo up; exec sleep 1800"], stdout=subprocess.PIPE
    )
    stack.callback(holder.wait, FAR_S)
    stack.callback(holder.kill)
    assert holder.stdout is not None
    stack.callback(holder.stdout.close)
    assert holder.stdout.readline() == b"up\n"
    _in_network(holder.pid, "ip link add lab type bridge && ip link set lab up")
    subprocess.run(
        f"ip link add {cable} type veth peer name uplink netns {holder.pid}"
        f" && ip addr add {here} dev {cable} && ip link set {cable} up",
        shell=True,
        check=True,
        timeout=FAR_S,
    )
    # At once: the kernel takes a network away some time after its last process.
    stack.callback(subprocess.run, ["ip", "link", "del", cable], check=False, timeout=FAR_S)
    _in_network(holder.pid, "ip link set uplink master lab up")
    return holder.pid


def _in_network(pid: int, script: str) -> None:
    subprocess.run(["nsenter", "-t", str(pid), "-n", "sh", "-c", script], check=True, timeout=FAR_S)


def _start(place: Path, name: str, address: str) -> Machine:
    place.mkdir()
    host_key = make_ssh_key()
    process = subprocess.Popen(
        [*UNSHARE, "sh", "-c", MACHINE, "sh", str(place), name],
        stdin=subprocess.PIPE,
    )
    assert process.stdin is not None
    process.stdin.write(host_key.private_openssh.encode())
    process.stdin.close()
    return Machine(name, address, process, host_key.public_openssh.strip())


def _first_process(unshare: int) -> int:
    """PID 1 of a machine, once it has become what it is to be."""
    deadline_s = time.monotonic() + FAR_S
    while time.monotonic() < deadline_s:
        children = Path(f"/proc/{unshare}/task/{unshare}/children").read_text().split()
        with contextlib.suppress(OSError, IndexError):
            if Path(f"/proc/{children[0]}/comm").read_text() == "tini\n":
                return int(children[0])
        time.sleep(0.02)
    raise TimeoutError("the machine did not come up")

"""What this machine lets local hosts have: memory, process numbers, namespaces, open files.

All is looked at before anything is made: a kernel that is out of one of these fails in the midst of a
launch or of a test, and other programs of the machine with it.
"""

from __future__ import annotations

import math
import resource
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from perfkit.errors import ProviderError
from perfkit.fleet.local import tools

MEMORY_PER_HOST_BYTES = 6_000_000  # measured by tests/benchmarks/bench_launch.py, with reserve
# Threads have numbers, too. Counted in a campaign while a test ran: tini, sleep, cron and sshd, two of
# an SSH session, six of the test's script with 3 threads of iperf, one of a VPN's program.
PROCESSES_PER_HOST = 14
FILES_PER_HOST = 64  # of the whole machine's open files; 56 were counted then
CONNECTION_FILES = 1  # of the controller's own
SPARE_FILES = 128  # of the controller's own: logs and frames that are being written
NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "uts")  # `userns` looks for the user's own

_PROC = Path("/proc")
_CGROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """One limit and how far it is used up.

    Attributes:
        of: What is limited, in words.
        name: As the user finds it on the machine.
        most: The limit.
        used: By what runs now.
        per_host: What each local host takes of it.
        raise_by: The command that raises it, with `{}` for the number.
    """

    of: str
    name: str
    most: int
    used: int
    per_host: int
    raise_by: str

    def needed(self, n_hosts: int) -> int:
        """What it would have to be for so many hosts."""
        return self.used + n_hosts * self.per_host

    def refusal(self, n_hosts: int) -> str:
        """Why so many hosts cannot be made, with what can be done; empty when they can."""
        if self.needed(n_hosts) <= self.most:
            return ""
        fitting = max(0, self.most - self.used) // self.per_host
        return (
            f"{n_hosts} local hosts need about {n_hosts * self.per_host} {self.of}, {self.per_host} "
            f"each; {self.name} is {self.most} and {self.used} are in use; ask for at most {fitting} "
            f"hosts, or raise it: {self.raise_by.format(self.needed(n_hosts))}"
        )


def require_memory(n_hosts: int) -> None:
    """Refuse more hosts than memory carries.

    Raises:
        ProviderError: with what is needed, what is free, and how many fit.
    """
    available_bytes = tools.available_memory_bytes()
    needed_bytes = n_hosts * MEMORY_PER_HOST_BYTES
    if available_bytes is not None and needed_bytes > available_bytes:
        fitting = available_bytes // MEMORY_PER_HOST_BYTES
        raise ProviderError(
            f"{n_hosts} local hosts need about {math.ceil(needed_bytes / 1e6)} MB of memory, "
            f"{available_bytes // 1_000_000} MB are free; ask for at most {fitting}"
        )


def require_kernel(n_hosts: int) -> None:
    """Refuse more hosts in namespaces than this machine's kernel lets be.

    Raises:
        ProviderError: with the limit that is reached first, its figure, and how it is raised.
    """
    refused = [
        (max(0, limit.most - limit.used) / limit.per_host, said)
        for limit in (*machine_limits(), *cgroup_limits())
        if (said := limit.refusal(n_hosts))
    ]
    if refused:
        raise ProviderError(min(refused)[1])


def machine_limits(proc: Path = _PROC) -> Iterator[Limit]:
    """The limits that the whole machine, and this process, has; those that the kernel shows."""
    tasks = int((proc / "loadavg").read_text().split()[3].partition("/")[2])
    in_use = int((proc / "sys/fs/file-nr").read_text().split()[0])
    sysctls = [
        ("kernel.pid_max", "process numbers", tasks, PROCESSES_PER_HOST),
        ("kernel.threads-max", "process numbers", tasks, PROCESSES_PER_HOST),
        *((f"user.max_{kind}_namespaces", f"{kind} namespaces", 0, 1) for kind in NAMESPACES),
        ("fs.file-max", "open files", in_use, FILES_PER_HOST),
    ]
    for name, of, used, per_host in sysctls:
        path = proc / "sys" / name.replace(".", "/", 1)
        if path.exists():
            yield Limit(
                of=of,
                name=name,
                most=int(path.read_text()),
                used=used,
                per_host=per_host,
                raise_by=f"sysctl -w {name}={{}}",
            )
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY:
        yield Limit(
            of="open files of the controller",
            name="RLIMIT_NOFILE",
            most=soft,
            used=SPARE_FILES,
            per_host=CONNECTION_FILES,
            raise_by="ulimit -n {}",
        )


def cgroup_limits(proc: Path = _PROC, cgroups: Path = _CGROUPS) -> Iterator[Limit]:
    """`pids.max` of the control group that hosts would be in, and of all that it is in (cgroups(7))."""
    groups = proc / "self/cgroup"
    for line in groups.read_text().splitlines() if groups.exists() else ():
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "pids"):
            continue
        group = cgroups / controllers / path.lstrip("/")
        for folder in (group, *group.parents):
            if not folder.is_relative_to(cgroups):
                break
            try:
                most = (folder / "pids.max").read_text().strip()
                used = int((folder / "pids.current").read_text())
            except OSError:  # the topmost has none
                continue
            if most != "max":
                yield Limit(
                    of="process numbers",
                    name=str(folder / "pids.max"),
                    most=int(most),
                    used=used,
                    per_host=PROCESSES_PER_HOST,
                    raise_by=f"echo {{}} > {folder / 'pids.max'}",
                )

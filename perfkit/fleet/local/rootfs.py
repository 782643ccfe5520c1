"""What a host sees as `/`: its own tmpfs, with the run's view of the machine's folders in it.

What is visible can be changed and removed at will: each folder is under an overlay of the host's
own, whose changes go to the host's tmpfs and end with it. Overlays do not cross mounts, and a mount
of its own for each folder makes that a feature: a machine with a separate /usr or /var works the
same.

This code runs as root, with the machine's rights, in a mount namespace of its own. What it mounts
can therefore not be undone by root in the host.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from perfkit.fleet.local import linux
from perfkit.fleet.local.machine_view import MERGED, MachineView

# Private folders, empty at the start.
_FOLDERS = {
    "dev": 0o755,
    "dev/net": 0o755,
    "dev/pts": 0o755,
    "dev/shm": 0o1777,
    "home": 0o755,
    "mnt": 0o755,
    "proc": 0o555,
    "root": 0o700,
    "run": 0o755,
    "run/lock": 0o1777,
    "run/sshd": 0o755,
    "srv": 0o755,
    "sys": 0o555,
    "tmp": 0o1777,
    "var": 0o755,
    "var/cache": 0o755,
    "var/lib": 0o755,
    "var/lib/perfkit": 0o755,
    "var/log": 0o755,
    "var/mail": 0o1777,
    "var/spool": 0o755,
    "var/spool/cron": 0o755,
    "var/spool/cron/crontabs": 0o1730,
    "var/tmp": 0o1777,
}
_LINKS = {
    "dev/fd": "/proc/self/fd",
    "dev/ptmx": "pts/ptmx",
    "dev/stderr": "/proc/self/fd/2",
    "dev/stdin": "/proc/self/fd/0",
    "dev/stdout": "/proc/self/fd/1",
    "var/lock": "/run/lock",
    "var/run": "/run",
}
_DEVICES = {  # major, minor; linux/Documentation/admin-guide/devices.txt
    "dev/null": (1, 3),
    "dev/zero": (1, 5),
    "dev/full": (1, 7),
    "dev/random": (1, 8),
    "dev/urandom": (1, 9),
    "dev/tty": (5, 0),
    "dev/net/tun": (10, 200),
}


# Of /sys only this: interfaces, disks by name, processors. The rest tells about the machine, some of
# it (serial numbers, the addresses of kernel code) to root alone, which a host's root would be.
_SYSTEM_VIEWS = (
    "block",
    "class/net",
    "devices/system/cpu",
    "devices/system/node",
    "devices/virtual/net",
)


def build(root: Path, store: Path, view: MachineView) -> None:
    """Build the tree of one host under the mount `root`.

    Args:
        root: Empty folder that becomes the host's `/`.
        store: Folder on the host's own tmpfs for what the host changes.
        view: What of the machine it sees.
    """
    for name, mode in _FOLDERS.items():
        (root / name).mkdir()
        (root / name).chmod(mode)
    for name, target in _LINKS.items():
        (root / name).symlink_to(target)
    for name in MERGED:
        if Path("/", name).is_symlink():
            (root / name).symlink_to(Path("/", name).readlink())
    for name, (major, minor) in _DEVICES.items():
        os.mknod(root / name, stat.S_IFCHR | 0o666, os.makedev(major, minor))
        (root / name).chmod(0o666)
    for number, (tree, shown) in enumerate(view.trees.items()):
        _mount_overlay(root / tree, store / str(number), view.mask / tree, shown)
    crontabs = Path("/var/spool/cron/crontabs")
    if crontabs.is_dir():
        os.chown(root / "var/spool/cron/crontabs", 0, crontabs.stat().st_gid)
        (root / "var/spool/cron/crontabs").chmod(0o1730)


def _mount_overlay(target: Path, store: Path, mask: Path, lower: Path) -> None:
    upper, work = store / "upper", store / "work"
    for folder in (target, upper, work):
        folder.mkdir(parents=True, exist_ok=True)
    original = lower.stat()
    upper.chmod(stat.S_IMODE(original.st_mode))
    layers = f"{mask}:{lower}" if mask.is_dir() else str(lower)
    linux.mount(
        "overlay",
        str(target),
        "overlay",
        options=f"lowerdir={layers},upperdir={upper},workdir={work}",
    )


def mount_kernel_views(root: Path, place: Path, view: MachineView) -> None:
    """Mount the host's own /dev/pts, /proc and parts of /sys under `root`.

    /proc is read-only as a whole but for the host's own network settings: no sysrq-trigger, no
    machine-wide sysctl, no irq affinity. Must run in the host's PID and network namespace.

    Args:
        place: Folder outside the root for a mount that the host does not see.
    """
    hardening = linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC
    proc, network = str(root / "proc"), str(root / "proc/sys/net")
    linux.mount("proc", proc, "proc", hardening)
    linux.bind(network, network)
    for name in view.hidden_kernel_files:
        linux.bind(str(root / "dev/null"), f"{proc}/{name}")
    linux.mount("none", proc, flags=hardening | linux.MS_REMOUNT | linux.MS_BIND | linux.MS_RDONLY)
    system = place / "sys"
    system.mkdir()
    linux.mount("sysfs", str(system), "sysfs", hardening | linux.MS_RDONLY)
    for name in _SYSTEM_VIEWS:
        if (system / name).is_dir():
            (root / "sys" / name).mkdir(parents=True)
            linux.bind(str(system / name), str(root / "sys" / name))
    options = "newinstance,ptmxmode=0666,mode=0620,gid=5"  # 5 is tty on every Linux
    linux.mount("devpts", str(root / "dev/pts"), "devpts", linux.MS_NOSUID, options)

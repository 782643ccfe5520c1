"""What a host sees as `/`: a white list of the machine's folders, each under its own overlay.

Nothing of the machine is visible unless it is named here; homes, /srv, /mnt, the project and the
runs do not exist in a host. What is visible can be changed and removed at will: the changes go
to a tmpfs of the host and end with it.

One *mask* layer per run lies over the machine's /etc: it hides the machine's secrets and cron jobs
and carries the few files that are the same for all hosts of the run. Overlays do not cross
mounts, and a mount of its own for each folder makes that a feature: a machine with a separate
/usr or /var works the same.

This code runs as root in a mount namespace of its own.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path
from textwrap import dedent

from perfkit.fleet.local import linux

# Enough for programs, packages and their state: `apt-get install` of what is there already works.
TREES = ("usr", "opt", "etc", "var/lib/dpkg", "var/lib/apt", "var/cache/apt", "var/cache/debconf")
MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")  # links into /usr, or folders

# Hidden whatever their permissions; besides, everything that a plain user may not read is hidden.
SECRETS = (
    "etc/NetworkManager",
    "etc/letsencrypt",
    "etc/localtime",  # hosts live in UTC
    "etc/openvpn",
    "etc/ppp",
    "etc/ssh",
    "etc/ssl/private",
    "etc/sudoers.d",
    "etc/wireguard",
    "var/cache/debconf/passwords.dat",
)
_SHARED_FILES = {
    "etc/shadow": ("root:*:19000:0:99999:7:::\n", 0o600),
    "etc/gshadow": ("root:*::\n", 0o600),
    "etc/sudoers": ("root ALL=(ALL:ALL) NOPASSWD: ALL\n", 0o440),
    "etc/resolv.conf": ("# no name service in the run's network\n", 0o644),
    "etc/timezone": ("Etc/UTC\n", 0o644),
    # The distribution's file wants pam_loginuid, which needs the machine's audit system.
    "etc/pam.d/cron": (
        "".join(f"{kind} required pam_permit.so\n" for kind in ("auth", "account", "session")),
        0o644,
    ),
}

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


def present_trees() -> tuple[str, ...]:
    """The folders of the white list that this machine has, without leading slash."""
    own = tuple(name for name in MERGED if not Path("/", name).is_symlink())
    return tuple(tree for tree in TREES + own if Path("/", tree).is_dir())


def build_mask(mask: Path, hidden: Iterable[Path], sshd_lines: Sequence[str] = ()) -> None:
    """Write the run's mask layer into the empty folder `mask`.

    Args:
        hidden: Absolute paths that hosts must not see although they lie under a visible folder:
            the project, the homes.
        sshd_lines: More settings for the hosts' sshd.
    """
    for path in (*(Path("/", secret) for secret in SECRETS), *_unreadable(Path("/etc"))):
        _hide(mask, path)
    for path in hidden:
        if any(path.is_relative_to(f"/{tree}") and path != Path("/", tree) for tree in TREES):
            _hide(mask, path)
    for jobs in Path("/etc").glob("*cron*"):  # crontab, anacrontab, cron.d, cron.daily, …
        if jobs.is_dir():
            _make_opaque(mask, mask / jobs.relative_to("/"))
        else:
            _hide(mask, jobs)
    for name, (text, mode) in _SHARED_FILES.items():
        _make_parents(mask, mask / name)
        write_file(mask / name, text, mode)
    _make_opaque(mask, mask / "etc/ssh")
    write_file(mask / "etc/ssh/sshd_config", sshd_config(sshd_lines), 0o644)


def sshd_config(extra: Sequence[str]) -> str:
    """Configuration of a host's own sshd: only the run's key opens it."""
    lines = dedent("""\
        HostKey /etc/ssh/ssh_host_ed25519_key
        AuthorizedKeysFile /etc/ssh/authorized_keys
        PermitRootLogin prohibit-password
        AuthenticationMethods publickey
        UsePAM no
        UseDNS no
        PrintMotd no
        X11Forwarding no
        MaxStartups 200
        MaxSessions 100
        LoginGraceTime 30
        PidFile /run/sshd.pid
        Subsystem sftp internal-sftp
        """)
    return lines + "".join(f"{line}\n" for line in extra)


def _unreadable(folder: Path) -> list[Path]:
    """What a plain user of the machine could not read, topmost only."""
    found = []
    for entry in os.scandir(folder):
        mode = entry.stat(follow_symlinks=False).st_mode
        if stat.S_ISDIR(mode):
            if mode & 0o005 == 0o005:
                found += _unreadable(Path(entry.path))
            else:
                found.append(Path(entry.path))
        elif stat.S_ISREG(mode) and not mode & 0o004:
            found.append(Path(entry.path))
    return found


def _hide(mask: Path, path: Path) -> None:
    """Put a whiteout over `path`: a character device 0/0 (kernel: filesystems/overlayfs.rst)."""
    if not os.path.lexists(path):
        return
    place = mask / path.relative_to("/")
    # A parent that is no folder is a whiteout itself: `path` is hidden already.
    with contextlib.suppress(FileExistsError, NotADirectoryError):
        _make_parents(mask, place)
        os.mknod(place, stat.S_IFCHR, os.makedev(0, 0))


def _make_parents(mask: Path, place: Path) -> None:
    """Make the folders above `place` with the machine's own modes: the upper layer's count."""
    for parent in reversed(place.relative_to(mask).parents):
        folder = mask / parent
        if not os.path.lexists(folder):
            original = Path("/", parent).stat()
            folder.mkdir()
            os.chown(folder, original.st_uid, original.st_gid)
            folder.chmod(stat.S_IMODE(original.st_mode))


def _make_opaque(mask: Path, folder: Path) -> None:
    """Show this folder in place of the machine's, not merged with it."""
    _make_parents(mask, folder)
    if os.path.lexists(folder) and not folder.is_dir():
        folder.unlink()  # a whiteout
    folder.mkdir(mode=0o755, exist_ok=True)
    os.setxattr(folder, "trusted.overlay.opaque", b"y")


def write_file(path: Path, text: str, mode: int) -> None:
    """Write a file anew, whatever lay there before, a link or a whiteout included."""
    if os.path.lexists(path):
        path.unlink()
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:  # noqa: PTH123  not a path
        file.write(text)
    path.chmod(mode)


def build(root: Path, store: Path, mask: Path, trees: Iterable[str]) -> None:
    """Build the tree of one host under the mount `root`.

    Args:
        root: Empty folder that becomes the host's `/`.
        store: Folder on the host's own tmpfs for what the host changes.
        mask: The run's mask layer.
        trees: From `present_trees`.
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
    for number, tree in enumerate(trees):
        _mount_overlay(root / tree, store / str(number), mask / tree, Path("/", tree))
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


def mount_kernel_views(root: Path) -> None:
    """Mount the host's own /dev/pts, /proc and /sys under `root`.

    /proc is read-only as a whole but for the host's own network settings: no sysrq-trigger, no
    machine-wide sysctl, no irq affinity. Must run in the host's PID and network namespace.
    """
    hardening = linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC
    proc, network = str(root / "proc"), str(root / "proc/sys/net")
    linux.mount("proc", proc, "proc", hardening)
    linux.bind(network, network)
    linux.mount("none", proc, flags=hardening | linux.MS_REMOUNT | linux.MS_BIND | linux.MS_RDONLY)
    linux.mount("sysfs", str(root / "sys"), "sysfs", hardening | linux.MS_RDONLY)
    options = "newinstance,ptmxmode=0666,mode=0620,gid=5"  # 5 is tty on every Linux
    linux.mount("devpts", str(root / "dev/pts"), "devpts", linux.MS_NOSUID, options)


def try_overlay(stage: Path) -> None:
    """Mount one overlay over the machine's /etc, to see whether it works."""
    target = stage / "host"
    linux.mount("tmpfs", str(target), "tmpfs", linux.MS_NOSUID)
    _mount_overlay(target / "etc", target / "store", stage / "mask/etc", Path("/etc"))

"""The part of the machine's files that hosts see: listed folders, and in them what all may read.

Nothing of the machine is visible unless its folder is named here; homes, /srv, /mnt, the project
and the runs do not exist in a host. Root in a host is user 0 of the machine, so permissions alone
would not keep a file of mode 0600 from it. Two things do:

- /usr, /opt and the package manager's folders are shown through a *public view*: a read-only
  overlay that asks for every file with the rights of a user who is nobody. It holds for files and
  modes that change after the launch too.
- /etc is a copy of what all may read there, without what is private by its place. What the machine
  changes in it later does not reach the run's hosts.

Where the machine's own root is an overlay, as in a container, the kernel stacks no more of them:
there what only some may read is looked for once and hidden.

All this is made once for a run, as root in the keeper's mount namespace, on a tmpfs of its own.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import stat
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from perfkit.fleet.local import linux

# Enough for programs, packages and their state: `apt-get install` of what is there already works.
TREES = ("usr", "opt", "var/lib/dpkg", "var/lib/apt", "var/cache/apt", "var/cache/debconf")
MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")  # links into /usr, or folders

# What /etc does not show whatever its permissions; besides, all that a plain user may not read.
SECRETS = frozenset(
    {
        "NetworkManager",
        "apt/auth.conf",
        "apt/auth.conf.d",
        "gshadow",
        "letsencrypt",
        "localtime",  # hosts live in UTC
        "machine-id",  # confidential: machine-id(5)
        "openvpn",
        "ppp",
        "shadow",
        "ssh",
        "ssl/private",
        "sudoers",
        "sudoers.d",
        "wireguard",
    }
)
# The package manager makes these anew; those of the machine are not for all to read.
_LOCKS = (
    "var/cache/apt/archives/lock",
    "var/cache/apt/archives/partial",
    "var/cache/debconf/passwords.dat",
    "var/lib/apt/lists/lock",
    "var/lib/apt/lists/partial",
    "var/lib/dpkg/lock",
    "var/lib/dpkg/lock-frontend",
    "var/lib/dpkg/triggers/Lock",
)
_OWN_FILES = {
    "shadow": ("root:*:19000:0:99999:7:::\n", 0o600),
    "gshadow": ("root:*::\n", 0o600),
    "sudoers": ("root ALL=(ALL:ALL) NOPASSWD: ALL\n", 0o440),
    "resolv.conf": ("# no name service in the run's network\n", 0o644),
    "timezone": ("Etc/UTC\n", 0o644),
    # The distribution's file wants pam_loginuid, which needs the machine's audit system.
    "pam.d/cron": (
        "".join(f"{kind} required pam_permit.so\n" for kind in ("auth", "account", "session")),
        0o644,
    ),
}
# Debian reserves the number and gives it to no one, so that no file is its own.
_NO_ONE = 65533


@dataclass(frozen=True, slots=True)
class MachineView:
    """The machine's folders as hosts may see them.

    Attributes:
        mask: Folder with whiteouts, to be laid over them.
        trees: By the name in a host, without leading slash, the folder that is shown there.
        hidden_kernel_files: Below /proc, what only the machine's root may read.
    """

    mask: Path
    trees: dict[str, Path]
    hidden_kernel_files: tuple[str, ...]


def homes() -> list[Path]:
    """Homes of people, of root and of our own user on this machine, wherever they are."""
    return [
        Path(user.pw_dir)
        for user in pwd.getpwall()
        if user.pw_uid in (0, os.getuid()) or 1000 <= user.pw_uid < 65534
    ]


def build(stage: Path, hidden: Iterable[Path], sshd_lines: Sequence[str] = ()) -> MachineView:
    """Make the run's view of the machine in the empty folder `stage`.

    Args:
        hidden: Absolute paths that hosts must not see although they lie under a visible folder:
            the project, the homes.
        sshd_lines: Settings for the hosts' sshd.
    """
    hidden = frozenset(hidden)
    mask = stage / "mask"
    mask.mkdir()
    mask.chmod(0o755)
    trees = {}
    for number, tree in enumerate(present_trees()):
        public = stage / f"view{number}"
        machine = Path("/", tree)
        if show_public(machine, public):
            trees[tree] = public
        else:
            trees[tree] = machine
            for path in _unreadable(machine):
                hide(mask, path)
    for path in (*hidden, *(Path("/", lock) for lock in _LOCKS)):
        if any(path.is_relative_to(f"/{tree}") and path != Path("/", tree) for tree in trees):
            hide(mask, path)
    trees["etc"] = stage / "etc"
    copy_etc(Path("/etc"), trees["etc"], hidden, sshd_lines)
    return MachineView(mask, trees, _private_kernel_files(Path("/proc")))


def present_trees() -> tuple[str, ...]:
    """The folders of the white list that this machine has and all may read, without leading slash."""
    own = tuple(name for name in MERGED if not Path("/", name).is_symlink())
    return tuple(tree for tree in TREES + own if _is_public_folder(Path("/", tree)))


def _is_public_folder(path: Path) -> bool:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return False
    return stat.S_ISDIR(mode) and mode & 0o005 == 0o005


def show_public(machine: Path, public: Path) -> bool:
    """Mount at `public` what all may read of a folder; whether hosts can have overlays on it.

    An overlay asks for the files below with the rights of the process that mounted it, whoever
    opens one (kernel: filesystems/overlayfs.rst, permission model).
    """
    # One that cannot be written has two layers at least; the upper one's mode is the whole's.
    public.mkdir()
    top, upper, work, trial = (public.with_name(f"{public.name}-{n}") for n in range(4))
    for folder in (top, upper, work, trial):
        folder.mkdir()
    _own_as(top, machine.stat())
    try:
        with linux.files_as(_NO_ONE):
            options = f"lowerdir={top}:{machine}"
            linux.mount("overlay", str(public), "overlay", linux.MS_RDONLY, options)
    except OSError:
        return False
    try:
        options = f"lowerdir={public},upperdir={upper},workdir={work}"
        linux.mount("overlay", str(trial), "overlay", options=options)
    except OSError:
        linux.unmount(str(public))
        return False
    linux.unmount(str(trial))
    return True


def hide(mask: Path, path: Path) -> None:
    """Put a whiteout over `path`: a character device 0/0 (kernel: filesystems/overlayfs.rst)."""
    place = mask / path.relative_to("/")
    # A parent that is no folder is a whiteout itself: `path` is hidden already. One that the
    # machine does not have hides what may come.
    with contextlib.suppress(FileExistsError, NotADirectoryError):
        for parent in reversed(place.relative_to(mask).parents):
            folder = mask / parent
            if not os.path.lexists(folder):
                original = Path("/", parent)
                folder.mkdir()
                _own_as(folder, original.stat() if original.is_dir() else mask.stat())
        os.mknod(place, stat.S_IFCHR, os.makedev(0, 0))


def _own_as(path: Path, status: os.stat_result) -> None:
    os.chown(path, status.st_uid, status.st_gid, follow_symlinks=False)
    path.chmod(stat.S_IMODE(status.st_mode))


def _unreadable(folder: Path) -> list[Path]:
    """What a plain user of the machine could not read, topmost only."""
    found = []
    for entry in os.scandir(folder):
        with contextlib.suppress(FileNotFoundError):  # removed meanwhile
            mode = entry.stat(follow_symlinks=False).st_mode
            if stat.S_ISDIR(mode):
                if mode & 0o005 == 0o005:
                    found += _unreadable(Path(entry.path))
                else:
                    found.append(Path(entry.path))
            elif stat.S_ISREG(mode) and not mode & 0o004:
                found.append(Path(entry.path))
    return found


def copy_etc(
    machine: Path, copy: Path, hidden: Collection[Path], sshd_lines: Sequence[str] = ()
) -> None:
    """Write the run's /etc: what all may read of the machine's, and the files all hosts share."""
    # crontab, anacrontab, cron.d, cron.daily: the machine's jobs never run in hosts.
    jobs = set(machine.glob("*cron*"))
    without = {machine / name for name in SECRETS} | jobs | set(hidden)
    _copy_public(machine, copy, without)
    for folder in (*filter(Path.is_dir, jobs), machine / "ssh", machine / "pam.d"):
        own = copy / folder.name
        own.mkdir(exist_ok=True)
        own.chmod(0o755)
    own_files = _OWN_FILES | {"ssh/sshd_config": (sshd_config(sshd_lines), 0o644)}
    for name, (text, mode) in own_files.items():
        write_file(copy / name, text, mode)


def _copy_public(source: Path, target: Path, without: Collection[Path]) -> None:
    """Copy a folder but for what plain users may not read; other programs may be changing it."""
    target.mkdir()
    for entry in os.scandir(source):
        path, place = Path(entry.path), target / entry.name
        if path in without:
            continue
        with contextlib.suppress(FileNotFoundError):  # removed meanwhile
            status = entry.stat(follow_symlinks=False)
            mode = status.st_mode
            if stat.S_ISLNK(mode):
                place.symlink_to(path.readlink())
            elif stat.S_ISDIR(mode) and mode & 0o005 == 0o005:
                _copy_public(path, place, without)
            elif stat.S_ISREG(mode) and mode & 0o004:
                shutil.copyfile(path, place)
                _own_as(place, status)
                # Python would compile what /usr links to here anew if it were younger.
                os.utime(place, ns=(status.st_atime_ns, status.st_mtime_ns))
    _own_as(target, source.stat())


def write_file(path: Path, text: str, mode: int) -> None:
    """Write a file anew, whatever lay there before, a link or a whiteout included."""
    if os.path.lexists(path):
        path.unlink()
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:  # noqa: PTH123  not a path
        file.write(text)
    path.chmod(mode)


def sshd_config(lines: Sequence[str]) -> str:
    """Configuration of a host's own sshd."""
    own = (
        "HostKey /etc/ssh/ssh_host_ed25519_key",
        "AuthorizedKeysFile /etc/ssh/authorized_keys",
        "LoginGraceTime 30",
        "PidFile /run/sshd.pid",
    )
    return "".join(f"{line}\n" for line in (*own, *lines))


def _private_kernel_files(proc: Path) -> tuple[str, ...]:
    """Files of /proc about the whole machine that only root may read, and the lists of keys."""
    found = {"keys", "key-users"}
    for entry in os.scandir(proc):
        mode = entry.stat(follow_symlinks=False).st_mode if not entry.name.isdigit() else 0o777
        if stat.S_ISREG(mode) and not mode & 0o004:
            found.add(entry.name)
    return tuple(sorted(name for name in found if (proc / name).exists()))

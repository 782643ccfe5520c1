"""The few Linux calls that Python 3.11 does not offer, each a thin and checked ctypes wrapper.

Everything here acts on the calling process only: its namespaces, its mounts, its credentials.
Failures are `OSError` with the call and its arguments in the message.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
_CLONE_PIDFD = 0x00001000

MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_REMOUNT = 0x20
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000
MNT_DETACH = 0x2

_SYS_CLONE3 = 435  # the same number on every architecture: it is younger than the unification
_PR_SET_DUMPABLE = 4
_PR_CAPBSET_DROP = 24
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_CAPABILITY_VERSION_3 = 0x20080522

# Docker's default set without MKNOD, with what a host for network tests needs besides: NET_ADMIN
# (tun, tc, nft), IPC_LOCK and SYS_NICE. No SYS_ADMIN (it could mount devtmpfs), no DAC_READ_SEARCH
# (open_by_handle_at leaves any mount), no SYS_MODULE, SYS_TIME, SYS_BOOT, SYS_RAWIO. They count in
# the host's own user namespace only. Numbers: linux/capability.h.
HOST_CAPABILITIES = {
    "CHOWN": 0,
    "DAC_OVERRIDE": 1,
    "FOWNER": 3,
    "FSETID": 4,
    "KILL": 5,
    "SETGID": 6,
    "SETUID": 7,
    "SETPCAP": 8,
    "NET_BIND_SERVICE": 10,
    "NET_ADMIN": 12,
    "NET_RAW": 13,
    "IPC_LOCK": 14,
    "SYS_CHROOT": 18,
    "SYS_NICE": 23,
    "AUDIT_WRITE": 29,
    "SETFCAP": 31,
}

# What making a host takes.
MAKER_CAPABILITIES = {"NET_ADMIN": 12, "SYS_ADMIN": 21, "MKNOD": 27}

_libc = ctypes.CDLL(None, use_errno=True)


class _CloneArgs(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_uint64)
        for name in (
            "flags",
            "pidfd",
            "child_tid",
            "parent_tid",
            "exit_signal",
            "stack",
            "stack_size",
            "tls",
        )
    )


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def clone_with_namespaces(flags: int) -> tuple[int, int]:
    """Fork into new namespaces; PID and pidfd of the child, (0, -1) in the child itself.

    Only safe in a process with one thread, and the child may do no more than prepare and exec:
    Python's own after-fork hooks do not run.
    """
    pidfd = ctypes.c_int(-1)
    arguments = _CloneArgs(
        flags=flags | _CLONE_PIDFD, pidfd=ctypes.addressof(pidfd), exit_signal=signal.SIGCHLD
    )
    pid = _check(
        _libc.syscall(_SYS_CLONE3, ctypes.byref(arguments), ctypes.sizeof(arguments)),
        f"clone3 {flags:#x}",
    )
    return (pid, pidfd.value) if pid else (0, -1)


def unshare(flags: int) -> None:
    """Move this process into new namespaces."""
    _check(_libc.unshare(flags), f"unshare {flags:#x}")


def enter(pidfd: int, flags: int) -> None:
    """Move this process into some of the namespaces of the process of a pidfd."""
    _check(_libc.setns(pidfd, flags), f"setns {flags:#x}")


def mount(source: str, target: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    """Put a file system of type `kind` at `target`, or change a mount there (mount(2))."""
    _check(
        _libc.mount(
            source.encode(),
            os.fsencode(target),
            kind.encode() or None,
            ctypes.c_ulong(flags),
            options.encode() or None,
        ),
        f"mount {kind or 'bind'} {source} on {target} ({options})",
    )


def bind(source: str, target: str) -> None:
    """Make `source` appear at `target` too."""
    mount(source, target, flags=MS_BIND)


def unmount(target: str) -> None:
    """Take the topmost mount off `target`."""
    _check(_libc.umount2(os.fsencode(target), 0), f"umount {target}")


def make_mounts_private() -> None:
    """Stop mounts of this mount namespace from travelling to the one it was copied from."""
    mount("none", "/", flags=MS_REC | MS_PRIVATE)


def pivot_into(root: str) -> None:
    """Make the mount at `root` this process's root and let go of the old root altogether.

    Source: pivot_root(2), "pivot_root(".", ".")".
    """
    os.chdir(root)
    _check(_libc.pivot_root(b".", b"."), f"pivot_root {root}")
    _check(_libc.umount2(b".", MNT_DETACH), "umount of the old root")
    os.chdir("/")


def proc_field(path: str, name: str) -> list[str]:
    """The words after `name:` in a file of /proc; none where it has no such line."""
    for line in Path("/proc", path).read_text().splitlines():
        key, _, text = line.partition(":")
        if key == name:
            return text.split()
    return []


def effective_capabilities() -> int:
    """Bit mask of what this process may do."""
    return int((proc_field("self/status", "CapEff") or ["0"])[0], 16)


def redirect_stdio() -> None:
    """Let go of the standard streams: nothing is read, and what is printed is lost."""
    null = os.open("/dev/null", os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)


def limit_capabilities(keep: Iterable[int]) -> None:
    """Give up for ever, in this process and all it starts, every capability but `keep`."""
    kept = frozenset(keep)
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    for capability in range(last + 1):
        if capability not in kept:
            _check(_libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0), f"drop {capability}")
    _check(_libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0), "ambient set")
    mask = sum(1 << capability for capability in kept)
    low, high = mask & 0xFFFFFFFF, mask >> 32
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    # effective, permitted, inheritable of the low word, then of the high one; see capset(2)
    data = (ctypes.c_uint32 * 6)(low, low, 0, high, high, 0)
    _check(_libc.capset(header, data), "capset")


@contextlib.contextmanager
def files_as(user: int) -> Iterator[None]:
    """Meanwhile, ask for files with the rights of a user and group number and no others.

    The capabilities over files go too, CAP_SYS_ADMIN stays: capabilities(7), setfsuid(2).
    """
    groups = os.getgroups()
    os.setgroups([])
    _libc.setfsgid(user)
    _libc.setfsuid(user)
    try:
        if _libc.setfsuid(-1) != user:  # it has no other way to say that it failed
            raise PermissionError(f"setfsuid {user}: refused")
        yield
    finally:
        _libc.setfsuid(os.geteuid())
        _libc.setfsgid(os.getegid())
        os.setgroups(groups)


def forbid_inspection() -> None:
    """Close this process's memory and descriptors, until it execs, to all but the machine's root."""
    _check(_libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0), "PR_SET_DUMPABLE")


def reset_signals() -> None:
    """Give every signal its default action: ignored ones would stay ignored across exec."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)

"""Root in a host tries to reach what the machine has: files, processes, memory, sockets, keys.

    python3 host_doors.py '{"files": [...], "pid": 1, "shm_key": 1, "socket": "...", "keys": {...}, "first": 1}'

Prints a JSON object with "done" or the error of each attempt; nothing that it does on the machine
itself changes anything. Runs inside hosts: only the standard library of their Python.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import socket
import sys
from collections.abc import Callable
from pathlib import Path

libc = ctypes.CDLL(None, use_errno=True)
KEYCTL = {"x86_64": 250, "aarch64": 219, "riscv64": 219}[platform.machine()]
KEYCTL_DESCRIBE, KEYCTL_LINK, KEYCTL_SEARCH, KEYCTL_READ, OWN_SESSION = 6, 8, 10, 11, -3
PTRACE_SEIZE, PTRACE_DETACH, CLONE_NEWUSER, SYSLOG_READ_ALL = 0x4206, 17, 0x10000000, 3


def call(name: str, *arguments: object) -> int:
    result = int(getattr(libc, name)(*arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def read(path: str) -> None:
    if not Path(path).read_bytes():
        raise OSError("empty")


def trace(pid: int) -> None:
    call("ptrace", PTRACE_SEIZE, pid, None, None)
    call("kill", pid, 19)  # a detach needs it stopped
    os.waitpid(pid, 0x40000000)
    call("kill", pid, 18)
    call("ptrace", PTRACE_DETACH, pid, None, None)


def connect(name: str) -> None:
    with socket.socket(socket.AF_UNIX) as link:
        link.connect(f"\0{name}")


def read_key(key: int) -> None:
    buffer = ctypes.create_string_buffer(64)
    call("syscall", KEYCTL, KEYCTL_READ, key, buffer, 64)


def take_keyring(keyring: int, description: str) -> None:
    """Link a keyring that is named by its number into our own, and read what is in it."""
    call("syscall", KEYCTL, KEYCTL_LINK, keyring, OWN_SESSION)
    words = (b"user", description.encode())
    read_key(call("syscall", KEYCTL, KEYCTL_SEARCH, OWN_SESSION, *words, 0))


def list_key(description: str) -> None:
    if description not in Path("/proc/keys").read_text():
        raise OSError("not listed")


def nest() -> None:
    """In a child, because there is no way back."""
    pid = os.fork()
    if pid == 0:
        libc.unshare(CLONE_NEWUSER)
        os._exit(ctypes.get_errno())
    number = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if number:
        raise OSError(number, os.strerror(number))


what = json.loads(sys.argv[1])
pid, keys = what["pid"], what["keys"]
first = f"/proc/{what['first']}"
log = ctypes.create_string_buffer(1 << 16)
attempts: dict[str, Callable[[], object]] = {
    "root of a process": lambda: read(f"/proc/{pid}/root{what['files'][0]}"),
    "environment of a process": lambda: read(f"/proc/{pid}/environ"),
    "memory map of a process": lambda: read(f"/proc/{pid}/maps"),
    "trace a process": lambda: trace(pid),
    "signal a process": lambda: call("kill", pid, 0),
    "shared memory": lambda: call("shmget", what["shm_key"], 0, 0),
    "abstract socket": lambda: connect(what["socket"]),
    "a user namespace": nest,
    "the kernel's log": lambda: call("klogctl", SYSLOG_READ_ALL, log, len(log)),
}
for file in what["files"]:
    attempts[f"read {file}"] = lambda file=file: read(file)
    attempts[f"read {file} at the root of PID 1"] = lambda file=file: read(f"{first}/root{file}")
if keys:
    attempts |= {
        "list keys": lambda: list_key(keys["description"]),
        "describe a key": lambda: call("syscall", KEYCTL, KEYCTL_DESCRIBE, keys["key"], None, 0),
        "the user's keyring": lambda: take_keyring(keys["ring"], keys["description"]),
    }
outcomes = {}
for name, attempt in attempts.items():
    try:
        attempt()
        outcomes[name] = "done"
    except OSError as exc:
        outcomes[name] = str(exc)
print(json.dumps(outcomes))  # noqa: T201  its answer

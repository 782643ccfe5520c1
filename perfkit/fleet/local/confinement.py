"""What a host's processes may ask of the kernel, set in its PID 1 and inherited by all of them.

Namespaces divide most of what root can reach, but not all: keys are found by number whoever asks
(keyrings(7)), and the kernel's log is one. As user 0 inside is user 0 outside, these calls are
refused by a filter, as container engines do.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
from collections.abc import Sequence

from perfkit.errors import LaunchError
from perfkit.fleet.local import linux

_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 22, 2
_KEYCTL_JOIN_SESSION_KEYRING = 1
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050001  # SECCOMP_RET_ALLOW; SECCOMP_RET_ERRNO with EPERM
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06  # linux/filter.h
_NUMBER_OFFSET, _ARCHITECTURE_OFFSET = 0, 4  # struct seccomp_data
_X32 = 0x40000000  # numbers from here on are x86's third set of calls

# (AUDIT_ARCH of linux/audit.h, numbers of keyctl, add_key, request_key and syslog), native first.
REFUSED: dict[str, Sequence[tuple[int, tuple[int, ...]]]] = {
    "x86_64": ((0xC000003E, (250, 248, 249, 103)), (0x40000003, (288, 286, 287, 103))),
    "aarch64": ((0xC00000B7, (219, 217, 218, 116)), (0x40000028, (311, 309, 310, 103))),
    "riscv64": ((0xC00000F3, (219, 217, 218, 116)),),
}

_libc = ctypes.CDLL(None, use_errno=True)


class _Instruction(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_uint16),
        ("if_true", ctypes.c_uint8),
        ("if_false", ctypes.c_uint8),
        ("value", ctypes.c_uint32),
    )


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint16), ("instructions", ctypes.POINTER(_Instruction)))


def confine() -> None:
    """Give up, in this process and all it starts, what a host does not need; in its user namespace.

    Raises:
        LaunchError: this machine's architecture is not known.
        OSError: the kernel refuses; the message names the call.
    """
    refused = _refused_here()
    _leave_keyring(refused[0][1][0])
    _refuse(refused)
    linux.limit_capabilities(linux.HOST_CAPABILITIES.values())
    linux.forbid_inspection()


def lift_limits() -> None:
    """Let the host's processes lock memory and raise their priority, as root's may elsewhere.

    Must be called with the machine's rights: for these two the kernel asks for a capability over
    the machine, which no one in a host has, or for a limit that allows it. Where root may not raise
    limits, as in some containers, hosts have the limits that root has.
    """
    for limit, most in (
        (resource.RLIMIT_MEMLOCK, resource.RLIM_INFINITY),
        (resource.RLIMIT_NICE, 40),
    ):
        with contextlib.suppress(ValueError):  # Python's word for EPERM here
            resource.setrlimit(limit, (most, most))


def _refused_here() -> Sequence[tuple[int, tuple[int, ...]]]:
    machine = os.uname().machine
    if machine not in REFUSED:
        raise LaunchError(
            f"local hosts in namespaces are not known to be safe on {machine}, "
            f"only on {', '.join(REFUSED)}; set isolation=loopback"
        )
    return REFUSED[machine]


def _leave_keyring(keyctl: int) -> None:
    """Begin an empty session keyring: the one inherited is that of whoever launched.

    A kernel without keys refuses, and has none to leave.
    """
    _libc.syscall(keyctl, _KEYCTL_JOIN_SESSION_KEYRING, None)


def filter_program(
    refused: Sequence[tuple[int, tuple[int, ...]]],
) -> list[tuple[int, int, int, int]]:
    """The filter as instructions (code, jump if true, jump if false, value); see seccomp(2)."""
    program = [(_LOAD, 0, 0, _ARCHITECTURE_OFFSET)]
    for architecture, numbers in refused:
        tests = [(_AT_LEAST, _X32), *((_EQUAL, number) for number in numbers)]
        body = [(_LOAD, 0, 0, _NUMBER_OFFSET)]
        # Behind the tests stand "allow" and "refuse"; a jump counts from the next instruction.
        body += [(code, len(tests) - place, 0, value) for place, (code, value) in enumerate(tests)]
        body += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _REFUSE)]
        program += [(_EQUAL, 0, len(body), architecture), *body]
    return [*program, (_RETURN, 0, 0, _REFUSE)]


def _refuse(refused: Sequence[tuple[int, tuple[int, ...]]]) -> None:
    instructions = [_Instruction(*words) for words in filter_program(refused)]
    array = (_Instruction * len(instructions))(*instructions)
    program = _Program(len(instructions), array)
    if _libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0):
        number = ctypes.get_errno()
        raise OSError(number, f"seccomp filter: {os.strerror(number)}")

"""Logins to jump hosts: one serves all hosts behind it, and one that fails is found out once.

OpenSSH tells nothing of what goes wrong between it and a jump host (its standard error is closed
there), and a login of each host's own would run into the jump host's `MaxStartups`. So it is logged
in to by itself first, and again when a host behind it was not reached: the two are told apart.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from time import monotonic

from perfkit.fleet.static.hostlist import Machine

FRESH_S = 5.0  # what one host has found out about its jump host holds so long for the others
AGAIN = "again-"  # name of a login that serves nobody, so that none is found that only seems alive

# Calls ssh for a place with more words; what went wrong, or empty.
Call = Callable[[Machine, Sequence[str]], str]


class JumpHosts:
    """What is known of jump hosts; thread-safe.

    Args:
        call: Runs the client.
        folder: Where the client's sockets are.
    """

    def __init__(self, call: Call, folder: str) -> None:
        self._call, self._folder = call, folder
        self._lock = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}
        self._known: dict[str, tuple[float, str]] = {}

    def find_fault(self, machine: Machine, *, again: bool = False) -> str:
        """Log in to the jump host of a machine, unless it is logged in to.

        Args:
            again: By a new login: the machine was not reached through the one there is.

        Returns:
            What is wrong with the jump host; empty: nothing, or there is none.
        """
        jump = machine.jump
        if jump is None:
            return ""
        fault = self.find_own_fault(jump, again=again)
        return fault and f"its jump host {jump.name} was not reached: {fault}"

    def find_own_fault(self, jump: Machine, *, again: bool = False) -> str:
        """Log in to a jump host, unless it is logged in to; what is wrong with it, or empty."""
        with self._lock:
            lock = self._locks.setdefault(jump.name, threading.Lock())
        with lock:
            asked_s, fault = self._known.get(jump.name, (-FRESH_S, ""))
            if monotonic() - asked_s >= FRESH_S or (again and not fault):
                fault = self._log_in(jump, again=again)
                self._known[jump.name] = monotonic(), fault
            return fault

    def _log_in(self, jump: Machine, *, again: bool) -> str:
        # Without a session, the client returns as soon as the login stands and is kept open.
        if again:
            own = ("-o", "ControlPersist=1", "-o", f"ControlPath={self._folder}/{AGAIN}{jump.name}")
            return self._call(jump, [*own, "-N", jump.name])
        is_open = not self._call(jump, ["-O", "check", jump.name])
        return "" if is_open else self._call(jump, ["-N", jump.name])

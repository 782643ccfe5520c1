"""Waiting for an SSH server to say who it is, without a login."""

from __future__ import annotations

from time import monotonic

from perfkit.errors import UnreachableError
from perfkit.model import Host
from perfkit.retry import RetryPolicy
from perfkit.ssh.known_hosts import pin_name
from perfkit.ssh.sockets import open_socket

ATTEMPT_S = 5.0


def await_greeting(host: Host, timeout_s: float) -> None:
    """Wait until an SSH server on the host greets.

    Enough only for hosts of this machine, whose sshd, keys and login shell perfkit itself made just
    now: a login cannot be refused there, and a second one for each of a thousand hosts costs the
    machine that is being measured. `RemotePool.admit` is for all others: from 9.8 on, sshd shuts
    out addresses that connect and do not log in.

    Raises:
        UnreachableError: it did not within `timeout_s`.
    """
    problem, give_up = "no answer", monotonic() + timeout_s
    for _ in RetryPolicy().attempts(timeout_s, first_s=0.02, longest_s=1.0):
        try:
            limit_s = max(0.1, min(give_up - monotonic(), ATTEMPT_S))
            with open_socket((host.address, host.port), limit_s) as conn:
                greeting = conn.recv(64)
            if greeting.startswith(b"SSH-2.0-"):
                return
            problem = f"something else than SSH answers: {greeting!r}"
        except OSError as exc:
            problem = str(exc)
    raise UnreachableError(host.name, f"no SSH ({pin_name(host.address, host.port)}): {problem}")

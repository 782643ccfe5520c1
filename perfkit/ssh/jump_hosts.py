"""The TCP connection under an SSH connection: straight to the host, or through its jump host.

All hosts behind one jump host share one connection to it, opened once: a hundred of their own
would run into its limit of logins under way (`MaxStartups`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from time import monotonic
from typing import Any, Protocol

from perfkit.errors import UnreachableError
from perfkit.model import Host, Jump
from perfkit.ssh.access import Access
from perfkit.ssh.sockets import open_socket


class Forwarding(Protocol):
    """The connection to a jump host, as far as it is used here."""

    @property
    def is_open(self) -> bool:
        """It is up, as far as this side knows."""

    def open(self) -> None:
        """Connect and log in, or raise an UnreachableError."""

    def close(self) -> None:
        """End it."""

    def is_alive(self) -> bool:
        """The jump host gives a sign of life."""

    def forward(self, address: tuple[str, int], timeout_s: float) -> Any:
        """Connect to an address from there; returns what behaves like a socket."""


class JumpHosts:
    """Connections to jump hosts, made when the first host needs them. Thread-safe.

    A jump host that was not reached is not asked again for the time of one attempt: the hosts
    behind it fail together, and not one after the other.

    Args:
        access: How jump hosts are logged in to.
        connect: Makes the connection to one, not open yet.
    """

    def __init__(self, access: Access, connect: Callable[[Jump, Access], Forwarding]) -> None:
        # Its patience is one attempt's: the host that waits for it tries again itself.
        self._access = replace(access, patience_s=access.connect_timeout_s)
        self._connect = connect
        self._lock = threading.Lock()
        self._connections: dict[Jump, Forwarding] = {}
        self._opening: dict[Jump, threading.Lock] = {}
        self._failures: dict[Jump, tuple[float, str]] = {}

    def dial(self, host: Host | Jump, timeout_s: float) -> Any:
        """Connect to a host's SSH port; returns a socket, or a channel that behaves like one.

        Raises:
            OSError, paramiko.SSHException: the host cannot be reached.
            UnreachableError: its jump host cannot.
        """
        address = (host.address, host.port)
        jump = host.jump if isinstance(host, Host) else None
        if jump is None:
            return open_socket(address, timeout_s)
        try:
            return self._open(jump).forward(address, timeout_s)
        except UnreachableError as exc:
            message = f"its {_called(host)} was not reached: {exc.message}"
            raise UnreachableError(host.name, message) from exc
        except Exception as exc:
            if fault := self.find_fault(host):
                raise UnreachableError(host.name, fault) from exc
            raise

    def find_fault(self, host: Host | Jump) -> str:
        """Ask the jump host of a host that fell silent for a sign of life.

        Returns:
            What is wrong with it; empty: nothing, or there is none.
        """
        jump = host.jump if isinstance(host, Host) else None
        with self._lock:
            connection = self._connections.get(jump) if jump else None
        if jump is None or connection is None or connection.is_alive():
            return ""
        return f"its {_called(host)} does not answer any more"

    def _open(self, jump: Jump) -> Forwarding:
        with self._lock:
            opening = self._opening.setdefault(jump, threading.Lock())
        with opening:
            connection = self._connections.get(jump)
            if connection is not None and connection.is_open:
                return connection
            failed_s, failure = self._failures.get(jump, (0.0, ""))
            if failure and monotonic() - failed_s < self._access.connect_timeout_s:
                raise UnreachableError(jump.name, failure)
            connection = self._connect(jump, self._access)
            try:
                connection.open()
            except UnreachableError as exc:
                self._failures[jump] = monotonic(), exc.message
                raise
            with self._lock:
                self._connections[jump] = connection
            return connection

    def close(self) -> None:
        """End the connections to jump hosts; those through them end with them."""
        with self._lock:
            connections = list(self._connections.values())
            self._connections.clear()
        for connection in connections:
            connection.close()


def is_packed(host: Host) -> bool:
    """It is reached through the machine that it is on."""
    return host.jump is not None and host.jump.name == host.machine


def to_jump(machine: Host) -> Jump:
    """A machine as what the hosts on it are reached through, under the machine's own name."""
    shared = ("address", "port", "user", "key_file", "host_key")
    login = {key: getattr(machine, key) for key in shared}
    return Jump(name=machine.machine or machine.name, **login)


def _called(host: Host | Jump) -> str:
    """What a host is reached through, in words: a jump host, or the machine that it is on."""
    assert isinstance(host, Host)
    assert host.jump is not None
    kind = "machine" if is_packed(host) else "jump host"
    return f"{kind} {host.jump.name}"

"""The TCP connection under an SSH connection: straight to the host, or through its jump host.

All hosts behind one jump host share one connection to it, opened once: a hundred of their own
would run into its limit of logins under way (`MaxStartups`).
"""

from __future__ import annotations

import threading
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING, Any

from perfkit.errors import UnreachableError
from perfkit.model import Host, Jump
from perfkit.ssh.access import Access
from perfkit.ssh.host_log import Transcript
from perfkit.ssh.sockets import open_socket

if TYPE_CHECKING:
    from perfkit.ssh.connection import Link


class Gateways:
    """Connections to jump hosts, made when the first host needs them. Thread-safe.

    A jump host that was not reached is not asked again for the time of one attempt: the hosts
    behind it fail together, and not one after the other.
    """

    def __init__(self, access: Access) -> None:
        self._access = access
        self._lock = threading.Lock()
        self._links: dict[Jump, Link] = {}
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
            message = f"its jump host {jump.name} was not reached: {exc.message}"
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
            link = self._links.get(jump) if jump else None
        if jump is None or link is None or link.is_alive():
            return ""
        return f"its jump host {jump.name} does not answer any more"

    def _open(self, jump: Jump) -> Link:
        from perfkit.ssh.connection import Link  # noqa: PLC0415 -- each is made of the other

        with self._lock:
            opening = self._opening.setdefault(jump, threading.Lock())
        with opening:
            link = self._links.get(jump)
            if link is not None and link.is_open:
                return link
            failed_s, failure = self._failures.get(jump, (0.0, ""))
            if failure and monotonic() - failed_s < self._access.connect_timeout_s:
                raise UnreachableError(jump.name, failure)
            # Its patience is one attempt's: the host that waits for it tries again itself.
            access = replace(self._access, patience_s=self._access.connect_timeout_s)
            link = Link(jump, access, Transcript(None), gateways=self)
            try:
                link.open()
            except UnreachableError as exc:
                self._failures[jump] = monotonic(), exc.message
                raise
            with self._lock:
                self._links[jump] = link
            return link

    def close(self) -> None:
        """End the connections to jump hosts; those through them end with them."""
        with self._lock:
            links = list(self._links.values())
            self._links.clear()
        for link in links:
            link.close()

"""The first login to machines that were launched for a run alone, and what they are given then."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from perfkit.model import Host
from perfkit.ssh.access import Access
from perfkit.ssh.first_login import FirstLogin
from perfkit.ssh.keys import SshKey
from perfkit.ssh.remote import Remote, RemotePool

ALL = "machines"  # of no host: the key that their temporary ones are derived from


@dataclass(slots=True, kw_only=True)
class Logins:
    """How the machines of a run that have no key of their own yet are logged in to.

    Attributes:
        access: With the run's key, which lets in at all of them.
        host_key: The host key that a machine is to have, by its name.
        equip: Installs what the hosts on a machine run.
    """

    access: Access
    host_key: Callable[[str], SshKey]
    equip: Callable[[Remote], object]
    _first: FirstLogin = field(init=False)

    def __post_init__(self) -> None:
        self._first = FirstLogin(self.access, host_key=self.host_key, log_path=lambda _host: None)

    def stop(self) -> None:
        """Give up all machines that are being waited for."""
        self._first.stop()

    def take_over(self, pool: RemotePool, machine: Host, timeout_s: float) -> Host:
        """Wait for a machine, give it its own key and the programs; safe to repeat.

        Args:
            machine: With the key that it showed at first.

        Returns:
            It with its own key.

        Raises:
            UnreachableError, HostError: why it cannot be had.
        """
        own = self._first.take_over(machine, timeout_s)
        self.equip(pool.get(own))
        return own

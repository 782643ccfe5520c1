"""What a provider does besides whose machines can carry hosts of their own: `perfkit.fleet.packed`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network
from typing import Protocol, runtime_checkable

from perfkit.fleet.provider import PACKED_BITS
from perfkit.model import Host


def check_pool(text: str, widest: int) -> str:
    """A network of IPv4 that is larger than one machine's share of it.

    Args:
        widest: Bits that it has at least.

    Raises:
        ValueError: it is none.
    """
    if not widest <= IPv4Network(text).prefixlen < PACKED_BITS:
        raise ValueError(
            f"each machine takes a /{PACKED_BITS} of it: a /{widest} to a /{PACKED_BITS - 1}"
        )
    return text


@runtime_checkable
class PackableProvider(Protocol):
    """A provider whose machines can carry hosts of their own.

    Whatever it does to end its part of a run on a machine runs `packed/stop` in `Host.workdir` there
    first, and counts what that could not end as leaked; unless the machine itself ends.

    Attributes:
        packed_pool: Network of IPv4 for the addresses of those hosts.
    """

    packed_pool: str

    def check_packing(self, per_machine: int, memory_bytes: int) -> None:
        """Refuse what is known, before machines are there, to keep them from carrying so many hosts.

        Args:
            memory_bytes: What the hosts on a machine take together.

        Raises:
            ConfigError, ProviderError: what is in the way, and what to do.
        """

    def candidates(self, n_hosts: int) -> Sequence[Host]:
        """The machines that a run of so many would take now, the server first; empty: they are made then."""

    def machines(self, run_id: str) -> Sequence[Host]:
        """The machines that a run has taken, by the names that it asked for, as they are logged in to.

        Of a provider with `Traits.temporary_host_keys` each with the key that it showed at first.
        """

    def open_ways(self, run_id: str) -> Mapping[str, str]:
        """Let machines of a run send and get what has the addresses of their hosts; safe to repeat.

        Returns:
            By the name of a machine why that could not be done for it.

        Raises:
            LaunchError: it could be done for none.
        """

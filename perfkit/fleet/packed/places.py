"""Which client is on which machine, and which addresses each machine's clients have."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network
from itertools import islice

from perfkit.errors import LaunchError
from perfkit.fleet.provider import PACKED_BITS
from perfkit.model import Role, host_names

_CLIENT = re.compile(r"client-([0-9]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Clients fill one machine after the other; machines are called machine-001 and so on.

    Attributes:
        pool: Addresses of all clients; each machine has a share of its own.
        per_machine: Clients on each machine at most.
        n_clients: Of the whole run.
    """

    pool: IPv4Network
    per_machine: int
    n_clients: int

    @property
    def n_prefixes(self) -> int:
        """Machines that have addresses at most."""
        return int(2 ** (PACKED_BITS - self.pool.prefixlen))

    def n_machines(self, n_clients: int) -> int:
        """Machines that so many clients need, the server's not counted."""
        return math.ceil(n_clients / self.per_machine)

    def machine_names(self) -> list[str]:
        """The machines of the run's clients, in their order."""
        return [f"machine-{1 + n:03d}" for n in range(self.n_machines(self.n_clients))]

    def machine_of(self, client: str) -> str:
        """The name in the run of the machine that a client is on.

        Raises:
            LaunchError: its name is no client's.
        """
        match = _CLIENT.fullmatch(client)
        if match is None or int(match[1]) < 1:
            raise LaunchError(f"{client}: packed hosts are called client-001 and so on")
        return f"machine-{1 + (int(match[1]) - 1) // self.per_machine:03d}"

    def clients_on(self, machine: str) -> Sequence[str]:
        """The clients of the run that are, or would be, on a machine; none on any other."""
        clients = [name for name, role in host_names(self.n_clients) if role is Role.CLIENT]
        return [name for name in clients if self.machine_of(name) == machine]

    def prefixes(self) -> Iterator[IPv4Network]:
        """The addresses of each machine's clients, in the order of the machines."""
        return self.pool.subnets(new_prefix=PACKED_BITS)

    def prefix_of(self, machine: str) -> IPv4Network:
        """The addresses of the clients on one machine."""
        number = int(machine.rpartition("-")[2])
        return next(islice(self.prefixes(), number - 1, None))


def is_client(name: str) -> bool:
    """Whether a host is packed; else it is a machine."""
    return _CLIENT.fullmatch(name) is not None

"""The VPN of a run: where its server is, who connects, and which addresses it gives."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from perfkit.model import Role, host_names

TUNNEL_NETWORK = IPv4Network("10.8.0.0/20")  # 4,093 clients
SPARE_CLIENTS = 16  # a client that reconnects may for a moment be counted twice


@dataclass(frozen=True, slots=True, kw_only=True)
class TunnelPlan:
    """The run's VPN.

    Attributes:
        server_address: Where clients find the server, beside the tunnel.
        clients: How many will connect.
        network: The tunnel's addresses; must not overlap those of the hosts.
        certificate_days: How long the run's certificates are valid.
    """

    server_address: str
    clients: int
    port: int = 1194
    proto: str = "udp"
    network: IPv4Network = TUNNEL_NETWORK
    certificate_days: float = 2.0

    @property
    def server_tunnel_address(self) -> IPv4Address:
        """The server's address in the tunnel: the first of the network."""
        return self.network[1]

    @property
    def client_names(self) -> tuple[str, ...]:
        """The names of all clients, also of those that are not made yet."""
        return tuple(name for name, role in host_names(self.clients) if role is Role.CLIENT)

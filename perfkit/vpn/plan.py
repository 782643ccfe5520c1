"""The VPN of a run: where its server is, who connects, and which addresses it gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from perfkit.model import Role, host_names

TUNNEL_NETWORK = IPv4Network("10.8.0.0/20")  # 4,093 clients
TUNNEL_NETWORK_6 = IPv6Network("fd70:6572:666b::/112")  # unique local, RFC 4193
SPARE_CLIENTS = 16  # a client that reconnects may for a moment be counted twice


def peer_address(inside_ip: int = 4) -> IPv4Address | IPv6Address:
    """The server's address in the tunnel, by the version of IP: the first of the network."""
    return TUNNEL_NETWORK_6[1] if inside_ip == 6 else TUNNEL_NETWORK[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class TunnelPlan:
    """The run's VPN.

    Attributes:
        server_address: Where clients find the server, beside the tunnel.
        clients: How many will connect.
        network: The tunnel's addresses; must not overlap those of the hosts.
        network_6: Those of IPv6, where a VPN was told to carry it, see `perfkit.vpn.base.Changes`.
        addresses: Where clients find the server in a variant, by its name, if elsewhere.
    """

    server_address: str
    clients: int
    port: int = 1194
    network: IPv4Network = TUNNEL_NETWORK
    network_6: IPv6Network = TUNNEL_NETWORK_6
    addresses: Mapping[str, str] = field(default_factory=dict)

    def of_variant(self, name: str) -> TunnelPlan:
        """The plan as it is in a variant."""
        return replace(self, server_address=self.addresses.get(name, self.server_address))

    @property
    def server_tunnel_address(self) -> IPv4Address:
        """The server's address in the tunnel: the first of the network."""
        return self.network[1]

    @property
    def client_names(self) -> tuple[str, ...]:
        """The names of all clients, also of those that are not made yet."""
        return tuple(name for name, role in host_names(self.clients) if role is Role.CLIENT)

"""IPv6 of a run's hosts, where it is asked for: an address each, and no way out.

The address is the host's IPv4 address in a prefix for itself (unique local, RFC 4193), so it is unique
as long as that is, and nobody needs to keep it. Hosts have no link-local address, no router and no
neighbour discovery to wait for: servers and clients know each other's MAC for good, as with IPv4. The
machine has no address in this prefix, and its gate lets no IPv6 pass.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from pathlib import Path

PREFIX = ipaddress.IPv6Network("fd70:6572:6661::/64")
_CONF = Path("/proc/sys/net/ipv6/conf")
_SIOCSIFADDR = 0x8916
# In the host's own network namespace, before its eth0 is up.
_SETTINGS = {
    "accept_ra": "0",
    "accept_redirects": "0",
    "autoconf": "0",
    "addr_gen_mode": "1",  # none of its own
    "accept_dad": "0",
    "dad_transmits": "0",  # so that no address waits
    "router_solicitations": "0",
    "forwarding": "0",
}


def address_of(address: str) -> str:
    """The address of IPv6 of a host with this one of IPv4."""
    return str(PREFIX[int(ipaddress.IPv4Address(address))])


def switch_off(interface: str = "eth0") -> None:
    """Have an interface of this network namespace without IPv6."""
    switch = _CONF / interface / "disable_ipv6"
    if switch.exists():
        switch.write_text("1")


def switch_on(interface: str = "eth0") -> None:
    """Have an interface of this network namespace with IPv6, and nothing that it does by itself.

    Raises:
        OSError: the kernel has no IPv6.
    """
    for name, value in _SETTINGS.items():
        setting = _CONF / interface / name
        if setting.exists():
            setting.write_text(value)
    (_CONF / interface / "disable_ipv6").write_text("0")


def give_address(interface: str, address: str) -> None:
    """Give an interface of this network namespace an address of the prefix (netdevice(7), ipv6(7)).

    Raises:
        OSError: the kernel refuses.
    """
    import fcntl  # noqa: PLC0415 -- names of this module are also for machines without it

    request = socket.inet_pton(socket.AF_INET6, address)
    request += struct.pack("=Ii", PREFIX.prefixlen, socket.if_nametoindex(interface))
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SIOCSIFADDR, request)

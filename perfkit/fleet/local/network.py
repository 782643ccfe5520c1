"""The run's own network: a bridge in a network namespace of its own, and one veth for each host.

The only thing the machine's namespace sees is the run's *uplink*, a veth end named after the run,
with the first address of the run's subnet. It goes when the namespace of the bridge goes, and
that goes with the keeper. No route, sysctl or firewall rule of the machine is changed: the
uplink's subnet is directly connected, and hosts have no default route.

Addresses are out of 198.18.0.0/15, which RFC 2544 sets aside for benchmarks inside one network,
so that they do not meet the addresses of somebody's office or VPN.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import ipaddress
import os
import socket
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from perfkit.errors import LaunchError
from perfkit.fleet.local import linux, tags

POOL = ipaddress.IPv4Network("198.18.0.0/15")
SUBNET_BITS = 20
# A Linux bridge has 1,023 ports and the uplink takes one. More hosts need more bridges, each with
# its own part of the subnet: `Switch` is the place, `LocalProvider.traits` states the limit.
MAX_HOSTS = 1010  # a bridge has 1,023 ports; one is the uplink's

_BRIDGE = "perfkit"
_SIOCGIFFLAGS, _SIOCSIFFLAGS = 0x8913, 0x8914  # netdevice(7)
_SIOCSIFADDR, _SIOCSIFNETMASK = 0x8916, 0x891C
_SIOCSARP, _ATF_COMPLETE_PERMANENT, _ARPHRD_ETHER = 0x8955, 0x02 | 0x04, 1  # arp(7)
_IFF_UP = 0x1


def choose_subnet(run_id: str, taken: Iterable[ipaddress.IPv4Network]) -> ipaddress.IPv4Network:
    """The first free /20 of the pool, starting at a place that depends on the run.

    Raises:
        LaunchError: none is free; the message names what is in the way.
    """
    subnets: list[ipaddress.IPv4Network] = list(POOL.subnets(new_prefix=SUBNET_BITS))
    start = int(hashlib.sha256(run_id.encode()).hexdigest(), 16) % len(subnets)
    in_the_way = [network for network in taken if network.overlaps(POOL)]
    for subnet in subnets[start:] + subnets[:start]:
        if not any(network.overlaps(subnet) for network in in_the_way):
            return subnet
    names = ", ".join(sorted({str(network) for network in in_the_way}))
    raise LaunchError(
        f"local network: no free /{SUBNET_BITS} in {POOL}: the machine has routes to {names}; "
        "release other runs (perfkit reap) or end the VPN that takes the range"
    )


class Switch:
    """The run's bridge. Making one moves this process into the bridge's network namespace.

    Attributes:
        subnet: The run's addresses; the first is the controller's, `address(0)` the first host's.
    """

    def __init__(self, run_id: str) -> None:
        machine = IPRoute()
        # A socket belongs for ever to the namespace it was made in: this one, the machine's.
        self._machine = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._uplink = tags.uplink_name(run_id)
        try:
            self.subnet, self._claim = _claim_subnet(run_id, machine)
            machine_namespace = os.open("/proc/self/ns/net", os.O_RDONLY)
            linux.unshare(linux.CLONE_NEWNET)
            # From here on /proc/sys/net is the new namespace's own. No IPv6 on the bridge: its
            # neighbour discovery would be flooded to every one of the hosts.
            for scope in ("all", "default"):
                switch_off = Path(f"/proc/sys/net/ipv6/conf/{scope}/disable_ipv6")
                if switch_off.exists():
                    switch_off.write_text("1")
            self._netlink = IPRoute()
            self._make_bridge(machine_namespace)
            os.close(machine_namespace)
            _address_uplink(machine, self._uplink, self.subnet)
        except NetlinkError as exc:
            raise LaunchError(f"local network of {run_id}: {exc}") from exc
        finally:
            machine.close()

    def _make_bridge(self, machine_namespace: int) -> None:
        self._netlink.link("add", ifname=_BRIDGE, kind="bridge", state="up")
        self._bridge = self._netlink.link_lookup(ifname=_BRIDGE)[0]
        self._netlink.link(
            "add",
            ifname="uplink",
            kind="veth",
            master=self._bridge,
            state="up",
            peer={
                "ifname": self._uplink,
                "net_ns_fd": machine_namespace,
                "address": _mac(self.controller),
            },
        )

    @property
    def controller(self) -> str:
        """The machine's own address in the run's network."""
        return str(self.subnet[1])

    def address(self, index: int) -> str:
        """Address of the host with this index, counted from 0.

        Raises:
            LaunchError: the bridge has no port left for it.
        """
        if index >= MAX_HOSTS:
            raise LaunchError(
                f"local network: host {index + 1} asked for, a run has at most {MAX_HOSTS}"
            )
        return str(self.subnet[index + 2])

    def connect(self, pid: int, index: int) -> None:
        """Give the network namespace of process `pid` an `eth0` on the bridge, still down.

        Raises:
            LaunchError: the kernel refuses.
        """
        try:
            self._netlink.link(
                "add",
                ifname=f"host{index}",
                kind="veth",
                master=self._bridge,
                state="up",
                peer={"ifname": "eth0", "net_ns_pid": pid, "address": _mac(self.address(index))},
            )
        except NetlinkError as exc:
            raise LaunchError(f"eth0 of the host at {self.address(index)}: {exc}") from exc
        _set_neighbour(self._machine, self._uplink, self.address(index))

    def neighbours(self, servers: Iterable[str], *, is_server: bool) -> list[str]:
        """Addresses that a host should know the MAC of for good.

        Everybody's: the controller and the servers; a server's: everybody. The kernel's table of
        *learned* neighbours is one for all namespaces and holds 1,024 (arp(7), gc_thresh3), which
        300 hosts overflow; permanent entries do not count. No test waits for ARP either.
        """
        everybody = [self.address(index) for index in range(MAX_HOSTS)] if is_server else []
        return [self.controller, *(everybody or servers)]


def configure_host(address: str, neighbours: Iterable[str]) -> None:
    """Bring up lo and eth0 of the network namespace this process is in.

    By ioctl: a netlink library opened in every one of a thousand short-lived processes
    costs 4 ms, these cost 0.05 ms (netdevice(7)).
    """
    netmask = str(ipaddress.ip_network(f"0.0.0.0/{SUBNET_BITS}").netmask)
    no_ipv6 = Path("/proc/sys/net/ipv6/conf/eth0/disable_ipv6")
    if no_ipv6.exists():
        no_ipv6.write_text("1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        _bring_up(control, "lo")
        for request, value in ((_SIOCSIFADDR, address), (_SIOCSIFNETMASK, netmask)):
            sockaddr = struct.pack("=HH4s8x", socket.AF_INET, 0, socket.inet_aton(value))
            fcntl.ioctl(control, request, struct.pack("16s16s", b"eth0", sockaddr))
        _bring_up(control, "eth0")
        for neighbour in neighbours:
            if neighbour != address:
                _set_neighbour(control, "eth0", neighbour)


def _bring_up(control: socket.socket, interface: str) -> None:
    request = struct.pack("16sH14x", interface.encode(), 0)
    (flags,) = struct.unpack("16xH14x", fcntl.ioctl(control, _SIOCGIFFLAGS, request))
    request = struct.pack("16sH14x", interface.encode(), flags | _IFF_UP)
    fcntl.ioctl(control, _SIOCSIFFLAGS, request)


def _set_neighbour(control: socket.socket, interface: str, address: str) -> None:
    """Enter an address of the run with its MAC, for good, in the ARP table of `control`'s network."""
    request = struct.pack(
        "=HH4s8xH6s8xi16x16s",
        socket.AF_INET,
        0,
        socket.inet_aton(address),
        _ARPHRD_ETHER,
        bytes.fromhex(_mac(address).replace(":", "")),
        _ATF_COMPLETE_PERMANENT,
        interface.encode(),
    )
    fcntl.ioctl(control, _SIOCSARP, request)


def _mac(address: str) -> str:
    """A locally administered MAC that is the address in disguise: captures can be read."""
    return ":".join(f"{byte:02x}" for byte in (0x02, 0x70, *socket.inet_aton(address)))


def _claim_subnet(run_id: str, machine: Any) -> tuple[ipaddress.IPv4Network, socket.socket]:
    """Choose a subnet and hold it: the claim is an abstract socket, which ends with its holder."""
    taken = _networks_of(machine)
    while True:
        subnet = choose_subnet(run_id, taken)
        claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            claim.bind(f"\0perfkit-subnet/{subnet}")
        except OSError as exc:
            claim.close()
            if exc.errno != errno.EADDRINUSE:
                raise
            taken.append(subnet)
        else:
            return subnet, claim


def _networks_of(machine: Any) -> list[ipaddress.IPv4Network]:
    """Destinations of the machine's routes that are at most as wide as the pool.

    A wider one (the default route, a VPN's 0.0.0.0/1) gives way to the subnet's own route.
    """
    networks = []
    for route in machine.get_routes(family=socket.AF_INET):
        destination = route.get_attr("RTA_DST")
        if destination and route["dst_len"] >= POOL.prefixlen:
            networks.append(
                ipaddress.IPv4Network(f"{destination}/{route['dst_len']}", strict=False)
            )
    return networks


def _address_uplink(machine: Any, uplink: str, subnet: ipaddress.IPv4Network) -> None:
    index = machine.link_lookup(ifname=uplink)[0]
    machine.addr("add", index=index, address=str(subnet[1]), prefixlen=subnet.prefixlen)
    machine.link("set", index=index, state="up")


def try_bridge() -> None:
    """Make a bridge with a veth in the current network namespace, to see whether it works.

    Raises:
        LaunchError: the kernel refuses.
    """
    try:
        with IPRoute() as netlink:
            netlink.link("add", ifname=_BRIDGE, kind="bridge", state="up")
            bridge = netlink.link_lookup(ifname=_BRIDGE)[0]
            netlink.link("add", ifname="a", kind="veth", master=bridge, peer={"ifname": "b"})
    except NetlinkError as exc:
        raise LaunchError(f"bridge and veth: {exc}") from exc

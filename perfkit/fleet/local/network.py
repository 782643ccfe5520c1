"""The run's own network: bridges in a network namespace of their own, and one veth for each host.

The only thing the machine's namespace sees is the run's *uplink*, a veth end named after the run,
with the first address of the run's subnet. It goes when the namespace of the bridges goes, and
that goes with the keeper. No route, sysctl or firewall rule of the machine is changed: the
uplink's subnet is directly connected, and hosts have no default route. What hosts send to the
machine passes the `gate`. Where a run's hosts are on several machines (`Outside`), each machine's have
a subnet of their own, and a route through the machine to those whom they may reach; who lets the
machine forward is `perfkit.fleet.packed`.

Addresses are out of 198.18.0.0/15, which RFC 2544 sets aside for benchmarks inside one network,
so that they do not meet the addresses of somebody's office or VPN.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import ipaddress
import os
import socket
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from perfkit.errors import LaunchError
from perfkit.fleet.local import bridges, claims, gate, ipv6, linux, rtnetlink, tags
from perfkit.fleet.provider import PACKED_BITS

POOL = ipaddress.IPv4Network("198.18.0.0/15")
SUBNET_BITS = PACKED_BITS
MAX_ADDRESSES = 2 ** (32 - SUBNET_BITS) - 3  # without its own, the broadcasts', the controller's

_SIOCGIFFLAGS, _SIOCSIFFLAGS = 0x8913, 0x8914  # netdevice(7)
_SIOCSIFADDR, _SIOCSIFNETMASK = 0x8916, 0x891C
_SIOCADDRT, _RTENTRY_BYTES = 0x890B, 120  # linux/route.h
_IFF_UP = 0x1
_RTF_UP, _RTF_GATEWAY, _RTF_HOST = 0x1, 0x2, 0x4


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """What the hosts of one machine have to do with others of their run.

    Attributes:
        subnet: Their own addresses, which no other machine of the run uses.
        peers: Addresses of IPv4 that they reach through the machine.
    """

    subnet: ipaddress.IPv4Network
    peers: tuple[str, ...]

    @classmethod
    def from_words(cls, subnet: str, peers: str) -> Outside | None:
        """From a keeper's tag, where peers are separated by commas; None: there is no subnet.

        Raises:
            ValueError: no network or address of IPv4, or another size than a run's.
        """
        if not subnet:
            return None
        network = ipaddress.IPv4Network(subnet)
        if network.prefixlen != SUBNET_BITS:
            raise ValueError(f"subnet {subnet}: a /{SUBNET_BITS} is needed")
        found = tuple(str(ipaddress.IPv4Address(peer)) for peer in peers.split(",") if peer)
        return cls(subnet=network, peers=found)


def choose_subnet(
    run_id: str,
    routed: Iterable[ipaddress.IPv4Network],
    held: Iterable[ipaddress.IPv4Network] = (),
) -> ipaddress.IPv4Network:
    """The first free /20 of the pool, starting at a place that depends on the run.

    Args:
        routed: Networks that the machine has routes to.
        held: Networks that other runs hold, which may not have a route yet.

    Raises:
        LaunchError: none is free; the message names what is in the way.
    """
    subnets: list[ipaddress.IPv4Network] = list(POOL.subnets(new_prefix=SUBNET_BITS))
    start = int(hashlib.sha256(run_id.encode()).hexdigest(), 16) % len(subnets)
    routes = {network for network in routed if network.overlaps(POOL)}
    holds = set(held)
    for subnet in subnets[start:] + subnets[:start]:
        if not any(network.overlaps(subnet) for network in routes | holds):
            return subnet
    reasons = [
        f"{what} {', '.join(str(network) for network in sorted(networks))}"
        for what, networks in (
            ("the machine has routes to", routes),
            ("other runs hold", holds - routes),
        )
        if networks
    ]
    raise LaunchError(
        f"local network: no free /{SUBNET_BITS} in {POOL}: {'; '.join(reasons)}; release other runs "
        "(perfkit status lists them, perfkit reap ends them) or end the VPN that takes the range"
    )


class Switch:
    """The run's bridges. Making them moves this process into their network namespace.

    Args:
        n_hosts: As many as the run may come to have; they decide how many bridges there are.
        outside: None: hosts reach each other and nobody else.

    Attributes:
        subnet: The run's addresses; the first is the controller's, `address(0)` the first host's.
        peers: Addresses outside the machine that hosts reach.
    """

    def __init__(self, run_id: str, n_hosts: int, outside: Outside | None = None) -> None:
        self.peers = outside.peers if outside else ()
        machine = IPRoute()
        # A socket belongs for ever to the namespace it was made in: this one, the machine's.
        self._machine = rtnetlink.open_socket()
        self._uplink = tags.uplink_name(run_id)
        try:
            if outside:
                self.subnet, self._claim = _claim_given(outside.subnet, machine)
            else:
                self.subnet, self._claim = _claim_subnet(run_id, machine)
            machine_namespace = os.open("/proc/self/ns/net", os.O_RDONLY)
            linux.unshare(linux.CLONE_NEWNET)
            # From here on /proc/sys/net is the new namespace's own. No IPv6 on a bridge: its
            # neighbour discovery would be flooded to every one of the hosts.
            for scope in ("all", "default"):
                ipv6.switch_off(scope)
            self._netlink = IPRoute()
            self._bridges = bridges.Bridges(self._netlink, n_hosts)
            self._make_uplink(machine_namespace)
            os.close(machine_namespace)
            self._namespace = os.open("/proc/self/ns/net", os.O_RDONLY)
            self._uplink_index = _address_uplink(machine, self._uplink, self.subnet)
        except NetlinkError as exc:
            raise LaunchError(f"local network of {run_id}: {exc}") from exc
        finally:
            machine.close()

    def _make_uplink(self, machine_namespace: int) -> None:
        self._netlink.link(
            "add",
            ifname="uplink",
            kind="veth",
            master=self._bridges.root,
            state="up",
            peer={
                "ifname": self._uplink,
                "net_ns_fd": machine_namespace,
                "address": _mac(self.controller),
            },
        )
        (uplink,) = self._netlink.link_lookup(ifname="uplink")
        gate.close(self._netlink, uplink, self.controller, self.subnet, self.peers)
        self._bridges.lead_to_machine(uplink, _mac(self.controller))

    @property
    def controller(self) -> str:
        """The machine's own address in the run's network."""
        return str(self.subnet[1])

    def address(self, index: int) -> str:
        """Address of the host with this index, counted from 0.

        Raises:
            LaunchError: the subnet has none left for it.
        """
        if index >= MAX_ADDRESSES:
            raise LaunchError(
                f"local network: {self.subnet} has no address for host {index + 1}, those that were "
                f"replaced included; a run has at most {MAX_ADDRESSES}: launch another"
            )
        return str(self.subnet[index + 2])

    def port(self, address: str) -> str:
        """The interface of its bridge that a host with this address is joined to."""
        return bridges.port_name(self._index(address))

    def _index(self, address: str) -> int:
        return int(ipaddress.IPv4Address(address)) - int(self.subnet[2])

    def connect(self, pid: int, address: str, *, is_server: bool) -> None:
        """Give the network namespace of process `pid` an `eth0` that leads to its bridge, still down.

        Raises:
            LaunchError: the kernel refuses.
        """
        seat = bridges.Seat(self._index(address), address, _mac(address), is_server)
        try:
            self._bridges.join(pid, seat)
        except NetlinkError as exc:
            raise LaunchError(f"bridge of the host at {address}: {exc}") from exc
        except OSError as exc:
            raise LaunchError(exc.strerror) from exc

    # Everybody knows the MAC of the controller and the servers for good, and these of everybody: the
    # kernel's table of *learned* neighbours is one for all namespaces and holds 1,024 (arp(7),
    # gc_thresh3), which 300 hosts overflow; permanent entries do not count. No test waits for ARP.

    def introduce_to_controller(self, addresses: Sequence[str]) -> None:
        """Tell the machine the MACs of hosts of the run.

        Raises:
            OSError: the kernel refuses.
        """
        _introduce(self._machine, self._uplink_index, addresses)

    def introduce_to_host(self, pidfd: int, addresses: Sequence[str]) -> None:
        """Tell a host that is there already the MACs of others.

        Raises:
            OSError: the kernel refuses, or the host has just ended (ESRCH).
        """
        with self.inside(pidfd):
            _introduce_here(addresses)

    @contextlib.contextmanager
    def inside(self, pidfd: int) -> Iterator[None]:
        """Meanwhile, have this process in the network namespace of a host.

        Raises:
            OSError: the host has just ended (ESRCH).
        """
        linux.enter(pidfd, linux.CLONE_NEWNET)
        try:
            yield
        finally:
            linux.enter(self._namespace, linux.CLONE_NEWNET)


def configure_host(
    address: str,
    neighbours: Iterable[str],
    address_6: str = "",
    ways: Mapping[str, str] | None = None,
) -> None:
    """Bring up lo and eth0 of the network namespace this process is in.

    Without an address of IPv6 its eth0 has none of that.

    Args:
        ways: For each address outside the machine that it reaches, the gateway.

    By ioctl: a netlink library opened in every one of a thousand short-lived processes
    costs 4 ms, these cost 0.05 ms (netdevice(7)).
    """
    netmask = str(ipaddress.ip_network(f"0.0.0.0/{SUBNET_BITS}").netmask)
    if address_6:
        ipv6.switch_on()
    else:
        ipv6.switch_off()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        _bring_up(control, "lo")
        for request, value in ((_SIOCSIFADDR, address), (_SIOCSIFNETMASK, netmask)):
            sockaddr = struct.pack("=HH4s8x", socket.AF_INET, 0, socket.inet_aton(value))
            fcntl.ioctl(control, request, struct.pack("16s16s", b"eth0", sockaddr))
        _bring_up(control, "eth0")
        for peer, gateway in (ways or {}).items():
            fcntl.ioctl(control, _SIOCADDRT, _route(peer, gateway))
    if address_6:
        ipv6.give_address("eth0", address_6)
    _introduce_here(
        [neighbour for neighbour in neighbours if neighbour not in (address, address_6)]
    )


def _route(address: str, gateway: str) -> bytes:
    """A `struct rtentry` of route(8): the way to one host."""
    ends = [
        struct.pack("=HH4s8x", socket.AF_INET, 0, socket.inet_aton(it))
        for it in (address, gateway, "255.255.255.255")
    ]
    head = struct.pack("@L16s16s16sH", 0, *ends, _RTF_UP | _RTF_GATEWAY | _RTF_HOST)
    return head.ljust(_RTENTRY_BYTES, b"\0")


def _bring_up(control: socket.socket, interface: str) -> None:
    request = struct.pack("16sH14x", interface.encode(), 0)
    (flags,) = struct.unpack("16xH14x", fcntl.ioctl(control, _SIOCGIFFLAGS, request))
    request = struct.pack("16sH14x", interface.encode(), flags | _IFF_UP)
    fcntl.ioctl(control, _SIOCSIFFLAGS, request)


def _introduce_here(addresses: Sequence[str]) -> None:
    with rtnetlink.open_socket() as netlink:
        _introduce(netlink, socket.if_nametoindex("eth0"), addresses)


def _introduce(netlink: socket.socket, index: int, addresses: Sequence[str]) -> None:
    """Enter addresses of the run with their MACs, for good, in one batch (rtnetlink(7)).

    One batch takes a seventh of the time of one call for each where other processes change
    networks too: each such call waits for its turn.

    Raises:
        OSError: the kernel refuses one.
    """
    entries = [rtnetlink.neighbour(index, address, _mac(address)) for address in addresses]
    rtnetlink.apply(netlink, entries, "neighbours of the run")


def _mac(address: str) -> str:
    """A locally administered MAC that is the address in disguise: captures can be read.

    An address of IPv6 ends with that of IPv4.
    """
    packed = socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
    return ":".join(f"{byte:02x}" for byte in (0x02, 0x70, *packed[-4:]))


def _claim_subnet(run_id: str, machine: Any) -> tuple[ipaddress.IPv4Network, int]:
    """Choose a subnet and hold it as long as this process lives, by a lock (`claims`)."""
    held: list[ipaddress.IPv4Network] = []
    while True:
        subnet = choose_subnet(run_id, _networks_of(machine), held)
        lock = claims.hold(f"subnet-{subnet.network_address}-{subnet.prefixlen}")
        if lock is not None:
            return subnet, lock
        held.append(subnet)


def _claim_given(subnet: ipaddress.IPv4Network, machine: Any) -> tuple[ipaddress.IPv4Network, int]:
    """Hold the subnet that was asked for.

    Raises:
        LaunchError: the machine has a route into it, or another run holds it.
    """
    routed = [str(it) for it in _networks_of(machine, subnet.prefixlen) if it.overlaps(subnet)]
    if routed:
        raise LaunchError(
            f"local network: {subnet} is not free, the machine has routes to {', '.join(routed)}"
        )
    lock = claims.hold(f"subnet-{subnet.network_address}-{subnet.prefixlen}")
    if lock is None:
        raise LaunchError(f"local network: another run on the machine holds {subnet}")
    return subnet, lock


def _networks_of(machine: Any, widest: int = POOL.prefixlen) -> list[ipaddress.IPv4Network]:
    """Destinations of the machine's routes that are at most as wide as the pool, or as `widest` says.

    A wider one (the default route, a VPN's 0.0.0.0/1) gives way to the subnet's own route.
    """
    networks = []
    for route in machine.get_routes(family=socket.AF_INET):
        destination = route.get_attr("RTA_DST")
        if destination and route["dst_len"] >= widest:
            networks.append(
                ipaddress.IPv4Network(f"{destination}/{route['dst_len']}", strict=False)
            )
    return networks


def _address_uplink(machine: Any, uplink: str, subnet: ipaddress.IPv4Network) -> int:
    index: int = machine.link_lookup(ifname=uplink)[0]
    machine.addr("add", index=index, address=str(subnet[1]), prefixlen=subnet.prefixlen)
    machine.link("set", index=index, state="up")
    return index


def try_bridge() -> None:
    """Make a bridge with a veth and a gate in the current network namespace, to see whether it works.

    Raises:
        LaunchError: the kernel refuses.
    """
    try:
        with IPRoute() as netlink:
            bridge = bridges.Bridges(netlink, 1).root
            netlink.link("add", ifname="a", kind="veth", master=bridge, peer={"ifname": "b"})
            (port,) = netlink.link_lookup(ifname="a")
            gate.close(netlink, port, str(POOL[1]), POOL)
    except NetlinkError as exc:
        raise LaunchError(f"bridge, veth and gate (sch_htb, cls_u32): {exc}") from exc

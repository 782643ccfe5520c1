"""The bridges of a run: one for up to 1,000 clients and a server, a tree of them for more.

A Linux bridge has 1,023 ports. A run that was asked for more hosts than one bridge carries has a
*root*, and *leaves* with up to `HOSTS_PER_BRIDGE` hosts each, joined to it by pairs of veths::

    the machine -- uplink -- root -- servers
                              |
                     leaf 1 … leaf 4 -- clients

The way from a client to a server is then the same for all of them: what it costs is no difference
between clients. Bridges of a tree learn nothing and flood nothing: each has an entry for good for
every host behind it, what a leaf does not know goes up, and the root answers ARP, since it knows the
address of every host. Nothing that one host sends reaches thousands. Hosts of a tree have therefore
no multicast among each other. A single bridge learns and floods, as any switch does.

All of them are in the network namespace of the keeper and go with it.
"""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass
from typing import Any

from perfkit.fleet.local import rtnetlink

HOSTS_PER_BRIDGE = 1_001  # of 1,023 ports: the uplink and the joints take some
MAX_HOSTS = 4_001  # 4,000 clients and a server; more has not been tried
ROOT = 0

_NAME = "perfkit"
_FIRST_PORT = 10_000  # above what the kernel gives to interfaces of which nobody says the index


@dataclass(frozen=True, slots=True)
class Seat:
    """A host as the bridges see it.

    Attributes:
        index: Its number in the run, from 0.
        is_server: Clients come to it, from all leaves.
    """

    index: int
    address: str
    mac: str
    is_server: bool = False


def bridge_of(seat: Seat, n_hosts: int) -> int:
    """Number of the bridge that a host of a run of so many is joined to; `ROOT` is the root."""
    if n_hosts <= HOSTS_PER_BRIDGE or seat.is_server:
        return ROOT
    return 1 + seat.index // HOSTS_PER_BRIDGE


def port_name(index: int) -> str:
    """The interface of its bridge that a host is joined to."""
    return f"host{index}"


class Bridges:
    """The bridges in the network namespace of this process.

    Attributes:
        root: Index of the one that leads to the machine.
    """

    def __init__(self, library: Any, n_hosts: int) -> None:
        """Make the root; leaves are made when they get their first host.

        Args:
            library: `pyroute2.IPRoute` of the network namespace.
            n_hosts: As many as the run may come to have.
        """
        self._library, self._n_hosts = library, n_hosts
        self._netlink = rtnetlink.open_socket()
        self.root = self._add(ROOT)
        self._leaves: dict[int, tuple[int, int]] = {}  # its index, and the root's port to it

    def lead_to_machine(self, uplink: int, mac: str) -> None:
        """Tell the bridges which port of the root leads to the machine, and the MAC there.

        Raises:
            OSError: the kernel refuses.
        """
        if self._n_hosts > HOSTS_PER_BRIDGE:
            known = [rtnetlink.quiet_port(uplink), rtnetlink.station(uplink, mac)]
            rtnetlink.apply(self._netlink, known, "uplink of the run")

    def join(self, pid: int, seat: Seat) -> None:
        """Give the network namespace of process `pid` an `eth0` that leads to its bridge, still down.

        Raises:
            OSError: the kernel refuses.
        """
        number = bridge_of(seat, self._n_hosts)
        bridge, joint = (self.root, 0) if number == ROOT else self._leaf(number)
        port = _FIRST_PORT + seat.index
        requests = [rtnetlink.veth(port_name(seat.index), port, bridge, "eth0", seat.mac, pid)]
        if self._n_hosts > HOSTS_PER_BRIDGE:
            requests += [
                rtnetlink.quiet_port(port),
                rtnetlink.station(port, seat.mac),
                rtnetlink.neighbour(self.root, seat.address, seat.mac),
            ]
        if joint:
            requests.append(rtnetlink.station(joint, seat.mac))
        try:
            rtnetlink.apply(self._netlink, requests, f"eth0 of the host at {seat.address}")
        except OSError as exc:
            if exc.errno == errno.EXFULL:
                raise OSError(
                    exc.errno,
                    f"{exc.strerror}: a bridge has 1,023 ports, and the run was begun for "
                    f"{self._n_hosts} hosts; launch another run for all of them at once",
                ) from exc
            raise

    def _leaf(self, number: int) -> tuple[int, int]:
        if number not in self._leaves:
            leaf = self._add(number)
            up, down = f"up{number}", f"down{number}"  # ports of the leaf and of the root
            self._library.link(
                "add",
                ifname=down,
                kind="veth",
                master=self.root,
                state="up",
                peer={"ifname": up, "master": leaf},
            )
            self._library.link("set", index=socket.if_nametoindex(up), master=leaf, state="up")
            joint = socket.if_nametoindex(down)
            requests = [
                rtnetlink.quiet_port(joint),
                rtnetlink.quiet_port(socket.if_nametoindex(up), is_way_up=True),
            ]
            rtnetlink.apply(self._netlink, requests, f"joint of bridge {number}")
            self._leaves[number] = leaf, joint
        return self._leaves[number]

    def _add(self, number: int) -> int:
        """Make a bridge with a MAC of its own: its index.

        It would else take the lowest of its ports', and the kernel forget, with each change, every
        address that it was told for good.
        """
        name = f"{_NAME}{number or ''}"
        mac = f"02:70:6b:00:00:{number:02x}"
        self._library.link("add", ifname=name, kind="bridge", state="up", address=mac)
        return socket.if_nametoindex(name)

"""Requests to the kernel's networks in bulk: many in one call, packed here.

A library's call for each request runs an event loop of its own, which took half of the time that a
keeper worked. These are the few requests that a run makes once for every host.

Source: rtnetlink(7), netlink(7), linux/if_link.h, linux/neighbour.h, linux/veth.h.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Sequence
from typing import NamedTuple

AT_ONCE = 500  # requests of one call: what is sent, and a refusal for each, fit into a socket

_HEAD = struct.Struct("=IHHII")  # length, type, flags, number, port
_LINK_HEAD = struct.Struct("=BxHiII")  # family, type, index, flags, which flags
_NEIGHBOUR_HEAD = struct.Struct("=BxxxiHBB")  # family, index, state, flags, type
_NEWLINK, _SETLINK, _NEWNEIGH, _ERROR = 16, 19, 28, 2
_REQUEST, _ACK, _REPLACE, _EXCLUSIVE, _CREATE = 0x1, 0x4, 0x100, 0x200, 0x400
_NESTED = 0x8000

_ADDRESS, _IFNAME, _MASTER, _PROTINFO, _LINKINFO, _NET_NS_PID = 1, 3, 10, 12, 18, 19
_INFO_KIND, _INFO_DATA, _PEER = 1, 2, 1
_LEARNING, _UNICAST_FLOOD, _PROXY_ARP, _MULTICAST_FLOOD, _BROADCAST_FLOOD = 8, 9, 10, 27, 30
_IFF_UP = 0x1
_DST, _LLADDR, _NOARP, _PERMANENT, _ON_MASTER = 1, 2, 0x40, 0x80, 0x04


class Request(NamedTuple):
    """One change, as the kernel takes it."""

    kind: int
    flags: int
    body: bytes


def open_socket() -> socket.socket:
    """A socket to the networks of this process's network namespace, for good."""
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)


def apply(netlink: socket.socket, requests: Sequence[Request], what: str) -> None:
    """Have the kernel make all changes, in their order.

    Args:
        what: What they are about, for the message of the error.

    Raises:
        OSError: it refuses one or more; those that it has not refused are made.
    """
    for start in range(0, len(requests), AT_ONCE):
        batch = requests[start : start + AT_ONCE]
        packed = [
            _packed(request, number, is_last=number == len(batch))
            for number, request in enumerate(batch, 1)
        ]
        netlink.send(b"".join(packed))
        refused = _refusals(netlink, len(batch))
        if refused:
            raise OSError(refused[0], f"{what}: {os.strerror(refused[0])}")


def _packed(request: Request, number: int, *, is_last: bool) -> bytes:
    flags = request.flags | _REQUEST | (_ACK if is_last else 0)
    length = _HEAD.size + len(request.body)
    return _HEAD.pack(length, request.kind, flags, number, 0) + request.body


def _refusals(netlink: socket.socket, last: int) -> list[int]:
    """The error numbers of what was refused; the kernel has answered by now, the last in any case."""
    errors = []
    while True:
        answer = netlink.recv(1 << 16)
        _, kind, _, number, _ = _HEAD.unpack_from(answer)
        if kind != _ERROR:
            continue
        (error,) = struct.unpack_from("=i", answer, _HEAD.size)
        if error:
            errors.append(-error)
        if number == last:
            return errors


def neighbour(index: int, address: str, mac: str) -> Request:
    """Let the namespace of an interface know for good which MAC an address behind it has."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    head = _NEIGHBOUR_HEAD.pack(family, index, _PERMANENT, 0, 0)
    packed = socket.inet_pton(family, address)
    body = head + _attribute(_DST, packed) + _attribute(_LLADDR, _bytes(mac))
    return Request(_NEWNEIGH, _REPLACE | _CREATE, body)


def station(port: int, mac: str) -> Request:
    """Let a bridge know for good behind which of its ports a MAC is."""
    head = _NEIGHBOUR_HEAD.pack(socket.AF_BRIDGE, port, _NOARP, _ON_MASTER, 0)
    return Request(_NEWNEIGH, _REPLACE | _CREATE, head + _attribute(_LLADDR, _bytes(mac)))


def quiet_port(port: int, *, is_way_up: bool = False) -> Request:
    """Let a port of a bridge learn no MAC and take no frame for an unknown one or for all.

    ARP that arrives at it is answered by the bridge, if that knows the address.

    Args:
        is_way_up: The port leads to a bridge that knows more: it takes such frames, and ARP is left
            to that one. Never those for many: nobody has asked for them.
    """
    off_but_up = bytes([is_way_up])
    flags = (
        (_LEARNING, b"\0"),
        (_UNICAST_FLOOD, off_but_up),
        (_BROADCAST_FLOOD, off_but_up),
        (_MULTICAST_FLOOD, b"\0"),
        (_PROXY_ARP, bytes([not is_way_up])),
    )
    settings = b"".join(_attribute(kind, value) for kind, value in flags)
    head = _LINK_HEAD.pack(socket.AF_BRIDGE, 0, port, 0, 0)
    return Request(_SETLINK, 0, head + _attribute(_PROTINFO | _NESTED, settings))


def veth(name: str, index: int, master: int, peer: str, peer_mac: str, peer_pid: int) -> Request:
    """Make a pair: one end here, up and a port of a bridge, the other in the network of a process."""
    other = _LINK_HEAD.pack(0, 0, 0, 0, 0) + b"".join(
        (
            _attribute(_IFNAME, peer.encode() + b"\0"),
            _attribute(_ADDRESS, _bytes(peer_mac)),
            _attribute(_NET_NS_PID, struct.pack("=I", peer_pid)),
        )
    )
    kind = _attribute(_INFO_KIND, b"veth") + _attribute(_INFO_DATA, _attribute(_PEER, other))
    body = _LINK_HEAD.pack(0, 0, index, _IFF_UP, _IFF_UP) + b"".join(
        (
            _attribute(_IFNAME, name.encode() + b"\0"),
            _attribute(_MASTER, struct.pack("=I", master)),
            _attribute(_LINKINFO, kind),
        )
    )
    return Request(_NEWLINK, _CREATE | _EXCLUSIVE, body)


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def _bytes(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))

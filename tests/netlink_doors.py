"""Root in a host tries, by raw netlink, to act on interfaces outside its network namespace.

    python3 netlink_doors.py CANARY CANARY_INDEX VICTIM

CANARY is an interface in the machine's namespace, VICTIM one at the bridge. Prints a JSON object with
"done" or the error of each attempt. Runs inside hosts: only the standard library of their Python.

Source: rtnetlink(7), linux/if_link.h, linux/net_namespace.h.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

NEWLINK, DELLINK, GETLINK, SETLINK, NEWNSID, GETNSID = 16, 17, 18, 19, 88, 90
REQUEST, ACK, DUMP, CREATE_NEW = 0x1, 0x4, 0x300, 0x600
ERROR, LAST = 2, 3
IFNAME, LINK, LINKINFO, NS_PID, NS_FD, LINK_NETNSID, TARGET_NETNSID = 3, 5, 18, 19, 28, 37, 46
INFO_KIND, INFO_DATA, PEER = 1, 2, 1
NSID, NSID_PID, NSID_FD = 1, 2, 3
IDS = range(12)  # namespace ids are given out from 0 on


def attribute(kind: int, value: bytes | str | int) -> bytes:
    if isinstance(value, int):
        value = struct.pack("=i", value)
    elif isinstance(value, str):
        value = value.encode() + b"\0"
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        yield kind & 0x3FFF, data[4:length]
        data = data[(length + 3) & ~3 :]


def ask(message: int, flags: int, body: bytes) -> list[bytes]:
    """Send one request; the bodies of what is answered."""
    answers: list[bytes] = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as netlink:
        netlink.settimeout(60)
        netlink.send(struct.pack("=IHHII", 16 + len(body), message, REQUEST | flags, 1, 0) + body)
        while True:
            data = netlink.recv(1 << 18)
            while data:
                length, kind = struct.unpack_from("=IH", data)
                if kind in (ERROR, LAST):
                    (number,) = struct.unpack_from("=i", data, 16)
                    if number:
                        raise OSError(-number, os.strerror(-number))
                    return answers
                answers.append(data[16:length])
                data = data[(length + 3) & ~3 :]


def link(*more: bytes, index: int = 0) -> bytes:
    return struct.pack("=BxHiII", 0, 0, index, 0, 0) + b"".join(more)


def links(*more: bytes) -> dict[str, int | None]:
    """Names of interfaces with the id of the namespace their other end is in."""
    found: dict[str, int | None] = {}
    for answer in ask(GETLINK, DUMP, link(*more)):
        read = dict(attributes(answer[16:]))
        other = read.get(LINK_NETNSID)
        found[read[IFNAME].rstrip(b"\0").decode()] = other and struct.unpack("=i", other)[0]
    return found


def info(kind: str, data: bytes = b"") -> bytes:
    return attribute(LINKINFO, attribute(INFO_KIND, kind) + attribute(INFO_DATA, data))


def veth(name: str, *more: bytes, peer: bytes = b"") -> None:
    other = attribute(PEER, link(attribute(IFNAME, f"{name}p"), peer))
    ask(NEWLINK, ACK | CREATE_NEW, link(attribute(IFNAME, name), info("veth", other), *more))


def on_any_id(work: Callable[[int], object]) -> None:
    """Do the work on the first namespace id it succeeds on.

    Raises:
        OSError: on none; with all errors.
    """
    errors = []
    for number in IDS:
        try:
            work(number)
        except OSError as exc:
            errors.append(str(exc))
        else:
            return
    raise OSError("; ".join(errors))


def seen(name: str, number: int) -> None:
    if name not in links(attribute(TARGET_NETNSID, number)):
        raise OSError(f"{name} is not there")


def walk_to(name: str) -> None:
    """From namespace to namespace along the ids of other ends, until an interface is there."""
    start = links()
    pending = {number for number in start.values() if number is not None}
    done: set[int] = set()
    error: OSError = OSError("no id is given")
    while pending - done:
        number = min(pending - done)
        done.add(number)
        try:
            there = links(attribute(TARGET_NETNSID, number))
        except OSError as exc:
            error = exc
            continue
        if name in there:
            return
        pending |= {other for other in there.values() if other is not None}
    raise error


def other_namespaces() -> Iterator[tuple[int, int]]:
    """PID and descriptor of every network namespace but our own that a process shows."""
    told = {Path("/proc/self/ns/net").readlink()}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            name = (process / "ns/net").readlink()
            if name not in told:
                told.add(name)
                yield int(process.name), os.open(process / "ns/net", os.O_RDONLY)
        except OSError:
            continue


def name_all(kind: int) -> None:
    """Get an id for every other namespace that can be named, and see the canary through one."""
    for pid, descriptor in other_namespaces():
        which = bytes(4) + attribute(kind, pid if kind == NSID_PID else descriptor)
        with contextlib.suppress(FileExistsError):  # it has one already
            ask(NEWNSID, ACK, which + attribute(NSID, -1))
        (answer,) = ask(GETNSID, ACK, which)
        number = dict(attributes(answer[4:]))[NSID]
        try:
            return seen(CANARY, struct.unpack("=i", number)[0])
        except OSError:
            continue
    raise OSError("no namespace with the canary can be named")


def push(kind: int, name: str) -> None:
    """Move an interface of ours into another namespace."""
    veth(name)
    for pid, descriptor in other_namespaces():
        place = attribute(kind, pid if kind == NS_PID else descriptor)
        ask(SETLINK, ACK, link(attribute(IFNAME, name), place))
        if name not in links():
            return ask(DELLINK, ACK, link(attribute(IFNAME, f"{name}p")))
    ask(DELLINK, ACK, link(attribute(IFNAME, name)))
    raise OSError("no other namespace can be named")


def macvlan(number: int) -> None:
    on_it = (attribute(LINK, INDEX), attribute(LINK_NETNSID, number))
    ask(NEWLINK, ACK | CREATE_NEW, link(attribute(IFNAME, "steal"), info("macvlan"), *on_it))


def push_by_id(number: int) -> None:
    name = f"push{number}"
    veth(name)
    try:
        ask(SETLINK, ACK, link(attribute(IFNAME, name), attribute(TARGET_NETNSID, number)))
    finally:
        left = name if name in links() else f"{name}p"
        ask(DELLINK, ACK, link(attribute(IFNAME, left)))


def make(number: int) -> None:
    veth("made", attribute(TARGET_NETNSID, number))
    ask(DELLINK, ACK, link(attribute(IFNAME, "made"), attribute(TARGET_NETNSID, number)))


def delete(number: int) -> None:
    ask(DELLINK, ACK, link(attribute(IFNAME, VICTIM), attribute(TARGET_NETNSID, number)))


def far_end(kind: int, name: str) -> None:
    """Make an interface whose other end is in another namespace."""
    for pid, descriptor in other_namespaces():
        there = attribute(kind, pid if kind == NS_PID else descriptor)
        veth(name, peer=there)
        found = links()
        ask(DELLINK, ACK, link(attribute(IFNAME, name)))
        if f"{name}p" not in found:
            return
    raise OSError("no other namespace can be named")


CANARY, INDEX, VICTIM = sys.argv[1], int(sys.argv[2]), sys.argv[3]
ATTEMPTS: dict[str, Callable[[], object]] = {
    "name namespaces by PID": lambda: name_all(NSID_PID),
    "name namespaces by descriptor": lambda: name_all(NSID_FD),
    "list the machine's interfaces": lambda: walk_to(CANARY),
    "list the bridge's interfaces": lambda: walk_to(VICTIM),
    "list by id": lambda: on_any_id(lambda number: seen(CANARY, number)),
    "make one there": lambda: on_any_id(make),
    "make one whose other end is there, by PID": lambda: far_end(NS_PID, "far1"),
    "make one whose other end is there, by descriptor": lambda: far_end(NS_FD, "far2"),
    "move one there by PID": lambda: push(NS_PID, "byp"),
    "move one there by descriptor": lambda: push(NS_FD, "byf"),
    "move one there by id": lambda: on_any_id(push_by_id),
    "macvlan on the machine's": lambda: on_any_id(macvlan),
    "delete another host's": lambda: on_any_id(delete),
}
outcomes = {}
for what, attempt in ATTEMPTS.items():
    try:
        attempt()
        outcomes[what] = "done"
    except OSError as exc:
        outcomes[what] = str(exc)
print(json.dumps(outcomes))  # noqa: T201  its answer

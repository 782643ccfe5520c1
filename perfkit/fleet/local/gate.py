"""What may pass from a run's hosts to the machine: answers to what the machine has begun.

Where hosts are to reach others outside the machine, what is for those passes as well, and no more: the
machine's own addresses stay behind the gate.

The controller reaches hosts by SSH, so hosts need to answer and nothing else. Without the gate every
service of the machine that listens on all addresses would be open to root in a host.

The gate is the queue of the uplink's end in the run's own network namespace: it ends with that
namespace, and no rule, route or sysctl of the machine is touched. What no filter lets pass goes
into a queue that drops everything: ARP, IPv6, UDP, fragments, tagged frames, every attempt to
begin a TCP connection. It needs the kernel's `sch_htb` and `cls_u32` and no program.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Any

_QUEUE, _DROPPED, _PASSED = 0x10000, 0x10002, 0x10000  # handles: 1:, 1:2, and "not queued at all"
_IPV4 = 0x0800  # ETH_P_IP
# u32 keys are value/mask+offset in the IP packet. An IP header without options, so that the next
# one begins at byte 20, and a packet that is no fragment.
_PLAIN = ("0x45000000/0xff000000+0", "0x0/0x00003fff+4")
_TCP, _ICMP = "0x00060000/0x00ff0000+8", "0x00010000/0x00ff0000+8"
_ANSWERS = (
    (_TCP, "0x0/0x00020000+32"),  # without SYN: of a connection that exists
    (_TCP, "0x00120000/0x00120000+32"),  # SYN and ACK: the answer to a SYN of the machine
    (_ICMP, "0x0/0xff000000+20"),  # echo reply
    (_ICMP, "0x03000000/0xff000000+20"),  # destination unreachable
)


def close(
    netlink: Any,
    index: int,
    controller: str,
    subnet: ipaddress.IPv4Network,
    peers: Sequence[str] = (),
) -> None:
    """Let only answers from the run's addresses to the controller leave by an interface.

    Args:
        netlink: `pyroute2.IPRoute` of the interface's network namespace.
        index: The interface: the bridge's port to the machine.
        controller: The machine's address in the run's network.
        subnet: The run's addresses.
        peers: Addresses outside the machine that hosts may reach.

    Raises:
        NetlinkError: the kernel refuses, most likely because it lacks a module.
    """
    netlink.tc("add", "htb", index, _QUEUE, default=_DROPPED & 0xFFFF)
    netlink.tc("add-class", "htb", index, _DROPPED, parent=_QUEUE, rate="1mbit")
    netlink.tc("add", "pfifo", index, parent=_DROPPED, limit=0)
    sender = f"{int(subnet.network_address):#x}/{int(subnet.netmask):#x}+12"
    passing = [[sender, _to(peer)] for peer in peers]
    passing += [[*_PLAIN, sender, _to(controller), *answer] for answer in _ANSWERS]
    for keys in passing:
        netlink.tc(
            "add-filter",
            "u32",
            index,
            parent=_QUEUE,
            prio=1,
            protocol=_IPV4,
            target=_PASSED,
            keys=keys,
        )


def _to(address: str) -> str:
    return f"{int(ipaddress.IPv4Address(address)):#x}/0xffffffff+16"

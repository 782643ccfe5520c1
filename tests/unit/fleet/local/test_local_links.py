"""Links of local hosts: what the kernel is told, and what it does with it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from forked import in_child

if not sys.platform.startswith("linux"):
    pytest.skip("netlink is Linux's", allow_module_level=True)

from perfkit.errors import LaunchError
from perfkit.fleet import shaping
from perfkit.fleet.local import links, linux
from perfkit.model import HostLink

FAR, NEAR, CONTROLLER = "192.0.2.1", "192.0.2.2", "192.0.2.9"


def test_a_rate_has_a_queue_of_its_own_length_and_the_controller_passes_beside_it() -> None:
    lines = shaping.queue_lines("host3", HostLink(rate_bps=100e6), f"match ip src {CONTROLLER}/32")
    assert "htb rate 100000000bit burst 12500 cburst 12500" in lines[1]
    assert lines[2].endswith("bfifo limit 625000")  # 50 ms
    assert f"match ip src {CONTROLLER}/32 flowid 1:0" in lines[3]
    slow = shaping.queue_lines("host3", HostLink(rate_bps=64e3), "")
    assert slow[2].endswith("bfifo limit 15140")  # some packets at least
    assert shaping.queue_lines("host3", HostLink(loss_ratio=0.1), "") == []
    assert shaping.loss_lines("host3", HostLink(rate_bps=1e6), "") == []


def test_a_delay_is_netems_below_the_rate_and_holds_what_is_on_its_way() -> None:
    link = HostLink(rate_bps=1e9, delay_s=0.02, jitter_s=0.002)
    lines = shaping.queue_lines("host3", link, "")
    assert lines[2].endswith("netem limit 5945 delay 20000us 2000us")  # 22 ms and 50 ms of 1 Gbit/s
    assert shaping.needs_of(link) == ["rate", "delay"]
    assert shaping.needs_of(HostLink(loss_ratio=0.1)) == ["loss"]


def test_counters_are_those_of_the_links_queue_and_rule_not_of_the_controllers() -> None:
    queues = (
        '[{"kind":"htb","dev":"eth0","root":true,"bytes":9000,"packets":9,"drops":4},'
        '{"kind":"bfifo","dev":"eth0","parent":"1:10","bytes":3028,"packets":2,"drops":1}]'
    )
    rules = (
        '{"nftables":[{"metainfo":{}},{"rule":{"chain":"eth0","expr":[{"match":{}},{"accept":null}]}},'
        '{"rule":{"chain":"eth0","expr":[{"match":{}},{"counter":{"packets":7,"bytes":1}},{"drop":null}]}},'
        '{"rule":{"chain":"eth0","expr":[{"match":{}},{"counter":{"packets":93,"bytes":1}}]}}]}'
    )
    assert shaping.counters(queues, rules) == {
        "eth0": {
            "carried_bytes": 3028,
            "carried_packets": 2,
            "queue_drops": 1,
            "lost_packets": 7,
            "passed_packets": 93,
        }
    }
    assert shaping.counters("[]", "") == {}


def two_ends() -> None:
    """A veth whose one end, `eth0`, sends to a neighbour that is the other one."""
    linux.unshare(linux.CLONE_NEWNET)
    no_ipv6 = Path("/proc/sys/net/ipv6/conf/default/disable_ipv6")  # whose neighbours talk unasked
    if no_ipv6.exists():
        no_ipv6.write_text("1")
    for words in (
        "link add port0 type veth peer name eth0",
        "link set lo up",
        "link set port0 up",
        "link set eth0 up",
        f"addr add {NEAR}/24 dev eth0",
        f"neigh add {FAR} lladdr 02:00:00:00:00:01 dev eth0",
        f"neigh add {CONTROLLER} lladdr 02:00:00:00:00:02 dev eth0",
    ):
        subprocess.run(["ip", *words.split()], check=True)


SEND = """
import socket, sys
out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for _ in range(int(sys.argv[2])):
    out.sendto(bytes(int(sys.argv[3])), (sys.argv[1], 9))
"""


def send(address: str, packets: int, size_bytes: int = 100) -> None:
    words = [sys.executable, "-c", SEND, address, str(packets), str(size_bytes)]
    subprocess.run(words, check=True)


def lossy() -> dict[str, dict[str, int]]:
    two_ends()
    # As the keeper does it, in the namespace that it is in.
    links.put_on(
        "port0", HostLink(loss_ratio=0.2), f"match ip src {CONTROLLER}/32", f"daddr {CONTROLLER}"
    )
    send(FAR, 5000)
    send(CONTROLLER, 300)
    found = shaping.counters(*links.read_counters())
    links.take_off(["port0"])
    send(FAR, 10)
    return {**found, "after": shaping.counters(*links.read_counters())}


@pytest.mark.root
def test_so_many_packets_are_lost_as_were_asked_for_and_none_of_the_controllers(
    needs_tools: Callable[..., None],
) -> None:
    needs_tools("tc", "nft", "ip")
    found = in_child(lossy)
    assert isinstance(found, dict), found
    lost, passed = (found["port0"][f"{it}_packets"] for it in ("lost", "passed"))
    assert lost + passed == 5000
    assert 850 < lost < 1150  # 1,000 are meant, s.d. 28
    assert found["after"] == {}


def slow() -> dict[str, dict[str, int]]:
    two_ends()
    # 8 kbit/s let not one of these packets leave while they are sent
    links.put_on(
        "eth0", HostLink(rate_bps=8e3), f"match ip dst {CONTROLLER}/32", f"saddr {CONTROLLER}"
    )
    send(FAR, 100, 1000)
    send(CONTROLLER, 50, 1000)
    found = shaping.counters(*links.read_counters())
    shown = subprocess.check_output(["tc", "-s", "qdisc", "show", "dev", "eth0"], text=True)
    sizes = subprocess.check_output(["ip", "-d", "link", "show", "eth0"], text=True)
    return {**found, "direct": {shown: 0, sizes: 0}}


@pytest.mark.root
def test_what_a_rate_cannot_carry_waits_or_is_dropped_and_the_controller_is_not_held_up(
    needs_tools: Callable[..., None],
) -> None:
    needs_tools("tc", "ip")
    found = in_child(slow)
    assert isinstance(found, dict), found
    shown, sizes = found["direct"]
    assert found["eth0"]["queue_drops"] >= 100 - 14 - 10  # 14 fit into the queue
    assert found["eth0"]["carried_packets"] <= 10
    assert "direct_packets_stat 50 " in shown
    assert "gso_max_segs 1 " in sizes


@pytest.mark.root
def test_a_delay_is_refused_with_the_remedy_where_the_kernel_has_no_netem(
    needs_tools: Callable[..., None],
) -> None:
    needs_tools("tc", "nft", "ip")
    assert in_child(lambda: links.probe(["rate", "loss"])) is None
    has_netem = "tc qdisc add dev lo root netem delay 1ms"
    tried = subprocess.run(["unshare", "-n", *has_netem.split()], capture_output=True, check=False)
    error = in_child(lambda: links.probe(["rate", "delay"]))
    if tried.returncode == 0:
        assert error is None
    else:
        assert isinstance(error, LaunchError)
        assert str(error).startswith("delay: ")
        assert "modprobe sch_netem" in str(error)

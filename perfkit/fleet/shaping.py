"""How a link is told to Linux: text for `tc`, `nft` and `ip`, and what they count.

A rate is an htb class with a queue of `QUEUE_S` at that rate, a delay a netem below it, a loss a rule
of nftables. Who runs these programs, and where, is `perfkit.fleet.local.links` for local hosts and
`perfkit.campaign.links_over_ssh` for all others.
"""

from __future__ import annotations

import json
from typing import Any

from perfkit.model import HostLink

QUEUE_S = 0.05
LEAST_QUEUE_BYTES = 10 * 1514
BURST_S = 0.001
LEAST_BURST_BYTES = 2 * 1514
UNBOUNDED_BPS = 10e9  # for a delay without a rate
LOSS_UNIT = 1_000_000  # chances of a packet to be lost are counted in these
_MOST_SEGMENTS = 65_535  # of a batch, where none is asked for
TABLE = "netdev perfkit_link"
LEAF = "1:10"
RATE, LOSS, DELAY = "rate", "loss", "delay"
REMEDIES = {
    RATE: "modprobe sch_htb cls_u32",
    LOSS: "install nftables; modprobe nft_numgen",
    DELAY: "modprobe sch_netem (Debian and Ubuntu: in linux-modules-extra), or leave delay and jitter out",
}


def needs_of(link: HostLink) -> list[str]:
    """What the kernel must be able to do for a link."""
    found = [(RATE, link.rate_bps or link.delay_s), (LOSS, link.loss_ratio), (DELAY, link.delay_s)]
    return [name for name, is_asked in found if is_asked]


def queue_lines(device: str, link: HostLink, beside: str) -> list[str]:
    """What `tc -batch` is to be told; nothing where the link bounds and delays nothing.

    Args:
        beside: What packets that pass beside the link match, in u32's words: `match ip src ADDRESS`.
    """
    if link.rate_bps is None and not link.delay_s:
        return []
    bps = link.rate_bps or UNBOUNDED_BPS
    burst_bytes = max(LEAST_BURST_BYTES, round(bps * BURST_S / 8))
    queue_bytes = max(LEAST_QUEUE_BYTES, round(bps * QUEUE_S / 8))
    leaf = f"bfifo limit {queue_bytes}"
    if link.delay_s:
        waiting = round((bps * (link.delay_s + link.jitter_s) / 8 + queue_bytes) / 1514)
        jitter = f" {link.jitter_s * 1e6:.0f}us" if link.jitter_s else ""
        leaf = f"netem limit {max(10, waiting)} delay {link.delay_s * 1e6:.0f}us{jitter}"
    return [
        f"qdisc add dev {device} root handle 1: htb default 10",
        f"class add dev {device} parent 1: classid {LEAF} htb rate {bps:.0f}bit "
        f"burst {burst_bytes} cburst {burst_bytes} quantum 1514",
        f"qdisc add dev {device} parent {LEAF} handle 10: {leaf}",
        f"filter add dev {device} parent 1: protocol ip prio 1 u32 {beside} flowid 1:0",
    ]


def loss_lines(device: str, link: HostLink, beside: str) -> list[str]:
    """What `nft -f` is to be told about packets that arrive at a device; nothing where none is lost.

    Args:
        beside: `saddr ADDRESS` or `daddr ADDRESS`: packets that pass beside the link.
    """
    if not link.loss_ratio:
        return []
    chain = f"add rule {TABLE} {device}"
    return [
        f"add table {TABLE}",
        f"add chain {TABLE} {device} {{ type filter hook ingress device {device} priority 0; }}",
        f"{chain} ip {beside} accept",
        f"{chain} meta protocol {{ ip, ip6 }} numgen random mod {LOSS_UNIT} < {round(link.loss_ratio * LOSS_UNIT)} "
        "counter drop",
        f"{chain} meta protocol {{ ip, ip6 }} counter",
    ]


def single_packets(device: str, *, only: bool) -> str:
    """What `ip -batch` is to be told so that a device sends no batches, or does again."""
    return f"link set dev {device} gso_max_segs {1 if only else _MOST_SEGMENTS}"


def counters(queues: str, rules: str) -> dict[str, dict[str, Any]]:
    """By device what its queue and its rule of loss have counted.

    Args:
        queues: What `tc -s -j qdisc show` prints.
        rules: What `nft -j list table` prints; empty: there is none.

    Returns:
        `carried_bytes`, `carried_packets` and `queue_drops` of a queue; `lost_packets` and
        `passed_packets` of a rule.
    """
    found: dict[str, dict[str, Any]] = {}
    for queue in json.loads(queues or "[]"):
        if queue.get("parent") == LEAF:
            found[queue["dev"]] = {
                "carried_bytes": queue["bytes"],
                "carried_packets": queue["packets"],
                "queue_drops": queue["drops"],
            }
    for item in json.loads(rules or "{}").get("nftables", []):
        rule = item.get("rule", {})
        counter = [it["counter"] for it in rule.get("expr", []) if "counter" in it]
        if counter:
            name = "lost_packets" if "drop" in rule["expr"][-1] else "passed_packets"
            found.setdefault(rule["chain"], {})[name] = counter[0]["packets"]
    return found

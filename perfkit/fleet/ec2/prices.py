"""What instances cost, from a small table, prices.tsv: an estimate, never a bill.

On-demand prices for Linux in us-east-1, in USD an hour, as AWS listed them in June 2025; other
regions are dearer, most by a tenth to a third, the dearest by over a half. A spot instance costs at
most as much. A type that is not in the table is guessed from its vCPUs, and said to be guessed.

A burstable type is cheap while it idles. What it computes beyond its share is billed by the vCPU
and hour, several times its own price, and a measurement keeps it busy: so it is reckoned at full
load.

Source: https://aws.amazon.com/ec2/pricing/on-demand/ (with "Unlimited Mode Pricing" and "Data
Transfer within the same AWS Region") and …/ebs/pricing/, …/vpc/pricing/.
"""

from __future__ import annotations

import importlib.resources
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from perfkit.fleet.provider import CostEstimate

DATED = "June 2025"
S_PER_H = 3600.0
HOME_REGIONS = frozenset({"us-east-1", "us-east-2", "us-west-2"})
ELSEWHERE = 1.6  # the dearest region's factor: the estimate should be too high
# A guess for what is not in the table: the dearest of the families, and of those with accelerators.
USD_PER_VCPU_H = {"c": 0.10, "m": 0.10, "r": 0.10, "t": 0.10, "a": 0.25, "d": 0.25, "h": 0.25}
USD_PER_VCPU_H |= {"i": 0.25, "x": 0.25, "z": 0.25}
USD_PER_VCPU_H_ELSE = 0.60
BURST_USD_PER_VCPU_H = {"t3": 0.05, "t3a": 0.05, "t4g": 0.04}  # "unlimited" is their default
BURST_VCPUS = {"xlarge": 4, "2xlarge": 8}
SMALL_BURST_VCPUS = 2
BETWEEN_ZONES_USD_PER_GB = 0.02  # half at each end
GB_PER_H = 450  # of 1 Gbit/s
PUBLIC_IPV4_USD_PER_H = 0.005
DISK_USD_PER_GB_H = 0.08 / 730  # gp3, a month of 730 hours
DISK_GB = 10  # a common image's root volume

_TABLE = importlib.resources.files("perfkit.fleet.ec2").joinpath("prices.tsv")
USD_PER_H = {
    kind: float(price)
    for kind, tab, price in (
        line.partition("\t") for line in _TABLE.read_text(encoding="utf-8").splitlines()
    )
    if tab and not kind.startswith("#")
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """So many hosts, each of one of these types; the dearest counts."""

    what: str
    n_hosts: int
    types: Sequence[str]


def estimate(
    groups: Sequence[Group],
    *,
    region: str,
    life_s: float,
    max_usd: float,
    max_instances: int,
    vcpus: Mapping[str, int] | None = None,
    disk_gb: int = DISK_GB,
    one_zone: bool = False,
) -> CostEstimate:
    """Reckon a fleet: instances, their disks and their public addresses.

    Args:
        life_s: From launch to expiry; the worst case is that all live so long.
        vcpus: Of types that are not in the table, where they are known.
        disk_gb: All disks of a host.
        one_zone: No two hosts can be in different zones.
    """
    usd_per_h, lines = 0.0, []
    factor = 1.0 if region in HOME_REGIONS else ELSEWHERE
    for group in groups:
        prices = {kind: _usd_per_h(kind, vcpus or {}) for kind in group.types}
        dearest = max(prices, key=prices.__getitem__)
        each = factor * (prices[dearest] + PUBLIC_IPV4_USD_PER_H + DISK_USD_PER_GB_H * disk_gb)
        usd_per_h += group.n_hosts * each
        how = "" if dearest in USD_PER_H else ", guessed from its size"
        how += ", at full load" if _burst_usd_per_h(dearest, vcpus or {}) else ""
        lines.append(f"{group.n_hosts} {group.what} of {dearest}{how}: {each:.4f} USD/h each")
    if not one_zone:
        per_gbps_h = BETWEEN_ZONES_USD_PER_GB * GB_PER_H
        lines.append(
            "hosts may be in several zones: traffic between them costs about "
            f"{BETWEEN_ZONES_USD_PER_GB} USD/GB, {per_gbps_h:.0f} USD an hour at 1 Gbit/s, and is "
            "not in the sum; name one zone"
        )
    worst_usd = usd_per_h * life_s / S_PER_H
    n_hosts = sum(group.n_hosts for group in groups)
    over = []
    if n_hosts > max_instances:
        over.append(f"{n_hosts} instances, max_instances is {max_instances}")
    if worst_usd > max_usd:
        over.append(f"{worst_usd:.2f} USD in the worst case, max_usd is {max_usd:g}")
    return CostEstimate(
        usd_per_h=usd_per_h,
        worst_usd=worst_usd,
        lines=(
            *lines,
            f"estimate with prices of {DATED}, no bill: {usd_per_h:.2f} USD an hour, at most "
            f"{worst_usd:.2f} USD if all live until they expire; traffic comes on top",
        ),
        over=tuple(over),
    )


def family(kind: str) -> str:
    """The letters that a type's name begins with: `c` of c5n.large, `hpc` of hpc7g.4xlarge."""
    found = re.match("[a-z]+", kind)
    return found[0] if found else ""


def _usd_per_h(kind: str, vcpus: Mapping[str, int]) -> float:
    guess = USD_PER_VCPU_H.get(family(kind), USD_PER_VCPU_H_ELSE) * vcpus.get(kind, 4)
    return USD_PER_H.get(kind, guess) + _burst_usd_per_h(kind, vcpus)


def _burst_usd_per_h(kind: str, vcpus: Mapping[str, int]) -> float:
    generation, _, size = kind.partition(".")
    known = vcpus.get(kind, BURST_VCPUS.get(size, SMALL_BURST_VCPUS))
    return BURST_USD_PER_VCPU_H.get(generation, 0.0) * known

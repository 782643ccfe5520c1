"""Where the hosts of a run are to each other: close, by default, because a measurement measures that too.

`placement = cluster` puts all hosts into one zone, and into one cluster placement group: EC2 sets them
up close to each other, with the same way between any two. `zone` leaves the group out, `any` the zone.
Types that cannot be in such a group are launched beside it; that is said before anything is made.

Source: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/placement-strategies.html; which type can,
DescribeInstanceTypes says.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from perfkit.errors import ConfigError
from perfkit.fleet.ec2.conf import Ec2Conf
from perfkit.fleet.ec2.pools import Pool
from perfkit.model import Role

Ladders = Mapping[Role, Sequence[Pool]]


def clustered_types(conf: Ec2Conf, kinds: Mapping[str, Mapping[str, Any]]) -> dict[Role, set[str]]:
    """By role the types whose hosts go into the group.

    A fleet (`pools = mixed`) is in it with all of its types or with none.

    Args:
        kinds: What DescribeInstanceTypes says of each type.
    """
    if conf.placement != "cluster":
        return {role: set() for role in Role}
    able = {
        kind
        for kind, said in kinds.items()
        if "cluster" in said.get("PlacementGroupInfo", {}).get("SupportedStrategies", [])
    }
    found = {role: {kind for kind in conf.types_of(role) if kind in able} for role in Role}
    if conf.pools == "mixed":
        return {
            role: own if own == {*conf.types_of(role)} else set() for role, own in found.items()
        }
    return found


def in_one_zone(conf: Ec2Conf, ladders: Ladders) -> Ladders:
    """The ladders without the zones that not all roles can be in, unless hosts may be anywhere.

    Raises:
        ConfigError: no zone is left.
    """
    if conf.placement == "any":
        return ladders
    zones = set.intersection(*({pool.zone for pool in pools} for pools in ladders.values()))
    if not zones:
        offers = "; ".join(
            f"{role.value}: {', '.join(dict.fromkeys(map(str, pools)))}"
            for role, pools in ladders.items()
        )
        raise ConfigError(
            "ec2.conf [ec2]",
            "placement",
            conf.placement,
            f"no zone has types of the server and of the clients ({offers})",
            "choose other types, zones or subnets, or spread the hosts: placement = any",
        )
    return {role: [pool for pool in pools if pool.zone in zones] for role, pools in ladders.items()}


def remarks(conf: Ec2Conf, ladders: Ladders) -> list[str]:
    """What to know about the way between the hosts before they are launched."""
    pools = [pool for role in Role for pool in ladders[role]]
    zones = list(dict.fromkeys(pool.zone for pool in pools))
    if conf.placement == "any":
        if len(zones) == 1:
            return [f"all hosts in {zones[0]}, in no placement group"]
        spread = ", ".join(zones)
        return [
            f"hosts may be spread over the zones {spread} (placement = any): the way between two of "
            "them is longer than within one, and the figures are of both"
        ]
    where = zones[0] if len(zones) == 1 else f"one zone, {zones[0]} if it has room"
    if conf.placement == "zone":
        return [f"all hosts in {where}, in no placement group (placement = zone)"]
    outside = _names({pool.type for pool in pools if not pool.cluster})
    if not outside:
        return [f"all hosts in {where}, in one cluster placement group"]
    inside = _names({pool.type for pool in pools if pool.cluster})
    why = (
        "a fleet is in a cluster placement group with all of its types or none"
        if conf.pools == "mixed" and len({*conf.types, *conf.server_types}) > 1
        else "such types cannot be in a cluster placement group"
    )
    beside = f"those of {inside} in one" if inside else "none in one"
    return [
        f"all hosts in {where}; those of {outside} in no placement group ({why}), {beside}: the way "
        "between hosts may be longer, and differ from pair to pair"
    ]


def _names(kinds: Collection[str]) -> str:
    return ", ".join(sorted(kinds))

"""Cluster placement groups as EC2 has them and moto does not: for `aws_shim`.

A group has a name and tags; instances in it are of types that may be, and in one zone; it goes only
when nothing is in it any more.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from xml.sax.saxutils import escape

Params = Mapping[str, str]
Refusal = tuple[str, str]  # code and message


@dataclass
class Group:
    """One placement group; `members` are ids of instances, ended ones too."""

    name: str
    region: str
    tags: dict[str, str]
    id: str = field(default_factory=lambda: f"pg-{secrets.token_hex(8)}0")
    members: set[str] = field(default_factory=set)


@dataclass
class PlacementGroups:
    """All groups of an account. The shim holds its lock around each call.

    Attributes:
        zone_of: The zone of each instance that has not ended, by id.
        unable: Types that cannot be in a cluster placement group.
        unseen: So many launches into a new group are told that it is unknown.
    """

    zone_of: Callable[[str], Mapping[str, str]]
    unable: Callable[[str], bool]
    unseen: int = 0
    groups: dict[tuple[str, str], Group] = field(default_factory=dict)

    def create(self, region: str, params: Params, tags: dict[str, str]) -> str | Refusal:
        """The answer to CreatePlacementGroup."""
        name = params["GroupName"]
        if (region, name) in self.groups:
            return "InvalidPlacementGroup.Duplicate", f"The Placement Group '{name}' already exists"
        group = self.groups[region, name] = Group(name, region, tags)
        return _xml("CreatePlacementGroup", f"<placementGroup>{_entry(group)}</placementGroup>")

    def describe(self, region: str, params: Params) -> str:
        """The answer to DescribePlacementGroups; knows filters for tags."""
        found = [g for g in self.groups.values() if g.region == region and _fits(g, params)]
        items = "".join(f"<item>{_entry(group)}</item>" for group in found)
        return _xml("DescribePlacementGroups", f"<placementGroupSet>{items}</placementGroupSet>")

    def delete(self, region: str, params: Params) -> str | Refusal:
        """The answer to DeletePlacementGroup."""
        name = params["GroupName"]
        group = self.groups.get((region, name))
        if group is None:
            return "InvalidPlacementGroup.Unknown", f"The Placement Group '{name}' is unknown"
        if group.members & self.zone_of(region).keys():
            return "InvalidPlacementGroup.InUse", f"The placement group {name} is in use"
        del self.groups[region, name]
        return _xml("DeletePlacementGroup", "<return>true</return>")

    def tag(self, region: str, ids: Iterable[str], tags: Mapping[str, str]) -> None:
        """CreateTags, as far as it is about groups."""
        for group in self.groups.values():
            if group.region == region and group.id in ids:
                group.tags |= tags

    def refusal(self, region: str, name: str, kind: str, zone: str) -> Refusal | None:
        """Why a launch into a group cannot be, or None."""
        group = self.groups.get((region, name))
        if group is None or self.unseen > 0:
            self.unseen -= 1
            return "InvalidPlacementGroup.Unknown", f"The Placement Group '{name}' is unknown"
        if self.unable(kind):
            said = f"Placement groups may not be used with instances of type '{kind}'."
            return "InvalidParameterCombination", said
        zones = {z for id_, z in self.zone_of(region).items() if id_ in group.members}
        if zones - {zone}:
            return "InvalidParameterValue", f"group {name} is in {', '.join(zones)}, not in {zone}"
        return None

    def join(self, region: str, name: str, ids: Iterable[str]) -> None:
        """These instances have been launched into a group."""
        self.groups[region, name].members |= set(ids)


def tags_in(params: Params) -> dict[str, str]:
    """The tags of a CreateTags call."""
    numbers = [n for n in range(1, 60) if f"Tag.{n}.Key" in params]
    return {params[f"Tag.{n}.Key"]: params[f"Tag.{n}.Value"] for n in numbers}


def _fits(group: Group, params: Params) -> bool:
    for number in range(1, 20):
        name = params.get(f"Filter.{number}.Name", "")
        wanted = {v for k, v in params.items() if k.startswith(f"Filter.{number}.Value.")}
        if name.startswith("tag:") and group.tags.get(name.removeprefix("tag:")) not in wanted:
            return False
    return True


def _entry(group: Group) -> str:
    tags = "".join(
        f"<item><key>{escape(k)}</key><value>{escape(v)}</value></item>"
        for k, v in group.tags.items()
    )
    return (
        f"<groupName>{escape(group.name)}</groupName><strategy>cluster</strategy>"
        f"<state>available</state><groupId>{group.id}</groupId><tagSet>{tags}</tagSet>"
    )


def _xml(action: str, inner: str) -> str:
    space = "http://ec2.amazonaws.com/doc/2016-11-15/"
    return (
        f'<{action}Response xmlns="{space}"><requestId>shim</requestId>{inner}</{action}Response>'
    )


def unable(types: Mapping[str, Mapping[str, Any]]) -> Callable[[str], bool]:
    """Whether a type cannot be in a cluster placement group, by EC2's own list of types."""
    return lambda kind: "cluster" not in types[kind]["PlacementGroupInfo"]["SupportedStrategies"]

"""What is asked before a run, without cost: who we are, what exists, what is allowed, what it costs."""

from __future__ import annotations

import getpass
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from perfkit.errors import ConfigError, ProviderError, did_you_mean
from perfkit.fleet.ec2 import calls, fleets, network, placement, tags, userdata
from perfkit.fleet.ec2.client import Region, translated
from perfkit.fleet.ec2.conf import Ec2Conf
from perfkit.fleet.ec2.failures import ApiError, Failure
from perfkit.fleet.ec2.images import Image, find_image
from perfkit.fleet.ec2.pools import Pool, Subnet, ladder
from perfkit.model import Role
from perfkit.ssh.keys import make_ssh_key

MAX_DRY_RUNS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What exists for a run: image, subnets, and the ladder of pools for each role."""

    image: Image
    subnets: tuple[Subnet, ...]
    ladder: Mapping[Role, Sequence[Pool]]
    vcpus: Mapping[str, int]
    memory_mib: Mapping[str, int]

    @property
    def is_clustered(self) -> bool:
        """Some hosts go into a placement group."""
        return any(pool.cluster for pools in self.ladder.values() for pool in pools)


def survey(region: Region, conf: Ec2Conf) -> Survey:
    """Find out what exists; refuse what cannot work together.

    Raises:
        ConfigError: ec2.conf names something that is not there, or does not fit.
        ApiError: EC2 refused to say.
    """
    image = find_image(region, conf)
    types = {role: conf.types_of(role) for role in Role}
    kinds = _check_types(region, {*types[Role.CLIENT], *types[Role.SERVER]}, image)
    subnets = find_subnets(region, conf)
    offered = _offered(region, list(kinds))
    clustered = placement.clustered_types(conf, kinds)
    pools = {role: ladder(types[role], subnets, offered, clustered[role]) for role in Role}
    for role, rungs in pools.items():
        if not rungs:
            raise _wrong(
                "types" if role is Role.CLIENT else "server_types",
                ", ".join(types[role]),
                f"not offered in {', '.join(sorted({s.zone for s in subnets}))}",
                "choose other types, zones or subnets",
            )
    vcpus = {name: int(kinds[name]["VCpuInfo"]["DefaultVCpus"]) for name in kinds}
    memory_mib = {
        name: int(said.get("MemoryInfo", {}).get("SizeInMiB", 0)) for name, said in kinds.items()
    }
    return Survey(
        image=image,
        subnets=tuple(subnets),
        ladder=placement.in_one_zone(conf, pools),
        vcpus=vcpus,
        memory_mib=memory_mib,
    )


def _check_types(region: Region, types: set[str], image: Image) -> dict[str, Any]:
    """What EC2 says of each type; they exist and run the image's architecture."""
    try:
        found = {
            str(entry["InstanceType"]): entry
            for entry in region.pages(
                "DescribeInstanceTypes", "InstanceTypes", InstanceTypes=sorted(types)
            )
        }
    except ApiError as exc:
        if exc.kind is not Failure.REFUSED or "InstanceType" not in exc.code:
            raise
        raise _wrong(
            "types", ", ".join(sorted(types)), exc.detail, "see the region's types"
        ) from exc
    for name in sorted(types):
        if name not in found:
            raise _wrong("types", name, f"no such type in {region.name}", did_you_mean(name, found))
        runs = found[name].get("ProcessorInfo", {}).get("SupportedArchitectures", [])
        if image.architecture and runs and image.architecture not in runs:
            raise _wrong(
                "types",
                name,
                f"it runs {' and '.join(runs)}, image {image.id} is {image.architecture}",
                "choose another image or type",
            )
    return {name: found[name] for name in types}


def find_subnets(region: Region, conf: Ec2Conf) -> list[Subnet]:
    """The named subnets in their order, else the default ones of the zones, all of one VPC.

    Raises:
        ConfigError: there is none, or they are of several VPCs.
    """
    found = _list_subnets(region, conf)
    if not conf.subnets:
        _check_zones(region, conf, {subnet.zone for subnet in found})
        found = [subnet for subnet in found if not conf.zones or subnet.zone in conf.zones]
    order = [*conf.subnets, *conf.zones]
    ranks = {name: rank for rank, name in enumerate(order)}
    found.sort(key=lambda s: (ranks.get(s.id, len(order)), ranks.get(s.zone, len(order)), s.zone))
    wanted = conf.subnets or conf.zones
    if not found:
        raise _wrong(
            "subnets",
            ", ".join(wanted),
            f"no default subnet in {region.name}",
            "name one in `subnets`, or make them: `aws ec2 create-default-vpc`",
        )
    if len({subnet.vpc for subnet in found}) > 1:
        raise _wrong(
            "subnets", ", ".join(wanted), "they are of several VPCs", "hosts must reach each other"
        )
    return found


def _list_subnets(region: Region, conf: Ec2Conf) -> list[Subnet]:
    """Those that ec2.conf names, else the default ones of all zones."""
    arguments: dict[str, Any] = {"Filters": [{"Name": "default-for-az", "Values": ["true"]}]}
    if conf.subnets:
        arguments = {"SubnetIds": list(conf.subnets)}
    try:
        entries = list(region.pages("DescribeSubnets", "Subnets", **arguments))
    except ApiError as exc:
        if not exc.code.startswith("InvalidSubnetID"):
            raise
        remedy = "subnets belong to one account and region: `aws ec2 describe-subnets` lists yours"
        raise _wrong("subnets", ", ".join(conf.subnets), exc.detail, remedy) from exc
    return [Subnet(id=e["SubnetId"], zone=e["AvailabilityZone"], vpc=e["VpcId"]) for e in entries]


def _check_zones(region: Region, conf: Ec2Conf, there: set[str]) -> None:
    """Every zone that ec2.conf names has a default subnet; one that is mistyped is not left out."""
    for zone in conf.zones:
        if zone in there:
            continue
        problem = f"no subnet is there by default; is it a zone of {region.name}?"
        remedy = did_you_mean(zone, there) if there else "name subnets of yours in `subnets`"
        raise _wrong("zones", zone, problem, remedy)


def _offered(region: Region, types: Sequence[str]) -> set[tuple[str, str]]:
    entries = region.pages(
        "DescribeInstanceTypeOfferings",
        "InstanceTypeOfferings",
        LocationType="availability-zone",
        Filters=[{"Name": "instance-type", "Values": sorted(types)}],
    )
    return {(str(entry["InstanceType"]), str(entry["Location"])) for entry in entries}


def check_permission(region: Region, conf: Ec2Conf, surveyed: Survey) -> None:
    """Try what a launch would ask for with DryRun: EC2 says whether it may, and makes nothing.

    The best pool of each role; with `pools = mixed` all pools, a launch template, and a fleet; and
    the placement group, if there is to be one.

    Raises:
        ProviderError: it would not be allowed, or EC2 has no pool of the run.
    """
    is_mixed = conf.pools == "mixed"
    rungs = MAX_DRY_RUNS if is_mixed else 1
    pools = dict.fromkeys(pool for role in Role for pool in surveyed.ladder[role][:rungs])
    body, lacking = _dry_body(conf, surveyed), list[ApiError]()
    for pool in pools:
        try:
            launch = {**body, "InstanceType": pool.type, "SubnetId": pool.subnet}
            _dry_run("RunInstances", region.reader.run_instances, launch)
        except ApiError as exc:
            if exc.kind is not Failure.CAPACITY:
                raise ProviderError(f"{pool}: {exc}") from exc
            lacking.append(exc)  # the other pools may do
    if len(lacking) == len(pools):
        raise ProviderError(str(lacking[0])) from lacking[0]
    if surveyed.is_clustered:
        _check_group_permission(region, conf)
    if is_mixed:
        _check_fleet_permission(region, conf, surveyed)


def _check_group_permission(region: Region, conf: Ec2Conf) -> None:
    """Who may not make placement groups is told so, and what works without one."""
    run_id = f"preflight-{uuid.uuid4().hex[:12]}"
    labels = tags.run_tags(run_id, getpass.getuser(), datetime.now(UTC), conf.tags)
    try:
        body = network.placement_group_body(run_id, labels)
        if _dry_run("CreatePlacementGroup", region.reader.create_placement_group, body):
            region.reader.delete_placement_group(
                GroupName=body["GroupName"]
            )  # no such server is AWS
    except ApiError as exc:
        remedy = "or set `placement = zone` in ec2.conf, which needs no placement group"
        raise ProviderError(f"{exc}; {remedy}") from exc


def _check_fleet_permission(region: Region, conf: Ec2Conf, surveyed: Survey) -> None:
    """The template is not there for the fleet; whoever may not make fleets is told so before that."""
    template, fleet = fleets.dry_bodies(conf, surveyed.image.id, surveyed.ladder[Role.CLIENT])
    name = template["LaunchTemplateName"]
    try:
        if _dry_run("CreateLaunchTemplate", region.reader.create_launch_template, template):
            region.reader.delete_launch_template(LaunchTemplateName=name)  # no such server is AWS
        _dry_run("CreateFleet", region.reader.create_fleet, fleet)
    except ApiError as exc:
        if not exc.code.startswith("InvalidLaunchTemplate"):
            raise ProviderError(str(exc)) from exc


def _dry_body(conf: Ec2Conf, surveyed: Survey) -> dict[str, object]:
    """A launch as a run's would be; group and key only if they are not to be made later.

    Its user data is as long as a run's, with a key that nobody has.
    """
    now, nobodys = datetime.now(UTC), make_ssh_key()
    labels = tags.run_tags("preflight", getpass.getuser(), now, conf.tags)
    user_data = userdata.render(
        authorized_key=nobodys.public_openssh,
        host_key=nobodys,
        expires_utc=now,
        user=conf.user,
    )
    return {
        "ImageId": surveyed.image.id,
        "MinCount": 1,
        "MaxCount": 1,
        **calls.SAFEGUARDS,
        "UserData": user_data,
        **({"SecurityGroupIds": [conf.group]} if conf.group else {}),
        **({"KeyName": conf.key} if conf.key else {}),
        "TagSpecifications": tags.specifications(labels, *calls.tagged_kinds(conf)),
        **calls.market(conf),
    }


def _dry_run(operation: str, call: Callable[..., Any], body: Mapping[str, Any]) -> bool:
    """Whether a call that was only to be tried was done all the same.

    Raises:
        ApiError: it would fail.
    """
    try:
        with translated(f"{operation} (dry run)"):
            call(**{**body, "DryRun": True})
    except ApiError as exc:
        if exc.kind is Failure.DRY_RUN:
            return False
        raise
    return True


def _wrong(key: str, value: str, problem: str, remedy: str) -> ConfigError:
    return ConfigError("ec2.conf [ec2]", key, value, problem, remedy)

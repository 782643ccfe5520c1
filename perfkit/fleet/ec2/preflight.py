"""What is asked before a run, without cost: who we are, what exists, what is allowed, what it costs."""

from __future__ import annotations

import getpass
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from perfkit.errors import ConfigError, ProviderError, did_you_mean
from perfkit.fleet.ec2 import calls, fleets, tags, userdata
from perfkit.fleet.ec2.client import Region, translated
from perfkit.fleet.ec2.conf import Ec2Conf
from perfkit.fleet.ec2.failures import ApiError, Failure
from perfkit.fleet.ec2.pools import Pool, Subnet, ladder
from perfkit.fleet.ec2.prices import DISK_GB, family
from perfkit.model import Role
from perfkit.ssh.keys import make_ssh_key

MAX_DRY_RUNS = 20

QUOTA_CODES = {"on-demand": "L-1216C47A", "spot": "L-34B43A08"}  # vCPUs of standard instances
# The quotas above are theirs; dl, hpc, inf, mac and trn have their own.
STANDARD_FAMILIES = frozenset("acdhimrtz")


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """The image that hosts start from; `disks` has the size in GB of each, by device."""

    id: str
    architecture: str
    disks: Mapping[str, int]
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What exists for a run: image, subnets, and the ladder of pools for each role."""

    image: Image
    subnets: tuple[Subnet, ...]
    ladder: Mapping[Role, Sequence[Pool]]
    vcpus: Mapping[str, int]


def survey(region: Region, conf: Ec2Conf) -> Survey:
    """Find out what exists; refuse what cannot work together.

    Raises:
        ConfigError: ec2.conf names something that is not there, or does not fit.
        ApiError: EC2 refused to say.
    """
    image = find_image(region, conf)
    types = {Role.CLIENT: conf.types, Role.SERVER: conf.server_types or conf.types}
    vcpus = _check_types(region, {*types[Role.CLIENT], *types[Role.SERVER]}, image)
    subnets = find_subnets(region, conf)
    offered = _offered(region, list(vcpus))
    pools = {role: ladder(kinds, subnets, offered) for role, kinds in types.items()}
    for role, rungs in pools.items():
        if not rungs:
            raise _wrong(
                "types" if role is Role.CLIENT else "server_types",
                ", ".join(types[role]),
                f"not offered in {', '.join(sorted({s.zone for s in subnets}))}",
                "choose other types, zones or subnets",
            )
    return Survey(image=image, subnets=tuple(subnets), ladder=pools, vcpus=vcpus)


def find_image(region: Region, conf: Ec2Conf) -> Image:
    """The image by its id, by a public SSM parameter, or the newest whose name fits a pattern.

    Raises:
        ConfigError: there is none.
    """
    try:
        found = list(region.pages("DescribeImages", "Images", **_which_image(region, conf)))
    except ApiError as exc:
        if not exc.code.startswith(("InvalidAMIID", "ParameterNotFound")):
            raise
        found = []
    if not found:
        raise _wrong(
            "image", conf.image, f"no such image in {region.name}", "images differ by region"
        )
    newest = max(found, key=lambda entry: str(entry.get("CreationDate", "")))
    root = str(newest.get("RootDeviceName") or "/dev/xvda")
    disks = {
        str(disk["DeviceName"]): int(disk["Ebs"].get("VolumeSize") or DISK_GB)
        for disk in newest.get("BlockDeviceMappings", [])
        if "Ebs" in disk
    }
    return Image(
        id=str(newest["ImageId"]),
        architecture=str(newest.get("Architecture", "")),
        disks={root: DISK_GB, **disks},
        name=str(newest.get("Name", "")),
    )


def _which_image(region: Region, conf: Ec2Conf) -> dict[str, Any]:
    """What DescribeImages is asked for."""
    kind, _, rest = conf.image.partition(":")
    if kind == "ssm":
        return {"ImageIds": [region.parameter(rest)]}
    if kind != "name":
        return {"ImageIds": [conf.image]}
    if not conf.image_owner:
        raise _wrong(
            "image_owner",
            "",
            "anybody may call an image like that",
            "say whose: an account's number, amazon or self (Debian is 136693071363)",
        )
    filters = [{"Name": "name", "Values": [rest]}, {"Name": "state", "Values": ["available"]}]
    return {"Owners": [conf.image_owner], "Filters": filters}


def _check_types(region: Region, types: set[str], image: Image) -> dict[str, int]:
    """VCPUs of each type; they exist and run the image's architecture."""
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
    return {name: int(found[name]["VCpuInfo"]["DefaultVCpus"]) for name in types}


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

    The best pool of each role; with `pools = mixed` all pools, a launch template, and a fleet.

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
    if is_mixed:
        _check_fleet_permission(region, conf, surveyed)


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


def check_quota(region: Region, conf: Ec2Conf, wanted: tuple[int, int]) -> str:
    """Compare with the account's quota, where it can be asked; returns what was found, in words.

    Args:
        wanted: The fewest and the most vCPUs that the run may come to have.

    Raises:
        ProviderError: even the fewest are more than the account may have at all.
    """
    fewest, most = wanted
    vcpus = f"{most} vCPUs" if fewest == most else f"{fewest} to {most} vCPUs"
    if not {family(kind) for kind in (*conf.types, *conf.server_types)} <= STANDARD_FAMILIES:
        return f"{vcpus}; the quota of these families was not asked for"
    try:
        quota = region.quota(QUOTA_CODES[conf.market])
    except ApiError as exc:
        return f"{vcpus}; the quota could not be asked for ({exc.code})"
    if fewest > quota:
        raise ProviderError(
            f"{fewest} vCPUs wanted, the account may have {quota:.0f} ({conf.market}) in "
            f"{region.name}; ask for fewer hosts or smaller types, or have the quota raised: "
            "https://console.aws.amazon.com/servicequotas/"
        )
    short = ", too few for the largest types" if most > quota else ""
    return f"{vcpus} of a quota of {quota:.0f}{short}"


def wanted_vcpus(surveyed: Survey, n_hosts: int) -> tuple[int, int]:
    """Fewest and most vCPUs of a run with one server: of the ladders' smallest or largest types."""
    sizes = {
        role: [surveyed.vcpus[pool.type] for pool in pools]
        for role, pools in surveyed.ladder.items()
    }
    server, client = sizes[Role.SERVER], sizes[Role.CLIENT]
    n_clients = n_hosts - 1
    return min(server) + n_clients * min(client), max(server) + n_clients * max(client)


def _wrong(key: str, value: str, problem: str, remedy: str) -> ConfigError:
    return ConfigError("ec2.conf [ec2]", key, value, problem, remedy)

"""What is asked before a run, without cost: who we are, what exists, what is allowed, what it costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from perfkit.errors import ConfigError, ProviderError, did_you_mean
from perfkit.fleet.ec2.client import Region, translated
from perfkit.fleet.ec2.conf import Ec2Conf
from perfkit.fleet.ec2.failures import ApiError, Failure
from perfkit.fleet.ec2.pools import Pool, Subnet, ladder
from perfkit.fleet.ec2.prices import DISK_GB, family
from perfkit.model import Role

QUOTA_CODES = {"on-demand": "L-1216C47A", "spot": "L-34B43A08"}  # vCPUs of standard instances
DENIED = "UnauthorizedOperation"
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
class Terrain:
    """What exists for a run: image, subnets, and the ladder of pools for each role."""

    image: Image
    subnets: tuple[Subnet, ...]
    ladder: Mapping[Role, Sequence[Pool]]
    vcpus: Mapping[str, int]


def survey(region: Region, conf: Ec2Conf) -> Terrain:
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
    return Terrain(image=image, subnets=tuple(subnets), ladder=pools, vcpus=vcpus)


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
    if conf.subnets:
        arguments: dict[str, Any] = {"SubnetIds": list(conf.subnets)}
    else:
        filters = [{"Name": "default-for-az", "Values": ["true"]}]
        if conf.zones:
            filters.append({"Name": "availability-zone", "Values": list(conf.zones)})
        arguments = {"Filters": filters}
    entries = region.pages("DescribeSubnets", "Subnets", **arguments)
    found = [Subnet(id=e["SubnetId"], zone=e["AvailabilityZone"], vpc=e["VpcId"]) for e in entries]
    order = [*conf.subnets, *conf.zones]
    ranks = {name: rank for rank, name in enumerate(order)}
    found.sort(key=lambda s: (ranks.get(s.id, len(order)), ranks.get(s.zone, len(order)), s.zone))
    wanted = conf.subnets or conf.zones
    if not found:
        raise _wrong(
            "subnets", ", ".join(wanted), f"no subnet in {region.name}", "name one in `subnets`"
        )
    if len({subnet.vpc for subnet in found}) > 1:
        raise _wrong(
            "subnets", ", ".join(wanted), "they are of several VPCs", "hosts must reach each other"
        )
    return found


def _offered(region: Region, types: Sequence[str]) -> set[tuple[str, str]]:
    entries = region.pages(
        "DescribeInstanceTypeOfferings",
        "InstanceTypeOfferings",
        LocationType="availability-zone",
        Filters=[{"Name": "instance-type", "Values": sorted(types)}],
    )
    return {(str(entry["InstanceType"]), str(entry["Location"])) for entry in entries}


def check_permission(region: Region, body: Mapping[str, Any]) -> None:
    """Ask for a launch with DryRun: EC2 says whether it would be allowed, and makes nothing.

    Raises:
        ProviderError: it would not.
    """
    try:
        with translated("RunInstances (dry run)"):
            region.reader.run_instances(**{**body, "DryRun": True})
    except ApiError as exc:
        if exc.kind is Failure.DRY_RUN:
            return
        remedy = "; perfkit's needs are in perfkit/fleet/ec2/policy.json"
        raise ProviderError(f"{exc}{remedy if exc.code == DENIED else ''}") from exc


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


def wanted_vcpus(terrain: Terrain, n_hosts: int) -> tuple[int, int]:
    """Fewest and most vCPUs of a run with one server: of the ladders' smallest or largest types."""
    sizes = {
        role: [terrain.vcpus[pool.type] for pool in pools] for role, pools in terrain.ladder.items()
    }
    server, client = sizes[Role.SERVER], sizes[Role.CLIENT]
    n_clients = n_hosts - 1
    return min(server) + n_clients * min(client), max(server) + n_clients * max(client)


def _wrong(key: str, value: str, problem: str, remedy: str) -> ConfigError:
    return ConfigError("ec2.conf [ec2]", key, value, problem, remedy)

"""How many vCPUs a run wants, how many the account may have, and how many it uses already.

A quota is the account's in one region, for all that anybody runs there. What counts against it, by
AWS's documentation: running instances of its families; of the quota for spot, open requests too. An
instance on a dedicated host counts against that host's quota, and one that is stopped against none.
Capacity that was reserved and is not used counts for AWS and is not seen here.

Source: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-on-demand-instances.html and
…/using-spot-limits.html.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from perfkit.errors import ProviderError
from perfkit.fleet.ec2.client import Region
from perfkit.fleet.ec2.conf import Ec2Conf
from perfkit.fleet.ec2.describe import PAGE_SIZE
from perfkit.fleet.ec2.failures import ApiError
from perfkit.fleet.ec2.pools import Pool
from perfkit.fleet.ec2.prices import family
from perfkit.model import Role

CODES = {"on-demand": "L-1216C47A", "spot": "L-34B43A08"}  # vCPUs of standard instances
# The quotas above are theirs; dl, f, g, hpc, inf, mac, p, trn, u, vt and x have their own.
STANDARD_FAMILIES = frozenset({*"acdhimrtz", "im", "is"})
CONSOLE = "https://console.aws.amazon.com/servicequotas/"
TYPES_AT_ONCE = 200  # values of one filter
NAMED = 4  # types in a message; the others are one sum


def wanted(
    ladders: Mapping[Role, Sequence[Pool]], vcpus: Mapping[str, int], n_hosts: int
) -> tuple[int, int]:
    """Fewest and most vCPUs of a run with one server: of the ladders' smallest or largest types."""
    sizes = {role: [vcpus[pool.type] for pool in pools] for role, pools in ladders.items()}
    server, client = sizes[Role.SERVER], sizes[Role.CLIENT]
    n_clients = n_hosts - 1
    return min(server) + n_clients * min(client), max(server) + n_clients * max(client)


def check(region: Region, conf: Ec2Conf, vcpus: tuple[int, int]) -> str:
    """Compare with what the account's quota leaves, where it can be asked; what was found, in words.

    Args:
        vcpus: The fewest and the most that the run may come to have.

    Raises:
        ProviderError: even the fewest are more than the account may have beside what it uses.
    """
    fewest, most = vcpus
    asked = f"{most} vCPUs" if fewest == most else f"{fewest} to {most} vCPUs"
    if not {family(kind) for kind in (*conf.types, *conf.server_types)} <= STANDARD_FAMILIES:
        return f"{asked}; the quota of these families was not asked for"
    try:
        quota = region.quota(CODES[conf.market])
    except ApiError as exc:
        return f"{asked}; the quota could not be asked for ({exc.code})"
    try:
        used, whose = in_use(region, conf.market)
    except ApiError as exc:
        used, whose = 0, f"; what the account uses of it could not be asked for ({exc.code})"
    if fewest > quota - used:
        left = f", {max(quota - used, 0):.0f} are left" if used else ""
        raise ProviderError(
            f"{fewest} vCPUs wanted, the account may have {quota:.0f} ({conf.market}) in "
            f"{region.name}{whose}{left}; ask for fewer hosts or smaller types, end what is not "
            f"needed any more, or have the quota raised: {CONSOLE}"
        )
    short = ", too few for the largest types" if most > quota - used else ""
    return f"{asked} of a quota of {quota:.0f}{whose}{short}"


def in_use(region: Region, market: str) -> tuple[int, str]:
    """The vCPUs that count against the quota of standard families now, and whose they are, in words.

    The words begin with a comma or a semicolon, and are empty where nothing runs.

    Raises:
        ApiError: they could not be listed.
    """
    kinds = Counter(kind for kind in _counted(region, market) if family(kind) in STANDARD_FAMILIES)
    if not kinds:
        return 0, ""
    sizes = _sizes(region, sorted(kinds))
    used = sum(count * sizes.get(kind, 0) for kind, count in kinds.items())
    unknown = sorted(set(kinds) - set(sizes))
    words = f", of which {used} are in use by {_named(kinds)}"
    return used, words + (f" (of unknown size: {', '.join(unknown)})" if unknown else "")


def _named(kinds: Counter[str]) -> str:
    """`3 c5.large, 2 m5.xlarge and 7 others`."""
    first = kinds.most_common(NAMED)
    others = kinds.total() - sum(count for _, count in first)
    listed = ", ".join(f"{count} {kind}" for kind, count in first)
    return f"{listed} and {others} others" if others else listed


def _counted(region: Region, market: str) -> Iterator[str]:
    """The type of each instance of anybody's that counts, and of each open request for one."""
    states = {"Name": "instance-state-name", "Values": ["pending", "running"]}
    reservations = region.pages(
        "DescribeInstances",
        "Reservations",
        Filters=[states],
        PaginationConfig={"PageSize": PAGE_SIZE},
    )
    for reservation in reservations:
        for entry in reservation["Instances"]:
            on_host = entry.get("Placement", {}).get("Tenancy") == "host"
            if _market_of(entry) == market and not on_host:
                yield str(entry["InstanceType"])
    if market == "spot":
        requests = region.pages(
            "DescribeSpotInstanceRequests",
            "SpotInstanceRequests",
            Filters=[{"Name": "state", "Values": ["open"]}],
        )
        yield from _open_requests(requests)


def _open_requests(requests: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for request in requests:
        kind = request.get("LaunchSpecification", {}).get("InstanceType")
        if kind and request.get("State") == "open":
            yield str(kind)


def _market_of(entry: Mapping[str, Any]) -> str:
    """`on-demand`, `spot`, or another one that has limits of its own: `scheduled`, `capacity-block`."""
    return str(entry.get("InstanceLifecycle") or "on-demand")


def _sizes(region: Region, kinds: Sequence[str]) -> dict[str, int]:
    """VCPUs by type. Asked for by a filter: a type that EC2 sells no more is left out, no error."""
    found: dict[str, int] = {}
    for start in range(0, len(kinds), TYPES_AT_ONCE):
        names = list(kinds[start : start + TYPES_AT_ONCE])
        for entry in region.pages(
            "DescribeInstanceTypes",
            "InstanceTypes",
            Filters=[{"Name": "instance-type", "Values": names}],
        ):
            found[str(entry["InstanceType"])] = int(entry["VCpuInfo"]["DefaultVCpus"])
    return found

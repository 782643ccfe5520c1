"""What EC2 must allow so that an instance can carry hosts with addresses of their own.

An instance may send and get only what has its own address, unless its source/destination check is off.
Then another one in the same subnet reaches what is behind it by an ordinary route to its private address.
So all hosts of a run are in one subnet, and no route table of a VPC is touched: one holds 50 routes by
default, has no tag for each, and what a route leads to may end without it. What is set here ends with the
instances and with the run's security group. That group admits its members by their own private addresses
only, so it admits the addresses of packed hosts besides.

Source: https://docs.tigera.io/calico/latest/reference/public-cloud/AWS ("Routing traffic within a single
VPC subnet"), https://docs.aws.amazon.com/vpc/latest/userguide/security-group-rules.html.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network

from perfkit.errors import ConfigError, LaunchError, LaunchRefusedError
from perfkit.fleet.ec2 import describe, network, tags
from perfkit.fleet.ec2.client import Region
from perfkit.fleet.ec2.conf import Ec2Conf
from perfkit.fleet.ec2.failures import ApiError
from perfkit.fleet.ec2.idempotent_calls import once_visible
from perfkit.fleet.ec2.pools import Pool
from perfkit.fleet.ec2.preflight import Survey
from perfkit.fleet.parallel import on_all
from perfkit.model import Host, Role
from perfkit.retry import RetryPolicy

# Of an instance, before any host: kernel, systemd, sshd, cloud-init, apt.
SYSTEM_BYTES = 400_000_000
MIB = 2**20


def check(
    region: Region, conf: Ec2Conf, surveyed: Survey, per_machine: int, memory_bytes: int
) -> None:
    """Refuse before a launch what would keep instances from carrying hosts.

    Args:
        memory_bytes: What the hosts on an instance take together.

    Raises:
        ConfigError: with the key of ec2.conf, or per_machine, that has to change.
    """
    pools = [pool for role in Role for pool in surveyed.ladder[role]]
    _check_subnets(conf, pools)
    _check_memory(surveyed, per_machine, memory_bytes)
    _check_pool(region, conf, surveyed.subnets[0].vpc)
    if conf.group:
        _check_group(region, conf)


def _check_subnets(conf: Ec2Conf, pools: Iterable[Pool]) -> None:
    subnets: dict[str, dict[str, None]] = {}
    for pool in pools:
        subnets.setdefault("" if conf.placement == "any" else pool.zone, {})[pool.subnet] = None
    for several in subnets.values():
        if len(several) > 1:
            key = "placement" if conf.placement == "any" else "subnets"
            raise _wrong(
                key,
                conf.placement if key == "placement" else ", ".join(conf.subnets),
                f"instances may come to be in {', '.join(several)}, and packed hosts are reached "
                "within one subnet only",
                "set placement to cluster or zone" if key == "placement" else "name one a zone",
            )


def _check_memory(surveyed: Survey, per_machine: int, memory_bytes: int) -> None:
    for kind in dict.fromkeys(pool.type for pool in surveyed.ladder[Role.CLIENT]):
        has_bytes = surveyed.memory_mib.get(kind, 0) * MIB
        fitting = max(0, has_bytes - SYSTEM_BYTES) * per_machine // memory_bytes
        if has_bytes and fitting < per_machine:
            raise ConfigError(
                "parameters",
                "per_machine",
                per_machine,
                f"a {kind} has {has_bytes / 1e6:.0f} MB of memory, which carry {fitting} hosts",
                f"give at most {fitting}, or larger types in ec2.conf",
            )


def _check_pool(region: Region, conf: Ec2Conf, vpc: str) -> None:
    pool = IPv4Network(conf.packed_pool)
    for entry in region.pages("DescribeVpcs", "Vpcs", VpcIds=[vpc]):
        own = [str(entry.get("CidrBlock", "")), *_blocks(entry.get("CidrBlockAssociationSet", ()))]
        taken = [it for it in dict.fromkeys(own) if it and IPv4Network(it).overlaps(pool)]
        if taken:
            raise _wrong(
                "packed_pool",
                conf.packed_pool,
                f"{vpc} has {', '.join(taken)}, so EC2 would look for packed hosts there",
                "give a network of IPv4 outside of the VPC, as 100.64.0.0/12 or 198.18.0.0/15",
            )


def _blocks(entries: Iterable[dict[str, object]]) -> list[str]:
    return [str(entry.get("CidrBlock", "")) for entry in entries]


def _check_group(region: Region, conf: Ec2Conf) -> None:
    """A group of the user's own is never changed, so it must admit packed hosts already."""
    pool = IPv4Network(conf.packed_pool)
    for group in region.pages("DescribeSecurityGroups", "SecurityGroups", GroupIds=[conf.group]):
        admitted = [
            IPv4Network(str(it["CidrIp"]))
            for rule in group.get("IpPermissions", [])
            if str(rule.get("IpProtocol")) == "-1"
            for it in rule.get("IpRanges", [])
        ]
        if not any(pool.subnet_of(it) for it in admitted):
            raise _wrong(
                "group",
                conf.group,
                f"it does not let in all traffic from {pool}, the addresses of packed hosts",
                f"add that: `aws ec2 authorize-security-group-ingress --group-id {conf.group} "
                f"--protocol all --cidr {pool}`, or leave group empty",
            )


def machines(instances: Iterable[describe.Instance], conf: Ec2Conf) -> Iterator[Host]:
    """Instances that can be logged in to, with the keys that they showed at first."""
    for it in instances:
        listed = it.listed(conf.address)
        if listed.address and not it.is_ending:
            yield Host(
                name=it.name,
                role=listed.role,
                address=listed.address,
                inside_address=it.private,
                host_key=it.tags.get(tags.KEY, ""),
                user=conf.user,
                machine=it.id,
            )


def open_ways(region: Region, conf: Ec2Conf, run_id: str, retry: RetryPolicy) -> dict[str, str]:
    """Let a run's instances send and get what has the addresses of packed hosts; safe to repeat.

    Returns:
        By name of an instance why that could not be done for it.

    Raises:
        LaunchError: the security group admits no packed hosts, or it could be done for none.
    """
    try:
        network.admit_packed(region, conf, run_id, retry)
        there = [it for it in describe.instances(region, run_id) if not it.is_ending]
    except ApiError as exc:
        raise LaunchError(f"{exc}; packed hosts would be let in nowhere") from exc

    def open_way(instance: describe.Instance) -> None:
        def switch_off() -> None:
            region.reader.modify_instance_attribute(
                InstanceId=instance.id, SourceDestCheck={"Value": False}
            )

        once_visible("ModifyInstanceAttribute", switch_off, retry)

    done = on_all([it for it in there if it.checks_addresses], open_way)
    closed = {
        name: f"its source/destination check could not be switched off: {it}"
        for name, it in done.items()
        if it is not None
    }
    if len(closed) == len(there) and there:
        raise LaunchRefusedError(f"of no instance: {next(iter(closed.values()))}")
    return closed


def _wrong(key: str, value: str, problem: str, remedy: str) -> ConfigError:
    return ConfigError("ec2.conf [ec2]", key, value, problem, remedy)

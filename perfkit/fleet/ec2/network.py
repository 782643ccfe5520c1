"""What a run has at EC2 besides its hosts: a security group, a key pair, and a placement group.

They are made once, tagged, and called `perfkit-<run>`, so that making them again finds them. The
security group lets in SSH from the controller and everything from its own members, and nothing else.
The placement group puts hosts close to each other.
"""

from __future__ import annotations

import urllib.error
import urllib.request
from typing import Any

from perfkit.errors import ConfigError, LaunchError, LaunchRefusedError, ProviderError
from perfkit.fleet.ec2 import tags
from perfkit.fleet.ec2.calls import name_for
from perfkit.fleet.ec2.client import Region, tag_filter, translated
from perfkit.fleet.ec2.conf import Ec2Conf, controller_network
from perfkit.fleet.ec2.failures import ApiError, Failure
from perfkit.fleet.ec2.idempotent_calls import VISIBLE_WITHIN_S, once_visible
from perfkit.retry import RetryPolicy

ADDRESS_SERVICE = "https://checkip.amazonaws.com"
ADDRESS_TIMEOUT_S = 5
SSH_PORT = 22


def find_controller(conf: Ec2Conf) -> str:
    """The network that may log in: what ec2.conf says, else the address AWS sees us come from.

    Empty where the group is a named one: who may log in is then in its own rules.

    Raises:
        ConfigError: hosts see another address of ours than AWS does, and it is not said.
        ProviderError: it could not be found out.
    """
    if conf.controller or conf.group:
        return conf.controller
    if conf.address == "private":
        raise ConfigError(
            "ec2.conf [ec2]",
            "controller",
            "",
            "with address = private hosts see your private address, which nobody outside knows",
            "say it: `ip -4 address` shows it",
        )
    try:
        with urllib.request.urlopen(ADDRESS_SERVICE, timeout=ADDRESS_TIMEOUT_S) as answer:
            said = answer.read(64).decode("ascii", "replace").strip()
        return str(controller_network(said))
    except (urllib.error.URLError, OSError, ValueError) as exc:
        raise ProviderError(
            f"the address that hosts see you come from is not known ({ADDRESS_SERVICE}: {exc}); "
            "set `controller` in ec2.conf"
        ) from exc


def ensure_key_pair(region: Region, conf: Ec2Conf, run_tags: tags.Tags, public_key: str) -> str:
    """Import the run's public key, once; the private one never leaves the controller.

    Returns:
        The key pair's name.
    """
    if conf.key:
        return conf.key
    name = name_for(run_tags[tags.RUN])
    try:
        with translated("ImportKeyPair"):
            region.reader.import_key_pair(
                KeyName=name,
                PublicKeyMaterial=public_key.strip().encode(),
                TagSpecifications=tags.specifications(run_tags, "key-pair"),
            )
    except ApiError as exc:
        if exc.kind is not Failure.DUPLICATE:
            raise _refused(exc) from exc
    return name


def ensure_placement_group(region: Region, run_tags: tags.Tags, retry: RetryPolicy) -> None:
    """Make the run's cluster placement group, once.

    Raises:
        LaunchRefusedError: it cannot be made, or its name belongs to somebody else's.
    """
    run_id = run_tags[tags.RUN]
    try:
        with translated("CreatePlacementGroup"):
            region.reader.create_placement_group(**placement_group_body(run_id, run_tags))
    except ApiError as exc:
        if exc.kind is not Failure.DUPLICATE:
            raise _refused(exc) from exc
        for _ in retry.attempts(VISIBLE_WITHIN_S):  # made a moment ago, not listed yet
            if _has_placement_group(region, run_id):
                return
        raise LaunchRefusedError(
            f"a placement group {name_for(run_id)} is there and is not this run's; remove it"
        ) from exc


def placement_group_body(run_id: str, run_tags: tags.Tags) -> dict[str, Any]:
    """CreatePlacementGroup's arguments."""
    return {
        "GroupName": name_for(run_id),
        "Strategy": "cluster",
        "TagSpecifications": tags.specifications(run_tags, "placement-group"),
    }


def _has_placement_group(region: Region, run_id: str) -> bool:
    filters: Any = tag_filter(managed=["1"], run=[run_id])
    with translated("DescribePlacementGroups"):
        return bool(region.reader.describe_placement_groups(Filters=filters)["PlacementGroups"])


def ensure_group(
    region: Region,
    conf: Ec2Conf,
    run_tags: tags.Tags,
    *,
    vpc_id: str,
    controller: str,
    retry: RetryPolicy,
) -> str:
    """Make the run's security group with its two rules, once.

    Args:
        controller: The network that may log in.

    Returns:
        The group's id.

    Raises:
        LaunchRefusedError: it cannot be made, or its name belongs to somebody else's.
    """
    if conf.group:
        return conf.group
    try:
        group_id = _find_group(region, run_tags[tags.RUN]) or _make_group(
            region, run_tags, vpc_id, retry
        )
        _allow(region, group_id, controller, retry)
    except ApiError as exc:
        raise _refused(exc) from exc
    return group_id


def admit(region: Region, conf: Ec2Conf, run_id: str, retry: RetryPolicy) -> None:
    """Let in the address that the controller has now, in the group that was made for a run."""
    controller = find_controller(conf)
    if not conf.group and (group_id := _find_group(region, run_id)):
        _allow(region, group_id, controller, retry)


def admit_packed(region: Region, conf: Ec2Conf, run_id: str, retry: RetryPolicy) -> None:
    """Let in packed hosts in the group that was made for a run; the group itself is not them.

    Raises:
        ApiError: it cannot be changed.
        LaunchError: it is not there.
    """
    if conf.group:
        return
    pool = {"CidrIp": conf.packed_pool, "Description": "packed hosts"}
    for _ in retry.attempts(VISIBLE_WITHIN_S):
        if group_id := _find_group(region, run_id):
            _allow_one(region, group_id, {"IpProtocol": "-1", "IpRanges": [pool]}, retry)
            return
    raise LaunchError(f"the security group of run {run_id} in {region.name} is not there any more")


def _find_group(region: Region, run_id: str) -> str | None:
    filters = tag_filter(managed=["1"], run=[run_id])
    found = region.pages("DescribeSecurityGroups", "SecurityGroups", Filters=filters)
    return next((str(group["GroupId"]) for group in found), None)


def _make_group(region: Region, run_tags: tags.Tags, vpc_id: str, retry: RetryPolicy) -> str:
    run_id = run_tags[tags.RUN]
    try:
        with translated("CreateSecurityGroup"):
            made = region.reader.create_security_group(
                GroupName=name_for(run_id),
                Description=f"perfkit run {run_id}",
                VpcId=vpc_id,
                TagSpecifications=tags.specifications(run_tags, "security-group"),
            )
        return made["GroupId"]
    except ApiError as exc:
        if exc.kind is not Failure.DUPLICATE:
            raise
        for _ in retry.attempts(VISIBLE_WITHIN_S):  # made a moment ago, not listed yet
            if found := _find_group(region, run_id):
                return found
        raise LaunchRefusedError(
            f"a security group {name_for(run_id)} is there and is not this run's; remove it"
        ) from exc


def _allow(region: Region, group_id: str, controller: str, retry: RetryPolicy) -> None:
    """SSH from the controller, all from the group itself; a rule that is there already is fine."""
    ssh: Any = {
        "IpProtocol": "tcp",
        "FromPort": SSH_PORT,
        "ToPort": SSH_PORT,
        "IpRanges": [{"CidrIp": controller, "Description": "the controller"}],
    }
    own: Any = {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group_id}]}
    for rule in (ssh, own):
        _allow_one(region, group_id, rule, retry)


def _allow_one(region: Region, group_id: str, rule: Any, retry: RetryPolicy) -> None:
    def authorize() -> None:
        region.reader.authorize_security_group_ingress(GroupId=group_id, IpPermissions=[rule])

    try:
        once_visible("AuthorizeSecurityGroupIngress", authorize, retry)
    except ApiError as exc:
        if exc.kind is not Failure.DUPLICATE:
            raise


def _refused(exc: ApiError) -> LaunchRefusedError:
    return LaunchRefusedError(f"{exc}; nothing was launched")

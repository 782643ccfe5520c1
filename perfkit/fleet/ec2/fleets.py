"""A batch from all pools at once: CreateFleet of type `instant`, for mixed types and for spot.

EC2 chooses among the pools and answers once; nothing refills what is ended later, which is why no
other type of fleet is used. What was not made is explained by `Errors`, one entry a pool, inside an
answer of HTTP 200: they are read together, because one throttled entry among many that have no
capacity means "ask again", not "no capacity".

A fleet makes several reservations, so the order does not tell which instance is which host: each is
tagged with its host's name afterwards. Until then it has all the tags a reap needs, and an instance
without a name is given one of those that are missing when the launch goes on after a crash.
"""

from __future__ import annotations

import getpass
import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from perfkit.fleet.ec2 import calls, describe, tags, userdata
from perfkit.fleet.ec2.calls import Batch
from perfkit.fleet.ec2.client import Region, translated
from perfkit.fleet.ec2.conf import Ec2Conf
from perfkit.fleet.ec2.describe import Instance
from perfkit.fleet.ec2.failures import ApiError, Failure, classify_all
from perfkit.fleet.ec2.idempotent_calls import (
    SAME_AGAIN,
    VISIBLE_WITHIN_S,
    CallContext,
    ask,
    journalled,
    not_visible_yet,
    once_visible,
    refusal,
)
from perfkit.fleet.ec2.pools import Pool
from perfkit.model import Role

THROTTLED_DEADLINE_S = 300.0


def fill_from_zones(
    context: CallContext, batch: Batch, role: Role, names: Sequence[str], generation: int
) -> tuple[list[Instance], str]:
    """Ask for all hosts at once; where a run has one zone, zone after zone until one gives some.

    Raises:
        LaunchError: EC2 refused the request itself.
        LaunchUnknownError: it did not answer.
    """
    made, problems = list[Instance](), list[str]()
    for pools in batch.zones.ladders(batch.ladder[role]):
        made, problem = fill(context, batch, role, names, generation, pools)
        if made:
            batch.zones.settle(pools[0].zone)
        if problem:
            problems.append(problem)
        if made or not problem:
            return made, problem
    why = "; ".join(problems) or f"no room for {len(names)} (no pool can be asked)"
    return made, f"{why}{batch.zones.hint(batch.ladder[role], batch.ladder[role])}"


def fill(
    context: CallContext,
    batch: Batch,
    role: Role,
    names: Sequence[str],
    generation: int,
    pools: Sequence[Pool],
) -> tuple[list[Instance], str]:
    """Ask for all hosts at once from these pools; what was made, and why not all (or empty).

    Raises:
        LaunchError: EC2 refused the request itself.
        LaunchUnknownError: it did not answer.
    """
    missing, made = list(names), _adopt(context, batch, role, names)
    missing = missing[len(made) :]
    problem = ""
    begun_s = context.retry.clock()
    for attempt in context.retry.attempts(THROTTLED_DEADLINE_S, first_s=1.0):
        if not missing:
            return made, ""
        try:
            new, errors = _create(context, batch, role, missing, f"{generation}.{attempt}", pools)
        except ApiError as exc:
            if made:
                return made, f"no room for {len(missing)} ({exc})"
            raise refusal(batch.request, exc) from exc
        new = give_names(context, new, missing)
        made += new
        missing = missing[len(new) :]
        kind = classify_all(errors)
        problem = f"no room for {len(missing)} ({', '.join(sorted(set(errors))) or 'no reason'})"
        young = context.retry.clock() - begun_s < VISIBLE_WITHIN_S * context.retry.scale
        if kind in SAME_AGAIN or (young and any(map(not_visible_yet, errors))):
            continue
        if missing and kind in (Failure.REFUSED, Failure.NOT_FOUND) and not made:
            code = errors[0] if errors else "no reason"
            raise refusal(batch.request, ApiError("CreateFleet", code, kind, problem))
        break
    return made, problem if missing else ""


def wait_until_listed(context: CallContext, batch: Batch) -> None:
    """After a crash: until the listing of a fleet that may have been made no longer grows."""
    before = -1
    for _ in context.retry.attempts(VISIBLE_WITHIN_S):
        ours = _ours(context.region, batch)
        if ours and len(ours) == before:
            return
        before = len(ours)


def _ours(region: Region, batch: Batch) -> list[Instance]:
    found = describe.instances(region, batch.request.run_id)
    return [i for i in found if i.tags.get(tags.TOKEN) == batch.request.token and not i.is_ending]


def _adopt(context: CallContext, batch: Batch, role: Role, names: Sequence[str]) -> list[Instance]:
    """Instances of this batch that nobody lived to give a name."""
    ours = _ours(context.region, batch)
    nameless = [i for i in ours if tags.HOST not in i.tags and i.tags.get(tags.ROLE) == role]
    return give_names(context, nameless, names)


def give_names(
    context: CallContext, made: Sequence[Instance], names: Sequence[str]
) -> list[Instance]:
    """Give each instance one of the names, by a tag; EC2 takes one only a while after it was made.

    Raises:
        ApiError: it cannot be tagged.
    """
    named = []
    for instance, name in zip(sorted(made, key=lambda i: i.id), names, strict=False):
        label = {tags.HOST: name}
        call = partial(
            context.region.reader.create_tags, Resources=[instance.id], Tags=tags.to_aws(label)
        )
        once_visible("CreateTags", call, context.retry)
        named.append(replace(instance, tags={**instance.tags, **label}))
    return named


def _create(
    context: CallContext,
    batch: Batch,
    role: Role,
    names: Sequence[str],
    generation: str,
    pools: Sequence[Pool],
) -> tuple[list[Instance], list[str]]:
    """One CreateFleet with its launch template; instances, and the code of every error."""
    request, region = batch.request, context.region
    token = _token(batch, role, pools, names, generation)
    labels = calls.labels_of(batch, role)
    name = _ensure_template(region, context.conf, batch, labels, token, pools)
    errors: list[str] = []

    def create_fleet() -> list[Instance]:
        answer = region.launcher.create_fleet(
            **_body(context.conf, batch, role, len(names), name, token, pools)
        )
        errors[:] = [str(entry.get("ErrorCode", "")) for entry in answer.get("Errors", [])]
        return [
            Instance(id=str(instance_id), region=region.name, state="pending", tags=labels)
            for entry in answer.get("Instances", [])
            for instance_id in entry["InstanceIds"]
        ]

    record = {"call": token, "role": role.value, "names": list(names), "generation": generation}
    with journalled(request, record) as outcome:
        outcome.extend(
            ask(
                "CreateFleet",
                create_fleet,
                find=lambda: [i for i in _ours(region, batch) if tags.HOST not in i.tags],
                retry=context.retry,
            )
        )
    return outcome, errors


def _token(
    batch: Batch, role: Role, pools: Sequence[Pool], names: Sequence[str], generation: str
) -> str:
    digest, those = userdata.digest(batch.user_data), [str(pool) for pool in pools]
    return calls.client_token(batch.request, role, generation, *those, "", *names, digest)


def _ensure_template(
    region: Region,
    conf: Ec2Conf,
    batch: Batch,
    labels: tags.Tags,
    token: str,
    pools: Sequence[Pool],
) -> str:
    """The launch template of one call, made once; it goes when the run is released."""
    name = f"{calls.name_for(batch.request.run_id)}-{token[:12]}"
    kinds = [kind for kind in calls.tagged_kinds(conf) if kind != "instance"]  # the fleet's part
    data: Any = {
        **calls.template(batch.user_data, batch.resources),
        "ImageId": batch.resources.image,
        "NetworkInterfaces": [calls.interface(batch.resources, conf)],
        **calls.placement(batch.request.run_id, pools[0]),
        "TagSpecifications": tags.specifications(labels, *kinds),
    }
    try:
        with translated("CreateLaunchTemplate"):
            region.reader.create_launch_template(
                LaunchTemplateName=name,
                LaunchTemplateData=data,
                ClientToken=token,
                TagSpecifications=tags.specifications(batch.resources.tags, "launch-template"),
            )
    except ApiError as exc:
        if exc.kind is not Failure.DUPLICATE and "AlreadyExists" not in exc.code:
            raise
    return name


def _body(
    conf: Ec2Conf,
    batch: Batch,
    role: Role,
    n_hosts: int,
    template: str,
    token: str,
    pools: Sequence[Pool],
) -> dict[str, Any]:
    """CreateFleet's arguments. The best pool first on demand; the deepest and cheapest on spot.

    Two subnets of one zone are one pool to EC2, and it takes no pool twice: the first one counts.
    """
    distinct: dict[tuple[str, str], Pool] = {}
    for pool in pools:
        distinct.setdefault((pool.type, pool.zone), pool)
    overrides = [
        {**_override(pool), "Priority": float(rung)} for rung, pool in enumerate(distinct.values())
    ]
    labels = calls.labels_of(batch, role)
    specifications = [
        *tags.specifications(batch.resources.tags, "fleet"),
        *tags.specifications(labels, "instance"),
    ]
    return {
        **_fleet(conf, template, overrides, n_hosts, specifications),
        "ClientToken": token,
        "OnDemandOptions": {"AllocationStrategy": "prioritized"},
        "SpotOptions": {
            "AllocationStrategy": "price-capacity-optimized",
            "InstanceInterruptionBehavior": "terminate",
        },
    }


def _override(pool: Pool) -> dict[str, Any]:
    return {"InstanceType": pool.type, "SubnetId": pool.subnet}


def _fleet(
    conf: Ec2Conf,
    template: str,
    overrides: Sequence[dict[str, Any]],
    n_hosts: int,
    specifications: Sequence[Any],
) -> dict[str, Any]:
    """What every CreateFleet says, also one that is only tried."""
    launch_template = {"LaunchTemplateName": template, "Version": "$Latest"}
    return {
        "Type": "instant",
        "LaunchTemplateConfigs": [
            {"LaunchTemplateSpecification": launch_template, "Overrides": list(overrides)}
        ],
        "TargetCapacitySpecification": {
            "TotalTargetCapacity": n_hosts,
            "DefaultTargetCapacityType": conf.market,
        },
        "TagSpecifications": list(specifications),
    }


def dry_bodies(
    conf: Ec2Conf, image: str, ladder: Sequence[Pool]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a run asks CreateLaunchTemplate and CreateFleet for, to be tried and not done."""
    name = calls.name_for(f"preflight-{uuid.uuid4().hex[:12]}")
    labels = tags.run_tags("preflight", getpass.getuser(), datetime.now(UTC), conf.tags)
    template = {
        "LaunchTemplateName": name,
        "LaunchTemplateData": {"ImageId": image, **calls.SAFEGUARDS},
        "TagSpecifications": tags.specifications(labels, "launch-template"),
    }
    specifications = tags.specifications(labels, "fleet", "instance")
    return template, _fleet(conf, name, [_override(ladder[0])], 1, specifications)

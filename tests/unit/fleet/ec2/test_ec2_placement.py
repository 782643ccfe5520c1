"""Hosts that measure are close to each other: one zone, one placement group, and no trace of it after."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from aws_shim import REGION, error, fleet_errors
from ec2_cloud import Cloud

from perfkit.errors import ConfigError, LaunchError, LaunchRefusedError, ProviderError
from perfkit.fleet.ec2 import preflight
from perfkit.fleet.provider import LaunchRequest
from perfkit.testing.provider_runs import ProviderRun

CLIENTS = ("client-001", "client-002", "client-003")
A, B = f"{REGION}a", f"{REGION}b"
NO_ROOM = error("InsufficientInstanceCapacity", 500)


@pytest.fixture
def run(tmp_path: Path) -> ProviderRun:
    return ProviderRun(tmp_path)


@pytest.fixture
def near(cloud: Cloud) -> Cloud:
    """An EC2 whose ec2.conf names types that can be close to each other, in three zones."""
    cloud.write_conf(types="c5.large, c5a.large", zones=f"{A}, {B}, {REGION}c")
    return cloud


def group_names(cloud: Cloud) -> list[str]:
    return [group.name for group in cloud.aws.placement.groups.values()]


def in_group(cloud: Cloud) -> set[str]:
    return {id_ for group in cloud.aws.placement.groups.values() for id_ in group.members}


def zones(cloud: Cloud) -> set[str]:
    return {i.placement.zone for i in cloud.aws.instances() if i.state != "terminated"}


def pools_asked(cloud: Cloud) -> list[tuple[str, str]]:
    """Type and zone of each launch, in order."""
    client = boto3.client("ec2", endpoint_url=cloud.aws.url, region_name=REGION)
    zone = {s["SubnetId"]: s["AvailabilityZone"] for s in client.describe_subnets()["Subnets"]}
    return [
        (r.params["InstanceType"], zone[r.params["NetworkInterface.1.SubnetId"]])
        for r in cloud.aws.sent("RunInstances")
    ]


def remarks(cloud: Cloud) -> str:
    """What is said before the launch about where hosts will be."""
    provider = cloud.provider()
    provider.preflight(3)
    return "\n".join(provider.estimate(3, 60).lines)


def test_all_hosts_of_a_run_are_in_one_zone_and_one_tagged_group(
    near: Cloud, run: ProviderRun
) -> None:
    provider = near.provider()
    provider.launch(run.request("server", *CLIENTS))
    provider.launch(run.request("client-004", token="second"))
    assert group_names(near) == [f"perfkit-{run.run_id}"]
    assert in_group(near) == set(near.aws.alive())
    assert len(near.aws.alive()) == 5
    assert zones(near) == {A}
    (made,) = near.aws.sent("CreatePlacementGroup")
    assert made.params["Strategy"] == "cluster"
    tags = made.tags("placement-group")
    assert (tags["perfkit:managed"], tags["perfkit:run"]) == ("1", run.run_id)
    assert tags["perfkit:expires"].isdigit()


def test_a_release_takes_the_group_with_it_and_a_renewal_moves_its_end(
    near: Cloud, run: ProviderRun
) -> None:
    provider = near.provider()
    provider.launch(run.request("server"))
    later = datetime.now(UTC) + timedelta(days=1)
    provider.renew(run.run_id, later)
    (group,) = near.aws.placement.groups.values()
    assert group.tags["perfkit:expires"] == f"{later.timestamp():.0f}"
    assert f"placement group {group.id} in {REGION}" in provider.residue(run.run_id)
    report = provider.release(run.run_id)
    assert report.leaked == ()
    assert f"placement group {group.id} in {REGION}" in report.besides
    assert group_names(near) == []
    assert provider.release(run.run_id).leaked == ()  # again: nothing is there, nothing fails


def test_the_group_of_a_launch_that_failed_is_found_and_ended_by_its_tag_alone(
    near: Cloud, run: ProviderRun
) -> None:
    near.aws.denied["RunInstances"] = error("UnauthorizedOperation", 403)
    with pytest.raises(LaunchRefusedError):
        near.provider().launch(run.request("server"))
    near.aws.denied.clear()
    assert group_names(near) == [f"perfkit-{run.run_id}"]
    other = near.provider()  # of another process, which knows nothing of the run
    assert list(other.runs()) == [run.run_id]
    assert other.release(run.run_id).leaked == ()
    assert group_names(near) == []
    assert list(other.runs()) == []


def test_only_the_group_of_the_run_is_ended(
    near: Cloud, run: ProviderRun, tmp_path_factory: pytest.TempPathFactory
) -> None:
    client = boto3.client("ec2", endpoint_url=near.aws.url, region_name=REGION)
    client.create_placement_group(GroupName="somebodys", Strategy="cluster")
    other = ProviderRun(tmp_path_factory.mktemp("other"))
    provider = near.provider()
    provider.launch(run.request("server"))
    provider.launch(other.request("server"))
    assert provider.release(run.run_id).leaked == ()
    assert group_names(near) == ["somebodys", f"perfkit-{other.run_id}"]


def test_a_group_that_cannot_be_ended_is_named_first(near: Cloud, run: ProviderRun) -> None:
    provider = near.provider()
    provider.launch(run.request("server"))
    near.aws.denied["DeletePlacementGroup"] = error("InvalidPlacementGroup.InUse")
    (leaked,) = provider.release(run.run_id).leaked
    assert "placement group pg-" in leaked
    assert "InvalidPlacementGroup.InUse" in leaked


def test_a_group_that_launches_do_not_know_yet_is_asked_for_again_with_the_same_token(
    near: Cloud, run: ProviderRun
) -> None:
    near.aws.placement.unseen = 2
    near.provider().launch(run.request("server"))
    sent = near.aws.sent("RunInstances")
    assert len(sent) == 3
    assert len({r.params["ClientToken"] for r in sent}) == 1
    assert len(near.aws.alive()) == 1


def test_a_group_made_before_a_crash_is_used_and_a_strangers_is_not(
    near: Cloud, run: ProviderRun
) -> None:
    near.provider().launch(run.request("server"))
    near.provider().launch(run.request("client-001", token="second"))
    assert len(near.aws.sent("CreatePlacementGroup")) == 2
    assert in_group(near) == set(near.aws.alive())
    for group in near.aws.placement.groups.values():
        group.tags.clear()
    with pytest.raises(LaunchRefusedError, match="is there and is not this run's"):
        near.provider().launch(run.request("client-002", token="third"))


# -- capacity ----------------------------------------------------------------------------------


def test_the_ladder_goes_on_to_the_next_zone_until_a_host_is_made_and_stays_there(
    near: Cloud, run: ProviderRun
) -> None:
    near.aws.fail("RunInstances", NO_ROOM)
    provider = near.provider()
    provider.launch(run.request("server"))
    assert pools_asked(near) == [("c5.large", A), ("c5.large", B)]
    near.aws.fail("RunInstances", NO_ROOM)
    provider.launch(run.request("client-001", token="second"))
    assert pools_asked(near)[2:] == [("c5.large", B), ("c5a.large", B)]
    assert zones(near) == {B}
    assert in_group(near) == set(near.aws.alive())


def test_hosts_without_room_in_the_runs_zone_are_missing_with_what_could_be_set(
    near: Cloud, run: ProviderRun
) -> None:
    provider = near.provider()
    provider.launch(run.request("server"))
    near.aws.fail("RunInstances", NO_ROOM, times=2)
    with pytest.raises(LaunchError) as caught:
        provider.launch(run.request(*CLIENTS, token="second"))
    said = str(caught.value)
    assert "no room for 3" in said
    assert f"c5a.large in {A} (placement group): InsufficientInstanceCapacity" in said
    assert f"the run's hosts are in {A}, so {B}, {REGION}c cannot be asked" in said
    assert "placement = any" in said
    assert len(near.aws.sent("RunInstances")) == 3


def test_a_group_without_room_in_the_only_zone_names_the_setting_without_a_group(
    near: Cloud, run: ProviderRun
) -> None:
    near.write_conf(types="c5.large", zones=A)
    near.aws.fail("RunInstances", NO_ROOM)
    with pytest.raises(LaunchError, match="`placement = zone` does not"):
        near.provider().launch(run.request("server"))


def test_batches_that_ask_at_one_moment_do_not_choose_two_zones(
    near: Cloud, run: ProviderRun
) -> None:
    near.aws.in_flight_s = 0.2
    near.aws.fail("RunInstances", NO_ROOM)  # only who comes first is told so
    provider, together = near.provider(), threading.Barrier(4)

    def launch(number: int) -> None:
        together.wait(60)
        provider.launch(run.request(f"client-{number:03d}", token=f"batch-{number}"))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(launch, range(4)))
    assert len(near.aws.alive()) == 4
    assert len(zones(near)) == 1


def test_a_run_that_is_taken_up_goes_on_in_the_zone_of_its_hosts(
    near: Cloud, run: ProviderRun
) -> None:
    near.write_conf(types="c5.large", zones=B)
    near.provider().launch(run.request("server"))
    near.write_conf(types="c5.large", zones=f"{A}, {B}")
    near.provider().launch(run.request("client-001", token="second"))
    assert zones(near) == {B}


def test_a_call_from_before_the_group_existed_is_sent_again_word_for_word(
    near: Cloud, run: ProviderRun
) -> None:
    near.write_conf(types="c5.large", placement="zone")
    kept: list[dict[str, Any]] = []

    def keep(kind: str, **fields: Any) -> None:
        kept.extend([fields] if kind == "launch-call" else [])

    request = replace(run.request("server"), record=keep)
    near.provider().launch(request)
    del kept[0]["pool"]["cluster"]  # as an earlier version wrote it
    near.write_conf(types="c5.large", placement="cluster")
    again: LaunchRequest = replace(request, earlier=tuple(kept))
    near.provider().launch(again)
    first, second = near.aws.sent("RunInstances")
    assert first.params == second.params
    assert len(near.aws.alive()) == 1


# -- settings, and what is said ----------------------------------------------------------------


def test_what_the_default_does_is_said_before_the_launch(near: Cloud) -> None:
    said = remarks(near)
    assert f"all hosts in one zone, {A} if it has room, in one cluster placement group" in said
    assert "traffic between them costs" not in said


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (
            {"types": "t3.micro", "zones": A},
            f"all hosts in {A}; those of t3.micro in no placement group (such types cannot be in a "
            "cluster placement group), none in one",
        ),
        (
            {"types": "t3.micro", "server_types": "c5n.xlarge", "zones": A},
            "those of t3.micro in no placement group (such types cannot be in a cluster placement "
            "group), those of c5n.xlarge in one",
        ),
        (
            {"types": "c5.large", "placement": "zone", "zones": A},
            f"all hosts in {A}, in no placement group (placement = zone)",
        ),
        (
            {"types": "c5.large", "placement": "any", "zones": f"{A}, {B}"},
            f"hosts may be spread over the zones {A}, {B} (placement = any)",
        ),
        (
            {"types": "c5.large, t3.small", "pools": "mixed", "zones": A},
            "a fleet is in a cluster placement group with all of its types or none",
        ),
    ],
)
def test_types_outside_the_group_and_zones_that_hosts_spread_over_are_named(
    cloud: Cloud, keys: dict[str, str], expected: str
) -> None:
    cloud.write_conf(**keys)
    assert expected in remarks(cloud)


def test_types_that_cannot_be_in_a_group_are_launched_beside_it_in_the_same_zone(
    cloud: Cloud, run: ProviderRun
) -> None:
    cloud.write_conf(types="t3.micro", server_types="c5.large", zones=f"{A}, {B}")
    cloud.provider().launch(run.request("server", *CLIENTS))
    kinds = {i.id: i.instance_type for i in cloud.aws.instances()}
    assert [kinds[id_] for id_ in in_group(cloud)] == ["c5.large"]
    assert zones(cloud) == {A}


def test_no_group_is_made_where_no_host_would_be_in_it(cloud: Cloud, run: ProviderRun) -> None:
    for name, keys in (
        ("client-001", {"types": "t3.micro"}),
        ("client-002", {"types": "c5.large", "placement": "zone"}),
    ):
        cloud.write_conf(**keys)
        cloud.provider().launch(run.request(name, token=name))
    assert cloud.aws.sent("CreatePlacementGroup") == []


def test_hosts_may_be_anywhere_where_ec2_conf_says_so(near: Cloud, run: ProviderRun) -> None:
    near.write_conf(types="c5.large", zones=f"{A}, {B}", placement="any")
    near.aws.fail("RunInstances", NO_ROOM)
    near.provider().launch(run.request("server"))
    near.aws.empty = {("c5.large", _subnet(near, B))}
    near.provider().launch(run.request("client-001", token="second"))
    assert zones(near) == {A, B}
    assert group_names(near) == []


def _subnet(cloud: Cloud, zone: str) -> str:
    client = boto3.client("ec2", endpoint_url=cloud.aws.url, region_name=REGION)
    subnets = client.describe_subnets()["Subnets"]
    return next(str(s["SubnetId"]) for s in subnets if s["AvailabilityZone"] == zone)


def test_types_that_no_zone_offers_together_are_refused(
    near: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offered(_region: object, _types: Iterable[str]) -> set[tuple[str, str]]:
        return {("c5n.xlarge", A), ("c5.large", B)}

    # private: what EC2 offers where
    monkeypatch.setattr(preflight, "_offered", offered)
    near.write_conf(types="c5.large", server_types="c5n.xlarge", zones=f"{A}, {B}")
    with pytest.raises(ConfigError, match="no zone has types of the server and of the clients"):
        near.provider().preflight(2)
    near.write_conf(types="c5.large", server_types="c5n.xlarge", zones=f"{A}, {B}", placement="any")
    near.provider().preflight(2)


def test_who_may_not_make_placement_groups_is_told_what_works_without(near: Cloud) -> None:
    near.provider().preflight(2)
    tried = {r.action for r in near.aws.requests if r.params.get("DryRun") == "true"}
    assert tried == {"RunInstances", "CreatePlacementGroup"}
    assert group_names(near) == []
    near.aws.denied["CreatePlacementGroup"] = error("UnauthorizedOperation", 403)
    with pytest.raises(ProviderError) as caught:
        near.provider().preflight(2)
    assert "CreatePlacementGroup (dry run): UnauthorizedOperation" in str(caught.value)
    assert "policy.json" in str(caught.value)
    assert "placement = zone" in str(caught.value)


@pytest.mark.parametrize(
    "action", ["DescribePlacementGroups", "DescribeVolumes", "DescribeSecurityGroups"]
)
def test_a_listing_that_a_release_needs_is_tried_before_anything_is_made(
    near: Cloud, action: str
) -> None:
    near.aws.denied[action] = error("UnauthorizedOperation", 403)
    with pytest.raises(ProviderError, match=f"{action}: UnauthorizedOperation"):
        near.provider().preflight(2)
    assert "RunInstances" not in near.aws.counts()


def test_a_fleet_is_in_the_group_and_in_one_zone(near: Cloud, run: ProviderRun) -> None:
    near.write_conf(
        types="c5.large, c5a.large", zones=f"{A}, {B}", pools="mixed", address="private"
    )
    provider = near.provider()
    near.aws.fail("CreateFleet", fleet_errors("InsufficientInstanceCapacity"))
    provider.launch(run.request("server"))
    provider.launch(run.request(*CLIENTS, token="second"))
    assert in_group(near) == set(near.aws.alive())
    assert len(near.aws.alive()) == 4
    assert zones(near) == {B}


def test_a_fleet_that_has_no_pool_in_the_zone_of_its_run_says_why(
    near: Cloud, run: ProviderRun
) -> None:
    keys = {"types": "c5.large, c5a.large", "pools": "mixed", "address": "private"}
    near.write_conf(zones=A, **keys)
    near.provider().launch(run.request("server"))
    near.write_conf(zones=B, **keys)
    with pytest.raises(LaunchError, match=rf"no room for 3 .*the run's hosts are in {A}, so {B}"):
        near.provider().launch(run.request(*CLIENTS, token="second"))

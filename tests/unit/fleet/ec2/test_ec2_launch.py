"""Launching against moto and the shim: what is sent, what becomes of each error, nothing twice."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest
from aws_shim import (
    REGION,
    Fault,
    Request,
    at_most,
    error,
    fleet_errors,
    reset,
    user_data_of,
)
from ec2_cloud import CONTROLLER, Cloud

from perfkit.errors import LaunchError, LaunchRefusedError, LaunchUnknownError
from perfkit.fleet.provider import LaunchRequest
from perfkit.testing.provider_runs import ProviderRun

CLIENTS = tuple(f"client-{n:03d}" for n in range(1, 6))


class Notes:
    """What a launch wrote into the journal."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, kind: str, **fields: Any) -> None:
        self.events.append((kind, fields))

    def calls(self) -> list[dict[str, Any]]:
        return [fields for kind, fields in self.events if kind == "launch-call"]

    def shortfall(self) -> str:
        (reason,) = [f["reason"] for kind, f in self.events if kind == "launch-shortfall"]
        return str(reason)

    def reasons(self) -> dict[str, str]:
        (hosts,) = [f["hosts"] for kind, f in self.events if kind == "launch-shortfall"]
        return dict(hosts)


@pytest.fixture
def run(tmp_path: Path) -> ProviderRun:
    return ProviderRun(tmp_path)


def asked(run: ProviderRun, *names: str, notes: Notes | None = None) -> LaunchRequest:
    return replace(run.request(*(names or CLIENTS)), record=notes or Notes())


def pool_of(request: Request) -> tuple[str, str]:
    return request.params["InstanceType"], request.params["NetworkInterface.1.SubnetId"]


def test_every_launch_says_all_that_keeps_an_instance_from_leaking(
    cloud: Cloud, run: ProviderRun
) -> None:
    cloud.write_conf(tags="team=net")
    cloud.provider().launch(asked(run, "server", *CLIENTS))
    sent = cloud.aws.sent("RunInstances")
    assert [r.params["MaxCount"] for r in sent] == ["1", "5"]
    assert len({r.params["ClientToken"] for r in sent}) == 2
    for request in sent:
        params = request.params
        assert re.fullmatch(r"[0-9a-f]{64}", params["ClientToken"])
        assert params["MinCount"] == "1"
        assert params["InstanceInitiatedShutdownBehavior"] == "terminate"
        assert params["MetadataOptions.HttpTokens"] == "required"
        assert params["MetadataOptions.HttpPutResponseHopLimit"] == "1"
        assert params["BlockDeviceMapping.1.Ebs.DeleteOnTermination"] == "true"
        assert params["NetworkInterface.1.DeleteOnTermination"] == "true"
        assert not [name for name in params if name.startswith("IamInstanceProfile")]
        for kind in ("instance", "volume", "network-interface"):
            tags = request.tags(kind)
            assert tags["perfkit:managed"] == "1"
            assert tags["perfkit:run"] == run.run_id
            assert tags["perfkit:expires"].isdigit()
            assert tags["perfkit:owner"] == "Åsa at test"
            assert tags["perfkit:role"] in ("server", "client")
            assert tags["team"] == "net"
    for action, kind in (("ImportKeyPair", "key-pair"), ("CreateSecurityGroup", "security-group")):
        (request,) = cloud.aws.sent(action)
        assert request.tags(kind)["perfkit:run"] == run.run_id


def test_the_group_lets_in_the_controller_and_itself_and_nobody_else(
    cloud: Cloud, run: ProviderRun
) -> None:
    cloud.provider().launch(asked(run))
    ssh, own = [r.params for r in cloud.aws.sent("AuthorizeSecurityGroupIngress")]
    assert ssh["IpPermissions.1.IpRanges.1.CidrIp"] == CONTROLLER
    assert (ssh["IpPermissions.1.FromPort"], ssh["IpPermissions.1.ToPort"]) == ("22", "22")
    assert own["IpPermissions.1.Groups.1.GroupId"] == own["GroupId"] == ssh["GroupId"]
    assert not [name for name in own if "Cidr" in name]


def test_user_data_holds_the_dead_man_first_and_no_lasting_secret(
    cloud: Cloud, run: ProviderRun
) -> None:
    request = asked(run)
    cloud.provider().launch(request)
    (sent,) = cloud.aws.sent("RunInstances")
    config = user_data_of(sent)
    assert next(iter(config)) == "bootcmd"
    assert "/etc/perfkit/deadman" in config["bootcmd"][0][2]
    assert config["ssh_authorized_keys"] == [run.public_key]
    text = str(config)
    for host in request.hosts:
        assert host.host_key_private.splitlines()[2] not in text
    assert run.key_path.read_text().splitlines()[2] not in text


def test_spot_hosts_are_asked_for_once_and_ended_when_taken_back(
    cloud: Cloud, run: ProviderRun
) -> None:
    cloud.write_conf(market="spot")
    cloud.provider().launch(asked(run))
    (sent,) = cloud.aws.sent("RunInstances")
    options = "InstanceMarketOptions.SpotOptions."
    assert sent.params["InstanceMarketOptions.MarketType"] == "spot"
    assert sent.params[f"{options}SpotInstanceType"] == "one-time"
    assert sent.params[f"{options}InstanceInterruptionBehavior"] == "terminate"
    assert sent.tags("spot-instances-request")["perfkit:run"] == run.run_id


def test_names_follow_the_order_in_which_ec2_made_the_instances(
    cloud: Cloud, run: ProviderRun
) -> None:
    names = tuple(f"a-rather-long-host-name-to-fill-tags-{n:03d}" for n in range(12))
    made = cloud.provider().launch(asked(run, *names))
    assert [host.name for host in made] == list(names)
    listed = cloud.provider().hosts(run.run_id)
    assert {h.name: h.address for h in listed} == {h.name: h.address for h in made}
    (sent,) = cloud.aws.sent("RunInstances")
    assert all(len(value) <= 256 for value in sent.tags("instance").values())


@pytest.mark.parametrize(
    "fault",
    [
        error("RequestLimitExceeded", 503),
        error("InternalError", 500),
        error("InternalError", 500, done=True),
        error("Unavailable", 503, done=True),
        reset(),
        reset(done=True),
    ],
    ids=str,
)
def test_a_call_without_an_answer_is_sent_again_with_its_token_and_makes_nothing_twice(
    cloud: Cloud, run: ProviderRun, fault: Any
) -> None:
    cloud.aws.fail("RunInstances", fault, times=2)
    made = cloud.provider().launch(asked(run))
    assert [host.name for host in made] == list(CLIENTS)
    sent = cloud.aws.sent("RunInstances")
    assert len(sent) == 3
    assert len({request.params["ClientToken"] for request in sent}) == 1
    assert len(cloud.aws.alive()) == 5


def test_a_pool_without_capacity_is_left_for_the_next_and_rests(
    cloud: Cloud, run: ProviderRun
) -> None:
    cloud.write_conf(types="t3.micro, t3.small", zones=f"{REGION}a, {REGION}b")
    provider, notes = cloud.provider(scale=0.1), Notes()
    provider.preflight(2)
    surveyed = provider.survey()
    pools = [(pool.type, pool.subnet) for pool in next(iter(surveyed.ladder.values()))]
    assert len(pools) == 4
    cloud.aws.empty = set(pools[:2])
    provider.launch(asked(run, "client-001", notes=notes))
    assert [pool_of(r) for r in cloud.aws.sent("RunInstances")] == pools[:3]
    assert [f.get("error") for kind, f in notes.events if kind == "launch-call-result"] == [
        "InsufficientInstanceCapacity",
        "InsufficientInstanceCapacity",
        None,
    ]
    provider.launch(replace(asked(run, "client-002"), token="second"))
    assert [pool_of(r) for r in cloud.aws.sent("RunInstances")][3:] == pools[2:3]


def test_throttling_is_never_taken_for_a_lack_of_capacity(cloud: Cloud, run: ProviderRun) -> None:
    cloud.write_conf(types="t3.micro, t3.small")
    cloud.aws.fail("RunInstances", error("RequestLimitExceeded", 503), times=3)
    cloud.provider().launch(asked(run))
    assert {pool_of(r)[0] for r in cloud.aws.sent("RunInstances")} == {"t3.micro"}


def test_a_pool_that_gives_fewer_is_followed_by_the_next_for_the_rest(
    cloud: Cloud, run: ProviderRun
) -> None:
    cloud.write_conf(types="t3.micro, t3.small")
    cloud.aws.fail("RunInstances", at_most(2))
    made = cloud.provider().launch(asked(run))
    assert [host.name for host in made] == list(CLIENTS)
    assert [r.params["MaxCount"] for r in cloud.aws.sent("RunInstances")] == ["5", "3"]
    kinds = {i.id: i.instance_type for i in cloud.aws.instances()}
    assert sorted(kinds.values()) == ["t3.micro"] * 2 + ["t3.small"] * 3


def test_a_shortfall_is_journalled_with_its_reason(cloud: Cloud, run: ProviderRun) -> None:
    notes = Notes()
    cloud.aws.fail("RunInstances", at_most(2))
    made = cloud.provider().launch(asked(run, notes=notes))
    assert [host.name for host in made] == ["client-001", "client-002"]
    assert "no room for 3 (t3.micro in us-east-1a: 2 of 5)" in notes.shortfall()
    assert notes.reasons() == dict.fromkeys(
        CLIENTS[2:], "no room for 3 (t3.micro in us-east-1a: 2 of 5)"
    )


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("VcpuLimitExceeded", "quota raised"),
        ("UnauthorizedOperation", "nothing more"),
        ("InvalidAMIID.NotFound", "nothing more"),
        ("InvalidParameterValue", "nothing more"),
    ],
)
def test_what_no_batch_can_do_is_refused_at_once(
    cloud: Cloud, run: ProviderRun, code: str, says: str
) -> None:
    cloud.aws.fail("RunInstances", error(code), times=9)
    with pytest.raises(LaunchRefusedError, match=says):
        cloud.provider().launch(asked(run))
    assert len(cloud.aws.sent("RunInstances")) == 1


def test_no_capacity_anywhere_is_an_error_that_names_the_pools(
    cloud: Cloud, run: ProviderRun
) -> None:
    cloud.aws.fail("RunInstances", error("InsufficientInstanceCapacity", 500), times=9)
    with pytest.raises(LaunchError, match=r"t3\.micro in us-east-1a: InsufficientInstanceCapa"):
        cloud.provider().launch(asked(run))
    assert len(cloud.aws.sent("RunInstances")) == 1


def test_why_a_type_is_not_supported_is_said(cloud: Cloud, run: ProviderRun) -> None:
    why = error("UnsupportedOperation", message="the image wants an instance type with ENA")
    cloud.aws.fail("RunInstances", why)
    with pytest.raises(LaunchError, match="with ENA"):
        cloud.provider().launch(asked(run))


def test_hosts_that_are_listed_late_are_waited_for(cloud: Cloud, run: ProviderRun) -> None:
    cloud.aws.lag_s = 0.4
    made = cloud.provider(scale=0.1).launch(asked(run))
    assert [host.name for host in made] == list(CLIENTS)
    assert len(cloud.aws.sent("RunInstances")) == 1


def test_an_answer_that_never_comes_is_an_unknown_outcome_in_the_journal(
    cloud: Cloud, run: ProviderRun
) -> None:
    notes = Notes()
    cloud.aws.fail("RunInstances", reset(), times=99)
    with pytest.raises(LaunchUnknownError, match="perfkit reap"):
        cloud.provider(scale=0.005).launch(asked(run, notes=notes))
    assert [kind for kind, _ in notes.events] == ["launch-call"]


def test_an_answer_that_was_lost_for_good_is_found_by_its_token(
    cloud: Cloud, run: ProviderRun
) -> None:
    cloud.aws.fail("RunInstances", reset(done=True))
    cloud.aws.fail("RunInstances", reset(), times=99)
    made = cloud.provider(scale=0.005).launch(asked(run))
    assert [host.name for host in made] == list(CLIENTS)
    assert len(cloud.aws.alive()) == 5


def journalled_calls(notes: Notes) -> tuple[Mapping[str, Any], ...]:
    """What a process that died before the answer came leaves in the journal."""
    return tuple(notes.calls())


def test_after_a_crash_the_same_call_is_sent_again_before_anything_new(
    cloud: Cloud, run: ProviderRun
) -> None:
    cloud.write_conf(types="t3.micro, t3.small")
    notes = Notes()
    cloud.aws.fail("RunInstances", error("InsufficientInstanceCapacity", 500))
    request = asked(run, notes=notes)
    cloud.provider().launch(request)
    cloud.aws.lag_s = 0.3
    for id_ in cloud.aws.alive():
        cloud.aws.visible_at[id_] = float("inf")  # no listing shows them yet
    earlier = journalled_calls(notes)[1:]  # the first is known to have failed
    again = Notes()
    cloud.aws.requests.clear()

    def show_all(pause_s: float) -> None:
        cloud.aws.visible_at.clear()
        time.sleep(pause_s)  # a listing is asked for anew only when it is old

    provider = cloud.provider(scale=0.1, sleep=show_all)
    made = provider.launch(replace(request, record=again, earlier=earlier))
    assert [host.name for host in made] == list(CLIENTS)
    assert [pool_of(r)[0] for r in cloud.aws.sent("RunInstances")] == ["t3.small"]
    assert len(cloud.aws.alive()) == 5


def test_a_token_that_was_used_with_other_words_is_found_and_not_used_again(
    cloud: Cloud, run: ProviderRun
) -> None:
    notes, request = Notes(), asked(run)
    cloud.provider().launch(replace(request, record=notes))
    cloud.write_conf(tags="changed=since")
    made = cloud.provider().launch(replace(request, earlier=journalled_calls(notes)))
    assert [host.name for host in made] == list(CLIENTS)
    assert len(cloud.aws.alive()) == 5


def test_an_instance_that_ended_before_it_ran_is_made_again(cloud: Cloud, run: ProviderRun) -> None:
    first: list[Any] = []

    def stillborn(instances: list[Any]) -> None:
        if not first:
            first.append(instances[0])
            instances[0].terminate()
            instances[0].state_reason.code = "Server.InternalError"

    cloud.aws.on_launch = stillborn
    made = cloud.provider().launch(asked(run))
    assert {host.name for host in made} == set(CLIENTS)
    sent = cloud.aws.sent("RunInstances")
    assert [r.params["MaxCount"] for r in sent] == ["5", "1"]
    assert len(cloud.aws.alive()) == 5


def test_an_instance_that_somebody_ended_is_not_made_again(cloud: Cloud, run: ProviderRun) -> None:
    cloud.aws.on_launch = lambda instances: instances[0].terminate()
    notes = Notes()
    made = cloud.provider().launch(asked(run, notes=notes))
    assert [host.name for host in made] == list(CLIENTS[1:])
    assert len(cloud.aws.sent("RunInstances")) == 1
    assert "terminated, Client.UserInitiatedShutdown" in notes.shortfall()
    assert list(notes.reasons()) == [CLIENTS[0]]


def test_what_a_pool_gave_is_kept_when_the_next_one_is_not_allowed(
    cloud: Cloud, run: ProviderRun
) -> None:
    cloud.write_conf(types="t3.micro, t3.small")
    cloud.aws.fail("RunInstances", at_most(2), error("UnauthorizedOperation", message="not this"))
    notes = Notes()
    made = cloud.provider().launch(asked(run, notes=notes))
    assert [host.name for host in made] == list(CLIENTS[:2])
    assert "UnauthorizedOperation: not this" in notes.shortfall()


def test_a_listing_that_is_refused_for_a_while_loses_no_host(
    cloud: Cloud, run: ProviderRun
) -> None:
    def busy(_instances: list[Any]) -> None:  # longer than botocore repeats a call by itself
        cloud.aws.fail("DescribeInstances", error("RequestLimitExceeded", 503), times=6)

    cloud.aws.on_launch = busy
    made = cloud.provider(scale=0.1).launch(asked(run))
    assert [host.name for host in made] == list(CLIENTS)


def test_instances_without_an_order_are_told_apart_by_a_tag_and_asked_for_once(
    cloud: Cloud, run: ProviderRun
) -> None:
    cloud.write_conf(market="spot", types="t3.micro, t3.small")
    cloud.aws.same_index, cloud.aws.lag_s = True, 0.2
    request, notes = asked(run), Notes()
    made = cloud.provider(scale=0.1).launch(replace(request, record=notes))
    assert sorted(host.name for host in made) == list(CLIENTS)
    assert len(cloud.aws.sent("RunInstances")) == 1
    again = cloud.provider().launch(replace(request, earlier=journalled_calls(notes)))
    assert {(h.name, h.address) for h in again} == {(h.name, h.address) for h in made}
    assert len(cloud.aws.alive()) == 5


def test_mixed_pools_are_one_fleet_request_and_every_instance_gets_a_name(
    cloud: Cloud, run: ProviderRun
) -> None:
    cloud.write_conf(pools="mixed", types="t3.micro, t3.small", address="private")
    provider = cloud.provider()
    made = provider.launch(asked(run, "server", *CLIENTS))
    assert [host.name for host in made] == ["server", *CLIENTS]
    for sent in cloud.aws.sent("CreateFleet"):
        assert sent.params["Type"] == "instant"
        assert sent.tags("instance")["perfkit:run"] == sent.tags("fleet")["perfkit:run"]
        assert sent.params["LaunchTemplateConfigs.1.Overrides.2.InstanceType"] == "t3.small"
    for sent in cloud.aws.sent("CreateLaunchTemplate"):
        data = {k.removeprefix("LaunchTemplateData."): v for k, v in sent.params.items()}
        assert data["MetadataOptions.HttpTokens"] == "required"
        assert data["InstanceInitiatedShutdownBehavior"] == "terminate"
        assert sent.tags("launch-template")["perfkit:run"] == run.run_id
    again = cloud.provider().launch(asked(run, "server", *CLIENTS))
    assert [host.address for host in again] == [host.address for host in made]
    assert len(cloud.aws.alive()) == 6
    assert provider.release(run.run_id).leaked == ()
    assert provider.residue(run.run_id) == []


def test_a_fleets_instances_are_named_although_ec2_does_not_know_them_yet(
    cloud: Cloud, run: ProviderRun
) -> None:
    cloud.write_conf(pools="mixed", address="private")
    cloud.aws.lag_s = 0.3
    made = cloud.provider(scale=0.1).launch(asked(run))
    assert sorted(host.name for host in made) == list(CLIENTS)
    assert len(cloud.aws.alive()) == 5


def test_two_subnets_of_one_zone_are_one_pool_of_a_fleet(cloud: Cloud, run: ProviderRun) -> None:
    client = boto3.client("ec2", endpoint_url=cloud.aws.url, region_name=REGION)
    zone = [{"Name": "availability-zone", "Values": [f"{REGION}a"]}]
    (first,) = client.describe_subnets(Filters=zone)["Subnets"]
    second = client.create_subnet(
        VpcId=first["VpcId"], CidrBlock="172.31.240.0/24", AvailabilityZone=f"{REGION}a"
    )["Subnet"]
    subnets = f"{second['SubnetId']}, {first['SubnetId']}"
    cloud.write_conf(pools="mixed", address="private", subnets=subnets)
    cloud.provider().launch(asked(run))
    (sent,) = cloud.aws.sent("CreateFleet")
    prefix = "LaunchTemplateConfigs.1.Overrides"
    assert sent.params[f"{prefix}.1.SubnetId"] == second["SubnetId"]
    assert f"{prefix}.2.SubnetId" not in sent.params


@pytest.mark.parametrize("market", ["spot", "on-demand"])
def test_the_spot_requests_of_a_fleet_are_tagged_and_only_where_there_are_some(
    cloud: Cloud, run: ProviderRun, market: str
) -> None:
    cloud.write_conf(pools="mixed", market=market, address="private")
    cloud.provider().launch(asked(run))
    for sent in cloud.aws.sent("CreateLaunchTemplate"):
        data = {k.removeprefix("LaunchTemplateData."): v for k, v in sent.params.items()}
        tagged = replace(sent, params=data).tags("spot-instances-request")
        assert tagged.get("perfkit:run") == (run.run_id if market == "spot" else None)
        assert replace(sent, params=data).tags("instance") == {}  # CreateFleet's: no key twice
    assert cloud.aws.sent("CreateLaunchTemplate")


def test_a_nameless_instance_of_a_fleet_is_named_when_the_launch_goes_on(
    cloud: Cloud, run: ProviderRun
) -> None:
    cloud.write_conf(pools="mixed", address="private")
    cloud.aws.fail("CreateTags", error("UnauthorizedOperation"))
    with pytest.raises(LaunchError):
        cloud.provider().launch(asked(run))
    assert len(cloud.aws.alive()) == 5
    made = cloud.provider().launch(asked(run))
    assert sorted(host.name for host in made) == list(CLIENTS)
    assert len(cloud.aws.alive()) == 5


def test_a_fleet_with_a_throttled_pool_is_asked_again_for_what_is_missing(
    cloud: Cloud, run: ProviderRun
) -> None:
    cloud.write_conf(pools="mixed", types="t3.micro, t3.small", address="private")
    mixed = ("InsufficientInstanceCapacity", "RequestLimitExceeded")
    cloud.aws.fail("CreateFleet", fleet_errors(*mixed, at_most=2))
    made = cloud.provider().launch(asked(run))
    assert sorted(host.name for host in made) == list(CLIENTS)
    first, second = cloud.aws.sent("CreateFleet")
    assert first.params["ClientToken"] != second.params["ClientToken"]
    assert second.params["TargetCapacitySpecification.TotalTargetCapacity"] == "3"
    assert len(cloud.aws.alive()) == 5


def test_a_fleet_that_does_not_see_the_new_group_yet_is_asked_for_again(
    cloud: Cloud, run: ProviderRun
) -> None:
    cloud.write_conf(pools="mixed", address="private")
    cloud.aws.fail("CreateFleet", fleet_errors("InvalidGroup.NotFound"), times=2)
    made = cloud.provider(scale=0.1).launch(asked(run))
    assert sorted(host.name for host in made) == list(CLIENTS)
    assert len(cloud.aws.alive()) == 5


def test_a_fleet_whose_image_is_not_there_is_asked_for_once(cloud: Cloud, run: ProviderRun) -> None:
    cloud.write_conf(pools="mixed", address="private")
    cloud.aws.fail("CreateFleet", fleet_errors("InvalidAMIID.NotFound"), times=9)
    with pytest.raises(LaunchRefusedError, match="InvalidAMIID"):
        cloud.provider().launch(asked(run))
    assert len(cloud.aws.sent("CreateFleet")) == 1


def test_a_name_that_is_throttled_is_given_later(cloud: Cloud, run: ProviderRun) -> None:
    cloud.write_conf(pools="mixed", address="private")
    throttled = error("RequestLimitExceeded", 503)  # more often than botocore asks by itself
    cloud.aws.fail("CreateTags", throttled, times=6)
    made = cloud.provider(scale=0.1).launch(asked(run))
    assert sorted(host.name for host in made) == list(CLIENTS)


def test_a_fleet_without_capacity_is_asked_for_once_and_the_shortfall_is_named(
    cloud: Cloud, run: ProviderRun
) -> None:
    cloud.write_conf(pools="mixed", types="t3.micro, t3.small", address="private")
    cloud.aws.fail("CreateFleet", fleet_errors("InsufficientInstanceCapacity", at_most=2))
    notes = Notes()
    made = cloud.provider().launch(asked(run, notes=notes))
    assert [host.name for host in made] == list(CLIENTS[:2])
    assert len(cloud.aws.sent("CreateFleet")) == 1
    assert "no room for 3 (InsufficientInstanceCapacity)" in notes.shortfall()


def test_a_fleet_that_no_pool_may_make_is_refused_with_the_code(
    cloud: Cloud, run: ProviderRun
) -> None:
    cloud.write_conf(pools="mixed", types="t3.micro, t3.small", address="private")
    cloud.aws.fail("CreateFleet", fleet_errors("UnfulfillableCapacity", "UnauthorizedOperation"))
    with pytest.raises(LaunchError, match=r"Unfulfillable|Unauthorized"):
        cloud.provider().launch(asked(run))
    assert cloud.aws.alive() == []


@pytest.mark.parametrize(
    "lost", [error("InternalError", 500, done=True), reset(done=True)], ids=str
)
def test_a_fleet_whose_answer_was_lost_is_not_made_twice(
    cloud: Cloud, run: ProviderRun, lost: Fault
) -> None:
    cloud.write_conf(pools="mixed", address="private")
    cloud.aws.fail("CreateFleet", lost)
    made = cloud.provider().launch(asked(run))
    assert sorted(host.name for host in made) == list(CLIENTS)
    sent = [request.params["ClientToken"] for request in cloud.aws.sent("CreateFleet")]
    assert len(sent) == 2
    assert len(set(sent)) == 1
    assert len(cloud.aws.alive()) == 5

"""Releasing and reaping: all of a run, in an order that AWS allows, and nothing of anybody else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import boto3
import botocore.session
import pytest
from aws_shim import REGION, error
from ec2_cloud import CONTROLLER, Cloud

from perfkit.errors import ProviderError, ReleaseError
from perfkit.fleet.ec2 import release, tags, userdata
from perfkit.fleet.ec2.client import Region
from perfkit.fleet.reap import release_until_quiet, survey
from perfkit.testing.provider_runs import ProviderRun


@pytest.fixture
def run(tmp_path: Path) -> ProviderRun:
    return ProviderRun(tmp_path)


def ec2(cloud: Cloud, region: str = REGION):  # type: ignore[no-untyped-def]
    return boto3.client("ec2", endpoint_url=cloud.aws.url, region_name=region)


def start_foreign(cloud: Cloud, count: int, **labels: str) -> list[str]:
    """Instances of somebody else, with tags of their own."""
    spec = [
        {"ResourceType": "instance", "Tags": [{"Key": k, "Value": v} for k, v in labels.items()]}
    ]
    made = ec2(cloud).run_instances(
        ImageId=cloud.image,
        InstanceType="t3.micro",
        MinCount=count,
        MaxCount=count,
        **({"TagSpecifications": spec} if labels else {}),
    )
    return [instance["InstanceId"] for instance in made["Instances"]]


def test_instances_go_first_and_the_group_goes_last(cloud: Cloud, run: ProviderRun) -> None:
    provider = cloud.provider()
    provider.launch(run.request("server", "client-001"))
    report = provider.release(run.run_id)
    assert report.leaked == ()
    assert [what.split()[0] for what in report.released] == ["server", "client-001"]
    assert [what.split()[0] for what in report.besides] == ["key", "security"]
    assert str(report).startswith("released 2 hosts; also key pair key-")
    assert provider.runs() == []


def test_a_group_that_is_in_use_a_little_longer_is_tried_again(
    cloud: Cloud, run: ProviderRun
) -> None:
    provider = cloud.provider()
    provider.launch(run.request("server"))
    cloud.aws.fail("DeleteSecurityGroup", error("DependencyViolation"), times=3)
    assert provider.release(run.run_id).leaked == ()
    assert len(cloud.aws.sent("DeleteSecurityGroup")) == 4


def test_what_cannot_be_ended_is_named_and_the_rest_goes(cloud: Cloud, run: ProviderRun) -> None:
    provider = cloud.provider()
    provider.launch(run.request("server"))
    cloud.aws.fail("DeleteKeyPair", error("UnauthorizedOperation"), times=99)
    (leaked,) = provider.release(run.run_id).leaked
    assert leaked.startswith("key pair key-")
    assert "UnauthorizedOperation" in leaked
    assert cloud.aws.alive() == []


def test_a_termination_that_is_not_allowed_is_an_error_that_names_the_instances(
    cloud: Cloud, run: ProviderRun
) -> None:
    provider = cloud.provider()
    provider.launch(run.request("server"))
    cloud.aws.fail("TerminateInstances", error("UnauthorizedOperation"))
    with pytest.raises(ReleaseError, match="UnauthorizedOperation") as refused:
        provider.release(run.run_id)
    assert list(refused.value.leaked) == cloud.aws.alive()


def test_one_unknown_id_does_not_keep_the_others_alive_and_is_told_to_end_again(
    cloud: Cloud, run: ProviderRun
) -> None:
    provider = cloud.provider(scale=0.05)
    provider.launch(run.request("server", "client-001", "client-002"))
    late = cloud.aws.alive()[0]
    message = f"The instance ID '{late}' does not exist"
    unknown = error("InvalidInstanceID.NotFound", message=message)
    cloud.aws.fail("TerminateInstances", unknown)
    assert provider.release(run.run_id).leaked == ()
    assert cloud.aws.alive() == []
    sent = [
        [v for k, v in r.params.items() if k.startswith("InstanceId.")]
        for r in cloud.aws.sent("TerminateInstances")
    ]
    assert [len(ids) for ids in sent] == [3, 2, 1]
    assert sent[-1] == [late]


def test_hundreds_are_ended_in_chunks_of_a_hundred(cloud: Cloud, run: ProviderRun) -> None:
    provider = cloud.provider()
    request = run.request("client-001")
    labels = tags.run_tags(run.run_id, "me", request.expires_utc, {})
    start_foreign(cloud, 130, **labels)
    assert provider.release(run.run_id).leaked == ()
    sent = cloud.aws.sent("TerminateInstances")
    counts = [len([key for key in r.params if key.startswith("InstanceId.")]) for r in sent]
    assert counts == [100, 30]
    assert cloud.aws.alive() == []


def test_a_chunk_that_may_not_be_ended_keeps_no_other_alive(cloud: Cloud, run: ProviderRun) -> None:
    request = run.request("client-001")
    start_foreign(cloud, 130, **tags.run_tags(run.run_id, "me", request.expires_utc, {}))
    cloud.aws.fail("TerminateInstances", error("UnauthorizedOperation"))
    with pytest.raises(ReleaseError, match="UnauthorizedOperation") as refused:
        cloud.provider().release(run.run_id)
    assert len(cloud.aws.alive()) == 100
    assert sorted(refused.value.leaked) == sorted(cloud.aws.alive())


def test_a_listing_that_is_refused_for_a_while_does_not_end_a_release(
    cloud: Cloud, run: ProviderRun
) -> None:
    provider = cloud.provider(scale=0.1)
    provider.launch(run.request("server"))
    cloud.aws.on_end = lambda _ids: cloud.aws.fail(
        "DescribeInstances", error("RequestLimitExceeded", 503), times=6
    )
    assert provider.release(run.run_id).leaked == ()
    assert provider.residue(run.run_id) == []


@pytest.mark.parametrize("protection", ["DisableApiTermination", "DisableApiStop"])
def test_protection_against_termination_is_lifted(
    cloud: Cloud, run: ProviderRun, protection: str
) -> None:
    provider = cloud.provider()
    provider.launch(run.request("server"))
    (id_,) = cloud.aws.alive()
    ec2(cloud).modify_instance_attribute(InstanceId=id_, **{protection: {"Value": True}})
    assert provider.release(run.run_id).leaked == ()
    assert cloud.aws.alive() == []


def test_what_is_not_ours_is_neither_seen_nor_ended(cloud: Cloud, run: ProviderRun) -> None:
    provider = cloud.provider()
    provider.launch(run.request("server"))
    others = start_foreign(cloud, 3)
    others += start_foreign(cloud, 2, Name="somebody's")
    others += start_foreign(cloud, 2, **{"perfkit:run": run.run_id})  # called so, not managed
    others += start_foreign(cloud, 2, **{"perfkit:managed": "1", "perfkit:run": "another"})
    ec2(cloud).create_key_pair(KeyName=f"perfkit-{run.run_id}-mine")
    ec2(cloud).create_security_group(GroupName=f"perfkit-{run.run_id}-mine", Description="x")
    assert [host.name for host in provider.hosts(run.run_id)] == ["server"]
    assert provider.release(run.run_id).leaked == ()
    assert sorted(cloud.aws.alive()) == sorted(others)
    assert provider.runs() == ["another"]
    assert len(ec2(cloud).describe_key_pairs()["KeyPairs"]) == 1


def test_looking_changes_nothing(cloud: Cloud, run: ProviderRun) -> None:
    provider = cloud.provider()
    provider.launch(run.request("server"))
    cloud.aws.requests.clear()
    survey(provider)
    provider.interruptions(run.run_id)
    assert {action for action in cloud.aws.counts() if not action.startswith("Describe")} == set()


def test_a_listing_reads_what_aws_describes_no_second_time(
    cloud: Cloud, run: ProviderRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = cloud.provider()
    provider.hosts(run.run_id)
    monkeypatch.setattr(botocore.session.Session, "__init__", lambda *_, **__: pytest.fail("again"))
    provider.hosts(run.run_id)


def test_all_configured_regions_are_listed_and_released(cloud: Cloud, run: ProviderRun) -> None:
    cloud.provider().launch(run.request("server"))
    image = cloud.aws.add_image(region="eu-west-1")
    cloud.write_conf(
        region="eu-west-1", zones="eu-west-1a", image=image, reap_regions="us-east-1, us-west-2"
    )
    provider = cloud.provider()
    provider.launch(run.request("client-001", token="second"))
    assert {host.name for host in provider.hosts(run.run_id)} == {"server", "client-001"}
    assert provider.release(run.run_id).leaked == ()
    assert cloud.aws.alive("us-east-1") + cloud.aws.alive("eu-west-1") == []
    assert provider.runs() == []


def test_a_region_that_cannot_be_released_keeps_nothing_alive_in_another(
    cloud: Cloud, run: ProviderRun
) -> None:
    cloud.provider().launch(run.request("server"))
    image = cloud.aws.add_image(region="eu-west-1")
    cloud.write_conf(region="eu-west-1", zones="", image=image, reap_regions="us-east-1")
    provider = cloud.provider()
    cloud.aws.fail("DescribeInstances", error("AuthFailure", 401))  # the first region's
    with pytest.raises(ProviderError, match="AuthFailure"):
        provider.release(run.run_id)
    assert cloud.aws.alive("us-east-1") == []


def test_a_volume_that_stayed_behind_goes_too(cloud: Cloud, run: ProviderRun) -> None:
    labels = tags.run_tags(run.run_id, "me", datetime.now(UTC) + timedelta(hours=1), {})
    client = ec2(cloud)
    client.create_volume(
        AvailabilityZone=f"{REGION}a",
        Size=8,
        TagSpecifications=tags.specifications(labels, "volume"),
    )
    provider = cloud.provider()
    assert [what.split()[0] for what in provider.residue(run.run_id)] == ["volume"]
    report = provider.release(run.run_id)
    assert (report.released, len(report.besides), report.leaked) == ((), 1, ())
    assert provider.residue(run.run_id) == []


def test_a_launch_that_shows_up_late_is_caught_by_a_reap_that_settles(
    cloud: Cloud, run: ProviderRun
) -> None:
    provider = cloud.provider(scale=0.05)
    provider.launch(run.request("server"))
    cloud.aws.lag_s = float("inf")  # until we say so
    labels = tags.run_tags(run.run_id, "me", datetime.now(UTC) + timedelta(hours=1), {})
    start_foreign(cloud, 4, **labels)
    one_shot = provider.release(run.run_id)
    assert one_shot.leaked == ()
    assert len(cloud.aws.alive()) == 4
    pauses_s: list[float] = []

    def sleep(pause_s: float) -> None:
        pauses_s.append(pause_s)
        if len(pauses_s) == 6:
            cloud.aws.visible_at.clear()

    report = release_until_quiet(
        provider,
        run.run_id,
        quiet_s=1.0,
        poll_s=0.1,
        sleep=sleep,
        clock=lambda: sum(pauses_s),
    )
    assert (report.leaked, cloud.aws.alive()) == ((), [])


def test_a_renewal_moves_every_tag_and_says_how_to_move_a_hosts_timer(
    cloud: Cloud, run: ProviderRun
) -> None:
    provider = cloud.provider()
    provider.launch(run.request("server", "client-001"))
    later = (datetime.now(UTC) + timedelta(hours=5)).replace(microsecond=0)
    script = provider.renew(run.run_id, later)
    assert script == userdata.renewal(later)
    assert f"{later.timestamp():.0f}" in script
    assert {host.expires_utc for host in provider.hosts(run.run_id)} == {later}
    assert provider.expiry(run.run_id) == later
    (sent,) = cloud.aws.sent("CreateTags")
    assert len([key for key in sent.params if key.startswith("ResourceId.")]) == 4
    assert provider.expiry("nobody") is None
    with pytest.raises(ProviderError, match="no hosts"):
        provider.renew("nobody", later)


def test_a_renewal_lets_in_the_address_that_the_controller_has_now(
    cloud: Cloud, run: ProviderRun
) -> None:
    cloud.provider().launch(run.request("server"))
    cloud.write_conf(controller="198.51.100.9")
    cloud.provider().renew(run.run_id, datetime.now(UTC) + timedelta(hours=5))
    (group,) = ec2(cloud).describe_security_groups(
        Filters=[{"Name": "tag:perfkit:run", "Values": [run.run_id]}]
    )["SecurityGroups"]
    (ssh,) = [rule for rule in group["IpPermissions"] if rule.get("FromPort") == 22]
    assert [r["CidrIp"] for r in ssh["IpRanges"]] == [CONTROLLER, "198.51.100.9/32"]


def test_a_spot_notice_names_the_host_and_its_moment(cloud: Cloud, run: ProviderRun) -> None:
    provider = cloud.provider()
    provider.launch(run.request("server", "client-001"))
    assert provider.interruptions(run.run_id) == []
    (id_,) = cloud.aws.alive(**{tags.ROLE: "client"})
    (client,) = [instance for instance in cloud.aws.instances() if instance.id == id_]
    client.terminate()
    client.state_reason.code = "Server.SpotInstanceTermination"
    (interruption,) = provider.interruptions(run.run_id)
    assert interruption.host == "client-001"
    assert "SpotInstanceTermination" in interruption.reason


def test_an_interface_that_stayed_behind_is_listed_with_what_ec2_calls_its_tag_set() -> None:
    class Listing:
        name = REGION

        def pages(self, *_: object, **__: object) -> list[dict[str, Any]]:
            labels = tags.to_aws({tags.MANAGED: "1", tags.RUN: "mine", tags.EXPIRES: "7"})
            return [
                {"NetworkInterfaceId": "eni-1", "Status": "available", "TagSet": labels},
                {"NetworkInterfaceId": "eni-2", "Status": "in-use", "TagSet": labels},
                {"NetworkInterfaceId": "eni-3", "Status": "available", "TagSet": []},
            ]

    (kind,) = [kind for kind in release.KINDS if kind.what == "network interface"]
    # private: a listing by hand, with what moto never lists
    found = list(release._list(cast(Region, Listing()), kind, "mine"))
    assert [thing.id for thing in found] == ["eni-1"]
    assert found[0].expires_utc == datetime.fromtimestamp(7, UTC)

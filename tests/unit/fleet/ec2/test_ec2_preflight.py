"""What is asked before a run: it costs nothing, and what cannot work is refused with its remedy."""

from __future__ import annotations

from pathlib import Path

import boto3
import pytest
from aws_shim import REGION, error, user_data_of
from ec2_cloud import Cloud
from moto.ec2.models.amis import Ami

from perfkit.errors import ConfigError, ProviderError
from perfkit.fleet.ec2 import network, userdata
from perfkit.fleet.ec2.client import Region
from perfkit.model import Role
from perfkit.testing.provider_runs import ProviderRun

SPOT = "spot-instances-request"


def test_nothing_is_made_and_a_dry_run_is_asked_for(cloud: Cloud) -> None:
    cloud.provider().preflight(3)
    made = [r for r in cloud.aws.requests if not r.action.startswith(("Describe", "Get"))]
    assert [(r.action, r.params["DryRun"]) for r in made] == [("RunInstances", "true")]
    assert made[0].tags("instance")["perfkit:managed"] == "1"
    assert user_data_of(made[0])["ssh_pwauth"] is False
    assert cloud.aws.alive() == []


@pytest.mark.parametrize(
    ("market", "asked", "kinds"),
    [("on-demand", None, ["instance", "volume"]), ("spot", "spot", ["instance", "volume", SPOT])],
)
def test_the_dry_run_asks_for_the_market_that_the_run_would(
    cloud: Cloud, market: str, asked: str | None, kinds: list[str]
) -> None:
    cloud.write_conf(market=market)
    cloud.provider().preflight(3)
    (made,) = [r for r in cloud.aws.requests if r.action == "RunInstances"]
    assert made.params.get("InstanceMarketOptions.MarketType") == asked
    assert [kind for kind in ("instance", "volume", SPOT) if made.tags(kind)] == kinds


def test_user_data_that_is_too_long_is_found_before_anything_is_made(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(userdata, "MAX_BYTES", 1000)
    with pytest.raises(ProviderError, match=r"user data of \d+ bytes; EC2 takes 1000"):
        cloud.provider().preflight(3)
    assert "RunInstances" not in cloud.aws.counts()


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"image": "ami-00000000000000000"}, "no such image in us-east-1"),
        ({"image": "ssm:/aws/service/nobody/latest"}, "no such image in us-east-1"),
        ({"image": "name:nobody-*", "image_owner": "self"}, "no such image"),
        ({"image": "name:debian-*"}, "anybody may call an image"),
        ({"types": "t3.mikro"}, "t3.mikro"),
        ({"types": "t4g.small"}, "it runs arm64"),
        ({"server_types": "c7g.large"}, "it runs arm64"),
        ({"zones": "us-east-1z"}, "no subnet"),
        ({"subnets": "subnet-0123456789abcdef0"}, "subnet"),
        ({"profile": "nobody"}, "nobody"),
        ({"address": "private", "controller": ""}, "hosts see your private address"),
    ],
    ids=str,
)
def test_what_does_not_exist_or_does_not_fit_is_refused(
    cloud: Cloud, keys: dict[str, str], says: str
) -> None:
    cloud.write_conf(**keys)
    with pytest.raises((ConfigError, ProviderError), match=says):
        cloud.provider().preflight(2)


def test_a_missing_permission_is_found_by_the_dry_run(cloud: Cloud) -> None:
    cloud.write_conf()
    provider = cloud.provider()
    provider.survey()
    denied = error("UnauthorizedOperation", 403)
    real = cloud.aws.work

    def denying(environ, request, fault):  # type: ignore[no-untyped-def] # as the real one
        if request.action == "RunInstances":
            return "403 scripted", [], _body(denied.code)
        return real(environ, request, fault)

    cloud.aws.work = denying  # type: ignore[method-assign]
    try:
        with pytest.raises(ProviderError, match=r"policy\.json"):
            provider.preflight(2)
    finally:
        del cloud.aws.work


def _body(code: str) -> bytes:
    return f"<Response><Errors><Error><Code>{code}</Code></Error></Errors></Response>".encode()


def test_the_newest_image_of_a_name_is_taken_from_its_owner_only(cloud: Cloud) -> None:
    client = boto3.client("ec2", endpoint_url=cloud.aws.url, region_name=REGION)
    owner = client.describe_images(ImageIds=[cloud.image])["Images"][0]["OwnerId"]
    cloud.write_conf(image="name:debian-12-*", image_owner=owner)
    assert cloud.provider().survey().image.id == cloud.image


def test_the_ladder_has_the_types_of_each_role(cloud: Cloud) -> None:
    cloud.write_conf(types="t3.micro, t3.small", server_types="c5.large", zones="")
    pools = cloud.provider().survey().ladder
    assert {pool.type for pool in pools[Role.SERVER]} == {"c5.large"}
    assert [pool.type for pool in pools[Role.CLIENT]][:1] == ["t3.micro"]
    assert len({pool.zone for pool in pools[Role.CLIENT]}) > 1


def test_an_estimate_says_what_was_found_about_the_quota_and_names_a_life_that_is_too_long(
    cloud: Cloud,
) -> None:
    provider = cloud.provider()
    provider.preflight(5)
    estimate = provider.estimate(5, 7200)
    assert "10 vCPUs" in estimate.lines[-1]
    assert estimate.over == ()
    assert provider.estimate(5, 250 * 60).over == (
        "250 minutes until expiry, expires_after is 240",
    )


def test_the_controllers_address_is_asked_for_where_it_is_not_said(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.write_conf(controller="")
    monkeypatch.setattr(network, "ADDRESS_SERVICE", f"{cloud.aws.url}/nowhere")
    monkeypatch.setattr(network, "ADDRESS_TIMEOUT_S", 1)
    with pytest.raises(ProviderError, match="set `controller`"):
        cloud.provider().preflight(2)


def test_a_named_group_has_its_own_rules_and_nobody_is_asked_for_an_address(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    group, key = "sg-0123456789abcdef0", "mine"
    cloud.write_conf(controller="", address="private", group=group, key=key)
    monkeypatch.setattr(network, "ADDRESS_SERVICE", f"{cloud.aws.url}/nowhere")
    cloud.provider().preflight(2)
    (dry,) = [r for r in cloud.aws.requests if r.action == "RunInstances"]
    assert (dry.params["SecurityGroupId.1"], dry.params["KeyName"]) == (group, key)


def test_the_quota_of_standard_families_is_not_asked_for_those_that_begin_alike(
    cloud: Cloud,
) -> None:
    cloud.write_conf(types="inf1.xlarge", zones="")
    provider = cloud.provider()
    provider.preflight(2)
    assert "the quota of these families was not asked for" in provider.estimate(2, 60).lines[-1]


def test_a_quota_refuses_only_what_no_type_of_the_ladder_fits_into(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.write_conf(types="c5.large, c5.4xlarge")
    monkeypatch.setattr(Region, "quota", lambda *_: 64.0)
    provider = cloud.provider()
    provider.preflight(20)
    found = "40 to 320 vCPUs of a quota of 64, too few for the largest types"
    assert provider.estimate(20, 60).lines[-1] == found
    with pytest.raises(ProviderError, match="66 vCPUs wanted, the account may have 64"):
        provider.preflight(33)


def test_every_disk_of_the_image_goes_with_its_host_and_is_reckoned(
    cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disks = [
        {"DeviceName": device, "Ebs": {"VolumeSize": size, "DeleteOnTermination": False}}
        for device, size in (("/dev/xvda", 8), ("/dev/sdf", 100))
    ]
    virtual = {"DeviceName": "/dev/sdb", "VirtualName": "ephemeral0"}  # as Ubuntu's images have
    monkeypatch.setattr(Ami, "block_device_mappings", [*disks, virtual])
    provider = cloud.provider()
    provider.preflight(2)
    assert provider.estimate(2, 3600).usd_per_h > 2 * 100 * 0.08 / 730
    provider.launch(ProviderRun(tmp_path).request("server"))
    (sent,) = cloud.aws.sent("RunInstances")
    mapping = "BlockDeviceMapping"
    told = [(sent.params.get(f"{mapping}.{n}.DeviceName"), n) for n in (1, 2, 3)]
    assert [name for name, _ in told] == ["/dev/xvda", "/dev/sdf", None]
    for number, size in ((1, "8"), (2, "100")):
        assert sent.params[f"{mapping}.{number}.Ebs.DeleteOnTermination"] == "true"
        assert sent.params[f"{mapping}.{number}.Ebs.VolumeSize"] == size

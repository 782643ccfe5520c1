"""What AWS refuses before a run is said with what to do about it, and nothing is made."""

from __future__ import annotations

from pathlib import Path

import pytest
from aws_shim import REGION, error
from ec2_cloud import Cloud

from perfkit.errors import ConfigError, ProviderError
from perfkit.fleet.ec2 import client
from perfkit.fleet.ec2.failures import REMEDIES
from perfkit.fleet.reap import release_until_quiet
from perfkit.testing.provider_runs import ProviderRun

ENCODED = "You may not. Encoded authorization failure message: AQICAHg"


def refused(cloud: Cloud, n_hosts: int = 2) -> str:
    """What a preflight says that is refused; nothing was made, nor asked for but to be tried."""
    with pytest.raises((ConfigError, ProviderError)) as caught:
        cloud.provider().preflight(n_hosts)
    looks = ("Describe", "Get")
    made = [r for r in cloud.aws.requests if not r.action.startswith(looks)]
    assert [r.action for r in made if "DryRun" not in r.params] == []
    assert cloud.aws.alive() == []
    return str(caught.value)


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        ("ExpiredToken", "your credentials expired; renew them: `aws sso login`"),
        ("RequestExpired", "this machine's clock"),
        ("RequestTimeTooSkewed", "this machine's clock"),
        ("SignatureDoesNotMatch", "the secret key is not the one of this key id"),
        ("InvalidClientTokenId", "AWS does not know these credentials; check the profile"),
        ("AuthFailure", "the region is enabled for the account"),
        ("OptInRequired", "aws account enable-region"),
        ("AccessDenied", "perfkit/fleet/ec2/policy.json"),
    ],
)
@pytest.mark.parametrize("action", ["*", "DescribeImages"])
def test_credentials_that_aws_does_not_take_are_refused_with_what_to_do(
    cloud: Cloud, code: str, remedy: str, action: str
) -> None:
    cloud.aws.denied[action] = error(code, 403)
    said = refused(cloud)
    assert code in said
    assert remedy in said


@pytest.mark.parametrize(
    "action",
    [
        "DescribeImages",
        "DescribeInstanceTypes",
        "DescribeInstanceTypeOfferings",
        "DescribeSubnets",
        "RunInstances",
    ],
)
def test_an_action_that_is_not_allowed_is_named_with_the_policy_that_allows_it(
    cloud: Cloud, action: str
) -> None:
    cloud.aws.denied[action] = error("UnauthorizedOperation", 403, message=ENCODED)
    said = refused(cloud)
    assert action in said
    assert "perfkit/fleet/ec2/policy.json" in said
    assert "AQICAHg" not in said


@pytest.mark.parametrize("action", ["RunInstances", "CreateLaunchTemplate", "CreateFleet"])
def test_a_mixed_launch_is_tried_before_key_group_and_template_are_made(
    cloud: Cloud, action: str
) -> None:
    cloud.write_conf(pools="mixed", types="t3.micro, t3.small", zones="")
    cloud.provider().preflight(3)
    tried = {(r.action, r.params["DryRun"]) for r in cloud.aws.requests if "DryRun" in r.params}
    assert (action, "true") in tried
    pools = {
        (r.params["InstanceType"], r.params["SubnetId"])
        for r in cloud.aws.requests
        if r.action == "RunInstances"
    }
    assert {kind for kind, _ in pools} == {"t3.micro", "t3.small"}
    assert len({subnet for _, subnet in pools}) > 1
    cloud.aws.denied[action] = error("UnauthorizedOperation", 403, message=ENCODED)
    assert action in refused(cloud)


def test_a_pool_that_ec2_does_not_have_is_no_obstacle_while_another_one_is_there(
    cloud: Cloud,
) -> None:
    cloud.write_conf(pools="mixed", types="t3.micro, t3.small")
    real = cloud.aws.answer

    def without_micro(environ, request, body):  # type: ignore[no-untyped-def] # as the real one
        if request.params.get("InstanceType") == "t3.micro":
            cloud.aws.denied["RunInstances"] = error("Unsupported")
        try:
            return real(environ, request, body)
        finally:
            cloud.aws.denied.clear()

    cloud.aws.answer = without_micro  # type: ignore[method-assign]
    try:
        cloud.provider().preflight(2)
        cloud.write_conf(pools="mixed", types="t3.micro")
        assert "Unsupported" in refused(cloud)
    finally:
        del cloud.aws.answer


@pytest.mark.parametrize("keys", [{"region": "us-eastt-1"}, {"reap_regions": "us-eastt-1"}])
def test_a_region_that_is_mistyped_is_named_with_the_nearest_one(
    cloud: Cloud, keys: dict[str, str]
) -> None:
    cloud.write_conf(**keys)
    said = refused(cloud)
    assert f"{next(iter(keys))} = 'us-eastt-1'" in said
    assert "did you mean 'us-east-1'?" in said


@pytest.mark.parametrize(
    ("zones", "says"),
    [
        ("us-east-1q", "is it a zone of us-east-1?; did you mean 'us-east-1"),
        ("us-east-1a, us-east-1q", "zones = 'us-east-1q'"),
        ("eu-central-1a", "no subnet is there by default; is it a zone of us-east-1?"),
    ],
)
def test_a_zone_that_is_not_there_is_refused_also_beside_one_that_is(
    cloud: Cloud, zones: str, says: str
) -> None:
    cloud.write_conf(zones=zones)
    assert says in refused(cloud)


def test_a_subnet_of_another_account_or_region_is_refused_with_how_to_list_yours(
    cloud: Cloud,
) -> None:
    cloud.write_conf(subnets="subnet-0123456789abcdef0")
    assert "aws ec2 describe-subnets" in refused(cloud)


def test_a_profile_that_is_not_there_is_named_with_those_that_are(
    cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "aws").write_text("[profile research]\nregion = us-east-1\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "aws"))
    cloud.write_conf(profile="reserach")
    said = refused(cloud)
    assert "profile = 'reserach'" in said
    assert "did you mean 'research'?; make it with `aws configure --profile reserach`" in said
    cloud.write_conf()
    monkeypatch.setenv("AWS_PROFILE", "reserach")
    assert "AWS_PROFILE = 'reserach'" in refused(cloud)


def test_no_credentials_and_a_login_that_has_expired_say_how_to_get_them(
    cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    # private: the cache of a process, as if another one began
    client._session.cache_clear()
    assert "no credentials that work" in refused(cloud)
    (tmp_path / "aws").write_text(
        "[profile sso]\nsso_session = s\nsso_account_id = 123456789012\nsso_role_name = r\n"
        "[sso-session s]\nsso_region = us-east-1\nsso_start_url = https://example.test/start\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "aws"))
    monkeypatch.setenv("HOME", str(tmp_path))  # whose ~/.aws/sso/cache holds no login
    cloud.write_conf(profile="sso")
    said = refused(cloud)
    # private: the cache of a process, as if another one began
    client._session.cache_clear()
    assert "has expired or was never made" in said
    assert "aws sso login" in said


def test_an_endpoint_that_cannot_be_reached_asks_whether_this_machine_is_online(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "READ_ATTEMPTS", 1)
    cloud.write_conf(endpoint_url="http://127.0.0.1:9")
    said = refused(cloud)
    assert "EndpointConnectionError" in said
    assert REMEDIES["EndpointConnectionError"] in said


@pytest.mark.parametrize("action", ["DescribeInstances", "DescribeSecurityGroups"])
def test_a_listing_that_is_denied_leaves_a_run_leaked_until_it_can_be_asked_again(
    cloud: Cloud, tmp_path: Path, action: str
) -> None:
    provider, run = cloud.provider(), ProviderRun(tmp_path)
    provider.launch(run.request("server"))
    cloud.aws.denied[action] = error("UnauthorizedOperation", 403)
    (leaked,) = release_until_quiet(provider, run.run_id).leaked
    assert f"{action}: UnauthorizedOperation" in leaked
    assert "perfkit/fleet/ec2/policy.json" in leaked
    cloud.aws.denied.clear()
    assert release_until_quiet(provider, run.run_id).leaked == ()
    assert cloud.aws.alive() == []
    assert REGION in cloud.aws.requests[0].region

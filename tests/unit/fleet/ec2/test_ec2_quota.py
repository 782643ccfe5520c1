"""What the account uses already is taken off its quota, and named with its figures."""

from __future__ import annotations

from typing import Any

import boto3
import pytest
from aws_shim import REGION, error
from ec2_cloud import Cloud

from perfkit.errors import ProviderError
from perfkit.fleet.ec2 import quota
from perfkit.fleet.ec2.client import Region


@pytest.fixture
def account(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Somebody else's client of an account that may have 64 vCPUs."""
    monkeypatch.setattr(Region, "quota", lambda *_: 64.0)
    cloud.write_conf(types="c5.large, c5.4xlarge")
    return boto3.client("ec2", endpoint_url=cloud.aws.url, region_name=REGION)


def somebody_runs(account: Any, cloud: Cloud, kind: str, count: int, **more: Any) -> list[str]:
    made = account.run_instances(
        ImageId=cloud.image, InstanceType=kind, MinCount=count, MaxCount=count, **more
    )
    return [instance["InstanceId"] for instance in made["Instances"]]


def found(cloud: Cloud, n_hosts: int) -> str:
    """What the preflight found about the quota, in words."""
    provider = cloud.provider()
    provider.preflight(n_hosts)
    return provider.estimate(n_hosts, 60).lines[-1]


def test_what_others_run_is_taken_off_the_quota_and_named(cloud: Cloud, account: Any) -> None:
    somebody_runs(account, cloud, "m5.xlarge", 3)
    somebody_runs(account, cloud, "c5.large", 8)
    assert found(cloud, 18) == (
        "36 to 288 vCPUs of a quota of 64, of which 28 are in use by 8 c5.large, 3 m5.xlarge, "
        "too few for the largest types"
    )
    cloud.aws.requests.clear()
    with pytest.raises(ProviderError) as caught:
        cloud.provider().preflight(19)
    said = str(caught.value)
    assert "38 vCPUs wanted, the account may have 64 (on-demand) in us-east-1" in said
    assert "28 are in use by 8 c5.large, 3 m5.xlarge, 36 are left" in said
    assert "servicequotas" in said
    assert "RunInstances" not in cloud.aws.counts()  # not even to be tried


def test_a_quota_is_left_where_the_largest_types_fit_beside_what_is_used(
    cloud: Cloud, account: Any
) -> None:
    cloud.write_conf(types="c5.large")
    somebody_runs(account, cloud, "t3.micro", 1)
    assert found(cloud, 4) == "8 vCPUs of a quota of 64, of which 2 are in use by 1 t3.micro"


def test_what_does_not_count_against_the_quota_is_not_taken_off(cloud: Cloud, account: Any) -> None:
    stopped = somebody_runs(account, cloud, "c5.4xlarge", 2)
    account.stop_instances(InstanceIds=stopped)
    ended = somebody_runs(account, cloud, "c5.4xlarge", 2)
    account.terminate_instances(InstanceIds=ended)
    somebody_runs(account, cloud, "p3.2xlarge", 2)  # of another family, with a quota of its own
    spot = {"MarketType": "spot"}
    somebody_runs(account, cloud, "c5.4xlarge", 2, InstanceMarketOptions=spot)
    assert found(cloud, 32) == "64 to 512 vCPUs of a quota of 64, too few for the largest types"


def test_the_quota_of_spot_counts_spot_hosts_only(cloud: Cloud, account: Any) -> None:
    cloud.write_conf(types="c5.large", market="spot")
    somebody_runs(account, cloud, "c5.4xlarge", 3)
    somebody_runs(account, cloud, "im4gn.large", 2, InstanceMarketOptions={"MarketType": "spot"})
    assert "of which 4 are in use by 2 im4gn.large" in found(cloud, 3)


def test_many_types_are_named_by_the_most_and_a_sum(cloud: Cloud, account: Any) -> None:
    for count, kind in enumerate(("t3.nano", "t3.micro", "t3.small", "m5.large", "c5.large"), 1):
        somebody_runs(account, cloud, kind, count)
    cloud.write_conf(types="c5.large")
    assert found(cloud, 2).endswith(
        "30 are in use by 5 c5.large, 4 m5.large, 3 t3.small, 2 t3.micro and 1 others"
    )


def test_a_type_of_unknown_size_is_named_and_nothing_fails(
    cloud: Cloud, account: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.write_conf(types="c5.large")
    somebody_runs(account, cloud, "c5.large", 2)
    # private: what EC2 says of a type that it sells no more
    monkeypatch.setattr(quota, "_sizes", lambda *_: {})
    assert found(cloud, 2).endswith("0 are in use by 2 c5.large (of unknown size: c5.large)")


def test_a_listing_that_is_denied_is_said_and_the_whole_quota_counts(
    cloud: Cloud, account: Any
) -> None:
    cloud.aws.denied["DescribeInstances"] = error("UnauthorizedOperation", 403)
    said = found(cloud, 32)
    assert "what the account uses of it could not be asked for (UnauthorizedOperation)" in said

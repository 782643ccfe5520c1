"""An image made of a host: tagged with its snapshot, made once, and removed without a trace."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest
from aws_shim import ACCOUNT, REGION, error, reset
from ec2_cloud import Cloud
from moto.ec2.models import ec2_backends

from perfkit.campaign import image_bake
from perfkit.errors import ConfigError, ProviderError
from perfkit.fleet.ec2 import baked, describe
from perfkit.fleet.ec2.baked import BakedImage
from perfkit.fleet.ec2.client import Region
from perfkit.fleet.ec2.failures import ApiError
from perfkit.testing.provider_runs import ProviderRun


@pytest.fixture
def run(cloud: Cloud, tmp_path: Path) -> ProviderRun:
    """A run with one host."""
    made = ProviderRun(tmp_path)
    cloud.provider().launch(made.request("server"))
    return made


def bake(cloud: Cloud, run: ProviderRun, name: str = "ours, of 2026") -> BakedImage:
    provider = cloud.provider()
    (instance,) = describe.instances(provider.home, run.run_id)
    labels = baked.image_tags(run.run_id, "debian-12", "Åsa <me>", {"team": "net"})
    return baked.bake(provider.home, instance.id, name, labels, provider.retry)


def client(cloud: Cloud) -> Any:
    return boto3.client("ec2", endpoint_url=cloud.aws.url, region_name=REGION)


def own(cloud: Cloud) -> tuple[list[Any], list[Any]]:
    """Images and snapshots with our tag."""
    wanted = [{"Name": "tag:perfkit:managed", "Values": ["1"]}]
    ec2 = client(cloud)
    images = ec2.describe_images(Filters=wanted)["Images"]
    return images, ec2.describe_snapshots(Filters=wanted)["Snapshots"]


def test_an_image_and_its_snapshot_are_tagged_and_no_run_claims_them(
    cloud: Cloud, run: ProviderRun
) -> None:
    made = bake(cloud, run)
    assert (made.state, made.name, made.source) == ("available", "ours- of 2026", "debian-12")
    (image,), (snapshot,) = own(cloud)
    assert image["ImageId"] == made.id
    assert (snapshot["SnapshotId"],) == made.snapshots
    for thing in (image, snapshot):
        tags = {tag["Key"]: tag["Value"] for tag in thing["Tags"]}
        assert tags["perfkit:image"] == run.run_id
        assert tags["perfkit:owner"] == "Åsa _me_"
        assert tags["team"] == "net"
        assert "perfkit:run" not in tags
    provider = cloud.provider()
    assert provider.release(run.run_id).leaked == ()
    assert (cloud.aws.alive(), list(provider.runs())) == ([], [])
    assert [image.id for image in baked.images(provider.home)] == [made.id]  # it stays


@pytest.mark.parametrize(
    "fault",
    [reset(done=True), error("InternalError", 500, done=True), error("RequestLimitExceeded", 503)],
    ids=["lost", "unknown", "throttled"],
)
def test_an_answer_that_is_lost_makes_no_second_image(
    cloud: Cloud, run: ProviderRun, fault: Any
) -> None:
    cloud.aws.fail("CreateImage", fault)
    made = bake(cloud, run)
    images, snapshots = own(cloud)
    assert [image["ImageId"] for image in images] == [made.id]
    assert len(snapshots) == 1


def test_an_image_that_comes_to_nothing_is_removed_with_its_snapshot(
    cloud: Cloud, run: ProviderRun
) -> None:
    def spoil(_instance: str) -> None:
        for image in ec2_backends[ACCOUNT][REGION].amis.values():
            if image.name != "debian-12-amd64-20260101":
                image.state = "failed"

    cloud.aws.on_image = spoil
    with pytest.raises(ProviderError, match=r"image ami-\w+ in us-east-1 is failed"):
        bake(cloud, run)
    assert own(cloud) == ([], [])


def test_an_image_that_is_not_listed_at_once_or_does_not_say_its_snapshots_is_removed_with_them(
    cloud: Cloud, run: ProviderRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    # private: EC2's listings lag, those of the test's cloud tell of images at once
    known, heard = baked._ours, list[str]()

    def late(region: Region, run_id: str = "") -> Iterator[BakedImage]:
        heard.append(run_id)
        if len(heard) > 1:
            yield from (replace(image, snapshots=()) for image in known(region, run_id))

    def interrupted(*_: object) -> BakedImage:
        raise KeyboardInterrupt

    monkeypatch.setattr(baked, "_ours", late)  # private: as above
    monkeypatch.setattr(baked, "_await_image", interrupted)  # private: no moment of it is given
    with pytest.raises(KeyboardInterrupt):
        bake(cloud, run)
    assert own(cloud) == ([], [])


def test_a_refusal_says_so_and_leaves_nothing(cloud: Cloud, run: ProviderRun) -> None:
    cloud.aws.denied["CreateImage"] = error("UnauthorizedOperation", 403)
    with pytest.raises(ProviderError, match=r"CreateImage: UnauthorizedOperation.*policy\.json"):
        bake(cloud, run)
    assert own(cloud) == ([], [])


def test_a_host_that_cannot_be_stopped_becomes_no_image(cloud: Cloud, run: ProviderRun) -> None:
    cloud.aws.fail("StopInstances", error("UnsupportedOperation"))
    with pytest.raises(ApiError, match="UnsupportedOperation"):
        bake(cloud, run)
    assert own(cloud) == ([], [])


def test_a_name_of_somebody_elses_image_is_not_taken(cloud: Cloud, run: ProviderRun) -> None:
    other = cloud.aws.add_image("taken")
    with pytest.raises(ProviderError, match=r"InvalidAMIName\.Duplicate"):
        bake(cloud, run, "taken")
    assert other in {image["ImageId"] for image in client(cloud).describe_images()["Images"]}


def test_an_image_is_listed_and_removed_with_its_snapshots_and_only_if_it_is_ours(
    cloud: Cloud, run: ProviderRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "resources").mkdir()
    (tmp_path / "resources" / "fabfile.py").touch()
    (tmp_path / "config").symlink_to(tmp_path)
    monkeypatch.setenv("PERFKIT_HOME", str(tmp_path))
    made = bake(cloud, run)
    (listed,) = image_bake.images()
    assert str(listed).startswith(f"{made.id} in {REGION}, available, made ")
    assert "of debian-12" in str(listed)
    assert f"\nimage = {made.id}\n" in str(image_bake.Baked(image=made))
    with pytest.raises(ConfigError, match="perfkit made no such image"):
        image_bake.remove(cloud.image)
    cloud.aws.fail("DeleteSnapshot", error("InvalidSnapshot.InUse"))  # for a moment still
    assert image_bake.remove(made.id).id == made.id
    assert own(cloud) == ([], [])
    assert image_bake.images() == []
    assert cloud.image in {image["ImageId"] for image in client(cloud).describe_images()["Images"]}


def test_snapshots_that_stay_are_named_since_they_cost(cloud: Cloud, run: ProviderRun) -> None:
    made = bake(cloud, run)
    cloud.aws.denied["DeleteSnapshot"] = error("UnauthorizedOperation", 403)
    provider = cloud.provider()
    with pytest.raises(
        ProviderError, match=f"its snapshots {made.snapshots[0]} in {REGION} are not"
    ):
        baked.remove(provider.home, made, provider.retry)


def test_snapshots_that_a_killed_removal_left_are_listed_with_the_command_that_removes_them(
    cloud: Cloud, run: ProviderRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = bake(cloud, run)
    client(cloud).deregister_image(ImageId=made.id)  # and was killed then
    monkeypatch.setattr(image_bake, "_provider", cloud.provider)  # private: of this cloud
    (left,) = image_bake.images()
    assert left.snapshots == made.snapshots
    assert f"{left.id} of 15 GB are left of an image that was removed" in str(left)
    assert str(left).endswith(f"cost money: `perfkit image remove {left.id}`")
    image_bake.remove(left.id)
    assert own(cloud) == ([], [])
    assert image_bake.images() == []

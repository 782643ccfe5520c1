"""Images that perfkit made of a host that has all its programs: made, listed, removed.

An image and its snapshots carry `perfkit:managed` and `perfkit:image`, and no run's tag: they outlive
the run that made them, and a reap leaves them alone. They cost what their snapshots take, by the GB
and month, until they are removed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from perfkit.errors import ProviderError
from perfkit.fleet.ec2 import tags
from perfkit.fleet.ec2.client import Region, translated
from perfkit.fleet.ec2.failures import ApiError, Failure
from perfkit.fleet.ec2.idempotent_calls import SAME_AGAIN, VISIBLE_WITHIN_S, once_let_go
from perfkit.retry import RetryPolicy

STOPPED_DEADLINE_S = 600.0
IMAGE_DEADLINE_S = 3600.0  # a snapshot of some GB takes minutes
NAME_CHARACTERS = 128
_FORBIDDEN = re.compile(r"[^a-zA-Z0-9()\[\] ./'@_-]")  # in an image's name
IMAGE = f"{tags.PREFIX}image"  # the run that made it
SOURCE = f"{tags.PREFIX}source"  # the image that it was made from


@dataclass(frozen=True, slots=True, kw_only=True)
class BakedImage:
    """An image that perfkit made.

    Attributes:
        state: EC2's word: available, pending, failed.
        run_id: The run that made it.
        source: The image that it was made from.
        snapshots: Ids of what it is stored in; one that is being made may not say them yet.
        size_gb: Of its disks together.
        is_left_over: Only its snapshots are there: whoever removed it was ended between the two.
    """

    id: str
    region: str
    name: str
    state: str
    made_utc: datetime
    run_id: str = ""
    source: str = ""
    architecture: str = ""
    snapshots: tuple[str, ...] = ()
    size_gb: int = 0
    is_left_over: bool = False

    def __str__(self) -> str:
        if self.is_left_over:
            return (
                f"{self.id} in {self.region}: {', '.join(self.snapshots)} of {self.size_gb} GB are left of "
                f"an image that was removed, and cost money: `perfkit image remove {self.id}`"
            )
        return (
            f"{self.id} in {self.region}, {self.state}, made {self.made_utc:%Y-%m-%d %H:%M} UTC of "
            f"{self.source or 'an unknown image'}, {self.size_gb} GB, {self.architecture}: {self.name}"
        )


def bake(
    region: Region, instance_id: str, name: str, labels: Mapping[str, str], retry: RetryPolicy
) -> BakedImage:
    """Stop an instance and make an image of it; the instance is not ended here.

    Side effects: an image and its snapshots, which cost money until they are removed. What was begun is
    removed again where it does not come to its end.

    Raises:
        ProviderError: it did not stop, or EC2 did not make the image.
    """
    _stop(region, instance_id, retry)
    name, made = image_name(name), ""
    try:
        made = _create(region, instance_id, name, labels, retry)
        return _await_image(region, made, retry)
    except BaseException:
        for image in _begun(region, labels[IMAGE], made, retry):
            remove(region, image, retry)
        raise


def image_name(text: str) -> str:
    """A name as EC2 takes it for an image: other characters become `-`."""
    return _FORBIDDEN.sub("-", text)[:NAME_CHARACTERS]


def image_tags(run_id: str, source: str, owner: str, extra: Mapping[str, str]) -> tags.Tags:
    """What an image and its snapshots carry."""
    return {
        **{tags.clean(key): tags.clean(value) for key, value in extra.items()},
        "Name": f"perfkit image of {tags.clean(source)}"[: tags.VALUE_CHARACTERS],
        tags.MANAGED: "1",
        IMAGE: run_id,
        tags.OWNER: tags.clean(owner),
        SOURCE: tags.clean(source),
    }


def images(region: Region) -> list[BakedImage]:
    """All images that perfkit made in a region, and snapshots that are left of one; the newest first.

    Raises:
        ApiError: they could not be listed.
    """
    left = list(_left_over(region))  # first: a new image is listed then, and its snapshots in it
    there = list(_ours(region))
    whole = {image.run_id for image in there}
    there += [image for image in left if image.run_id not in whole]
    return sorted(there, key=lambda image: image.made_utc, reverse=True)


def remove(region: Region, image: BakedImage, retry: RetryPolicy) -> None:
    """Deregister an image and delete its snapshots; hosts that were made of it go on.

    Raises:
        ProviderError: what is still there, and why.
    """
    snapshots = image.snapshots or [
        str(entry["SnapshotId"]) for entry in _snapshots(region, image.run_id)
    ]
    if not image.is_left_over:
        once_let_go(
            "DeregisterImage", lambda: region.reader.deregister_image(ImageId=image.id), retry
        )
    left = dict[str, ApiError]()
    for snapshot in snapshots:
        try:
            once_let_go(
                "DeleteSnapshot",
                partial(region.reader.delete_snapshot, SnapshotId=snapshot),
                retry,
            )
        except ApiError as exc:
            left[snapshot] = exc
    if left:
        first = next(iter(left.values()))
        raise ProviderError(
            f"{image.id} is removed, its snapshots {', '.join(left)} in {region.name} are not, and cost "
            f"money: {first}"
        ) from first


def _stop(region: Region, instance_id: str, retry: RetryPolicy) -> None:
    """Stop it: what its programs wrote is then on its disks."""
    with translated("StopInstances"):
        region.reader.stop_instances(InstanceIds=[instance_id])
    state = ""
    for _ in retry.attempts(STOPPED_DEADLINE_S, first_s=2.0):
        reservations = region.pages("DescribeInstances", "Reservations", InstanceIds=[instance_id])
        state = next((str(i["State"]["Name"]) for r in reservations for i in r["Instances"]), "")
        if state == "stopped":
            return
        if state in ("terminated", "shutting-down"):
            break
    raise ProviderError(
        f"{instance_id} in {region.name} did not stop, it is {state or 'not listed'}"
    )


def _create(
    region: Region, instance_id: str, name: str, labels: Mapping[str, str], retry: RetryPolicy
) -> str:
    """CreateImage; when no answer comes, the image has been made or not: its name tells."""
    problem: ApiError | None = None
    for _ in retry.attempts(VISIBLE_WITHIN_S):
        try:
            with translated("CreateImage"):
                made = region.launcher.create_image(
                    InstanceId=instance_id,
                    Name=name,
                    Description=f"made by perfkit of {labels[SOURCE]}"[:255],
                    TagSpecifications=tags.specifications(labels, "image", "snapshot"),
                )
                return str(made["ImageId"])
        except ApiError as exc:
            problem = exc
            found = [image for image in _ours(region, labels[IMAGE]) if image.name == name]
            if exc.kind is Failure.DUPLICATE and found:
                return found[0].id
            if exc.kind not in (Failure.DUPLICATE, *SAME_AGAIN):
                raise
    assert problem is not None
    raise problem


def _await_image(region: Region, image_id: str, retry: RetryPolicy) -> BakedImage:
    state, reason = "pending", ""
    for _ in retry.attempts(IMAGE_DEADLINE_S, first_s=2.0):
        try:
            for entry in region.pages("DescribeImages", "Images", ImageIds=[image_id]):
                state = str(entry.get("State", ""))
                reason = str(entry.get("StateReason", {}).get("Message", ""))
                if state == "available":
                    return _parse(entry, region.name)
        except ApiError as exc:
            if exc.kind not in (Failure.NOT_FOUND, *SAME_AGAIN):
                raise
        if state not in ("pending", ""):
            break
    raise ProviderError(
        f"image {image_id} in {region.name} is {state}, not available{reason and f': {reason}'}"
    )


def _begun(region: Region, run_id: str, image_id: str, retry: RetryPolicy) -> Sequence[BakedImage]:
    """What a bake has begun. One whose id is known is waited for: listings lag behind calls."""
    found: list[BakedImage] = []
    for _ in retry.attempts(VISIBLE_WITHIN_S):
        found = list(_ours(region, run_id))
        if found or not image_id:
            break
    return found


def _snapshots(region: Region, run_id: str = "") -> Iterator[Any]:
    """Those of images that runs made, by their tag."""
    return region.pages("DescribeSnapshots", "Snapshots", OwnerIds=["self"], Filters=_tags(run_id))


def _left_over(region: Region) -> Iterator[BakedImage]:
    """What would be left of each image if it were removed: its snapshots, by the first of them."""
    by_run = dict[str, list[Any]]()
    for entry in _snapshots(region):
        by_run.setdefault(tags.from_aws(entry.get("Tags")).get(IMAGE, ""), []).append(entry)
    for run_id, entries in by_run.items():
        ids = sorted(str(entry["SnapshotId"]) for entry in entries)
        yield BakedImage(
            id=ids[0],
            region=region.name,
            name="",
            state="removed",
            made_utc=min(entry["StartTime"] for entry in entries),
            run_id=run_id,
            snapshots=tuple(ids),
            size_gb=sum(int(entry.get("VolumeSize") or 0) for entry in entries),
            is_left_over=True,
        )


def _tags(run_id: str) -> list[Any]:
    """Filters for our tags; with a run's id for what it made."""
    whose: Any = {"Name": f"tag:{IMAGE}", "Values": [run_id]}
    return [
        {"Name": f"tag:{tags.MANAGED}", "Values": ["1"]},
        whose if run_id else {"Name": "tag-key", "Values": [IMAGE]},
    ]


def _ours(region: Region, run_id: str = "") -> Iterator[BakedImage]:
    """Images of this account with our tags; with a run's id those that it made."""
    found = region.pages("DescribeImages", "Images", Owners=["self"], Filters=_tags(run_id))
    for entry in found:
        yield _parse(entry, region.name)


def _parse(entry: Mapping[str, Any], region: str) -> BakedImage:
    disks = [disk["Ebs"] for disk in entry.get("BlockDeviceMappings", []) if "Ebs" in disk]
    made = str(entry.get("CreationDate", "")).replace("Z", "+00:00")
    labels = tags.from_aws(entry.get("Tags"))
    return BakedImage(
        id=str(entry["ImageId"]),
        region=region,
        name=str(entry.get("Name", "")),
        state=str(entry.get("State", "")),
        made_utc=datetime.fromisoformat(made) if made else datetime.fromtimestamp(0, UTC),
        run_id=labels.get(IMAGE, ""),
        source=labels.get(SOURCE, ""),
        architecture=str(entry.get("Architecture", "")),
        snapshots=tuple(str(disk["SnapshotId"]) for disk in disks if disk.get("SnapshotId")),
        size_gb=sum(int(disk.get("VolumeSize") or 0) for disk in disks),
    )

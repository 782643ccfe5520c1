"""Ending all that carries a run's tag, in the order in which AWS lets go.

Fleets first, with their instances; then instances, in chunks, until EC2 says `terminated`; spot
requests; volumes and interfaces that stayed behind; launch templates, the placement group and the key
pair; the security group last, because it can be deleted only when nothing uses it. So the group doubles as a fence:
while it is there, something of the run may still be; and once it is gone, no launch that is
under way can succeed any more.

Tags are never removed: an instance without its tag is one that no reap will find. What has no tag
`perfkit:managed` is not touched, whatever it is called.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from perfkit.errors import ReleaseError
from perfkit.fleet.ec2 import describe, tags
from perfkit.fleet.ec2.client import Region, tag_filter, translated
from perfkit.fleet.ec2.failures import ApiError, Failure
from perfkit.fleet.ec2.idempotent_calls import SAME_AGAIN
from perfkit.fleet.provider import ReleaseReport
from perfkit.retry import RetryPolicy

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client

CHUNK = 100
GONE_DEADLINE_S = 600.0
LET_GO_DEADLINE_S = 300.0  # after the instances are gone, a group may be in use a little longer
NOT_THERE = (Failure.NOT_FOUND,)


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of thing a run has besides instances: how it is listed and how one is ended.

    Attributes:
        what: For people.
        operation: Of the listing.
        id: The entry's key that names it, and under which it is tagged.
        end: Ends one, by its handle.
        active: The states in which it is still there; empty: it has no states, or any counts.
        handle: The entry's key that ends it, if another one than `id`.
    """

    what: str
    operation: str
    id: str
    end: Callable[[EC2Client, str], Any]
    active: tuple[str, ...] = ()
    handle: str = ""

    @property
    def result(self) -> str:
        """The listing's key in its answer."""
        return self.operation.removeprefix("Describe")


# EC2 does not list fleets of type `instant` unless asked for by their id; such a fleet holds nothing
# once its instances have ended. What is listed is of a type that would refill itself: never ours.
FLEET = Kind(
    "fleet", "DescribeFleets", "FleetId",
    lambda ec2, id_: ec2.delete_fleets(FleetIds=[id_], TerminateInstances=True),
    active=("submitted", "active", "modifying"),
)  # fmt: skip
# In the order in which they are ended.
KINDS = (
    Kind(
        "spot request", "DescribeSpotInstanceRequests", "SpotInstanceRequestId",
        lambda ec2, id_: ec2.cancel_spot_instance_requests(SpotInstanceRequestIds=[id_]),
        active=("open", "active"),
    ),
    Kind(
        "network interface", "DescribeNetworkInterfaces", "NetworkInterfaceId",
        lambda ec2, id_: ec2.delete_network_interface(NetworkInterfaceId=id_),
        active=("available",),
    ),
    Kind(
        "volume", "DescribeVolumes", "VolumeId",
        lambda ec2, id_: ec2.delete_volume(VolumeId=id_), active=("available", "creating"),
    ),
    Kind(
        "launch template", "DescribeLaunchTemplates", "LaunchTemplateId",
        lambda ec2, id_: ec2.delete_launch_template(LaunchTemplateId=id_),
    ),
    Kind(
        "placement group", "DescribePlacementGroups", "GroupId",
        lambda ec2, name: ec2.delete_placement_group(GroupName=name),
        active=("pending", "available"), handle="GroupName",
    ),
    Kind(
        "key pair", "DescribeKeyPairs", "KeyPairId",
        lambda ec2, name: ec2.delete_key_pair(KeyName=name), handle="KeyName",
    ),
    Kind(
        "security group", "DescribeSecurityGroups", "GroupId",
        lambda ec2, id_: ec2.delete_security_group(GroupId=id_),
    ),
)  # fmt: skip
# One answer, however many.
UNPAGED: Mapping[str, Callable[[EC2Client, Any], Any]] = {
    "DescribeKeyPairs": lambda ec2, filters: ec2.describe_key_pairs(Filters=filters),
    "DescribePlacementGroups": lambda ec2, filters: ec2.describe_placement_groups(Filters=filters),
}
UNFILTERED = frozenset({"DescribeFleets"})  # knows no filter by tag


@dataclass(frozen=True, slots=True, kw_only=True)
class Thing:
    """Something in a region that carries a run's tag, and is no instance."""

    kind: Kind
    id: str
    handle: str
    run_id: str
    region: str
    expires_utc: datetime

    def __str__(self) -> str:
        return f"{self.kind.what} {self.id} in {self.region}"


def things(region: Region, run_id: str | None = None) -> list[Thing]:
    """All but instances that carries the tag of a run, or of any."""
    return [thing for kind in (FLEET, *KINDS) for thing in _list(region, kind, run_id)]


def _list(region: Region, kind: Kind, run_id: str | None) -> Iterator[Thing]:
    filters = tag_filter(managed=["1"], **({"run": [run_id]} if run_id else {}))
    for entry in _entries(region, kind, filters):
        labels = tags.from_aws(entry.get("Tags") or entry.get("TagSet"))  # interfaces say TagSet
        state = str(entry.get("State") or entry.get("FleetState") or entry.get("Status") or "")
        if labels.get(tags.MANAGED) != "1" or (run_id and labels.get(tags.RUN) != run_id):
            continue
        if not kind.active or state in kind.active:
            yield Thing(
                kind=kind,
                id=str(entry[kind.id]),
                handle=str(entry[kind.handle or kind.id]),
                run_id=labels.get(tags.RUN, ""),
                region=region.name,
                expires_utc=tags.expiry(labels),
            )


def _entries(region: Region, kind: Kind, filters: Sequence[Any]) -> Iterator[Any]:
    if kind.operation in UNFILTERED:
        return region.pages(kind.operation, kind.result)
    if kind.operation in UNPAGED:
        with translated(kind.operation):
            answer = UNPAGED[kind.operation](region.reader, list(filters))
            return iter(answer[kind.result])
    return region.pages(kind.operation, kind.result, Filters=list(filters))


@dataclass(slots=True)
class Releaser:
    """Ends a run's things in one region, and keeps account."""

    region: Region
    retry: RetryPolicy
    released: list[str] = field(default_factory=list)
    besides: list[str] = field(default_factory=list)
    leaked: list[str] = field(default_factory=list)

    def report(self) -> ReleaseReport:
        """Instances that were ended, what else was, and what is still there."""
        return ReleaseReport(
            leaked=tuple(self.leaked), released=tuple(self.released), besides=tuple(self.besides)
        )

    def release(self, run_id: str) -> None:
        """End all of a run."""
        for thing in _list(self.region, FLEET, run_id):
            self._end(thing)
        self.terminate(describe.instances(self.region, run_id))
        for kind in KINDS:
            for thing in list(_list(self.region, kind, run_id)):
                self._end(thing)

    def terminate(self, instances: Sequence[describe.Instance]) -> None:
        """End instances and wait until EC2 says that they are gone.

        Raises:
            ReleaseError: some may not be ended; the others have been.
        """
        names = {instance.id: f"{instance.name} ({instance.id})" for instance in instances}
        refused = self._terminate(list(names))
        left = self._wait_until_gone([i for i in instances if i.id not in refused])
        gone = names.keys() - left - refused.keys()
        for instance in instances:
            if instance.id in gone:
                self._note_gone(instance, names[instance.id])
        self.leaked += [f"{names[id_]} in {self.region.name}" for id_ in left]
        if refused:
            problem = next(iter(refused.values()))
            where = f"release in {self.region.name}"
            raise ReleaseError(f"{where}: {problem}", list(refused)) from problem

    def _note_gone(self, instance: describe.Instance, name: str) -> None:
        """A machine is no host of its run; those that were on it are."""
        n_packed = tags.n_packed(instance.tags, instance.name)
        if n_packed is None:
            self.released.append(name)
        else:
            self.released += [f"host {n} on {name}" for n in range(1, n_packed + 1)]
            self.besides.append(name)

    def _terminate(self, ids: Sequence[str]) -> dict[str, ApiError]:
        """Tell EC2 to end instances; returns those of the calls that it refused, each with why."""
        refused: dict[str, ApiError] = {}
        for start in range(0, len(ids), CHUNK):
            chunk = list(ids[start : start + CHUNK])
            try:
                self._terminate_chunk(chunk)
            except ApiError as exc:  # the other chunks cost money as well
                refused |= dict.fromkeys(chunk, exc)
        return refused

    def _terminate_chunk(self, ids: list[str]) -> None:
        """One bad id refuses the whole call: it is dropped and the rest is sent again."""
        for _ in self.retry.attempts(LET_GO_DEADLINE_S):
            if not ids:
                return
            try:
                with translated("TerminateInstances"):
                    self.region.reader.terminate_instances(InstanceIds=ids)
            except ApiError as exc:
                unknown = [id_ for id_ in ids if id_ in exc.detail]
                if exc.kind is Failure.NOT_FOUND and unknown:
                    ids = [id_ for id_ in ids if id_ not in unknown]
                elif exc.code == "OperationNotPermitted":
                    self._unprotect([id_ for id_ in ids if id_ in exc.detail] or ids)
                elif exc.kind not in (Failure.THROTTLED, Failure.UNKNOWN, Failure.NOT_FOUND):
                    raise
            else:
                return

    def _unprotect(self, ids: Sequence[str]) -> None:
        """Somebody switched protection on; that against stopping keeps from ending as well."""
        for id_ in ids:
            for protection in ("DisableApiTermination", "DisableApiStop"):
                off: Any = {protection: {"Value": False}}  # one attribute a call
                with translated("ModifyInstanceAttribute"):
                    self.region.reader.modify_instance_attribute(InstanceId=id_, **off)

    def _wait_until_gone(self, instances: Sequence[describe.Instance]) -> set[str]:
        """Look until none is listed; what EC2 did not know a moment ago is told to end again."""
        left = {instance.id for instance in instances}
        runs = {instance.run_id for instance in instances}
        for attempt in self.retry.attempts(GONE_DEADLINE_S, first_s=1.0):
            if not left:
                break
            try:
                there = [i for run_id in runs for i in describe.instances(self.region, run_id)]
            except ApiError as exc:
                if exc.kind not in SAME_AGAIN:
                    raise
                continue
            left &= {i.id for i in there}
            if attempt:  # at the first look a listing may not have heard of it
                self._terminate([i.id for i in there if i.id in left and not i.is_ending])
        return left

    def _end(self, thing: Thing) -> None:
        """End one thing, as soon as nothing uses it any more."""
        problem: ApiError | None = None
        for _ in self.retry.attempts(LET_GO_DEADLINE_S, first_s=1.0):
            try:
                with translated(f"ending {thing}"):
                    thing.kind.end(self.region.reader, thing.handle)
            except ApiError as exc:
                problem = exc
                if exc.kind in NOT_THERE:
                    return
                if exc.kind not in (Failure.BUSY, Failure.THROTTLED, Failure.UNKNOWN):
                    break
            else:
                self.besides.append(str(thing))
                return
        self.leaked.append(f"{thing} ({problem})")

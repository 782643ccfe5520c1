"""What is really there: one paginated listing by tag for all that is asked about it.

EC2's listings lag behind its calls, and a reservation may be split over pages: nothing here counts
on either. All batches of a launch wait on the same listing; it is asked for again at most every
`FRESH_S`, however many wait.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from perfkit.fleet.ec2 import tags
from perfkit.fleet.ec2.client import Region, tag_filter
from perfkit.fleet.provider import ListedHost
from perfkit.model import Role

PAGE_SIZE = 500
FRESH_S = 2.0
ALIVE = ("pending", "running", "stopping", "stopped", "shutting-down")
GONE = ("shutting-down", "terminated")


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One instance as EC2 lists it.

    Attributes:
        checks_addresses: It may send and get only what has its own address (the source/destination check).
    """

    id: str
    region: str
    state: str
    tags: Mapping[str, str]
    launch_index: int = 0
    public: str = ""
    private: str = ""
    reason: str = ""
    zone: str = ""
    checks_addresses: bool = True

    @property
    def run_id(self) -> str:
        """Of the run whose tag it carries."""
        return self.tags.get(tags.RUN, "")

    @property
    def name(self) -> str:
        """The host it is; its id where its tags do not say."""
        return tags.host_name(self.tags, self.launch_index) or self.id

    @property
    def is_ending(self) -> bool:
        """It is gone or going."""
        return self.state in GONE

    def listed(self, address: str) -> ListedHost:
        """As the provider lists it."""
        role = self.tags.get(tags.ROLE, "")
        return ListedHost(
            run_id=self.run_id,
            name=self.name,
            role=Role(role) if role in set(Role) else Role.CLIENT,
            address=(self.public if address == "public" else self.private) or self.private,
            expires_utc=tags.expiry(self.tags),
            owner=self.tags.get(tags.OWNER, ""),
            identity=f"{self.id} in {self.region}, {self.state}",
            n_packed=tags.n_packed(self.tags, self.name),
        )


def instances(
    region: Region,
    run_id: str | None = None,
    *,
    states: Sequence[str] = ALIVE,
    client_token: str = "",
) -> list[Instance]:
    """Our instances in a region: of one run, or of all; with a client token, only that call's.

    Raises:
        ApiError: the listing failed.
    """
    filters: list[Any] = tag_filter(managed=["1"], **({"run": [run_id]} if run_id else {}))
    filters.append({"Name": "instance-state-name", "Values": list(states)})
    if client_token:
        filters.append({"Name": "client-token", "Values": [client_token]})
    return list(_read(region, filters))


def _read(region: Region, filters: Sequence[Any]) -> Iterator[Instance]:
    reservations = region.pages(
        "DescribeInstances",
        "Reservations",
        Filters=filters,
        PaginationConfig={"PageSize": PAGE_SIZE},
    )
    for reservation in reservations:
        for entry in reservation["Instances"]:
            yield parse(entry, region.name)


def parse(entry: Mapping[str, Any], region: str) -> Instance:
    """One entry of DescribeInstances, RunInstances."""
    return Instance(
        id=str(entry["InstanceId"]),
        region=region,
        state=str(entry["State"]["Name"]),
        tags=tags.from_aws(entry.get("Tags")),
        launch_index=int(entry.get("AmiLaunchIndex", 0)),
        public=str(entry.get("PublicIpAddress", "")),
        private=str(entry.get("PrivateIpAddress", "")),
        reason=str(entry.get("StateReason", {}).get("Code", "")),
        zone=str(entry.get("Placement", {}).get("AvailabilityZone", "")),
        checks_addresses=bool(entry.get("SourceDestCheck", True)),
    )


@dataclass(slots=True)
class Watch:
    """A run's listing, shared by the threads that wait for their instances."""

    region: Region
    run_id: str
    clock: Callable[[], float]
    fresh_s: float = FRESH_S
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _seen: dict[str, Instance] = field(default_factory=dict)
    _at_s: float = float("-inf")

    def look(self, since_s: float = float("-inf")) -> Mapping[str, Instance]:
        """Instances by id, ended ones too, as of at most `fresh_s` ago, and not before `since_s`.

        Args:
            since_s: By `clock`: when what is looked for was made.
        """
        with self._lock:
            if self._at_s < since_s or self.clock() - self._at_s >= self.fresh_s:
                at_s = self.clock()  # before the question: what is made meanwhile may be missing
                found = instances(self.region, self.run_id, states=(*ALIVE, "terminated"))
                self._seen = {instance.id: instance for instance in found}
                self._at_s = at_s
            return self._seen

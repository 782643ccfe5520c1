"""What EC2 says when it takes a spot host back: the notice, two minutes ahead, and the end.

The notice is on the spot request, with its moment; the end is on the instance. What the host
measures after the notice is void, since EC2 may slow it down or end it at any time.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from perfkit.fleet.ec2 import describe
from perfkit.fleet.ec2.client import Region, tag_filter
from perfkit.fleet.provider import Interruption

NOTICES = (
    "marked-for-termination",
    "marked-for-stop",
    "instance-terminated-by-price",
    "instance-terminated-by-service",
    "instance-terminated-no-capacity",
    "instance-terminated-capacity-oversubscribed",
    "instance-terminated-launch-group-constraint",
)
ENDED = "Server.SpotInstanceTermination"
AHEAD = timedelta(minutes=2)  # of the end, when nobody saw the notice itself


def interruptions(region: Region, run_id: str) -> Iterator[Interruption]:
    """Hosts of a run that were noticed or ended, each once."""
    there = describe.instances(region, run_id, states=(*describe.ALIVE, "terminated"))
    names = {instance.id: instance.name for instance in there}
    told = set()
    requests = region.pages(
        "DescribeSpotInstanceRequests",
        "SpotInstanceRequests",
        Filters=tag_filter(managed=["1"], run=[run_id]),
    )
    for request in requests:
        status = request.get("Status", {})
        name = names.get(str(request.get("InstanceId", "")))
        if name and status.get("Code") in NOTICES:
            told.add(name)
            at = status.get("UpdateTime") or datetime.now(UTC)
            noticed_utc = at if status["Code"].startswith("marked") else at - AHEAD
            yield Interruption(host=name, noticed_utc=noticed_utc, reason=f"spot: {status['Code']}")
    for instance in there:
        if instance.reason == ENDED and instance.name not in told:
            noticed_utc = datetime.now(UTC) - AHEAD
            yield Interruption(host=instance.name, noticed_utc=noticed_utc, reason=f"spot: {ENDED}")

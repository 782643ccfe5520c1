"""Moving the end of a run: in the tags of all it has, and in the timer of each host."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from perfkit.fleet.ec2 import release, tags, userdata
from perfkit.fleet.ec2.client import Region, translated
from perfkit.fleet.ec2.describe import Instance

TAGGED_AT_ONCE = 500  # resources of one CreateTags; AWS takes 1,000 and advises fewer


def renew(
    regions: Sequence[Region], run_id: str, instances: Sequence[Instance], expires_utc: datetime
) -> str:
    """Move the tags first: a fleet that reads as expired may be reaped while its timers move.

    Returns:
        The script that moves a host's own timer.
    """
    moved = {tags.EXPIRES: f"{expires_utc.timestamp():.0f}"}
    for region in regions:
        ids = [i.id for i in instances if i.region == region.name]
        ids += [thing.id for thing in release.things(region, run_id)]
        for start in range(0, len(ids), TAGGED_AT_ONCE):
            with translated("CreateTags"):
                region.reader.create_tags(
                    Resources=ids[start : start + TAGGED_AT_ONCE], Tags=tags.to_aws(moved)
                )
    return userdata.renewal(expires_utc)

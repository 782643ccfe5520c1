"""Notices on spot requests, which moto does not have: from entries as EC2 documents them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from perfkit.fleet.ec2 import spot, tags
from perfkit.fleet.ec2.client import Region

AT = datetime(2026, 1, 1, 12, 0, 7, tzinfo=UTC)


class Listing:
    """As much of a region as is read: pages by operation."""

    name = "eu-central-1"

    def __init__(self, **pages: list[Any]) -> None:
        self._pages = pages

    def pages(self, operation: str, _result: str, **_: Any) -> Iterator[Any]:
        yield from self._pages.get(operation, [])


def instance(number: int, state: str = "running", reason: str = "") -> dict[str, Any]:
    labels = tags.call_tags("token", "client", ["client-001", "client-002", "client-003"])
    return {
        "InstanceId": f"i-{number}",
        "AmiLaunchIndex": number,
        "State": {"Name": state},
        "StateReason": {"Code": reason},
        "Tags": tags.to_aws(labels),
    }


def request(number: int, code: str) -> dict[str, Any]:
    return {"InstanceId": f"i-{number}", "Status": {"Code": code, "UpdateTime": AT}}


def found(**pages: list[Any]) -> list[tuple[str, datetime, str]]:
    notices = spot.interruptions(cast(Region, Listing(**pages)), "run")
    return [(notice.host, notice.noticed_utc, notice.reason) for notice in notices]


def test_a_marked_request_is_a_notice_at_its_own_moment() -> None:
    assert found(
        DescribeInstances=[{"Instances": [instance(0), instance(1)]}],
        DescribeSpotInstanceRequests=[
            request(0, "fulfilled"),
            request(1, "marked-for-termination"),
        ],
    ) == [("client-002", AT, "spot: marked-for-termination")]


def test_a_host_is_told_once_and_one_that_ended_unseen_is_told_too() -> None:
    told = found(
        DescribeInstances=[
            {"Instances": [instance(0, "terminated", spot.ENDED), instance(1)]},
            {"Instances": [instance(2, "terminated", spot.ENDED)]},
        ],
        DescribeSpotInstanceRequests=[request(0, "instance-terminated-no-capacity")],
    )
    assert [host for host, _, _ in told] == ["client-001", "client-003"]
    assert told[0][1] == AT - timedelta(minutes=2)  # when its notice was, which nobody saw


def test_a_host_that_was_released_was_not_taken_back() -> None:
    ended = instance(0, "terminated", "Client.UserInitiatedShutdown")
    assert (
        found(
            DescribeInstances=[{"Instances": [ended]}],
            DescribeSpotInstanceRequests=[request(0, "instance-terminated-by-user")],
        )
        == []
    )

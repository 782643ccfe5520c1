"""How many calls, seconds and bytes a fleet takes at EC2: launched and released against moto.

    pytest -m benchmark -s tests/benchmarks/bench_ec2.py

The seconds are moto's, which makes and lists instances one by one in Python; the calls and the
memory of the controller are perfkit's own.
"""

from __future__ import annotations

import resource
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from ec2_cloud import Cloud, ec2_cloud

from perfkit.fleet.ec2.client import Region
from perfkit.fleet.inventory import Inventory
from perfkit.fleet.launch import Fleet, LaunchPlan
from perfkit.fleet.provider import HostRequest
from perfkit.model import HostState, Role
from perfkit.runs.journal import Journal
from perfkit.ssh.keys import make_ssh_key

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(1800)]


def peak_mb() -> float:
    """Largest resident size of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def fleet_of(cloud: Cloud, folder: Path) -> Fleet:
    journal = Journal(folder / "journal.jsonl")
    plan = LaunchPlan(
        owner="bench",
        expires_utc=datetime.now(UTC) + timedelta(hours=2),
        authorized_key=make_ssh_key().public_openssh,
    )
    provider = cloud.provider(scale=1.0)
    provider.preflight(2)
    table = Inventory(journal)
    return Fleet("bench", provider, table, journal, plan, probe=lambda *_: None)


@pytest.mark.parametrize("count", [100, 500])
def test_a_fleet_is_launched_and_released(count: int, tmp_path: Path) -> None:
    key = make_ssh_key()
    requests = [
        HostRequest(
            name=f"client-{n:03d}",
            role=Role.CLIENT,
            host_key=key.public_openssh,
            host_key_private=key.private_openssh,
        )
        for n in range(count)
    ]
    with ec2_cloud(tmp_path, types="t3.micro, t3.small") as cloud:
        fleet = fleet_of(cloud, tmp_path)
        cloud.aws.requests.clear()
        before_mb = peak_mb()
        begun = time.monotonic()
        fleet.launch(requests)
        fleet.wait()
        launched_s = time.monotonic() - begun
        assert fleet.inventory.counts() == {HostState.REACHABLE: count}
        launch_calls = cloud.aws.counts()
        cloud.aws.requests.clear()
        begun = time.monotonic()
        assert fleet.release().leaked == ()
        released_s = time.monotonic() - begun
        release_calls = cloud.aws.counts()
        assert cloud.aws.alive() == []
    sent: dict[str, int] = {}
    for region in fleet.provider.regions:  # type: ignore[attr-defined] # EC2's
        assert isinstance(region, Region)
        sent = dict(region.calls)
    print(f"\n{count} instances: launched in {launched_s:.1f} s, released in {released_s:.1f} s")
    print(f"  launch:  {sum(launch_calls.values())} calls: {dict(launch_calls)}")
    print(f"  release: {sum(release_calls.values())} calls: {dict(release_calls)}")
    print(f"  as the client counts: {sum(sent.values())} calls in all")
    print(
        f"  process with moto and its instances: {before_mb:.0f} MB before, {peak_mb():.0f} after"
    )

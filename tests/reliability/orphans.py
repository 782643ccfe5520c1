"""R1: a controller that is killed at any moment of a launch leaves nothing that a reap does not end.

Fifty hosts are launched through a listing that lags by a second, by calls that take half a second
and are done although the caller is dead. The controller is a process of its own and is killed at a
random moment. Beside it, two usual ways: to launch first and tag then; and to tag at once, but to
look only once.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

from ec2_cloud import REGION, Cloud, ec2_cloud

from perfkit.fleet.reap import release_until_quiet
from perfkit.testing.provider_runs import wait_until

from .experiment import Experiment, Outcome

LAG_S, IN_FLIGHT_S = 1.0, 0.5
SETTLE_S = 2.5
HOSTS = 50
LONGEST_S = 3.0  # from the first call to the last host

OURS = """
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from perfkit.retry import RetryPolicy
from perfkit.fleet.ec2.provider import Ec2Provider
from perfkit.fleet.inventory import Inventory
from perfkit.fleet.launch import Fleet, LaunchPlan
from perfkit.fleet.provider import HostRequest
from perfkit.runs.journal import Journal
from perfkit.model import Role
from perfkit.ssh.keys import make_ssh_key

folder, run_id, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
key = make_ssh_key()
journal = Journal(folder / f"{run_id}.jsonl")
expires = datetime.now(UTC) + timedelta(hours=1)
plan = LaunchPlan(owner="me", expires_utc=expires, authorized_key=key.public_openssh)
provider = Ec2Provider(folder, RetryPolicy(scale=0.2))
provider.preflight(count)
fleet = Fleet(run_id, provider, Inventory(journal), journal, plan, probe=lambda *_: None)
print("begin", flush=True)
fleet.launch([
    HostRequest(name=f"client-{n:03d}", role=Role.CLIENT, host_key=key.public_openssh,
                host_key_private=key.private_openssh)
    for n in range(count)
])
fleet.wait()
"""
TAGGED_AFTERWARDS = """
import sys, boto3
url, run_id, count, image = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
ec2 = boto3.client("ec2", endpoint_url=url, region_name="us-east-1")
ec2.describe_images(ImageIds=[image])
print("begin", flush=True)
made = [
    instance["InstanceId"]
    for _ in range(2)
    for instance in ec2.run_instances(
        ImageId=image, InstanceType="t3.micro", MinCount=count // 2, MaxCount=count // 2
    )["Instances"]
]
ec2.create_tags(Resources=made, Tags=[
    {"Key": "perfkit:managed", "Value": "1"}, {"Key": "perfkit:run", "Value": run_id},
])
"""


def run(n: int, seed: int) -> Outcome:
    chance = Random(seed)
    left = one_look = afterwards = 0
    trials = {"one look": 0, "afterwards": 0}
    for number in range(n):
        after_s = chance.uniform(0, LONGEST_S)
        found, at_first = _trial(number, after_s)
        left, one_look = left + found, one_look + at_first
        trials["one look"] += bool(at_first)
        if number % 5 == 0 or n <= 15:
            leaked = _naive_trial(number, after_s)
            afterwards += leaked
            trials["afterwards"] += bool(leaked)
    naive = n if n <= 15 else (n + 4) // 5
    return Outcome(
        result=f"{n} kills in a launch of {HOSTS}: {left} instances alive after the reap",
        ok=left == 0,
        baseline=f"tagged at once, one look: {one_look} alive after {trials['one look']} of {n}; "
        f"tagged afterwards, one look: {afterwards} alive after {trials['afterwards']} of {naive}",
    )


def _trial(number: int, after_s: float) -> tuple[int, int]:
    """Instances alive after a reap that settles, and after the first look of it."""
    with _slow_cloud() as (cloud, folder):
        run_id = f"killed-{number}"
        _kill([sys.executable, "-c", OURS, str(folder), run_id, str(HOSTS)], after_s)
        provider = cloud.provider(scale=0.1)
        provider.release(run_id)
        _let_arrive(cloud)
        at_first = len(cloud.aws.alive())
        report = release_until_quiet(provider, run_id, quiet_s=SETTLE_S, poll_s=0.3)
        return len(cloud.aws.alive()) + len(report.leaked), at_first


def _naive_trial(number: int, after_s: float) -> int:
    with _slow_cloud() as (cloud, _):
        run_id = f"naive-{number}"
        argv = [sys.executable, "-c", TAGGED_AFTERWARDS, cloud.aws.url, run_id, str(HOSTS)]
        _kill([*argv, cloud.image], after_s * (2 * IN_FLIGHT_S + 0.5) / LONGEST_S)
        cloud.provider(scale=0.1).release(run_id)
        _let_arrive(cloud)
        return len(cloud.aws.alive(REGION))


def _let_arrive(cloud: Cloud) -> None:
    """What was on its way has been made, listed or not."""
    assert wait_until(lambda: not cloud.aws.busy, 60)


@contextlib.contextmanager
def _slow_cloud() -> Iterator[tuple[Cloud, Path]]:
    with tempfile.TemporaryDirectory(prefix="orphans-") as name, ec2_cloud(Path(name)) as cloud:
        cloud.aws.lag_s, cloud.aws.in_flight_s = LAG_S, IN_FLIGHT_S
        yield cloud, Path(name)


def _kill(argv: list[str], after_s: float) -> None:
    """Start a controller and kill it so long after its first word."""
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == b"begin\n"
        time.sleep(after_s)
        process.kill()
        process.wait()


EXPERIMENT = Experiment(
    key="R1",
    promise="no orphan after a controller was killed while launching",
    bound="0 instances alive after perfkit reap",
    run=run,
    quick=1,
    full=100,
)

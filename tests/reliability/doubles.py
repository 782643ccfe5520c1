"""R2: whatever happens to a launch call, no host is made twice."""

from __future__ import annotations

import contextlib
import tempfile
import uuid
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import boto3
import botocore.config
from aws_shim import REGION, Fault, at_most, error, reset
from botocore.exceptions import BotoCoreError, ClientError
from ec2_cloud import Cloud, ec2_cloud

from perfkit.testing.provider_runs import ProviderRun

from .experiment import Experiment, Outcome

HOSTS = 4
A_CLOUD_LASTS = 20  # batches: moto lists what is terminated too, slower with each
FAULTS = [
    error("InternalError", 500),
    error("InternalError", 500, done=True),
    error("Unavailable", 503, done=True),
    error("RequestLimitExceeded", 503),
    reset(),
    reset(done=True),
    at_most(2),
]


def run(n: int, seed: int) -> Outcome:
    chance = Random(seed)
    found = Counter[str]()
    for begin in range(0, n, A_CLOUD_LASTS):
        with tempfile.TemporaryDirectory(prefix="doubles-") as name, ec2_cloud(Path(name)) as cloud:
            cloud.write_conf(types="t3.micro, t3.small, t3.medium")
            for number in range(begin, min(begin + A_CLOUD_LASTS, n)):
                found += _one_batch(cloud, Path(name), chance, naive=number % 4 == 0)
    return Outcome(
        result=f"{n} batches of {HOSTS} with 1 to 3 faults each: {found['extra']} extra, "
        f"{found['missing']} missing",
        ok=found["extra"] == 0 and found["missing"] == 0,
        baseline=f"a new token for each attempt, {(n + 3) // 4} of the batches: "
        f"{found['naive']} extra",
    )


def _one_batch(cloud: Cloud, folder: Path, chance: Random, *, naive: bool) -> Counter[str]:
    faults = chance.choices(FAULTS, k=chance.randint(1, 3))
    alive = _ours(cloud, folder, faults)
    found = Counter(extra=max(0, alive - HOSTS), missing=max(0, HOSTS - alive))
    if naive:
        found["naive"] = max(0, _with_a_new_token_each_time(cloud, faults) - HOSTS)
    return found


def _ours(cloud: Cloud, folder: Path, faults: list[Fault]) -> int:
    _clear(cloud)
    run = ProviderRun(folder)
    cloud.aws.fail("RunInstances", *faults)
    provider = cloud.provider()
    request = run.request(*(f"client-{n:03d}" for n in range(HOSTS)))
    provider.launch(request)
    cloud.provider().launch(request)  # resumed by another process: the same batch again
    return len(cloud.aws.alive(**{"perfkit:run": run.run_id}))


def _with_a_new_token_each_time(cloud: Cloud, faults: list[Fault]) -> int:
    _clear(cloud)
    cloud.aws.fail("RunInstances", *faults)
    config = botocore.config.Config(retries={"total_max_attempts": 1})
    ec2: Any = boto3.client("ec2", endpoint_url=cloud.aws.url, region_name=REGION, config=config)
    made = 0
    for _ in range(10):
        if made >= HOSTS:
            break
        with contextlib.suppress(ClientError, BotoCoreError):
            answer = ec2.run_instances(
                ImageId=cloud.image,
                InstanceType="t3.micro",
                MinCount=1,
                MaxCount=HOSTS - made,
                ClientToken=uuid.uuid4().hex,
            )
            made += len(answer["Instances"])
    return len(cloud.aws.alive())


def _clear(cloud: Cloud) -> None:
    for instance in cloud.aws.instances():
        if instance.state != "terminated":
            instance.terminate()


EXPERIMENT = Experiment(
    key="R2",
    promise="no launch is done twice, whatever answer is lost",
    bound="0 extra instances, 0 missing",
    run=run,
    quick=12,
    full=200,
)

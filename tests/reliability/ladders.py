"""R5: hosts come from the first pool that has room; throttling is not taken for lack of capacity."""

from __future__ import annotations

import tempfile
from pathlib import Path
from random import Random

from aws_shim import REGION, Request, error
from ec2_cloud import ec2_cloud

from perfkit.model import Role
from perfkit.testing.provider_runs import ProviderRun

from .experiment import Experiment, Outcome

POOLS = 6
BATCHES = 3


def run(n: int, seed: int) -> Outcome:
    chance = Random(seed)
    wrong = resent = skipped = 0
    for _ in range(n):
        n_empty, n_throttled = chance.randint(0, POOLS - 1), chance.randint(0, 4)
        with tempfile.TemporaryDirectory(prefix="ladders-") as name:
            trial = _trial(Path(name), n_empty, n_throttled)
        wrong, resent, skipped = wrong + trial[0], resent + trial[1], skipped + trial[2]
    return Outcome(
        result=f"{n} ladders of {POOLS} pools, the first 0 to {POOLS - 1} empty, throttled at "
        f"random, {BATCHES} batches each: {wrong} from another pool than the first with room, "
        f"{resent} calls sent again to a pool known to be empty",
        ok=wrong == resent == 0,
        baseline=f"every error taken for lack of capacity: {skipped} pools with room left out",
    )


def _trial(folder: Path, n_empty: int, n_throttled: int) -> tuple[int, int, int]:
    zones = ", ".join(f"{REGION}{letter}" for letter in "abc")
    with ec2_cloud(folder, types="t3.micro, t3.small", zones=zones) as cloud:
        provider, run = cloud.provider(scale=0.02), ProviderRun(folder)
        provider.preflight(2)
        pools = [(p.type, p.subnet) for p in provider.survey().ladder[Role.CLIENT]]
        assert len(pools) == POOLS
        cloud.aws.empty = set(pools[:n_empty])
        cloud.aws.fail("RunInstances", error("RequestLimitExceeded", 503), times=n_throttled)
        for number in range(BATCHES):
            provider.launch(run.request(f"client-{number:03d}", token=f"batch-{number}"))
        sent = [_pool(request) for request in cloud.aws.sent("RunInstances")]
        wrong = sum(_of(i) != pools[n_empty] for i in cloud.aws.instances())
        told = sent[n_throttled:] if n_throttled else sent  # throttled calls were not answered
        resent = sum(max(0, told.count(pool) - 1) for pool in pools[:n_empty])
        return wrong, resent, min(n_throttled, POOLS - n_empty)


def _pool(request: Request) -> tuple[str, str]:
    return request.params["InstanceType"], request.params["NetworkInterface.1.SubnetId"]


def _of(instance: object) -> tuple[str, str]:
    return instance.instance_type, instance.subnet_id  # type: ignore[attr-defined]


EXPERIMENT = Experiment(
    key="R5",
    promise="a pool without capacity is left for the next one, a throttled one is not",
    bound="0 hosts from a wrong pool, 0 calls to a pool known to be empty",
    run=run,
    quick=4,
    full=60,
)

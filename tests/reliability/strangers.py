"""R3: a reap ends what carries its run's tags and nothing else; without --yes it changes nothing."""

from __future__ import annotations

import tempfile
from pathlib import Path
from random import Random
from typing import Any

import boto3
from aws_shim import REGION
from ec2_cloud import Cloud, ec2_cloud

from perfkit.fleet.reap import release_until_quiet, survey
from perfkit.testing.provider_runs import ProviderRun

from .experiment import Experiment, Outcome

FOREIGN = 50
OTHERS = 50
# What somebody else's instances may look like, the last two as if they were perfkit's.
LABELS: list[dict[str, str]] = [
    {},
    {"Name": "database"},
    {"Name": "perfkit-laptop"},
    {"perfkit:run": "RUN"},
]


def run(n: int, seed: int) -> Outcome:
    chance = Random(seed)
    ended = left = changes = by_name = 0
    for _ in range(n):
        with tempfile.TemporaryDirectory(prefix="strangers-") as name:
            trial = _trial(Path(name), chance)
        ended, left = ended + trial[0], left + trial[1]
        changes, by_name = changes + trial[2], by_name + trial[3]
    return Outcome(
        result=f"{n} reaps among {FOREIGN} foreign instances and {OTHERS} of another run: {ended} "
        f"of them ended, {left} of our own left; {changes} changing calls while only looking",
        ok=ended == left == changes == 0,
        baseline=f"ending what is called perfkit…: {by_name} instances of others would have ended",
    )


def _trial(folder: Path, chance: Random) -> tuple[int, int, int, int]:
    with ec2_cloud(folder) as cloud:
        run = ProviderRun(folder)
        provider = cloud.provider()
        provider.launch(run.request("server", "client-001", "client-002"))
        strangers = [
            id_
            for _ in range(10)
            for id_ in _start(cloud, FOREIGN // 10, chance.choice(LABELS), run.run_id)
        ]
        managed = {"perfkit:managed": "1", "perfkit:run": "another", "Name": "perfkit another"}
        strangers += _start(cloud, OTHERS, managed, run.run_id)
        named = [id_ for id_ in _called_perfkit(cloud) if id_ in strangers]
        cloud.aws.requests.clear()
        survey(cloud.provider())
        changes = sum(not action.startswith("Describe") for action in cloud.aws.counts())
        release_until_quiet(cloud.provider(), run.run_id)
        alive = set(cloud.aws.alive())
        return len(set(strangers) - alive), len(alive - set(strangers)), changes, len(named)


def _start(cloud: Cloud, count: int, labels: dict[str, str], run_id: str) -> list[str]:
    pairs = [{"Key": k, "Value": v.replace("RUN", run_id)} for k, v in labels.items()]
    made: Any = boto3.client("ec2", endpoint_url=cloud.aws.url, region_name=REGION).run_instances(
        ImageId=cloud.image,
        InstanceType="t3.micro",
        MinCount=count,
        MaxCount=count,
        **({"TagSpecifications": [{"ResourceType": "instance", "Tags": pairs}]} if pairs else {}),
    )
    return [str(instance["InstanceId"]) for instance in made["Instances"]]


def _called_perfkit(cloud: Cloud) -> list[str]:
    return [
        instance.id
        for instance in cloud.aws.instances()
        if any(
            tag["key"] == "Name" and tag["value"].startswith("perfkit")
            for tag in instance.get_tags()
        )
    ]


EXPERIMENT = Experiment(
    key="R3",
    promise="a reap touches only what is its run's",
    bound="0 foreign instances ended, 0 of the run's left, 0 changing calls without --yes",
    run=run,
    quick=1,
    full=10,
)

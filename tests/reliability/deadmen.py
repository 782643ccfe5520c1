"""R4: hosts end by themselves at their expiry, with nobody left to end them."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from ec2_cloud import ec2_cloud

from perfkit.testing.provider_runs import ProviderRun, wait_until

from .experiment import Experiment, Outcome

LIFE_S = 15.0
ALLOWED_S = 60.0


def run(n: int, seed: int) -> Outcome:
    del seed  # nothing is left to chance here
    with (
        tempfile.TemporaryDirectory(prefix="deadmen-") as name,
        ec2_cloud(Path(name), real_hosts=True) as cloud,
    ):
        run = ProviderRun(Path(name))
        cloud.provider().launch(
            run.request(*(f"client-{k:03d}" for k in range(n)), life_s=LIFE_S + n)
        )
        expires = time.monotonic() + LIFE_S + n
        made = len(cloud.aws.alive())
        ended = wait_until(lambda: not cloud.aws.alive(), LIFE_S + n + ALLOWED_S)
        late_s = time.monotonic() - expires
        said = [
            r.params["InstanceInitiatedShutdownBehavior"] for r in cloud.aws.sent("RunInstances")
        ]
    return Outcome(
        result=f"{made} real hosts, booted by their user data: {len(cloud.aws.alive())} alive "
        f"{max(0.0, late_s):.0f} s after their expiry; every launch says {', '.join(set(said))}",
        ok=ended and made == n and set(said) == {"terminate"},
        baseline="EC2's own default is to stop such a host, and to bill its disk",
    )


EXPERIMENT = Experiment(
    key="R4",
    promise="the dead man ends every host, with the controller and its disk gone",
    bound=f"all hosts gone within {ALLOWED_S:.0f} s of their expiry",
    run=run,
    quick=0,
    full=20,
    root=True,
)

"""R17: launches that begin at the same moment on a busy machine all succeed.

Six processes launch a server and eight clients each, in namespaces, beside twelve busy loops, and wait
until every host greets; then they release. All of them change networks, for which the kernel has one
lock, so each waits for all others.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from .experiment import Experiment, Outcome

LAUNCHES, CLIENTS, BUSY_LOOPS = 6, 8, 12
LAUNCH = """
import json, sys, time
from pathlib import Path
from local_runs import LocalRun, answers, wait_until
from perfkit.errors import PerfkitError
from perfkit.fleet.local.provider import LocalProvider

provider, run = LocalProvider("namespaces"), LocalRun(Path(sys.argv[1]))
names = ["server", *(f"client-{n:03d}" for n in range(1, int(sys.argv[2]) + 1))]
begun_s, silent, why = time.monotonic(), names, ""
try:
    provider.preflight(len(names))
    hosts = provider.launch(run.request(*names, life_s=900.0))
    waited = [host.name for host in hosts if wait_until(lambda: answers(host), 600.0)]
    silent = sorted(set(names) - set(waited))
except PerfkitError as exc:
    why = str(exc)
took_s = time.monotonic() - begun_s
leaked = provider.release(run.run_id).leaked
print(json.dumps({"silent": silent, "why": why, "took_s": took_s, "leaked": leaked}))
"""


def run(n: int, seed: int) -> Outcome:
    del seed  # nothing is left to chance but the machine
    launched, faults = list[float](), list[str]()
    with _busy_loops(), tempfile.TemporaryDirectory(prefix="crowds-") as folder:
        for number in range(n):
            processes = [_launch(Path(folder)) for _ in range(LAUNCHES)]
            for process in processes:
                said, errors = process.communicate()
                found = json.loads(said) if process.returncode == 0 else {"why": errors[-500:]}
                launched += [found["took_s"]] if "took_s" in found else []
                if found["why"] or found["silent"] or found["leaked"]:
                    faults.append(f"round {number + 1}: {found}")
    slowest_s = max(launched, default=0.0)
    return Outcome(
        result=f"{len(faults)} of {n * LAUNCHES} launches of {CLIENTS} clients failed; the slowest took "
        f"{slowest_s:.1f} s{': ' if faults else ''}{'; '.join(faults)}",
        ok=not faults,
    )


@contextlib.contextmanager
def _busy_loops() -> Iterator[None]:
    loops = [subprocess.Popen(["sh", "-c", "while :; do :; done"]) for _ in range(BUSY_LOOPS)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def _launch(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", LAUNCH, str(folder), str(CLIENTS)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


EXPERIMENT = Experiment(
    key="R17",
    promise="launches at the same moment on a busy machine all succeed",
    bound="0 launches fail",
    run=run,
    quick=0,
    full=20,
    root=True,
)

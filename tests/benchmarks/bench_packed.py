"""Clients packed onto machines, and as many plain local ones: what the tunnel carries, in pairs.

    python tests/benchmarks/bench_packed.py                root, an idle machine; about 12 minutes
    ... --machines 2 --per-machine 3 --pairs 1 --duration-s 2       a small one

The machines are namespaces of this one, so both kinds share its processors: what differs is the way to
the server, forwarded by a machine here and over one bridge there. Prints the goodput of each run, and for
each test the ratio of packed to plain with its 95 % interval.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import tempfile
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parents[1])]

from project_copy import copy_project  # noqa: E402 -- found by the line above
from whole_machines import whole_machines  # noqa: E402 -- as above

from perfkit.analysis.answers import contrasts  # noqa: E402 -- as above
from perfkit.campaign import phases  # noqa: E402 -- as above

pytestmark = [pytest.mark.benchmark, pytest.mark.root, pytest.mark.timeout(7200)]

LEVEL = 0.95
TESTS = "direct-tcp,tunnel-tcp"


def goodput_bps(clients: int, duration_s: float, **how: object) -> dict[str, float]:
    """What a run of its own carries in each test."""
    with phases.start(clients=clients, duration_s=duration_s, tests=TESTS, **how) as session:
        report = phases.run_all(session)
    rows = report.summary.tests.to_dict("records")
    for row in rows:
        print(
            f"  {how['name']:8} {row['test']:12} {row['goodput_bps'] / 1e6:9.1f} Mbit/s, "
            f"{row['clients_failed']} of {row['clients_expected']} clients failed",
            flush=True,
        )
    return {row["test"]: float(row["goodput_bps"]) for row in rows}


def main(arguments: list[str]) -> int:
    """Run the pairs; packed goes first in every other one."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--machines", type=int, default=3)
    parser.add_argument("--per-machine", type=int, default=20)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--duration-s", type=float, default=10.0)
    chosen = parser.parse_args(arguments)
    clients = chosen.machines * chosen.per_machine
    logs: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        with whole_machines(folder, chosen.machines):
            copy_project(folder, "resources")
            os.environ["PERFKIT_HOME"] = place
            kinds = {
                "packed": {"provider": "static", "per_machine": chosen.per_machine},
                "plain": {"provider": "local"},
            }
            for pair in range(chosen.pairs):
                print(f"pair {pair + 1} of {chosen.pairs}, {clients} clients", flush=True)
                order = sorted(kinds, reverse=bool(pair % 2))
                found = {
                    kind: goodput_bps(clients, chosen.duration_s, name=kind, **kinds[kind])
                    for kind in order
                }
                for test in found["packed"]:
                    ratio = math.log(found["packed"][test] / found["plain"][test])
                    logs.setdefault(test, []).append(ratio)
    for test, ratios in logs.items():
        contrast = contrasts.of_pairs(ratios)
        low, high = contrast.ratios(LEVEL)
        print(f"{test}: packed / plain {contrast.ratio:.3f} [{low:.3f}, {high:.3f}]")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""How sharply many hosts start together, and what measuring and collecting cost beside the tests.

    pytest tests/benchmarks/bench_measure.py -m benchmark -s        BENCH_HOSTS=200 for more

All hosts share this machine's processors, so the spread of the starts is mostly their queueing for
the CPU: `idle` only sleeps, `direct-tcp` competes with traffic as soon as its first stream flows.
Needs root, and a machine that is doing nothing else.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from pathlib import Path

import pytest
from measured_fleet import launch, shipped, spec

from perfkit.measure.collect import collect
from perfkit.measure.plan import plan
from perfkit.model import HostResult
from perfkit.units import s_to_ms

pytestmark = [pytest.mark.benchmark, pytest.mark.root, pytest.mark.timeout(600)]

N_HOSTS = int(os.environ.get("BENCH_HOSTS", "100"))
SPREAD_TARGET_S = 0.5  # for 100 hosts on 2 processors
COLLECT_TARGET_S = 5.0


def test_start_spread_and_cost_of_the_passes(tmp_path: Path) -> None:
    slots = plan([spec("idle", tmp_path, "exec sleep 2", duration_s=2), shipped("direct-tcp", 5)])
    for fleet in launch(tmp_path, "namespaces", N_HOSTS):
        done_s: dict[str, float] = {}

        def note(name: str, _: HostResult, done_s: dict[str, float] = done_s) -> None:
            done_s[name] = time.time()

        began_s = time.time()
        result = fleet.measure(slots, fleet.hosts, on_result=note)
        t0_s = fleet.run.load_json(fleet.run.timetable_path)["t0_utc_s"]
        collected = collect(fleet.run, fleet.hosts, slots, pool=fleet.pool, threads=16)
        assert result.failed == (), result
        assert collected.failed == (), collected
        say(
            f"{N_HOSTS} hosts: connected and ready in {done_s['ready'] - began_s:.1f} s, armed in "
            f"{done_s['arm'] - done_s['ready']:.1f} s, {t0_s - done_s['arm']:.1f} s before T0; "
            f"finished {done_s['finish'] - t0_s - slots[-1].end_s:.1f} s after the last slot; "
            f"collected in {collected.elapsed_s:.1f} s"
        )
        for slot in slots:
            late_s = sorted(
                record["start_utc_s"] - record["planned_start_utc_s"]
                for record in (fleet.events(host, slot.name) for host in fleet.hosts[1:])
            )
            say(
                f"{slot.name}: start after the instant: median "
                f"{s_to_ms(statistics.median(late_s)):.0f} ms, p95 "
                f"{s_to_ms(late_s[int(0.95 * (len(late_s) - 1))]):.0f} ms, last "
                f"{s_to_ms(late_s[-1]):.0f} ms"
            )
            assert late_s[-1] < SPREAD_TARGET_S
        assert collected.elapsed_s < COLLECT_TARGET_S


def say(text: str) -> None:
    """The benchmark's output is what it prints."""
    sys.stdout.write(f"{text}\n")

"""What holds runs apart are the conditions they ran under, not what was decided about a campaign."""

from __future__ import annotations

from pathlib import Path

import pytest

from perfkit.analysis.conditions import conditions, differing
from perfkit.logs.reader import read_run
from perfkit.testing.runs import make_run


@pytest.mark.parametrize(
    ("parameters", "differ"),
    [
        ({"variants": "base", "repetitions": 0, "precision": "", "budget": "", "seed": 0}, []),
        ({"repetitions": 5, "max_repetitions": 30, "precision": 0.05, "budget": "60min"}, []),
        ({"capacity": ""}, []),
        ({"variants": "chacha"}, ["parameter variants"]),
        ({"monitor": "all"}, ["parameter monitor"]),
    ],
)
def test_a_run_of_before_campaigns_and_a_block_differ_in_what_the_hosts_felt(
    tmp_path: Path, parameters: dict[str, object], differ: list[str]
) -> None:
    before, now = (make_run(tmp_path / name, clients=2, duration_s=3) for name in "ab")
    kept = {"clients": 2, "provider": "synthetic"}
    before.update_manifest({"parameters": kept})
    now.update_manifest({"parameters": {**kept, **parameters}})
    assert differing(conditions(run, read_run(run)) for run in (before, now)) == differ

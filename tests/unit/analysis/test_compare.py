"""Runs side by side, on synthetic runs whose truth is known."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from perfkit.analysis.compare import Comparison, Difference, compare, group_alike, to_sides
from perfkit.analysis.conditions import conditions, differing
from perfkit.analysis.run_summary import Reduced, reduce_run
from perfkit.errors import CampaignError
from perfkit.logs.reader import read_run
from perfkit.testing.runs import make_run

Make = Callable[..., Reduced]
BOTH = ["direct-tcp", "tunnel-tcp"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Reduced synthetic runs, each made once."""
    folder, known = tmp_path_factory.mktemp("runs"), dict[str, Reduced]()

    def make(**choices: Any) -> Reduced:
        name = json.dumps(choices, sort_keys=True)
        if name not in known:
            choices = {"clients": 20, "duration_s": 20, "tests": ["direct-tcp"], **choices}
            known[name] = reduce_run(make_run(folder / f"run-{len(known):03d}", **choices))
        return known[name]

    return make


def held(*groups: list[Reduced]) -> Comparison:
    return compare(to_sides(groups))


def of(comparison: Comparison, where: str, figure: str) -> Difference:
    return next(d for d in comparison.differences if (d.where, d.figure.key) == (where, figure))


def test_runs_without_a_true_difference_give_no_evidence(made: Make) -> None:
    runs = [made(seed=seed) for seed in range(20, 27)]
    verdicts: Counter[str] = Counter()
    pairs = list(combinations(runs, 2))
    alarmed = 0
    for a, b in pairs:
        found = [d.verdict for d in held([a], [b]).differences]
        verdicts.update(found)
        alarmed += bool({"better", "worse"} & set(found))
    judged = verdicts.total() - verdicts["not judged"]
    assert verdicts["better"] + verdicts["worse"] <= 0.07 * judged
    assert alarmed <= 0.2 * len(pairs)


@pytest.mark.parametrize(("factor", "verdict"), [(1.1, "better"), (0.9, "worse")])
def test_a_true_difference_of_ten_percent_is_found_with_its_sign(
    made: Make, factor: float, verdict: str
) -> None:
    a = made(seed=1, clients=150)
    b = made(seed=2, clients=150, rate_mbps=900.0 * factor)
    found = of(held([a], [b]), "direct-tcp", "goodput_bps")
    assert found.verdict == verdict
    assert found.gap.low <= 900e6 * (factor - 1) <= found.gap.high


def test_less_processor_time_is_better(made: Make) -> None:
    a, b = made(seed=1, tests=BOTH), made(seed=2, tests=BOTH)
    cheaper = replace(
        b,
        tests=tuple(
            replace(t, figures={**t.figures, "vpn_cpu_s_per_gbit": 2.5})
            if t.key == "tunnel-tcp"
            else t
            for t in b.tests
        ),
    )
    found = of(held([a], [cheaper]), "tunnel-tcp", "vpn_cpu_s_per_gbit")
    assert found.gap.difference < 0
    assert found.verdict == "better"


def test_with_repetitions_the_spread_between_runs_counts(made: Make) -> None:
    a, b = [made(seed=s) for s in (1, 2, 3)], [made(seed=s) for s in (4, 5, 6)]
    found = of(held(a, b), "direct-tcp", "goodput_bps")
    assert (found.baseline.runs, found.other.runs) == (3, 3)
    assert found.baseline.spread.degrees == 2
    values = [run.tests[0].figure("goodput_bps") for run in a]
    assert found.baseline.value == pytest.approx(sum(values) / 3)


def test_time_of_a_phase_is_judged_only_between_repetitions(made: Make) -> None:
    def timed(seed: int, seconds: float) -> Reduced:
        return replace(made(seed=seed), phases={"launch": seconds})

    once = of(held([timed(1, 10.0)], [timed(2, 5.0)]), "phase launch", "elapsed_s")
    assert once.verdict == "not judged"
    assert "one run a side" in once.reason
    slow = [timed(seed, 10.0 + seed / 100) for seed in (1, 2, 3)]
    fast = [timed(seed, 5.0 + seed / 100) for seed in (4, 5, 6)]
    assert of(held(slow, fast), "phase launch", "elapsed_s").verdict == "better"


def test_time_of_measuring_is_not_held_against_that_of_other_tests(made: Make) -> None:
    times = {"launch": 3.0, "measure": 30.0, "collect": 1.0}

    def timed(first: int, **choices: Any) -> list[Reduced]:
        return [
            replace(made(seed=first + n, **choices), phases={k: v + n for k, v in times.items()})
            for n in range(3)
        ]

    comparison = held(timed(1), timed(1, tests=BOTH))
    for phase in ("phase measure", "phase collect"):
        found = of(comparison, phase, "elapsed_s")
        assert found.verdict == "not comparable"
        assert found.reason == "the runs had other tests: 02-tunnel-tcp (tunnel, 20 s) only in B"
        assert any(f.text == f"not comparable: {found.reason}" for f in comparison.findings)
    assert of(comparison, "phase launch", "elapsed_s").verdict == "no evidence"
    longer = of(held(timed(1), timed(1, duration_s=12)), "phase measure", "elapsed_s")
    assert longer.reason == (
        "the runs had other tests: 01-direct-tcp (direct, 20 s) only in A; "
        "01-direct-tcp (direct, 12 s) only in B"
    )
    assert of(held(timed(1), timed(4)), "phase measure", "elapsed_s").verdict == "no evidence"


def test_sides_with_different_numbers_of_clients_get_no_verdict(made: Make) -> None:
    comparison = held([made(seed=1)], [made(seed=2, clients=10)])
    assert {d.verdict for d in comparison.differences} == {"not comparable"}
    assert all(math.isnan(d.p_holm) for d in comparison.differences)
    assert "A has 20, B has 10" in " ".join(f.text for f in comparison.findings)


def test_totals_of_different_clients_are_not_compared_but_their_median_is(made: Make) -> None:
    failed = made(seed=2, failed={"client-002": "refused", "client-003": "refused"})
    comparison = held([made(seed=1)], [failed])
    total = of(comparison, "direct-tcp", "goodput_bps")
    assert total.verdict == "not comparable"
    assert "18 to 20 clients count" in total.reason
    assert of(comparison, "direct-tcp", "client_median_bps").verdict != "not comparable"
    assert any("not comparable: 18 to 20" in f.text for f in comparison.findings)
    assert any("2 of 20 clients failed" in f.text for f in comparison.findings)


def test_a_ratio_is_not_compared_where_one_of_its_tests_was_of_other_clients(made: Make) -> None:
    few = made(seed=2, tests=BOTH)
    tests = [
        replace(test, figures={**test.figures, "direct_clients": 15.0})
        if test.key == "tunnel-tcp"
        else test
        for test in few.tests
    ]
    comparison = held([made(seed=1, tests=BOTH)], [replace(few, tests=tuple(tests))])
    ratio = of(comparison, "tunnel-tcp", "vs_direct")
    assert ratio.verdict == "not comparable"
    assert "15 to 20 clients count" in ratio.reason
    assert of(comparison, "tunnel-tcp", "goodput_bps").verdict != "not comparable"


def test_a_window_too_short_for_an_interval_is_not_judged(made: Make) -> None:
    comparison = held([made(seed=1, duration_s=7)], [made(seed=2, duration_s=7)])
    found = of(comparison, "direct-tcp", "goodput_bps")
    assert found.verdict == "not judged"
    assert math.isnan(found.gap.low)


def test_a_test_that_only_one_side_ran_is_named(made: Make) -> None:
    comparison = held([made(seed=1, tests=BOTH)], [made(seed=2)])
    assert any("did not run: tunnel-tcp" in f.text for f in comparison.findings)
    assert {d.where for d in comparison.differences} == {"direct-tcp"}


def test_one_run_a_side_says_what_its_interval_leaves_out(made: Make) -> None:
    assert "one run a side" in held([made(seed=1)], [made(seed=2)]).findings[0].text
    three = [made(seed=s) for s in (1, 2, 3)], [made(seed=s) for s in (4, 5, 6)]
    assert not any("one run a side" in f.text for f in held(*three).findings)


@pytest.mark.parametrize("groups", [[[0]], [], [[0], []], [[0], [0]]])
def test_what_is_no_comparison_is_refused(made: Make, groups: list[list[int]]) -> None:
    with pytest.raises(CampaignError):
        to_sides([[made(seed=1) for _ in group] for group in groups])


def test_a_copy_of_a_run_is_no_repetition_of_it(made: Make) -> None:
    run = made(seed=1)
    copied = replace(run, run_id="another-name")
    with pytest.raises(CampaignError, match=r"another-name and .* have the same goodput"):
        to_sides([[run, copied], [made(seed=2)]])
    nothing = replace(run, tests=())
    assert len(to_sides([[nothing], [replace(nothing, run_id="another-name")]])) == 2


def test_runs_of_one_side_must_have_the_same_clients(made: Make) -> None:
    with pytest.raises(CampaignError, match="no repetitions"):
        to_sides([[made(seed=1), made(seed=2, clients=10)], [made(seed=3)]])


def test_runs_under_the_same_conditions_are_taken_as_repetitions(made: Make) -> None:
    a, b, c = (replace(made(seed=s), conditions={"cipher": "AES"}) for s in (1, 2, 3))
    other = replace(made(seed=4), conditions={"cipher": "CHACHA"})
    assert group_alike([a, other, b]) == [[a, b], [other]]
    assert group_alike([a, b, c]) == [[a], [b], [c]]


def test_what_differed_is_read_from_the_run_folder_and_secrets_are_not(tmp_path: Path) -> None:
    found = []
    for name, cipher, ncpu in (("a", "AES-256-GCM", 4), ("b", "CHACHA20-POLY1305", 8)):
        run = make_run(tmp_path / name, clients=3)
        folder = run.config_dir / "resources" / "openvpn"
        folder.mkdir(parents=True)
        (folder / "server.conf").write_text(
            f"# a comment of {name}\ndata-ciphers {cipher}  ; why\nverb 3\n"
        )
        (run.config_dir / "ec2.conf").write_text(f"[ec2]\ntype = t3\nsecret_word = {name}\n")
        (folder.parent / "tests").mkdir()
        (folder.parent / "tests" / "direct-tcp").write_text(f"#!/bin/sh\n# {name}\n")
        facts = run.host_raw_dir("server") / "facts.json"
        facts.write_text(json.dumps({**json.loads(facts.read_text()), "ncpu": ncpu}))
        found.append(conditions(run, read_run(run)))
    assert differing(found) == [
        "server ncpu",
        "openvpn server.conf: data-ciphers",
        "tests/direct-tcp",
    ]
    assert found[0]["openvpn server.conf: data-ciphers"] == "AES-256-GCM"
    assert found[0]["ec2.conf [ec2] secret_word"] == "(not shown)"

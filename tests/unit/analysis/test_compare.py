"""Runs side by side, on synthetic runs whose truth is known."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from perfkit.analysis.answers.contrasts import Contrast
from perfkit.analysis.compare import Comparison, Difference, compare
from perfkit.analysis.conditions import conditions, differing
from perfkit.analysis.run_summary import BlockOf, Reduced, reduce_run
from perfkit.analysis.sides import group_alike, to_sides
from perfkit.errors import CampaignError
from perfkit.logs.reader import read_run
from perfkit.logs.run_logs import Finding
from perfkit.testing.runs import make_run

Make = Callable[..., Reduced]
BOTH = ["direct-tcp", "tunnel-tcp"]
FEW: dict[str, Any] = {"tests": BOTH, "clients": 5}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Reduced synthetic runs, each made once."""
    folder, known = tmp_path_factory.mktemp("runs"), dict[str, Reduced]()

    def make(**choices: Any) -> Reduced:
        name = json.dumps(choices, sort_keys=True)
        if name not in known:
            choices = {"clients": 20, "duration_s": 10, "tests": ["direct-tcp"], **choices}
            known[name] = reduce_run(make_run(folder / f"run-{len(known):03d}", **choices))
        return known[name]

    return make


def held(*groups: list[Reduced]) -> Comparison:
    return compare(to_sides(groups))


def of(comparison: Comparison, where: str, figure: str) -> Difference:
    return next(d for d in comparison.differences if (d.where, d.figure.key) == (where, figure))


def repeated(made: Make, first: int, count: int = 4, **choices: Any) -> list[Reduced]:
    return [made(seed=seed, **choices) for seed in range(first, first + count)]


def test_one_run_against_one_gives_no_verdict_whatever_they_are(made: Make) -> None:
    for rate in (900.0, 90.0):
        comparison = held([made(seed=1, **FEW)], [made(seed=2, rate_mbps=rate, **FEW)])
        assert {d.verdict for d in comparison.differences} == {"not judged"}
        for found in comparison.differences:
            assert math.isnan(found.contrast.p)
            assert math.isnan(found.judgement.p_adjusted)
            assert all(math.isnan(end) for end in found.contrast.interval(0.95))
        assert "one run a side" in comparison.findings[0].text


def test_runs_without_a_true_difference_seldom_get_one(made: Make) -> None:
    runs = [made(seed=seed) for seed in (1, 2, 3, 4, 11, 12, 13)]
    splits = [
        (list(a), [run for run in runs if run not in a][:size])
        for size in (3, 4)
        for a in combinations(runs, 3)
    ]
    alarmed = sum(
        bool({"better", "worse"} & {d.verdict for d in held(a, b).differences}) for a, b in splits
    )
    assert alarmed <= 0.1 * len(splits)


@pytest.mark.parametrize(("factor", "verdict"), [(1.2, "better"), (0.8, "worse")])
def test_a_true_difference_between_repetitions_is_found_with_its_sign(
    made: Make, factor: float, verdict: str
) -> None:
    a, b = repeated(made, 1), repeated(made, 11, rate_mbps=round(900.0 * factor))
    found = of(held(a, b), "direct-tcp", "goodput_bps")
    assert found.verdict == verdict
    low, high = found.contrast.ratios(0.95)
    assert low <= factor <= high


def test_less_processor_time_is_better(made: Make) -> None:
    a, b = repeated(made, 1, 3, **FEW), repeated(made, 11, 3, **FEW)
    cheaper = [
        with_figures(run, "tunnel-tcp", vpn_cpu_s_per_gbit=2.4 + n / 50) for n, run in enumerate(b)
    ]
    found = of(held(a, cheaper), "tunnel-tcp", "vpn_cpu_s_per_gbit")
    assert found.contrast.log_ratio < 0
    assert (found.verdict, found.is_primary) == ("better", True)


def with_figures(run: Reduced, key: str, **figures: float) -> Reduced:
    tests = (replace(t, figures={**t.figures, **figures}) if t.key == key else t for t in run.tests)
    return replace(run, tests=tuple(tests))


def test_the_primary_figures_come_first_and_are_those_of_the_tunnel(made: Make) -> None:
    found = held(repeated(made, 1, 3, **FEW), repeated(made, 11, 3, **FEW)).differences
    first = [(d.where, d.figure.key) for d in found if d.is_primary]
    assert first == [("tunnel-tcp", "goodput_bps"), ("tunnel-tcp", "vpn_cpu_s_per_gbit")]
    assert [d.is_primary for d in found] == sorted((d.is_primary for d in found), reverse=True)
    alone = held(repeated(made, 1), repeated(made, 11)).differences
    assert [d.figure.key for d in alone if d.is_primary] == ["goodput_bps"]


def test_one_run_is_held_against_the_prediction_interval_of_several(made: Make) -> None:
    several = repeated(made, 1)
    found = of(held(several, [made(seed=11)]), "direct-tcp", "goodput_bps")
    assert (found.contrast.kind, found.contrast.degrees) == ("prediction", 3)
    logs = [math.log(run.tests[0].figure("goodput_bps")) for run in several]
    mean = sum(logs) / 4
    sd = math.sqrt(sum((value - mean) ** 2 for value in logs) / 3)
    assert found.contrast.error == pytest.approx(sd * math.sqrt(1 + 1 / 4))
    assert found.verdict != "not judged"


def test_the_spread_within_a_single_run_is_shown_and_not_judged_by(made: Make) -> None:
    runs = made(seed=1, duration_s=20), made(seed=2, duration_s=20)
    found = of(held([runs[0]], [runs[1]]), "direct-tcp", "goodput_bps")
    assert found.baseline.within > 0
    assert found.verdict == "not judged"


def test_with_repetitions_the_spread_between_runs_counts(made: Make) -> None:
    a, b = repeated(made, 1, 3), repeated(made, 11, 3)
    found = of(held(a, b), "direct-tcp", "goodput_bps")
    assert (found.baseline.runs, found.other.runs) == (3, 3)
    values = [run.tests[0].figure("goodput_bps") for run in a]
    assert found.baseline.value == pytest.approx(math.prod(values) ** (1 / 3))
    assert math.isnan(found.baseline.within)


def blocks(
    runs: list[Reduced], campaign: str, variant: str = "base", planned: int | None = None
) -> list[Reduced]:
    return [
        replace(
            run,
            run_id=f"{campaign}/{variant}-{number}",
            block=BlockOf(campaign=campaign, repetition=number, variant=variant, planned=planned),
        )
        for number, run in enumerate(runs, start=1)
    ]


def test_blocks_of_one_campaign_are_pairs_and_those_of_two_are_not(made: Make) -> None:
    a, b = repeated(made, 1), repeated(made, 11)

    def contrast(campaign: str, planned: int | None) -> Contrast:
        sides = blocks(a, "one", planned=planned), blocks(b, campaign, "new", planned)
        return of(held(*sides), "direct-tcp", "goodput_bps").contrast

    assert (contrast("one", 4).kind, contrast("two", 4).kind) == ("paired", "means")
    assert not contrast("one", 4).sequential
    assert contrast("one", None).sequential  # it may have been looked at until it said something
    assert contrast("one", 5).sequential


def test_warnings_of_many_blocks_are_counted_and_one_is_shown(made: Make) -> None:
    warned = [
        replace(run, warnings=(Finding("server", f"busy {n} %"),))
        for n, run in enumerate(repeated(made, 1), start=1)
    ]
    said = [f.text for f in held(blocks(warned, "one"), repeated(made, 11)).findings]
    assert [text for text in said if "busy" in text] == [
        "4 of 4 blocks have warnings of their own, as one/base-1, server: busy 1 %"
    ]


def test_sides_of_several_sizes_are_compared_cell_by_cell(made: Make) -> None:
    a = blocks([*repeated(made, 1), made(seed=5, clients=10)], "one")
    b = blocks([*repeated(made, 11, rate_mbps=720), made(seed=15, clients=5)], "two")
    comparison = held(a, b)
    assert {d.clients for d in comparison.differences} == {20}
    assert of(comparison, "direct-tcp", "goodput_bps").verdict == "worse"
    said = " ".join(f.text for f in comparison.findings)
    assert "A has 10, 20, B has 5, 20" in said


def test_another_load_on_one_side_leaves_no_verdict(made: Make) -> None:
    a, b = repeated(made, 1), repeated(made, 11)
    loaded = [replace(b[0], other_load="its processors were 60 % busy"), *b[1:]]
    comparison = held(a, loaded)
    refused = {d.verdict for d in comparison.differences if not d.where.startswith("phase")}
    assert refused == {"not comparable"}
    assert comparison.findings[0].text == "other load: its processors were 60 % busy"
    assert "0 of 4 of A, 1 of 4 of B runs" in of(comparison, "direct-tcp", "jain").refusal


def test_hosts_of_other_types_are_named_first(made: Make) -> None:
    a, b = repeated(made, 1), repeated(made, 11)
    other = [replace(run, conditions={**run.conditions, "server ncpu": "8"}) for run in b]
    first = held(a, other).findings[0]
    assert first.where == "hosts"
    assert "server ncpu: A" in first.text
    assert "B 8" in first.text


def test_a_test_of_another_length_is_another_test(made: Make) -> None:
    comparison = held(repeated(made, 1), repeated(made, 11, duration_s=12))
    found = of(comparison, "direct-tcp", "goodput_bps")
    assert found.verdict == "not comparable"
    assert found.refusal == "another test: direct, 10 s against direct, 12 s"


def test_a_test_that_another_script_ran_is_named(made: Make) -> None:
    a, b = repeated(made, 1), repeated(made, 11)
    other = [
        replace(run, conditions={**run.conditions, "tests/direct-tcp": "sha256 1"}) for run in b
    ]
    assert any("other tests under one name" in f.text for f in held(a, other).findings)


def test_time_of_a_phase_is_judged_only_between_repetitions(made: Make) -> None:
    def timed(seed: int, seconds: float) -> Reduced:
        return replace(made(seed=seed), phases={"launch": seconds})

    once = of(held([timed(1, 10.0)], [timed(2, 5.0)]), "phase launch", "elapsed_s")
    assert once.verdict == "not judged"
    assert "one run a side" in once.text
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
        assert found.refusal == "the runs had other tests: 02-tunnel-tcp (tunnel, 10 s) only in B"
        assert any(f.text == f"not comparable: {found.refusal}" for f in comparison.findings)
    assert not of(comparison, "phase launch", "elapsed_s").refusal
    longer = of(held(timed(1), timed(1, duration_s=12)), "phase measure", "elapsed_s")
    assert longer.refusal == (
        "the runs had other tests: 01-direct-tcp (direct, 10 s) only in A; "
        "01-direct-tcp (direct, 12 s) only in B"
    )
    assert not of(held(timed(1), timed(4)), "phase measure", "elapsed_s").refusal


def test_sides_with_different_numbers_of_clients_get_no_verdict(made: Make) -> None:
    comparison = held([made(seed=1)], [made(seed=2, clients=10)])
    assert comparison.differences == ()
    assert "A has 20, B has 10" in " ".join(f.text for f in comparison.findings)


def test_totals_of_different_clients_are_not_compared_but_their_median_is(made: Make) -> None:
    failed = made(seed=2, failed={"client-002": "refused", "client-003": "refused"})
    comparison = held([made(seed=1)], [failed])
    total = of(comparison, "direct-tcp", "goodput_bps")
    assert total.verdict == "not comparable"
    assert "18 to 20 clients count" in total.refusal
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
    assert "15 to 20 clients count" in ratio.refusal
    assert of(comparison, "tunnel-tcp", "goodput_bps").verdict != "not comparable"


def test_a_test_that_only_one_side_ran_is_named(made: Make) -> None:
    comparison = held([made(seed=1, tests=BOTH)], [made(seed=2)])
    assert any("did not run: tunnel-tcp" in f.text for f in comparison.findings)
    assert {d.where for d in comparison.differences} == {"direct-tcp"}


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

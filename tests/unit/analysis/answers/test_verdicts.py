"""Verdicts: few figures are judged, their margin counts, and one run a side says nothing."""

from __future__ import annotations

import math
from dataclasses import replace

import campaign_truth
import numpy as np
import pandas as pd
import pytest
from campaign_truth import Truth

from perfkit.analysis.answers import pairs
from perfkit.analysis.answers.contrasts import Contrast, of_pairs, of_sides
from perfkit.analysis.answers.frame import cells_frame
from perfkit.analysis.answers.verdicts import (
    MARGIN,
    Case,
    Direction,
    Judgement,
    holm,
    judge,
    judge_variants,
)
from perfkit.errors import CampaignError

AB = Truth(sizes=(10,), spread=0.02, variants={"base": 1.0, "new": 0.8}, repetitions=6)


def alone(contrast: Contrast, better: Direction = "higher") -> Judgement:
    return judge([Case(contrast=contrast, better=better, is_primary=True)])[0]


def around(change: float, spread: float, runs: int = 5) -> Contrast:
    """Pairs with exactly this mean and s.d."""
    shape = np.linspace(-1, 1, runs)
    return of_pairs((math.log1p(change) + spread * shape / shape.std(ddof=1)).tolist())


@pytest.mark.parametrize(
    ("change", "spread", "better", "verdict"),
    [
        (-0.10, 0.02, "higher", "worse"),
        (-0.10, 0.02, "lower", "better"),
        (0.10, 0.02, "higher", "better"),
        (0.00, 0.02, "higher", "same"),
        (-0.03, 0.005, "higher", "same"),  # a real change, and smaller than the margin
        (0.04, 0.03, "higher", "same or better"),
        (0.04, 0.03, "lower", "not enough data"),
        (-0.04, 0.03, "higher", "not enough data"),
        (-0.10, 0.30, "higher", "not enough data"),
    ],
)
def test_a_verdict_needs_evidence_and_the_margin(
    change: float, spread: float, better: Direction, verdict: str
) -> None:
    assert alone(around(change, spread), better).verdict == verdict


def test_one_run_a_side_never_gives_a_verdict() -> None:
    for other in (10.0, 5.0, 0.001):
        found = alone(of_sides([10.0], [other]))
        assert found.verdict == "not judged"
        assert "one run a side" in found.text
        assert math.isnan(found.p_adjusted)


def test_only_primary_figures_pay_for_each_other() -> None:
    real = Case(contrast=around(-0.10, 0.07), better="higher", is_primary=True)
    others = [replace(real, contrast=around(0.0, 0.05), is_primary=False)] * 20
    assert judge([real, *others])[0].p_adjusted == pytest.approx(real.contrast.p)
    crowd = [replace(case, is_primary=True) for case in others]
    assert judge([real, *crowd])[0].p_adjusted > 0.5


def test_explored_figures_are_adjusted_by_their_share_of_false_ones() -> None:
    p = [case.p for case in (around(-0.2, 0.05), around(-0.15, 0.05), around(0.0, 0.05))]
    cases = [
        Case(contrast=around(c, 0.05), better="higher", is_primary=False)
        for c in (-0.2, -0.15, 0.0)
    ]
    found = [judgement.p_adjusted for judgement in judge(cases)]
    assert found == pytest.approx([min(3 * p[0], 1.5 * p[1]), 1.5 * p[1], p[2]])


def test_holm_multiplies_by_what_is_left_and_never_falls() -> None:
    assert holm([0.01, 0.04, 0.03, math.nan]) == pytest.approx(
        [0.03, 0.06, 0.06, math.nan], nan_ok=True
    )
    assert holm([]) == []


def test_what_is_missing_tells_when_it_is_there() -> None:
    few = around(-0.01, 0.06)
    more = int(alone(few).more)
    assert 5 < more < 60
    assert alone(around(-0.01, 0.06, runs=5 + more)).verdict == "same"
    assert alone(around(-0.01, 0.06, runs=7)).verdict != "same"
    assert f"about {more} more" in alone(few).text


def test_more_than_anyone_will_run_is_said_as_that() -> None:
    found = alone(around(0.0, 2.0))
    assert math.isinf(found.more)
    assert "more than 200" in found.text


def test_a_single_run_beside_several_asks_for_more_of_its_own() -> None:
    found = alone(of_sides(np.exp(np.linspace(-0.05, 0.05, 8)).tolist(), [1.0]))
    assert found.verdict == "not enough data"
    assert 1 <= found.more <= 10


def test_variants_are_judged_in_pairs_with_their_primary_figures_first() -> None:
    frame = cells_frame(campaign_truth.records(AB, np.random.default_rng(1)))
    found = judge_variants(frame, "base", planned=6)
    assert found["is_primary"].tolist() == sorted(found["is_primary"], reverse=True)
    first = found[found["is_primary"]].set_index("figure")
    assert set(first.index) == {"goodput_bps", "vpn_cpu_s_per_gbit"}
    row = first.loc["goodput_bps"]
    assert (row["verdict"], row["pairs"], row["variant"]) == ("worse", 6, "new")
    assert row["low"] < 0.8 < row["high"]


def test_before_the_planned_end_intervals_are_wider() -> None:
    frame = cells_frame(campaign_truth.records(AB, np.random.default_rng(1)))
    goodput = {
        planned: judge_variants(frame, "base", planned=planned).query("figure == 'goodput_bps'")
        for planned in (None, 6, 7)
    }
    widths = {planned: (row["high"] - row["low"]).item() for planned, row in goodput.items()}
    assert widths[None] == widths[7] > 1.3 * widths[6]


def test_the_direct_tests_are_primary_where_there_is_no_tunnel() -> None:
    both = replace(AB, tests={"direct-tcp": 3.0, "tunnel-tcp": 1.0})
    for truth, path in ((both, "tunnel"), (replace(AB, tests={"direct-tcp": 1.0}), "direct")):
        frame = cells_frame(campaign_truth.records(truth, np.random.default_rng(2)))
        found = judge_variants(frame, "base")
        assert set(found.loc[found["is_primary"], "path"]) == {path}


def test_a_base_that_did_not_run_is_named_with_those_that_did() -> None:
    frame = cells_frame(campaign_truth.records(AB, np.random.default_rng(3)))
    with pytest.raises(CampaignError, match=r"bases.*did you mean 'base'"):
        judge_variants(frame, "bases")


def test_a_campaign_of_one_variant_has_nothing_to_judge_and_the_same_columns() -> None:
    frame = cells_frame(
        campaign_truth.records(replace(AB, variants={"base": 1.0}), np.random.default_rng(3))
    )
    found = judge_variants(frame, "base")
    assert found.empty
    assert {"ratio", "verdict", "more"} <= set(found.columns)


def test_a_base_of_which_no_block_counts_leaves_nothing_to_judge() -> None:
    frame = cells_frame(campaign_truth.records(AB, np.random.default_rng(3)))
    frame.loc[frame["variant"] == "base", "void"] = "clock: it stepped"
    assert judge_variants(frame, "base").empty


def frame_of(
    values: dict[tuple[int, str], float], void: tuple[int, str] | None = None
) -> pd.DataFrame:
    rows = [
        {
            "block": number,
            "repetition": repetition,
            "clients": 10,
            "variant": variant,
            "test": "tunnel-tcp",
            "path": "tunnel",
            "position": 1,
            "goodput_bps": value,
            "vs_direct": value / 100.0,
            "void": "clock: it stepped" if (repetition, variant) == void else "",
        }
        for number, ((repetition, variant), value) in enumerate(values.items(), start=1)
    ]
    return cells_frame(rows)


VALUES = {
    (1, "a"): 50.0,
    (1, "b"): 25.0,
    (2, "b"): 40.0,
    (2, "a"): 40.0,
    (3, "a"): 60.0,
    (3, "b"): 0.0,
}


def test_pairs_are_of_one_repetition_and_void_blocks_are_in_none() -> None:
    found = pairs.between_variants(frame_of(VALUES, void=(2, "a")), "a", ["goodput_bps"])
    by_repetition = found.set_index("repetition")["log_ratio"]
    assert by_repetition[1] == pytest.approx(math.log(0.5))
    assert 2 not in by_repetition.index
    assert math.isnan(by_repetition[3])  # a dead test is seen, not left out


def test_of_in_tunnel_over_out_of_tunnel_the_geometric_mean_is_shown() -> None:
    found = pairs.in_tunnel(frame_of({(1, "a"): 50.0, (2, "a"): 32.0, (3, "a"): 40.0}))
    row = found.iloc[0]
    assert row["ratio"] == pytest.approx((0.5 * 0.32 * 0.4) ** (1 / 3))
    assert row["low"] < row["ratio"] < row["high"] < 1.0
    assert row["pairs"] == 3
    assert MARGIN == 0.05

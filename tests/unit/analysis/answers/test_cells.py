"""Cells: intervals, the stop rule, the common warm-up; on campaigns whose truth is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import campaign_truth
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from perfkit.analysis.answers import cells
from perfkit.analysis.answers.baselines import check
from perfkit.analysis.answers.contrasts import BEYOND, between, of_sides
from perfkit.analysis.answers.frame import cells_frame
from perfkit.analysis.answers.verdicts import judge_variants
from perfkit.analysis.run_summary import Test
from perfkit.runs.design import Design, draw

KEY = (10, "base", "tunnel-tcp")


def frame(values: Sequence[float], **more: Any) -> pd.DataFrame:
    """One cell with these goodputs, a block each."""
    return cells_frame(
        {
            "block": block,
            "repetition": block,
            "clients": 10,
            "variant": "base",
            "test": "tunnel-tcp",
            "path": "tunnel",
            "position": 1,
            "goodput_bps": value,
            **{name: column[block - 1] for name, column in more.items()},
        }
        for block, value in enumerate(values, start=1)
    )


def plan(
    repetitions: int | None = None, precision: float | None = None, most: int = 10, **more: Any
) -> Design:
    known: dict[str, Any] = {"clients": (10,), "variants": ("base",), "tests": ("tunnel-tcp",)}
    known |= more
    return Design(
        name="x",
        created_utc="2026-01-01T00:00:00+00:00",
        seed=1,
        repetitions=repetitions,
        precision=precision,
        max_repetitions=most,
        order=draw(1, repetitions=most, **known),
        **known,
    )


def test_the_interval_is_students_t_on_the_logarithms_of_blocks() -> None:
    values = np.array([90.0, 100.0, 105.0, 110.0])
    row = cells.intervals(frame(values.tolist())).iloc[0]
    logs = np.log(values)
    low, high = stats.t.interval(0.95, 3, loc=logs.mean(), scale=stats.sem(logs))
    assert row["mean"] == pytest.approx(stats.gmean(values))
    assert (row["low"], row["high"]) == pytest.approx((np.exp(low), np.exp(high)))
    assert row["half_width_share"] == pytest.approx((row["high"] - row["low"]) / 2 / row["mean"])


def test_void_blocks_are_counted_and_change_nothing() -> None:
    values = [90.0, 100.0, 105.0, 1.0]
    row = cells.intervals(frame(values, void=["", "", "", "clock: 3 s off"])).iloc[0]
    without = cells.intervals(frame(values[:3])).iloc[0]
    assert (row["repetitions"], row["void"]) == (3, 1)
    assert (row["mean"], row["low"]) == (without["mean"], without["low"])


def test_a_figure_with_noughts_has_the_plain_mean() -> None:
    made = frame([1.0, 2.0, 3.0], queue_drops=[0.0, 3.0, 6.0])
    row = cells.intervals(made, ["queue_drops"]).iloc[0]
    assert row["mean"] == 3.0
    assert row["low"] < 0.0


def test_one_block_has_no_interval_and_says_so() -> None:
    row = cells.intervals(frame([100.0])).iloc[0]
    assert np.isnan(row["low"])
    assert np.isnan(row["half_width_share"])
    assert row["note"] == "one block: no interval"


def test_no_block_gives_a_frame_with_the_same_columns_and_types() -> None:
    empty = cells.intervals(cells_frame([]))
    assert empty.dtypes.to_dict() == cells.intervals(frame([1.0, 2.0])).dtypes.to_dict()


def test_blocks_that_were_not_steady_count_and_are_named() -> None:
    made = frame([99.0, 100.0, 101.0], not_steady=["", "stalls", ""], failed_clients=[0, 0, 1])
    row = cells.intervals(made).iloc[0]
    assert row["repetitions"] == 3
    assert row["note"] == "1 of 3 blocks not steady; 1 block with failed clients"


def test_a_precision_that_was_not_reached_is_told_with_what_was() -> None:
    row = cells.intervals(frame([80.0, 90.0, 100.0, 110.0, 120.0]), precision=0.05).iloc[0]
    assert not row["is_precise"]
    assert row["note"] == "precision not reached: ±20.0%, asked 5.0%"


@pytest.mark.parametrize(("blocks", "needs_more"), [(0, True), (2, True), (3, False)])
def test_a_fixed_number_is_the_number_of_blocks_that_count(blocks: int, needs_more: bool) -> None:
    made = frame([100.0] * (blocks + 1), void=[""] * blocks + ["other-load: x"])
    assert cells.unfinished(made, plan(3, most=3)) == ({KEY} if needs_more else set())


def test_the_first_look_is_at_five_blocks_however_alike_the_first_are() -> None:
    alike = [100.0, 100.1, 99.9, 100.0, 100.05]
    assert cells.unfinished(frame(alike[:4]), plan(precision=0.05)) == {KEY}
    assert cells.unfinished(frame(alike), plan(precision=0.05)) == set()


def test_where_the_first_five_spread_widely_the_first_look_is_at_eight() -> None:
    wide = [90.0, 110.0, 91.0, 109.0, 100.0]  # +-13 %, which is sharper than is asked
    asked = plan(precision=0.5)
    assert cells.unfinished(frame(wide), asked) == {KEY}
    assert cells.unfinished(frame([*wide, 100.0, 100.0]), asked) == {KEY}
    assert cells.unfinished(frame([*wide, 100.0, 100.0, 100.0]), asked) == set()


def test_the_rule_is_g_over_one_plus_g_of_the_mean() -> None:
    values = np.array([97.0, 99.0, 100.0, 101.0, 103.0])
    share = float(cells.intervals(frame(values.tolist()))["half_width_share"].iloc[0])
    just = share / (1 - share)
    assert cells.is_sharp(values, just * 1.001)
    assert not cells.is_sharp(values, just * 0.999)


def test_the_most_repetitions_end_a_cell_that_is_not_precise() -> None:
    wide = [60.0, 140.0, 70.0, 130.0, 100.0, 90.0]
    assert cells.unfinished(frame(wide), plan(precision=0.01, most=6)) == set()


def test_a_cell_waits_for_each_primary_figure_that_it_has() -> None:
    even, wide = [100.0] * 5, [1.0, 3.0, 1.1, 2.9, 2.0]
    assert cells.unfinished(frame(even, vpn_cpu_s_per_gbit=wide), plan(precision=0.05)) == {KEY}
    assert cells.unfinished(frame(even), plan(precision=0.05)) == set()


def test_every_cell_of_the_design_is_unfinished_before_the_first_block() -> None:
    asked = plan(
        3, most=3, clients=(1, 10), variants=("base", "b"), tests=("direct-tcp", "tunnel-tcp")
    )
    assert len(cells.unfinished(cells_frame([]), asked)) == 8


def test_the_common_warm_up_is_the_median_over_the_blocks_that_count() -> None:
    found = [0.0, 2.0, 5.0, 2.0, 9.0]
    made = frame([1.0] * 5, warm_up_found_s=found, void=[""] * 4 + ["clock: x"])
    assert cells.median_cuts(made) == {KEY: 2.0}
    assert cells.median_cuts(frame([1.0], warm_up_found_s=[np.nan])) == {}


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    truth = campaign_truth.Truth(sizes=tuple(range(1, 41)), law=lambda _: 1e8, spread=0.05)
    chance = np.random.default_rng(7)
    held = []
    for _ in range(10):
        rows = cells.intervals(cells_frame(campaign_truth.records(truth, chance)), ["goodput_bps"])
        held += ((rows["low"] <= 1e8) & (rows["high"] >= 1e8)).tolist()
    assert 0.92 <= np.mean(held) <= 0.98


def storms(failed: Sequence[float], **more: Any) -> pd.DataFrame:
    """Blocks in which everybody connected in about a second, and those in which most did not."""
    median = [np.nan if count else 1.0 + 0.01 * block for block, count in enumerate(failed)]
    return frame(
        [np.nan] * len(failed),
        kind=["connect-storm"] * len(failed),
        connect_median_s=median,
        connects_per_s=median,
        connect_failed=failed,
        **more,
    )


def test_a_block_in_which_too_many_did_not_connect_leaves_its_cell_without_a_mean() -> None:
    known = ["connect_median_s", "connect_failed", "connects_per_s"]
    assert cells.intervals(storms([0, 0, 0]))["figure"].tolist() == known
    assert cells.intervals(storms([0, 0, 7]))["figure"].tolist() == ["connect_failed"]
    without = cells.intervals(storms([0, 0, 7], void=["", "", "a rule"]))
    assert without["figure"].tolist() == known  # it does not count


def test_a_variant_is_not_judged_by_the_blocks_in_which_enough_clients_connected() -> None:
    base = storms([0] * 5)
    fast = storms([0, 0, 0, 7, 7]).assign(
        variant="fast", connect_median_s=lambda f: f["connect_median_s"] / 2
    )
    both = pd.concat([base, fast], ignore_index=True)
    for one, other in (("base", "fast"), ("fast", "base")):
        found = judge_variants(both, one, planned=5).set_index("figure")
        row = found.loc["connect_median_s"]
        assert (row["verdict"], row["reason"]) == ("not judged", BEYOND), other
        assert row["pairs"] == 5


def test_a_check_does_not_pass_on_the_blocks_in_which_enough_clients_connected() -> None:
    base, now = (storms(failed, path=["tunnel"] * 8) for failed in ([0] * 8, [0] * 6 + [7, 7]))
    assert check(base, base.copy()).outcome == "same or better"
    found = check(now, base)
    assert found.outcome == "not enough data"
    row = found.rows.set_index("figure").loc["connect_median_s"]
    assert row["reason"] == BEYOND
    assert np.isnan(row["value"])


def test_a_run_in_which_too_many_did_not_connect_is_no_run_without_the_figure() -> None:
    figures = {"connect_median_s": np.nan, "connect_failed": 9.0}
    test = Test(key="storm", slot="01-storm", figures=figures, goodput_bps=(), spread={})
    assert test.figure("connect_median_s") == np.inf
    assert np.isnan(test.figure("goodput_bps"))
    assert of_sides([1.0, 1.1], [0.5, np.inf]).reason == BEYOND
    assert between({"1": 1.0, "2": 1.1}, {"1": 0.5, "2": np.inf}).reason == BEYOND
    assert of_sides([1.0, 1.1, 1.2], [0.5, 0.6, np.nan]).runs == (
        3,
        2,
    )  # what nobody has is left out

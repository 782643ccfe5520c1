"""A campaign held against one that was kept."""

from __future__ import annotations

from dataclasses import replace

import campaign_truth
import numpy as np
import pandas as pd
import pytest
from campaign_truth import Truth

from perfkit.analysis.answers.baselines import check
from perfkit.analysis.answers.frame import cells_frame

ONE = Truth(sizes=(10,), spread=0.015)


def campaign(seed: int, repetitions: int, factor: float = 1.0, truth: Truth = ONE) -> pd.DataFrame:
    law = truth.law
    changed = replace(truth, repetitions=repetitions, law=lambda n: law(n) * factor)
    return cells_frame(campaign_truth.records(changed, np.random.default_rng(seed)))


def test_the_same_again_passes() -> None:
    found = check(campaign(1, 8), campaign(2, 8))
    assert found.outcome == "same or better"
    assert found.sentence == "Same or better: none of 2 primary figures is worse by 5 %."


def test_half_of_it_is_worse_and_the_sentence_says_what_by_how_much() -> None:
    found = check(campaign(1, 5, 0.5), campaign(2, 5))
    assert found.outcome == "worse"
    assert found.sentence.startswith("Worse: goodput of tunnel-tcp at 10 clients -5")
    assert "2 primary figures judged" in found.sentence
    row = found.rows.query("figure == 'goodput_bps'").iloc[0]
    assert row["low"] < 0.5 < row["high"]
    assert row["value"] == pytest.approx(row["baseline"] / 2, rel=0.05)


def test_twice_of_it_is_better_and_passes() -> None:
    found = check(campaign(1, 5, 2.0), campaign(2, 5))
    assert found.outcome == "same or better"
    assert "1 better" in found.sentence


@pytest.mark.parametrize(("runs", "of"), [(1, 1), (1, 5)])
def test_too_few_runs_are_not_enough_whatever_they_say(runs: int, of: int) -> None:
    noisy = replace(ONE, spread=0.2)
    found = check(campaign(1, runs, 0.8, truth=noisy), campaign(2, of, truth=noisy))
    assert found.outcome == "not enough data"
    assert found.sentence.startswith("Not enough data: goodput of tunnel-tcp at 10 clients")
    assert f"{of} against {runs} runs" in found.sentence


def test_a_cell_that_was_not_measured_is_not_passed_over() -> None:
    two = replace(ONE, sizes=(1, 10))
    frame = campaign(1, 8, truth=two)
    frame.loc[frame["clients"] == 1, "void"] = "missing-clients: client-001 was lost"
    found = check(frame, campaign(2, 8, truth=two))
    assert found.outcome == "not enough data"
    assert "at 1 client n/a" in found.sentence
    assert check(frame.iloc[:0], frame.iloc[:0]).outcome == "not enough data"


def test_rows_are_by_number_of_clients_whatever_the_drawn_order() -> None:
    several = replace(ONE, sizes=(100, 1, 10))
    rows = check(campaign(1, 3, truth=several), campaign(2, 3, truth=several)).rows
    primary = rows[rows["is_primary"].to_numpy(dtype=bool)]
    assert primary["clients"].tolist() == [1, 1, 10, 10, 100, 100]
    assert rows["is_primary"].tolist() == sorted(rows["is_primary"], reverse=True)


def test_explored_figures_decide_nothing() -> None:
    frame, kept = campaign(1, 8), campaign(2, 8)
    frame["jain"] *= np.linspace(0.4, 0.5, 8)
    found = check(frame, kept)
    assert found.rows.set_index("figure").loc["jain", "verdict"] == "worse"
    assert found.outcome == "same or better"

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from perfkit.analysis import segments, window_rules
from perfkit.campaign import offline
from perfkit.errors import SegmentError
from perfkit.model import Segment, Window
from perfkit.runs import campaign_folder
from perfkit.runs.folder import Run
from perfkit.testing.campaigns import make_campaign


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Run:
    root = tmp_path_factory.mktemp("campaigns") / "made"
    return make_campaign(root, clients=(2,), repetitions=2, void=(), duration_s=9)


@pytest.fixture
def campaign(made: Run, tmp_path: Path) -> Run:
    shutil.copytree(made.root, tmp_path / "campaign")
    return Run(tmp_path / "campaign")


def windows(run: Run) -> dict[tuple[int, str], Segment]:
    return {
        (block.block or 0, segment.test): segment
        for block in campaign_folder.block_runs(run)
        for segment in segments.read(block)
    }


def test_a_rule_moves_the_windows_of_its_tests_and_flows_into_the_cells(campaign: Run) -> None:
    before = windows(campaign)
    table = offline.skip_first(campaign, 3.0, tests="tunnel", who="ada")
    for key, segment in windows(campaign).items():
        was = before[key].steady
        assert segment.steady is not None
        assert was is not None
        moved = 3.0 - before[key].warm_up_s if key[1] == "tunnel-tcp" else 0.0
        assert segment.steady.start_s == pytest.approx(was.start_s + moved)
        assert segment.steady.end_s == was.end_s
    rows = table.to_frame()
    assert set(rows.loc[rows["test"] == "tunnel-tcp", "chosen_by"]) == {"ada, by rule"}
    assert set(rows.loc[rows["test"] == "direct-tcp", "chosen_by"]) == {"events"}
    assert rows.loc[rows["test"] == "tunnel-tcp", "window_s"].max() < 6.1


def test_a_rule_is_data_and_also_for_blocks_that_come_later(campaign: Run) -> None:
    offline.skip_first(campaign, 2.0, tests="all", who="ada")
    (rule,) = window_rules.load(campaign)
    assert str(rule) == "ada: skip the first 2 s of every test"
    late = campaign_folder.block_run(campaign, 2)
    late.segments_path.unlink()  # as if it had just been collected
    offline.segment(campaign)
    assert {segment.warm_up_s for segment in segments.read(late)} == {2.0}
    assert {segment.chosen_by for segment in segments.read(late)} == {"ada, by rule"}


def test_a_rule_that_is_taken_back_gives_the_recorded_windows_back(campaign: Run) -> None:
    before = {key: segment.steady for key, segment in windows(campaign).items()}
    offline.skip_first(campaign, 2.0, tests="all", who="ada")
    assert {key: segment.steady for key, segment in windows(campaign).items()} != before
    offline.skip_first(campaign, 0.0, tests="all", who="ada")
    assert window_rules.load(campaign) == []
    assert {key: segment.steady for key, segment in windows(campaign).items()} == before


def test_a_drawn_window_is_never_changed_by_a_rule(campaign: Run) -> None:
    block = campaign_folder.block_run(campaign, 1)
    first, *rest = segments.read(block)
    assert first.steady is not None
    drawn = Window(start_s=first.steady.start_s + 1, end_s=first.steady.end_s - 1)
    segments.save(block, [replace(first, steady=drawn, chosen_by="bob"), *rest])
    offline.skip_first(campaign, 3.0, tests="all", who="ada")
    kept = segments.read(block)[0]
    assert (kept.steady, kept.chosen_by) == (drawn, "bob")


def test_the_rule_for_one_test_counts_before_that_for_many(campaign: Run) -> None:
    offline.skip_first(campaign, 1.0, tests="tunnel-tcp", who="ada")
    offline.skip_first(campaign, 3.0, tests="all", who="ada")
    cuts = {key[1]: segment.warm_up_s for key, segment in windows(campaign).items()}
    assert cuts == {"tunnel-tcp": 1.0, "direct-tcp": 3.0}


@pytest.mark.parametrize(
    ("first_s", "tests", "says"),
    [
        (3.0, "tunel", "no test is called 'tunel'; tunnel, direct, all, or one of"),
        (8.5, "tunnel", "nothing would be left of its window without the first 8.5 s; skip less"),
        (-1.0, "tunnel", "From 0 s on"),
        (float("nan"), "tunnel", "From 0 s on"),
    ],
)
def test_a_rule_that_cannot_be_is_refused_and_changes_nothing(
    campaign: Run, first_s: float, tests: str, says: str
) -> None:
    before = windows(campaign)
    with pytest.raises(SegmentError, match=says):
        offline.skip_first(campaign, first_s, tests=tests, who="ada")
    assert windows(campaign) == before
    assert not window_rules.rules_path(campaign).exists()


def test_a_rule_works_on_a_single_run_too(campaign: Run) -> None:
    block = campaign_folder.block_run(campaign, 1)
    run = Run(block.root.rename(campaign.root.parent / "single"))
    offline.skip_first(run, 2.0, tests="direct", who="ada")
    cuts = {segment.test: segment.warm_up_s for segment in segments.read(run)}
    assert cuts["direct-tcp"] == 2.0
    assert cuts["tunnel-tcp"] != 2.0

"""The answer of a campaign of searches: sentence, tables, picture, and nothing made of means."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest
from search_campaigns import search_campaign
from synthetic_link import SyntheticLink

from perfkit.analysis import campaign_cells
from perfkit.analysis.answers.capacity import find_searches
from perfkit.analysis.answers.frame import cells_frame
from perfkit.analysis.sides import reduce_sides
from perfkit.errors import CampaignError
from perfkit.model import CapacityGoal
from perfkit.report import answer, history
from perfkit.report.answer import Answer
from perfkit.runs import campaign_folder, design

CAPACITY_BPS = 47e6
RUN = "20261122T122000Z-capacity-abc123"


@pytest.fixture(scope="module")
def twice(tmp_path_factory: pytest.TempPathFactory) -> Answer:
    """Two searches of a link that is a little other each time."""
    link = SyntheticLink(CAPACITY_BPS, spread=0.04, seed=5)
    goal = CapacityGoal(loss_ratio=0.005, trials=1, exceed_ratio=0.0)
    root = tmp_path_factory.mktemp("runs") / RUN
    return answer.render(
        search_campaign(root, lambda _: link, repetitions=2, goal=goal, has_logs=True)
    )


@pytest.fixture
def no_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the answer knows of blocks beside their trials is nothing."""
    monkeypatch.setattr(campaign_cells, "refresh", lambda *_: cells_frame([]))


def test_the_sentence_says_between_which_loads_how_far_apart_and_by_what_method(
    twice: Answer,
) -> None:
    first = twice.sentences[0]
    found = re.fullmatch(
        r"tunnel-udp: the capacity with 2 clients at a loss of 0.5 % is between "
        r"([\d.]+) and ([\d.]+) Mbit/s; between ([\d.]+) and ([\d.]+) Mbit/s; conditional throughput "
        r"([\d.]+) and ([\d.]+) Mbit/s; found 2 times, ([\d.]+) % apart, each known to 5 %; \d+ trials by MLRsearch\.",
        first,
    )
    assert found is not None, first
    low, high, _, _, one, other, apart = map(float, found.groups())
    assert 0.9 * CAPACITY_BPS < low * 1e6 < high * 1e6 < 1.1 * CAPACITY_BPS
    assert apart == pytest.approx(200 * abs(one - other) / (one + other), abs=0.05)
    assert twice.warnings == ()
    assert re.search(r"\d+ blocks, ", twice.sentences[-1])


def test_no_figure_is_a_mean_over_trials_that_offer_different_loads(twice: Answer) -> None:
    assert twice.found.means.empty
    assert twice.found.growths == ()
    assert "cells" not in twice.tables
    assert len(twice.found.frame) > 7


def test_the_tables_have_bounds_loss_at_them_and_every_trial(twice: Answer) -> None:
    assert list(twice.tables)[:3] == ["answer", "searches", "trials"]
    searches = twice.tables["searches"].to_frame()
    assert searches["repetition"].tolist() == [1, 2]
    assert (searches["loss_at_lower_pct"] <= 0.5).all()
    assert (searches["loss_at_upper_pct"] > 0.5).all()
    assert (searches["upper_bps"] > searches["lower_bps"]).all()
    assert (searches["conditional_bps"] <= searches["lower_bps"]).all()
    trials = twice.tables["trials"].to_frame()
    assert len(trials) == searches["trials"].sum()
    assert set(trials["said"]) == {"carried", "not carried"}
    assert (trials["offered_bps"] / trials["load_bps"]).between(0.98, 1.02).all()
    (cell,) = twice.tables["answer"].to_frame().to_dict("records")
    assert cell["lower_bps"] == searches["lower_bps"].min()
    assert cell["upper_bps"] == searches["upper_bps"].max()
    assert "draft-ietf-bmwg-mlrsearch" in twice.tables["answer"].method


def test_page_exports_and_json_have_the_searches(twice: Answer) -> None:
    page = twice.page.read_text()
    assert page.index("conditional throughput") < page.index("<svg") < page.index("<table")
    assert [plot.name for plot in twice.plots] == ["trials"]
    assert "2 clients: between " in twice.plots[0].alt
    with (twice.run.report_dir / "trials.csv").open() as file:
        assert len(list(csv.reader(file))) > 8
    kept = json.loads(campaign_folder.answer_path(twice.run).read_text())
    assert [row["repetition"] for row in kept["searches"]] == [1, 2]
    assert all(len(row["trials"]) > 3 for row in kept["searches"])
    assert json.loads((twice.run.root / "design.json").read_text())["capacity"] == {
        "loss_ratio": 0.005, "width": 0.05, "exceed_ratio": 0.0, "trials": 1, "from_bps": 1e6,
        "to_bps": 1e9,
    }  # fmt: skip


@pytest.mark.usefixtures("no_logs")
def test_searches_that_come_to_the_same_say_so_once_and_how_well_each_is_known(
    tmp_path: Path,
) -> None:
    run = search_campaign(tmp_path / RUN, lambda _: SyntheticLink(CAPACITY_BPS), repetitions=3)
    (first, *_) = answer.compose(run).sentences
    assert first.count("between") == 1
    assert " in each of 3 searches; " in first
    assert "found 3 times, 0 % apart, each known to 5 %" in first


@pytest.mark.usefixtures("no_logs")
def test_what_the_generator_could_not_offer_is_no_capacity_and_is_said(tmp_path: Path) -> None:
    run = search_campaign(tmp_path / RUN, lambda _: SyntheticLink(1e12, most_bps=80e6))
    made = answer.compose(run)
    assert "(above it the generator, not the tunnel)" in made.sentences[0]
    (row,) = made.tables["searches"].to_frame().to_dict("records")
    assert row["limit"] == "the generator, not the tunnel"
    assert row["loss_at_upper_pct"] != row["loss_at_upper_pct"]  # nobody knows
    assert row["loss_at_lower_pct"] == 0.0
    limited = made.tables["trials"].to_frame()["said"] == "the generator, not the tunnel"
    assert 2 <= limited.sum() < len(limited)


@pytest.mark.usefixtures("no_logs")
def test_several_counts_have_a_picture_over_them_and_variants_have_no_verdict(
    tmp_path: Path,
) -> None:
    run = search_campaign(
        tmp_path / RUN, lambda n: SyntheticLink(10e6 * n), clients=(1, 3), variants=("base", "wg"),
        goal=CapacityGoal(loss_ratio=0.01, trials=1, exceed_ratio=0.0),
    )  # fmt: skip
    made = answer.compose(run)
    assert [plot.name for plot in made.plots] == ["capacity", "trials"]
    assert len(made.tables["answer"].rows) == 4
    assert len(made.sentences) == 5
    assert any("no verdict about variants" in line for line in made.warnings)
    assert made.found.judged is None


@pytest.mark.usefixtures("no_logs")
def test_a_search_that_its_budget_ended_says_what_it_knows_so_far(tmp_path: Path) -> None:
    run = search_campaign(tmp_path / RUN, lambda _: SyntheticLink(CAPACITY_BPS), most_blocks=3)
    made = answer.compose(run)
    assert "so far" in made.sentences[0]
    assert "the search is not at its end, the budget ended it" in made.warnings[0]
    assert "ended by the budget" in made.sentences[-1]


@pytest.mark.usefixtures("no_logs")
def test_a_loss_that_so_few_datagrams_could_not_show_is_warned_of(tmp_path: Path) -> None:
    goal = CapacityGoal(loss_ratio=0.0001)
    run = search_campaign(tmp_path / RUN, lambda _: SyntheticLink(2e6), goal=goal)
    assert any("few datagrams" in line for line in answer.compose(run).warnings)


def test_the_history_of_campaigns_leaves_searches_out(twice: Answer) -> None:
    found = history.compose(twice.run, twice.run.root.parent)
    assert found.campaigns == 0


def test_a_campaign_of_searches_is_no_side_of_a_comparison(twice: Answer) -> None:
    with pytest.raises(CampaignError, match="searched for capacity"):
        reduce_sides([[twice.run]], {})


def test_trials_are_those_of_the_journal_and_their_bounds_are_found_anew(twice: Answer) -> None:
    found = find_searches(twice.run, design.load(twice.run))
    assert [it.state for it in found] == [it.state for it in twice.found.searches]

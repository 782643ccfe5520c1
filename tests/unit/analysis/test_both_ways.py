"""Traffic both ways at once: each direction has its figures, and they are never added."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from perfkit.analysis import segments
from perfkit.analysis.answers.headline import primary_of
from perfkit.analysis.answers.verdicts import BETTER
from perfkit.analysis.block_figures import block_rows
from perfkit.analysis.both_ways import GOODPUT, Way, name
from perfkit.analysis.compare import FIGURES, compare
from perfkit.analysis.outcomes import outcomes
from perfkit.analysis.run_summary import reduce_run
from perfkit.analysis.sides import to_sides
from perfkit.analysis.stats import Summary, summarise
from perfkit.analysis.window_figures import Readings
from perfkit.errors import CampaignError
from perfkit.logs.reader import read_run
from perfkit.model import TestKind
from perfkit.report.compare_verdicts import sentences
from perfkit.report.page import compose
from perfkit.runs.folder import Run
from perfkit.testing.runs import make_run
from tests.both_ways_runs import DOWN_SHARE, drop_other_way, make_both_ways, set_kind

DIRECT, TUNNEL = "01-direct-tcp", "02-tunnel-tcp"
PLACE = {"block": 1, "repetition": 1, "clients": 5, "variant": "base"}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    made = make_run(tmp_path / "run", clients=5, seed=3, duration_s=30)
    make_both_ways(made, TUNNEL)
    return made


def summary_of(run: Run) -> Summary:
    logs = read_run(run)
    found = outcomes(logs)
    return summarise(logs, segments.current(run, logs, found), found)


def test_each_direction_has_its_goodput_and_there_is_no_sum_of_both(
    run: Run, tmp_path: Path
) -> None:
    alone = summary_of(
        make_run(tmp_path / "alone", clients=5, seed=3, duration_s=30)
    ).tests.set_index("slot")
    tests = summary_of(run).tests.set_index("slot")
    both, before = tests.loc[TUNNEL], alone.loc[TUNNEL]
    assert both["ways"] == "recv+send"
    assert both["clients_counted"] == 5
    assert both["goodput_up_bps"] == pytest.approx(before["goodput_bps"], rel=1e-9)
    assert both["goodput_down_bps"] == pytest.approx(DOWN_SHARE * before["goodput_bps"], rel=1e-6)
    assert both["client_median_down_bps"] == pytest.approx(
        DOWN_SHARE * before["client_median_bps"], rel=1e-6
    )
    assert both["jain_up"] == pytest.approx(before["jain"])
    absent = [*(f for f in tests if f.startswith("goodput") and "up" not in f and "down" not in f)]
    absent.remove("goodput_change_pct")
    assert np.isnan(both[absent].astype(float)).all(), both[absent]
    assert np.isnan(both["vs_direct"])
    # The other test of the run is as it was.
    assert tests.loc[DIRECT, "goodput_bps"] == alone.loc[DIRECT, "goodput_bps"]


def test_the_interval_of_each_direction_is_its_own(run: Run) -> None:
    both = summary_of(run).tests.set_index("slot").loc[TUNNEL]
    assert both["goodput_ci_up_bps"] > 0
    assert both["goodput_ci_down_bps"] == pytest.approx(
        DOWN_SHARE * both["goodput_ci_up_bps"], rel=1e-5
    )


def test_clients_have_a_goodput_of_each_direction(run: Run) -> None:
    clients = summary_of(run).clients
    own = clients[(clients["slot"] == TUNNEL).to_numpy()]
    assert own["goodput_bps"].isna().all()
    np.testing.assert_allclose(
        own["goodput_down_bps"], DOWN_SHARE * own["goodput_up_bps"], rtol=1e-6
    )


def test_a_client_of_which_one_direction_did_not_arrive_does_not_count(run: Run) -> None:
    drop_other_way(run, TUNNEL, "client-002")
    found = outcomes(read_run(run)).set_index(["slot", "host"])
    lost = found.loc[(TUNNEL, "client-002")]
    assert not lost["ok"]
    assert lost["reason"] == "exit status 0, but nothing arrived from the server"
    assert found.loc[(DIRECT, "client-002"), "ok"]
    assert found["ok"].sum() == 9
    summary = summary_of(run)
    assert summary.tests.set_index("slot").loc[TUNNEL, "clients_counted"] == 4
    moved = [it.text for it in summary.findings if it.text.startswith("failed clients moved")]
    assert len(moved) == 1  # what it received, nobody says
    assert moved[0].endswith(" of the bytes up; they are not in the total")


def test_without_the_servers_log_what_it_received_is_not_known_and_nobody_fails_for_it(
    run: Run,
) -> None:
    (run.host_raw_dir("server") / f"{TUNNEL}.server.log").unlink()
    both = summary_of(run).tests.set_index("slot").loc[TUNNEL]
    assert both["clients_counted"] == 5
    assert np.isnan(both["goodput_up_bps"])
    assert np.isnan(both["goodput_ci_up_bps"])
    assert both["goodput_down_bps"] > 0
    assert both["goodput_ci_down_bps"] > 0


def test_a_test_called_tcp_that_went_both_ways_has_no_sum_either(run: Run) -> None:
    set_kind(run, TUNNEL, TestKind.TCP)
    both = summary_of(run).tests.set_index("slot").loc[TUNNEL]
    assert np.isnan(both["goodput_bps"])
    assert both["goodput_up_bps"] > both["goodput_down_bps"] > 0


def test_a_drift_of_one_direction_is_not_made_good_by_the_other(run: Run) -> None:
    logs = read_run(run)
    traffic = logs.traffic
    down = (traffic["stream_id"].astype("str") == "*1") & (traffic["slot"] == TUNNEL)
    late = down.to_numpy() & (traffic["start_s"] >= 15).to_numpy()
    traffic.loc[late, "size_bytes"] *= 0.2
    found = outcomes(logs)
    tests = summarise(logs, segments.from_events(logs, found), found).tests.set_index("slot")
    assert tests.loc[TUNNEL, "not_steady"].startswith("down: the last third carried -")


def test_the_nic_is_that_of_the_busier_direction_and_its_ratio_that_of_all_bytes(
    run: Run, tmp_path: Path
) -> None:
    alone = summary_of(
        make_run(tmp_path / "alone", clients=5, seed=3, duration_s=30)
    ).tests.set_index("slot")
    both = summary_of(run).tests.set_index("slot").loc[TUNNEL]
    assert both["nic_bps"] == alone.loc[TUNNEL, "nic_bps"]
    carried = both["goodput_up_bps"] + both["goodput_down_bps"]
    assert both["nic_ratio"] * carried > 1.4 * both["nic_bps"]  # what it sent is in it, too
    assert 1.0 < both["nic_ratio"] < 1.2


def test_a_block_of_it_has_both_figures_and_they_are_its_primary_ones(run: Run) -> None:
    (row,) = [row for row in block_rows(run, PLACE) if row["test"] == "tunnel-tcp"]
    assert row["kind"] == "tcp-both"
    assert np.isnan(row["goodput_bps"])
    assert row["goodput_up_bps"] > row["goodput_down_bps"] > 0
    primary = primary_of(TestKind.TCP_BOTH, ("goodput_bps", "vpn_cpu_s_per_gbit"))
    assert primary == ("goodput_up_bps", "goodput_down_bps", "vpn_cpu_s_per_gbit")
    assert {figure.key for figure in FIGURES} > set(GOODPUT)
    assert set(GOODPUT) < set(BETTER)


def test_its_report_shows_both_beside_each_other(run: Run) -> None:
    page = compose(run)
    tables = {**page.tables}
    heads = [column.key for column in tables["directions"].columns]
    assert heads[2:6] == [
        "goodput_up_bps", "goodput_ci_up_bps", "goodput_down_bps", "goodput_ci_down_bps",
    ]  # fmt: skip
    (said,) = [text for text in page.sentences if text.startswith(TUNNEL)]
    assert "Goodput up " in said
    assert "Goodput down " in said
    hosts = [column.key for column in tables["hosts"].columns]
    assert [f"{TUNNEL} up", f"{TUNNEL} down", DIRECT] == sorted(
        (key for key in hosts if key[0] == "0"), reverse=True
    )


def test_a_window_says_both_and_a_comparison_counts_its_clients(run: Run) -> None:
    logs = read_run(run)
    found = outcomes(logs)
    window = next(s.steady for s in segments.from_events(logs, found) if s.slot == TUNNEL)
    assert window is not None
    readout = Readings(logs, found).read(TUNNEL, window, edges=True)
    assert readout.goodput.endswith(" down")
    assert " up, " in str(readout)
    assert np.isfinite(readout.goodput_change_pct)
    test = reduce_run(run).find_test("tunnel-tcp")
    assert test is not None
    assert (test.goodput_bps, test.clients) == ((), 5)
    assert test.spread["goodput_down_bps"].known


def test_a_run_of_nothing_else_says_on_what_its_intervals_stand(run: Run) -> None:
    for slot in (DIRECT, TUNNEL):
        set_kind(run, slot, TestKind.TCP_BOTH)
    make_both_ways(run, DIRECT)
    tables = compose(run).tables
    assert tables["summary"].caption.startswith("±: 95 % interval")
    assert " batches here)" in tables["tests"].method
    assert not tables["clients"].rows
    moved = [column.key for column in tables["sensitivity"].columns]
    assert {"goodput_up_bps_change_pct", "goodput_down_bps_change_pct"} < set(moved)


def test_two_runs_are_compared_by_each_direction_and_a_copy_is_refused(
    run: Run, tmp_path: Path
) -> None:
    other = make_run(tmp_path / "other", clients=5, seed=4, duration_s=30)
    make_both_ways(other, TUNNEL)
    first, second = reduce_run(run), reduce_run(other)
    for one in (first, second):
        assert one.find_test("tunnel-tcp") is not None
    (said,) = sentences(compare(to_sides([[first], [second]])))
    assert "Goodput up of tunnel-tcp at 5 clients" in said
    assert "Goodput down of tunnel-tcp at 5 clients" in said
    alone = [
        replace(it, tests=tuple(test for test in it.tests if test.slot == TUNNEL))
        for it in (first, replace(first, run_id="copy"))
    ]
    with pytest.raises(CampaignError, match="one is a copy of the other"):
        to_sides([[it] for it in alone])


@pytest.mark.parametrize(
    ("figure", "way", "named"),
    [
        ("goodput_bps", Way.UP, "goodput_up_bps"),
        ("goodput_ci_bps", Way.DOWN, "goodput_ci_down_bps"),
        ("jain", Way.UP, "jain_up"),
        ("goodput_bps", Way.ANY, "goodput_bps"),
    ],
)
def test_a_figures_name_says_its_direction(figure: str, way: Way, named: str) -> None:
    assert name(figure, way) == named

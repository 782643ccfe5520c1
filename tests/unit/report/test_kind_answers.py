"""Reports and answers of tests whose figures are no goodput."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from perfkit.analysis.answers.baselines import check
from perfkit.analysis.answers.frame import cells_frame
from perfkit.analysis.answers.headline import primary_of
from perfkit.analysis.answers.verdicts import BETTER, is_primary
from perfkit.model import TestKind
from perfkit.report import answer, page
from perfkit.report.check import CheckReport
from perfkit.runs import campaign_folder
from perfkit.runs.folder import write_json
from perfkit.testing.campaigns import make_campaign
from perfkit.testing.logtext import GAP_S, T0_UTC_S
from perfkit.testing.runs import make_run
from tests.both_ways_runs import make_both_ways
from tests.sampled_runs import make_sampled, rows, sampled_run


def latency_log(start_s: float, rtt_s: float, t0_utc_s: float = T0_UTC_S) -> str:
    """A millisecond without load, so much with it."""
    times_s = (start_s + np.arange(0.5, 8.5, 0.25)).tolist()
    return rows(
        t0_utc_s,
        *((t, "rtt_s", 0.001, "unloaded") for t in times_s[:16]),
        *((t, "rtt_s", rtt_s, "loaded") for t in times_s[16:]),
        (times_s[-1], "load_bps", 1e6, "loaded"),
    )


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> answer.Answer:
    """Round trips under load of 10 ms for each client there is, in three repetitions."""
    root = tmp_path_factory.mktemp("campaigns") / "20261122T122000Z-rtt-abc123"
    run = make_campaign(
        root, clients=(1, 4), repetitions=3, void=(), is_reduced=False, duration_s=9, name="rtt"
    )
    seen: Counter[int] = Counter()
    for folder in sorted((root / "blocks").iterdir()):
        block = campaign_folder.block_run(run, int(folder.name))
        timetable = json.loads(block.timetable_path.read_text())
        slot = next(row for row in timetable["slots"] if row["path"] == "tunnel")
        hosts = [host["name"] for host in json.loads(block.hosts_path.read_text())][1:]
        rtt_s = 0.010 * len(hosts) * (1 + 0.01 * seen[len(hosts)])
        seen[len(hosts)] += 1
        log = latency_log(slot["start_s"], rtt_s, timetable["t0_utc_s"])
        make_sampled(block, slot["name"], TestKind.LATENCY, dict.fromkeys(hosts, log))
    return answer.render(run)


def test_a_check_shows_every_figure_that_can_be_better_or_worse() -> None:
    place = {"clients": 2, "variant": "base", "test": "tunnel-tcp", "path": "tunnel", "position": 1}
    figures = dict.fromkeys(BETTER, 2.0)
    cells = cells_frame([{"block": n, "repetition": n, **place, **figures} for n in (1, 2, 3)])
    made = CheckReport(check=check(cells, cells), checked="now", baseline="then")
    assert sum(len(table.rows) for table in made.tables) == len(BETTER)


def test_the_answer_of_a_latency_campaign_is_its_round_trip_and_not_a_goodput(
    grown: answer.Answer,
) -> None:
    first = grown.sentences[0]
    assert first.startswith("tunnel-tcp: RTT under load 40.4 ms ±"), first
    assert " at 4 clients" in first
    assert "carries" not in first
    assert "full" not in first  # a resource explains what is carried, not how long it takes
    columns = [column.key for column in grown.tables["answer"].columns]
    assert columns == [
        "clients", "rtt_loaded_median_s", "half_width_pct", "rtt_median_s", "rtt_loaded_p99_s",
    ]  # fmt: skip
    assert grown.plots[0].name == "rtt-loaded-median-s"
    assert "4 clients 40.399 ms" in grown.plots[0].alt
    cells = grown.tables["cells"].rows
    assert all(value is not None for value in cells[-1][2:4])  # repetitions and void of each cell


def test_a_cell_of_latency_is_as_precise_as_its_round_trips_are(grown: answer.Answer) -> None:
    found = grown.found
    (row,) = found.frame.loc[found.frame["test"] == "tunnel-tcp", "kind"].unique()
    assert row == "latency"
    assert np.isnan(found.frame.loc[found.frame["test"] == "tunnel-tcp", "goodput_bps"]).all()
    assert found.headline("tunnel-tcp") == "rtt_loaded_median_s"
    assert found.headline("direct-tcp") == "goodput_bps"


def test_the_answer_of_a_test_both_ways_names_both_and_adds_nothing(tmp_path: Path) -> None:
    run = make_campaign(
        tmp_path / "run",
        clients=(2,),
        repetitions=2,
        void=(),
        is_reduced=False,
        duration_s=9,
        tests=("tunnel-tcp",),
    )
    for folder in sorted((run.root / "blocks").iterdir()):
        block = campaign_folder.block_run(run, int(folder.name))
        make_both_ways(block, "01-tunnel-tcp")
    found = answer.render(run)
    first = found.sentences[0]
    assert first.startswith("The tunnel carries "), first
    up, _, down = first.partition(" up and ")
    assert "Mbit/s" in up
    assert "Mbit/s" in down.partition(" down at 2 clients")[0]
    assert len(found.tables["answer"].rows) == 2  # a row each
    assert {plot.name for plot in found.plots} >= {"goodput-up-bps", "goodput-down-bps"}
    assert found.found.frame["goodput_bps"].isna().all()


def test_what_is_carried_stands_beside_what_was_offered(tmp_path: Path) -> None:
    run = make_campaign(
        tmp_path / "run",
        clients=(2,),
        repetitions=2,
        void=(),
        is_reduced=False,
        duration_s=9,
        tests=("tunnel-tcp",),
    )
    for folder in sorted((run.root / "blocks").iterdir()):
        block = campaign_folder.block_run(run, int(folder.name))
        timetable = json.loads(block.timetable_path.read_text())
        timetable["slots"][0]["rate_bps"] = 3e8
        write_json(block.timetable_path, timetable)
    found = answer.compose(run)
    assert " of 600 Mbit/s offered at 2 clients" in found.sentences[0]
    columns = [column.key for column in found.tables["answer"].columns]
    assert columns[:4] == ["clients", "goodput_bps", "half_width_pct", "offered_bps"]


def test_a_report_says_round_trips_in_sentence_table_and_picture(tmp_path: Path) -> None:
    log = latency_log(5.0, 0.25)
    run = sampled_run(tmp_path / "run", TestKind.LATENCY, {"client-001": log, "client-002": log})
    report = page.render(run)
    assert report.sentences[0].startswith(
        "01-tunnel-probe: 2 clients: RTT under load 250.000 ms, RTT without load 1.000 ms"
    )
    (row,) = report.tables["latency"].rows
    shown = dict(zip((c.key for c in report.tables["latency"].columns), row, strict=True))
    assert shown["rtt_added_s"] == pytest.approx(0.249)
    assert shown["load_bps"] == 2e6
    (picture,) = [plot for plot in report.plots if plot.name == "times"]
    assert "round trip loaded: 32, 0.0% did not come, median 250 ms" in picture.alt
    assert "goodput" not in report.text().lower() or "n/a" in report.text()


def test_tests_of_several_kinds_have_their_own_figure_in_the_first_table(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", clients=2, tests=("direct-tcp", "tunnel-probe"))
    log = latency_log(5.0 + 10 + GAP_S, 0.25)
    make_sampled(run, "02-tunnel-probe", TestKind.LATENCY, {"client-001": log, "client-002": log})
    table = page.compose(run).tables["summary"]
    assert [column.key for column in table.columns] == [
        "slot", "clients_ok", "headline", "headline_value", "headline_half",
    ]  # fmt: skip
    assert [row[2] for row in table.rows] == ["Goodput (Mbit/s)", "RTT under load (ms)"]
    assert table.rows[1][3] == "250.000"


def test_primary_figures_follow_the_kind_of_each_test() -> None:
    primary = ("goodput_bps", "vpn_cpu_s_per_gbit")
    assert primary_of(TestKind.TCP, primary) == primary
    assert primary_of(TestKind.PPS, primary) == ("pps", "vpn_cpu_us_per_packet")
    assert primary_of(TestKind.LATENCY, primary[:1]) == ("rtt_loaded_median_s",)
    args = ("tunnel", primary)
    assert is_primary("requests_per_s", *args, TestKind.REQUESTS, has_tunnel=True)
    assert not is_primary("requests_per_s", *args, TestKind.TCP, has_tunnel=True)

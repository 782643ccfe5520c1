"""What a UDP test lost in its window, of each client, and what its common start lost."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from udp_runs import SIZE, say_of_whole, udp_run

from perfkit.analysis import segments, steady_state
from perfkit.analysis.outcomes import outcomes
from perfkit.analysis.stats import Summary, summarise
from perfkit.analysis.trial_loss import trial_loss
from perfkit.logs.reader import read_run
from perfkit.model import Window
from perfkit.report.sentences import test_sentences as sentences_of
from perfkit.runs.folder import Run, write_json

NAME = "01-tunnel-udp.server.events.json"
FIRST, SECOND = "client-001", "client-002"
BURST = [50, 10, *[0] * 10]  # of 100 a second


def summary_of(run: Run) -> Summary:
    logs = read_run(run)
    found = outcomes(logs)
    return summarise(logs, segments.current(run, logs, found), found)


def figures_of(run: Run) -> dict[str, Any]:
    (row,) = summary_of(run).tests.to_dict("records")
    return {str(name): value for name, value in row.items()}


def test_what_the_common_start_lost_is_said_and_in_no_figure(tmp_path: Path) -> None:
    run = udp_run(tmp_path / "run", {FIRST: BURST, SECOND: BURST})
    row = figures_of(run)
    assert row["warm_up_s"] == steady_state.SETTLING_S
    assert row["loss_ratio"] == 0
    assert row["clients_carrying"] == 2
    assert row["udp_lost"] == 120  # of whole streams, as their own table says
    (said,) = [it for it in summary_of(run).findings if "before the window" in it.text]
    assert said.level == "note"
    assert said.text.startswith("20.0% of the 600 datagrams before the window were lost")
    (sentence,) = sentences_of(read_run(run), summary_of(run))
    assert "(2 of 2 carried 99 % or more of theirs)" in sentence


def test_clients_that_lost_more_than_others_are_named_with_how_much(tmp_path: Path) -> None:
    run = udp_run(tmp_path / "run", {FIRST: [0] * 12, SECOND: [0] * 6 + [45, *[0] * 5]})
    row = figures_of(run)
    assert (row["window_lost"], row["window_datagrams"]) == (45, 1600)
    assert row["loss_ratio"] == 45 / 1600
    assert row["clients_carrying"] == 1
    texts = [it.text for it in summary_of(run).findings]
    assert any("1 client of 2 lost more than 1%" in it and f"{SECOND} 5.6%" in it for it in texts)


def test_one_percent_lost_is_carried_and_more_is_not(tmp_path: Path) -> None:
    for lost, carrying in ((8, 2), (9, 1)):
        run = udp_run(tmp_path / str(lost), {FIRST: [0] * 12, SECOND: [0] * 6 + [lost] + [0] * 5})
        assert figures_of(run)["clients_carrying"] == carrying


@pytest.mark.parametrize("whole", ["1211/2381", "39/1209", "0/1200"])
def test_the_windows_loss_is_not_the_report_of_the_whole(tmp_path: Path, whole: str) -> None:
    run = udp_run(tmp_path / "run", {FIRST: [0] * 6 + [30] + [0] * 5, SECOND: [0] * 12})
    say_of_whole(run, "30/1200", whole)
    assert figures_of(run)["loss_ratio"] == 30 / 1600


def test_without_the_seconds_the_loss_is_that_of_whole_streams(tmp_path: Path) -> None:
    run = udp_run(tmp_path / "run", {FIRST: [9] * 12, SECOND: [0] * 12})
    log = run.host_raw_dir("server") / "01-tunnel-udp.server.log"
    spans = [f"{second}.0000-{second + 1}.0000 sec" for second in range(12)]
    lines = [it for it in log.read_text().splitlines() if not any(span in it for span in spans)]
    log.write_text("\n".join(lines) + "\n")
    row = figures_of(run)
    assert row["loss_ratio"] == 108 / 2400
    assert "clients_carrying" not in row


def test_a_client_of_which_only_a_report_of_the_whole_is_there_has_not_lost_all(
    tmp_path: Path,
) -> None:
    run = udp_run(tmp_path / "run", {FIRST: [0] * 12, SECOND: [9] * 12})
    log = run.host_raw_dir("server") / "01-tunnel-udp.server.log"
    lines = log.read_text().splitlines()
    own = [line for line in lines if line.startswith("[  2]")]
    log.write_text("\n".join(line for line in lines if line not in own) + "\n")
    of_client = run.host_raw_dir(SECOND) / "01-tunnel-udp.log"
    report = own[-1].replace("[  2]", "[  1]")
    of_client.write_text(f"{of_client.read_text()}[  1] Server Report:\n{report}\n")
    row = figures_of(run)
    assert row["clients_counted"] == 2
    assert row["loss_ratio"] == 108 / 2400
    assert "clients_carrying" not in row
    assert not any(SECOND in it.text for it in summary_of(run).findings)
    logs = read_run(run)
    assert trial_loss(logs, outcomes(logs), logs.slots[0]) is None


def test_what_is_lost_behind_the_window_is_not_in_it(tmp_path: Path) -> None:
    run = udp_run(tmp_path / "run", {FIRST: [0] * 12, SECOND: [*[0] * 11, 100]})
    assert figures_of(run)["loss_ratio"] == 0


def test_only_tests_by_udp_are_always_cut() -> None:
    cut = (steady_state.SETTLING_S, steady_state.ENDING_S)
    assert steady_state.always_cut_s(["udp"], 30.0) == cut
    assert steady_state.always_cut_s(["udp"], 6.0) == (2, 1)
    assert steady_state.always_cut_s(["udp"], 2.0) == (0, 0)
    assert steady_state.always_cut_s(["udp", "tcp"], 30.0) == (0, 0)
    assert steady_state.always_cut_s([], 30.0) == (0, 0)


def test_a_last_interval_that_waits_for_the_senders_last_word_is_not_in_the_window(
    tmp_path: Path,
) -> None:
    run = udp_run(tmp_path / "run", {FIRST: [0] * 12, SECOND: [0] * 12})
    log = run.host_raw_dir("server") / "01-tunnel-udp.server.log"
    log.write_text(log.read_text().replace("11.0000-12.0000 sec", "11.0000-21.0000 sec"))
    row = figures_of(run)
    assert row["goodput_bps"] == pytest.approx(2 * 100 * SIZE * 8, rel=1e-6)
    assert row["goodput_bps"] == pytest.approx(row["offered_bps"], rel=1e-3)


def test_of_a_client_that_falls_silent_what_it_sent_behind_the_window_is_not_in_it(
    tmp_path: Path,
) -> None:
    run = udp_run(
        tmp_path / "run",
        {FIRST: [0] * 20, SECOND: [0] * 20},
        without_summary=[SECOND],
        silent_from={SECOND: 8},
    )
    logs = read_run(run)
    found = outcomes(logs)
    (chosen,) = segments.current(run, logs, found)
    assert chosen.steady is not None
    begin_s = chosen.steady.start_s
    short = replace(chosen, steady=Window(start_s=begin_s, end_s=begin_s + 7))
    (row,) = summarise(logs, [short], found).tests.to_dict("records")
    assert (row["window_lost"], row["window_datagrams"]) == pytest.approx((200, 1400), abs=50)


def test_a_server_that_crashed_is_said_and_its_silence_is_no_loss(tmp_path: Path) -> None:
    """iperf 2.1.8 with 2,000 clients: aborted by FD_SETSIZE when they ended."""
    run = udp_run(
        tmp_path / "run", {FIRST: [0] * 12, SECOND: [0] * 12}, without_summary=(SECOND,),
        silent_from={SECOND: 7},
    )  # fmt: skip
    assert figures_of(run)["loss_ratio"] > 0
    of_client = run.host_raw_dir(FIRST) / "01-tunnel-udp.events.json"
    record, path = json.loads(of_client.read_text()), run.host_raw_dir("server") / NAME
    for status, crashed in ((134, True), (130, False)):
        write_json(path, record | {"exit_status": status})
        said = [it.text for it in summary_of(run).findings if "crashed (SIGABRT)" in it.text]
        assert bool(said) is crashed
        assert (figures_of(run)["loss_ratio"] == 0) is crashed
        logs = read_run(run)
        assert (trial_loss(logs, outcomes(logs), logs.slots[0]) is None) is crashed

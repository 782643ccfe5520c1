"""Reports and answers of tests in which clients connect at once, or do nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from perfkit.analysis.answers.campaign_answer import to_json
from perfkit.analysis.answers.frame import FIGURES
from perfkit.model import TestKind
from perfkit.report import answer, page
from perfkit.report.answer_memory import memory_sentences
from perfkit.report.columns import FIGURES as SHOWN
from perfkit.runs import campaign_folder
from perfkit.testing.campaigns import make_campaign
from perfkit.testing.logtext import T0_UTC_S
from tests.sampled_runs import make_sampled, rows, sampled_run

EMPTY, EACH = 8_000_000, 95_000  # planted memory of the server's VPN, byte


def storm_log(first_s: float | None, restart_s: float | None) -> str:
    """A client's; its VPN was started 7 s after T0, the server's 11 s after it."""
    found = []
    for begin_s, wait_s, phase in ((7.0, first_s, "first"), (11.0, restart_s, "restart")):
        why = "" if wait_s is not None else ": no reply within 3.0 s"
        found.append((begin_s + (wait_s or 3.0), "connect_s", wait_s, phase + why))
    return rows(T0_UTC_S, (7.0, "late_s", 0.0, "first"), *found)


def idle_log(t0_utc_s: float, end_s: float) -> str:
    found = {"outer_recv_bytes": 500.0, "outer_send_bytes": 300.0, "idle_s": 5.0}
    return rows(t0_utc_s, *((end_s, name, value, "idle") for name, value in found.items()))


def procstat(t0_utc_s: float, start_s: float, end_s: float, memory: float) -> str:
    """The server's VPN, started anew before the test; its clients come after a sixth of it."""
    come_s = start_s + (end_s - start_s) / 6
    held = {start_s: EMPTY, come_s - 0.1: EMPTY, (start_s + end_s) / 2: memory, end_s - 0.1: memory}
    lines = [f"{t0_utc_s + t_s},7,0.5,{rss:.0f},{rss / 2:.0f}" for t_s, rss in held.items()]
    return "\n".join(["epoch,pid,cpu_s,rss_bytes,pss_bytes", *lines, ""])


def test_a_report_says_how_long_clients_took_and_draws_those_that_never_came(
    tmp_path: Path,
) -> None:
    logs = [storm_log(0.2, 1.5), storm_log(0.4, 2.5), storm_log(0.9, None)]
    named = {f"client-{number:03d}": log for number, log in enumerate(logs, start=1)}
    report = page.render(sampled_run(tmp_path / "run", TestKind.CONNECT_STORM, named))
    assert report.sentences[0].startswith("01-tunnel-probe: 3 clients: Connect, median 0.400 s"), (
        report.sentences
    )
    for name, median_s, failed in (("connect", 0.4, 0), ("reconnect", 2.5, 1)):
        (row,) = report.tables[name].rows
        shown = dict(zip((c.key for c in report.tables[name].columns), row, strict=True))
        assert shown[f"{name}_median_s"] == pytest.approx(median_s)
        assert shown[f"{name}_failed"] == failed
    (picture,) = [plot for plot in report.plots if plot.name == "connect-01-tunnel-probe"]
    assert "all at once: 3 clients, median 0.400 s, 0 did not connect" in picture.alt
    assert "restart: 3 clients, median 2.500 s, 1 did not connect" in picture.alt
    assert all(plot.name != "times" for plot in report.plots)
    assert "1 of 3 clients did not connect after the restart: client-003" in report.text()


def test_nobody_connected_is_a_picture_too(tmp_path: Path) -> None:
    named = {"client-001": storm_log(None, None), "client-002": storm_log(None, None)}
    report = page.render(sampled_run(tmp_path / "run", TestKind.CONNECT_STORM, named))
    (picture,) = [plot for plot in report.plots if plot.name.startswith("connect")]
    assert "all at once: 2 clients, no median, 2 did not connect" in picture.alt


def test_a_report_says_what_idle_clients_cost(tmp_path: Path) -> None:
    logs = dict.fromkeys(("client-001", "client-002"), idle_log(T0_UTC_S, 15.0))
    run = sampled_run(tmp_path / "run", TestKind.IDLE, logs)
    text = procstat(T0_UTC_S, 5.0, 15.0, EMPTY + 2 * EACH)
    (run.host_raw_dir("server") / "procstat.csv").write_text(text)
    report = page.render(run)
    assert "VPN memory 8.19 MB, VPN memory per client 95.0 kB" in report.sentences[0]
    (row,) = report.tables["idle"].rows
    shown = dict(zip((c.key for c in report.tables["idle"].columns), row, strict=True))
    assert shown["vpn_rss_empty_bytes"] == EMPTY
    assert shown["idle_bps"] == pytest.approx(800 * 8 / 5)


def test_the_answer_of_an_idle_campaign_is_the_memory_of_one_more_client(tmp_path: Path) -> None:
    root = tmp_path / "20261122T122000Z-idle-abc123"
    sizes = (1, 2, 4)
    run = make_campaign(
        root, clients=sizes, repetitions=2, void=(), is_reduced=False, duration_s=9, name="idle"
    )
    for place, folder in enumerate(sorted((root / "blocks").iterdir())):
        block = campaign_folder.block_run(run, int(folder.name))
        timetable = json.loads(block.timetable_path.read_text())
        slot = next(row for row in timetable["slots"] if row["path"] == "tunnel")
        hosts = [host["name"] for host in json.loads(block.hosts_path.read_text())][1:]
        end_s, t0_utc_s = slot["start_s"] + slot["duration_s"], timetable["t0_utc_s"]
        log = idle_log(t0_utc_s, end_s)
        make_sampled(block, slot["name"], TestKind.IDLE, dict.fromkeys(hosts, log))
        memory = EMPTY + EACH * len(hosts) + (-1) ** place * 500
        text = procstat(t0_utc_s, slot["start_s"], end_s, memory)
        (block.host_raw_dir("server") / "procstat.csv").write_text(text)
    made = answer.compose(run)
    assert made.sentences[0].startswith("tunnel-tcp: VPN memory 8.38 MB"), made.sentences
    assert made.sentences[1].startswith("One more idle client costs the server's VPN 9"), (
        made.sentences
    )
    (row,) = made.tables["memory"].rows
    shown = dict(zip((c.key for c in made.tables["memory"].columns), row, strict=True))
    assert shown["low_bytes"] < EACH < shown["high_bytes"]
    assert shown["without_bytes"] == pytest.approx(EMPTY, rel=0.01)
    several = replace(made.found, design=replace(made.found.design, variants=("plain", "fast")))
    assert memory_sentences(several)[0].startswith("tunnel-tcp, base: one more idle client costs")
    told = to_json(made.found, list(made.sentences))["memory"]
    assert told[0]["per_client_bytes"] == pytest.approx(EACH, rel=0.02)


def test_every_figure_of_a_cell_can_be_shown() -> None:
    assert set(FIGURES) <= set(SHOWN)


def test_a_test_with_a_window_and_no_headline_does_not_say_that_it_has_no_window(
    tmp_path: Path,
) -> None:
    logs = [storm_log(0.2, 1.0), *[storm_log(None, None)] * 3]
    named = {f"client-{number:03d}": log for number, log in enumerate(logs, start=1)}
    said = page.render(sampled_run(tmp_path / "run", TestKind.CONNECT_STORM, named)).sentences[0]
    assert said == (
        "01-tunnel-probe: 4 clients: what it measures is not known, see its tables and the warnings"
    )


def test_the_answer_of_storms_does_not_tell_of_the_blocks_in_which_clients_connected(
    tmp_path: Path,
) -> None:
    root = tmp_path / "20261122T122000Z-storm-abc123"
    run = make_campaign(
        root, clients=(2,), repetitions=3, void=(), is_reduced=False, duration_s=9, name="storm"
    )
    for place, folder in enumerate(sorted((root / "blocks").iterdir())):
        block = campaign_folder.block_run(run, int(folder.name))
        timetable = json.loads(block.timetable_path.read_text())
        slot = next(row for row in timetable["slots"] if row["path"] == "tunnel")
        hosts = [host["name"] for host in json.loads(block.hosts_path.read_text())][1:]
        note = "first" if place else "first: no reply"
        told = (slot["start_s"] + 3.0, "connect_s", 1.0 + 0.1 * place if place else None, note)
        log = rows(timetable["t0_utc_s"], told)
        make_sampled(block, slot["name"], TestKind.CONNECT_STORM, dict.fromkeys(hosts, log))
    said = answer.compose(run).sentences[0]
    assert said.endswith("no figure at 2 clients, Connect, median is not known of all its blocks.")

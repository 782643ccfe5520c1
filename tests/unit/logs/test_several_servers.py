"""A test whose clients were served by several programs on the server, each with a log of its own."""

from __future__ import annotations

import json
import math
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from both_ways_runs import make_both_ways
from udp_runs import udp_run

from perfkit.analysis.outcomes import outcomes
from perfkit.analysis.segments import from_events
from perfkit.analysis.server_crash import findings as crash_findings
from perfkit.analysis.stats import Summary, summarise
from perfkit.analysis.trial_loss import trial_loss
from perfkit.campaign.void_rules import why_void
from perfkit.logs.frames import check
from perfkit.logs.reader import read_run
from perfkit.runs.design import VOID_RULES
from perfkit.runs.folder import Run, write_json
from perfkit.testing.runs import make_run

_ID = re.compile(r"^\[ *(\d+)\]")


def divided(run: Run, folder: Path, servers: int = 2) -> Run:
    """A copy of a run whose server's logs are those of so many programs: each with ids and a port of its own."""
    shutil.copytree(run.root, folder)
    copy = Run(folder)
    timetable = json.loads(copy.timetable_path.read_text())
    for slot in timetable["slots"]:
        slot["servers"] = servers
        log = copy.host_raw_dir("server") / f"{slot['name']}.server.log"
        texts = _split(log.read_text(), servers)
        for number, text in enumerate(texts, start=1):
            ending = ".server.log" if number == 1 else f".server-{number}.log"
            log.with_name(f"{slot['name']}{ending}").write_text(text)
            for port in re.findall(r"connected with \S+ port (\d+)", text):
                _move(copy, slot["name"], port, 5000 + number)
    write_json(copy.timetable_path, timetable)
    return copy


def _split(text: str, servers: int) -> list[str]:
    """The lines of each program; ids are counted anew in each."""
    texts = [""] * servers
    for line in text.splitlines(keepends=True):
        found = _ID.match(line)
        for number in range(servers):
            if not found:
                texts[number] += line.replace("port 5001", f"port {5001 + number}")
            elif int(found[1]) % servers == number:
                own = _ID.sub(f"[{(int(found[1]) + 1) // servers:3d}]", line)
                texts[number] += own.replace("port 5001 ", f"port {5001 + number} ")
    return texts


def _move(run: Run, slot: str, client_port: str, port: int) -> None:
    """The client with that port has connected to another one of the server."""
    for log in run.raw_dir.glob(f"client-*/{slot}.log"):
        text = log.read_text()
        if f" port {client_port} connected" in text:
            log.write_text(text.replace("port 5001", f"port {port}"))


def summary_of(run: Run) -> Summary:
    logs = read_run(run)
    found = outcomes(logs)
    return summarise(logs, from_events(logs, found), found)


@pytest.mark.parametrize("servers", [2, 3])
def test_figures_are_those_of_one_server_that_had_all_clients(tmp_path: Path, servers: int) -> None:
    whole = make_run(tmp_path / "whole", clients=5, client_cv=0.3)
    parts = divided(whole, tmp_path / "parts", servers)
    logs = read_run(parts)
    check(logs.traffic, "run-traffic")
    assert {note.log for note in logs.logs if ".server" in note.log} == {
        f"server/{slot}.server{more}.log"
        for slot in ("01-direct-tcp", "02-tunnel-tcp")
        for more in ["", *(f"-{number}" for number in range(2, servers + 1))]
    }
    expected, got = summary_of(whole), summary_of(parts)
    pd.testing.assert_frame_equal(got.tests, expected.tests)
    pd.testing.assert_frame_equal(got.clients, expected.clients)
    assert [it.text for it in got.findings] == [it.text for it in expected.findings]


def test_loss_is_counted_over_the_logs_of_all_servers(tmp_path: Path) -> None:
    lost = {f"client-{n:03d}": [n] * 12 for n in range(1, 5)}
    whole = udp_run(tmp_path / "whole", lost)
    parts = divided(whole, tmp_path / "parts")
    found = []
    for run in (whole, parts):
        logs = read_run(run)
        found.append(trial_loss(logs, outcomes(logs), logs.slots[0]))
        assert found[-1] is not None
    assert found[0] == found[1]
    pd.testing.assert_frame_equal(summary_of(parts).tests, summary_of(whole).tests)


def test_the_log_of_a_server_that_did_not_come_home_is_named(tmp_path: Path) -> None:
    run = divided(make_run(tmp_path / "whole", clients=4), tmp_path / "parts")
    (run.host_raw_dir("server") / "01-direct-tcp.server-2.log").unlink()
    logs = read_run(run)
    (said,) = [it for it in logs.findings if "is missing" in it.text]
    assert said.where == "01-direct-tcp"
    assert said.text.startswith("01-direct-tcp.server-2.log is missing")
    assert "figures are from" not in said.text  # those of the other server's clients are not
    found = outcomes(logs).query("slot == '01-direct-tcp'").set_index("host")
    assert found["ok"].tolist().count(True) == 2
    for reason in found.loc[~found["ok"], "reason"]:
        assert "not known: there is no 01-direct-tcp.server-2.log" in reason
    why = why_void(run, logs, VOID_RULES)
    assert why is not None
    assert "server in 01-direct-tcp: 01-direct-tcp.server-2.log did not come home" in why[1]


def test_what_the_server_did_is_not_divided_by_what_some_of_its_logs_say(tmp_path: Path) -> None:
    run = divided(make_run(tmp_path / "whole", clients=4), tmp_path / "parts")
    (whole,) = summary_of(run).tests.query("slot == '02-tunnel-tcp'").to_dict("records")
    assert whole["vpn_cpu_s_per_gbit"] > 0
    (run.host_raw_dir("server") / "02-tunnel-tcp.server-2.log").unlink()
    (part,) = summary_of(run).tests.query("slot == '02-tunnel-tcp'").to_dict("records")
    assert part["clients_counted"] == 2
    assert 0 < part["goodput_bps"] < whole["goodput_bps"]
    assert part["vpn_cores"] == pytest.approx(whole["vpn_cores"], rel=0.1)
    for figure in ("vpn_cpu_s_per_gbit", "nic_ratio", "tunnel_ratio"):
        assert math.isnan(part[figure])


def test_of_the_clients_of_a_missing_log_it_is_not_said_that_nothing_arrived(
    tmp_path: Path,
) -> None:
    whole = make_run(tmp_path / "whole", clients=4, tests=("tunnel-tcp",))
    run = divided(whole, tmp_path / "parts")
    make_both_ways(run, "01-tunnel-tcp")
    assert outcomes(read_run(run))["ok"].all()
    (run.host_raw_dir("server") / "01-tunnel-tcp.server-2.log").unlink()
    found = outcomes(read_run(run))
    assert found["ok"].tolist().count(True) == 2
    assert set(found.loc[~found["ok"], "reason"]) == {
        "exit status 0, but whether anything arrived at the server is not known "
        "(there is no 01-tunnel-tcp.server-2.log)"
    }


def test_a_crash_of_any_of_the_servers_is_told_with_its_program(tmp_path: Path) -> None:
    run = divided(make_run(tmp_path / "whole", clients=4), tmp_path / "parts")
    of_client = json.loads(
        (run.host_raw_dir("client-001") / "01-direct-tcp.events.json").read_text()
    )
    for name, status in (("01-direct-tcp.server", 130), ("01-direct-tcp.server-2", 139)):
        record = run.host_raw_dir("server") / f"{name}.events.json"
        write_json(record, of_client | {"exit_status": status})
    logs = read_run(run)
    assert crash_findings(logs, logs.slots[1]) == []
    (said,) = crash_findings(logs, logs.slots[0])
    assert "(iperf 2) crashed (SIGSEGV)" in said.text
    assert "FD_SETSIZE" not in said.text  # of four clients nobody exceeds it
    for number in ("", "-2"):  # a log that no reader knows
        (run.host_raw_dir("server") / f"01-direct-tcp.server{number}.log").write_text("bye\n")
    logs = read_run(run)
    (said,) = crash_findings(logs, logs.slots[0])
    assert "(what direct-tcp.server runs) crashed (SIGSEGV)" in said.text
    assert "iperf" not in said.text

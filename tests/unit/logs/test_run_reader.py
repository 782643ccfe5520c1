from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from perfkit.analysis.outcomes import outcomes
from perfkit.analysis.segments import from_events
from perfkit.analysis.stats import summarise
from perfkit.errors import RunError
from perfkit.logs.cache import Cache
from perfkit.logs.clock_alignment import place
from perfkit.logs.events import parse_record, to_frame
from perfkit.logs.frames import check
from perfkit.logs.reader import read_run
from perfkit.logs.run_logs import Clock, clocks_from
from perfkit.runs.folder import Run
from perfkit.testing.runs import make_run

FAILED = {"client-002": "refused", "client-003": "absent", "client-004": "killed"}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return make_run(
        tmp_path / "run",
        clients=6,
        failed=FAILED,  # type: ignore[arg-type]
        clock_offset_s={"client-001": 40.0, "server": -0.7},
        missed_ticks=[9, 10],
    )


def test_all_frames_of_a_run_keep_their_contracts(run: Run) -> None:
    logs = read_run(run)
    for frame, kind in (
        (logs.traffic, "run-traffic"),
        (logs.monitor, "monitor"),
        (logs.process, "process"),
        (logs.events, "events"),
    ):
        check(frame, kind)
        assert len(frame) > 0
    assert set(logs.traffic["kind"]) == {"interval", "summary"}


def test_each_stream_at_the_server_is_given_to_its_client(run: Run) -> None:
    received = read_run(run).traffic
    received = received[received["log_host"] == "server"]
    per_slot = received.groupby("slot", observed=True)["host"].unique()
    assert sorted(per_slot["01-direct-tcp"]) == [f"client-00{i}" for i in (1, 4, 5, 6)]
    assert sorted(per_slot["02-tunnel-tcp"]) == [f"client-00{i}" for i in (1, 4, 5, 6)]


def test_a_clock_that_is_forty_seconds_ahead_moves_no_stream(run: Run) -> None:
    logs = read_run(run)
    firsts = logs.traffic[
        (logs.traffic["start_s"] == 0) & (logs.traffic["slot"] == "01-direct-tcp")
    ]
    assert firsts["t_start_s"].between(5.0, 5.3).all()
    assert firsts["t_bound_s"].max() < 0.1
    assert not [finding for finding in logs.findings if finding.where == "clock"]


def test_without_measured_clocks_the_disagreement_with_iperfs_stamp_is_reported(run: Run) -> None:
    run.clocks_path.unlink()
    texts = [finding.text for finding in read_run(run).findings if finding.where == "clock"]
    assert any("not measured" in text for text in texts)
    assert any("disagree by more than 2 s" in text and "client-001" in text for text in texts)


def test_a_client_without_a_record_is_placed_by_its_stamp(run: Run) -> None:
    (run.host_raw_dir("client-005") / "01-direct-tcp.events.json").unlink()
    logs = read_run(run)
    own = logs.traffic[
        (logs.traffic["host"] == "client-005") & (logs.traffic["slot"] == "01-direct-tcp")
    ]
    assert own["t_bound_s"].min() >= 0.5
    assert own.loc[own["start_s"] == 0, "t_start_s"].between(4, 6.5).all()


def test_hosts_that_share_one_address_are_told_apart_by_their_ports(run: Run) -> None:
    hosts = json.loads(run.hosts_path.read_text())
    for host in hosts:
        host["address"], host["tunnel_address"] = "127.0.0.1", None
    run.hosts_path.write_text(json.dumps(hosts))
    received = read_run(run).traffic
    received = received[received["log_host"] == "server"]
    assert sorted(received["host"].unique()) == [f"client-00{i}" for i in (1, 4, 5, 6)]


def test_a_stream_of_a_stranger_belongs_to_nobody_and_is_reported(run: Run) -> None:
    path = run.host_raw_dir("server") / "01-direct-tcp.server.log"
    text = path.read_text() + (
        "[ 99] local 10.77.0.3 port 5001 connected with 192.0.2.9 port 999\n"
        "[ 99] 0.0000-9.0000 sec  100 Bytes  800 bits/sec\n"
    )
    path.write_text(text)
    logs = read_run(run)
    assert any("not from a client of this run" in finding.text for finding in logs.findings)
    assert (logs.traffic.loc[logs.traffic["peer_address"] == "192.0.2.9", "host"] == "").all()


@pytest.mark.parametrize(
    ("server_script", "says"),
    [(True, "the server's log is missing"), (False, "the test has no server script")],
)
def test_a_log_that_was_never_to_be_is_not_called_missing(
    run: Run, says: str, *, server_script: bool
) -> None:
    timetable = json.loads(run.timetable_path.read_text())
    timetable["slots"][0]["server_script"] = server_script
    run.timetable_path.write_text(json.dumps(timetable))
    (run.host_raw_dir("server") / "01-direct-tcp.server.log").unlink()
    (found,) = [f for f in read_run(run).findings if "are from the clients' logs" in f.text]
    assert found.where == "01-direct-tcp"
    assert found.text.startswith(says)


def test_what_a_tool_said_went_wrong_is_kept_by_slot_and_host(run: Run) -> None:
    said = read_run(run).messages["01-direct-tcp", "client-002"]
    assert said == "tcp connect failed: Connection refused"


@pytest.mark.parametrize(
    "name",
    ["client-001/01-direct-tcp.log", "client-001/01-direct-tcp.events.json", "server/monitor.csv",
     "server/procstat.csv", "server/facts.json", "server/01-direct-tcp.server.log"],
)  # fmt: skip
@pytest.mark.parametrize(
    "content", [b"", b"\xff\x00 what\n", b"{"], ids=["empty", "garbage", "cut"]
)
def test_a_damaged_log_is_a_finding_and_the_others_still_count(
    run: Run, name: str, content: bytes
) -> None:
    (run.raw_dir / name).write_bytes(content)
    logs = read_run(run)
    assert any(finding.where == name for finding in logs.findings)
    assert (logs.traffic["host"] == "client-005").any()


def test_lines_that_were_not_understood_are_a_warning_with_the_logs_name(run: Run) -> None:
    path = run.host_raw_dir("client-001") / "01-direct-tcp.log"
    path.write_text(path.read_text() + "segmentation fault in frobnicator\n")
    found = [f for f in read_run(run).findings if f.where == "client-001/01-direct-tcp.log"]
    assert found[0].level == "warning"
    assert "frobnicator" in found[0].text


def test_a_run_without_a_timetable_measured_nothing(run: Run) -> None:
    run.timetable_path.unlink()
    with pytest.raises(RunError, match="timetable"):
        read_run(run)


def test_reading_a_run_of_small_logs_writes_nothing(run: Run) -> None:
    before = sorted((p, p.stat().st_mtime_ns) for p in run.root.rglob("*"))
    read_run(run)
    assert sorted((p, p.stat().st_mtime_ns) for p in run.root.rglob("*")) == before


def test_an_offset_between_two_measurements_is_interpolated() -> None:
    records = [
        {"host": "a", "when": "after", "measured_utc_s": 200.0, "offset_s": 3.0, "bound_s": 0.1},
        {"host": "a", "when": "before", "measured_utc_s": 100.0, "offset_s": 1.0, "bound_s": 0.2},
    ]
    clock = clocks_from(records)["a"]
    assert (clock.offset_s(50), clock.offset_s(150), clock.offset_s(500)) == (1.0, 2.0, 3.0)
    assert clock.bound_s == 0.2
    assert Clock().offset_s(1.0) == 0.0


def one_stream(length_s: float) -> pd.DataFrame:
    """Traffic of one stream without a stamp, from the server's log."""
    return pd.DataFrame(
        {
            "slot": ["s"], "log_host": ["server"], "host": ["a"], "stream": [0], "start_s": [0.0],
            "end_s": [length_s], "connected_utc": pd.DatetimeIndex([pd.NaT], tz="UTC"),
        }
    )  # fmt: skip


def one_event(**moments: float) -> pd.DataFrame:
    record = {"slot": "s", "host": "a", "planned_start_utc_s": 100, "planned_end_utc_s": 106}
    return to_frame([parse_record(json.dumps(record | moments).encode(), Path("s.events.json"))])


def test_a_stream_without_record_and_stamp_is_not_placed() -> None:
    events = one_event().iloc[:0]
    placed, findings = place(one_stream(9.0), events, lambda _host: Clock(), 0.0)
    assert np.isnan(placed["t_start_s"].iloc[0])
    assert "no recorded time and no stamp" in findings[0].text


@pytest.mark.parametrize(
    ("said_s", "start_s", "bound_s"),
    [
        ({"last_output_utc_s": 106.09}, 0.03, 0.02),  # not half a second late
        ({"last_output_utc_s": 105.9}, 0.01, 0.0),  # the client's stream was shorter
        ({"last_output_utc_s": 100.02}, 0.54, 0.53),  # it said nothing of its stream
        ({}, 0.54, 0.53),  # a run from before that moment was recorded
    ],
)
def test_a_client_that_ends_a_second_after_its_last_line_is_placed_by_that_line(
    said_s: dict[str, float], start_s: float, bound_s: float
) -> None:
    events = one_event(start_utc_s=100.01, end_utc_s=107.11, **said_s)
    placed, _ = place(one_stream(6.04), events, lambda _host: Clock(bound_s=0.0), 100.0)
    assert placed["t_start_s"].iloc[0] == pytest.approx(start_s)
    assert placed["t_bound_s"].iloc[0] == pytest.approx(bound_s)


def test_large_logs_of_a_run_are_kept_and_found_again(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = read_run(run, cached=False)
    monkeypatch.setattr("perfkit.logs.reader.Cache", lambda folder: Cache(folder, 1))
    read_run(run)
    kept = sorted(path.name.split(".")[1] for path in run.cache_dir.glob("*.parquet"))
    assert kept.count("iperf2") == 10  # one client never came up, another's logs have no rows
    assert set(kept) == {"dstat", "iperf2", "procstat"}
    again = read_run(run)
    for name in ("traffic", "monitor", "process"):
        pd.testing.assert_frame_equal(getattr(fresh, name), getattr(again, name))
    assert (fresh.logs, fresh.findings) == (again.logs, again.findings)


def test_a_log_of_which_only_a_part_came_home_is_named_and_not_read(run: Run) -> None:
    whole = read_run(run)
    log = run.host_raw_dir("client-001") / "01-direct-tcp.log"
    log.with_name(f".{log.name}.part").write_bytes(log.read_bytes()[:700])
    log.unlink()
    logs = read_run(run)
    (found,) = [f for f in logs.findings if f.where == "client-001/01-direct-tcp.log"]
    assert found.level == "warning"
    assert "only the first 700 B were collected" in found.text
    sent = logs.traffic[(logs.traffic["side"] == "sender") & (logs.traffic["host"] == "client-001")]
    assert set(sent["slot"]) == {"02-tunnel-tcp"}
    assert len(logs.traffic) < len(whole.traffic)


def connected_first(run: Run, says: str) -> None:
    """Make the first test one whose clients started a second before, and then said that."""
    timetable = json.loads(run.timetable_path.read_text())
    timetable["slots"][0]["connect_s"] = 1.0
    run.timetable_path.write_text(json.dumps(timetable))
    for path in run.raw_dir.glob("*/01-direct-tcp*.log"):
        marked = re.sub(r"(connected with \S+ port \d+)", r"\1 (epoch-start)", path.read_text())
        of_client = path.parent.name != "server"
        path.write_text(
            re.sub(r"(?m)^(\[ +1\] local .*)$", rf"\1\n[  1] {says}", marked)
            if of_client
            else marked
        )
    for path in run.raw_dir.glob("client-*/01-direct-tcp.events.json"):
        record = json.loads(path.read_text())
        moved = {name: record[name] - 1.0 for name in ("planned_start_utc_s", "start_utc_s")}
        path.write_text(json.dumps(record | moved))


WAITED = "Client traffic to start in 1 seconds at 2026-11-22 12:20:05 current time is 2026-11-22 12:20:04 (UTC)"


def test_streams_of_clients_that_connected_first_are_placed_where_they_began_to_send(
    tmp_path: Path,
) -> None:
    run = make_run(tmp_path / "run", clients=3)
    connected_first(run, WAITED)
    firsts = first_rows(run)
    assert set(firsts["log_host"]) == {"server", "client-001", "client-002", "client-003"}
    assert firsts["t_start_s"].between(5.0, 5.3).all()
    assert firsts["t_bound_s"].max() < 0.2


def test_a_client_that_did_not_wait_is_not_taken_to_have_begun_later_than_it_did(
    tmp_path: Path,
) -> None:
    run = make_run(tmp_path / "run", clients=1)
    connected_first(run, WAITED)
    record_path = run.host_raw_dir("client-001") / "01-direct-tcp.events.json"
    record = json.loads(record_path.read_text())
    moved = {name: record[name] - 1.0 for name in ("last_output_utc_s", "end_utc_s")}
    record_path.write_text(json.dumps(record | moved))  # it was done a second before the others
    firsts = first_rows(run)
    assert (firsts["t_start_s"] - firsts["t_bound_s"] < 4.3).all()


def first_rows(run: Run) -> pd.DataFrame:
    traffic = read_run(run).traffic
    return traffic[(traffic["start_s"] == 0) & (traffic["slot"] == "01-direct-tcp")]


def test_a_window_never_begins_while_clients_only_connect(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", clients=3)
    connected_first(run, WAITED)
    logs = read_run(run)
    found = outcomes(logs)
    own = found[found["slot"] == "01-direct-tcp"]
    assert own["ok"].all()
    assert (own["start_s"] == 5.0).all()
    (segment, _) = from_events(logs, found)
    assert segment.outer.start_s == 5.0
    spread_s = summarise(logs, [segment], found).tests["start_spread_s"].iloc[0]
    assert 0 < spread_s < 0.3  # of the traffic, not of the scripts

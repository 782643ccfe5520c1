"""Traffic logs of other tools than iperf 2's text, in a run: real captures of one small run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from perfkit.analysis.outcomes import outcomes
from perfkit.analysis.segments import from_events
from perfkit.analysis.slot_figures import prepare
from perfkit.analysis.stats import Summary, summarise
from perfkit.logs.frames import check
from perfkit.logs.reader import read_run
from perfkit.logs.run_logs import RunLogs
from perfkit.logs.slot_traffic import owners
from perfkit.model import Window
from perfkit.runs.folder import Run
from perfkit.testing.runs import make_run

CAPTURED = Path(__file__).parents[2] / "data" / "run"
SLOTS = (
    "01-direct-iperf3",
    "02-reverse-iperf3",
    "03-tunnel-iperf3",
    "04-direct-csv",
    "06-direct-csv-udp",
)
WIDE = Window(start_s=-10.0, end_s=200.0)


def bytes_in_files(slot: str) -> float:
    """What arrived of a slot by its files, read without perfkit."""
    raw = CAPTURED / "raw"
    clients = sorted(raw.glob(f"client-*/{slot}.log"))
    if slot.startswith(("01", "02")):
        ends = [json.loads(path.read_bytes())["end"]["sum_received"] for path in clients]
        return float(sum(end["bytes"] for end in ends))
    if slot.startswith("03"):  # ... 17.9 MBytes  50.0 Mbits/sec   receiver
        lines = [n for path in clients for n in path.read_text().splitlines() if "receiver" in n]
        return sum(float(line.split()[4]) * 2**20 for line in lines if "MBytes" in line)
    rows = [line.split(",") for line in (raw / f"server/{slot}.server.log").read_text().split()]
    return float(sum(int(row[7]) for row in rows if row[6].startswith("0.0-3")))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    shutil.copytree(CAPTURED, tmp_path / "run")
    return Run(tmp_path / "run")


def summary_of(logs: RunLogs) -> Summary:
    found = outcomes(logs)
    return summarise(logs, from_events(logs, found), found)


@pytest.fixture(scope="module")
def logs() -> RunLogs:
    return read_run(Run(CAPTURED), cached=False)


@pytest.fixture(scope="module")
def tests(logs: RunLogs) -> pd.DataFrame:
    return summary_of(logs).tests.set_index("slot")


def test_every_traffic_log_is_read_as_what_it_is(logs: RunLogs) -> None:
    check(logs.traffic, "run-traffic")
    formats = {note.log: note.format for note in logs.logs}
    of_client = {slot: formats[f"client-001/{slot}.log"] for slot in (*SLOTS, "07-direct-ping")}
    assert of_client == {
        "01-direct-iperf3": "iperf3-json",
        "02-reverse-iperf3": "iperf3-json",
        "03-tunnel-iperf3": "iperf3-text",
        "04-direct-csv": "iperf2-csv",
        "06-direct-csv-udp": "iperf2-csv",
        "07-direct-ping": "unread",
    }


@pytest.mark.parametrize("slot", SLOTS)
def test_goodput_is_the_receivers_whatever_wrote_the_log(
    logs: RunLogs, tests: pd.DataFrame, slot: str
) -> None:
    row = tests.loc[slot]
    assert (row["side"], row["clients_seen"], row["clients_failed"]) == ("receiver", 2, 0)
    own = outcomes(logs)
    prepared = prepare(
        logs, next(s for s in logs.slots if s.name == slot), own[own["slot"] == slot]
    )
    got = prepared.goodput_by_host(WIDE) * WIDE.length_s / 8
    assert got.sum() == pytest.approx(bytes_in_files(slot), rel=1e-6)
    assert sorted(got.index) == ["client-001", "client-002"]
    # The NIC saw the same, with headers: so the bytes went the way they are said to have gone.
    assert 0.99 < row["nic_ratio"] < 1.12


def test_what_the_server_sent_is_counted_where_it_arrived(logs: RunLogs) -> None:
    down = logs.traffic[logs.traffic["slot"] == "02-reverse-iperf3"]
    received = down[down["side"] == "receiver"]
    assert set(received["log_host"]) == {"client-001", "client-002"}


def test_a_log_without_its_side_is_the_clients_or_the_servers_by_where_it_was(
    logs: RunLogs,
) -> None:
    own = logs.traffic[logs.traffic["slot"] == "04-direct-csv"]
    sides = own.groupby(own["log_host"].astype("str"))["side"].unique()
    assert {host: list(found) for host, found in sides.items()} == {
        "client-001": ["sender"], "client-002": ["sender"], "server": ["receiver"],
    }  # fmt: skip
    at_server = own[own["log_host"] == "server"]
    assert set(at_server["local_port"]) == {5001}
    assert set(at_server["host"]) == {"client-001", "client-002"}
    notes = [f.text for f in logs.findings if f.where == "04-direct-csv"]
    assert any("clients are assumed to have sent" in text for text in notes)


def test_a_log_that_no_reader_knows_is_named_with_its_hosts(logs: RunLogs) -> None:
    (found,) = [f for f in logs.findings if f.where == "07-direct-ping.log of 2 hosts"]
    assert found.level == "warning"
    assert "no reader recognises it" in found.text
    assert found.text.endswith("(client-001, client-002)")


def test_the_last_line_of_a_log_nobody_knows_is_said_where_its_client_does_not_count(
    logs: RunLogs,
) -> None:
    reasons = outcomes(logs).set_index(["slot", "host"])["reason"]
    assert "there are no figures: rtt min/avg/max" in reasons["07-direct-ping", "client-001"]


def test_a_test_that_missed_its_start_says_so_and_its_log_is_no_riddle(logs: RunLogs) -> None:
    reasons = outcomes(logs).set_index(["slot", "host"])["reason"]
    expected = "it never started: 05-direct-udp missed: its start is past"
    assert reasons["05-direct-udp", "client-002"] == expected
    assert not [f for f in logs.findings if "client" in f.where and "05-direct" in f.where]


def test_one_total_a_stream_has_no_confidence_interval_and_says_why(run: Run) -> None:
    slot = "01-direct-iperf3"
    (run.host_raw_dir("server") / f"{slot}.server.log").unlink()
    summary = summary_of(read_run(run, cached=False))
    row = summary.tests.set_index("slot").loc[slot]
    assert row["goodput_bps"] > 300e6
    assert np.isnan(row["goodput_ci_bps"])
    moved = summary.sensitivity[summary.sensitivity["slot"] == slot]
    assert moved["goodput_bps_change_pct"].isna().all()
    assert moved["nic_bps_change_pct"].notna().any()
    texts = [f.text for f in summary.findings if f.where == slot]
    assert any("spread evenly" in text for text in texts)


def test_a_log_of_another_kind_in_a_tests_place_is_a_finding(run: Run) -> None:
    monitor = (run.host_raw_dir("server") / "monitor.csv").read_bytes()
    (run.host_raw_dir("client-001") / "01-direct-iperf3.log").chmod(0o600)
    (run.host_raw_dir("client-001") / "01-direct-iperf3.log").write_bytes(monitor)
    found = {f.where: f.text for f in read_run(run, cached=False).findings}
    assert "dstat, neither traffic nor samples" in found["client-001/01-direct-iperf3.log"]


def test_each_client_of_a_mixed_test_may_use_a_tool_of_its_own(run: Run) -> None:
    other = run.host_raw_dir("client-002") / "01-direct-iperf3.log"
    other.chmod(0o600)
    other.write_text("iperf: command not found\n")
    logs = read_run(run, cached=False)
    assert logs.messages["01-direct-iperf3", "client-002"] == "iperf: command not found"
    own = logs.traffic[logs.traffic["slot"] == "01-direct-iperf3"]
    # The server's log still has that client's streams, by its address.
    assert set(own.loc[own["log_host"] == "server", "host"]) == {"client-001", "client-002"}


def test_a_status_and_a_log_of_openvpn_are_on_the_time_line(logs: RunLogs) -> None:
    check(logs.vpn.clients, "vpn-clients")
    check(logs.vpn.events, "vpn-events")
    check(logs.vpn.counters, "vpn-counters")
    assert set(logs.vpn.counters["host"]) == {"client-001", "client-002"}
    timetable = json.loads((CAPTURED / "timetable.json").read_bytes())
    tunnel = next(slot for slot in timetable["slots"] if slot["path"] == "tunnel")
    assert logs.vpn.clients["t_s"].max() > tunnel["start_s"] + tunnel["duration_s"]
    up = logs.vpn.events[logs.vpn.events["event"] == "tunnel-up"]
    assert (up["t_s"] < 0).all()


def test_a_row_before_its_stream_is_named_has_the_client_of_the_streams_other_rows() -> None:
    hosts = pd.DataFrame(
        [("client-001", "10.9.0.11", "", ""), ("client-002", "10.9.0.12", "", "")],
        columns=["name", "address", "traffic_address", "tunnel_address"],
    )
    columns = ["host", "stream", "local_address", "local_port", "peer_address", "peer_port"]
    sent = pd.DataFrame(
        [
            ("client-001", 0, "", 0, "10.9.0.1", 5001),
            ("client-001", 0, "10.9.0.11", 40001, "10.9.0.1", 5001),
        ],
        columns=columns,
    )
    received = pd.DataFrame(
        [
            ("", 0, "", 0, "", 0),
            ("", 0, "10.9.0.1", 5001, "10.9.0.11", 40001),
            ("", 1, "10.9.0.1", 5001, "10.9.0.12", 40002),
            ("", 1, "", 0, "", 0),
            ("", 2, "", 0, "", 0),  # nobody ever says whose it is
            ("", -1, "", 0, "", 0),
        ],
        columns=columns,
    )
    named = owners(received, sent, hosts).tolist()
    assert named == ["client-001", "client-001", "client-002", "client-002", "", ""]


def test_a_client_is_not_said_to_have_sent_nothing_where_streams_name_nobody(
    tmp_path: Path,
) -> None:
    run = make_run(tmp_path / "run", clients=3, tests=("direct-tcp",))
    log = run.host_raw_dir("server") / "01-direct-tcp.server.log"
    lines = [line for line in log.read_text().splitlines() if "port 30001 " not in line]
    log.write_text("\n".join(lines) + "\n")
    found = outcomes(read_run(run)).set_index("host")
    assert not found.loc["client-002", "ok"]
    assert (
        "is not known: 1 stream there without a known client" in found.loc["client-002", "reason"]
    )
    assert found.loc[["client-001", "client-003"], "ok"].all()


def test_a_client_is_found_by_its_port_although_iperf_writes_the_interface_to_its_address() -> None:
    """Clients that share an address of IPv6, as `local fd77::2%ten0 port 40001` in their logs."""
    sent = pd.DataFrame(
        {
            "host": ["client-001", "client-002"],
            "stream": [1, 1],
            "local_address": ["fd77::2%ten0", "fd77::2%ten0"],
            "local_port": [40001, 40002],
        }
    )
    received = pd.DataFrame(
        {"stream": [1, 2], "peer_address": ["fd77::2", "fd77::2"], "peer_port": [40002, 40001]}
    )
    hosts = pd.DataFrame(
        {
            "name": ["client-001", "client-002"],
            "address": ["fd77::2", "fd77::2"],
            "traffic_address": ["fd77::2", "fd77::2"],
            "tunnel_address": ["", ""],
        }
    )
    assert list(owners(received, sent, hosts)) == ["client-002", "client-001"]

"""What OpenVPN said about a run: connected, carried, went wrong."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from perfkit.analysis.counters import spans
from perfkit.analysis.rates import whole_intervals
from perfkit.analysis.server_load import server_load
from perfkit.analysis.vpn import VpnSummary, summarise_vpn
from perfkit.logs.reader import read_run
from perfkit.logs.run_logs import RunLogs, VpnLogs
from perfkit.model import Window
from perfkit.runs.folder import Run
from perfkit.testing.runs import make_run

DATA = Path(__file__).parents[2] / "data"


@pytest.fixture(scope="module")
def captured() -> RunLogs:
    return read_run(Run(DATA / "run"), cached=False)


def summary_of(logs: RunLogs) -> VpnSummary:
    found = summarise_vpn(logs)
    assert found is not None
    return found


def with_openvpn(folder: Path, log: str) -> RunLogs:
    """A run of three clients whose server has a captured log of OpenVPN."""
    run = make_run(folder / "run", clients=3)
    shutil.copy(DATA / "openvpn" / "log" / log, run.host_raw_dir("server") / "openvpn.log")
    return read_run(run)


def test_a_healthy_run_has_everyone_connected_and_its_bytes_seen_by_both(captured: RunLogs) -> None:
    found = summary_of(captured)
    assert found.findings == ()
    assert found.clients["connected"].tolist() == [True, True]
    assert found.clients["sessions"].tolist() == [1, 1]
    assert found.clients["tunnel_up_s"].between(0, 5).all()
    server = found.server.iloc[0]
    assert (server["clients"], server["connected"]) == (2, 2)
    # Headers of OpenVPN on full packets one way; on bare acknowledgements the other.
    assert 1.0 < server["recv_ratio"] < 1.05
    assert 1.2 < server["send_ratio"] < 2.0
    assert server["recv_bytes"] == found.clients["recv_bytes"].sum()


def test_what_the_server_received_is_what_its_status_says(captured: RunLogs) -> None:
    lines = (DATA / "run/raw/server/openvpn-status.log").read_text().splitlines()
    rows = [line.split("\t") for line in lines if line.startswith("CLIENT_LIST\t")]
    by_name = {row[1]: (float(row[5]), float(row[6])) for row in rows}
    clients = summary_of(captured).clients.set_index("host")[["recv_bytes", "send_bytes"]]
    assert {str(host): tuple(row) for host, *row in clients.itertuples()} == by_name


def test_renegotiations_are_counted_by_client(tmp_path: Path) -> None:
    found = summary_of(with_openvpn(tmp_path, "server-renegotiated.log"))
    assert found.clients.set_index("host")["renegotiations"].to_dict() == {
        "client-001": 8, "client-002": 0, "client-003": 0,
    }  # fmt: skip
    assert found.server["renegotiations"].tolist() == [8]


def test_tls_errors_restarts_and_timeouts_are_counted_and_warned_of(tmp_path: Path) -> None:
    # Its clients are told by their names, and one that never said its name by its address.
    found = summary_of(with_openvpn(tmp_path, "server.log"))
    counts = found.clients.set_index("host")[["timeouts", "tls_errors", "restarts"]]
    assert counts.loc["client-001"].tolist() == [2, 0, 2]
    assert counts.loc["client-002"].tolist() == [0, 0, 0]
    assert counts.loc["client-003"].tolist() == [0, 5, 5]  # two lines a failed handshake
    assert found.server[["timeouts", "tls_errors", "restarts"]].iloc[0].tolist() == [2, 5, 7]
    said = [finding.text for finding in found.findings]
    assert any(text.startswith("TLS or certificate errors: client-003") for text in said)
    assert "connections timed out while tests ran: client-001" in said


def test_both_ends_tell_of_one_event_and_it_counts_once(captured: RunLogs) -> None:
    rows = [("server", "restart"), ("server", "restart"), ("client-001", "restart")]
    events = captured.vpn.events.iloc[: len(rows)].assign(
        host=pd.Categorical([host for host, _ in rows]),
        event=pd.Categorical([event for _, event in rows]),
        common_name=pd.Categorical(["client-001", "client-001", "server"]),
        t_s=[5.0, 7.0, 5.0],
    )
    found = summary_of(replace(captured, vpn=replace(captured.vpn, events=events)))
    assert found.clients["restarts"].tolist() == [2, 0]
    assert any("restarted while tests ran: client-001" in f.text for f in found.findings)


def test_a_client_that_is_gone_at_the_end_is_named(captured: RunLogs) -> None:
    status = captured.vpn.clients
    left = status[(status["common_name"] != "client-002").to_numpy()]
    found = summary_of(replace(captured, vpn=replace(captured.vpn, clients=left)))
    texts = [finding.text for finding in found.findings]
    assert "not connected in the server's last status: client-002" in texts
    assert any("times what came out of its tunnel device" in text for text in texts)


def test_a_load_that_begins_in_the_second_of_the_status_is_no_wrong_counter(
    captured: RunLogs,
) -> None:
    status_s = float(captured.vpn.clients["t_s"].max())
    _, end = spans(captured.monitor)
    rates = captured.monitor["net_tun0_recv_bps"].to_numpy(copy=True)
    rates[np.flatnonzero(end > status_s)[0]] = 1e12
    monitor = captured.monitor.assign(net_tun0_recv_bps=rates)
    found = summary_of(replace(captured, monitor=monitor))
    assert float(found.server["recv_ratio"].iloc[0]) < 0.1
    assert found.findings == ()


def test_without_a_status_nobody_is_called_absent(captured: RunLogs) -> None:
    none = replace(captured.vpn, clients=captured.vpn.clients.iloc[:0])
    found = summary_of(replace(captured, vpn=none))
    assert np.isnan(found.server["connected"].iloc[0])
    assert not [f for f in found.findings if "not connected" in f.text]


def test_a_run_without_openvpn_has_no_summary_of_it(captured: RunLogs) -> None:
    assert summarise_vpn(replace(captured, vpn=VpnLogs())) is None


def test_the_tunnel_is_counted_up_to_the_status_also_within_a_tick(captured: RunLogs) -> None:
    def tunnel_in_bytes(status_s: float) -> float:
        clients = captured.vpn.clients.assign(t_s=status_s)
        found = summary_of(replace(captured, vpn=replace(captured.vpn, clients=clients)))
        return float(found.server["tunnel_in_bytes"].iloc[0])

    monitor = captured.monitor
    busiest = monitor.loc[monitor["net_tun0_recv_bps"].idxmax()]
    whole = busiest["net_tun0_recv_bps"] * busiest["dt_s"] / 8
    end_s, begin_s = busiest["t_s"], busiest["t_s"] - busiest["dt_s"]
    counted = tunnel_in_bytes(end_s) - tunnel_in_bytes(begin_s + busiest["dt_s"] / 4)
    assert counted == pytest.approx(whole * 3 / 4)


def test_after_a_restart_of_the_servers_vpn_the_tunnel_is_counted_from_there(
    captured: RunLogs,
) -> None:
    def tunnel_in_bytes(start_s: float) -> float:
        own = captured.vpn.events[(captured.vpn.events["host"] == "server").to_numpy()]
        start = own[(own["event"] == "start").to_numpy()].iloc[:1].assign(t_s=start_s)
        events = pd.concat([captured.vpn.events, start])
        found = summary_of(replace(captured, vpn=replace(captured.vpn, events=events)))
        return float(found.server["tunnel_in_bytes"].iloc[0])

    monitor = captured.monitor
    end_s = float(monitor.loc[monitor["net_tun0_recv_bps"].idxmax(), "t_s"])
    whole = tunnel_in_bytes(-1000.0)
    before, after = tunnel_in_bytes(end_s - 1.0), tunnel_in_bytes(end_s)
    assert whole > before > after > 0
    busiest = monitor["net_tun0_recv_bps"].max() / 8  # bytes in that second
    assert before - after == pytest.approx(busiest, rel=0.05)


def with_handshakes(captured: RunLogs, *ages_s: float | None) -> RunLogs:
    """The clients' last handshakes so many seconds before the last status; None: never."""
    status = captured.vpn.clients
    last = status[status["snapshot"] == status["snapshot"].max()].sort_values(
        "common_name", key=lambda names: names.astype("str")
    )
    handshakes = [
        pd.NaT if age is None else moment - pd.Timedelta(seconds=age)
        for age, moment in zip(ages_s, last["t_utc"], strict=True)
    ]
    last = last.assign(handshake_utc=pd.DatetimeIndex(handshakes, tz="UTC"))
    return replace(captured, vpn=VpnLogs(clients=last))


@pytest.mark.parametrize(
    ("age_s", "connected"), [(5.0, True), (179.0, True), (181.0, False), (None, False)]
)
def test_a_client_whose_keys_have_expired_is_not_connected(
    captured: RunLogs, age_s: float | None, connected: bool
) -> None:
    found = summary_of(with_handshakes(captured, 5.0, age_s))
    assert found.clients["connected"].tolist() == [True, connected]
    ages = found.clients["handshake_age_s"]
    assert ages.iloc[0] == pytest.approx(5.0)
    assert np.isnan(ages.iloc[1]) if age_s is None else ages.iloc[1] == pytest.approx(age_s)
    named = any("not connected in the server's last status" in it.text for it in found.findings)
    assert named is not connected


def test_what_the_kernel_carries_is_named_and_is_no_processs_cpu(captured: RunLogs) -> None:
    def cores(implementation: str) -> float:
        facts = {"server": {**captured.facts["server"], "vpn_implementation": implementation}}
        logs = replace(captured, facts=facts)
        said = [it for it in summary_of(logs).findings if "the kernel carries" in it.text]
        assert [it.level for it in said] == ["note"] * implementation.startswith("kernel:")
        slot = next(it for it in logs.slots if it.path == "tunnel")
        window = Window(start_s=slot.start_s + 1, end_s=slot.end_s - 1)
        intervals = whole_intervals(logs.traffic[(logs.traffic["slot"] == slot.name).to_numpy()])
        return server_load(logs, slot, window, intervals, ("recv",))["vpn_cores"]

    assert cores("process: OpenVPN 2.6.14 without DCO") > 0
    assert np.isnan(cores("kernel: DCO of OpenVPN 2.6.14"))

"""What becomes of clients whose tests print samples."""

from __future__ import annotations

import json
from pathlib import Path

from perfkit.analysis import segments
from perfkit.analysis.outcomes import outcomes
from perfkit.analysis.stats import summarise
from perfkit.logs.reader import read_run
from perfkit.model import TestKind
from perfkit.runs.folder import write_json
from perfkit.testing.logtext import T0_UTC_S
from tests.sampled_runs import rows, sampled_run

ONE = rows(T0_UTC_S, (6.25, "rtt_s", 0.5, ""))
NONE = rows(T0_UTC_S, (6.25, "rtt_s", None, "late"))


def test_a_client_counts_with_a_sample_that_has_a_value_and_fails_without(tmp_path: Path) -> None:
    texts = {"client-001": ONE, "client-002": NONE, "client-003": "", "client-004": ONE}
    run = sampled_run(tmp_path / "run", TestKind.LATENCY, texts)
    path = run.host_raw_dir("client-004") / "01-tunnel-probe.events.json"
    write_json(path, json.loads(path.read_text()) | {"exit_status": 3})
    found = outcomes(read_run(run)).set_index("host")
    assert found["ok"].to_dict() == {
        "client-001": True, "client-002": False, "client-003": False, "client-004": False,
    }  # fmt: skip
    assert not found["unread"].any()
    for host in ("client-002", "client-003"):
        assert found.loc[host, "reason"].startswith("exit status 0, but its log holds no sample")
    assert found.loc["client-004", "reason"] == "exit status 3"


def test_a_storm_may_be_over_early_but_a_latency_test_may_not(tmp_path: Path) -> None:
    for kind, ok in ((TestKind.CONNECT_STORM, True), (TestKind.LATENCY, False)):
        run = sampled_run(tmp_path / kind.value, kind, {"client-001": ONE})
        path = run.host_raw_dir("client-001") / "01-tunnel-probe.events.json"
        record = json.loads(path.read_text())
        write_json(path, record | {"end_utc_s": record["start_utc_s"] + 2.0})
        found = outcomes(read_run(run))
        assert found["ok"].tolist() == [ok]
        assert ("ended after 2.0 s" in found["reason"].iloc[0]) is not ok


def test_a_test_of_samples_has_no_goodput_and_is_not_said_to_carry_nothing(tmp_path: Path) -> None:
    run = sampled_run(tmp_path / "run", TestKind.LATENCY, {"client-001": ONE, "client-002": ONE})
    logs = read_run(run)
    found = outcomes(logs)
    summary = summarise(logs, segments.current(run, logs, found), found)
    (row,) = summary.tests.to_dict("records")
    assert row["clients_counted"] == row["clients_seen"] == 2
    assert row["window_s"] > 9
    assert row.get("goodput_bps") is None or row["goodput_bps"] != row["goodput_bps"]
    assert row["not_steady"] == ""
    assert [f.text for f in summary.findings if f.level == "warning"] == []

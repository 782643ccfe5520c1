"""What makes a block void: its conditions, never its figures."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from perfkit.campaign.void_rules import MOST_BUSY_PCT, idle_busy_pct, why_void
from perfkit.logs.reader import read_run
from perfkit.logs.run_logs import Notice, RunLogs
from perfkit.runs.design import VOID_RULES
from perfkit.runs.folder import Run
from perfkit.testing.runs import make_run


@pytest.fixture
def block(tmp_path: Path) -> Run:
    return make_run(tmp_path / "block", clients=3)


def busy_before(logs: RunLogs, busy_pct: float) -> RunLogs:
    """Something took so much of the server's processors, until the first test began."""
    before = logs.monitor["t_s"] <= logs.slots[0].start_s - 1
    busy = logs.monitor["cpu_busy_pct"].where(~before, busy_pct)
    return replace(logs, monitor=logs.monitor.assign(cpu_busy_pct=busy))


def test_a_quiet_block_with_all_its_clients_counts(block: Run) -> None:
    logs = read_run(block)
    assert idle_busy_pct(logs)[1] >= 3  # it was watched
    assert why_void(block, logs, VOID_RULES) is None


def test_a_block_counts_however_far_its_figures_are_from_others(tmp_path: Path) -> None:
    slow = make_run(tmp_path / "slow", clients=3, rate_mbps=9.0)
    assert why_void(slow, read_run(slow), VOID_RULES) is None


@pytest.mark.parametrize("how", ["refused", "absent", "killed", "quiet"])
def test_a_block_that_lost_a_client_is_void_and_names_it(tmp_path: Path, how: str) -> None:
    block = make_run(tmp_path / "block", clients=3, failed={"client-002": how})  # type: ignore[dict-item] # parametrized
    found = why_void(block, read_run(block), VOID_RULES)
    assert found is not None
    rule, why = found
    assert rule == "missing-clients"
    assert "client-002 in " in why


@pytest.mark.parametrize(
    ("host", "name"),
    [("client-001", "02-tunnel-tcp.events.json"), ("server", "02-tunnel-tcp.server.log")],
)
def test_a_block_whose_logs_did_not_all_come_home_is_void(block: Run, host: str, name: str) -> None:
    (block.host_raw_dir(host) / name).unlink()
    found = why_void(block, read_run(block), VOID_RULES)
    assert found == ("missing-clients", f"{host} in 02-tunnel-tcp: {name} did not come home")


def test_logs_that_are_missing_because_a_machine_died_name_it(block: Run) -> None:
    (block.host_raw_dir("client-001") / "02-tunnel-tcp.events.json").unlink()
    hosts = json.loads(block.hosts_path.read_text())
    why = "UnreachableError: its machine lab-2 was not reached"
    changed = [{**it, "reason": why} if it["name"] == "client-001" else it for it in hosts]
    block.hosts_path.write_text(json.dumps(changed))
    _, said = why_void(block, read_run(block), VOID_RULES) or ("", "")
    assert (
        said == f"client-001 in 02-tunnel-tcp: 02-tunnel-tcp.events.json did not come home ({why})"
    )


def test_other_load_before_the_tests_makes_a_block_void_and_says_how_much(block: Run) -> None:
    logs = busy_before(read_run(block), 60.0)
    rule, why = why_void(block, logs, VOID_RULES) or ("", "")
    assert rule == "other-load"
    assert "60 % busy before the tests" in why
    little = busy_before(read_run(block), MOST_BUSY_PCT - 1)
    assert why_void(block, little, VOID_RULES) is None


def test_a_rule_that_the_design_does_not_have_voids_nothing(block: Run) -> None:
    logs = busy_before(read_run(block), 60.0)
    assert why_void(block, logs, ("missing-clients", "clock")) is None


def test_a_clock_that_moved_during_the_tests_makes_a_block_void(block: Run) -> None:
    rows = json.loads(block.clocks_path.read_text())
    for row in rows:
        if row["when"] == "after" and row["host"] == "client-001":
            row["offset_s"] += 0.5
    block.clocks_path.chmod(0o600)
    block.clocks_path.write_text(json.dumps(rows))
    rule, why = why_void(block, read_run(block), VOID_RULES) or ("", "")
    assert (rule, "client-001 moved by +0.500 s" in why) == ("clock", True)


def test_a_host_that_is_being_taken_back_makes_a_block_void(block: Run) -> None:
    logs = read_run(block)
    notice = Notice(noticed_utc_s=logs.t0_utc_s, reason="spot")
    taken = replace(logs, interrupted={"server": notice})
    rule, why = why_void(block, taken, VOID_RULES) or ("", "")
    assert (rule, why) == ("spot-notice", "server was taken back: spot")


def test_the_idle_control_is_over_before_clients_connect(block: Run) -> None:
    logs = read_run(block)
    early = replace(logs, slots=tuple(replace(slot, connect_s=2.0) for slot in logs.slots))
    connecting = early.monitor["t_s"] > early.slots[0].start_s - 3
    busy = early.monitor["cpu_busy_pct"].mask(connecting, 100.0)
    loaded = replace(early, monitor=early.monitor.assign(cpu_busy_pct=busy))
    assert idle_busy_pct(loaded)[0] < 5

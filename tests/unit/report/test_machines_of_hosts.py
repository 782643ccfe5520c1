"""Where hosts are on machines that have names, tables say on which; each machine has one clock."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from perfkit.logs.reader import read_run
from perfkit.report.page import compose
from perfkit.runs.folder import Run
from perfkit.testing.runs import make_run

ON = {
    "server": "lab-0",
    "client-001": "lab-1",
    "client-002": "lab-1",
    "client-003": "lab-2",
}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return make_run(tmp_path / "run", clients=3, failed={"client-002": "killed"})


def put_on_machines(run: Run) -> None:
    hosts = json.loads(run.hosts_path.read_text())
    run.hosts_path.write_text(json.dumps([{**it, "machine": ON[it["name"]]} for it in hosts]))


def test_tables_by_host_say_on_which_machine_each_is_and_provenance_counts_machines(
    run: Run,
) -> None:
    plain = compose(run).tables
    assert not [t.name for t in plain.values() if "machine" in [c.key for c in t.columns]]
    put_on_machines(run)
    tables = compose(run).tables
    for name, host in (("hosts", "name"), ("failures", "host")):
        keys = [column.key for column in tables[name].columns]
        assert keys[2] == "machine"
        for row in tables[name].rows:
            said = dict(zip(keys, row, strict=True))
            assert said["machine"] == ON[str(said[host])]
        others = [column.key for column in plain[name].columns]
        assert [key for key in keys if key != "machine"] == others
    assert "; 3 clients on 2 machines and 1 server; " in tables["hosts"].provenance


def test_a_clock_that_hosts_share_is_said_once_by_the_name_of_its_machine(run: Run) -> None:
    put_on_machines(run)
    rows = json.loads(run.clocks_path.read_text())
    for row in rows:
        if row["when"] == "after" and row["host"] in ("client-001", "client-002", "server"):
            row["offset_s"] += 0.5
    run.clocks_path.chmod(0o600)
    run.clocks_path.write_text(json.dumps(rows))
    found = [it.text for it in compose(run).summary.findings if it.where == "clock"]
    assert [text.partition(" moved ")[0] for text in found] == [
        "server's clock",
        "the clock of lab-1, on which client-001, client-002 are,",
    ]
    assert read_run(run).machines == ON

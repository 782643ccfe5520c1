"""The last phase of a run: its windows, its report and its rows of the store, each found once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from perfkit.analysis import durations
from perfkit.analysis.durations import TrafficTime
from perfkit.campaign import offline
from perfkit.logs import reader
from perfkit.logs.format import Reading
from perfkit.logs.run_logs import RunLogs, SlotPlan
from perfkit.report import page
from perfkit.store import attributes
from perfkit.testing.runs import make_run

DATA = Path(__file__).parents[2] / "data" / "openvpn"


def test_what_became_of_the_clients_is_found_once_a_test(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: Counter[str] = Counter()
    real = durations.traffic_times

    def counted(logs: RunLogs, slot: SlotPlan) -> dict[str, TrafficTime]:
        found[slot.name] += 1
        return real(logs, slot)

    monkeypatch.setattr(durations, "traffic_times", counted)
    # private: pictures take longer than all else
    monkeypatch.setattr(page, "_drawn", lambda *_: ())
    made = offline.segment_and_report(make_run(tmp_path / "run", clients=2, duration_s=5))
    assert isinstance(made, page.Report)
    assert found == {slot.name: 1 for slot in made.logs.slots}


def test_of_the_servers_vpn_only_the_status_is_parsed_for_its_ciphers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "run", clients=2, duration_s=5)
    for kind, name in (
        ("status/status-v2.txt", "openvpn-status.log"),
        ("log/server.log", "openvpn.log"),
    ):
        (run.host_raw_dir("server") / name).write_bytes((DATA / kind).read_bytes())
    real, parsed = reader.read, list[str]()

    def noted(path: Path) -> Reading:
        reading = real(path)
        parsed.append(reading.kind)
        return reading

    monkeypatch.setattr(reader, "read", noted)
    assert attributes.attributes_of(run)["cipher"] == "AES-256-GCM, BF-CBC"
    assert parsed == ["vpn-clients"]

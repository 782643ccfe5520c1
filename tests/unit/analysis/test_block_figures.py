"""A block's folder as rows of the cells frame."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from perfkit.analysis import campaign_cells, segments
from perfkit.analysis.answers.frame import cells_frame
from perfkit.analysis.block_figures import block_rows
from perfkit.model import Window
from perfkit.runs import campaign_folder
from perfkit.runs.folder import Run
from perfkit.testing.campaigns import make_campaign
from perfkit.testing.runs import make_run, read_truth

PLACE: dict[str, Any] = {"block": 1, "repetition": 1, "clients": 4, "variant": "base"}


@pytest.fixture(scope="module")
def block(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_run(
        tmp_path_factory.mktemp("blocks") / "one",
        clients=4,
        duration_s=12,
        tests=["direct-tcp", "tunnel-tcp", "tunnel-tcp"],
        failed={"client-002": "refused"},
    )


def test_a_row_a_test_with_the_figures_of_the_run(block: Run) -> None:
    frame = cells_frame(block_rows(block, PLACE))
    assert frame["test"].tolist() == ["direct-tcp", "tunnel-tcp", "tunnel-tcp (2)"]
    assert frame["path"].tolist() == ["direct", "tunnel", "tunnel"]
    assert frame["position"].tolist() == [1, 2, 3]
    assert set(frame["failed_clients"]) == {1}
    planted = [slot["goodput_bps"] for slot in read_truth(block)["slots"].values()]
    np.testing.assert_allclose(frame["goodput_bps"], planted, rtol=0.02)
    assert np.isnan(frame["vpn_cpu_s_per_gbit"].iloc[0])
    assert frame["vs_direct"].iloc[1] == pytest.approx(0.5, rel=0.1)
    assert (frame["warnings"] > 0).all()


def test_another_warm_up_is_cut_off_a_recorded_window(block: Run) -> None:
    plain = block_rows(block, PLACE)
    moved = block_rows(block, PLACE, {"tunnel-tcp": 2.0})
    assert moved[1]["window_s"] == pytest.approx(plain[1]["window_s"] - 2.0)
    assert (moved[1]["warm_up_s"], moved[1]["warm_up_found_s"]) == (2.0, 0.0)
    assert moved[1]["goodput_bps"] != plain[1]["goodput_bps"]
    assert moved[2]["window_s"] == plain[2]["window_s"]


def test_at_most_a_third_of_a_window_is_cut_whatever_the_other_blocks_show(block: Run) -> None:
    row = block_rows(block, PLACE, {"direct-tcp": 9.0})[0]
    assert row["warm_up_s"] == 3.0


def test_a_window_that_a_person_chose_is_never_cut(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", clients=2, duration_s=12, tests=["direct-tcp"])
    block_rows(run, PLACE)
    (own,) = segments.load(run)
    assert own.steady is not None
    window = Window(start_s=own.steady.start_s + 3.0, end_s=own.steady.end_s)
    segments.save(run, [replace(own, steady=window, chosen_by="ada")])
    (row,) = block_rows(run, PLACE, {"direct-tcp": 2.0})
    assert (row["chosen_by"], row["warm_up_s"]) == ("ada", 0.0)
    assert row["window_s"] == pytest.approx(window.length_s)
    assert np.isnan(row["warm_up_found_s"])


def test_the_use_of_the_clients_is_known_where_they_were_watched(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", clients=2, tests=["direct-tcp"], shared_cpu=False)
    assert np.isnan(block_rows(run, PLACE)[0].get("clients_cpu_pct", np.nan))
    server = run.host_raw_dir("server") / "monitor.csv"
    for client in ("client-001", "client-002"):
        (run.host_raw_dir(client) / "monitor.csv").write_bytes(server.read_bytes())
    (row,) = block_rows(run, PLACE)
    assert row["clients_cpu_pct"] == pytest.approx(row["cpu_busy_pct"])


def test_all_blocks_of_a_cell_have_the_median_warm_up_cut(tmp_path: Path) -> None:
    run = make_campaign(tmp_path / "campaign", clients=(2,), repetitions=3, void=(), duration_s=12)
    for number in (1, 3):
        block = campaign_folder.block_run(run, number)
        tunnel = next(s for s in segments.load(block) if s.test == "tunnel-tcp")
        others = [s for s in segments.load(block) if s.test != "tunnel-tcp"]
        segments.save(block, [*others, segments.cut(tunnel, 2.0)])
    frame = campaign_cells.refresh(run)
    own = frame[frame["test"] == "tunnel-tcp"]
    assert own["warm_up_found_s"].tolist() == [2.0, 0.0, 2.0]
    assert own["warm_up_s"].tolist() == [2.0, 2.0, 2.0]
    before = campaign_folder.cells_path(run).stat().st_mtime_ns
    campaign_cells.refresh(run)
    assert campaign_folder.cells_path(run).stat().st_mtime_ns == before


def test_the_links_capacity_is_known_where_its_card_says_it(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", clients=2, tests=["direct-tcp"])
    assert np.isnan(block_rows(run, PLACE)[0].get("link_bps", np.nan))
    path = run.host_raw_dir("server") / "facts.json"
    facts = json.loads(path.read_text())
    path.write_text(json.dumps({**facts, "link_speeds_mbps": "eth1=100 eth0=1000"}))
    assert block_rows(run, PLACE)[0]["link_bps"] == 1e9

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from perfkit.analysis import campaign_cells, segments
from perfkit.analysis.answers.frame import counted
from perfkit.model import Window
from perfkit.runs import campaign_folder, design, latest
from perfkit.runs.folder import Run
from perfkit.testing.campaigns import DIRECT, TUNNEL, make_campaign


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Run:
    root = tmp_path_factory.mktemp("campaigns") / "one"
    return make_campaign(root, clients=(2, 20), repetitions=2, void=(2,), duration_s=9)


def read(run: Run) -> pd.DataFrame:
    return pd.read_parquet(campaign_folder.cells_path(run))


def test_the_planted_law_is_in_the_cells(campaign: Run) -> None:
    for row in counted(read(campaign)).to_dict("records"):
        law = TUNNEL if row["path"] == "tunnel" else DIRECT
        planted = law.goodput_mbps(row["clients"]) * 1e6
        assert row["goodput_bps"] == pytest.approx(planted, rel=0.15)


def test_the_vpns_thread_is_full_where_the_law_is_flat(campaign: Run) -> None:
    cores = counted(read(campaign)).query("test == 'tunnel-tcp'").groupby("clients")["vpn_cores"]
    assert cores.mean()[20] == pytest.approx(0.98, abs=0.06)
    assert cores.mean()[2] < 0.3


def test_a_void_block_is_run_again_at_its_place(campaign: Run) -> None:
    planned = [(b.repetition, b.clients) for r in design.load(campaign).order for b in r]
    frame = read(campaign)
    assert len(campaign_folder.block_runs(campaign)) == len(planned) + 1
    kept = counted(frame).drop_duplicates("block")
    assert list(zip(kept["repetition"], kept["clients"], strict=True)) == planned
    lost = frame[frame["block"] == 2]
    assert set(lost["void"]) == {f"missing-clients: client-{lost['clients'].iloc[0]:03d} was lost"}


def test_what_was_read_once_is_not_read_again(campaign: Run) -> None:
    before = campaign_folder.cells_path(campaign).stat().st_mtime_ns
    campaign_cells.refresh(campaign)
    assert campaign_folder.cells_path(campaign).stat().st_mtime_ns == before


def test_a_corrected_window_is_in_the_cells(campaign: Run, tmp_path: Path) -> None:
    shutil.copytree(campaign.root, tmp_path / "copy")
    run = Run(tmp_path / "copy")
    block = campaign_folder.block_run(run, 1)
    first, *rest = segments.read(block)
    assert first.steady is not None
    window = Window(start_s=first.steady.start_s + 2.0, end_s=first.steady.end_s)
    segments.save(block, [replace(first, steady=window, chosen_by="ada"), *rest])
    before, after = read(run), campaign_cells.refresh(run)
    moved = (before["block"] == 1) & (before["position"] == 1)
    assert after.loc[moved, "window_s"].item() == pytest.approx(window.length_s)
    assert after.loc[moved, "chosen_by"].item() == "ada"
    np.testing.assert_array_equal(after.loc[~moved, "window_s"], before.loc[~moved, "window_s"])
    pd.testing.assert_frame_equal(read(run), after)


def test_a_campaign_is_the_latest_for_a_report_once_a_block_was_collected(
    campaign: Run, tmp_path: Path
) -> None:
    shutil.copytree(campaign.root, tmp_path / "20261122T122000Z-one-abc123")
    run = Run(tmp_path / "20261122T122000Z-one-abc123")
    assert latest.find_lack(run, "report") == ""
    shutil.rmtree(run.blocks_dir)
    assert latest.find_lack(run, "report") == "no block of it was run to its end"

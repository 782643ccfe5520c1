"""Run folders that perfkit 0.1 made, which knew OpenVPN alone and did not name it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from perfkit.report.page import Report, compose
from perfkit.report.standard import provenance
from perfkit.runs.folder import Run

DATA = Path(__file__).parents[2] / "data"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    folder = tmp_path_factory.mktemp("runs") / "20261122T155421Z-mixed"
    shutil.copytree(DATA / "run", folder)
    assert "vpn" not in json.loads((folder / "manifest.json").read_text())
    return compose(Run(folder))


@pytest.mark.parametrize("name", ["tests", "clients", "vpn", "vpn-clients"])
def test_a_run_of_before_gives_the_figures_that_it_gave(report: Report, name: str) -> None:
    summary = report.summary
    assert summary.vpn is not None
    made = {
        "tests": summary.tests,
        "clients": summary.clients,
        "vpn": summary.vpn.server,
        "vpn-clients": summary.vpn.clients,
    }[name]
    before = pd.read_csv(DATA / "run_figures" / f"{name}.csv")
    # Batches grow with the likeness of seconds now; too few for an interval was 1, and is 0.
    before = before.drop(columns="goodput_batches", errors="ignore")
    made.to_csv(report.run.root / f"{name}.csv", index=False)
    now = pd.read_csv(report.run.root / f"{name}.csv")
    pd.testing.assert_frame_equal(now[list(before.columns)], before, rtol=1e-9)


def test_a_run_of_before_names_its_vpns_version_and_has_its_tunnels_figures(report: Report) -> None:
    assert "2.6.14" in provenance(report.logs)
    tunnel = report.summary.tests.set_index("slot").loc["03-tunnel-iperf3"]
    assert tunnel["tunnel_bps"] > 0
    assert tunnel["vpn_cpu_s"] > 0

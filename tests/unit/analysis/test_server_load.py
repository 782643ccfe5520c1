"""Which interface the server's figures are of."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from perfkit.analysis.outcomes import outcomes
from perfkit.analysis.segments import from_events
from perfkit.analysis.server_load import outside_nic
from perfkit.analysis.stats import summarise
from perfkit.logs.reader import read_run
from perfkit.logs.run_logs import RunLogs
from perfkit.testing.runs import make_run


@pytest.mark.parametrize(
    ("watched", "nic"),
    [
        (["enp1s0", "tun0"], "enp1s0"),
        (["tun0", "bond0.100"], "bond0.100"),
        (["ens5", "eth0"], "eth0"),
        (["myvpn0", "ens5"], "ens5"),
        (["lo"], "eth0"),
        ([], "eth0"),
    ],
)
def test_it_is_the_one_beside_the_tunnel_whatever_it_is_called(
    watched: list[str], nic: str
) -> None:
    names = [f"net_{name}_{way}_bps" for name in watched for way in ("recv", "send")]
    monitor = pd.DataFrame({"t_s": [0.0, 1.0], **{name: [1.0, 2.0] for name in names}})
    assert outside_nic(monitor, "myvpn0") == nic


def test_an_interface_of_other_hosts_is_not_the_servers() -> None:
    both = {"net_eth0_recv_bps": [np.nan], "net_ens5_recv_bps": [1.0]}
    assert outside_nic(pd.DataFrame(both), "") == "ens5"


def figures(logs: RunLogs) -> pd.DataFrame:
    """What the server's interfaces carried in each test of a run."""
    found = outcomes(logs)
    tests = summarise(logs, from_events(logs, found), found).tests.set_index("slot")
    return tests[[f"{name}_{what}" for name in ("nic", "tunnel") for what in ("bps", "ratio")]]


def test_figures_of_the_tunnel_are_of_the_runs_own_device_and_of_no_other(tmp_path: Path) -> None:
    usual = read_run(make_run(tmp_path / "run", clients=2))
    known = figures(usual)
    assert known.loc["02-tunnel-tcp", "tunnel_ratio"] == pytest.approx(1.03, abs=0.03)
    own = {f"net_tun0_{way}_bps": f"net_myvpn0_{way}_bps" for way in ("recv", "send")}
    monitor = usual.monitor.rename(columns=own).assign(**dict.fromkeys(own, 7e9))
    manifest = {**usual.manifest, "vpn": {"name": "other", "devices": {"server": "myvpn0"}}}
    found = figures(replace(usual, monitor=monitor, manifest=manifest))
    pd.testing.assert_frame_equal(found, known)

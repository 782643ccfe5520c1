"""Which interface the server's figures are of."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from perfkit.analysis.server_load import outside_nic


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

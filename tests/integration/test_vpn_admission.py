"""Who gets into the run's VPN: a real OpenVPN server, and clients that are not the run's."""

from __future__ import annotations

from pathlib import Path

import pytest
from existing_hosts import existing_hosts
from vpn_strangers import GOOD, REFUSALS, try_all

pytestmark = pytest.mark.root


def test_the_server_lets_in_the_runs_own_client_and_nobody_else(tmp_path: Path) -> None:
    with existing_hosts(tmp_path, n_clients=1) as lab:
        let_in = try_all(lab, tmp_path)
        log = lab.inside(lab.hosts[0], "cat /var/lib/vpn/*/logs/openvpn.log")
    assert len(let_in) == 7
    assert [kind for kind, is_in in let_in.items() if is_in] == [GOOD]
    assert [reason for reason in REFUSALS if reason not in log] == []

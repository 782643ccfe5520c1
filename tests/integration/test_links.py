"""Links of real hosts: each block has those of its variant, and they hold what was asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import busy_machine
import pytest

from perfkit.analysis import campaign_cells
from perfkit.campaign import phases, void_rules
from perfkit.runs import campaign_folder

pytestmark = pytest.mark.root

RATE_BPS, LOSS = 20e6, 0.02


def test_each_block_of_a_campaign_has_the_link_of_its_level(
    tmp_path: Path, needs_tools: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    needs_tools("sshd", "iperf", "ip", "tc", "nft")
    busy_machine.bear_with_it(monkeypatch)
    monkeypatch.setattr(void_rules, "why_void", lambda *_: None)
    session = phases.start(
        clients=2,
        tests="direct-tcp",
        vpn="none",
        duration_s=3,
        link="none; server 20mbit, loss 2%",
        repetitions=1,
        name="links",
        runs_dir=str(tmp_path / "runs"),
    )
    try:
        phases.launch(session)
        phases.configure(session)
        phases.measure(session)
        run = session.run
    finally:
        phases.release(session)
        session.close()
    blocks = {block.manifest()["variant"]: block for block in campaign_folder.block_runs(run)}
    assert blocks.keys() == {"base-none", "base-20mbit-loss2"}
    assert not blocks["base-none"].links_path.exists()
    kept = blocks["base-20mbit-loss2"].load_json(blocks["base-20mbit-loss2"].links_path)
    server = kept["hosts"]["server"]
    assert (kept["not_read"], server["rate_bps"], server["loss_ratio"]) == ("", RATE_BPS, LOSS)
    to_host = server["to_host"]
    assert 0 < to_host["lost_packets"] < to_host["passed_packets"]
    cells = campaign_cells.refresh(run).set_index("variant")
    goodput = cells["goodput_bps"].to_dict()
    assert 0 < goodput["base-20mbit-loss2"] < goodput["base-none"]
    assert cells["link_bps"].to_dict()["base-20mbit-loss2"] == RATE_BPS
    assert cells["queue_drops"].to_dict()["base-20mbit-loss2"] > 0
    assert cells["queue_drops"].to_dict()["base-none"] >= 0  # by the monitor

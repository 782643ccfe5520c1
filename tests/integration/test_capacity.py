"""A search for capacity on real hosts: trials are blocks at the rates that it asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from perfkit.analysis.answers.capacity import find_searches
from perfkit.campaign import phases, void_rules
from perfkit.runs import campaign_folder, design

pytestmark = pytest.mark.root

MOST_BPS = 20e6
CONF = "[direct-udp]\nkind = udp\nduration = 2\nneeds = iperf\npath = direct\n"


def test_a_search_of_a_planted_link_is_blocks_at_the_rates_that_it_asks_for(
    tmp_path: Path, needs_tools: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    needs_tools("sshd", "iperf", "ip", "tc")
    # Other tests load the machine meanwhile; that a trial counts all the same is not what is tried here.
    monkeypatch.setattr(void_rules, "IDLE_S", 1.0)
    monkeypatch.setattr(void_rules, "why_void", lambda *_: None)
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "tests.conf").write_text(CONF)
    session = phases.start(
        clients=2,
        tests="direct-udp",
        vpn="none",
        link="server 12mbit",
        capacity="loss 5%, width 20%, trials 1, exceed 0%, from 15mbit, to 20mbit",
        name="capacity",
        runs_dir=str(tmp_path / "runs"),
        config_dir=str(tmp_path / "config"),
    )
    try:
        phases.launch(session)
        phases.configure(session)
        phases.measure(session)
        run = session.run
    finally:
        phases.release(session)
        session.close()
    (search,) = find_searches(run, design.load(run))
    assert search.blocks
    for it in search.blocks:
        block = campaign_folder.block_run(run, it.block)
        (slot,) = block.load_json(block.timetable_path)["slots"]
        assert slot["rate_bps"] == round(it.trial.load_bps / 2)
    assert search.blocks[0].trial.load_bps == MOST_BPS
    made = phases.report(run)
    assert made.sentences[0].startswith(
        "direct-udp: the capacity with 2 clients at a loss of 5 % is "
    )

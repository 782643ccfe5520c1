"""A campaign's process is killed at every place where it writes; the next one runs what is missing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from campaign_lab import Hosts, Killed, Lab, Writes

from perfkit.campaign.blocks import BlockLog

STRIDE = 7  # every seventh place: in a few seconds, writes and their middles in turn


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    return Lab(tmp_path, monkeypatch)


def shape(log: BlockLog) -> list[tuple[int, int, str]]:
    """What must not depend on a kill: the places that count, each as often as it does."""
    return sorted((c.repetition, c.clients, c.variant) for c in log.claims if c.end == "done")


def test_a_campaign_killed_wherever_it_writes_measures_each_cell_once(lab: Lab) -> None:
    run = lab.launch()
    kept = lab.root / "kept"
    shutil.copytree(run.root, kept)
    lab.writes = Writes()
    undisturbed = shape(lab.go_on(run))
    assert undisturbed == [(1, 1, "base"), (1, 2, "base"), (2, 1, "base"), (2, 2, "base")]
    last = 2 * lab.writes.seen
    for place in range(1, last + 1, STRIDE):
        shutil.rmtree(run.root)
        shutil.copytree(kept, run.root)
        lab.hosts, lab.writes = Hosts(), Writes(place)
        with pytest.raises(Killed):
            lab.go_on(run)
        lab.writes = Writes()
        log = lab.go_on(run)
        assert shape(log) == undisturbed, place
        assert log.stop == "repetitions"
        assert [claim.block for claim in log.claims] == list(range(1, len(log.claims) + 1))
        ended = {Path(c.folder).name for c in log.claims if c.end in ("done", "void")}
        assert lab.hosts.over == ended, place
        assert max(lab.hosts.begun.values()) == 1
        assert sum(claim.interrupted for claim in log.claims) <= 1
        assert lab.hosts.ordered == ""

"""What a campaign has cost is read from its journal, and half the width costs three times as much."""

from __future__ import annotations

from pathlib import Path

import pytest

from perfkit.analysis.spent import spent
from perfkit.runs import journal
from perfkit.testing.campaigns import make_campaign


def test_a_finished_campaign_says_what_it_cost_and_what_half_the_width_would(
    tmp_path: Path,
) -> None:
    run = make_campaign(
        tmp_path / "c", clients=(1, 5), repetitions=3, void=(1, 2, 3, 4), is_reduced=False
    )
    run.update_manifest({"usd_per_h": 3.6})
    found = spent(run)
    events = journal.read(run.journal_path).events
    lost = sum(event.kind == "block-void" for event in events)
    assert lost
    assert (found.blocks, found.void, found.hosts) == (6 + lost, lost, 6)
    assert found.elapsed_s == (events[-1].t_utc - events[0].t_utc).total_seconds()
    assert found.host_s == 6 * found.elapsed_s
    assert found.usd == pytest.approx(found.elapsed_s / 1000)
    used, half = found.lines
    assert f"{6 + lost} blocks, {lost} of them void" in used
    assert "4 times the repetitions: about 18 blocks more" in half
    assert f"{3 * found.blocks_s / 1000:.2f} USD" in half


def test_a_campaign_without_a_block_has_cost_what_its_fleet_did(tmp_path: Path) -> None:
    run = make_campaign(tmp_path / "c", clients=(1,), repetitions=1, void=(), is_reduced=False)
    lines = run.journal_path.read_bytes().splitlines(keepends=True)
    run.journal_path.write_bytes(b"".join(lines[:4]))  # launched and configured
    found = spent(run)
    assert (found.blocks, found.usd) == (0, 0)
    assert found.elapsed_s > 0
    assert len(found.lines) == 1
    assert "USD" not in found.lines[0]

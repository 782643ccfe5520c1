"""The folder of a campaign: its blocks are runs that every tool opens, and no runs of the list."""

from __future__ import annotations

from pathlib import Path

import pytest

from perfkit.errors import RunError
from perfkit.runs import campaign_folder, folder
from perfkit.runs.campaign_folder import block_runs, campaign_of, create_block, is_campaign
from perfkit.runs.folder import Run


@pytest.fixture
def campaign(tmp_path: Path) -> Run:
    run = folder.create(tmp_path / "runs", "ovpn26", {"clients": "1,5"})
    campaign_folder.design_path(run).write_text("{}")
    return run


def test_a_design_makes_a_run_a_campaign(campaign: Run) -> None:
    assert is_campaign(campaign)
    assert not is_campaign(folder.create(campaign.root.parent, "single", {"clients": 1}))


def test_blocks_come_in_the_order_of_their_numbers(campaign: Run) -> None:
    assert block_runs(campaign) == []
    for number in (2, 10, 1, 10_000):
        create_block(campaign, number, {"clients": 5})
    assert [run.block for run in block_runs(campaign)] == [1, 2, 10, 10_000]


def test_blocks_are_not_listed_among_the_runs(campaign: Run) -> None:
    create_block(campaign, 1, {"clients": 5})
    assert folder.list_runs(campaign.root.parent) == [campaign]
    assert folder.open_run(campaign.root.parent, "latest") == campaign


@pytest.mark.parametrize("word", ["ovpn26/0003", "ovpn26/3", "latest/3"])
def test_a_block_is_opened_by_its_campaign_and_number(campaign: Run, word: str) -> None:
    block = create_block(campaign, 3, {"clients": 5})
    assert folder.open_run(campaign.root.parent, word) == block
    assert folder.open_run(campaign.root.parent, block.id) == block
    assert block.id == f"{campaign.id}/0003"


def test_a_block_is_opened_by_its_path_and_by_the_path_of_its_campaign(campaign: Run) -> None:
    block = create_block(campaign, 3, {"clients": 5})
    assert folder.open_run(Path("/nowhere"), str(block.root)) == block
    assert folder.open_run(Path("/nowhere"), f"{campaign.root}/3") == block


def test_a_block_knows_its_campaign_and_has_the_manifest_of_a_run(campaign: Run) -> None:
    block = create_block(campaign, 3, {"clients": 5}, fill=lambda _run: {"notices": []})
    manifest = block.manifest()
    assert campaign_of(block) == campaign
    assert manifest["run"] == block.id
    assert manifest["name"] == "ovpn26"
    assert manifest["parameters"] == {"clients": 5}
    assert manifest["notices"] == []
    assert block.raw_dir.is_dir()


def test_a_block_that_is_not_there_is_refused_with_those_that_are(campaign: Run) -> None:
    with pytest.raises(RunError, match="no block 4; there are: none yet"):
        folder.open_run(campaign.root.parent, "ovpn26/4")
    create_block(campaign, 2, {"clients": 5})
    with pytest.raises(RunError, match="no block 4; there are: 1 to 2"):
        folder.open_run(campaign.root.parent, "ovpn26/4")


def test_a_number_is_used_once(campaign: Run) -> None:
    create_block(campaign, 1, {"clients": 5})
    with pytest.raises(RunError, match="File exists"):
        create_block(campaign, 1, {"clients": 5})


def test_a_block_whose_making_was_interrupted_is_none(campaign: Run) -> None:
    campaign_folder.block_run(campaign, 1).root.mkdir(parents=True)
    create_block(campaign, 2, {"clients": 5})
    assert [run.block for run in block_runs(campaign)] == [2]


def test_runs_kept_in_a_folder_called_blocks_keep_their_ids(tmp_path: Path) -> None:
    run = folder.create(tmp_path / "blocks", "demo", {"clients": 1})
    assert run.block is None
    assert run.id == run.root.name

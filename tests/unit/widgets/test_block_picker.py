from __future__ import annotations

import pytest

from perfkit.analysis import segments
from perfkit.errors import RunError
from perfkit.report.block_plots import draw_blocks
from perfkit.runs import campaign_folder
from perfkit.runs.folder import Run
from perfkit.testing.campaigns import make_campaign
from perfkit.widgets.block_picker import BlockPicker, open_picker
from perfkit.widgets.segment_picker import SegmentPicker


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Run:
    root = tmp_path_factory.mktemp("campaigns") / "one"
    return make_campaign(root, clients=(2,), repetitions=2, void=(2,), duration_s=9)


def test_a_campaign_shows_its_blocks_and_a_block_opens_as_a_run(campaign: Run) -> None:
    picker = open_picker(campaign)
    assert isinstance(picker, BlockPicker)
    assert "block 2: 2 clients, base, void: missing-clients: client-002 was lost" in str(picker)
    opened = picker.open(3)
    assert isinstance(opened, SegmentPicker)
    assert opened.run == campaign_folder.block_run(campaign, 3)
    assert isinstance(open_picker(opened.run), SegmentPicker)
    with pytest.raises(RunError, match="no block 7"):
        picker.open(7)


def test_a_rule_is_said_in_the_picker_and_taken_back(campaign: Run) -> None:
    picker = BlockPicker(campaign, who="ada")
    assert str(picker.skip(3)).startswith("ada: skip the first 3 s of every tunnel test\n")
    cut = {s.test: s.warm_up_s for s in segments.read(campaign_folder.block_run(campaign, 1))}
    assert cut["tunnel-tcp"] == 3.0
    assert str(picker.skip(0)).startswith("block 1: ")


def test_the_blocks_are_drawn_under_one_another(campaign: Run) -> None:
    plot = draw_blocks(campaign, [1, 2])
    assert plot.alt.startswith("2 blocks")
    for word in ("1: 2 clients", "2: 2 clients void", "direct-tcp", "tunnel-tcp"):
        assert word in plot.svg


def test_where_nobody_watches_the_picture_and_a_line_a_block_are_shown(
    campaign: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[dict[str, str]] = []
    monkeypatch.setattr(
        "perfkit.widgets.block_picker.display", lambda data, **_kept: shown.append(data)
    )
    BlockPicker(campaign)._ipython_display_()
    assert "block 1: 2 clients, base" in capsys.readouterr().out
    assert [sorted(data) for data in shown] == [["image/png", "text/plain"]]


def test_a_campaign_without_a_finished_block_has_no_window_to_choose(campaign: Run) -> None:
    half = Run(campaign.root.parent / "half")
    half.root.mkdir()
    for path in (campaign_folder.design_path(campaign), campaign.journal_path):
        half.root.joinpath(path.name).write_bytes(path.read_bytes())
    lines = half.journal_path.read_text().splitlines()[:5]
    half.journal_path.write_text("\n".join(lines) + "\n")
    with pytest.raises(RunError, match="no block was run to its end"):
        open_picker(half)

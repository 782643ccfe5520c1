"""Runs that exist become a campaign: same figures, what differs named, no keys."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from perfkit.analysis.answers import frame
from perfkit.analysis.run_summary import reduce_run
from perfkit.campaign import offline, status_reap
from perfkit.campaign.adopt import adopt
from perfkit.cli import app
from perfkit.errors import CampaignError
from perfkit.runs import campaign_folder, design
from perfkit.runs.folder import Run
from perfkit.testing.runs import make_run


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    folder = tmp_path_factory.mktemp("runs")
    made = [
        make_run(folder / f"2026110{n}T000000Z-one-{n}", clients=clients, duration_s=6, seed=n)
        for n, clients in enumerate((2, 2, 2, 3), start=1)
    ]
    made[1].update_manifest({"controller": {"kernel": "5.10"}})
    made[0].keys_dir.mkdir(exist_ok=True)
    (made[0].keys_dir / "id_ed25519").write_text("secret")
    return made


@pytest.fixture(scope="module")
def campaign(runs: list[Run], tmp_path_factory: pytest.TempPathFactory) -> Run:
    return adopt("adopted", runs, tmp_path_factory.mktemp("campaigns"))


def test_each_run_is_a_repetition_with_the_figures_that_it_had(
    campaign: Run, runs: list[Run]
) -> None:
    cells = frame.load(campaign_folder.cells_path(campaign))
    tunnel = cells[(cells["test"] == "tunnel-tcp").to_numpy()]
    assert list(zip(tunnel["clients"], tunnel["repetition"], strict=True)) == [
        (2, 1), (2, 2), (2, 3), (3, 1),
    ]  # fmt: skip
    test = reduce_run(runs[3]).find_test("tunnel-tcp")
    assert test is not None
    assert tunnel["goodput_bps"].iloc[3] == pytest.approx(test.figure("goodput_bps"), rel=0.05)


def test_its_design_says_that_it_was_adopted_of_which_runs_and_what_differs(
    campaign: Run, runs: list[Run]
) -> None:
    found = design.load(campaign)
    assert found.adopted == tuple(run.id for run in runs)
    assert found.adopted_differ == ("controller kernel",)
    assert "differ in controller kernel" in campaign.manifest()["notices"][0]
    assert (found.clients, found.repetitions) == ((2, 3), 3)


def test_keys_stay_behind_and_the_runs_as_they_are(campaign: Run, runs: list[Run]) -> None:
    assert not [path for path in campaign.blocks_dir.rglob("*") if path.name == "id_ed25519"]
    assert (runs[0].keys_dir / "id_ed25519").read_text() == "secret"


def test_report_and_status_work_on_it(campaign: Run) -> None:
    made = offline.report(campaign, echo=False)
    assert made.page.is_file()
    assert made.warnings[0].startswith("adopted from 4 runs, whose order was not drawn")
    assert made.warnings[0].endswith("they differ in controller kernel")
    assert "adopted" in str(status_reap.status(campaign.id, runs_dir=str(campaign.root.parent)))


def test_what_is_no_repetition_is_refused(runs: list[Run], campaign: Run, tmp_path: Path) -> None:
    other = make_run(tmp_path / "other", clients=2, tests=["direct-tcp"], duration_s=6)
    for wrong, says in (
        ([runs[0]], "two runs or more"),
        ([runs[0], runs[0]], "none twice"),
        ([runs[0], campaign], "a campaign already"),
        ([runs[0], other], "the same tests"),
    ):
        with pytest.raises(CampaignError, match=says):
            adopt("x", wrong, tmp_path)
    with pytest.raises(CampaignError, match="no name of a campaign"):
        adopt("A B", runs, tmp_path)


def test_the_command_names_the_campaign_and_what_differs(runs: list[Run], tmp_path: Path) -> None:
    words = ["adopt", "mine", str(runs[0].root), str(runs[1].root), "--runs-dir", str(tmp_path)]
    found = CliRunner().invoke(app.main, words)
    assert found.exit_code == 0, found.output
    assert "differ in controller kernel" in found.output

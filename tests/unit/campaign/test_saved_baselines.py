"""Baselines on disk and `perfkit check`: exit statuses, refusals, what differs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from perfkit.campaign import baselines
from perfkit.cli import app
from perfkit.errors import CampaignError, RunError
from perfkit.runs.folder import Run
from perfkit.testing.campaigns import make_campaign
from perfkit.testing.runs import make_run

Perfkit = Callable[..., Result]


def campaign(folder: Path, name: str, **choices: Any) -> Run:
    choices = {
        "clients": (2,),
        "repetitions": 4,
        "tests": ("tunnel-tcp",),
        "void": (),
        "duration_s": 5,
        "spread": 0.008,
        **choices,
    }
    return make_campaign(folder / f"20261101T000000Z-{name}-0", name=name, **choices)


@pytest.fixture(scope="module")
def runs_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    campaign(folder, "old", seed=1)
    campaign(folder, "again", seed=2, void=(2,))
    campaign(folder, "few", seed=3, repetitions=1, variants={"base": 0.95})
    campaign(folder, "half", seed=4, variants={"base": 0.5})
    campaign(folder, "larger", seed=5, clients=(3,), repetitions=1)
    for number in (1, 2, 3):
        root = folder / f"20261102T00000{number}Z-alone{number}-0"
        alone = make_run(root, clients=2, tests=("tunnel-tcp",), duration_s=5, seed=number)
        alone.update_manifest({"name": f"alone{number}"})
    return folder


@pytest.fixture(scope="module")
def perfkit(runs_dir: Path) -> Perfkit:
    def run(*words: str) -> Result:
        return CliRunner().invoke(app.main, [*words, "--runs-dir", str(runs_dir)])

    made = run("baseline", "save", "old", "--as", "v2.6")
    assert made.exit_code == 0, made.output
    return run


@pytest.mark.parametrize(
    ("name", "status", "sentence"),
    [
        ("again", 0, "against v2.6: Same or better: none of 2 primary figures is worse by 5 %"),
        ("half", 3, "against v2.6: Worse: goodput of tunnel-tcp at 2 clients -"),
        ("few", 4, "against v2.6: Not enough data: "),
    ],
)
def test_the_exit_status_is_the_answer_and_the_sentence_comes_first(
    perfkit: Perfkit, name: str, status: int, sentence: str
) -> None:
    found = perfkit("check", name, "--against", "v2.6")
    assert found.exit_code == status, found.output
    output = " ".join(found.output.split())
    assert output.startswith(f"20261101T000000Z-{name}-0")
    assert sentence in output
    assert "Primary figures" in output


def test_what_decides_may_be_named_when_the_baseline_is_saved(
    perfkit: Perfkit, runs_dir: Path
) -> None:
    saved = ("baseline", "save", "old", "--as")
    made = perfkit(*saved, "lenient", "--figures", "goodput_bps", "--margin", "20%")
    assert made.exit_code == 0, made.output
    found = perfkit("check", "again", "--against", "lenient")
    assert "none of 1 primary figure is worse by 20 %" in " ".join(found.output.split())
    assert found.exit_code == 0
    for words, says in (
        (("--figures", "goodput"), "did you mean 'goodput_bps'?"),
        (("--margin", "200%"), "margin '200%': is 200 %"),
    ):
        wrong = perfkit(*saved, "wrong", *words)
        assert (wrong.exit_code, says in wrong.output) == (1, True), wrong.output
    assert not (runs_dir / "baselines" / "wrong").exists()


def test_void_blocks_do_not_count_and_are_named(perfkit: Perfkit) -> None:
    output = " ".join(perfkit("check", "again", "--against", "v2.6").output.split())
    assert "1 of 5 blocks of 20261101T000000Z-again-0 are void: missing-clients" in output
    assert "4 | 4" in output


def test_a_baseline_of_other_clients_is_refused_with_the_remedy(perfkit: Perfkit) -> None:
    found = perfkit("check", "larger", "--against", "v2.6")
    assert found.exit_code == 1
    assert "2 clients against 3" in found.output
    assert "--clients 2" in found.output


def test_runs_that_exist_are_taken_as_repetitions_and_other_tests_are_refused(
    perfkit: Perfkit, runs_dir: Path
) -> None:
    assert perfkit("baseline", "save", "alone1,alone2", "--as", "two").exit_code == 0
    found = perfkit("check", "alone3", "--against", "two")
    assert found.exit_code in (0, 4), found.output
    assert "2 | 1" in found.output
    kept = runs_dir / "baselines" / "two" / "baseline.json"
    record = json.loads(kept.read_text())
    record["tests"]["tunnel-tcp"] = "tunnel, 30 s"
    kept.write_text(json.dumps(record))
    refused = perfkit("check", "alone3", "--against", "two")
    assert refused.exit_code == 1
    assert "tunnel-tcp: tunnel, 30 s against tunnel, 5 s" in refused.output


def test_a_baseline_is_not_held_against_what_it_was_saved_from(perfkit: Perfkit) -> None:
    found = perfkit("check", "old", "--against", "v2.6")
    assert (found.exit_code, "held against itself" in found.output) == (1, True)


def test_the_campaign_may_go_once_its_baseline_is_saved(
    perfkit: Perfkit, runs_dir: Path, tmp_path: Path
) -> None:
    alone = tmp_path / "runs"
    shutil.copytree(runs_dir / "baselines", alone / "baselines")
    shutil.copytree(runs_dir / "20261101T000000Z-again-0", alone / "20261101T000000Z-again-0")
    found = baselines.check([Run(alone / "20261101T000000Z-again-0")], "v2.6", alone)
    assert found.outcome == "same or better"
    assert "Same or better" in found._repr_html_()


def test_what_differs_is_named_and_hosts_of_other_types_first(
    perfkit: Perfkit, runs_dir: Path, tmp_path: Path
) -> None:
    shutil.copytree(runs_dir / "baselines", tmp_path / "baselines")
    path = tmp_path / "baselines" / "v2.6" / "baseline.json"
    record = json.loads(path.read_text())
    record["conditions"] |= {"server ncpu": "64", "cipher": "BF-CBC"}
    path.write_text(json.dumps(record))
    found = baselines.check([Run(runs_dir / "20261101T000000Z-again-0")], "v2.6", tmp_path)
    hosts, rest, *_ = found.warnings
    assert hosts.startswith("hosts of other types")
    assert "server ncpu: 64 -> " in hosts
    assert "cipher: BF-CBC -> " in rest


def test_names_that_will_not_do_or_are_taken_are_refused(perfkit: Perfkit, runs_dir: Path) -> None:
    for name, says in (("v2.6", "is there already"), ("../x", "no name of a baseline")):
        found = perfkit("baseline", "save", "again", "--as", name)
        assert (found.exit_code, says in found.output) == (1, True), found.output
    found = perfkit("check", "again", "--against", "v2.5")
    assert "did you mean 'v2.6'?" in found.output
    assert not (runs_dir / "x").exists()


def test_baselines_are_listed_with_what_they_are_of(perfkit: Perfkit, tmp_path: Path) -> None:
    listed = perfkit("baseline", "list").output
    assert "v2.6: 20261101T000000Z-old-0, 2 clients, tunnel-tcp, saved 20" in listed
    empty = CliRunner().invoke(app.main, ["baseline", "list", "--runs-dir", str(tmp_path)])
    assert empty.output.startswith("no baseline yet")


def test_a_campaign_among_runs_and_a_run_given_twice_are_refused(
    perfkit: Perfkit, runs_dir: Path
) -> None:
    one = Run(runs_dir / "20261102T000001Z-alone1-0")
    with pytest.raises(CampaignError, match="give it by itself"):
        baselines.measured([one, Run(runs_dir / "20261101T000000Z-old-0")])
    with pytest.raises(CampaignError, match="none twice"):
        baselines.measured([one, one])


def test_a_copy_of_a_run_is_no_repetition(runs_dir: Path, tmp_path: Path) -> None:
    one = runs_dir / "20261102T000001Z-alone1-0"
    shutil.copytree(one, tmp_path / "other")
    with pytest.raises(CampaignError, match="one is a copy"):
        baselines.measured([Run(one), Run(tmp_path / "other")])


def test_a_damaged_baseline_says_so(perfkit: Perfkit, runs_dir: Path, tmp_path: Path) -> None:
    for text in ('{"format": 9}', '{"format": 1, "name": 3}'):
        path = tmp_path / "baselines" / "v1" / "baseline.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        with pytest.raises(RunError, match=r"baseline\.json.*save the baseline anew"):
            baselines.check([Run(runs_dir / "20261101T000000Z-again-0")], "v1", tmp_path)


def test_a_run_that_lost_a_client_is_no_repetition(tmp_path: Path) -> None:
    whole, short = (
        make_run(tmp_path / name, clients=2, duration_s=5, seed=seed, failed=failed)
        for name, seed, failed in (("whole", 1, {}), ("short", 2, {"client-002": "killed"}))
    )
    _, cells = baselines.measured([whole, short])
    assert cells["void"].str.startswith("missing-clients").tolist() == [False, False, True, True]
    with pytest.raises(
        CampaignError, match=r"nothing counts of direct-tcp at 2 clients, .* \(missing-clients"
    ):
        baselines.save([short], "v0", tmp_path)

"""A report takes its run or campaign into the store; `perfkit runs index` those of older versions."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from perfkit.campaign import adopt, archive, offline, run_store
from perfkit.cli.app import main
from perfkit.errors import RunError
from perfkit.runs import campaign_folder
from perfkit.runs.folder import Run, write_json
from perfkit.runs.journal import Journal
from perfkit.store import parts
from perfkit.store.query import ask
from perfkit.store.schema import TABLES
from perfkit.testing.campaigns import make_campaign
from perfkit.testing.runs import make_run, read_truth

DATA = Path(__file__).parents[2] / "data"


def perfkit(*words: str, runs_dir: Path) -> Result:
    return CliRunner().invoke(main, ["runs", *words, "--runs-dir", str(runs_dir)])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A runs folder with a run and a campaign of which reports were made."""
    runs_dir = tmp_path_factory.mktemp("made")
    run = make_run(runs_dir / "20261101T000000Z-alone-0", clients=3, duration_s=5)
    campaign = make_campaign(
        runs_dir / "20261102T000000Z-several-0", name="several", clients=(2,), repetitions=2, void=(2,),
        duration_s=5, variants={"base": 1.0, "slow": 0.5},
    )  # fmt: skip
    for one in (run, campaign):
        offline.report(one, echo=False)
    return runs_dir


@pytest.fixture
def runs_dir(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "runs"))


def take_in(*runs: Run) -> None:
    """Without a page, whose pictures take longer than all else."""
    lines = list(run_store.index(runs))
    assert all(": taken in (" in line for line in lines), lines


def frame(sql: str, runs_dir: Path) -> pd.DataFrame:
    found = ask(sql, runs_dir)
    assert found.remarks == ()
    return found.frame


def test_a_run_has_a_row_a_test_with_its_attributes_and_the_true_goodput(made: Path) -> None:
    run = Run(made / "20261101T000000Z-alone-0")
    found = frame("SELECT * FROM tests WHERE block = 0 ORDER BY position", made)
    assert list(found["test"]) == ["direct-tcp", "tunnel-tcp"]
    truth = [slot["goodput_bps"] for slot in read_truth(run)["slots"].values()]
    assert list(found["goodput_bps"]) == pytest.approx(truth, rel=0.02)
    (row,) = found.iloc[1:].to_dict("records")
    assert (row["run"], row["clients"], row["vpn"], row["vpn_version"], row["variant"]) == (
        run.id, 3, "openvpn", "2.6.3", "base",
    )  # fmt: skip
    assert (row["host_type"], row["void"], row["copy_of"]) == ("4 processors, 8.00 GiB", "", "")
    t0_utc_s = json.loads(run.timetable_path.read_text())["t0_utc_s"]
    assert row["started"].timestamp() == pytest.approx(t0_utc_s, abs=1e-5)


def test_the_tables_of_a_runs_report_are_in_the_store_with_the_same_figures(made: Path) -> None:
    report = offline.page.compose(Run(made / "20261101T000000Z-alone-0"), with_plots=False)
    for table in ("test_details", "clients", "server", "windows", "logs", "hosts"):
        shown = report.tables[table if table != "test_details" else "tests"].to_frame()
        kept = frame(f"SELECT * FROM {table}", made)
        assert len(kept) == len(shown), table
        for name in set(shown) & set(kept) - {"name"}:
            if pd.api.types.is_numeric_dtype(shown[name]):
                assert list(kept[name].fillna(-1)) == pytest.approx(list(shown[name].fillna(-1))), (
                    name
                )
    assert len(frame("SELECT * FROM client_tests WHERE ok", made)) == 6


def test_a_campaign_has_a_row_a_block_and_test_and_void_blocks_are_seen_only_in_all(
    made: Path,
) -> None:
    every = frame("SELECT * FROM all_tests WHERE block > 0", made)
    counted = frame("SELECT * FROM tests WHERE block > 0", made)
    assert every["block"].nunique() == 5
    assert counted["block"].nunique() == 4
    (void,) = set(every["void"]) - {""}
    assert void.startswith("missing-clients")
    assert set(counted["variant"]) == {"base", "slow"}
    assert (counted["vpn_version"] == "2.6.3").all()


def test_intervals_of_a_campaign_are_those_of_its_answer(made: Path) -> None:
    run = Run(made / "20261102T000000Z-several-0")
    answer = json.loads(campaign_folder.answer_path(run).read_text())["cells"]
    found = frame("SELECT * FROM intervals ORDER BY variant, test, figure", made)
    assert len(found) == len(answer)
    means = {(row["variant"], row["test"], row["figure"]): row["mean"] for row in answer}
    for row in found.to_dict("records"):
        assert row["mean"] == pytest.approx(means[row["variant"], row["test"], row["figure"]])
    ratios = frame("SELECT variant, ratio FROM in_tunnel", made)
    assert set(ratios["variant"]) == {"base", "slow"}


def test_a_block_that_a_report_was_made_of_by_itself_is_not_counted_twice(runs_dir: Path) -> None:
    before = frame("SELECT count(*) AS n FROM all_tests", runs_dir)["n"][0]
    campaign = Run(runs_dir / "20261102T000000Z-several-0")
    for block in campaign_folder.block_runs(campaign)[:2]:
        offline.report(block, echo=False)
    assert frame("SELECT count(*) AS n FROM all_tests", runs_dir)["n"][0] == before
    server = frame("SELECT block, void FROM all_server WHERE block > 0 ORDER BY 1", runs_dir)
    assert set(server["block"]) == {1, 2}
    assert set(server.loc[server["block"] == 1, "void"]) == {""}
    assert "missing-clients" in server.loc[server["block"] == 2, "void"].iloc[0]
    assert set(frame("SELECT block FROM server WHERE block > 0", runs_dir)["block"]) == {1}


def test_the_blocks_of_an_adopted_campaign_are_copies_while_its_runs_are_there(
    tmp_path: Path,
) -> None:
    runs = [
        make_run(tmp_path / f"20261101T00000{n}Z-a-0", clients=2, duration_s=5, seed=n)
        for n in (1, 2)
    ]
    take_in(*runs, adopt.adopt("both", runs, tmp_path))
    every = frame("SELECT run, copy_of FROM all_tests", tmp_path)
    assert set(every["copy_of"]) == {"", *(run.id for run in runs)}
    assert len(frame("SELECT * FROM tunnel", tmp_path)) == 2
    for run in runs:
        shutil.rmtree(run.root)
    assert len(frame("SELECT * FROM tunnel", tmp_path)) == 2


def test_a_folder_copied_by_hand_is_a_copy(runs_dir: Path) -> None:
    run = Run(runs_dir / "20261101T000000Z-alone-0")
    copy = Run(runs_dir / "20261101T000000Z-copied")
    shutil.copytree(run.root, copy.root)
    perfkit("index", copy.id, runs_dir=runs_dir)
    found = frame("SELECT run, copy_of FROM all_tests WHERE block = 0", runs_dir)
    assert {(copy.id, run.id), (run.id, "")} == set(found.itertuples(index=False, name=None))
    assert set(frame("SELECT run FROM tests WHERE block = 0", runs_dir)["run"]) == {run.id}


def test_a_run_that_was_not_finished_or_is_void_counts_in_no_view(tmp_path: Path) -> None:
    cut = make_run(tmp_path / "20261101T000001Z-cut-0", clients=2, duration_s=5)
    journal = Journal(cut.journal_path)
    journal.append("phase-done", phase="launch", elapsed_s=1.0)
    journal.append("phase-failed", phase="configure", elapsed_s=1.0, reason="StageError: no")
    journal.close()
    lost = make_run(
        tmp_path / "20261101T000002Z-lost-0",
        clients=2,
        duration_s=5,
        failed={"client-002": "killed"},
    )
    take_in(cut, lost)
    assert len(frame("SELECT * FROM tests", tmp_path)) == 0
    void = frame("SELECT DISTINCT run, void FROM all_tests ORDER BY run", tmp_path)
    assert "unfinished: configure failed" in void["void"][0]
    assert "missing-clients" in void["void"][1]


def test_index_takes_in_what_has_no_tables_what_is_damaged_and_nothing_else(
    runs_dir: Path,
) -> None:
    run, campaign = Run(runs_dir / "20261101T000000Z-alone-0"), Run(
        runs_dir / "20261102T000000Z-several-0"
    )  # fmt: skip
    before = frame("SELECT * EXCLUDE (started) FROM all_tests ORDER BY ALL", runs_dir)
    assert perfkit("index", runs_dir=runs_dir).output == ""
    shutil.rmtree(parts.store_dir(run))
    part = parts.find_part(campaign)
    assert part is not None
    part.path("intervals").write_bytes(b"PAR1")
    result = perfkit("index", runs_dir=runs_dir)
    assert result.exit_code == 0, result.output
    assert [line.partition(":")[0] for line in sorted(result.output.splitlines())] == [
        run.id, campaign.id,
    ]  # fmt: skip
    after = frame("SELECT * EXCLUDE (started) FROM all_tests ORDER BY ALL", runs_dir)
    pd.testing.assert_frame_equal(before, after)


def test_a_run_that_older_versions_made_is_taken_in(tmp_path: Path) -> None:
    shutil.copytree(DATA / "run", tmp_path / "20261122T155421Z-mixed")
    result = perfkit("index", runs_dir=tmp_path)
    assert result.exit_code == 0, result.output
    found = frame("SELECT * FROM all_tests ORDER BY position", tmp_path)
    assert set(found["vpn"]) == {"openvpn"}
    assert set(found["cipher"]) == {"AES-256-GCM"}
    assert found["vpn_version"].iloc[0] != ""
    assert set(found["perfkit"]) == {""}
    assert len(found) == 7


def no_logs(run: Run) -> None:
    shutil.rmtree(run.raw_dir)
    run.raw_dir.mkdir()


def no_manifest(run: Run) -> None:
    run.manifest_path.write_text("{")


def no_timetable(run: Run) -> None:
    run.timetable_path.unlink()


@pytest.mark.parametrize("damage", [no_logs, no_manifest, no_timetable])
def test_a_run_that_cannot_be_taken_in_is_named_and_the_others_are(
    damage: Callable[[Run], None], tmp_path: Path
) -> None:
    bad, good = (
        make_run(tmp_path / f"20261101T00000{n}Z-a-0", clients=1, duration_s=5, seed=n)
        for n in (1, 2)
    )
    damage(bad)
    result = perfkit("index", runs_dir=tmp_path)
    assert result.exit_code == 1
    assert f"{bad.id}: not taken in: " in result.output
    assert f"{good.id}: taken in" in result.output
    assert set(frame("SELECT run FROM tests", tmp_path)["run"]) == {good.id}


def test_a_report_is_made_also_where_the_store_cannot_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tmp_path / "20261101T000001Z-a-0", clients=1, duration_s=5)
    run.tables_dir.mkdir()
    parts.store_dir(run).write_text("in the way")
    made = offline.report(run, echo=False)
    assert made.page.is_file()
    assert f"{run.id} is not in the store of runs" in capsys.readouterr().err


def test_tables_of_the_store_are_not_exported_and_a_forged_archive_with_them_is_refused(
    runs_dir: Path, tmp_path: Path
) -> None:
    run = Run(runs_dir / "20261101T000000Z-alone-0")
    Journal(run.journal_path).close()
    exported = archive.export_run(run, tmp_path / "a.tar.xz")
    assert {name for name in exported.left_out if name.startswith("tables/store/")} >= {
        f"tables/store/{parts.STAMP}"
    }
    other = tmp_path / "other"
    imported = archive.import_run(exported.path, other)
    assert not parts.store_dir(imported).exists()
    assert ask("SELECT * FROM tests", other).remarks[0].startswith(f"not in the store: {run.id}")
    perfkit("index", runs_dir=other)
    assert len(frame("SELECT * FROM tests", other)) == 2


@pytest.mark.parametrize("name", ["nobody", "latest"])
def test_index_of_a_run_that_is_not_there_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(RunError):
        run_store.find_to_index(tmp_path, [name])


def test_facts_settings_and_variants_of_a_run_are_its_attributes(tmp_path: Path) -> None:
    run = make_run(tmp_path / "20261101T000001Z-a-0", clients=1, duration_s=5)
    run.update_manifest(
        {
            "controller": {"perfkit": "0.2.0"},
            "vpn": {"name": "wireguard", "title": "WireGuard", "devices": {"server": "wg0"}},
        }
    )
    folder = run.host_dir("server") / "bundle" / "wireguard"
    folder.mkdir(parents=True)
    (folder / "server.conf").write_text("# proto tcp\n  proto udp4\n")
    facts = run.host_raw_dir("server") / "facts.json"
    write_json(facts, {**json.loads(facts.read_text()), "vpn_version": "1.0.20210914"})
    take_in(run)
    (row,) = frame("SELECT * FROM runs", tmp_path).to_dict("records")
    assert (row["vpn"], row["vpn_version"], row["transport"], row["perfkit"]) == (
        "wireguard", "1.0.20210914", "udp", "0.2.0",
    )  # fmt: skip
    assert len(TABLES) == len(list(parts.store_dir(run).glob("*.parquet")))

"""Whoever works, what comes of it is the same: the places that work on many runs, blocks or logs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path

import pytest
from click.testing import CliRunner

from perfkit.analysis import campaign_cells, segments
from perfkit.analysis.sides import reduce_sides
from perfkit.campaign import adopt, baselines, offline, run_store
from perfkit.cli.app import main
from perfkit.errors import UnitsFailedError
from perfkit.executors.mapping import to_json
from perfkit.logs.describe import describe_many
from perfkit.report import history
from perfkit.runs import campaign_folder
from perfkit.runs.folder import Run
from perfkit.store import parts, schema
from perfkit.testing.campaigns import make_campaign
from perfkit.testing.runs import make_run

DATA = Path(__file__).parents[2] / "data"


@pytest.fixture(scope="module")
def workers() -> Iterator[Executor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A campaign and three runs, as nobody has looked at them."""
    folder = tmp_path_factory.mktemp("runs")
    make_campaign(
        folder / "20260101T000000Z-camp-000000",
        clients=(1, 2),
        repetitions=1,
        tests=("tunnel-tcp",),
        void=(),
        duration_s=6,
        is_reduced=False,
    )
    for seed in range(3):
        place = folder / f"20260101T00000{seed}Z-run-00000{seed}"
        make_run(place, clients=2, seed=seed, tests=("tunnel-tcp",), duration_s=6)
    return folder


@pytest.fixture
def two(made: Path, tmp_path: Path) -> tuple[Path, Path]:
    """The same runs twice: for one process alone, and for workers."""
    for name in ("alone", "shared"):
        shutil.copytree(made, tmp_path / name)
    return tmp_path / "alone", tmp_path / "shared"


def campaign_in(folder: Path) -> Run:
    return Run(folder / "20260101T000000Z-camp-000000")


def runs_in(folder: Path) -> list[Run]:
    return [Run(path) for path in sorted(folder.glob("*-run-*"))]


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_the_cells_of_a_campaign_are_the_same_byte_for_byte(
    two: tuple[Path, Path], workers: Executor
) -> None:
    alone, shared = map(campaign_in, two)
    offline.segment(alone)
    offline.segment(shared, executor=workers)
    both = [campaign_folder.cells_path(one).read_bytes() for one in (alone, shared)]
    assert both[0] == both[1]
    assert files_below(alone.root) == files_below(shared.root)
    for one, other in zip(
        campaign_folder.block_runs(alone), campaign_folder.block_runs(shared), strict=True
    ):
        assert [s.steady for s in segments.read(one)] == [s.steady for s in segments.read(other)]
    assert campaign_cells.refresh(shared).equals(campaign_cells.refresh(shared, workers))


def test_a_comparison_is_of_the_same_figures_to_the_last_digit(
    two: tuple[Path, Path], workers: Executor
) -> None:
    found = []
    for folder, who in zip(two, (None, workers), strict=True):
        groups = [[campaign_in(folder)], [runs_in(folder)[0]], runs_in(folder)[1:]]
        sides = reduce_sides(groups, {runs_in(folder)[0].id: [("launch", 1.5)]}, who)
        found.append([[to_json(run) for run in side] for side in sides])
    assert found[0] == found[1]
    assert [len(side) for side in found[0]] == [2, 1, 2]


def test_a_baseline_and_a_check_against_it_are_the_same(
    two: tuple[Path, Path], workers: Executor
) -> None:
    said = []
    for folder, who in zip(two, (None, workers), strict=True):
        saved = baselines.save(runs_in(folder)[:2], "v1", folder, executor=who)
        check = baselines.check(runs_in(folder)[2:], "v1", folder, who)
        campaign = baselines.save([campaign_in(folder)], "v2", folder, executor=who)
        said.append(
            [(saved / "cells.parquet").read_bytes(), (campaign / "cells.parquet").read_bytes(),
             check.text()]
        )  # fmt: skip
    assert said[0] == said[1]


def test_the_course_of_campaigns_is_the_same(two: tuple[Path, Path], workers: Executor) -> None:
    said = []
    for folder, who in zip(two, (None, workers), strict=True):
        campaign = campaign_in(folder)
        campaign_cells.refresh(campaign)
        made = history.compose(campaign, folder, who)
        said.append((made.courses, made.left_out, made.text()))
    assert said[0] == said[1]
    assert [one.runs for one in said[0][0]] == [(campaign.id,)] * len(said[0][0])
    assert said[0][0]


def test_runs_are_taken_into_the_store_by_the_workers(
    two: tuple[Path, Path], workers: Executor
) -> None:
    found = []
    for folder, who in zip(two, (None, workers), strict=True):
        runs = [campaign_in(folder), *runs_in(folder)]
        runs[2].timetable_path.write_text("{")
        lines = list(run_store.index(runs, executor=who))
        tables = [
            [parts.read_table(part, table) for table in schema.TABLES]
            for run in runs
            if (part := parts.find_part(run)) is not None
        ]
        found.append((lines, tables))
        assert [run.id for run in runs if not run_store.is_whole(run)] == [runs[2].id]
    alone, shared = ([line.partition(" (")[0] for line in lines] for lines, _ in found)
    assert [line.endswith("taken in") for line in alone] == [True, True, False, True]
    assert [line[:60] for line in alone] == [line[:60] for line in shared]
    for one, other in zip(found[0][1], found[1][1], strict=True):
        assert all(a.equals(b) for a, b in zip(one, other, strict=True))


def test_runs_are_adopted_as_the_same_campaign(two: tuple[Path, Path], workers: Executor) -> None:
    cells, notices = [], []
    for folder, who in zip(two, (None, workers), strict=True):
        campaign = adopt.adopt("adopted", runs_in(folder), folder, who)
        cells.append(campaign_folder.cells_path(campaign).read_bytes())
        notices.append(campaign.manifest()["notices"])
    assert cells[0] == cells[1]
    assert notices[0] == notices[1]


def test_a_damaged_run_is_named_and_the_windows_of_the_others_are_chosen(
    two: tuple[Path, Path], workers: Executor
) -> None:
    groups = [[run] for run in runs_in(two[1])]
    groups[1][0].timetable_path.write_text("{")
    with pytest.raises(UnitsFailedError) as raised:
        reduce_sides(groups, {}, workers)
    assert list(raised.value.failures) == [groups[1][0].id]
    assert groups[0][0].segments_path.exists()
    assert groups[2][0].segments_path.exists()


def test_logs_are_described_in_the_same_words(workers: Executor, tmp_path: Path) -> None:
    empty = tmp_path / "empty.log"
    empty.touch()
    paths = [*sorted((DATA / "iperf2").glob("*.log")), empty, DATA]
    alone = list(describe_many(paths))
    assert list(describe_many(paths, workers)) == alone
    assert [one.is_refused for one in alone] == [False] * (len(paths) - 2) + [True, True]


def test_a_log_that_is_another_one_at_the_worker_is_refused(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("short")

    class Elsewhere(ThreadPoolExecutor):
        def submit(self, fn, /, *args, **kwargs):  # type: ignore[no-untyped-def]
            log.write_text("a longer one")
            return super().submit(fn, *args, **kwargs)

    with Elsewhere(1) as pool:
        [found] = describe_many([log], pool)
    assert found.is_refused
    assert "another file where it is read" in found.text


@pytest.mark.parametrize(
    "words",
    [
        ["report", "a"], ["segment", "a"], ["compare", "a", "b"], ["adopt", "n", "a", "b"],
        ["check", "a", "--against", "b"], ["baseline", "save", "a", "--as", "b"],
        ["read", __file__], ["history", "a"], ["runs", "index", "a"],
    ],
    ids=lambda words: words[0],
)  # fmt: skip
def test_every_command_that_works_on_many_runs_takes_an_executor(words: list[str]) -> None:
    done = CliRunner().invoke(main, [*words, "--executor", "ftp://host:1"])
    assert done.exit_code == 2
    assert "tcp://HOST:PORT" in done.output

"""What needs files only: windows, reports, comparisons, and runs as one file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from perfkit.cli.options import executor_option, run_argument, runs_folder_option

if TYPE_CHECKING:
    from perfkit.analysis.segments import Policy


@click.command()
@run_argument
@click.option(
    "--policy",
    type=click.Choice(["events", "saved", "auto"]),
    help="where windows come from [as the run was made with]",
)
@click.option(
    "--skip-first", type=float, metavar="S", help="skip so many seconds of each test; 0: no more"
)
@click.option("--of", default="tunnel", metavar="TESTS", help="of tunnel, direct, all, or one test")
@executor_option
def segment(
    *,
    run: str,
    runs_dir: str,
    policy: Policy | None,
    skip_first: float | None,
    of: str,
    executor: str,
) -> None:
    """Find the windows that count, from the recorded starts and ends."""
    from perfkit.campaign import offline

    found = offline.find_run(run, runs_dir=runs_dir)
    made = offline.segment(found, policy=policy, executor=executor)
    if skip_first is not None:
        made = offline.skip_first(found, skip_first, tests=of)
    click.echo(made.to_text())


@click.command()
@run_argument
@executor_option
def report(run: str, runs_dir: str, executor: str) -> None:
    """Write tables, plots and index.html, and print the tables."""
    from perfkit.campaign import phases

    found = phases.find_run(run, runs_dir=runs_dir, phase="report")
    phases.report(found, echo=True, executor=executor)


@click.command()
@click.argument("runs", nargs=-1, required=True)
@click.option("--out", default="", metavar="DIR", help="where compare.html goes [the newest run]")
@runs_folder_option
@executor_option
def compare(*, runs: tuple[str, ...], out: str, runs_dir: str, executor: str) -> None:
    """Runs or campaigns side by side, with verdicts; RUN,RUN are repetitions.

    One run against one gets no verdict. The blocks of a campaign are its repetitions, and each of
    its variants is a side.
    """
    from perfkit.campaign import phases

    phases.compare(*runs, out=out, runs_dir=runs_dir, echo=True, executor=executor)


@click.command()
@run_argument
@executor_option
def history(run: str, runs_dir: str, executor: str) -> None:
    """When did the figures of campaigns like this one change?"""
    from perfkit.campaign import offline
    from perfkit.report.history import compose
    from perfkit.settings.project import runs_folder

    found = offline.find_run(run, runs_dir=runs_dir)
    click.echo(compose(found, runs_folder(runs_dir), executor).text())


@click.command()
@run_argument
@click.option("-o", "--out", default="", metavar="FILE", help="the archive [<run>.tar.xz here]")
def export(*, run: str, runs_dir: str, out: str) -> None:
    """Pack a run into one file to hand on, without keys; what was left out is listed."""
    from perfkit.campaign import archive, offline

    found = offline.find_run(run, runs_dir=runs_dir)
    click.echo(archive.export_run(found, Path(out) if out else Path(f"{found.id}.tar.xz")))


@click.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@runs_folder_option
def import_(file: Path, runs_dir: str) -> None:
    """Open the FILE that perfkit export made; nothing in it is trusted."""
    from perfkit.campaign import archive
    from perfkit.settings.project import runs_folder

    opened = archive.import_run(file, runs_folder(runs_dir))
    click.echo(f"{opened.root}\nperfkit segment, report and compare {opened.id} work on it")

"""Baselines, and whether a campaign is worse than one; campaigns made of runs that exist."""

from __future__ import annotations

import sys

import click

from perfkit.cli.options import executor_option, runs_folder_option

STATUS = {"same or better": 0, "worse": 3, "not enough data": 4}


@click.group()
def baseline() -> None:
    """Campaigns that later ones are held against, by perfkit check."""


@baseline.command()
@click.argument("runs", nargs=-1, required=True, metavar="CAMPAIGN | RUN...")
@click.option("--as", "name", required=True, metavar="NAME", help="what it is called, as v2.6")
@click.option(
    "--figures", default="", metavar="NAMES", help="what decides, as goodput_bps [the design's]"
)
@click.option("--margin", default="", metavar="SHARE", help="what is worse, as 10% [the design's]")
@runs_folder_option
@executor_option
def save(
    *,
    runs: tuple[str, ...],
    name: str,
    figures: str,
    margin: str,
    runs_dir: str,
    executor: str,
) -> None:
    """Keep a CAMPAIGN, or RUNs that repeat each other, in runs/baselines/NAME.

    The figures that decide are fixed here: goodput and the VPN's processor time per Gbit, unless you
    name others. Each further one needs more repetitions.
    """
    from perfkit.campaign import offline

    names = offline.split_names(runs)
    made = offline.save_baseline(
        *names,
        name=name,
        runs_dir=runs_dir,
        figures=figures,
        margin=margin,
        executor=executor,
    )
    click.echo(made)
    click.echo(f"perfkit check CAMPAIGN --against {name} holds others against it")


@baseline.command("list")
@runs_folder_option
def list_(runs_dir: str) -> None:
    """All baselines: what they were saved from, of which clients and tests."""
    from perfkit.campaign import baselines
    from perfkit.settings.project import runs_folder

    known = baselines.saved(runs_folder(runs_dir))
    for name, one in known.items():
        sizes = ",".join(map(str, one.clients))
        click.echo(
            f"{name}: {one.name}, {sizes} clients, {', '.join(one.tests)}, saved {one.saved_utc[:16]}"
        )
    if not known:
        click.echo("no baseline yet; perfkit baseline save CAMPAIGN --as NAME")


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="CAMPAIGN | RUN...")
@click.option("--against", required=True, metavar="NAME", help="the baseline")
@runs_folder_option
@executor_option
def check(*, runs: tuple[str, ...], against: str, runs_dir: str, executor: str) -> None:
    """Did it regress? Exit status 0: same or better, 3: worse, 4: not enough data, 1: an error."""
    from perfkit.campaign import offline

    names = offline.split_names(runs)
    made = offline.check(*names, against=against, runs_dir=runs_dir, echo=True, executor=executor)
    sys.exit(STATUS[made.outcome])


@click.command()
@click.argument("name")
@click.argument("runs", nargs=-1, required=True, metavar="RUN RUN...")
@runs_folder_option
@executor_option
def adopt(*, name: str, runs: tuple[str, ...], runs_dir: str, executor: str) -> None:
    """Make a campaign NAME of RUNs that exist: they become its repetitions, as copies."""
    from perfkit.campaign import adopt as adopting
    from perfkit.campaign import offline
    from perfkit.settings.project import runs_folder

    found = [offline.find_run(run, runs_dir=runs_dir) for run in offline.split_names(runs)]
    made = adopting.adopt(name, found, runs_folder(runs_dir), executor)
    click.echo("\n".join([str(made.root), *made.manifest()["notices"]]))
    click.echo(f"perfkit report, compare, check and baseline work on {made.id}")

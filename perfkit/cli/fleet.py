"""Hosts: what runs, ending it, moving its end, and the care of existing hosts."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from perfkit.cli.options import config_folder_option, run_argument, runs_folder_option
from perfkit.errors import PerfkitError, ReleaseError
from perfkit.units import parse_number

if TYPE_CHECKING:
    from perfkit.campaign.status_reap import Reaped
    from perfkit.fleet.provider import ReleaseReport


def _number(_ctx: click.Context, _param: click.Parameter, value: str) -> float:
    """A number, read as everywhere else: click's own takes nan, inf and `1_0`."""
    try:
        return parse_number(value, whole=False)
    except ValueError as exc:
        raise click.BadParameter(f"{value!r}: {exc}") from exc


def _conclude(outcome: Reaped | ReleaseReport, done: str = "released") -> None:
    click.echo(outcome)
    if outcome.leaked:
        raise ReleaseError(f"not everything could be {done}", outcome.leaked)


@click.command()
@run_argument
def release(run: str, runs_dir: str) -> None:
    """End the hosts of a run, also of one that was told to keep them."""
    from perfkit.campaign import phases

    with phases.attach(run, runs_dir=runs_dir, phase="release") as session:
        _conclude(phases.release(session, keep=False))


@click.command()
@click.argument("run", default="")
@runs_folder_option
def status(run: str, runs_dir: str) -> None:
    """What is running now, as the providers list it; with RUN, also how far it has come."""
    from perfkit.campaign import status_reap

    click.echo(status_reap.status(run, runs_dir=runs_dir))


@click.command()
@click.argument("runs", nargs=-1)
@click.option("--yes", is_flag=True, help="do it; without, only say what would be ended")
@click.option("--expired", is_flag=True, help="only fleets that should have ended by themselves")
@click.option("--force", is_flag=True, help="also runs that a living process has open")
@runs_folder_option
def reap(*, runs: tuple[str, ...], yes: bool, expired: bool, force: bool, runs_dir: str) -> None:
    """End what runs have left behind (all, or the named RUNS), found by tag alone."""
    from perfkit.campaign import status_reap

    _conclude(status_reap.reap(runs, yes=yes, expired=expired, force=force, runs_dir=runs_dir))


@click.command()
@click.argument("run", default="")
@click.option("--yes", is_flag=True, help="do it; without, only say what would be cleaned")
@click.option("--force", is_flag=True, help="also a run that a living process has open")
@runs_folder_option
@config_folder_option
def clean(*, run: str, yes: bool, force: bool, runs_dir: str, config_dir: str) -> None:
    """Remove what a run (or every run) has left on the existing hosts of static.conf.

    It is found by its tag on the hosts themselves: folder, processes, crontab lines, tunnel. The
    hosts go on, and are free for the next run.
    """
    from perfkit.campaign import status_reap

    wanted = (run,) if run else ()
    outcome = status_reap.reap(
        wanted, yes=yes, force=force, runs_dir=runs_dir, config_dir=config_dir, only="static"
    )
    _conclude(outcome, "removed")


@click.command()
@click.argument("hosts", nargs=-1)
@click.option("--fingerprint", default="", metavar="SHA256:…", help="what it must be; asks nobody")
@config_folder_option
def trust(*, hosts: tuple[str, ...], fingerprint: str, config_dir: str) -> None:
    """Fetch the keys of existing HOSTS (all unknown ones), show them, and pin what you confirm.

    Compare each fingerprint with what the host itself says on its console:
    ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub
    """
    from perfkit.campaign import status_reap

    if fingerprint and len(hosts) != 1:
        raise click.UsageError("--fingerprint belongs to one HOST")
    left = 0
    for shown in status_reap.host_keys(hosts, config_dir=config_dir):
        click.echo(shown)
        if isinstance(shown, PerfkitError) or not (
            shown.is_known
            or (
                shown.fingerprint == fingerprint if fingerprint else click.confirm("  Is it right?")
            )
        ):
            left += 1
        elif not shown.is_known:
            click.echo(f"  pinned in {status_reap.pin_host_key(shown, config_dir=config_dir)}")
    if left:
        click.echo(f"{left} not pinned; perfkit does not connect to them", err=True)
        sys.exit(1)


@click.command()
@run_argument
@click.option(
    "--minutes",
    callback=_number,
    metavar="NUMBER",
    required=True,
    help="from now, until hosts end themselves",
)
@click.option("--yes", is_flag=True, help="also above the caps of the provider's file")
def renew(*, run: str, minutes: float, yes: bool, runs_dir: str) -> None:
    """Move the moment at which the hosts of a run end by themselves."""
    from perfkit.campaign import renew as renewal

    renewed = renewal.renew(run, minutes=minutes, yes=yes, runs_dir=runs_dir)
    click.echo(renewed)
    if renewed.hosts.failed:
        sys.exit(1)

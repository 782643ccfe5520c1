"""The runs that are there: list them, delete them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from perfkit.cli.options import runs_folder_option

if TYPE_CHECKING:
    from perfkit.campaign.run_list import ListedRun

STATES = ("running", "leaked", "unfinished", "released", "analysed")


@click.group(invoke_without_command=True)
@click.option("--state", type=click.Choice(STATES), multiple=True, help="only runs of this state")
@click.option("--name", default="", metavar="NAME", help="only runs of this name; also 'ovpn*'")
@click.option("--older-than", default="", metavar="AGE", help="made longer ago: 12h, 30d or 8w")
@click.option("--json", "as_json", is_flag=True, help="for programs")
@runs_folder_option
@click.pass_context
def runs(
    ctx: click.Context,
    *,
    state: tuple[str, ...],
    name: str,
    older_than: str,
    as_json: bool,
    runs_dir: str,
) -> None:
    r"""The runs that are there: state, size, date, clients, tests.

    \b
    running     a process has it open, or its hosts are up
    leaked      its hosts were not released
    unfinished  without hosts, and not all logs were collected
    released    logs collected, hosts released, no report yet
    analysed    it has a report
    """
    if ctx.invoked_subcommand is not None:
        return
    from perfkit.campaign import run_list
    from perfkit.settings.project import runs_folder

    found = list(
        run_list.list_runs(
            runs_folder(runs_dir),
            states=[run_list.RunState(word) for word in state],
            name=name,
            older_than=run_list.parse_age(older_than) if older_than else None,
        )
    )
    click.echo(_json(found) if as_json else run_list.to_text(found))


def _json(found: list[ListedRun]) -> str:
    return json.dumps([one.to_dict() for one in found], indent=2)


@runs.command()
@click.argument("names", nargs=-1, required=True, metavar="RUN...")
@click.option("--yes", is_flag=True, help="do not ask")
@runs_folder_option
def delete(*, names: tuple[str, ...], yes: bool, runs_dir: str) -> None:
    """Delete RUNs: their logs, tables, reports and keys. It cannot be undone.

    A run is kept whose hosts may still be there, that is open in another process, or that a
    baseline was saved from. A campaign goes with its blocks. Keep a run as one file by perfkit export.
    """
    from perfkit.campaign import run_deletion, run_list
    from perfkit.settings.project import runs_folder
    from perfkit.units import format_size

    folder = runs_folder(runs_dir)
    found = run_deletion.find_runs(names, folder)
    if not yes:
        for run in found:
            size = run_list.size_on_disk(run.root)
            click.echo(f"{run.id}: {run_list.state_of(run)[0]}, {format_size(size)}")
        click.confirm("delete for ever?", abort=True)
    click.echo(run_deletion.delete(found, folder))

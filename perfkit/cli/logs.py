"""Logs by themselves: what is in one, and the tables of the 2011 tool."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from perfkit.cli.options import executor_option

if TYPE_CHECKING:
    from perfkit.analysis.legacy.tables import Table, TableFormat


@click.command()
@click.argument("logs", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@executor_option
def read(logs: tuple[Path, ...], executor: str) -> None:
    """What is this log file, how many clients does it hold, what is not understood?"""
    from perfkit.logs.describe import describe_many

    refused = False
    for described in describe_many(logs, executor):
        refused |= described.is_refused
        click.echo(described.text, err=described.is_refused)
    if refused:
        sys.exit(1)


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--table", type=click.Choice(["iperf", "dstat"]), default="iperf", show_default=True)
@click.option(
    "--format",
    "format_",
    type=click.Choice(["csv", "mediawiki", "trac"]),
    default="csv",
    show_default=True,
)
@click.option("--compat", is_flag=True, help="byte for byte as the old scripts, defects included")
def legacy(*, folder: Path, table: Table, format_: TableFormat, compat: bool) -> None:
    """The 2011 tool's tables from its logs/TEST folder: right, with the differences on stderr."""
    from perfkit.analysis.legacy.tables import legacy_table

    result = legacy_table(folder, table=table, format=format_, compat=compat)
    click.echo(result.text, nl=False)
    for difference in result.differences:
        click.echo(difference, err=True)

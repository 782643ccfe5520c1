"""The runs that are there: list them, delete them, ask their store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from perfkit.cli.options import executor_option, runs_folder_option

if TYPE_CHECKING:
    import pandas as pd

    from perfkit.campaign.run_list import ListedRun

STATES = ("running", "leaked", "unfinished", "released", "analysed")


HELP = """The runs that are there: state, size, date, clients, tests.

\b
running     a process has it open, or its hosts are up
leaked      its hosts were not released
unfinished  without hosts, and not all logs were collected
released    logs collected, hosts released, no report yet
analysed    it has a report

\b
perfkit runs query "SELECT vpn_version, count(*) AS n, avg(goodput_bps) / 1e6 AS mbps
                    FROM tunnel WHERE clients = 10 GROUP BY vpn_version"
perfkit runs plot goodput_bps --by vpn_version -o goodput.png
"""


@click.group(invoke_without_command=True, help=HELP)
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
    """List the runs; with a command, ask their store. `HELP` is what is shown."""
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


@runs.command()
@click.argument("sql")
@click.option("--csv", "form", flag_value="csv", help="as CSV")
@click.option("--json", "form", flag_value="json", help="as JSON, a record a row")
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), metavar="FILE", help="a .csv, .json or .parquet"
)
@runs_folder_option
def query(*, sql: str, form: str | None, out: Path | None, runs_dir: str) -> None:
    """Ask the tables of all runs in SQL; perfkit runs tables names them.

    A row of `tests` is a test of a run, or of a block of a campaign. Tests of void blocks and unfinished
    runs are in `all_tests` only. Rates are bit/s, times s, sizes bytes, as the names say.
    """
    from perfkit.settings.project import runs_folder
    from perfkit.store import query as store
    from perfkit.units import format_count

    found = store.ask(sql, runs_folder(runs_dir))
    for line in found.remarks:
        click.echo(line, err=True)
    if out is not None:
        store.write(found.frame, out)
        click.echo(f"{out}: {format_count(len(found.frame), 'row')}")
    else:
        click.echo(_shown(found.frame, form), nl=form != "csv")


def _shown(frame: pd.DataFrame, form: str | None) -> str:
    if form == "csv":
        return frame.to_csv(index=False)
    if form == "json":
        return frame.to_json(orient="records", date_format="iso", indent=2)
    from perfkit.untrusted import printable

    rows = printable(frame.to_string(index=False, na_rep="-")) if len(frame) else "no rows"
    return f"{rows}\n{len(frame)} rows" if len(frame) > 1 else rows


@runs.command()
@click.argument("table", default="")
def tables(table: str) -> None:
    """The tables of the store; with TABLE its columns, their types and units."""
    from perfkit.errors import StoreError, did_you_mean
    from perfkit.store import query, schema

    if not table:
        for name in schema.TABLES:
            click.echo(f"{name:14}{schema.row_of(name)}")
        for name, (text, _) in query.MORE_VIEWS.items():
            click.echo(f"{name:14}{text if len(text) < 60 else 'a run, or a block of a campaign'}")
        click.echo("all_<table> has what does not count, too: void, not finished, a copy")
        return
    if table in query.MORE_VIEWS:
        text, needed = query.MORE_VIEWS[table]
        click.echo(f"{table}: {text}")
        table = needed
    if table not in schema.TABLES:
        known = [*schema.TABLES, *query.MORE_VIEWS]
        raise StoreError(f"no table {table!r}; {did_you_mean(table, known)}")
    click.echo(f"{table}: a row is {schema.row_of(table)}")
    for one in schema.TABLES[table]:
        click.echo(f"  {one.name:26}{one.kind:6} {one.unit:14}{one.meaning}")


@runs.command()
@click.argument("names", nargs=-1, metavar="[RUN...]")
@runs_folder_option
@executor_option
def index(*, names: tuple[str, ...], runs_dir: str, executor: str) -> None:
    """Take runs of older versions, imported and damaged ones into the store; named RUNs anew.

    Their logs are analysed as they are now. Each run that cannot be taken in is named.
    """
    from perfkit.campaign import run_store
    from perfkit.settings.project import runs_folder

    found = run_store.find_to_index(runs_folder(runs_dir), names)
    failed = False
    for line in run_store.index(found, anew=bool(names), executor=executor):
        failed |= "not taken in" in line
        click.echo(line)
    if failed:
        raise SystemExit(1)


@runs.command()
@runs_folder_option
def compact(runs_dir: str) -> None:
    """Join the tables of all runs into one file a table, so that queries are fast.

    Runs that are analysed later are read beside them; deleted ones are left out at once.
    """
    from perfkit.settings.project import runs_folder
    from perfkit.store.compact import compact as join

    click.echo(join(runs_folder(runs_dir)))


@runs.command()
@click.argument("figure", default="goodput_bps")
@click.option("--by", default="vpn_version", show_default=True, help="what colours tell apart")
@click.option("--path", default="tunnel", show_default=True, help="tunnel, direct, or '' for both")
@click.option("--where", default="", metavar="SQL", help='as "started > now() - INTERVAL 1 YEAR"')
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), default=Path("runs.png"), show_default=True,
    metavar="FILE", help="a .png or .svg",
)  # fmt: skip
@runs_folder_option
def plot(*, figure: str, by: str, path: str, where: str, out: Path, runs_dir: str) -> None:
    """A FIGURE of all runs over time: a point a run or block, a bar a campaign's interval."""
    from perfkit.store import picture
    from perfkit.units import format_count

    made = picture.figure_over_time(figure, by=by, path=path, where=where, runs_dir=runs_dir)
    picture.save(made.plot, out)
    for line in made.remarks:
        click.echo(line, err=True)
    click.echo(f"{out}: {format_count(len(made.frame), 'point')}; {made.plot.title}")

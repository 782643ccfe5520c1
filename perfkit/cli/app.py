"""The shell's way to the phases: the same functions as in the notebooks, one command each."""

from __future__ import annotations

import errno
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

import click

from perfkit import __version__
from perfkit.errors import LogError, PerfkitError, ReleaseError
from perfkit.model import Role
from perfkit.settings.parameters import Parameters
from perfkit.units import parse_number

if TYPE_CHECKING:
    from perfkit.analysis.legacy.tables import Table, TableFormat
    from perfkit.analysis.segments import Policy

Command = TypeVar("Command", bound=Callable[..., Any])
INTERRUPTED = 130  # as a shell says of a command that Ctrl-C has ended

HELP = """Network performance campaigns with many temporary machines.

\b
  perfkit init lab; cd lab        a folder to work in, where there is no clone
  perfkit doctor                  is this machine ready? what is missing, and the remedy
  perfkit lab                     the notebooks, in JupyterLab
  perfkit run --clients 10        all phases at once: launch to report, on this machine
\b
  perfkit launch --clients 10     or one by one: make hosts (they outlive this command)
  perfkit configure               set them up over SSH (on the latest run, or name one)
  perfkit measure                 start the tests on all of them at the same instant
  perfkit collect                 bring the logs home, checksummed
  perfkit segment; perfkit report       windows that count; tables and plots
  perfkit compare RUN RUN         runs side by side, with verdicts; commas join repetitions
  perfkit export RUN              a run as one file without its keys, to hand on
  perfkit import FILE             such a file into runs/: segment, report, compare work on it
  perfkit status; perfkit reap --yes    what is running; end all of it
  perfkit renew --minutes 60            hosts end themselves an hour from now (ec2)
  perfkit trust; perfkit clean --yes    existing hosts: pin their keys; clean and free them
  perfkit read LOG; perfkit legacy DIR  what is in a log file; the 2011 tool's tables
"""


def _number(_ctx: click.Context, _param: click.Parameter, value: str) -> float:
    """A number, read as everywhere else: click's own takes nan, inf and `1_0`."""
    try:
        return parse_number(value, whole=False)
    except ValueError as exc:
        raise click.BadParameter(f"{value!r}: {exc}") from exc


class Tutorial(click.Group):
    """A group whose errors are one line, and whose exit status says that something failed."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run it all; output that goes to a full disk needs no traceback either."""
        try:
            return super().main(*args, **kwargs)
        except OSError as exc:
            if exc.errno != errno.ENOSPC or exc.filename:
                raise
            click.echo("perfkit: what it prints cannot be written (no space left)", err=True)
            raise SystemExit(1) from exc

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; perfkit's own errors are for people, not tracebacks."""
        try:
            return super().invoke(ctx)
        except PerfkitError as exc:
            click.echo(f"perfkit: {type(exc).__name__}: {exc}", err=True)
            raise SystemExit(1) from exc
        except KeyboardInterrupt as exc:
            click.echo("perfkit: interrupted; perfkit status: how far it came, what runs", err=True)
            raise SystemExit(INTERRUPTED) from exc


@click.group(cls=Tutorial, help=HELP)
@click.version_option(__version__)
def main() -> None:
    """Entry point of the `perfkit` command; a terminated command ends like an interrupted one."""
    signal.signal(signal.SIGTERM, _interrupt)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _parameter_options(command: Command) -> Command:
    """One option for each field of `Parameters`; unset ones keep the declared default."""
    for name, field in reversed(Parameters.model_fields.items()):
        flag = f"--{name.replace('_', '-')}"
        text = f"{field.description} [{field.default if field.default != '' else 'empty'}]"
        if field.annotation is bool:
            command = click.option(flag, name, is_flag=True, default=None, help=text)(command)
        else:
            command = click.option(flag, name, default=None, metavar="VALUE", help=text)(command)
    return command


def _run_argument(command: Command) -> Command:
    command = click.option(
        "--runs-dir", default="", metavar="DIR", help="where run folders are [the project's runs/]"
    )(command)
    return click.argument("run", default="latest")(command)


def _say_what_ended(outcome: Any) -> None:
    click.echo(outcome)
    if outcome.leaked:
        raise ReleaseError("not everything could be released", outcome.leaked)


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


@main.command()
@_parameter_options
def run(**options: Any) -> None:
    """All phases at once; the hosts are released at the end, also after an error."""
    from perfkit.campaign import phases

    with phases.start(**_given(options)) as session:
        phases.run_all(session)


@main.command()
@_parameter_options
def launch(**options: Any) -> None:
    """Make the hosts of a new run; they go on when this command ends, until they expire."""
    from perfkit.campaign import phases

    with phases.start(**_given(options)) as session:
        click.echo(phases.launch(session, wait=True))
        click.echo(f"run {session.run.id}: next is perfkit configure")


def _phase_command(name: str, text: str) -> None:
    @main.command(name, help=text)
    @_run_argument
    def command(run: str, runs_dir: str) -> None:
        from perfkit.campaign import phases

        with phases.attach(run, runs_dir=runs_dir, phase=name) as session:
            result = getattr(phases, name)(session)
            click.echo(result)
            servers = {r.name for r in session.inventory.records() if r.role is Role.SERVER}
        if result.failed and servers.issuperset(done.host for done in result.ok):
            sys.exit(1)  # no client came through


_phase_command("configure", "Set up every reachable host over SSH, and check the tunnels.")
_phase_command("measure", "Start every test on all clients at the same instant, and wait.")
_phase_command("collect", "Bring the logs home; a second call fetches only what is missing.")


@main.command()
@_run_argument
def release(run: str, runs_dir: str) -> None:
    """End the hosts of a run, also of one that was told to keep them."""
    from perfkit.campaign import phases

    with phases.attach(run, runs_dir=runs_dir, phase="release") as session:
        _say_what_ended(phases.release(session, keep=False))


@main.command()
@_run_argument
@click.option(
    "--policy",
    type=click.Choice(["events", "saved", "auto"]),
    help="where windows come from [as the run was made with]",
)
def segment(run: str, runs_dir: str, policy: Policy | None) -> None:
    """Find the windows that count, from the recorded starts and ends."""
    from perfkit.campaign import phases

    click.echo(phases.segment(phases.find_run(run, runs_dir=runs_dir), policy=policy).to_text())


@main.command()
@_run_argument
def report(run: str, runs_dir: str) -> None:
    """Write tables, plots and index.html, and print the tables."""
    from perfkit.campaign import phases

    phases.report(phases.find_run(run, runs_dir=runs_dir, phase="report"), echo=True)


@main.command()
@click.argument("runs", nargs=-1, required=True)
@click.option("--out", default="", metavar="DIR", help="where compare.html goes [the newest run]")
@click.option("--runs-dir", default="", metavar="DIR", help="where run folders are")
def compare(runs: tuple[str, ...], out: str, runs_dir: str) -> None:
    """Runs side by side: differences with intervals, verdicts; RUN,RUN are repetitions."""
    from perfkit.campaign import phases

    phases.compare(*runs, out=out, runs_dir=runs_dir, echo=True)


@main.command()
@_run_argument
@click.option("-o", "--out", default="", metavar="FILE", help="the archive [<run>.tar.xz here]")
def export(*, run: str, runs_dir: str, out: str) -> None:
    """Pack a run into one file to hand on, without keys; what was left out is listed."""
    from perfkit.campaign import archive, offline

    found = offline.find_run(run, runs_dir=runs_dir)
    click.echo(archive.export_run(found, Path(out) if out else Path(f"{found.id}.tar.xz")))


@main.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--runs-dir", default="", metavar="DIR", help="where run folders are")
def import_(file: Path, runs_dir: str) -> None:
    """Open the FILE that perfkit export made; nothing in it is trusted."""
    from perfkit.campaign import archive
    from perfkit.settings.project import runs_folder

    opened = archive.import_run(file, runs_folder(runs_dir))
    click.echo(f"{opened.root}\nperfkit segment, report and compare {opened.id} work on it")


@main.command()
@click.argument("logs", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
def read(logs: tuple[Path, ...]) -> None:
    """What is this log file, how many clients does it hold, what is not understood?"""
    from perfkit.logs.describe import describe

    refused = False
    for path in logs:
        try:
            click.echo(describe(path))
        except LogError as exc:
            refused = True
            click.echo(f"{path}: refused: {type(exc).__name__}: {exc.message}", err=True)
    if refused:
        sys.exit(1)


@main.command()
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


@main.command()
@click.argument("run", default="")
@click.option("--runs-dir", default="", metavar="DIR", help="where run folders are")
def status(run: str, runs_dir: str) -> None:
    """What is running now, as the providers list it; with RUN, also how far it has come."""
    from perfkit.campaign import status_reap

    click.echo(status_reap.status(run, runs_dir=runs_dir))


@main.command()
@click.argument("runs", nargs=-1)
@click.option("--yes", is_flag=True, help="do it; without, only say what would be ended")
@click.option("--expired", is_flag=True, help="only fleets that should have ended by themselves")
@click.option("--force", is_flag=True, help="also runs that a living process has open")
@click.option("--runs-dir", default="", metavar="DIR", help="where run folders are")
def reap(*, runs: tuple[str, ...], yes: bool, expired: bool, force: bool, runs_dir: str) -> None:
    """End what runs have left behind (all, or the named RUNS), found by tag alone."""
    from perfkit.campaign.status_reap import reap as end

    _say_what_ended(end(runs, yes=yes, expired=expired, force=force, runs_dir=runs_dir))


@main.command(context_settings={"ignore_unknown_options": True})
@click.argument("options", nargs=-1, type=click.UNPROCESSED, metavar="[JUPYTER OPTIONS]")
def lab(options: tuple[str, ...]) -> None:
    """Open the notebooks in JupyterLab; its own OPTIONS pass, as --no-browser --port 9000.

    Its settings are kept apart from those of your other work. Ctrl-C ends it; hosts go on.
    """
    from perfkit.notebook import lab as jupyter

    click.echo("JupyterLab on the notebooks; Ctrl-C ends it and their kernels, hosts go on")
    jupyter.run(options)


@main.command()
@click.argument("run", default="")
@click.option("--yes", is_flag=True, help="do it; without, only say what would be cleaned")
@click.option("--force", is_flag=True, help="also a run that a living process has open")
@click.option("--runs-dir", default="", metavar="DIR", help="where run folders are")
@click.option("--config-dir", default="", metavar="DIR", help="where static.conf is")
def clean(*, run: str, yes: bool, force: bool, runs_dir: str, config_dir: str) -> None:
    """Remove what a run (or every run) has left on the existing hosts of static.conf.

    It is found by its tag on the hosts themselves: folder, processes, crontab lines, tunnel. The
    hosts go on, and are free for the next run.
    """
    from perfkit.campaign.status_reap import reap as end

    wanted = (run,) if run else ()
    _say_what_ended(
        end(wanted, yes=yes, force=force, runs_dir=runs_dir, config_dir=config_dir, only="static")
    )


@main.command()
@click.argument("hosts", nargs=-1)
@click.option("--fingerprint", default="", metavar="SHA256:…", help="what it must be; asks nobody")
@click.option("--config-dir", default="", metavar="DIR", help="where static.conf is")
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


@main.command()
@_run_argument
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


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
def init(folder: Path) -> None:
    """Make a project FOLDER: settings, notebooks, and what goes to the hosts, yours to edit."""
    from perfkit.settings.project import make_project

    made = make_project(folder)
    click.echo(f"made {made}: resources/, config/, notebooks/, runs/")
    click.echo(f"  cd {folder} && perfkit doctor && perfkit run --clients 3")


@main.command()
def doctor() -> None:
    """Is this machine ready? Each need, whether it was found, and what mends it."""
    from perfkit import doctor as examiner

    examination = examiner.examine()
    click.echo(examination)
    if not examination.ok:
        sys.exit(1)


if __name__ == "__main__":
    main(prog_name=Path(sys.argv[0]).name)

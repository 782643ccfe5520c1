"""The shell's way to the phases: the same functions as in the notebooks, one command each.

The commands are in the modules beside this one, a module for each group of them.
"""

from __future__ import annotations

import atexit
import errno
import gc
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import click

from perfkit import __version__
from perfkit.cli import baselines, fleet, logs, phases, project, results
from perfkit.cli.images import image
from perfkit.cli.runs import runs
from perfkit.errors import PerfkitError

INTERRUPTED = 130  # as a shell says of a command that Ctrl-C has ended

HELP = """Network performance campaigns with many temporary machines.

\b
  perfkit init lab; cd lab        a folder to work in, where there is no clone
  perfkit doctor                  is this machine ready? what is missing, and the remedy
  perfkit lab                     the notebooks, in JupyterLab
  perfkit run --clients 10        all phases at once: launch to report, on this machine
  perfkit run --clients 1,2,5,10..50:10 --precision 5% --name big     a campaign: many sizes,
                                  repeated until it is sharp; the same again resumes it
  perfkit run --clients 20 --variants base,chacha --repetitions 8     two variants in turn
\b
  perfkit launch --clients 10     or one by one: make hosts (they outlive this command)
  perfkit configure               set them up over SSH (on the latest run, or name one)
  perfkit measure                 start the tests on all of them at the same instant
  perfkit collect                 bring the logs home, checksummed
  perfkit segment; perfkit report       windows that count; tables and plots
  perfkit compare RUN RUN         runs side by side, with verdicts; commas join repetitions
  perfkit baseline save CAMPAIGN --as v2.6      keep it; runs that repeat each other do as well
  perfkit check CAMPAIGN --against v2.6         exit 0 same or better, 3 worse, 4 not enough data
  perfkit history CAMPAIGN              when the figures of campaigns like it changed
  perfkit adopt NAME RUN RUN...   runs that exist become the repetitions of a campaign
  perfkit export RUN              a run as one file without its keys, to hand on
  perfkit import FILE             such a file into runs/: segment, report, compare work on it
  perfkit runs                    the runs that are there: state, size, date; perfkit runs delete RUN
  perfkit runs query "SELECT …"   all runs in SQL; perfkit runs plot: a figure over time
  perfkit status; perfkit reap --yes    what is running; end all of it
  perfkit renew --minutes 60            hosts end themselves an hour from now (ec2)
  perfkit image bake                    an image for ec2 whose hosts install nothing
  perfkit trust; perfkit clean --yes    existing hosts: pin their keys; clean and free them
  perfkit read LOG; perfkit legacy DIR  what is in a log file; the 2011 tool's tables
"""


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
    # Looking for garbage in what ends with the process took 0.2 s after a report, 0.4 s after a large one.
    atexit.register(gc.freeze)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


for group in (phases, fleet, results, logs, project):
    for command in vars(group).values():
        if isinstance(command, click.Command):
            main.add_command(command)
for command in (baselines.baseline, baselines.check, baselines.adopt, image, runs):
    main.add_command(command)


if __name__ == "__main__":
    main(prog_name=Path(sys.argv[0]).name)

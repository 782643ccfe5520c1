"""The phases of a run that need hosts: all at once, or one by one."""

from __future__ import annotations

import sys
from typing import Any

import click

from perfkit.cli.options import parameter_options, run_argument
from perfkit.model import Role


@click.command()
@parameter_options
def run(**options: Any) -> None:
    """All phases at once; the hosts are released at the end, also after an error."""
    from perfkit.campaign import phases

    with phases.start(**{k: v for k, v in options.items() if v is not None}) as session:
        phases.run_all(session)


@click.command()
@parameter_options
def launch(**options: Any) -> None:
    """Make the hosts of a new run; they go on when this command ends, until they expire."""
    from perfkit.campaign import phases

    with phases.start(**{k: v for k, v in options.items() if v is not None}) as session:
        click.echo(phases.launch(session, wait=True))
        click.echo(f"run {session.run.id}: next is perfkit configure")


def _phase_command(name: str, text: str) -> click.Command:
    @click.command(name, help=text)
    @run_argument
    def command(run: str, runs_dir: str) -> None:
        from perfkit.campaign import phases

        with phases.attach(run, runs_dir=runs_dir, phase=name) as session:
            result = getattr(phases, name)(session)
            click.echo(result)
            servers = {r.name for r in session.inventory.records() if r.role is Role.SERVER}
        if result.failed and servers.issuperset(done.host for done in result.ok):
            sys.exit(1)  # no client came through

    return command


configure = _phase_command(
    "configure", "Set up every reachable host over SSH, and check the tunnels."
)
measure = _phase_command(
    "measure", "Start every test on all clients at the same instant, and wait."
)
collect = _phase_command(
    "collect", "Bring the logs home; a second call fetches only what is missing."
)

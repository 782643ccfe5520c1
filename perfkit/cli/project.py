"""The project's folder, its notebooks, and whether this machine is ready."""

from __future__ import annotations

import sys
from pathlib import Path

import click


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
def init(folder: Path) -> None:
    """Make a project FOLDER: settings, notebooks, and what goes to the hosts, yours to edit."""
    from perfkit.settings.project import make_project

    made = make_project(folder)
    click.echo(f"made {made}: resources/, config/, notebooks/, runs/")
    click.echo(f"  cd {folder} && perfkit doctor && perfkit run --clients 3")


@click.command()
def doctor() -> None:
    """Is this machine ready? Each need, whether it was found, and how to fix it."""
    from perfkit import doctor as examiner

    examination = examiner.examine()
    click.echo(examination)
    if not examination.ok:
        sys.exit(1)


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("options", nargs=-1, type=click.UNPROCESSED, metavar="[JUPYTER OPTIONS]")
def lab(options: tuple[str, ...]) -> None:
    """Open the notebooks in JupyterLab; its own OPTIONS pass, as --no-browser --port 9000.

    Its settings are kept apart from those of your other work. Ctrl-C ends it; hosts go on.
    """
    from perfkit.notebook import lab as jupyter

    click.echo("JupyterLab on the notebooks; Ctrl-C ends it and their kernels, hosts go on")
    jupyter.run(options)

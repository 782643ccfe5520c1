"""Arguments and options that several commands have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from perfkit.executors import address
from perfkit.settings.parameters import Parameters

Command = TypeVar("Command", bound=Callable[..., Any])

runs_folder_option = click.option(
    "--runs-dir", default="", metavar="DIR", help="where run folders are [the project's runs/]"
)
config_folder_option = click.option(
    "--config-dir", default="", metavar="DIR", help="where static.conf is"
)


def _executor(_context: click.Context, _option: click.Parameter, name: str) -> str:
    try:
        return address.checked(name)
    except ValueError as exc:
        raise click.BadParameter(str(exc)) from exc


executor_option = click.option(
    "--executor",
    default="",
    callback=_executor,
    metavar="WHO",
    help="who works on many runs: tcp://HOST:PORT of Dask, processes [this one]",
)


def parameter_options(command: Command) -> Command:
    """One option for each field of `Parameters`; unset ones keep the declared default."""
    for name, field in reversed(Parameters.model_fields.items()):
        flag = f"--{name.replace('_', '-')}"
        text = f"{field.description} [{field.default if field.default != '' else 'empty'}]"
        if field.annotation is bool:
            command = click.option(flag, name, is_flag=True, default=None, help=text)(command)
        else:
            command = click.option(flag, name, default=None, metavar="VALUE", help=text)(command)
    return command


def run_argument(command: Command) -> Command:
    """The run to work on, and the folder it is in."""
    return click.argument("run", default="latest")(runs_folder_option(command))

"""What stands between a notebook's variables and the phases: its parameters, their form, a sample.

The parameters cell is the one declaration. Papermill writes into it, a person edits it or types
in the form below it, and all of them end as plain variables of the notebook.
"""

from __future__ import annotations

import ast
import html
import os
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from IPython.core.getipython import get_ipython

from perfkit.errors import ConfigError, did_you_mean
from perfkit.notebook.fields import check, fields_for
from perfkit.report.answer import Answer
from perfkit.report.page import Report
from perfkit.runs.folder import Run
from perfkit.settings import ini
from perfkit.settings.parameters import Parameters
from perfkit.settings.project import runs_folder
from perfkit.settings.secrets import refuse_secrets
from perfkit.widgets.fleet_table import is_interactive
from perfkit.widgets.form import Form

SAMPLE = "sample"
_BEFORE_ALL = (
    "00-"  # of a folder: sorts before every run, so that it is never the latest of several
)

_shown: Form | None = None  # the form that follows the variables


def parameters(namespace: Mapping[str, Any]) -> dict[str, Any]:
    """Pick a notebook's parameters out of its `globals()`.

    Papermill lets a mistyped `-p client 5` pass with a warning and runs on with the default. It
    leaves the name in a cell of its own, where it is found here.

    Raises:
        ConfigError: a name was passed that is no parameter; the message names the nearest one. Or
            one looks like a secret: papermill has written it into the executed notebook already.
    """
    known = list(_declared(namespace) or Parameters.model_fields)
    for cell in namespace.get("In", []):
        if cell.startswith("# Parameters\n"):
            for name, value in _assignments(cell).items():
                refuse_secrets({name: value}, source="papermill -p")
                if name not in known:
                    raise ConfigError(
                        "papermill -p", name, value, "no such parameter", did_you_mean(name, known)
                    )
    return {name: namespace[name] for name in known if name in namespace}


def form(namespace: MutableMapping[str, Any], *, phase: str = "") -> Form | None:
    """The notebook's parameters as fields: what is typed is in the variables at once.

    Each change is checked as a run would check it; what is wrong is said beside its field, and
    what the values mean below them. Other cells may set the variables as well: the form follows.
    Where no person watches, the resolved values are printed, and there is no form.

    Args:
        phase: What the notebook does with a run: `latest` is the newest that will do for it.

    Raises:
        ConfigError: papermill was given a name that is no parameter, or a flag neither yes nor no.
    """
    global _shown  # noqa: PLW0603 - one notebook, one kernel, one form
    _settle_flags(namespace)
    chosen, comments = parameters(namespace), _declared(namespace)
    if not is_interactive() or "VOILA_BASE_URL" in os.environ:  # whose readers run nothing
        width = max(map(len, chosen))
        lines = [f"{name:{width}} = {value!r}" for name, value in chosen.items()]
        print("\n".join([*lines, *_outlook(chosen, phase)]))  # noqa: T201 - the form of a machine
        return None
    _shown = Form(fields_for(chosen, comments), namespace, partial(check, phase=phase))
    shell = get_ipython()
    if shell is not None:
        shell.events.register("post_run_cell", _follow)  # again is once
    return _shown


def _settle_flags(namespace: MutableMapping[str, Any]) -> None:
    """Papermill's `-p keep_fleet no` is a text, and as such it is true."""
    for name in parameters(namespace):
        known = Parameters.model_fields.get(name)
        if known is not None and known.annotation is bool:
            checked = ini.validate(Parameters, {name: namespace[name]}, source="parameters")
            namespace[name] = getattr(checked, name)


def _follow(_result: object) -> None:
    if _shown is not None:
        _shown.follow()


def _outlook(chosen: Mapping[str, Any], phase: str) -> list[str]:
    verdict = check(chosen, phase=phase)
    return [*verdict.errors.values(), *verdict.summary]


def _declared(namespace: Mapping[str, Any]) -> dict[str, str]:
    """Name -> comment of the parameters cell: the first one of nothing but annotated literals."""
    for source in namespace.get("In", []):
        lines = source.splitlines()
        try:
            body = ast.parse(source).body
        except SyntaxError:  # a cell with a magic of IPython's
            continue
        if body and all(isinstance(n, ast.AnnAssign) and n.value is not None for n in body):
            return {
                ast.unparse(node.target): lines[node.end_lineno - 1].partition("  # ")[2]
                for node in body
                if isinstance(node, ast.AnnAssign) and node.end_lineno is not None
            }
    return {}


def _assignments(source: str) -> dict[str, str]:
    pairs = [n for n in ast.parse(source).body if isinstance(n, ast.Assign)]
    return {ast.unparse(n.targets[0]): ast.unparse(n.value) for n in pairs}


def sample(make: Callable[..., Run], *, runs_dir: str = "", name: str = SAMPLE, **how: Any) -> Run:
    """A finished run or campaign to explore without any host; made once, found by its name.

    It lies in the runs folder like any other, but is never the latest of several. Remove its
    folder to have it made anew.

    Args:
        make: `perfkit.testing.runs.make_run` or `perfkit.testing.campaigns.make_campaign`; passed
            in, because the package does not use them.
        name: One for each sample.
        how: What it is made like.
    """
    folder = runs_folder(runs_dir)
    root = folder / f"{_BEFORE_ALL}{name}"
    if not (root / "manifest.json").exists():
        beside = folder / f".{name}-{os.getpid()}"  # whole or not at all
        run = make(beside / root.name, **how)
        run.update_manifest({"name": name, "notices": [_IS_SAMPLE]})
        run.root.chmod(0o700)
        run.root.rename(root)
        beside.rmdir()
    return Run(root)


_IS_SAMPLE = "A sample: its logs were generated, no host was ever there."


@dataclass(frozen=True, slots=True)
class Link:
    """The way to a file, from the folder the notebook runs in."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    def _repr_html_(self) -> str:
        address = quote(os.path.relpath(self.path))
        return f'<a href="{address}">{html.escape(str(self.path))}</a>'


def link(report: Report | Answer) -> Link:
    """The page of a report or an answer, to be clicked."""
    return Link(report.page)

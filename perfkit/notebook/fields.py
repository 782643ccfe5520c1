"""How each parameter looks in a notebook's form, and what is said about the values there."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from perfkit.campaign import estimate
from perfkit.errors import ConfigError, PerfkitError, ScheduleError
from perfkit.fleet.provider import provider_names
from perfkit.model import TestSpec
from perfkit.runs import campaign_folder, design, journal
from perfkit.runs import folder as runs
from perfkit.runs.design import BASE
from perfkit.runs.folder import Run
from perfkit.runs.latest import LATEST, open_run
from perfkit.settings import ini, parameters
from perfkit.settings.parameters import Parameters
from perfkit.settings.project import project_dir, runs_folder
from perfkit.settings.tests_conf import load_tests
from perfkit.vpn.base import NONE, vpn_names
from perfkit.widgets.form import Field, Kind, Verdict

# First, in this order.
MAIN = ("provider", "clients", "repetitions", "tests", "vpn", "duration_s", "name")
FEW = 5  # so many parameters need no second page
MAX_RUNS = 50  # suggested; any other may be typed

_UNITS = {"_s": "s", "_min": "min", "_mbps": "Mbit/s"}


def fields_for(values: Mapping[str, Any], comments: Mapping[str, str]) -> list[Field]:
    """A field for each parameter; its help is the parameters cell's comment."""
    order = [name for name in MAIN if name in values]
    order += [name for name in values if name not in order]
    few = len(order) <= FEW
    return [
        Field(
            name=name,
            label=_label(name),
            help=comments.get(name) or _description(name),
            kind=_kind(name, values[name]),
            choices=_choices(name, values),
            all_of=tuple(t.name for t in _tests(values) if t.in_all) if name == "tests" else (),
            whole=name == "clients" or _type(name, values[name]) is int,
            advanced=not few and name not in MAIN,
        )
        for name in order
    ]


def _label(name: str) -> str:
    """`duration_s` is `Duration (s)`."""
    for suffix, unit in _UNITS.items():
        if name.endswith(suffix):
            return f"{_label(name.removesuffix(suffix))} ({unit})"
    return name.replace("_", " ").capitalize()


def _description(name: str) -> str:
    known = Parameters.model_fields.get(name)
    return str(known.description) if known else ""


def _kind(name: str, value: object) -> Kind:
    if name == "tests":
        return "many"
    if name in {"provider", "vpn"} or _literals(name):
        return "choice"
    kinds: dict[object, Kind] = {bool: "flag", int: "number", float: "number"}
    return kinds.get(_type(name, value), "text")


def _type(name: str, value: object) -> object:
    """The declared type where there is one: papermill's `-p duration_s 5` is an int."""
    known = Parameters.model_fields.get(name)
    return known.annotation if known else type(value)


def _literals(name: str) -> tuple[str, ...]:
    known = Parameters.model_fields.get(name)
    if known is None or get_origin(known.annotation) is not Literal:
        return ()
    return get_args(known.annotation)


def _choices(name: str, values: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    if name == "provider":
        return tuple((known, known) for known in provider_names())
    if name == "vpn":
        return tuple((known, known) for known in (*vpn_names(), NONE))
    if name == "tests":
        return tuple((t.name, f"{t.name}: {t.duration_s:g} s, {t.path}") for t in _tests(values))
    if name == "variants":
        folder, known = _config_dir(values), [BASE]
        known += ini.read_ini(folder, "variants")[1].sections()
        return tuple((it, "") for it in (*known, *(f"{BASE},{it}" for it in known[1:])))
    if name == "run":
        there = reversed(runs.list_runs(_runs_dir(values))[-MAX_RUNS:])
        return ((LATEST, "the newest run that will do"), *((run.id, "") for run in there))
    return tuple((value, value) for value in _literals(name))


def _tests(values: Mapping[str, Any]) -> tuple[TestSpec, ...]:
    return load_tests(_config_dir(values), project_dir() / "resources")


def _config_dir(values: Mapping[str, Any]) -> Path:
    chosen = values.get("config_dir")
    return Path(chosen).resolve() if chosen else project_dir() / "config"


def _runs_dir(values: Mapping[str, Any]) -> Path:
    return runs_folder(values.get("runs_dir") or "")


def check(values: Mapping[str, Any], *, phase: str = "") -> Verdict:
    """Judge a notebook's parameters as a run would, before there is one; some milliseconds.

    Args:
        phase: What the notebook does with a run that exists.
    """
    errors = _errors(values)
    if errors:
        return Verdict(errors=errors, summary=["Not right yet: see the fields in question."])
    try:
        return _meaning(values, phase)
    except ConfigError as exc:
        if exc.key in values:
            return Verdict(errors={exc.key: _short(exc)})
        return Verdict(errors={"": str(exc)}, summary=[str(exc)])
    except ScheduleError as exc:
        return Verdict(errors={"tests": str(exc)})
    except PerfkitError as exc:
        return Verdict(errors={"run" if "clients" not in values else "provider": str(exc)})


def _meaning(values: Mapping[str, Any], phase: str) -> Verdict:
    """What the values come to: what a new run takes, or how far one has come.

    Raises:
        PerfkitError: they do not go together.
    """
    if "clients" in values and not values.get("run"):
        known = {name: v for name, v in values.items() if name in Parameters.model_fields}
        found = estimate.estimate(parameters.load(known))
        return Verdict(summary=found.outlook, notices=found.notices)
    if "run" in values:
        phase = "launch" if "clients" in values else phase
        opened = open_run(_runs_dir(values), values["run"], phase=phase)
        passed_over = [f"{opened}."] if opened.passed_over else []
        return Verdict(summary=[describe(opened.run), *passed_over])
    return Verdict()


def _errors(values: Mapping[str, Any]) -> dict[str, str]:
    """What is wrong with each value by itself."""
    errors = {}
    for name, value in values.items():
        if name in Parameters.model_fields:
            try:
                ini.validate(Parameters, {name: value}, source="parameters")
            except ConfigError as exc:
                errors[name] = _short(exc)
    return errors


def _short(error: ConfigError) -> str:
    """The message without the name of the field it stands beside."""
    return f"{error.value!r}: {error.problem}; {error.remedy}"


def describe(run: Run) -> str:
    """One sentence: what the run is, and how far it has come."""
    manifest = run.manifest()
    chosen = manifest["parameters"]
    made = datetime.fromisoformat(manifest["created_utc"])
    plan = design.load(run) if campaign_folder.is_campaign(run) else None
    head = (
        f"{'Run' if plan is None else 'Campaign'} {run.id}: {chosen.get('clients')} clients at {chosen.get('provider')}, "
        f"made {made:%Y-%m-%d %H:%M} UTC"
    )
    events = journal.read(run.journal_path).events if run.journal_path.exists() else ()
    if plan is not None:
        void = {e.fields["block"] for e in events if e.kind == "block-void"}
        count = len({e.fields["block"] for e in events if e.kind == "block-done"} - void)
        head += (
            f"; {count} of {plan.size} blocks"
            if plan.capacity is None
            else f"; {count} blocks of {plan.size}"
        )
    if not run.key_path.exists():
        return f"{head}; files only, no hosts."
    done = dict.fromkeys(e.fields["phase"] for e in events if e.kind == "phase-done")
    return f"{head}; done: {', '.join(done) or 'nothing yet'}."

"""What is running, and how to end it: `perfkit status` and `perfkit reap`.

Both ask the providers what is really there, by tag; a run folder is not needed, and a damaged one
does not get in the way.
"""

from __future__ import annotations

import contextlib
import html
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from perfkit.campaign import blocks
from perfkit.errors import (
    ConfigError,
    HostError,
    JournalError,
    NotSetUpError,
    PerfkitError,
    RunError,
    did_you_mean,
)
from perfkit.fleet.inventory import Inventory, failed_lines
from perfkit.fleet.provider import Provider, get_provider, provider_names
from perfkit.fleet.reap import (
    FoundFleet,
    fleet_of,
    in_flight,
    is_strangers,
    note_released,
    provider_of,
    release_until_quiet,
    settling_s,
    survey,
)
from perfkit.fleet.silent_hosts import not_released, unasked
from perfkit.fleet.static import trust
from perfkit.fleet.static.trust import ShownKey
from perfkit.model import HostState
from perfkit.runs import campaign_folder, design, journal
from perfkit.runs import folder as runs
from perfkit.runs.folder import Run
from perfkit.settings.project import project_dir, runs_folder
from perfkit.vpn.base import destroy_secrets


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Fleets that are there, how far the asked-for run has come, and who could not be asked."""

    fleets: tuple[FoundFleet, ...] = ()
    progress: tuple[str, ...] = ()
    unasked: tuple[str, ...] = ()

    def __str__(self) -> str:
        fleets = [str(fleet) for fleet in self.fleets] or ["no hosts are running"]
        return "\n".join([*self.unasked, *fleets, *self.progress])

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reaped:
    """What a reap found and did; what is still there comes first."""

    leaked: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "\n".join([*(f"STILL THERE: {what}" for what in self.leaked), *self.lines])

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"


def status(run: str = "", *, runs_dir: str = "") -> Status:
    """List every fleet by tag; with `run` (id, name, `latest`) also that run's progress."""
    folder = runs_folder(runs_dir)
    fleets, not_asked = _survey_all(_config_dir(""), provider_names(), folder)
    shown = [runs.open_run(folder, run)] if run else runs.list_runs(folder)[-1:]
    return Status(
        fleets=tuple(fleet for _, fleet in fleets),
        progress=tuple(line for one in shown for line in _progress(one)),
        unasked=tuple(not_asked.values()),
    )


def reap(
    run_ids: Sequence[str] = (),
    *,
    yes: bool = False,
    expired: bool = False,
    force: bool = False,
    runs_dir: str = "",
    config_dir: str = "",
    only: str = "",
) -> Reaped:
    """End what carries a run's tag: all of it, or the named runs'. Without `yes` only say what.

    A run that a living process has open is left alone unless `force` is given. With the last host
    go the secrets that the run's folder here still holds. What could not be asked may still be
    there: with `yes` it counts as leaked.

    Args:
        only: Ask this provider and no other.

    Raises:
        RunError: a named run has nothing anywhere; the message names the nearest one that has.
    """
    folder = runs_folder(runs_dir)
    names = [only] if only else provider_names()
    fleets, not_asked = _survey_all(_config_dir(config_dir), names, folder)
    there = [fleet.run_id for _, fleet in fleets]
    wanted = {_resolve(run_id, there, folder, not_asked.values()) for run_id in run_ids}
    lines, leaked = list(not_asked.values()), list[str]()
    if yes and not expired:
        named = [Run(folder / run_id) for run_id in wanted]
        leaked += [line for key, line in not_asked.items() if _may_hold(key, named)]
        lines = [line for line in lines if line not in leaked]
    for provider, fleet in fleets:
        if (wanted and fleet.run_id not in wanted) or (expired and not fleet.expired):
            continue
        if not force and _is_open(folder, fleet.run_id):
            lines.append(f"left alone, a living process has it open (--force ends it): {fleet}")
        elif not (force or wanted) and is_strangers(provider, fleet, Run(folder / fleet.run_id)):
            lines.append(f"left alone, not made from here and not expired (name it): {fleet}")
        elif not wanted and fleet.expired and not (fleet.hosts or fleet.residue):
            lines.append(f"expired, so its hosts should have cleaned themselves: {fleet}")
        elif not yes:
            lines.append(f"would end {fleet}")
        else:
            ended, still_there = _end(provider, fleet, Run(folder / fleet.run_id))
            lines.append(ended)
            leaked += still_there
    if any(line.startswith("would end") for line in lines):
        lines.append("nothing was done; add --yes to do it")
    return Reaped(leaked=tuple(leaked), lines=tuple(lines or ["nothing to end"]))


def _may_hold(not_asked: str, wanted: Collection[Run]) -> bool:
    """Whether something of the wanted runs (none named: of any) may be where nobody could ask.

    Args:
        not_asked: A provider, or a provider and a machine.
    """
    name, _, machine = not_asked.partition(" ")
    known = [run for run in wanted if run.journal_path.exists()]
    if not wanted or len(known) < len(wanted):
        return True
    return not machine and any(provider_of(run) in (name, "") for run in known)


def _end(provider: Provider, fleet: FoundFleet, run: Run) -> tuple[str, list[str]]:
    """End one fleet; what was ended, in words, and what is still there."""
    report = release_until_quiet(
        provider,
        fleet.run_id,
        quiet_s=settling_s(provider, fleet, run),
        known=not_released(run),
    )
    note_released(run, report)
    if not report.leaked:
        destroy_secrets(run)
    ended = f"ended {report.summary(of=str(fleet))}"
    return ended, [f"{fleet.run_id}: {what}" for what in report.leaked]


def host_keys(names: Sequence[str] = (), *, config_dir: str = "") -> Iterator[ShownKey | HostError]:
    """Ask existing hosts for their keys: the named ones, else all that are not pinned.

    They come one at a time, jump hosts first, because a host behind one can be asked only once its
    jump host has been pinned. Who does not answer comes as the error.

    Raises:
        ConfigError, NotSetUpError: static.conf is wrong, not there, or has no such host.
    """
    folder = _config_dir(config_dir)
    for name in trust.names_to_ask(folder, tuple(names)):
        try:
            yield trust.fetch(folder, name)
        except HostError as exc:
            yield exc


def pin_host_key(shown: ShownKey, *, config_dir: str = "") -> Path:
    """Write down a key that a person has confirmed; returns the file."""
    return trust.pin(_config_dir(config_dir), shown)


def _config_dir(config_dir: str) -> Path:
    if not config_dir:
        return project_dir() / "config"
    folder = Path(config_dir).resolve()
    if not folder.is_dir():
        raise ConfigError(
            "parameters", "config_dir", config_dir, "no such folder", "give one that exists"
        )
    return folder


def find_left(run: Run) -> list[str]:
    """What a run of this machine may still have at its provider, in words; empty: nothing, it says.

    A provider that cannot be asked, also because it is not set up here any more, may have something.
    """
    own = provider_of(run)
    left = []
    for name in [own] if own else provider_names():
        try:
            provider = _provider_of_run(name, run)
            found = [fleet_of(provider, run)]
            found += [it for it in in_flight(provider, run.root.parent, []) if it.run_id == run.id]
            left += [str(fleet) for fleet in found if fleet]
        except (PerfkitError, ImportError) as exc:
            left.append(f"NOT ASKED: provider {name}: {exc}")
    return left


def _provider_of_run(name: str, run: Run) -> Provider:
    """A provider by the settings that hold now; where it is not set up, by the run's own copy."""
    try:
        return get_provider(name, config_dir=_config_dir(""))
    except NotSetUpError:
        return get_provider(name, config_dir=run.config_dir)


Survey = list[tuple[Provider, FoundFleet]]


def _survey_all(
    config_dir: Path, names: Sequence[str], runs_dir: Path
) -> tuple[Survey, dict[str, str]]:
    """The fleets of registered providers; one that cannot be asked is named, not skipped.

    The cloud is asked first, and this machine's folders afterwards: what is listed is there.

    Returns:
        The fleets; and what could not be asked, by provider (and machine), in words.
    """
    fleets: Survey = []
    not_asked: dict[str, str] = {}
    for name in names:
        provider: Provider | None = None
        found: list[FoundFleet] = []
        try:
            provider = get_provider(name, config_dir=config_dir)
            found = survey(provider, runs_dir)
            found += in_flight(provider, runs_dir, [fleet.run_id for fleet in found])
            for host in unasked(provider):
                what = f"{host.machine}: {host.reason}; which run has it is not known"
                not_asked[f"{name} {host.machine}"] = f"NOT ASKED: {what}"
        except NotSetUpError:
            provider = None  # it is not used from here any more, or never was
        except (PerfkitError, ImportError) as exc:
            not_asked[name] = f"NOT ASKED: provider {name}: {exc}"
            provider = None
        seen = {fleet.run_id: (provider, fleet) for fleet in found if provider}
        seen |= dict(_by_their_own_settings(name, provider, runs_dir, seen))
        fleets += seen.values()
        for host in (host for _, fleet in seen.values() for host in fleet.unasked):
            not_asked.pop(f"{name} {host.machine}", None)  # said with its run
    return fleets, not_asked


def _by_their_own_settings(
    name: str,
    provider: Provider | None,
    runs_dir: Path,
    seen: Mapping[str, tuple[Provider, FoundFleet]],
) -> Iterator[tuple[str, tuple[Provider, FoundFleet]]]:
    """Runs of this folder whose hosts cannot all be asked by the settings that hold now.

    Their own copy of the provider's file may name machines that config/ no longer does.
    """
    for run in runs.list_runs(runs_dir):
        if provider_of(run) != name or not not_released(run):
            continue
        found = seen.get(run.id)
        if provider is not None and found is None:
            fleet = fleet_of(provider, run) if provider.traits.asks_hosts else None
            found = (provider, fleet) if fleet else None
        if provider is None or (found and found[1].unasked):
            with contextlib.suppress(PerfkitError):
                own = get_provider(name, config_dir=run.config_dir)
                fleet = fleet_of(own, run)
                if fleet and (found is None or len(fleet.unasked) < len(found[1].unasked)):
                    found = (own, fleet)
        if found:
            yield run.id, found


def _resolve(run_id: str, there: Sequence[str], folder: Path, not_asked: Iterable[str]) -> str:
    if run_id in there:
        return run_id
    found: Run | None = None
    with contextlib.suppress(RunError):
        found = runs.open_run(folder, run_id)
    if found is not None:
        return campaign_folder.require_own_hosts(found).id
    hint = did_you_mean(run_id, there) if there else "nothing is running"
    silent = "".join(f"\n{line}" for line in not_asked)
    raise RunError(f"nothing carries the tag of a run {run_id!r}; {hint}{silent}")


def _is_open(folder: Path, run_id: str) -> bool:
    run = Run(folder / run_id)
    if not run.root.is_dir():
        return False
    try:
        with run.locked():
            return False
    except (RunError, OSError):
        return True


def _progress(run: Run) -> Iterator[str]:
    """The run's phases and hosts, from its journal."""
    yield f"run {run.id}:"
    if not run.journal_path.exists():
        yield "  nothing has happened yet"
        return
    try:
        events = journal.read(run.journal_path).events
    except JournalError as exc:
        yield f"  {exc}"
        return
    for event in events:
        if event.kind in {"phase-done", "phase-failed"}:
            how = event.kind.removeprefix("phase-")
            why = str(event.fields.get("reason", "")).partition("\n")[0]
            if why.startswith("KeyboardInterrupt"):
                how, why = "interrupted", ""
            after = f"after {event.fields['elapsed_s']:.1f} s"
            yield f"  {event.fields['phase']} {how} {after}{why and f': {why}'}"
    if campaign_folder.is_campaign(run):
        yield f"  {blocks.replay(events)} of {_planned_blocks(run)}"
    table = Inventory.from_events(events)
    counts = ", ".join(f"{n} {state}" for state, n in table.counts().items())
    failed = failed_lines(table.records())
    gone = len(failed) - table.counts().get(HostState.FAILED, 0)
    yield f"  hosts: {counts or 'none'}{f', {gone} of them had failed' if gone else ''}"
    yield from (f"  {line}" for line in failed)


def _planned_blocks(run: Run) -> str:
    """How many blocks a campaign may have, in words."""
    try:
        return design.load(run).size
    except RunError as exc:
        return f"nobody knows how many: {exc}"

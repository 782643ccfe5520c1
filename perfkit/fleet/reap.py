"""Find and release what runs have left behind, by tag, from a fresh process with no local state.

A reap lists first and asks afterwards: what a provider's own listing shows is the truth. It
repeats until a listing stays empty, since a launch that was under way can still bring a host. How
long it must stay empty, the run's journal may tell, if it is here: a launch without a result may
still be on its way; so a run with such a launch is reaped even if nothing of it is listed.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

from perfkit.errors import JournalError, ProviderError, ReleaseError, RunError
from perfkit.fleet.calls import unresolved
from perfkit.fleet.provider import (
    ListedHost,
    Provider,
    ReleaseReport,
    RenewableProvider,
    UnaskedHost,
)
from perfkit.fleet.silent_hosts import describe, not_released, unasked
from perfkit.model import Host
from perfkit.runs import folder, journal
from perfkit.runs.folder import Run
from perfkit.units import format_count

MAX_ROUNDS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundFleet:
    """What carries one run's tag at one provider."""

    provider: str
    run_id: str
    hosts: tuple[ListedHost, ...]
    residue: tuple[str, ...]
    expires_utc: datetime | None = None  # of what is no host, where the provider knows
    unasked: tuple[UnaskedHost, ...] = ()

    @property
    def expired(self) -> bool:
        """All of it should have ended by itself already."""
        now = datetime.now(UTC)
        moments = [host.expires_utc for host in self.hosts]
        return all(it < now for it in [*moments, *([self.expires_utc] if self.expires_utc else [])])

    def __str__(self) -> str:
        asked = [f"; {host.machine} could not be asked: {host.reason}" for host in self.unasked]
        silent = "".join(dict.fromkeys(asked))  # once a machine, not for each host that is on it
        if not self.hosts:
            but = f", but {', '.join(self.residue)}" if self.residue else ""
            return f"{self.run_id}: no hosts listed at {self.provider}{but}{silent}"
        until = max(host.expires_utc for host in self.hosts)
        carried = [it.n_packed for it in self.hosts if it.n_packed is not None]
        n_hosts = len(self.hosts) - len(carried) + sum(carried)
        on = f" on {format_count(len(self.hosts), 'machine')}" if carried else ""
        return (
            f"{self.run_id}: {format_count(n_hosts, 'host')}{on} at {self.provider}, owner "
            f"{self.hosts[0].owner}, end by themselves at {until:%Y-%m-%d %H:%M:%S} UTC{silent}"
        )


def survey(provider: Provider, runs_dir: Path | None = None) -> list[FoundFleet]:
    """All fleets a provider lists, by run: hosts, and whatever else carries the tag.

    Args:
        runs_dir: Where the runs' journals may be, which name hosts that do not answer.
    """
    by_run: dict[str, list[ListedHost]] = {run_id: [] for run_id in provider.runs()}
    for host in provider.hosts():
        by_run.setdefault(host.run_id, []).append(host)
    return [
        FoundFleet(
            provider=provider.name,
            run_id=run_id,
            hosts=tuple(hosts),
            residue=tuple(provider.residue(run_id)),
            expires_utc=_expiry(provider, run_id),
            unasked=tuple(unasked(provider, run_id, _known(runs_dir, run_id))),
        )
        for run_id, hosts in sorted(by_run.items())
    ]


def _known(runs_dir: Path | None, run_id: str) -> list[Host]:
    return not_released(Run(runs_dir / run_id)) if runs_dir else []


def fleet_of(provider: Provider, run: Run) -> FoundFleet | None:
    """What a run of this folder has at a provider, or may have where that could not be asked."""
    fleet = FoundFleet(
        provider=provider.name,
        run_id=run.id,
        hosts=tuple(provider.hosts(run.id)),
        residue=tuple(provider.residue(run.id)),
        expires_utc=_ends_utc(run),
        unasked=tuple(unasked(provider, run.id, not_released(run))),
    )
    return fleet if fleet.hosts or fleet.residue or fleet.unasked else None


def _ends_utc(run: Run) -> datetime | None:
    """When the hosts of a run end or clean themselves, by its manifest."""
    try:
        manifest = run.manifest()
        life = timedelta(minutes=manifest["parameters"]["expires_min"])
        return datetime.fromisoformat(manifest["created_utc"]) + life
    except (RunError, KeyError, TypeError, ValueError):
        return None


def _expiry(provider: Provider, run_id: str) -> datetime | None:
    if not provider.traits.renewable:
        return None
    return cast(RenewableProvider, provider).expiry(run_id)


def in_flight(provider: Provider, runs_dir: Path, listed: Sequence[str]) -> list[FoundFleet]:
    """Runs of this folder with a launch that nobody knows the outcome of, and that are not listed.

    Args:
        listed: Ids of those that are.
    """
    found = []
    for run in folder.list_runs(runs_dir) if provider.traits.settle_s else ():
        if run.id not in listed and provider_of(run) == provider.name and _unresolved(run):
            what = "a launch whose outcome is not known"
            found.append(
                FoundFleet(provider=provider.name, run_id=run.id, hosts=(), residue=(what,))
            )
    return found


def settling_s(provider: Provider, fleet: FoundFleet, run: Run) -> float:
    """How long the listing of a fleet must stay empty until nothing of it can show up any more.

    No time at all when the run's journal is here and knows how every launch ended, or when the run
    has expired for longer than that.
    """
    settle_s = provider.traits.settle_s
    if run.journal_path.exists():
        return settle_s if _unresolved(run) else 0.0
    moments = [host.expires_utc for host in fleet.hosts]
    moments += [fleet.expires_utc] if fleet.expires_utc else []
    long_ago = datetime.now(UTC) - timedelta(seconds=settle_s)
    return 0.0 if moments and max(moments) < long_ago else settle_s


def is_strangers(provider: Provider, fleet: FoundFleet, run: Run) -> bool:
    """Somebody else's, as far as can be seen from here, who shares the account and is not done.

    A run of another machine is not open here, whatever it is doing; only its end is in its tags.
    """
    return provider.traits.costs_money and not run.root.is_dir() and not fleet.expired


def note_released(run: Run, report: ReleaseReport) -> None:
    """Tell the journal of a run that is here what was ended, and what is still there."""
    if not run.journal_path.exists():
        return
    with contextlib.suppress(RunError), run.locked():
        log = journal.Journal(run.journal_path)
        log.append("released", leaked=report.leaked, count=len(report.released), by="reap")
        log.close()


def _unresolved(run: Run) -> bool:
    """A journal that cannot be read knows nothing: then something may be on its way."""
    try:
        return bool(unresolved(journal.read(run.journal_path).events))
    except JournalError:
        return run.journal_path.exists()


def provider_of(run: Run) -> str:
    """The provider that a run of this folder was made with; empty: its manifest does not say."""
    try:
        return str(run.manifest()["parameters"].get("provider", ""))
    except (RunError, KeyError, AttributeError):
        return ""


def release_until_quiet(
    provider: Provider,
    run_id: str,
    *,
    quiet_s: float = 0.0,
    poll_s: float = 5.0,
    give_up_s: float = 1800.0,
    known: Sequence[Host] = (),
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> ReleaseReport:
    """Release a run, again and again, until its listing has stayed empty.

    What could not be asked counts as leaked: a host that does not answer, a listing that fails.

    Args:
        quiet_s: How long it must stay empty: longer than a host that was asked for may take to
            appear (0 for a provider whose calls end when the host is there: two looks).
        poll_s: Seconds between two looks.
        give_up_s: No further release is begun after so long.
        known: Hosts of the run that were not released yet, as its journal knows them.
    """
    reports = [ReleaseReport()]
    deadline_s = clock() + give_up_s
    try:
        for _ in range(MAX_ROUNDS):
            reports.append(provider.release(run_id))
            is_empty = _stays_empty(provider, run_id, quiet_s, poll_s, sleep, clock)
            if is_empty or clock() > deadline_s:
                break
        leaked = [] if is_empty and not provider.traits.asks_hosts else [*reports[-1].leaked]
        if not is_empty:
            leaked += _left(provider, run_id)
        if known:  # the provider's own release knows only what the tags name
            named = describe(unasked(provider, run_id), run_id)
            leaked = [what for what in leaked if what not in named]
            leaked += describe(unasked(provider, run_id, known), run_id)
    except ReleaseError as exc:
        leaked = [f"{what} ({exc.message})" for what in exc.leaked] or [str(exc)]
    except ProviderError as exc:
        leaked = [f"not known: {provider.name} could not list what is still there ({exc})"]
    return replace(ReleaseReport.joined(reports), leaked=tuple(dict.fromkeys(leaked)))


def _stays_empty(
    provider: Provider,
    run_id: str,
    quiet_s: float,
    poll_s: float,
    sleep: Callable[[float], None],
    clock: Callable[[], float],
) -> bool:
    """Whether nothing shows up for `quiet_s`; there are always two looks."""
    quiet_at_s = clock() + quiet_s
    while not _left(provider, run_id):
        left_s = quiet_at_s - clock()
        sleep(max(0.0, min(poll_s, left_s)))
        if left_s <= poll_s:
            return not _left(provider, run_id)
    return False


def _left(provider: Provider, run_id: str) -> Sequence[str]:
    hosts = [f"{host.name} ({host.identity})" for host in provider.hosts(run_id)]
    return [*hosts, *provider.residue(run_id)]

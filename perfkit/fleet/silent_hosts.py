"""Hosts that did not answer: what is not known to be released counts as leaked.

Some providers list what their hosts answer (`Traits.asks_hosts`). A host that does not answer is then
missing from the listing, and may still be taken by a run. Which hosts a run had is in its journal.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from perfkit.errors import JournalError
from perfkit.fleet.inventory import Inventory
from perfkit.fleet.provider import AskingProvider, Provider, UnaskedHost
from perfkit.model import Host, HostState
from perfkit.runs import journal
from perfkit.runs.folder import Run
from perfkit.runs.journal import Event


def unasked(
    provider: Provider, run_id: str = "", known: Sequence[Host] = ()
) -> Sequence[UnaskedHost]:
    """Machines of a run that its provider could not ask; none where a listing is complete."""
    if not provider.traits.asks_hosts:
        return ()
    return cast(AskingProvider, provider).unasked(run_id, known)


def not_released(run: Run) -> list[Host]:
    """Hosts that a run had and that were not released since, by its journal; no journal: none."""
    if not run.journal_path.exists():
        return []
    try:
        return _not_released(journal.read(run.journal_path).events)
    except JournalError:
        return []


def _not_released(events: Sequence[Event]) -> list[Host]:
    ended = [n for n, e in enumerate(events) if e.kind == "released" and not e.fields["leaked"]]
    begun = [n for n, e in enumerate(events) if e.kind == "launch-intent"]
    if ended and (not begun or begun[-1] < ended[-1]):
        return []
    records = Inventory.from_events(events).records()
    return [r.host for r in records if r.host and r.state is not HostState.RELEASED]


def describe(hosts: Sequence[UnaskedHost], run_id: str) -> list[str]:
    """One line for each reason, with the machines it holds for and what to do."""
    by_reason: dict[str, list[str]] = {}
    for host in hosts:
        by_reason.setdefault(host.reason, []).append(host.machine)
    how = (
        f"when that is fixed, run={run_id} collects what is missing and cleans; perfkit release "
        f"{run_id} or perfkit clean {run_id} --yes only cleans; hosts clean themselves when the run "
        "expires"
    )
    return [
        f"not reached, so not cleaned: {', '.join(dict.fromkeys(machines))}: {reason}; {how}"
        for reason, machines in by_reason.items()
    ]

"""Which hosts a run lacks, and having them made; also after the process that asked for them died.

A host is lacking that was never asked for, that a process had asked for when it died (the provider
may have made it: it is asked again with the same token and keys), that was made and not yet
reached, or that is gone again before the tests began.
"""

from __future__ import annotations

from collections.abc import Iterator

from perfkit.campaign.session import Session
from perfkit.fleet.provider import HostRequest
from perfkit.model import HostState, Role, host_names


def is_complete(session: Session) -> bool:
    """Every host of the run was asked for, and reached or given up."""
    return not _lacking(session) and not session.inventory.names(HostState.RUNNING)


def launch_missing(session: Session) -> None:
    """Start launching what is lacking; returns at once, and does nothing while that goes on."""
    if session.fleet.is_launching or is_complete(session):
        return
    lacking = _lacking(session)
    session.gone.clear()
    session.fleet.launch(
        [request_for(session, name, role) for name, role in lacking.items()],
        again=dict(_unanswered(session)),
    )


def _lacking(session: Session) -> dict[str, Role]:
    asked_for = {record.name for record in session.inventory.records()}
    done = session.progress()
    too_late = done.armed or "measure" in done.done  # a new host would have missed the tests
    there = asked_for - session.inventory.names(HostState.REQUESTED)
    there -= set() if too_late else session.gone
    names = host_names(session.settings.parameters.most_clients)
    return {name: role for name, role in names if name not in there}


def request_for(session: Session, name: str, role: Role) -> HostRequest:
    """What the provider is asked for: a host of this name with the key that the run has for it."""
    key = session.host_key(name)
    return HostRequest(
        name=name, role=role, host_key=key.public_openssh, host_key_private=key.private_openssh
    )


def _unanswered(session: Session) -> Iterator[tuple[str, tuple[HostRequest, ...]]]:
    """Batches of a process that died in which a host is not accounted for, the latest first."""
    roles = dict(host_names(session.settings.parameters.most_clients))
    orphans = session.inventory.names(HostState.REQUESTED)
    for token, names in reversed(list(session.progress().batches.items())):
        if orphans & set(names):
            orphans -= set(names)
            yield token, tuple(request_for(session, name, roles[name]) for name in names)

"""Launches whose outcome the journal does not know.

::

    launch-intent       token, names         a batch is about to be asked for
    launch-call         token, call, …       one call of it, about to be sent (LaunchRequest.record)
    launch-call-result  token, call, made    what that call made; without one, nobody knows
    launch-result       token, names         the batch is over, and what came of it is known
    released            leaked, count        all that carried the run's tag was ended

An intent without a result is *unresolved*: hosts may exist that no listing shows yet. Whoever goes
on with the run asks for them again with the same token; a release, and `perfkit reap`, wait until
the listing has settled.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from perfkit.runs.journal import Event

Calls = dict[str, list[Mapping[str, Any]]]  # of each batch's token, the fields of its calls


def unresolved(events: Iterable[Event]) -> Calls:
    """Batches whose outcome a journal does not know, by token, each with its calls.

    Of the calls, those that are known to have made nothing are left out: they are over.
    """
    open_: Calls = {}
    for event in events:
        token = str(event.fields.get("token", ""))
        match event.kind:
            case "launch-intent":
                open_.setdefault(token, [])
            case "launch-call" if token in open_:
                open_[token].append(event.fields)
            case "launch-call-result" if token in open_ and not event.fields["made"]:
                ended = event.fields["call"]
                open_[token] = [call for call in open_[token] if call["call"] != ended]
            case "launch-result":
                open_.pop(token, None)
            case "released" if not event.fields["leaked"]:
                open_.clear()
    return open_

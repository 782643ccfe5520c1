"""Watching, while tests run, for hosts that their provider takes back.

What a host measures after the provider has said so is void: it may be slowed down or ended at any
time. So each notice is in the journal and, with its moment, in the run's raw data, where
`perfkit.analysis.outcomes` reads it: the host is then no part of any mean of that test, and is in
the tables as failed, with the reason.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import cast

from perfkit.campaign.open_run import OpenRun
from perfkit.errors import PerfkitError
from perfkit.fleet.provider import Interruption, SpotProvider
from perfkit.runs.folder import write_json

LOOK_EVERY_S = 10.0  # a notice comes two minutes ahead


@contextlib.contextmanager
def watched(session: OpenRun, *, every_s: float = LOOK_EVERY_S) -> Iterator[None]:
    """Look for notices during the block, and once more at its end.

    Does nothing for a provider that takes no host back. A provider that cannot be asked is no
    reason to end a test: that is journalled.
    """
    if not session.provider.traits.interruptible:
        yield
        return
    found: dict[str, Interruption] = {}
    over = threading.Event()

    def look_again() -> None:
        while not over.wait(every_s):
            _look(session, found)

    thread = threading.Thread(target=look_again, name="interruptions", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        _look(session, found)


def _look(session: OpenRun, found: dict[str, Interruption]) -> None:
    """Note what is new; a host's first notice is the one that counts."""
    try:
        notices = cast(SpotProvider, session.provider).interruptions(session.fleet_id)
    except PerfkitError as exc:
        session.journal.append("interruptions-unknown", reason=str(exc))
        return
    new = [it for it in notices if it.host not in found and _is_about(session, it)]
    for notice in new:
        found[notice.host] = notice
        session.journal.append(
            "host-interrupted",
            name=notice.host,
            noticed_utc=notice.noticed_utc.isoformat(),
            reason=notice.reason,
        )
    if new:
        rows = [
            {
                "host": notice.host,
                "noticed_utc_s": notice.noticed_utc.timestamp(),
                "reason": notice.reason,
            }
            for notice in found.values()
        ]
        write_json(session.run.interruptions_path, rows)


def _is_about(session: OpenRun, notice: Interruption) -> bool:
    """It is about a host of this run or block, and not about one that this one has replaced."""
    made_utc = session.made_utc.get(notice.host)
    is_here = any(record.name == notice.host for record in session.inventory.records())
    return is_here and (made_utc is None or notice.noticed_utc >= made_utc)

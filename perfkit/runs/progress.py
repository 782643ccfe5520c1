"""How far a run has come, from its journal: which phases are done, and where a process died."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from perfkit.runs import journal
from perfkit.runs.folder import Run
from perfkit.runs.journal import Event

NEED_HOSTS = ("launch", "configure", "measure", "collect")  # phases, in their order
OF_A_BLOCK = ("measure", "collect")  # its hosts are its campaign's
ARMED = "armed"  # journalled between the last host's orders and T0: from here the hosts go alone
DISARMED = "disarmed"  # and before the orders are taken back


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What the journal tells.

    Attributes:
        done: Phase -> its seconds, in the order of the phases' last ends.
        under_way: The phase that was begun and did not end; empty when none was.
        failed: Phase and reason when the last thing that ended was a failure; else empty.
        armed: All hosts have their orders, and nobody took them back.
        released: The hosts were ended, and none was launched since.
        leaked: What the last release could not end; empty once all was.
        batches: Token -> names of each batch that was asked of the provider, in order.
    """

    done: Mapping[str, float] = field(default_factory=dict)
    under_way: str = ""
    failed: str = ""
    armed: bool = False
    released: bool = False
    leaked: tuple[str, ...] = ()
    batches: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def follow(events: Iterable[Event]) -> Progress:
    """Go through a journal's events."""
    done: dict[str, float] = {}
    batches: dict[str, tuple[str, ...]] = {}
    under_way = failed = ""
    armed = released = False
    leaked: tuple[str, ...] = ()
    for event in events:
        phase = event.fields.get("phase", "")
        if event.kind == "phase-started":
            under_way = phase
        elif event.kind == "phase-done":
            done.pop(phase, None)  # the last time counts, also for the order
            done[phase] = event.fields["elapsed_s"]
            under_way = failed = ""
        elif event.kind == "phase-failed":
            under_way, failed = "", f"{phase}: {event.fields['reason']}"
        elif event.kind in (ARMED, DISARMED):
            armed = event.kind == ARMED
        elif event.kind == "launch-intent":
            batches[event.fields["token"]] = tuple(event.fields["names"])
            released = False
        elif event.kind == "released":
            leaked = tuple(map(str, event.fields["leaked"]))
            released = not leaked
    return Progress(
        done=done,
        under_way=under_way,
        failed=failed,
        armed=armed,
        released=released,
        leaked=leaked,
        batches=batches,
    )


def unfinished(found: Progress, needed: Sequence[str] = NEED_HOSTS) -> str:
    """Which phase leaves a run without all its logs, and why, in words.

    Empty when none does, and when nothing is known: a copied folder may have no journal.

    Args:
        needed: The phases that it has: `OF_A_BLOCK` for a block of a campaign.
    """
    phase = next((name for name in needed if name not in found.done), "")
    if not phase or found == Progress():
        return ""
    failed, _, reason = found.failed.partition(": ")
    how = "was not done"
    if found.under_way == phase:
        how = "is under way, or its process died"
    elif failed == phase:
        words = reason.splitlines()[0]
        how = "was interrupted" if words.startswith("KeyboardInterrupt") else f"failed: {words}"
    return f"{phase} {how}"


def read(run: Run) -> Progress:
    """The progress of a run; of one without a journal: none.

    Raises:
        JournalError: the journal is damaged before its end.
    """
    if not run.journal_path.exists():
        return Progress()
    return follow(journal.read(run.journal_path).events)

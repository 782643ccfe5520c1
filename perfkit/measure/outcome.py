"""What the hosts recorded about their slots, and whether it is what was planned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from shlex import quote
from typing import Any

from perfkit import untrusted
from perfkit.errors import UntrustedError
from perfkit.model import Host, Role, Slot
from perfkit.runs.server_names import server_names

SAME_START_S = 1e-3
SAID_LENGTH = 200
TICK_S = 0.25  # between two looks on the host


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One host's records by name; what each script said last; the records not there yet.

    Attributes:
        refused: Why a record cannot be used, by its name.
    """

    records: Mapping[str, Mapping[str, Any]]
    said: Mapping[str, str]
    pending: tuple[str, ...]
    refused: Mapping[str, str] = field(default_factory=dict)


def record_names(slots: Sequence[Slot], role: Role) -> tuple[str, ...]:
    """Names of the records in logs/ a host of this role makes, without `.events.json`."""
    if role is Role.CLIENT:
        return tuple(slot.name for slot in slots)
    return tuple(name for slot in slots for name in server_names(slot.name, slot.servers))


def outcome_script(host: Host, names: Sequence[str], when_done: str, *, wait_s: float = 0.0) -> str:
    """Shell text that prints a host's records, one line each, and when all are there tidies up.

    It is sent when no test runs any more: a server's program that still waits for clients is told
    to finish.

    Args:
        when_done: Shell text that takes the starter back; the monitor is stopped as well.
        wait_s: So long the host itself waits for records that are not there. Asking it again and
            again would take processors that other hosts need to end.
    """
    # Of hosts that share processors a thousand are asked at about the same time: few programs do it.
    finish = "bin/run-slot finish\n" if host.role is Role.SERVER else ""
    return f"""
cd {quote(host.workdir)} || exit
{finish}ticks={round(wait_s / TICK_S)}
while [ $ticks -gt 0 ]; do
    lacking=
    for name in {" ".join(names)}; do
        [ -e "logs/$name.events.json" ] || lacking=yes
    done
    [ -n "$lacking" ] || break
    sleep {TICK_S}
    ticks=$((ticks - 1))
done
pending=
printable="s/[^[:print:]$(printf '\\007\\033')]//g; s/^\\(.\\{{{SAID_LENGTH}\\}}\\).*/\\1/"
for name in {" ".join(names)}; do
    if [ -e "logs/$name.events.json" ]; then
        echo "record $name $(tr -d '\\n' <"logs/$name.events.json")"
        echo "said $name $(sed -n "/[[:alpha:]]/h; \\${{x; $printable; p; }}" "logs/$name.log")"
    else
        echo "pending $name"
        pending=yes
    fi
done
[ -z "$pending" ] || exit 0
[ ! -x bin/monitor ] || bin/monitor stop
({when_done})
"""


def parse_outcome(text: str) -> Outcome:
    """Read what `outcome_script` printed; a record beyond the bounds is named with the reason."""
    records: dict[str, Mapping[str, Any]] = {}
    said: dict[str, str] = {}
    pending = []
    refused: dict[str, str] = {}
    for line in text.splitlines():
        kind, _, rest = line.partition(" ")
        name, _, value = rest.partition(" ")
        if kind == "pending":
            pending.append(name)
        elif kind == "said":
            said[name] = untrusted.one_line(value, SAID_LENGTH)
        elif kind == "record":
            try:
                records[name] = _record(value)
            except UntrustedError as exc:
                refused[name] = str(exc)
    return Outcome(records=records, said=said, pending=tuple(pending), refused=refused)


def _record(text: str) -> Mapping[str, Any]:
    """A record with all that `judge` asks for.

    Raises:
        UntrustedError: it is beyond the bounds, or lacks a moment.
    """
    record = untrusted.parse_record(text, untrusted.EVENTS)
    needed = ["planned_start_utc_s", "planned_end_utc_s"]
    if record.get("start_utc_s") is not None:
        needed.append("end_utc_s")
    lacking = [name for name in needed if record.get(name) is None]
    if lacking:
        raise UntrustedError(f"it lacks {', '.join(lacking)}")
    return record


def judge(
    role: Role,
    names: Sequence[str],
    outcome: Outcome,
    starts_utc_s: Sequence[float],
    *,
    late_s: float,
) -> list[str]:
    """What went otherwise than planned, one phrase a slot; empty when nothing did.

    Args:
        starts_utc_s: When each of `names` was to start; a record of another start proves nothing.
        late_s: A start later than this is a failure, not a spread.
    """
    problems = []
    for name, start_utc_s in zip(names, starts_utc_s, strict=True):
        record = outcome.records.get(name)
        problem = "has no record: it did not run, or did not end" if record is None else None
        if name in outcome.refused:
            problem = f"has a record that is refused: {outcome.refused[name]}"
        elif record is not None and abs(record["planned_start_utc_s"] - start_utc_s) > SAME_START_S:
            problem = "has only a record of another start"
        elif record is not None:
            problem = _problem(role, record, late_s)
        if problem:
            said = outcome.said.get(name, "")
            problems.append(f"{name} {problem}" + (f" (last output: {said})" if said else ""))
    return problems


def _problem(role: Role, record: Mapping[str, Any], allowed_late_s: float) -> str | None:
    if record.get("start_utc_s") is None:
        return "was not started: its start time had passed"
    late_s = record["start_utc_s"] - record["planned_start_utc_s"]
    if late_s > allowed_late_s:
        return f"started {late_s:.1f} s late"
    if record.get("timed_out"):
        # A sender may wait for what is on its way long after its last write. Whether it had sent
        # over the whole time stands in its log: perfkit.analysis.outcomes decides.
        return None
    status = record.get("exit_status")
    if role is Role.SERVER:  # it is stopped by a signal, so its status says little
        early = record["end_utc_s"] < record["planned_end_utc_s"]
        return f"ended before its slot was over, with exit status {status}" if early else None
    return f"ended with exit status {status}" if status != 0 else None

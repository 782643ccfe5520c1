"""Whether a program that a test runs on the server crashed: what it had not printed then is missing."""

from __future__ import annotations

import signal

from perfkit.logs.run_logs import Finding, RunLogs, SlotPlan

_CRASHES = (signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSEGV)
_BY_STATUS = {128 + number: number.name for number in _CRASHES}
_IPERF2_SERVES = 1_000


def server_crash(logs: RunLogs, slot: str) -> str:
    """The signal that ended a test's program on the server, in words; empty: none of a crash."""
    ended = (_BY_STATUS.get(status, "") for status in logs.server_exits.get(slot, ()))
    return next(filter(None, ended), "")


def findings(logs: RunLogs, slot: SlotPlan) -> list[Finding]:
    """What a crash took away."""
    if not (crash := server_crash(logs, slot.name)):
        return []
    is_iperf2 = _is_iperf2(logs, slot)
    program = "iperf 2" if is_iperf2 else f"what {slot.test}.server runs"
    text = (
        f"a program on the server ({program}) crashed ({crash}): the last lines that it would have printed "
        "are missing, and what did not arrive then is not known"
    )
    if is_iperf2 and len(logs.clients) > _IPERF2_SERVES * slot.servers:
        text += (
            ". It does so with more than about 1,015 clients at once (FD_SETSIZE): write "
            f"clients_per_server = 900 into [{slot.test}] of tests.conf"
        )
    return [Finding(slot.name, text)]


def _is_iperf2(logs: RunLogs, slot: SlotPlan) -> bool:
    """Whether that program's log is one of iperf 2."""
    own = {f"{logs.server}/{name}.log" for name in slot.server_names}
    return any(note.log in own and note.format.startswith("iperf2") for note in logs.logs)

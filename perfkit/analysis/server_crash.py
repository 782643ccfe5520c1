"""Whether the program that a test runs on the server crashed: what it had not printed then is missing."""

from __future__ import annotations

import signal

from perfkit.logs.run_logs import Finding, RunLogs

_CRASHES = (signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSEGV)
_BY_STATUS = {128 + number: number.name for number in _CRASHES}


def server_crash(logs: RunLogs, slot: str) -> str:
    """The signal that ended a test's program on the server, in words; empty: none of a crash."""
    return _BY_STATUS.get(logs.server_exits.get(slot, 0), "")


def findings(logs: RunLogs, slot: str) -> list[Finding]:
    """What a crash took away."""
    if not (crash := server_crash(logs, slot)):
        return []
    text = (
        f"its program on the server crashed ({crash}): the last lines that it would have printed are missing, "
        "and what did not arrive then is not known. iperf 2 does so with more than about 1,015 clients at "
        "once (FD_SETSIZE): ask for 1,000 at most"
    )
    return [Finding(slot, text)]

"""What the logs and records of a test's programs on the server are named, without their endings."""

from __future__ import annotations


def server_names(slot: str, servers: int) -> tuple[str, ...]:
    """`01-a.server`, `01-a.server-2`, …: as many as the slot has programs on the server."""
    more = (f"{slot}.server-{number}" for number in range(2, servers + 1))
    return (f"{slot}.server", *more)

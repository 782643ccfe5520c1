"""How hosts are logged in to; the limits of every wait for one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How hosts are logged in to, and how long is waited for them.

    Attributes:
        key_path: The run's private key, the only one offered to hosts that name none of their own.
        known_hosts_path: The pins; a host without one is not connected to. None: a host's pin is the
            `host_key` that it is described with.
        connect_timeout_s: For each step of a connection (TCP, banner, authentication, channel)
            and for each answer during a transfer.
        command_timeout_s: For a command that brings no limit of its own.
        patience_s: For all attempts together to open a connection.
        may_boot: A host that refuses connections is tried again; else only one that is busy is.
        host_key_remedy: What to do about a host key that is not the pinned one; `{name}` stands for
            the host's or the jump host's.
        silence_s: A command quiet for this long makes us ask the host for a sign of life.
    """

    key_path: Path
    known_hosts_path: Path | None
    connect_timeout_s: float = 10.0
    command_timeout_s: float = 60.0
    patience_s: float = 20.0
    silence_s: float = 10.0
    may_boot: bool = True
    host_key_remedy: str = ""

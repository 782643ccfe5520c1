"""Ports of loopback that a test has to itself, whoever tests on this machine beside it."""

from __future__ import annotations

import contextlib
import random
import re
import socket
from pathlib import Path

# Not those that Linux hands out, from 32,768 on: another process may be given one of them before it
# is listened on. Nor those of perfkit's own hosts on loopback.
PORTS = range(10_000, 20_000)


def free_port() -> int:
    """A loopback port that is free now, and that nobody gets who does not ask for it."""
    while True:
        port = random.SystemRandom().choice(PORTS)
        with contextlib.suppress(OSError), socket.socket() as sock:
            sock.bind(("127.0.0.1", port))
            return port


def use_own_port(project: Path) -> None:
    """Have the tests of a project on a port of their own: hosts on loopback share this machine's."""
    sample = (project / "config/tests.conf.sample").read_text()
    without = re.sub(r"(?m)^port = .*\n", "", sample)
    text = re.sub(r"(?m)^\[.*\]$", rf"\g<0>\nport = {free_port()}", without)
    (project / "config/tests.conf").write_text(text)

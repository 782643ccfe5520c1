"""Waiting for an SSH server's greeting, before something that listens."""

from __future__ import annotations

import socket
import threading

import pytest

from perfkit.errors import UnreachableError
from perfkit.model import Host, Role
from perfkit.ssh.greeting import await_greeting


def host_that_says(*greetings: bytes) -> Host:
    """Something on loopback that greets each connection in turn, the last ones all alike."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        for number in range(1000):
            conn, _ = server.accept()
            with conn:
                conn.sendall(greetings[min(number, len(greetings) - 1)])

    threading.Thread(target=serve, daemon=True).start()
    port = server.getsockname()[1]
    return Host(name="client-001", role=Role.CLIENT, address="127.0.0.1", port=port, host_key="")


def test_a_server_that_greets_late_is_waited_for() -> None:
    await_greeting(host_that_says(b"not yet\r\n", b"SSH-2.0-OpenSSH_9.2\r\n"), 60)


def test_what_answers_instead_of_ssh_is_shown() -> None:
    with pytest.raises(UnreachableError, match=r"something else than SSH answers: b'HTTP"):
        await_greeting(host_that_says(b"HTTP/1.1 400 Bad Request\r\n"), 2)

from __future__ import annotations

import threading

import pytest

from perfkit.ssh.sockets import Forwarded, shut


class CutOff:
    """A channel whose jump host has just died: paramiko cannot send the message that closes it."""

    def __init__(self) -> None:
        self.closings = 0

    def recv(self, _n_bytes: int) -> bytes:
        return b"SSH-2.0"

    def close(self) -> None:
        self.closings += 1
        raise EOFError


def test_closing_a_way_through_a_dead_jump_host_raises_nothing_in_the_thread_that_does_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    raised: list[object] = []
    monkeypatch.setattr(threading, "excepthook", raised.append)
    channel = CutOff()
    way = Forwarded(channel)
    assert way.recv(7) == b"SSH-2.0"
    thread = threading.Thread(target=way.close)
    thread.start()
    thread.join()
    shut(way)
    assert raised == []
    assert channel.closings == 2

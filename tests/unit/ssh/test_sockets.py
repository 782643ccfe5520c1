"""What is under a connection: a TCP socket, with its limits, or a way through a jump host."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfkit.ssh.sockets import AHEAD_BYTES, FewCalls, Forwarded, open_socket, shut


@pytest.fixture
def pair() -> Iterator[tuple[FewCalls, socket.socket]]:
    """Our end and the other one."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours = open_socket(server.getsockname(), 5.0)
        theirs, _ = server.accept()
        with ours, theirs:
            yield ours, theirs


@given(data=st.binary(min_size=1), sizes=st.lists(st.integers(1, 40), min_size=1))
def test_what_came_at_once_is_read_in_pieces_of_any_size(data: bytes, sizes: list[int]) -> None:
    left, right = socket.socketpair()
    with FewCalls(fileno=left.detach()) as ours, right:
        right.sendall(data)
        right.shutdown(socket.SHUT_WR)
        read = b""
        for size in [*sizes, *[len(data)] * 2]:
            piece = ours.recv(size)
            assert len(piece) <= size
            read += piece
        assert read == data
        assert ours.recv(1) == b""


def test_a_piece_may_be_larger_than_what_is_read_ahead(
    pair: tuple[FewCalls, socket.socket],
) -> None:
    ours, theirs = pair
    data = bytes(range(256)) * (3 * AHEAD_BYTES // 256)
    sender = threading.Thread(target=theirs.sendall, args=(data,))
    sender.start()
    read = b""
    while len(read) < len(data):
        read += ours.recv(2 * AHEAD_BYTES)
    sender.join()
    assert read == data


def test_reading_and_writing_end_at_the_limit(pair: tuple[FewCalls, socket.socket]) -> None:
    ours, theirs = pair
    assert ours.gettimeout() == 5.0
    ours.settimeout(0.05)
    with pytest.raises(TimeoutError):
        ours.recv(1)
    sent = iter(lambda: ours.send(bytes(1 << 16)), 0)
    with pytest.raises(TimeoutError):  # nobody reads
        sum(sent)
    theirs.sendall(b"x")
    assert ours.recv(9) == b"x"  # a limit that was met ends nothing


@pytest.mark.parametrize("limit_s", [0, 1e-7, 0.02])
def test_the_smallest_limit_is_one_too(
    pair: tuple[FewCalls, socket.socket], limit_s: float
) -> None:
    ours, _ = pair
    ours.settimeout(limit_s)
    with pytest.raises(TimeoutError):
        ours.recv(1)


def test_without_a_limit_it_waits(pair: tuple[FewCalls, socket.socket]) -> None:
    ours, theirs = pair
    ours.settimeout(None)
    later = threading.Timer(0.2, theirs.sendall, args=(b"late",))
    later.start()
    assert ours.recv(9) == b"late"
    later.join()


def test_shutting_it_wakes_who_reads(pair: tuple[FewCalls, socket.socket]) -> None:
    ours, _ = pair
    ours.settimeout(60.0)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(ours.recv(9)))
    reader.start()
    shut(ours)
    reader.join(20)
    assert read == [b""]


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

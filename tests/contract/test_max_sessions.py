"""An sshd that gives one or two sessions at a time: work waits for a free one, and nothing is lost."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import paramiko
import pytest
from local_sshd import LocalSshd, make_access

from perfkit.configure.fabric_tasks import GuardedConnection
from perfkit.errors import HostError
from perfkit.ssh.keys import make_ssh_key
from perfkit.ssh.remote import Remote

KEY = make_ssh_key()


@pytest.fixture(params=["1", "2"])
def remote(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Remote]:
    sshd = LocalSshd(tmp_path, KEY, MaxSessions=request.param).start()
    access = make_access(tmp_path, KEY, sshd.host, connect_timeout_s=20)
    try:
        with Remote(sshd.host, access, tmp_path / "host.log") as opened:
            yield opened
    finally:
        sshd.stop()


def test_files_and_commands_take_turns(remote: Remote, tmp_path: Path) -> None:
    for number in range(3):
        path = tmp_path / f"file{number}"
        remote.put(b"text", str(path))
        assert remote.run(["cat", str(path)]).stdout == "text"
        assert remote.read(str(path), limit_bytes=10) == b"text"
        assert [it.line for it in remote.converse("cat", ["a", "b"])] == ["a", "b"]
    assert remote.connection.is_open


def test_many_at_once_all_come_to_their_end(remote: Remote, tmp_path: Path) -> None:
    together = threading.Barrier(6, timeout=120)

    def work(number: int) -> str:
        path = tmp_path / f"file{number}"
        together.wait()
        remote.put(str(number).encode(), str(path))
        return remote.run(["sh", "-c", f"cat {path}; sleep 0.2; cat {path}"]).stdout

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(work, range(6))) == [f"{number}{number}" for number in range(6)]
    assert remote.connection.is_open
    assert remote.connection.sessions.most in (1, 2)
    assert "(MaxSessions)" in (tmp_path / "host.log").read_text()


def test_a_refusal_whose_reason_another_thread_took_is_no_lost_connection(
    remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """paramiko keeps one exception for all threads, and forgets it when it is asked for."""
    kept = paramiko.Transport.get_exception

    def taken(transport: paramiko.Transport) -> Exception | None:
        found = kept(transport)
        return None if isinstance(found, paramiko.ChannelException) else found

    monkeypatch.setattr(paramiko.Transport, "get_exception", taken)
    test_many_at_once_all_come_to_their_end(remote, tmp_path)


def test_a_recipe_puts_and_runs(remote: Remote, tmp_path: Path) -> None:
    c, path = GuardedConnection(remote), tmp_path / "file"
    for text in ("one", "two"):
        c.put(io.BytesIO(text.encode()), str(path))
        assert c.run(f"cat {path}", hide=True).stdout == text
        found = io.BytesIO()
        c.get(str(path), found)
        assert found.getvalue() == text.encode()


def test_a_server_that_gives_no_session_at_all_is_named_with_the_remedy(tmp_path: Path) -> None:
    sshd = LocalSshd(tmp_path, KEY, MaxSessions="0").start()
    access = make_access(tmp_path, KEY, sshd.host, connect_timeout_s=1)
    try:
        with Remote(sshd.host, access) as opened:
            with pytest.raises(HostError, match=r"refuses every session .*MaxSessions 10"):
                opened.run(["true"])
            assert opened.connection.is_open
    finally:
        sshd.stop()

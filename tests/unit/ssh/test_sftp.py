"""Files over SFTP, against a host that is not to be trusted."""

from __future__ import annotations

import io
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from perfkit.ssh import sftp


class RemoteFile(io.BytesIO):
    """An open file of the fake host."""

    def __init__(self, host: FakeSftp, path: str, content: bytes = b"") -> None:
        super().__init__(content)
        self.host, self.path = host, path

    def chmod(self, mode: int) -> None:
        self.host.log.append(f"chmod {mode:o} at {len(self.getvalue())} bytes")

    def set_pipelined(self, _on: bool) -> None:
        """As paramiko's."""

    def prefetch(self, size: int, _ahead: int) -> None:
        self.host.log.append(f"{size} bytes read ahead")

    _prefetch_thread = prefetch

    def close(self) -> None:
        if not self.closed and self.path in self.host.writing:
            self.host.files[self.path] = self.getvalue()[: self.host.disk_bytes]
        super().close()


@dataclass
class FakeSftp:
    """A host's file service with the vices of one that is full, or lies."""

    files: dict[str, bytes] = field(default_factory=dict)
    mode: int = stat.S_IFREG | 0o644
    claimed_size: int | None = None
    disk_bytes: int = 1 << 30
    log: list[str] = field(default_factory=list)
    writing: set[str] = field(default_factory=set)

    def open(self, path: str, mode: str) -> RemoteFile:
        if "w" in mode:
            assert "x" in mode, "an existing file may be somebody else's link"
            self.writing.add(path)
            return RemoteFile(self, path)
        return RemoteFile(self, path, self.files[path])

    def lstat(self, path: str) -> Any:
        if path not in self.files:
            raise FileNotFoundError(2, "No such file")
        size = len(self.files[path]) if self.claimed_size is None else self.claimed_size
        return SimpleNamespace(st_mode=self.mode, st_size=size)

    stat = lstat

    def posix_rename(self, old: str, new: str) -> None:
        self.files[new] = self.files.pop(old)

    def remove(self, path: str) -> None:
        del self.files[path]


def test_a_file_is_put_whole_and_is_never_readable_by_others_meanwhile() -> None:
    host = FakeSftp(files={"/w/key": b"old"})
    sftp.put(host, b"new key", "/w/key", 0o600)
    assert host.files == {"/w/key": b"new key"}
    assert host.log == ["chmod 600 at 0 bytes"]


def test_a_full_disk_leaves_the_old_file_and_no_rubbish() -> None:
    host = FakeSftp(files={"/w/key": b"old"}, disk_bytes=3)
    with pytest.raises(OSError, match="3 of 7 bytes"):
        sftp.put(host, b"new key", "/w/key", 0o600)
    assert host.files == {"/w/key": b"old"}


def test_a_regular_file_is_fetched(tmp_path: Path) -> None:
    data = os.urandom(100_000)
    host = FakeSftp(files={"/w/log": data})
    assert sftp.get(host, "/w/log", tmp_path / "raw" / "log", 200_000) == 100_000
    assert (tmp_path / "raw" / "log").read_bytes() == data


def test_a_file_that_grows_is_fetched_as_long_as_it_was() -> None:
    host = FakeSftp(files={"/w/log": b"x" * 1000}, claimed_size=600)
    assert b"".join(sftp.receive(host, "/w/log", 10_000)) == b"x" * 600


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFDIR, stat.S_IFCHR])
def test_only_regular_files_are_fetched(tmp_path: Path, kind: int) -> None:
    host = FakeSftp(files={"/w/log": b"secret"}, mode=kind | 0o644)
    with pytest.raises(OSError, match="not a regular file"):
        sftp.get(host, "/w/log", tmp_path / "log", 10_000)
    assert list(tmp_path.iterdir()) == []


def test_a_file_larger_than_allowed_is_not_begun(tmp_path: Path) -> None:
    host = FakeSftp(files={"/w/log": b"x" * 1000})
    with pytest.raises(OSError, match="1000 bytes, more than the limit of 999"):
        sftp.get(host, "/w/log", tmp_path / "log", 999)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_ends_early_leaves_nothing_and_keeps_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"old")
    host = FakeSftp(files={"/w/log": b"x" * 1000}, claimed_size=5000)
    with pytest.raises(OSError, match="ended after 1000 of 5000"):
        sftp.get(host, "/w/log", tmp_path / "log", 10_000)
    assert [path.name for path in tmp_path.iterdir()] == ["log"]
    assert (tmp_path / "log").read_bytes() == b"old"


def test_a_link_at_the_target_is_replaced_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    target = tmp_path / "raw" / "log"
    target.parent.mkdir()
    target.symlink_to(victim)
    sftp.get(FakeSftp(files={"/w/log": b"theirs"}), "/w/log", target, 100)
    assert victim.read_bytes() == b"mine"
    assert not target.is_symlink()


def test_only_a_file_that_one_answer_cannot_bring_is_read_ahead() -> None:
    one, more = sftp.CHUNK_BYTES, sftp.CHUNK_BYTES + 1
    host = FakeSftp(files={"/w/one": b"x" * one, "/w/more": b"x" * more})
    for path, size in (("/w/one", one), ("/w/more", more)):
        assert len(b"".join(sftp.receive(host, path, 100_000))) == size
    assert host.log == [f"{more} bytes read ahead"]

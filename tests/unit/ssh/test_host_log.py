"""The log of one host."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from perfkit.errors import RunError
from perfkit.ssh.host_log import LOG_BYTES_PER_COMMAND, HostLog, OutputLog

NOON = datetime(2026, 1, 2, 12, 0, 0, 500_000, tzinfo=UTC)
STAMP = "2026-01-02T12:00:00.500+00:00 "


def host_log(folder: Path) -> HostLog:
    return HostLog(folder / "hosts" / "client-001" / "configure.log", now=lambda: NOON)


def test_every_line_carries_its_time_in_utc(tmp_path: Path) -> None:
    log = host_log(tmp_path)
    log.write("$ uname", "= exit status 0")
    assert log.path is not None
    assert log.path.read_text() == f"{STAMP}$ uname\n{STAMP}= exit status 0\n"
    assert log.path.stat().st_mode & 0o777 == 0o600


def test_output_is_cut_into_lines_and_the_last_one_need_not_end(tmp_path: Path) -> None:
    log = host_log(tmp_path)
    output = OutputLog(log, "1>")
    for piece in (b"one\ntw", b"o\r\nthr", b"ee"):
        output.add(piece)
    output.end()
    assert log.path is not None
    assert log.path.read_text() == f"{STAMP}1> one\n{STAMP}1> two\n{STAMP}1> three\n"


def test_escape_sequences_and_bad_bytes_cannot_reach_a_terminal(tmp_path: Path) -> None:
    log = host_log(tmp_path)
    output = OutputLog(log, "1>")
    output.add(b"\x1b]0;owned\x07 \xff \xc2\x9b31m tab\there\n")
    assert log.path is not None
    text = log.path.read_text()
    assert "\\x1b]0;owned\\x07" in text
    assert "\\x9b31m tab\there" in text
    assert not set(text) & {"\x1b", "\x07", "\x9b"}


def test_endless_output_is_logged_up_to_a_limit(tmp_path: Path) -> None:
    log = host_log(tmp_path)
    output = OutputLog(log, "1>")
    for _ in range(400):
        output.add(b"y\n" * 8192)
    output.end()
    assert log.path is not None
    assert log.path.stat().st_size < 1.2 * LOG_BYTES_PER_COMMAND
    assert log.path.read_text().endswith("[this command printed more; the rest is not logged]\n")


def test_a_line_without_end_is_logged_in_pieces(tmp_path: Path) -> None:
    log = host_log(tmp_path)
    output = OutputLog(log, "1>")
    output.add(b"x" * 20_000)
    assert log.path is not None
    assert log.path.stat().st_size > 20_000


def test_without_a_path_nothing_is_written(tmp_path: Path) -> None:
    HostLog(None).write("$ uname")
    assert list(tmp_path.iterdir()) == []


def test_lines_of_many_threads_do_not_mix(tmp_path: Path) -> None:
    log = host_log(tmp_path)
    threads = [
        threading.Thread(target=lambda word=word: [log.write(word * 50) for _ in range(50)])
        for word in "abcd"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert log.path is not None
    lines = log.path.read_text().splitlines()
    assert len(lines) == 200
    assert {line.removeprefix(STAMP) for line in lines} == {word * 50 for word in "abcd"}


def test_a_log_that_cannot_be_written_is_this_machines_fault_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "client-001").touch()  # where a folder should be
    with pytest.raises(RunError, match=r"configure\.log: cannot be written here .*fix"):
        HostLog(tmp_path / "client-001" / "configure.log").write("a line")

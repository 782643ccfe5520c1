"""The journal: whatever a crash or a bad disk leaves, a wrong record is never read."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import textwrap
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perfkit.errors import JournalError
from perfkit.runs import journal
from perfkit.runs.journal import Event, Journal

START = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
FIELD_NAMES = st.from_regex(r"[a-z_]{1,12}", fullmatch=True).filter(
    lambda name: name not in {"kind", "seq", "sync", "self", "t_utc"}
)


class Clock:
    """A second later each time it is asked."""

    def __init__(self) -> None:
        self.ticks = 0

    def __call__(self) -> datetime:
        self.ticks += 1
        return START + timedelta(seconds=self.ticks)


def write_three(path: Path) -> tuple[Event, ...]:
    book = Journal(path, now=Clock())
    events = (
        book.append("host-state", host="client-001", state="running"),
        book.append("launch-intent", token="t", hosts=["a", "b"], note="line\nend"),
        book.append("phase-done", phase="launch", elapsed_s=1.5, sync=False),
    )
    book.close()
    return events


def read_or_error(path: Path) -> journal.JournalContents | JournalError:
    try:
        return journal.read(path)
    except JournalError as error:
        return error


def test_what_was_appended_is_what_is_read(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    events = write_three(path)
    assert journal.read(path) == journal.JournalContents(events=events, damaged_at=None)
    assert [e.t_utc for e in events] == [START + timedelta(seconds=s) for s in (1, 2, 3)]


@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(st.dictionaries(FIELD_NAMES, JSON_VALUES, max_size=4), max_size=5))
def test_any_json_comes_back_unchanged(tmp_path: Path, records: list[dict[str, object]]) -> None:
    path = tmp_path / "journal.jsonl"
    path.unlink(missing_ok=True)
    book = Journal(path, now=Clock())
    for fields in records:
        book.append("anything", sync=False, **fields)
    book.close()
    assert [e.fields for e in journal.read(path).events] == records


def test_cut_at_every_byte_no_record_is_wrong_and_no_whole_one_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    events = write_three(path)
    data = path.read_bytes()
    ends = [i + 1 for i, byte in enumerate(data) if byte == ord("\n")]
    for length in range(len(data) + 1):
        path.write_bytes(data[:length])
        whole = sum(end <= length for end in ends)
        reading = journal.read(path)
        assert reading.events == events[:whole]
        assert reading.damaged_at == (None if length in (0, *ends) else max([0, *ends[:whole]]))


def test_every_flipped_bit_is_located_and_none_is_read_as_truth(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    events = write_three(path)
    data = path.read_bytes()
    for position in range(len(data)):
        line_no = data.count(b"\n", 0, position) + 1
        for bit in range(8):
            flipped = bytearray(data)
            flipped[position] ^= 1 << bit
            path.write_bytes(flipped)
            outcome = read_or_error(path)
            if isinstance(outcome, JournalError):
                assert f"{path}:{line_no}:" in str(outcome)
            else:  # the last record, or its line end: the damage is the tail
                assert outcome.events == events[: line_no - 1]
                assert outcome.damaged_at == sum(map(len, data.splitlines(True)[: line_no - 1]))


def test_a_record_missing_from_the_middle_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    write_three(path)
    first, _, third = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + third + first)
    with pytest.raises(JournalError, match=":2: damaged record"):
        journal.read(path)


def test_opening_cuts_a_torn_tail_says_so_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    events = write_three(path)
    path.write_bytes(path.read_bytes()[:-7])
    book = Journal(path, now=Clock())
    book.append("phase-done", phase="configure")
    book.close()
    reading = journal.read(path)
    assert reading.damaged_at is None
    assert reading.events[:2] == events[:2]
    assert [e.kind for e in reading.events[2:]] == ["journal-mended", "phase-done"]
    assert reading.events[2].fields["cut_bytes"] > 0


def test_a_damaged_middle_is_never_mended_silently(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    write_three(path)
    damaged = path.read_bytes().replace(b"launch-intent", b"launch-intend")
    path.write_bytes(damaged)
    with pytest.raises(JournalError, match=":2: damaged record"):
        Journal(path)
    assert path.read_bytes() == damaged


def test_threads_write_whole_records_in_one_sequence(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    book = Journal(path)

    def write(name: str) -> None:
        for n in range(50):
            book.append("note", sync=False, writer=name, n=n)

    threads = [threading.Thread(target=write, args=(f"t{i}",)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    book.close()
    events = journal.read(path).events
    assert [e.seq for e in events] == list(range(200))
    for i in range(4):
        assert [e.fields["n"] for e in events if e.fields["writer"] == f"t{i}"] == list(range(50))


def test_an_observer_hears_each_record_once_it_is_on_disk_until_it_leaves(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    book = Journal(path)
    heard: list[tuple[str, int]] = []
    leave = book.observe(lambda e: heard.append((e.kind, len(journal.read(path).events))))
    book.append("one")
    book.append("two")
    leave()
    book.append("three")
    book.close()
    assert heard == [("one", 1), ("two", 2)]


def test_a_killed_writer_leaves_every_synced_record(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    program = textwrap.dedent(
        f"""
        from pathlib import Path
        from perfkit.runs.journal import Journal
        book = Journal(Path({str(path)!r}))
        n = 0
        while True:
            book.append("note", n=n)
            print(n, flush=True)
            n += 1
        """
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        for _ in range(20):
            said = int(writer.stdout.readline())
        writer.send_signal(signal.SIGKILL)
        said = int((writer.stdout.read().splitlines() or [str(said).encode()])[-1])
    events = journal.read(path).events
    assert [e.fields["n"] for e in events[: said + 1]] == list(range(said + 1))


def test_a_full_disk_leaves_no_half_record_and_writing_goes_on_when_there_is_room(
    tmp_path: Path,
) -> None:
    path = tmp_path / "journal.jsonl"
    book = Journal(path)
    book.append("before")
    room = path.stat().st_size + 40  # the limit cuts the next record in the middle
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, old[1]))
    try:
        with pytest.raises(JournalError, match="make room"):
            book.append("too-much", text="x" * 200)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, handler)
    book.append("after")
    book.close()
    reading = journal.read(path)
    assert reading.damaged_at is None
    assert [e.kind for e in reading.events] == ["before", "after"]


def test_a_field_may_not_take_the_name_of_the_journals_own(tmp_path: Path) -> None:
    book = Journal(tmp_path / "journal.jsonl")
    with pytest.raises(ValueError, match="t_utc"):
        book.append("note", t_utc="yesterday")
    book.close()


def test_a_closed_journal_says_so_and_closing_twice_is_safe(tmp_path: Path) -> None:
    book = Journal(tmp_path / "journal.jsonl")
    book.close()
    book.close()
    with pytest.raises(JournalError, match="closed"):
        book.append("note")


def test_a_journal_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match=r"nothing\.jsonl: no journal can be read"):
        journal.read(tmp_path / "nothing.jsonl")


def test_only_its_owner_can_read_it(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        Journal(tmp_path / "journal.jsonl").close()
    finally:
        os.umask(old)
    assert (tmp_path / "journal.jsonl").stat().st_mode & 0o777 == 0o600


def test_a_journal_that_has_grown_is_read_on_from_where_it_was_read_to(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    first = write_three(path)
    before = journal.read(path).events
    book = Journal(path)
    added = book.append("phase-done", phase="configure", elapsed_s=2.0)
    book.close()
    after = journal.read(path).events
    assert after == (*first, added)
    assert all(mine is same for mine, same in zip(before, after, strict=False))


def test_damage_in_what_was_read_before_is_found_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    first = write_three(path)
    assert journal.read(path).events == first
    path.write_bytes(path.read_bytes().replace(b"running", b"runninG", 1))
    with pytest.raises(JournalError, match=r"journal\.jsonl:1: damaged record"):
        journal.read(path)


def test_another_journal_in_the_place_of_one_that_was_read_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    first = write_three(path)
    assert journal.read(path).events == first
    path.unlink()
    book = Journal(path)
    only = book.append("phase-started", phase="launch")
    book.close()
    assert journal.read(path).events == (only,)


def test_a_damaged_tail_is_told_each_time_and_gone_once_it_is_mended(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    first = write_three(path)
    whole = path.stat().st_size
    with path.open("ab") as file:
        file.write(b"0000")
    assert [journal.read(path).damaged_at for _ in range(2)] == [whole, whole]
    Journal(path).close()
    found = journal.read(path)
    assert (found.events[:3], found.events[3].kind) == (first, "journal-mended")
    assert found.damaged_at is None

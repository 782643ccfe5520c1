"""The append-only event log of a run: what happened, in which order, even after `kill -9`.

One line a record: the CRC-32 of the JSON text, a space, the JSON text. A record is one `write`
on a file opened with O_APPEND, so two records never mix and a crash can damage only the tail.
`read` stops at a damaged tail and says where; damage before the tail is a `JournalError`.
"""

from __future__ import annotations

import errno
import io
import json
import os
import threading
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from perfkit import untrusted
from perfkit.errors import JournalError

Observer = Callable[["Event"], None]
RESERVED = frozenset({"seq", "t_utc"})  # written by the journal itself, beside the fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One record: its kind (`host-state`, `phase-done`, …), its moment, and its fields."""

    seq: int
    t_utc: datetime
    kind: str
    fields: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalContents:
    """All sound records, and the byte offset of a damaged tail (None: the file is whole)."""

    events: tuple[Event, ...]
    damaged_at: int | None


class Journal:
    """Writes a run's events, and tells observers after each one is written.

    Opening a journal with a damaged tail (the writer was killed in the middle of a record) cuts
    that tail off and records that it did. One process writes; `perfkit.runs.folder` holds the lock.
    """

    def __init__(
        self, path: Path, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self.path = path
        self._now = now
        self._lock = threading.Lock()
        self._observers: list[Observer] = []
        cut = self._mend()
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if cut:
            self.append("journal-mended", cut_bytes=cut)

    def _mend(self) -> int:
        self._seq = 0
        if not self.path.exists():
            return 0
        reading = read(self.path)
        self._seq = len(reading.events)
        if reading.damaged_at is None:
            return 0
        cut = self.path.stat().st_size - reading.damaged_at
        os.truncate(self.path, reading.damaged_at)
        return cut

    def observe(self, observer: Observer) -> Callable[[], None]:
        """Call `observer` after every record, from the writing thread; returns the undo."""
        self._observers.append(observer)
        return lambda: self._observers.remove(observer)

    def append(self, kind: str, *, sync: bool = True, **fields: Any) -> Event:
        """Write one record; with `sync` it is on the disk when this returns (about 0.5 ms).

        Raises:
            JournalError: the disk is full or the journal closed; no part of the record is left.
            ValueError: a field is called like one of the journal's own (`RESERVED`).
        """
        if taken := RESERVED & fields.keys():
            raise ValueError(
                f"the journal writes {', '.join(sorted(taken))} itself; rename the field"
            )
        with self._lock:
            event = Event(seq=self._seq, t_utc=self._now(), kind=kind, fields=fields)
            self._write(_encode(event), sync=sync)
            self._seq += 1
        for observer in list(self._observers):
            observer(event)
        return event

    def _write(self, data: bytes, *, sync: bool) -> None:
        if self._fd < 0:
            raise JournalError(f"{self.path}: closed; open the run again to continue")
        size = os.fstat(self._fd).st_size
        try:
            _write_whole(self._fd, data)
            if sync:
                os.fdatasync(self._fd)
        except OSError as exc:
            os.ftruncate(self._fd, size)  # half a record must not stand before the next one
            raise JournalError(
                f"{self.path}: nothing can be written ({exc.strerror}); make room, then run the "
                "same command again: what is done is not done twice"
            ) from exc

    def close(self) -> None:
        """Close the file; safe to call twice."""
        with self._lock:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1


def _write_whole(fd: int, data: bytes) -> None:
    if os.write(fd, data) != len(data):  # a full disk takes a part and says nothing
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def read(path: Path) -> JournalContents:
    """Read a journal.

    Raises:
        JournalError: it cannot be read, or a record before the last one is damaged; the message
            names its line.
    """
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise JournalError(f"{path}: no journal can be read ({exc.strerror})") from exc
    begun, known = _known_beginning(path, data)
    events, offset = list(known), len(begun)
    damaged_at = None
    for line in io.BytesIO(data[offset:]):
        event = _decode(line)
        if event is None or event.seq != len(events):
            if offset + len(line) < len(data):
                raise JournalError(
                    f"{path}:{len(events) + 1}: damaged record, not at the end: what happened after "
                    "it is not known; the run cannot be resumed, perfkit reap releases its hosts"
                )
            damaged_at = offset
            break
        events.append(event)
        offset += len(line)
    contents = JournalContents(events=tuple(events), damaged_at=damaged_at)
    _read_before[path] = data[:offset], contents.events
    return contents


# What was read of a few journals: a run of a thousand hosts has thousands of records, asks a dozen
# times how far it is, and each time only the last of them are new.
_MOST_KNOWN = 4
_read_before: dict[Path, tuple[bytes, tuple[Event, ...]]] = {}


def _known_beginning(path: Path, data: bytes) -> tuple[bytes, tuple[Event, ...]]:
    """The bytes and records of a journal as it was read before, if it begins with just these."""
    known = _read_before.pop(path, (b"", ()))
    for oldest in list(_read_before)[: 1 - _MOST_KNOWN]:
        _read_before.pop(oldest, None)  # another thread may have been here
    return known if data.startswith(known[0]) else (b"", ())


def _encode(event: Event) -> bytes:
    record = {
        "seq": event.seq,
        "t_utc": event.t_utc.isoformat(),
        "kind": event.kind,
        **event.fields,
    }
    text = json.dumps(record, separators=(",", ":"), default=str).encode()
    return b"%08x %b\n" % (zlib.crc32(text), text)


def _decode(line: bytes) -> Event | None:
    checksum, space, text = line.partition(b" ")
    if not space or not text.endswith(b"\n"):
        return None
    text = text[:-1]
    if checksum != b"%08x" % zlib.crc32(text):
        return None
    try:
        record = untrusted.parse_json(text, limit_bytes=len(text), ours=True)
        return Event(
            seq=record.pop("seq"),
            t_utc=datetime.fromisoformat(record.pop("t_utc")),
            kind=record.pop("kind"),
            fields=record,
        )
    except (ValueError, TypeError, LookupError, AttributeError):  # whole, but no record of ours
        return None

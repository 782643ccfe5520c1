"""Run a reader on one log: any exception but a `LogError` is reported as a bug of the reader.

Anybody may write a reader. One that fails must not hide the other logs of a run, nor end a command
with a traceback; and its message must say that the log may be sound.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import tzinfo
from pathlib import Path
from typing import Any

from perfkit.errors import FrameError, LogError, ReaderError
from perfkit.logs.format import Format, Reading
from perfkit.logs.frames import get_columns

_NOTHING = "the reader found no figures in the log"


@contextlib.contextmanager
def blamed(name: str, function: Callable[..., Any], path: Path) -> Iterator[None]:
    """Translate what a reader must not raise.

    Args:
        name: The format's.
        function: Of the reader; its module is named in the message.

    Raises:
        ReaderError: in place of anything but a `LogError`.
    """
    try:
        yield
    except LogError:
        raise
    except Exception as exc:
        what = f"{type(exc).__name__}: {exc}".removesuffix(": ")
        raise ReaderError(
            path,
            f"the reader of {name} ({function.__module__}) failed on it: {what}; this is a bug "
            "in the reader; the log may be sound",
        ) from exc


def knows(candidate: Format, head: bytes, path: Path) -> bool:
    """Ask a reader whether a log is of its format.

    Raises:
        ReaderError: the reader is at fault.
    """
    with blamed(candidate.name, candidate.sniff, path):
        return bool(candidate.sniff(head))


def parse_file(chosen: Format, path: Path) -> Reading | None:
    """Have a reader parse a large file without loading it; None where it cannot.

    Raises:
        LogError: the reader refuses it. ReaderError: the reader is at fault.
    """
    if chosen.parse_file is None:
        return None
    with blamed(chosen.name, chosen.parse_file, path):
        try:
            return chosen.parse_file(path)
        except OSError:  # whoever loads it says what is wrong
            return None


def parse(chosen: Format, data: bytes, path: Path, **known: tzinfo) -> Reading:
    """Have a reader parse one cleaned log.

    Args:
        known: `zone`, where the format takes one and the caller knows it.

    Raises:
        LogError: the reader refuses it. ReaderError: the reader is at fault.
    """
    with blamed(chosen.name, chosen.parse, path):
        return _sound(chosen.parse(data, path, **known))


def parse_many(chosen: Format, logs: Sequence[tuple[bytes, Path]]) -> list[Reading | LogError]:
    """Have a reader parse many cleaned logs: at once where it can, else one by one.

    Returns:
        What `parse` returns for each, or the error it raises.
    """
    if chosen.parse_many is not None and len(logs) > 1:
        with contextlib.suppress(Exception):  # one by one shows whose it is, and names it
            read = [_sound(reading) for reading in chosen.parse_many(logs)]
            if [reading.path for reading in read] == [path for _, path in logs]:
                return list(read)
    return [_parse_or_refuse(chosen, data, path) for data, path in logs]


def _parse_or_refuse(chosen: Format, data: bytes, path: Path) -> Reading | LogError:
    try:
        return parse(chosen, data, path)
    except LogError as exc:
        return exc


def _sound(reading: Reading) -> Reading:
    """The reading, if it has the columns that those who use it rely on; an empty one says so.

    Raises:
        FrameError: it lacks some. TypeError: it is something else.
    """
    if not isinstance(reading, Reading):
        raise TypeError(f"a Reading expected, {type(reading).__name__} found")
    required = (c.name for c in get_columns(reading.kind) if c.required)
    missing = [name for name in required if name not in reading.frame.columns]
    if missing:
        raise FrameError(f"{reading.kind} frame: columns missing: {', '.join(missing)}")
    understood = not (reading.unparsed.count or reading.messages or reading.notes)
    if reading.frame.empty and understood:  # what was looked for and not found is said
        return replace(reading, notes=(_NOTHING,))
    return reading

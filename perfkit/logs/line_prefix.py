"""Prefixes of log lines: time stamps, titles, containers' names, idents of a journal.

`ts`, `iperf3 -T`, docker compose, syslog and many scripts put a text in front of every line of a
process, and one file may hold the interleaved lines of several processes. So the lines are grouped by
their prefix without its times, and each process is read as if it had a file of its own.

A prefix is learned from lines whose own beginning is known, such as a header, and is then looked for
on the lines that could begin with anything. Lines without it stay as they are.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from perfkit.errors import LogError, TruncatedError
from perfkit.logs.format import SAMPLES_KEPT, Reading, Unparsed, UnparsedLines
from perfkit.logs.traffic import join_frames

_LONGEST = 200  # bytes
_MOST_SHAPES = 50
_FEW_PROCESSES = 20
_NAMED = 4  # in a note
_SHOWN = 60  # characters
_CLOCK = rb"\d{1,2}:\d\d(?::\d\d)?(?:[.,]\d{1,9})?(?![\d:])"
_ZONE = (
    rb"(?: ?(?:Z\b|[+-]\d\d:?\d\d\b)|"
    rb" (?:UTC|GMT|[CEMPW]E?[SD]?T|EEST|CEST|WEST|BST|MSK|IST|JST|KST|AE[SD]T|NZ[SD]T|HKT|SGT|[AP]M)\b)?"
)
_MONTH = rb"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_TIME = re.compile(
    rb"(?<![\w.:/-])(?:"
    rb"\d{4}-\d\d-\d\d(?:[T_ ]" + _CLOCK + _ZONE + rb")?|"
    rb"\d{1,4}/\d{1,2}/\d{1,4}|\d{1,2}\.\d{1,2}\.\d{4}|"
    rb"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun),?(?= )|"
    + _MONTH
    + rb" {1,2}\d{1,2}(?!\d)|\d{1,2} "
    + _MONTH
    + rb"\b|(?:19|20)\d\d(?![\w:.])|"
    + _CLOCK
    + _ZONE
    + rb"|\d{9,19}(?:\.\d{1,9})?(?![\d.])|[+-]?\d{1,10}\.\d{1,9}(?![\d.])"
    rb")"
)
# What may differ from line to line of one process: syslog's priority, a stream's name, a level.
_OF_A_LINE = re.compile(
    rb"<\d{1,3}>|\bstd(?:out|err)\b(?: [FP](?= ))?|\b(?:DEBUG|INFO|NOTICE|WARN(?:ING)?|ERR(?:OR)?)\b"
)
_SPACE = re.compile(rb"\s+")
_NUMBER = re.compile(rb"\d+")
_SAYS_SOMETHING = re.compile(rb"[^\W_]")


@dataclass(frozen=True, slots=True)
class ProcessLines:
    """The lines of one process without their prefix.

    Attributes:
        name: The prefix without its times; empty where that is nothing.
        sample: A prefix as it stands in the log; empty where the lines have none.
        line_nos: Of each line, its number in the log, from 1.
    """

    name: bytes
    sample: bytes
    line_nos: NDArray[np.int64]
    data: bytes

    @property
    def title(self) -> str:
        """What tells its lines from others, for people."""
        return self.name.decode("utf-8", "replace") or "no name"


def find_prefix(line: bytes, begin: re.Pattern[bytes]) -> bytes:
    """What stands before a line's own text; empty where nothing does, or where that is not told.

    Args:
        begin: Its group `own` begins where the text does.
    """
    found = begin.search(line, 0, _LONGEST)
    prefix = line[: found.start("own")] if found else b""
    return prefix if _SAYS_SOMETHING.search(prefix) else b""


def split_processes(data: bytes, begin: re.Pattern[bytes]) -> list[ProcessLines]:
    """Sort the lines of a log by what stands in front of them.

    Returns:
        The processes in the order of their first lines; one without a prefix where no line has one.
    """
    lines = data.split(b"\n")
    if not lines[-1]:
        del lines[-1]
    prefixes = _Prefixes(lines, begin)
    own: dict[bytes, tuple[list[int], list[bytes], list[bytes]]] = {}
    for number, line in enumerate(lines, start=1):
        name, prefix = prefixes.of(line)
        numbers, texts, samples = own.setdefault(name, ([], [], []))
        numbers.append(number)
        texts.append(line[len(prefix) :])
        if prefix and not samples:
            samples.append(prefix)
    end = data.endswith(b"\n")
    return [
        ProcessLines(
            name,
            b"".join(samples),
            np.array(numbers, dtype=np.int64),
            b"\n".join(texts) + (b"\n" if end or numbers[-1] < len(lines) else b""),
        )
        for name, (numbers, texts, samples) in own.items()
    ]


class _Prefixes:
    """The prefixes of a log, learned from the lines that tell theirs."""

    def __init__(self, lines: Sequence[bytes], begin: re.Pattern[bytes]) -> None:
        self._begin = begin
        told = list(filter(None, (find_prefix(line, begin) for line in lines)))
        counts = Counter(map(_name, told))
        # Where no two lines have the same name, a number in it counts the lines.
        self._without_numbers = len(counts) > max(_FEW_PROCESSES, len(told) / 2)
        counts = Counter(map(self._name, told)) if self._without_numbers else counts
        shapes: dict[bytes, None] = {}
        self._names: set[bytes] = set()
        for prefix in told:
            name = self._name(prefix)
            if counts[name] > 1 or _TIME.search(prefix):
                if name not in self._names:
                    shapes[_shape(prefix)] = None
                self._names.add(name)
        longest_first = sorted(shapes, key=len, reverse=True)[:_MOST_SHAPES]
        self._shapes = [re.compile(shape) for shape in longest_first]

    def of(self, line: bytes) -> tuple[bytes, bytes]:
        """A line's name and its prefix, both empty where it has none."""
        found = self._begin.search(line, 0, _LONGEST)
        prefix = line[: found.start("own")] if found else b""
        if found and (name := self._name(prefix)) in self._names:
            return name, prefix
        if found and not prefix.strip():
            return b"", b""
        for shape in self._shapes:
            match = shape.match(line)
            if match and (name := self._name(match[0])) in self._names:
                again = shape.match(line, match.end()) if name else None  # so prints iperf3 -T -V
                if again and self._name(again[0]) == name:
                    match = again
                return name, line[: match.end()]
        return b"", b""

    def _name(self, prefix: bytes) -> bytes:
        name = _name(prefix)
        return _NUMBER.sub(b"#", name) if self._without_numbers else name


def _name(prefix: bytes) -> bytes:
    """A prefix without what differs from line to line."""
    name = _OF_A_LINE.sub(b" ", _TIME.sub(b" ", prefix))
    return _SPACE.sub(b" ", name).strip() if _SAYS_SOMETHING.search(name) else b""


def _shape(prefix: bytes) -> bytes:
    """A regular expression of prefixes with as many words and times at the same places."""
    parts, end = [], 0
    for time in _TIME.finditer(prefix):
        parts += [_words(prefix[end : time.start()]), _TIME.pattern]
        end = time.end()
    last = prefix[end:]
    own = last.rstrip()
    parts.append(_words(own) if own != last else re.escape(own))
    return b"".join(parts) + (rb"(?:[ \t]+|$)" if prefix != prefix.rstrip() else b"")


def _words(text: bytes) -> bytes:
    return b"".join(
        rb"\s+" if word.isspace() else rb"\S+" if _SAYS_SOMETHING.search(word) else re.escape(word)
        for word in re.split(rb"(\s+)", text)
        if word
    )


def read_processes(
    data: bytes, path: Path, begin: re.Pattern[bytes], parse: Callable[[bytes, Path], Reading]
) -> Reading:
    """Read a log whose lines have prefixes: each process alone, and all in one frame.

    The streams of a process are numbered after those of the one before; rows are in the order of
    the log's lines. Lines of a process that is refused are not understood.

    Raises:
        LogError: every process is refused.
    """
    read: list[tuple[ProcessLines, Reading]] = []
    refused: list[tuple[ProcessLines, LogError]] = []
    for process in split_processes(data, begin):
        try:
            if process.data.strip():
                read.append((process, parse(process.data, path)))
        except LogError as exc:
            refused.append((process, exc))
    if not read:
        raise refused[0][1] if refused else TruncatedError(path, "the log is empty")
    # iperf3 -T -V prints a line or two without its title.
    read = [one for one in read if one[0].sample or _says(one[1])] or read
    frames = [
        reading.frame.assign(line_no=process.line_nos[reading.frame["line_no"] - 1])
        for process, reading in read
    ]
    return replace(
        read[0][1],
        path=path,
        frame=join_frames(frames),
        unparsed=_unparsed(read, refused),
        notes=_notes(read, refused),
        messages=tuple(dict.fromkeys(said for _, reading in read for said in reading.messages)),
        partial=any(reading.partial for _, reading in read),
    )


def _says(reading: Reading) -> bool:
    return bool(len(reading.frame) or reading.messages or reading.unparsed.count)


def _unparsed(
    read: Sequence[tuple[ProcessLines, Reading]], refused: Sequence[tuple[ProcessLines, LogError]]
) -> Unparsed:
    """What was not understood of all processes, by the lines' numbers in the log."""
    count, kept = 0, list[tuple[int, str]]()
    for process, reading in read:
        count += reading.unparsed.count
        numbers = process.line_nos[np.array(reading.unparsed.line_nos, dtype=np.int64) - 1]
        kept += zip(numbers.tolist(), reading.unparsed.samples, strict=True)
    for process, _ in refused:
        lines = UnparsedLines()
        for number, line in zip(
            process.line_nos.tolist(), process.data.removesuffix(b"\n").split(b"\n"), strict=True
        ):
            if line.strip():
                lines.add(number, line)
        count += lines.count
        kept += zip(lines.result().line_nos, lines.result().samples, strict=True)
    kept = sorted(kept)[:SAMPLES_KEPT]
    return Unparsed(
        count=count,
        line_nos=tuple(number for number, _ in kept),
        samples=tuple(text for _, text in kept),
    )


def _notes(
    read: Sequence[tuple[ProcessLines, Reading]], refused: Sequence[tuple[ProcessLines, LogError]]
) -> tuple[str, ...]:
    processes = [process for process, _ in (*read, *refused)]
    samples = [p.sample.strip().decode("utf-8", "replace") for p in processes if p.sample]
    notes = []
    if samples:
        shown = samples[0][:_SHOWN]
        notes.append(f"the lines have a prefix, such as {shown!r}, which is left out")
    if any(_TIME.search(p.sample) for p in processes):
        notes.append("the time stamps of the prefix are not used")
    if len(processes) == 1:
        return (*notes, *read[0][1].notes)
    names = ", ".join(p.title for p in processes[:_NAMED])
    more = ", \N{HORIZONTAL ELLIPSIS}" if len(processes) > _NAMED else ""
    notes.append(
        f"{len(processes)} processes in one file, told apart by their prefix: {names}{more}"
    )
    notes += [f"{p.title}: refused: {exc}" for p, exc in refused]
    by_note: dict[str, list[str]] = {}
    for process, reading in read:
        for note in reading.notes:
            by_note.setdefault(note, []).append(process.title)
    for note, titles in by_note.items():
        whose = ", ".join(titles[:_NAMED]) if len(titles) <= _NAMED else f"{len(titles)} processes"
        notes.append(f"{whose}: {note}")
    return tuple(notes)

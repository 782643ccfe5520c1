"""What a parser is, and what reading a log gives: the contract between reader and parsers.

A parser is a module of `perfkit.logs` that has a `FORMAT`: a `sniff` that says whether a file's
first bytes are of this format, and a `parse` from bytes to `Reading`. `perfkit.logs.registry` finds
it by that name; there is no list to add it to. Parsers do not import each other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

SAMPLES_KEPT = 20
SAMPLE_LENGTH = 200
SNIFF_BYTES = 8192

# CSI sequences (colours, cursor), and the two-byte escapes terminals are reset with. No others: a log
# that talks to its reader's terminal (`untrusted.ESCAPE`) is not taken for a clean one.
_ANSI = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|[@-Z\\-_])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Unparsed:
    """The lines of a log that were not understood; the first few by number and text.

    Attributes:
        count: How many lines; `line_nos` (from 1) and `samples` hold the first 20 of them.
    """

    count: int = 0
    line_nos: tuple[int, ...] = ()
    samples: tuple[str, ...] = ()

    def __str__(self) -> str:
        if not self.count:
            return "every line understood"
        first = f"line {self.line_nos[0]}: {self.samples[0]!r}"
        return (
            f"{self.count} {'line' if self.count == 1 else 'lines'} not understood, first {first}"
        )


class UnparsedLines:
    """Collects lines that were not understood; keeps the count and the first few."""

    def __init__(self) -> None:
        self.count = 0
        self._kept: list[tuple[int, str]] = []

    def add(self, line_no: int, line: bytes | str) -> None:
        """Note one line, numbered from 1."""
        self.count += 1
        if len(self._kept) < SAMPLES_KEPT:
            text = (
                line if isinstance(line, str) else line[:SAMPLE_LENGTH].decode("utf-8", "replace")
            )
            self._kept.append((line_no, text[:SAMPLE_LENGTH].rstrip()))

    def result(self) -> Unparsed:
        """What was collected, in the order of the lines."""
        kept = sorted(self._kept)
        return Unparsed(
            count=self.count,
            line_nos=tuple(number for number, _ in kept),
            samples=tuple(text for _, text in kept),
        )


@dataclass(slots=True)
class OtherLines:
    """The lines of a log that are no rows: what the tool said went wrong, and what is not known."""

    messages: list[str] = field(default_factory=list)
    unparsed: UnparsedLines = field(default_factory=UnparsedLines)

    def add(self, line_no: int, line: bytes, message: re.Pattern[bytes]) -> None:
        """Note a line that is none of the tool's known ones; `message` says what is one."""
        if message.match(line):
            self.messages.append(line[:200].strip().decode("utf-8", "replace"))
        else:
            self.unparsed.add(line_no, line)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A log as a tidy frame, and everything about it that the frame does not say.

    Attributes:
        kind: Which contract of `perfkit.logs.frames` the frame keeps.
        notes: What a reader of the figures must know: assumptions, repairs, gaps, messages.
        messages: What the tool itself said went wrong, such as `connect failed`.
        partial: The log ends in the middle or has damage; the frame holds what could be read.
    """

    path: Path
    format: str
    kind: str
    frame: pd.DataFrame
    unparsed: Unparsed = field(default_factory=Unparsed)
    notes: tuple[str, ...] = ()
    messages: tuple[str, ...] = ()
    partial: bool = False

    def __repr__(self) -> str:
        state = ", partial" if self.partial else ""
        return f"<{self.format} {self.path.name}: {len(self.frame)} rows{state}; {self.unparsed}>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A parser: its name, the kind of frame it makes, and its two functions.

    Attributes:
        sniff: Whether the first `SNIFF_BYTES` of a file (cleaned) are of this format. At most one
            format says yes to a file; the contract tests hold them to it.
        parse: Cleaned bytes and the path (for messages only) to a `Reading`. Raises `LogError`s
            and nothing else, whatever the bytes.
        takes_zone: `parse` has a parameter `zone`, of times that were printed without one; False
            when the format has none such.
        parse_many: The same as `parse` for many small logs, each with its path, when that is faster
            than one by one; may raise as soon as one of them is none that it can read.
        parse_file: The same for a large file by its path, without loading it; gives None where
            the file is not as plain as that takes. None when the format has no such way.
    """

    name: str
    kind: str
    sniff: Callable[[bytes], bool]
    parse: Callable[..., Reading]
    takes_zone: bool = False
    parse_many: Callable[[Sequence[tuple[bytes, Path]]], Sequence[Reading]] | None = None
    parse_file: Callable[[Path], Reading | None] | None = None


def clean(data: bytes) -> bytes:
    """Take away what is never data: a byte order mark, NULs, terminal escapes, carriage returns.

    Lines keep their numbers: no line feed is added or taken away.
    """
    data = data.removeprefix(b"\xef\xbb\xbf")
    if b"\0" in data:
        data = data.replace(b"\0", b"")
    if b"\x1b" in data:
        data = _ANSI.sub(b"", data)
    if b"\r" in data:
        data = data.replace(b"\r", b"")
    return data

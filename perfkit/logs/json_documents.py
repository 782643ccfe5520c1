"""JSON as programs print it: several documents in a file, text around them, cut, `-nan`.

A document begins with a brace at the beginning of a line, or with the first brace of the file;
what is printed inside one is indented. So a damaged document costs itself and not its successor,
and every byte is looked at a fixed number of times, whatever the input.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from perfkit.errors import LogError, ParseError, TruncatedError
from perfkit.logs.format import UnparsedLines

_BEGINS = re.compile(r"^\{", re.MULTILINE)
# What C's printf makes of numbers that JSON has no word for, and an exponent that lost its sign.
_NOT_NUMBERS = re.compile(r"(?<=[:,\[])(\s*)-?(?:nan|inf(?:inity)?)(?:\(\w*\))?(?=\s*[,}\]])", re.I)
_LOST_SIGN = re.compile(r"(?<=[0-9][eE]) (?=[0-9])")
_SPACE = re.compile(r"\s*")
_BEGUN = re.compile(r"[-+.\w]{0,20}\s*")  # a word or a number, of which the end may be missing


@dataclass(frozen=True, slots=True)
class Document:
    """One object and the line it begins at, from 1."""

    line_no: int
    value: dict[str, Any]


@dataclass(slots=True)
class Documents:
    """What is in a file.

    Attributes:
        unparsed: Lines outside documents and lines of damaged ones.
        repaired: Numbers that are no JSON; those that are no number became null.
        damage: Why the first damaged document is; None = none is.
    """

    found: list[Document] = field(default_factory=list)
    unparsed: UnparsedLines = field(default_factory=UnparsedLines)
    repaired: int = 0
    damage: LogError | None = None


def read_documents(data: bytes, path: Path) -> Documents:
    """All documents of a file that are objects.

    A key that comes twice in an object is kept under `key#2`.

    Raises:
        TruncatedError: the file's only document stops in the middle, or the file is empty.
        ParseError: it is damaged, or there is none.
    """
    text = data.decode("utf-8", "replace")
    result = Documents()
    starts = [match.start() for match in _BEGINS.finditer(text)]
    first = text.find("{")
    if first >= 0 and first not in starts[:1]:
        starts.insert(0, first)
    ends = [*starts[1:], len(text)] if starts else []
    line_no = _leave(result, 1, text[: starts[0]] if starts else text)
    for start, end in zip(starts, ends, strict=True):
        line_no = _read_chunk(result, line_no, text[start:end], path, is_last=end == len(text))
    if not result.found:
        if result.damage:
            raise result.damage
        if not text.strip():
            raise TruncatedError(path, "the file is empty: the tool never wrote to it")
        raise ParseError(path, 1, text.lstrip()[:200], "a JSON object expected")
    return result


def _read_chunk(result: Documents, line_no: int, chunk: str, path: Path, *, is_last: bool) -> int:
    """Read a piece of text that begins with a brace: one document, or several side by side.

    Returns:
        The number of the line after it.
    """
    position, mended = 0, False
    while chunk.startswith("{", position):
        try:
            value, end = _DECODER.raw_decode(chunk, position)
        except (ValueError, RecursionError) as exc:
            if not mended:
                chunk, mended = _mend(result, chunk), True
                continue
            result.damage = result.damage or _damage(exc, chunk, line_no, path, is_last=is_last)
            break
        result.found.append(Document(line_no, value))
        space = _SPACE.match(chunk, end)
        assert space is not None  # it matches nothing, too
        line_no += chunk.count("\n", position, space.end())
        position = space.end()
    return _leave(result, line_no, chunk[position:])


def _mend(result: Documents, chunk: str) -> str:
    """Make JSON of C's numbers; lines stay where they are."""
    chunk, nulls = _NOT_NUMBERS.subn(r"\1null", chunk)
    chunk, signs = _LOST_SIGN.subn("+", chunk)
    result.repaired += nulls + signs
    return chunk


def _keep_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) == len(pairs):
        return record
    seen: Counter[str] = Counter()
    record = {}
    for key, value in pairs:
        seen[key] += 1
        record[key if seen[key] == 1 else f"{key}#{seen[key]}"] = value
    return record


_DECODER = json.JSONDecoder(object_pairs_hook=_keep_twins, strict=False)


def _damage(exc: Exception, chunk: str, line_no: int, path: Path, *, is_last: bool) -> LogError:
    if isinstance(exc, json.JSONDecodeError):
        cut = _BEGUN.fullmatch(chunk, exc.pos) or "Unterminated" in exc.msg
        if is_last and cut:
            return TruncatedError(path, f"the JSON from line {line_no} on stops in the middle")
        place = line_no + exc.lineno - 1
        return ParseError(path, place, exc.doc.split("\n")[exc.lineno - 1], f"not JSON: {exc.msg}")
    return ParseError(path, line_no, chunk[:200], f"not JSON: {exc}")


def _leave(result: Documents, line_no: int, text: str) -> int:
    """Note lines that are no document; returns the number of the line after the text."""
    lines = text.split("\n")
    for number, line in enumerate(lines, start=line_no):
        if line.strip():
            result.unparsed.add(number, line)
    return line_no + len(lines) - 1

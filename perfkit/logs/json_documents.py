"""JSON as programs print it: several documents in a file, text around them, cut, `-nan`.

Documents stand under each other, side by side, or in arrays of any depth, one a line or over many.
After a damaged one it goes on at the next brace that stands as far from the beginning of its line, or
at one that begins a line: so it costs itself and not its successor. What failed attempts may look at
is bounded, so that the work grows with the input and not with its square.
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
_BETWEEN = re.compile(r"[\s,\[\]]*")  # documents in arrays
_INDENT = re.compile(r"[ \t]*")
_FAILED_LOOKS = 8  # at every byte, on average
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
    result = _Scan(text, path).run()
    if not result.found:
        if result.damage:
            raise result.damage
        if not text.strip():
            raise TruncatedError(path, "the file is empty: the tool never wrote to it")
        raise ParseError(path, 1, text.lstrip()[:200], "a JSON object expected")
    return result


class _Scan:
    """One way through a text, from document to document."""

    def __init__(self, text: str, path: Path) -> None:
        self._text = text
        self._path = path
        self._result = Documents()
        self._line_no = 1
        self._mended = False
        self._looks_left = _FAILED_LOOKS * len(text)

    def run(self) -> Documents:
        position, first = 0, self._text.find("{")
        begins = _BEGINS.search(self._text)
        start = first if begins is None else min(first, begins.start())
        while start >= 0:
            self._leave(position, start)
            position = start
            if end := self._read(start):
                between = _BETWEEN.match(self._text, end)
                assert between is not None  # it matches nothing, too
                position = between.end()
                self._leave(end, position)
            at_once = bool(end) and self._text.startswith("{", position)
            start = position if at_once else self._next(start, max(position, start + 1))
        self._leave(position, len(self._text))
        return self._result

    def _next(self, failed: int, position: int) -> int:
        """Where the next document may begin; -1 = nowhere."""
        line = self._text.rfind("\n", 0, failed) + 1
        indent = _INDENT.match(self._text, line)
        assert indent is not None
        places = [_BEGINS.search(self._text, position)]
        if line < indent.end() == failed:
            places.append(
                re.compile(rf"^{indent[0]}(?=\{{)", re.MULTILINE).search(self._text, position)
            )
        return min((place.end() - (place[0] == "{") for place in places if place), default=-1)

    def _read(self, start: int) -> int:
        """Read the document at `start`; where it ends, 0 if it is none."""
        following = _BEGINS.search(self._text, start + 1)
        border = following.start() if following else len(self._text)
        try:
            value, end = self._decode(start, border)
        except (ValueError, RecursionError):
            if not self._mended:
                self._text = self._text[:start] + _mend(self._result, self._text[start:])
                self._mended = True
                return self._read(start)
            chunk = self._text[start:border]
            try:
                _DECODER.raw_decode(chunk)
            except (ValueError, RecursionError) as exc:
                is_last = border == len(self._text)
                damage = _damage(exc, chunk, self._line_no, self._path, is_last=is_last)
                self._result.damage = self._result.damage or damage
            return 0
        self._result.found.append(Document(self._line_no, value))
        self._line_no += self._text.count("\n", start, end)
        return end

    def _decode(self, start: int, border: int) -> tuple[dict[str, Any], int]:
        """The object at `start`; when failed attempts were many, it may not go beyond `border`."""
        if self._looks_left <= 0:
            value, end = _DECODER.raw_decode(self._text[start:border])
            return value, start + end
        try:
            return _DECODER.raw_decode(self._text, start)
        except (ValueError, RecursionError) as exc:
            failed = exc.pos if isinstance(exc, json.JSONDecodeError) else len(self._text)
            self._looks_left -= failed - start
            raise

    def _leave(self, start: int, end: int) -> None:
        """Note lines that are no document."""
        for number, line in enumerate(self._text[start:end].split("\n"), start=self._line_no):
            if line.strip(" \t\r\f\v,[]"):
                self._result.unparsed.add(number, line)
        self._line_no += self._text.count("\n", start, end)


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

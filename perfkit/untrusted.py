"""Bounds on what a host sends: its files, its records and its answers pass here first.

A host may be broken, taken over, or simply odd, and one of them must not end a phase for all the
others. So everything from a host is bounded in size (after unpacking), in lines, in depth, in the
length of its numbers and in its characters, and is of the expected types. What is beyond a bound is
refused with a reason; the caller adds the host or the file and goes on with the others.

================  =====================================================================
`read_file`       a file that a host sent: unpacked, as a stream, to a bounded size
`parse_json`      JSON text to a value
`parse_record`    the same for one object whose fields have known types
`parse_int`       a number that a command printed
`one_line`        text for a message: printable, one line, bounded
`printable`       the same for several lines
`ESCAPE`          what drives a terminal, taken whole out of what is shown
================  =====================================================================
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import math
import os
import re
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from perfkit.errors import DamagedPackError, UntrustedError

FILE_BYTES = 256 * 2**20  # of a file, packed or unpacked; also what `collect` fetches at most
OWN_FILE_BYTES = 2 * 2**30  # of a plain file: a person may have larger logs of other tools
FILE_LINES = 10_000_000
RECORD_BYTES = 2**20  # of a JSON record or an answer
DEPTH = 32
LARGEST_INT = 2**63
INT_DIGITS = 20
MESSAGE_LENGTH = 2000
_STEP_BYTES = 2**20

# Sequences that set colours and move the cursor, texts for the terminal itself (its title), and the
# two-byte escapes and `ESC ( B` that it is reset with. None goes over the end of a line.
ESCAPE = r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\x07\x1b\n]*(?:\x07|\x1b\\)|[()]B|[@-Z\\-_])"
_ESCAPE = re.compile(ESCAPE)

_UNPACKERS: tuple[tuple[bytes, Callable[[io.BytesIO], Any]], ...] = (
    (b"\x1f\x8b", gzip.open),
    (b"\xfd7zXZ\0", lzma.open),
    (b"BZh", bz2.open),
)
_DAMAGE = (EOFError, OSError, ValueError, zlib.error, lzma.LZMAError, MemoryError)

Types = tuple[type, ...]
_NUMBER: Types = (int, float, type(None))
# The records that perfkit's own programs write on a host; a field may be absent.
EVENTS: Mapping[str, Types] = {
    **dict.fromkeys(("slot", "host", "starter"), (str,)),
    **dict.fromkeys(("planned_start_utc_s", "planned_end_utc_s"), (int, float)),
    **dict.fromkeys(("start_utc_s", "last_output_utc_s", "end_utc_s", "exit_status"), _NUMBER),
    "timed_out": (bool,),
}
FACTS: Mapping[str, Types] = {
    **dict.fromkeys(("kernel", "os", "link_speeds_mbps", "vpn_implementation"), (str,)),
    **dict.fromkeys(("ncpu", "memory_bytes"), (int,)),
    **{f"{tool}_version": (str,) for tool in ("openvpn", "vpn", "iperf", "iperf3", "python")},
}


def read_file(path: Path, limit_bytes: int = OWN_FILE_BYTES) -> bytes:
    """A file's bytes as they are on the disk.

    Raises:
        OSError: it cannot be opened. UntrustedError: it is too large.
    """
    with path.open("rb") as file:
        # In one piece: to join pieces takes as long as to read them, and twice the memory.
        data = _read(file, limit_bytes, os.fstat(file.fileno()).st_size + 1)
    if data is None:
        raise UntrustedError(f"larger than {_mib(limit_bytes)}")
    return data


def unpack(data: bytes, limit_bytes: int | None = None) -> bytes:
    """The content of gzip, xz or bzip2 data; other data as it is.

    It is unpacked as a stream: memory for `limit_bytes` is the most that is
    used; None = `FILE_BYTES`.

    Raises:
        DamagedPackError: it is cut or damaged.
        UntrustedError: more than `limit_bytes` come out of it, or there are too many lines.
    """
    limit_bytes = FILE_BYTES if limit_bytes is None else limit_bytes
    for magic, opener in _UNPACKERS:
        if data.startswith(magic):
            try:
                with opener(io.BytesIO(data)) as file:
                    found = _read(file, limit_bytes)
            except _DAMAGE as exc:
                raise DamagedPackError(f"compressed data is cut or damaged: {exc}") from exc
            if found is None:
                raise UntrustedError(
                    f"{len(data)} bytes unpack to more than {_mib(limit_bytes)}, the limit"
                )
            data = found
            break
    if len(data) > FILE_LINES and _count_lines(data) > FILE_LINES:
        raise UntrustedError(f"more than {FILE_LINES} lines, the limit")
    return data


def _count_lines(data: bytes) -> int:
    import numpy as np  # noqa: PLC0415 -- slow to load; but counts four times as fast as `count`

    return int(np.count_nonzero(np.frombuffer(data, dtype=np.uint8) == ord("\n")))


def _read(file: Any, limit_bytes: int, expected_bytes: int = 0) -> bytes | None:
    """All of a stream; None when it is longer than the limit."""
    parts, size = [], 0
    step_bytes = max(_STEP_BYTES, expected_bytes)
    while piece := file.read(min(step_bytes, limit_bytes + 1 - size)):
        step_bytes = _STEP_BYTES
        parts.append(piece)
        size += len(piece)
        if size > limit_bytes:
            return None
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / 2**20:g} MiB"


def parse_json(data: bytes | str, *, limit_bytes: int = RECORD_BYTES, ours: bool = False) -> Any:
    """JSON that came from a host.

    Args:
        ours: It was written by perfkit itself, in which texts and numbers may be whatever it
            met.

    Raises:
        UntrustedError: not JSON, too large or too deep, a number or character beyond the bounds,
            a key twice. Its cause is the `json.JSONDecodeError` where there is one.
    """
    if len(data) > limit_bytes:
        raise UntrustedError(f"{len(data)} bytes of JSON, more than {limit_bytes}")
    hooks: dict[str, Any] = {"object_pairs_hook": _unique}
    if not ours:
        hooks |= {"parse_int": parse_int, "parse_constant": _no_number, "parse_float": _finite}
    try:
        text = data if isinstance(data, str) else data.decode("utf-8-sig")
        value = json.loads(text.removeprefix("\ufeff"), **hooks)
    except UntrustedError:
        raise
    except RecursionError as exc:
        raise UntrustedError(f"JSON nested deeper than {DEPTH}") from exc
    except ValueError as exc:
        raise UntrustedError(f"not JSON: {one_line(str(exc), 200)}") from exc
    _check(value, ours=ours)
    return value


def parse_record(data: bytes | str, fields: Mapping[str, Types]) -> dict[str, Any]:
    """One JSON object; a known field that is there has one of its types.

    Any other field holds a text, a number, true, false or null.

    Raises:
        UntrustedError: as `parse_json`; or it is no object, or a field has another type.
    """
    record = parse_json(data)
    if not isinstance(record, dict):
        raise UntrustedError(f"a JSON object expected, a {type(record).__name__} found")
    for name, value in record.items():
        types = fields.get(name, (str, int, float, bool, type(None)))
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            expected = " or ".join("null" if it is type(None) else it.__name__ for it in types)
            raise UntrustedError(
                f"{one_line(name, 40)}: {expected} expected, got {one_line(repr(value), 40)}"
            )
    return record


def parse_int(text: str, *, least: int = -LARGEST_INT) -> int:
    """A whole number that a host printed.

    Raises:
        UntrustedError: it is none, less than `least`, or beyond 64 bits.
    """
    digits = text.strip().removeprefix("-")
    if not (digits.isascii() and digits.isdigit()):
        raise UntrustedError(f"a whole number expected, got {one_line(text, 40)!r}")
    if len(digits) > INT_DIGITS or int(digits) >= LARGEST_INT:
        raise UntrustedError(f"a number of {len(digits)} digits: {digits[:20]}…")
    if int(text) < least:
        raise UntrustedError(f"at least {least} expected, got {text.strip()}")
    return int(text)


def one_line(text: str, length: int = MESSAGE_LENGTH) -> str:
    """Text for a person's eyes: no escapes, control or format characters, one line, bounded."""
    shown = printable(" ".join(without_escapes(text[: 4 * length]).split()))
    return shown if len(shown) <= length else f"{shown[: length - 1]}…"


def printable(text: str) -> str:
    """Text of several lines: no escapes, and no control characters but tab and line feed."""
    return "".join(c if c.isprintable() or c in "\n\t" else "?" for c in without_escapes(text))


def without_escapes(text: str) -> str:
    """Text without what drives a terminal: whole sequences, so that no letters of them stay."""
    return _ESCAPE.sub("", text)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise UntrustedError(f"the key {one_line(twice, 40)!r} twice in a JSON object")
    return found


def _no_number(word: str) -> float:
    raise UntrustedError(f"{word} is not a number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise UntrustedError(f"the number {one_line(text, 40)} is too large")
    return number


def _check(value: Any, *, ours: bool) -> None:
    """Depth and characters, without recursion."""
    level = [value]
    for _ in range(DEPTH + 1):
        below: list[Any] = []
        for item in level:
            if isinstance(item, str):
                _check_text(item, ours=ours)
            elif isinstance(item, list):
                below += item
            elif isinstance(item, dict):
                below += item.values()
                below += item.keys()
        if not below:
            return
        level = below
    raise UntrustedError(f"JSON nested deeper than {DEPTH}")


def _check_text(text: str, *, ours: bool) -> None:
    if text.isprintable():
        return
    for letter in text:
        if "\ud800" <= letter <= "\udfff" or not (ours or letter.isprintable() or letter in "\n\t"):
            raise UntrustedError(f"the character U+{ord(letter):04X} in a text")

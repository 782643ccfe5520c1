"""Which formats there are, and a file's bytes ready for one of them.

To add a format, add one module with a `FORMAT` (see `perfkit.logs.format`) to this package or to
the folder of its family; this module finds it. Compressed logs (gzip, xz, bzip2) are unpacked
first, within bounds.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import pkgutil
from collections.abc import Mapping
from pathlib import Path

import perfkit.logs
from perfkit import untrusted
from perfkit.errors import (
    DamagedPackError,
    LogError,
    ReaderError,
    TruncatedError,
    UnknownFormatError,
    UntrustedError,
    did_you_mean,
)
from perfkit.logs import parser_errors
from perfkit.logs.format import SNIFF_BYTES, Format, Reading, clean
from perfkit.logs.kept_lines import take_kept_lines

_WORTH_NOT_LOADING = 4_000_000  # bytes


@functools.cache
def formats() -> Mapping[str, Format]:
    """Every format by name: the `FORMAT` of each module below this package that has one."""
    found = {}
    for info in pkgutil.walk_packages(perfkit.logs.__path__, f"{perfkit.logs.__name__}."):
        module = importlib.import_module(info.name)
        declared = getattr(module, "FORMAT", None)
        if isinstance(declared, Format):
            found[declared.name] = declared
    return found


def get_format(name: str) -> Format:
    """A format by name.

    Raises:
        UnknownFormatError: no such format; the message names the nearest.
    """
    try:
        return formats()[name]
    except KeyError as exc:
        raise UnknownFormatError(name, f"no such format; {did_you_mean(name, formats())}") from exc


def load(path: Path) -> bytes:
    """A log's bytes, unpacked and cleaned of what is never data.

    Raises:
        LogError: it cannot be opened, or is beyond the bounds of `perfkit.untrusted`.
        TruncatedError: its compression is cut or damaged.
    """
    return unpack(load_raw(path), path)


def load_raw(path: Path) -> bytes:
    """A log's bytes as they are on disk.

    Raises:
        LogError: it cannot be opened, or is too large.
    """
    try:
        return untrusted.read_file(path)
    except OSError as exc:
        raise LogError(path, f"cannot be opened: {exc.strerror}") from exc
    except UntrustedError as exc:
        raise LogError(path, str(exc)) from exc


def unpack(data: bytes, path: Path) -> bytes:
    """A log's bytes on disk, unpacked and cleaned.

    Raises:
        TruncatedError: the compression is cut or damaged.
        LogError: more comes out of it than a log may hold.
    """
    try:
        return take_kept_lines(clean(untrusted.unpack(data)))
    except DamagedPackError as exc:
        raise TruncatedError(path, str(exc)) from exc
    except UntrustedError as exc:
        raise LogError(path, str(exc)) from exc


def parse_unloaded(path: Path, format_name: str | None) -> Reading | None:
    """Read a large plain log without loading it, if its format can; None when it cannot."""
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size < _WORTH_NOT_LOADING:
                return None
            head = file.read(SNIFF_BYTES)
    except OSError:  # whoever loads it says what is wrong
        return None
    for candidate in (known for known in formats().values() if known.parse_file):
        with contextlib.suppress(ReaderError):  # whoever loads it meets the same
            if format_name in (candidate.name, None) and parser_errors.knows(candidate, head, path):
                return parser_errors.parse_file(candidate, path)
    return None


def recognise(data: bytes, path: Path, likely: str = "") -> Format:
    """The format of a cleaned log.

    Args:
        likely: The format to ask first, by name. At most one says that a log is its own, so which is
            asked first changes nothing but the time.

    Raises:
        TruncatedError: it is empty. UnknownFormatError: no reader knows it; those that broke on
            it are named.
    """
    head, broken = data[:SNIFF_BYTES], ""
    ordered = sorted(formats().values(), key=lambda it: it.name != likely) if likely else ()
    for candidate in ordered or formats().values():
        try:
            if parser_errors.knows(candidate, head, path):
                return candidate
        except ReaderError as exc:
            broken += f"; {exc.message}"
    if not data.strip():
        raise TruncatedError(path, "the file is empty")
    known = ", ".join(sorted(formats()))
    first = head.lstrip().split(b"\n", 1)[0][:60].decode("utf-8", "replace")
    raise UnknownFormatError(
        path, f"begins with {first!r}: no reader recognises it; known formats: {known}{broken}"
    )

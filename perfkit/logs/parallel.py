"""Many logs at once: on all cores, by any `concurrent.futures` executor.

Work is handed out in chunks of files and comes back as readings; a log that cannot be used comes
back as its error, so that one bad file does not hide the others.

What is submitted names each file's state beside its path: an executor may remember what a call with
equal arguments gave (a Dask client's does, by default), and a file that changed is another call.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path

from perfkit.errors import LogError
from perfkit.logs import parser_errors
from perfkit.logs.cache import SMALLEST_BYTES, Cache
from perfkit.logs.format import Format, Reading
from perfkit.logs.registry import (
    formats,
    get_format,
    load,
    load_raw,
    parse_unloaded,
    recognise,
    unpack,
)

# Below these threads cost more than they give: small logs hold the interpreter's lock most of the
# time.
_BYTES_WORTH_A_POOL = 2_000_000
_MEAN_BYTES_WORTH_A_POOL = 500_000
_CHUNK_FILES = 64
_CHUNK_BYTES = 1_000_000
_TOO_NEW_NS = 2_000_000_000  # a file may change again within one tick of its stamps
Task = tuple[Path, str | None]
State = tuple[int | str, ...]


def read_all(
    tasks: Iterable[Task], executor: Executor | None = None, cache: Cache | None = None
) -> list[Reading | LogError]:
    """Read logs, in the order given.

    Args:
        tasks: Each a path and its format's name; None = recognise it.
        executor: Runs the work. Only `submit` and the futures' `result` are used, and everything
            handed over can be pickled, so threads, processes and a Dask client's executor all do.
            None = threads for large logs, one by one for small ones.
    """
    chunks = list(in_chunks(tasks))
    if executor is not None:
        return _by(executor, chunks, cache)
    threads = min(os.cpu_count() or 1, len(chunks))
    size, logs = sum(size for size, _ in chunks), sum(len(chunk) for _, chunk in chunks)
    if threads < 2 or size < max(_BYTES_WORTH_A_POOL, _MEAN_BYTES_WORTH_A_POOL * logs):
        return [found for _, chunk in chunks for found in _read_chunk(chunk, cache)]
    formats()  # imported by one thread, not by all at once
    with ThreadPoolExecutor(threads, thread_name_prefix="read-logs") as pool:
        return _by(pool, chunks, cache)


def read_one(path: Path, format_name: str | None, cache: Cache | None = None) -> Reading:
    """Read one log, or find it in the cache.

    Raises:
        UnknownFormatError, TruncatedError, ParseError, ReaderError, LogError: and nothing else.
    """
    reading = parse_unloaded(path, format_name)  # faster than to find it in a cache
    if reading is not None:
        return reading
    if cache is None:  # the bytes on disk need not stay in memory
        data = load(path)
        return parser_errors.parse(_choose(format_name, data, path), data, path)
    raw = load_raw(path)
    data = unpack(raw, path)
    chosen = _choose(format_name, data, path)
    known = cache.find(raw, path, chosen.name)
    if known is not None:
        return known
    reading = parser_errors.parse(chosen, data, path)
    cache.keep(raw, reading)
    return reading


def _choose(format_name: str | None, data: bytes, path: Path, likely: str = "") -> Format:
    return get_format(format_name) if format_name else recognise(data, path, likely)


def _by(
    executor: Executor, chunks: Sequence[tuple[int, list[Task]]], cache: Cache | None
) -> list[Reading | LogError]:
    futures = [
        executor.submit(_read_chunk, chunk, cache, [state_of(path) for path, _ in chunk])
        for _, chunk in chunks
    ]
    try:
        return [found for future in futures for found in future.result()]
    finally:  # after an error or an interrupt, nobody wants the rest
        for future in futures:
            future.cancel()


def state_of(path: Path) -> State:
    """What tells a file from what it was before, or is elsewhere; unlike any other if nothing does.

    That is so for a file that cannot be seen from here, and for one that has just been written.
    """
    try:
        found = path.stat()
    except OSError:
        return (uuid.uuid4().hex,)
    changed_ns = max(found.st_mtime_ns, found.st_ctime_ns)
    state = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    return state if changed_ns < time.time_ns() - _TOO_NEW_NS else (*state, uuid.uuid4().hex)


def in_chunks(tasks: Iterable[Task]) -> Iterator[tuple[int, list[Task]]]:
    """Tasks in chunks of about a megabyte, and each chunk's size in bytes."""
    size, chunk = 0, list[Task]()
    for path, format_name in tasks:
        chunk.append((path, format_name))
        size += _size_of(path)
        if size >= _CHUNK_BYTES or len(chunk) == _CHUNK_FILES:
            yield size, chunk
            size, chunk = 0, []
    if chunk:
        yield size, chunk


def _size_of(path: Path) -> int:
    """Bytes of a file; 0 of one that is not there."""
    return path.stat().st_size if path.is_file() else 0


def _read_chunk(
    chunk: list[Task], cache: Cache | None, _states: Sequence[State] = ()
) -> list[Reading | LogError]:
    """Read the logs of a chunk, small ones of one format together.

    Args:
        _states: Only tell this call from others.
    """
    kept_from = SMALLEST_BYTES if cache is None else cache.smallest_bytes
    found: dict[int, Reading | LogError] = {}
    small: dict[str, list[tuple[int, bytes, Path]]] = {}
    likely: dict[str, str] = {}  # what a log of such a name was before
    for place, (path, format_name) in enumerate(chunk):
        try:
            data = load(path) if _size_of(path) < kept_from else b""
            if not 0 < len(data) < kept_from:  # a small one may be large when unpacked
                found[place] = read_one(path, format_name, cache)
                continue
            chosen = _choose(format_name, data, path, likely.get(path.name, ""))
        except LogError as exc:
            found[place] = exc
        else:
            likely[path.name] = chosen.name
            small.setdefault(chosen.name, []).append((place, data, path))
    for name, logs in small.items():
        read = parser_errors.parse_many(get_format(name), [(data, path) for _, data, path in logs])
        found |= zip([place for place, _, _ in logs], read, strict=True)
    return [found[place] for place in range(len(chunk))]

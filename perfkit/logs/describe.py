"""What a log is, in a few words for people: `perfkit read LOG…`.

Many logs are given out in chunks, as a log by itself is read sooner than it is given out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from perfkit.errors import LogError
from perfkit.executors.mapping import Unit, Where, each, json_of
from perfkit.logs.format import Reading
from perfkit.logs.parallel import in_chunks
from perfkit.logs.reader import read
from perfkit.units import bytes_to_bits, format_rate, format_size

SHOWN = 5  # lines not understood


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """A log in words, or why it is refused."""

    text: str
    is_refused: bool = False


@dataclass(frozen=True, slots=True)
class _Chunk:
    found: tuple[Described, ...]


_CHUNK = json_of(_Chunk)
_Log = tuple[Path, str, int]  # its place, how it is called, its size in bytes


def describe_many(paths: Sequence[Path], executor: Where = None) -> Iterator[Described]:
    """Describe logs, in the order given.

    Args:
        executor: Who reads them, see `perfkit.executors.mapping`.

    Raises:
        ExecutorError: as `perfkit.executors.mapping.each`; the others come one by one.
    """
    logs = [(path.resolve(), str(path), path.stat().st_size) for path in paths]
    if executor is None or executor == "":
        yield from (described for log in logs for described in _describe_chunk([log]).found)
        return
    left, units = iter(logs), []
    for _, tasks in in_chunks([(path, None) for path, _, _ in logs]):
        chunk = [next(left) for _ in tasks]
        name = chunk[0][1] + (f" and {len(chunk) - 1} more" if len(chunk) > 1 else "")
        units.append(Unit(name=name, arguments=(chunk,), folder=None))
    for done in each(_describe_chunk, units, executor, form=_CHUNK):
        yield from done.found


def _describe_chunk(logs: Sequence[_Log]) -> _Chunk:
    return _Chunk(tuple(_describe_or_refuse(*log) for log in logs))


def _describe_or_refuse(path: Path, name: str, size_bytes: int) -> Described:
    try:
        there_bytes = path.stat().st_size
    except OSError as exc:
        why = f"not there where it is read ({exc.strerror})"
        return Described(text=f"{name}: refused: {why}", is_refused=True)
    if there_bytes != size_bytes:
        why = f"another file where it is read, of {there_bytes} bytes and not {size_bytes}"
        return Described(text=f"{name}: refused: {why}", is_refused=True)
    try:
        return Described(text=describe(path, name))
    except LogError as exc:
        why = f"{type(exc).__name__}: {exc.message}"
        return Described(text=f"{name}: refused: {why}", is_refused=True)


def describe(path: Path, name: str = "") -> str:
    """Format, content, notes, and every kind of line not understood.

    Args:
        name: How the log is called; empty: by its path.

    Raises:
        LogError: the file is refused.
    """
    reading = read(path)
    rows = f"{len(reading.frame)} rows{', partial' if reading.partial else ''}"
    lines = [f"{name or path}: {reading.format}, {rows}", *_content(reading)]
    lines += [f"note: {note}" for note in reading.notes]
    lines += [f"the tool said: {message}" for message in reading.messages]
    if reading.unparsed.count:
        lines.append(f"{reading.unparsed.count} lines not understood:")
        places = zip(reading.unparsed.line_nos, reading.unparsed.samples, strict=True)
        lines += [f"  line {number}: {text}" for number, text in list(places)[:SHOWN]]
    return "\n  ".join(lines)


def _content(reading: Reading) -> Iterable[str]:
    frame = reading.frame
    if frame.empty:
        return
    if reading.kind == "traffic":
        size_bytes = _moved_bytes(frame)
        sides = ", ".join(sorted({str(side) for side in frame["side"]}))
        streams = frame.loc[frame["stream"] >= 0, "stream"].nunique()
        peers = frame.loc[frame["peer_port"] > 0, "peer_address"].astype("str").nunique()
        length_s = float(frame["end_s"].max())
        yield f"{streams} streams with {peers} peers, seen as {sides}"
        moved = f"{format_size(size_bytes)}, longest stream {length_s:.1f} s"
        if streams == 1 and length_s > 0:
            moved += f" ({format_rate(bytes_to_bits(size_bytes) / length_s)})"
        yield moved  # no rate of several streams: they may have run one after the other
    elif "t_utc" in frame:
        first, last = frame["t_utc"].min(), frame["t_utc"].max()
        if pd.isna(first):
            yield "no row has a time"
            return
        yield f"from {first:%Y-%m-%d %H:%M:%S} to {last:%Y-%m-%d %H:%M:%S} UTC"


def _moved_bytes(frame: pd.DataFrame) -> float:
    """What all streams moved, each counted once: by its receiver, where the log has both ends.

    A stream without a summary counts by its intervals. The two directions of a full-duplex stream
    have ids of their own; where a log holds sums alone, they count.
    """
    own = frame[frame["stream"] >= 0]
    if own.empty:
        own = frame.assign(kind=frame["kind"].astype(str).str.removeprefix("group-"))
    sides = ["receiver", "sender", "unknown"]
    by = ["stream", "stream_id", "side", "kind"]
    sizes = own.assign(side=own["side"].astype(str)).groupby(by, observed=True)["size_bytes"].sum()
    counts = sizes.unstack("kind").reindex(columns=["summary", "interval"])
    views = counts["summary"].fillna(counts["interval"]).unstack("side").reindex(columns=sides)
    return float(views.bfill(axis="columns").iloc[:, 0].sum())

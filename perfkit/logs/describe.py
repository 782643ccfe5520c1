"""What a log is, in a few words for people: `perfkit read LOG…`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from perfkit.logs.format import Reading
from perfkit.logs.reader import read
from perfkit.units import bytes_to_bits, format_rate, format_size

SHOWN = 5  # lines not understood


def describe(path: Path) -> str:
    """Format, content, notes, and every kind of line not understood.

    Raises:
        LogError: the file is refused.
    """
    reading = read(path)
    rows = f"{len(reading.frame)} rows{', partial' if reading.partial else ''}"
    lines = [f"{path}: {reading.format}, {rows}", *_content(reading)]
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

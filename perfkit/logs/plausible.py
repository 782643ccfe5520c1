"""What a traffic generator cannot have measured: figures that a log itself shows to be impossible.

Left out, and named by the line: a rate that no link has; bytes, interval and rate that do not
belong together; an interval that begins while the one before of its stream still runs; a
connection that stands in the file twice, as where a log was put behind its own copy.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfkit.logs.arrow_text import codes_of
from perfkit.logs.format import SAMPLES_KEPT, UnparsedLines
from perfkit.logs.frames import SIDES
from perfkit.logs.traffic import GROUP, INTERVAL
from perfkit.units import bytes_to_bits

FASTEST_BPS = 100e12
_ODD = 3.0  # printed ends are rounded to 0.1 s, and sizes to a digit
_IMPOSSIBLE = 30.0  # more than a lost digit
_LONG_ENOUGH_S = 0.5
_OVERLAP = 0.5  # of the interval
_REASONS = (
    "",
    "a rate over 100 Tbit/s",
    "bytes, interval and rate do not fit together",
    "it overlaps the interval before it of the same stream",
)
_SHOWN = 120  # characters of a line
# Not the kind, which is told by the lines that follow: a copy may be cut.
_SAME = ("stream_id", "side", "start_s", "end_s", "size_bytes", "throughput_bps")
_WHERE = ("local_address", "local_port", "peer_address", "peer_port", "connected_utc", "stream_id")


def leave_impossible(
    frame: pd.DataFrame, unparsed: UnparsedLines, text_of: Callable[[int], bytes] = lambda _: b""
) -> tuple[pd.DataFrame, list[str]]:
    """Leave out the rows that cannot be.

    Args:
        frame: Of `traffic`, in the order of the log's lines.
        unparsed: Takes the lines left out, but for those of a connection that is there twice.
        text_of: A line's text by its number.

    Returns:
        The other rows, and notes.
    """
    notes = list[str]()
    if frame.empty:
        return frame, notes
    twice = _twice(frame)
    if twice.any():
        count = frame.loc[twice & (frame["stream"] >= 0), "stream"].nunique()
        first = int(frame.loc[twice, "line_no"].iloc[0])
        notes.append(
            f"{count} connections are in the file twice, with the same end points, ids and figures, "
            f"from line {first} on; each is counted once"
        )
        frame = frame[~twice].reset_index(drop=True)
    reason, odd = _judge(frame)
    line_nos = frame["line_no"].to_numpy()
    if odd.any():
        notes.append(
            f"in {int(odd.sum())} lines bytes, interval and rate differ; the first is line "
            f"{line_nos[odd][0]}"
        )
    places = np.flatnonzero(reason > 0)
    if not len(places):
        return frame, notes
    unparsed.count += len(places[SAMPLES_KEPT:])
    for place in places[:SAMPLES_KEPT].tolist():
        row = frame.iloc[place]
        figures = f"{row['start_s']:g}-{row['end_s']:g} s, {row['size_bytes']:.6g} byte"
        text = text_of(int(row["line_no"])).strip().decode("utf-8", "replace") or figures
        unparsed.add(int(row["line_no"]), f"{text[:_SHOWN]} ({_REASONS[reason[place]]})")
    notes.append(
        f"{len(places)} lines are impossible and left out; the first is line {line_nos[places[0]]}: "
        f"{_REASONS[reason[places[0]]]}"
    )
    return frame[reason == 0].reset_index(drop=True), notes


def _judge(frame: pd.DataFrame) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """For each row its place in `_REASONS`, 0 = it can be; and whether its bytes are odd."""
    start_s, end_s, size, rate = (
        frame[name].to_numpy() for name in ("start_s", "end_s", "size_bytes", "throughput_bps")
    )
    length_s = end_s - start_s
    bits, expected = bytes_to_bits(1.0) * size, rate * length_s
    too_fast = (rate > FASTEST_BPS) | ((bits > FASTEST_BPS * length_s) & (length_s > 0))
    says_both = (length_s >= _LONG_ENOUGH_S) & (bits > 0) & (rate > 0)
    unlike, odd = (
        says_both & ((bits > factor * expected) | (bits * factor < expected))
        for factor in (_IMPOSSIBLE, _ODD)
    )
    overlaps = _overlapping(frame, out=too_fast | unlike)
    reason = np.select([too_fast, unlike, overlaps], [1, 2, 3], 0)
    return reason, odd & (reason == 0)


def _overlapping(frame: pd.DataFrame, out: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Rows of a stream that begin well before an earlier one of their kind has ended."""
    overlaps = np.zeros(len(frame), dtype=bool)
    stream, kind = frame["stream"].to_numpy(), codes_of(frame["kind"])
    rows = np.flatnonzero((stream >= 0) & (kind < GROUP) & ~out)
    if not len(rows):
        return overlaps
    marked = [str(name).startswith("*") for name in frame["stream_id"].array.categories]
    backwards = np.array(marked)[codes_of(frame["stream_id"])] if any(marked) else 0
    side = codes_of(frame["side"])
    group = (((stream * len(SIDES) + side) * 2 + backwards) * 2 + (kind == INTERVAL))[rows]
    if group.max() < 2**16:  # which numpy sorts three times as fast
        group = group.astype(np.uint16)
    order = np.argsort(group, kind="stable")
    rows, group = rows[order], group[order]
    start_s, end_s = frame["start_s"].to_numpy()[rows], frame["end_s"].to_numpy()[rows]
    same = group[1:] == group[:-1]
    if not (same & (start_s[1:] < end_s[:-1] - _OVERLAP * (end_s - start_s)[1:])).any():
        return overlaps
    borders = [0, *(np.flatnonzero(~same) + 1).tolist(), len(rows)]
    for begin, end in pairwise(borders):
        latest_s = -np.inf
        for place in range(begin, end):
            length_s = end_s[place] - start_s[place]
            if length_s > 0 and start_s[place] < latest_s - _OVERLAP * length_s:
                overlaps[rows[place]] = True
            else:
                latest_s = max(latest_s, end_s[place])
    return overlaps


def _twice(frame: pd.DataFrame) -> NDArray[np.bool_]:
    """Rows of connections that are in the file before, or in full after."""
    out = np.zeros(len(frame), dtype=bool)
    stream = frame["stream"].to_numpy()
    known = np.flatnonzero((stream >= 0) & (frame["peer_port"].to_numpy() > 0))
    first = np.full(int(stream.max(initial=-1)) + 1, -1)
    first[stream[known[::-1]]] = known[::-1]  # what is written last stays
    numbers = np.flatnonzero(first >= 0)
    if len(numbers) < 2:
        return out
    ports = frame["local_port"].to_numpy() * 65536 + frame["peer_port"].to_numpy()
    if len(np.unique(ports[first[numbers]])) == len(numbers):  # as a rule, and seen at once
        return out
    heads = pd.DataFrame({name: frame[name].take(first[numbers]) for name in _WHERE}, copy=False)
    doubled = heads.duplicated(keep=False).to_numpy()
    if not doubled.any():
        return out
    kept: dict[tuple[object, ...], list[tuple[int, list[tuple[object, ...]]]]] = {}
    ends = map(tuple, heads[doubled].astype(object).fillna(0).to_numpy().tolist())
    of = frame[np.isin(stream, numbers[doubled])].groupby("stream", sort=False)
    rows_of = {
        number: list(zip(*(part[c].astype(object).fillna(-1) for c in _SAME), strict=True))
        for number, part in of
    }
    for number, where in zip(numbers[doubled].tolist(), ends, strict=True):
        rows = rows_of[number]
        for place, (earlier, known_rows) in enumerate(kept.get(where, [])):
            shorter = min(len(rows), len(known_rows))
            if rows[:shorter] == known_rows[:shorter]:
                leave = number if shorter == len(rows) else earlier
                out |= stream == leave
                if leave == earlier:
                    kept[where][place] = (number, rows)
                break
        else:
            kept.setdefault(where, []).append((number, rows))
    return out

"""Streams and their lines to a `traffic` frame: what parsers of traffic generators share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from perfkit.logs.arrow_text import codes_of, take_text, text_categories, to_categories
from perfkit.logs.frames import KINDS_OF_LINE, SIDES, concat
from perfkit.units import BINARY_PREFIXES, SI_PREFIXES, bytes_to_bits

INTERVAL, SUMMARY, GROUP = 0, 1, 2  # codes of KINDS_OF_LINE; GROUP is added to the other two
SENDER, RECEIVER, UNKNOWN = 0, 1, 2  # codes of SIDES
SUM = -1  # stream number of a line that adds up others
# Of a test that the other end broke off, iperf3 prints such a summary, with a rate too high.
CONTRADICTION = "have other bytes than the intervals of the same time and are left out"
PROTOCOLS = ("tcp", "udp")
NUMBER = r"[0-9]{1,18}(?:\.[0-9]{1,9})?"  # as it is printed, for regular expressions
RATE_UNITS: dict[str, float] = {
    **{f"{prefix}bits": factor for prefix, factor in SI_PREFIXES.items()},
    **{f"{prefix}Bytes": bytes_to_bits(factor) for prefix, factor in BINARY_PREFIXES.items()},
}
_LATEST_UTC_S = 9.2e9  # what nanoseconds in 64 bits can hold


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """One connection as its log shows it; its place in the list of streams is its number.

    Attributes:
        local_address: The printing end; all empty or 0 when the log does not say.
        connected_utc_s: The stream's 0 s by the printer's clock, epoch seconds; NaN = not said.
        mss_bytes: TCP's largest segment, without headers; NaN = not said.
    """

    local_address: str = ""
    local_port: int = 0
    peer_address: str = ""
    peer_port: int = 0
    protocol: str = "tcp"
    connected_utc_s: float = np.nan
    mss_bytes: float = np.nan


def to_frame(
    streams: Sequence[Stream],
    *,
    stream: NDArray[np.int64],
    stream_id: Sequence[str],
    kind: NDArray[np.int8],
    side: NDArray[np.int8],
    columns: Mapping[str, NDArray[np.float64]],
    line_no: NDArray[np.int64],
) -> pd.DataFrame:
    """Put the lines of a log under the column contract.

    Args:
        streams: Every stream of the log.
        stream: For each line its stream's number, or `SUM`.
        stream_id: For each line the id as printed.
        kind: Codes of `KINDS_OF_LINE`.
        side: Codes of `SIDES`.
        columns: The figures; a column that may be absent and holds none is left out.
        line_no: For each line its number in the log, from 1.
    """
    ends = np.where(stream >= 0, stream, len(streams))  # of a sum: the empty entry after the last
    every = [*streams, Stream()]
    connected_s = np.array([s.connected_utc_s for s in every], dtype=np.float64)
    is_known = np.abs(connected_s) < _LATEST_UTC_S  # NaN is not
    connected_ms = np.where(is_known, np.round(connected_s * 1000), 0).astype("datetime64[ms]")
    connected_ms[~is_known] = np.datetime64("NaT")
    mss_bytes = np.array([s.mss_bytes for s in every], dtype=np.float64)
    columns = {**columns, "mss_bytes": np.where(mss_bytes > 0, mss_bytes, np.nan)[ends]}
    protocol = np.array([PROTOCOLS.index(s.protocol) for s in every], dtype=np.int8)
    if len(streams):  # a sum adds up streams of one test, and a log rarely holds both
        protocol[-1] = protocol[0]
    return pd.DataFrame(
        {
            "stream": stream,
            "stream_id": text_categories(stream_id),
            "kind": to_categories(kind, KINDS_OF_LINE),
            "side": to_categories(side, SIDES),
            "protocol": to_categories(protocol[ends], PROTOCOLS),
            "local_address": take_text([s.local_address for s in streams], ends),
            "local_port": np.array([s.local_port for s in every], dtype=np.int64)[ends],
            "peer_address": take_text([s.peer_address for s in streams], ends),
            "peer_port": np.array([s.peer_port for s in every], dtype=np.int64)[ends],
            "connected_utc": pd.DatetimeIndex(
                connected_ms[ends].astype("datetime64[ns]"), tz="UTC"
            ),
            **{
                name: values
                for name, values in columns.items()
                if name in _ALWAYS or np.isfinite(values).any()
            },
            "line_no": line_no,
        }
    )


def join_frames(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Frames of one log in one, rows in the order of its lines; streams are numbered on."""
    frames = [frame for frame in frames if len(frame)] or list(frames[:1])
    if len(frames) == 1:
        return frames[0]
    offset, parts = 0, []
    for frame in frames:
        stream = frame["stream"].to_numpy()
        parts.append(frame.assign(stream=np.where(stream >= 0, stream + offset, stream)))
        offset += int(stream.max(initial=-1)) + 1
    joined = concat(parts, "traffic").sort_values("line_no", kind="stable", ignore_index=True)
    return joined[[*(name for name in joined if name != "line_no"), "line_no"]]


def last_row_before(
    lines: ArrayLike, of: ArrayLike, line_no: ArrayLike, ids: ArrayLike
) -> NDArray[np.int64]:
    """For each line the place of the last row of its id before it; -1 where there is none.

    Args:
        lines, of: Number and id of each line.
        line_no, ids: The same of each row; numbers are ascending.
    """
    lines, of, line_no, ids = (np.asarray(a, dtype=np.int64) for a in (lines, of, line_no, ids))
    if not len(lines) or not len(ids):
        return np.full(len(lines), -1, dtype=np.int64)
    largest = int(max(ids.max(), of.max()))
    if min(ids.min(), of.min() + 1) >= 0 and largest < _FEW_IDS:
        row_of = np.full(largest + 2, -1)  # the last is of sums
        row_of[ids] = np.arange(len(ids))
        if np.count_nonzero(row_of >= 0) == len(ids):  # no id comes again
            row = row_of[of]
            return np.where(line_no[row] < lines, row, -1)
    shift = int(max(lines.max(), line_no[-1])) + 1
    keys = ids * shift + line_no
    order = np.argsort(keys)
    found = np.searchsorted(keys[order], of * shift + lines) - 1
    row = order[np.maximum(found, 0)]
    return np.where((found >= 0) & (ids[row] == of), row, -1)


_FEW_IDS = 1_000_000
_ALWAYS = ("start_s", "end_s", "size_bytes", "throughput_bps")


def describe_streams(frame: pd.DataFrame) -> list[str]:
    """Notes on streams whose peer is not known, and on those that did not end."""
    stream = frame["stream"].to_numpy()
    # Streams are numbered from 0, so they are counted by marking them; sums are -1, the last place.
    marked = np.zeros((3, stream.max(initial=-1) + 2), dtype=bool)
    marked[0, stream] = True
    marked[1, stream[frame["peer_port"].to_numpy() == 0]] = True
    marked[2, stream[codes_of(frame["kind"]) == SUMMARY]] = True
    count, nameless, ended = np.count_nonzero(marked[:, :-1], axis=1).tolist()
    notes = []
    if nameless:
        notes.append(f"{nameless} of {count} streams have no connection line: peer not known")
    if ended < count:
        notes.append(f"{count - ended} of {count} streams have no summary: they did not end")
    return notes

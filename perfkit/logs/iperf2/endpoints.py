"""Whose row it is in iperf 2's CSV: streams, writers and kinds of line, from what a row has.

Nothing in a row says who wrote it:

- 2.0.x puts the writer's endpoint first, 2.1 and later the client's, whoever writes. So the
  endpoints are told apart by the listening port: the one most rows share.
- The writer is the server where the listening endpoint is first, or where several clients share
  a file; it is the client where it prints -1 datagrams, or where an older version's server would
  have been first. A header names what was written or read. Otherwise the side is unknown.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from perfkit.logs.traffic import (
    GROUP,
    INTERVAL,
    RECEIVER,
    SENDER,
    SUM,
    SUMMARY,
    UNKNOWN,
    Stream,
    to_frame,
)

_WELL_BEFORE = 0.9
_STAMPS_GO_BACK_S = 5.0  # 2.2 stamps intervals one late; another process's log starts far earlier


@dataclass(slots=True)
class Rows:
    """The rows of a file; every array has one entry a row.

    Attributes:
        layout: Names of the columns after the rate, as places in `layouts`; -1 = not known.
        server_first: The listening end is the first one printed.
        utc_s: The stamp, taken as UTC where it has no zone; NaN where it is none.
    """

    fields: pa.StructArray
    line_no: NDArray[np.int64]
    id: NDArray[np.int64]
    layout: NDArray[np.int64]
    layouts: list[tuple[str, ...]]
    server_first: NDArray[np.bool_]
    utc_s: NDArray[np.float64]
    columns: dict[str, NDArray[np.float64]]

    def has(self, name: str) -> NDArray[np.bool_]:
        """Whether a row has a column of that name."""
        return np.array([name in layout for layout in self.layouts] + [False])[self.layout]

    def take(self, mask: NDArray[np.bool_]) -> None:
        """Leave the other rows out."""
        self.fields = self.fields.filter(pa.array(mask))
        for name in ("line_no", "id", "layout", "server_first", "utc_s"):
            setattr(self, name, getattr(self, name)[mask])
        self.columns = {name: values[mask] for name, values in self.columns.items()}


class Endpoints:
    """Finds out whose rows they are: streams, sides, kinds of line."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        first, second, first_port, second_port = (
            self._column(name) for name in ("first", "second", "first_port", "second_port")
        )
        flip = rows.server_first
        self.client, self.server = np.where(flip, second, first), np.where(flip, first, second)
        self.client_port = np.where(flip, second_port, first_port).astype(np.int64)
        self.server_port = np.where(flip, first_port, second_port).astype(np.int64)
        self.run = self._runs()
        self.side = self._sides()

    def frame(self) -> pd.DataFrame:
        """The rows under the column contract."""
        rows = self.rows
        own = np.flatnonzero(rows.id >= 0)
        _, first, place = np.unique(self.run[own], return_index=True, return_inverse=True)
        rank = np.argsort(np.argsort(first))  # streams are numbered as they appear
        stream = np.full(len(rows.id), SUM, dtype=np.int64)
        stream[own] = rank[place]
        is_udp = np.zeros(len(first) + 1, dtype=bool)
        np.logical_or.at(is_udp, stream, rows.has("jitter"))
        kinds = self._kinds()
        begin_s = self._begins(stream, kinds)
        streams = [
            self._stream(own[row], is_udp=bool(is_udp[number]), begin_s=float(begin_s[number]))
            for number, row in enumerate(np.sort(first).tolist())
        ]
        columns = dict(rows.columns)
        for name in ("jitter_s", "lost"):  # a sender's are printed as 0 and mean nothing
            columns[name] = np.where(self.side == SENDER, np.nan, columns[name])
        return to_frame(
            streams,
            stream=stream,
            stream_id=["SUM" if n < 0 else str(n) for n in rows.id.tolist()],
            kind=kinds,
            side=self.side,
            columns=columns,
            line_no=rows.line_no,
        )

    def _begins(self, stream: NDArray[np.int64], kinds: NDArray[np.int8]) -> NDArray[np.float64]:
        """When each stream was at 0 s, epoch seconds.

        An interval is stamped with its end, but by 2.2 with the end of the next, and there the
        summary is earlier than the last interval. A summary is stamped with its end, but by
        servers before 2.2 sometimes too early.
        """
        utc_s, begin_s = self.rows.utc_s, self.rows.utc_s - self.rows.columns["end_s"]
        known = np.flatnonzero(np.isfinite(utc_s))
        count = int(stream.max(initial=-1)) + 2  # the last is of sums
        begins, summary_begins, summaries = (np.full(count, np.nan) for _ in range(3))
        numbers, first = np.unique(stream[known], return_index=True)
        begins[numbers] = begin_s[known[first]]
        intervals = known[kinds[known] != SUMMARY]
        last = np.full(count, -np.inf)
        np.maximum.at(last, stream[intervals], utc_s[intervals])
        ends = known[kinds[known] == SUMMARY]
        summaries[stream[ends]], summary_begins[stream[ends]] = utc_s[ends], begin_s[ends]
        return np.where(summaries < last, summary_begins, begins)

    def _column(self, name: str) -> NDArray[np.object_]:
        text = self.rows.fields.field(name).cast(pa.large_string())
        return np.array(text.to_pylist(), dtype=object)

    def _stream(self, row: int, *, is_udp: bool, begin_s: float) -> Stream:
        client = self.client[row], int(self.client_port[row])
        server = self.server[row], int(self.server_port[row])
        local, peer = (server, client) if self.side[row] == RECEIVER else (client, server)
        return Stream(
            local_address=local[0],
            local_port=local[1],
            peer_address=peer[0],
            peer_port=peer[1],
            protocol="udp" if is_udp else "tcp",
            connected_utc_s=begin_s,
        )

    def _runs(self) -> NDArray[np.int64]:
        """A number for each test of each pair of endpoints.

        A row from 0 after others of its pair is their summary, or another test's first: that is
        so where it ends before the last interval begins, or well before a summary ended. (The
        last interval may be printed longer than it was, so a summary may end before it ends.)
        """
        rows = self.rows
        ends = (self.client, self.client_port, self.server, self.server_port, rows.id)
        pairs = zip(*(values.tolist() for values in ends), strict=True)
        times = zip(rows.columns["start_s"].tolist(), rows.columns["end_s"].tolist(), strict=True)
        last: dict[tuple[object, ...], tuple[int, float, float, bool]] = {}
        run, count = np.empty(len(rows.id), dtype=np.int64), 0
        for row, (pair, (start_s, end_s)) in enumerate(zip(pairs, times, strict=True)):
            number, last_start_s, last_end_s, ended = last.get(pair, (-1, 0.0, 0.0, False))
            another = start_s == 0 and (
                end_s < _WELL_BEFORE * last_end_s if ended else 0 < end_s <= last_start_s
            )
            ends_it = start_s == 0 and number >= 0 and not another
            if number < 0 or another:
                number, count = count, count + 1
            last[pair] = number, start_s, end_s, ends_it
            run[row] = number
        return run

    def _sides(self) -> NDArray[np.int8]:
        """Codes of `SIDES`: who counted each row."""
        rows = self.rows
        count = int(self.run.max(initial=-1)) + 1
        unacknowledged = rows.has("datagrams") & np.isnan(rows.columns["datagrams"])
        by_client = np.bincount(self.run, weights=unacknowledged, minlength=count)[self.run] > 0
        rest = UNKNOWN
        if rows.server_first.any():
            rest = SENDER
        elif self._is_servers_log():
            rest = RECEIVER
        side = np.full(len(rows.id), rest, dtype=np.int8)
        side[by_client] = SENDER
        side[rows.has("writecnt")] = SENDER
        side[rows.has("readcnt") | rows.server_first] = RECEIVER
        return side

    def _is_servers_log(self) -> bool:
        """Whether several clients share one process's ids and one clock, as a server's do."""
        own = self.rows.id >= 0
        clients = set(zip(self.client[own], self.rows.id[own], strict=True))
        several = len({c for c, _ in clients}) > 1 and len({n for _, n in clients}) > 1
        stamps = self.rows.utc_s[own & np.isfinite(self.rows.utc_s)]
        return several and bool((np.diff(stamps) >= -_STAMPS_GO_BACK_S).all())

    def _kinds(self) -> NDArray[np.int8]:
        """Codes of `KINDS_OF_LINE`.

        A later row from 0 is its stream's summary; a lone one is, unless it is one tick long.
        """
        rows = self.rows
        _, first_rows, group, sizes = np.unique(
            self.run * 3 + self.side, return_index=True, return_inverse=True, return_counts=True
        )
        first = np.zeros(len(rows.id), dtype=bool)
        first[first_rows] = True
        lone = sizes[group] == 1
        from_zero = rows.columns["start_s"] == 0
        ticks = rows.columns["end_s"][first & ~lone & from_zero]
        tick = float(np.median(ticks)) if len(ticks) else np.nan
        is_tick = np.isclose(rows.columns["end_s"], tick, atol=1e-3)
        summary = from_zero & (~first | (lone & ~is_tick))
        kinds = np.where(summary, SUMMARY, INTERVAL) + np.where(rows.id < 0, GROUP, 0)
        return kinds.astype(np.int8)

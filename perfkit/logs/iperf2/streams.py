"""Whose stream a line of an iperf 2 log is of: by its id, and by where its streams begin and end.

An id comes again after its stream has ended, and each `connected with` line opens it anew. An
overloaded iperf prints rows of a stream before that line, so rows that begin a stream where the one
before has ended are of the connection after them; if there is none, their peer is not known.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from perfkit.logs.iperf2.figures import SUM, Columns
from perfkit.logs.traffic import last_row_before

_NEARLY = 0.9  # a summary may end a little before its last interval does
_ALIKE = 1.5
_LINES_WITHOUT_INTERVALS = 1.3  # a connection
_JOINT_S = 0.2  # how far an interval may begin from the end of the one before

Run = NDArray[np.int64]  # places of the rows of one stream, from its beginning to its summary


def number_streams(
    columns: Columns,
    line_nos: NDArray[np.int64],
    connects: list[dict[str, Any]],
    plain: NDArray[np.bool_],
) -> NDArray[np.int64]:
    """The stream of each line.

    Args:
        columns: `id`, `start_s`, `end_s` and `size_bytes` of the lines, in their order.
        connects: The connection lines; their places are the numbers of their streams.
        plain: Lines by which a stream begins and ends: no sums, no lines of the other direction,
            nothing that the other end reports.

    Returns:
        The number of the connection; from `len(connects)` on that of a stream whose connection
        line is missing; `SUM` for a sum.
    """
    ids = columns["id"]
    opened = [[c[name] for c in connects] for name in ("line_no", "id")]
    stream = last_row_before(line_nos, ids, *opened)
    orphan = (stream < 0) & (ids != SUM)
    orphan_ids, place = np.unique(ids[orphan], return_inverse=True)
    stream[orphan] = len(connects) + place
    count = len(connects) + len(orphan_ids)
    odd = _odd_streams(stream, columns, plain, count, {c["id"] for c in connects}, len(connects))
    if not len(odd):
        return stream
    rows_of = _rows_by_stream(stream, plain, count)
    solved = _in_turn(stream, odd, rows_of, columns, line_nos, connects)
    left = [number for number in odd.tolist() if number not in solved]
    _one_by_one(stream, left, rows_of, columns, connects)
    return stream


def _prints_intervals(columns: Columns, lines: int, connects: list[dict[str, Any]]) -> bool:
    """Whether it ran with -i: a stream shorter than a tick has two lines then, and else one."""
    goes_on = bool((columns["start_s"] > 0).any())
    return goes_on or lines > _LINES_WITHOUT_INTERVALS * len(connects)


def _in_turn(
    stream: NDArray[np.int64],
    odd: NDArray[np.int64],
    rows_of: list[Run],
    columns: Columns,
    line_nos: NDArray[np.int64],
    connects: list[dict[str, Any]],
) -> set[int]:
    """Give an id's runs to its connections in turn, where there are as many of both.

    Returns:
        The streams of the ids where that is so.
    """
    ids, solved = columns["id"], set[int]()
    has_intervals = _prints_intervals(columns, sum(map(len, rows_of)), connects)
    opened: dict[int, list[int]] = {}
    for number, connect in enumerate(connects):
        opened.setdefault(connect["id"], []).append(number)
    orphans = {
        int(ids[rows[0]]): number
        for number, rows in enumerate(rows_of)
        if number >= len(connects) and len(rows)
    }
    for of in {int(ids[rows_of[number][0]]) for number in odd.tolist()}:
        numbers = opened.get(of, [])
        parts = [orphans[of], *numbers] if of in orphans else numbers
        runs = split_runs(
            np.sort(np.concatenate([rows_of[n] for n in parts])),
            columns,
            has_intervals=has_intervals,
        )
        if len(runs) != len(numbers) or any(
            connects[number]["line_no"] > line_nos[run[-1]]
            or (has_intervals and _may_end(before, run, columns))
            for number, before, run in zip(numbers, runs, runs[1:], strict=False)
        ):
            continue
        for number, run in zip(numbers, runs, strict=True):
            stream[run] = number
        solved.update(parts)
    return solved


def _one_by_one(
    stream: NDArray[np.int64],
    odd: list[int],
    rows_of: list[Run],
    columns: Columns,
    connects: list[dict[str, Any]],
) -> None:
    """Look at each odd stream, and at the connection after it."""
    count = len(rows_of)
    has_intervals = _prints_intervals(columns, sum(map(len, rows_of)), connects)
    following = _following(connects)
    for number in odd:
        runs = split_runs(rows_of[number], columns, has_intervals=has_intervals)
        is_known = number < len(connects)
        after = following.get(number if is_known else -1 - int(columns["id"][runs[0][0]]))
        for turn, run in enumerate(runs):
            if turn == 0 and is_known:
                continue
            may_end = turn > 0 and _may_end(runs[turn - 1], run, columns)
            if after is not None and run is runs[-1]:
                rest = rows_of[after]
                needs_it = columns["start_s"][rest[0]] > 0 if len(rest) else not has_intervals
                if (needs_it or not may_end) and _goes_on(
                    run, rest, columns, has_intervals=has_intervals
                ):
                    stream[run] = after
                    continue
            if turn and not may_end:
                stream[run] = count
                count += 1


def split_runs(rows: Run, columns: Columns, *, has_intervals: bool = True) -> list[Run]:
    """Rows of one id as runs: intervals from 0 on, and a summary of them.

    Args:
        has_intervals: The log was printed with -i, where a stream shorter than a tick has the same
            line twice; without it each line from 0 is a stream.
    """
    start_s, end_s, size = (columns[name] for name in ("start_s", "end_s", "size_bytes"))
    runs: list[list[int]] = []
    ended = True
    for row in rows.tolist():
        if start_s[row] > 0:
            if ended:
                runs.append([])
            ended = False
        elif not ended and end_s[row] >= _NEARLY * end_s[runs[-1][-1]]:
            first, last = runs[-1][0], runs[-1][-1]
            is_twin = has_intervals and end_s[row] == end_s[last] and size[row] == size[last]
            ended = True
            if first == last and start_s[first] == 0 and not is_twin:
                runs.append([])
                ended = False
        else:
            runs.append([])
            ended = False
        runs[-1].append(row)
    return [np.array(run, dtype=np.int64) for run in runs]


def _goes_on(run: Run, rest: Run, columns: Columns, *, has_intervals: bool) -> bool:
    """Whether a stream whose connection line came late is `run` before that line, `rest` after it."""
    start_s, end_s = columns["start_s"], columns["end_s"]
    if start_s[run[0]] > 0:
        return False
    if not len(rest):
        return True
    if len(run) > 1 and start_s[run[-1]] == 0:
        return False  # it has ended
    if start_s[rest[0]] > 0:
        return bool(abs(start_s[rest[0]] - end_s[run[-1]]) <= _JOINT_S)
    return has_intervals and len(rest) == 1 and bool(end_s[rest[0]] >= _NEARLY * end_s[run[-1]])


def _may_end(before: Run, run: Run, columns: Columns) -> bool:
    """Whether a lone row is the summary of an interval as long as the whole test, or comes twice."""
    first, last = int(before[0]), int(before[-1])
    end_s, size = columns["end_s"], columns["size_bytes"]
    if len(run) > 1 or columns["start_s"][run[0]] > 0:
        return False
    this = int(run[0])
    if end_s[this] == end_s[last] and size[this] == size[last]:
        return True
    ends_later = end_s[last] <= end_s[this] <= _ALIKE * end_s[last]
    return first == last and bool(ends_later and size[this] >= size[last])


def _odd_streams(
    stream: NDArray[np.int64],
    columns: Columns,
    plain: NDArray[np.bool_],
    count: int,
    opened: set[int],
    known: int,
) -> NDArray[np.int64]:
    """Streams with rows that are not one run, or without a connection line that comes later."""
    rows = np.flatnonzero(plain)
    of, is_zero = stream[rows], columns["start_s"][rows] == 0
    zeros, lengths = np.bincount(of[is_zero], minlength=count), np.bincount(of, minlength=count)
    first, last = np.zeros((2, count), dtype=np.int64)
    first[of[::-1]], last[of] = rows[::-1], rows  # what is written last stays
    start_s, end_s, size = (columns[name] for name in ("start_s", "end_s", "size_bytes"))
    if not len(start_s):
        return np.array([], dtype=np.int64)
    from_zero, to_zero = start_s[first] == 0, start_s[last] == 0
    twins = (lengths > 2) | ((end_s[first] == end_s[last]) & (size[first] == size[last]))
    odd = (zeros > 2) | ((zeros == 2) & ~(from_zero & to_zero & twins))
    odd |= (zeros == 1) & ~from_zero & ~to_zero
    late = np.zeros(count, dtype=bool)
    late[known:] = [int(columns["id"][row]) in opened for row in first[known:].tolist()]
    return np.flatnonzero((odd | late) & (lengths > 0))


def _rows_by_stream(stream: NDArray[np.int64], plain: NDArray[np.bool_], count: int) -> list[Run]:
    rows = np.flatnonzero(plain)
    order = rows[np.argsort(stream[rows], kind="stable")]
    return np.split(order, np.searchsorted(stream[order], np.arange(1, count)))


def _following(connects: list[dict[str, Any]]) -> dict[int, int]:
    """The next connection of the same id: of each connection, and of -1 - id the first one."""
    following, last = dict[int, int](), dict[int, int]()
    for number, connect in enumerate(connects):
        following[last.get(connect["id"], -1 - connect["id"])] = number
        last[connect["id"]] = number
    return following

"""The lines of iperf3's text that hold figures: whose they are, and which of them count."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perfkit.logs.iperf3.banner import PrintedTests
from perfkit.logs.traffic import (
    CONTRADICTION,
    GROUP,
    INTERVAL,
    RECEIVER,
    SENDER,
    SUM,
    SUMMARY,
    UNKNOWN,
    Stream,
    last_row_before,
)
from perfkit.units import bytes_to_bits

OMITTED = 3  # a label beside the codes of SIDES
_AGREES = 0.02  # three printed digits, twice
_SAME = ("start_s", "end_s", "size_bytes", "throughput_bps")


@dataclass(slots=True)
class Lines:
    """The lines with figures; every array has one entry a line.

    Attributes:
        id: As printed; `SUM` for a sum.
        role: Codes of `SIDES`, from [TX-C] and the like.
        label: The same, from the end of the line; or `OMITTED`.
        test: Number of the test, from 0.
        stream: Number of the stream, or `SUM`.
        way: Codes of `SIDES`: what the printing end is to this line's stream.
    """

    line_no: NDArray[np.int64]
    id: NDArray[np.int64]
    role: NDArray[np.int8]
    label: NDArray[np.int8]
    test: NDArray[np.int64]
    stream: NDArray[np.int64]
    way: NDArray[np.int8]
    columns: dict[str, NDArray[np.float64]]

    def leave(self, out: NDArray[np.bool_]) -> int:
        """Leave lines out; returns how many."""
        for name in ("line_no", "id", "role", "label", "test", "stream", "way"):
            setattr(self, name, getattr(self, name)[~out])
        self.columns = {name: values[~out] for name, values in self.columns.items()}
        return int(out.sum())

    def leave_omitted(self, found: PrintedTests) -> int:
        """Leave out what -O omits; a test's 0 s is where that ends."""
        omitted = self.label == OMITTED
        ends_s = np.zeros(len(found.tests))
        np.maximum.at(ends_s, self.test[omitted], self.columns["end_s"][omitted])
        for test, end_s in zip(found.tests, ends_s.tolist(), strict=True):
            test.utc_s += end_s
        return self.leave(omitted)


def name_streams(lines: Lines, found: PrintedTests) -> None:
    """For each line the last stream opened before it in its test under its id.

    An id nobody opened is a stream without ends.
    """
    lines.stream = np.full(len(lines.id), SUM, dtype=np.int64)
    own = lines.id != SUM
    if found.opened:
        line_no, opened_id, number, test = np.array(found.opened, dtype=np.int64).T
        place = last_row_before(lines.line_no, lines.id, line_no, opened_id)
        fits = own & (place >= 0) & (test[place] == lines.test)
        lines.stream[fits] = number[place[fits]]
    orphans = own & (lines.stream == SUM)
    keys = np.stack([lines.test[orphans], lines.id[orphans]])
    nameless, place = np.unique(keys, axis=1, return_inverse=True)
    lines.stream[orphans] = len(found.streams) + place.reshape(-1)
    found.streams += [(int(test), Stream()) for test in nameless[0]]


def tell_ways(lines: Lines, found: PrintedTests) -> None:
    """Whether the printing end sends or receives a line's stream.

    Where columns do not tell it, as on systems that do not count retransmits, a server that
    says it sent something and knows of nothing received was the sender (-R).
    """
    count = len(found.tests)
    size = np.nan_to_num(lines.columns["size_bytes"])
    sent, received = (
        np.bincount(lines.test, weights=size * (lines.label == label), minlength=count)
        for label in (SENDER, RECEIVER)
    )
    untold = np.array([t.is_server and not t.counts for t in found.tests])
    sends = np.array([t.sends for t in found.tests]) | (untold & (sent > 0) & (received == 0))
    way = np.where(sends[lines.test], SENDER, RECEIVER)
    lines.way = np.where(lines.role == UNKNOWN, way, lines.role).astype(np.int8)


def leave_out(lines: Lines, found: PrintedTests) -> list[str]:
    """Leave out what does not count and mend what is known better; returns in words what was."""
    exchanged = np.array([test.is_done for test in found.tests])[lines.test]
    of_other = (lines.label < UNKNOWN) & (lines.label != lines.way) & ~exchanged
    zeros = lines.leave(of_other & (lines.columns["size_bytes"] == 0))
    omitted = lines.leave_omitted(found)
    is_extra = np.array([test.is_extra for test in found.tests])[lines.test]
    extra = lines.leave(is_extra & (kinds(lines, found) % GROUP == SUMMARY))
    repeats = lines.leave(_repeats(lines))
    mended = _mend_udp(lines, kinds(lines, found))
    _mend_losses(lines)
    contradicting = lines.leave(_contradict(lines, kinds(lines, found)))
    said = {
        "zeros for the other end, whose figures were not transferred, are left out": zeros,
        f"{omitted} omitted intervals (-O) are left out; times count from their end": omitted,
        "the server's own output gives the receiver's intervals of the same streams": extra,
        f"{repeats} lines repeat the one before of their stream and are left out": repeats,
        "UDP summaries of this version hold no bytes: their intervals are summed": mended,
        f"{contradicting} summaries {CONTRADICTION}": contradicting,
    }
    return [text for text, count in said.items() if count]


def _mend_losses(lines: Lines) -> None:
    """Who gets no datagram misses none, and iperf3 prints 0 lost: all the sent were.

    Before 3.2, where one summary is of both ends, it may also be that nothing was lost.
    """
    sent = np.zeros(int(lines.stream.max(initial=0)) + 1)
    own = lines.stream != SUM
    datagrams, lost = lines.columns["datagrams"], lines.columns["lost"]
    says_sent = own & (lines.label == SENDER) & (datagrams > 0)
    sent[lines.stream[says_sent]] = datagrams[says_sent]
    none = own & (lines.label == RECEIVER) & (datagrams == 0)
    none &= sent[lines.stream] > 0
    lost[none] = datagrams[none] = sent[lines.stream][none]
    of_both = (lines.label == UNKNOWN) & (lines.way == SENDER)
    lost[of_both & (lost == 0) & (lines.columns["jitter_s"] == 0)] = np.nan


def _contradict(lines: Lines, kind: NDArray[np.int8]) -> NDArray[np.bool_]:
    """Summaries with other bytes than intervals that cover the same time, and sums of such.

    Of a test that the other end broke off, iperf3 counts bytes to the end of the test and time
    to the end of the last interval.
    """
    length_s = lines.columns["end_s"] - lines.columns["start_s"]
    size = lines.columns["size_bytes"]
    own = np.maximum(lines.stream * 2 + lines.way, 0)  # a sum's place is not looked at below
    counted, count = kind == INTERVAL, int(own.max(initial=0)) + 1
    size_of, length_of = (
        np.bincount(own[counted], weights=values[counted], minlength=count)[own]
        for values in (np.nan_to_num(size), length_s)
    )
    is_own = (lines.label == lines.way) | (lines.label == UNKNOWN)
    covers = (length_of > 0) & (np.abs(length_of - length_s) <= _AGREES * length_s)
    wrong = (kind == SUMMARY) & is_own & covers & (np.abs(size_of - size) > _AGREES * size)
    tests = np.unique(lines.test[wrong])
    wrong |= (kind == SUMMARY + GROUP) & is_own & np.isin(lines.test, tests)
    return np.asarray(wrong)


def _mend_udp(lines: Lines, kinds: NDArray[np.int8]) -> bool:
    """Fill in what a UDP server before 3.2 got: it prints datagrams and 0 bytes in a summary."""
    size, rate = lines.columns["size_bytes"], lines.columns["throughput_bps"]
    lacking = (kinds % GROUP == SUMMARY) & (lines.way == RECEIVER) & (size == 0)
    lacking &= lines.columns["datagrams"] > lines.columns["lost"]
    if not lacking.any():
        return False
    counted = kinds == INTERVAL
    totals = np.bincount(lines.stream[counted], size[counted], int(lines.stream.max(initial=0)) + 1)
    size[lacking] = np.where(lines.stream == SUM, np.nan, totals[lines.stream])[lacking]
    length_s = lines.columns["end_s"] - lines.columns["start_s"]
    rate[lacking] = np.where(
        length_s > 0, bytes_to_bits(1.0) * size / np.where(length_s > 0, length_s, 1), np.nan
    )[lacking]
    return True


def out_of_order(lines: Lines, found: PrintedTests) -> NDArray[np.float64]:
    """Datagrams that came late, said in a line before the receiver's summary they are about.

    It names no stream but is printed stream by stream. Where none came late there is no such
    line, so the receiving end's other summaries have 0; the sending end does not learn the count.
    """
    is_udp = np.array([test.protocol == "udp" for test in found.tests])[lines.test]
    own = is_udp & (kinds(lines, found) == SUMMARY) & (lines.way == RECEIVER)
    late = np.where(own & (lines.label != SENDER), 0.0, np.nan)
    rows = np.flatnonzero(late == 0)
    after = np.searchsorted(lines.line_no[rows], [line_no for line_no, _ in found.out_of_order])
    for place, (_, count) in zip(after.tolist(), found.out_of_order, strict=True):
        if place < len(rows):
            late[rows[place]] = count
    return late


def _repeats(lines: Lines) -> NDArray[np.bool_]:
    """Lines that are their stream's last line once more, as servers print at an interrupt."""
    order = np.lexsort((lines.line_no, lines.stream))
    figures = np.stack([lines.stream, lines.test, lines.label, *(lines.columns[c] for c in _SAME)])[
        :, order
    ]
    again = (figures[:, 1:] == figures[:, :-1]).all(axis=0)
    repeats = np.zeros(len(order), dtype=bool)
    repeats[order[1:]] = again
    repeats[lines.stream == SUM] = False
    return repeats


def kinds(lines: Lines, found: PrintedTests) -> NDArray[np.int8]:
    """Codes of `KINDS_OF_LINE`: summaries say whose they are, or stand under their own head."""
    from_line = np.array([test.summary_line_no for test in found.tests])[lines.test]
    is_summary = (lines.label == SENDER) | (lines.label == RECEIVER) | (lines.line_no > from_line)
    kinds = np.where(is_summary, SUMMARY, INTERVAL) + np.where(lines.stream == SUM, GROUP, 0)
    return kinds.astype(np.int8)

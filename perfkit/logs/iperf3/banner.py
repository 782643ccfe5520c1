"""The lines of iperf3's text that hold no figures: tests, the streams they open, messages."""

from __future__ import annotations

import contextlib
import email.utils
import re
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from perfkit.logs.format import OtherLines
from perfkit.logs.traffic import Stream

_NEVER = 2**62
# Where a line's own text begins, for the lines where that can be told.
BEGIN = re.compile(
    rb"(?P<own>\[ *(?:\d{1,9}|SUM|ID)\](?:\[[TR]X-[CS]\]|\[Role\])? +"
    rb"(?:[\d.]+- *[\d.]+ +sec|Interval +Transfer|local \S+ port \d)|"
    rb"(?:Connecting to host|Accepted connection from|Reverse mode, remote host) |"
    rb"Server listening on \d|-{20}|iperf 3\.\d|Starting Test: protocol|"
    rb"Time: \w{3}, \d\d|iperf Done\.|Test Complete\.|Control connection MSS|Cookie: \w)"
)
# A line that others may have put something before: none that begins with an id and goes on.
OTHER_LINE = re.compile(
    rb"(?m)^(?!\[ *(?:\d{1,9}|SUM|ID)\](?:\[[TR]X-[CS]\]|\[Role\])? *[^\[ ])[^\n]+"
)
_CONNECTED = re.compile(
    rb"\[ *(\d{1,9})\] local (\S{1,64}) port (\d{1,5}) connected to (\S{1,64}) port (\d{1,5})"
)
_TEST_BEGINS = re.compile(rb"(?:Connecting to host|(Accepted connection) from) ")
_TIME = re.compile(rb"Time: (\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT)")
_HEADER = re.compile(rb"\[ ID\](?:\[Role\])? Interval +Transfer +(?:Bandwidth|Bitrate)")
_RULE = re.compile(rb"(?:- ){4,}|Test Complete")
_MSS = re.compile(rb"TCP MSS: ([1-9]\d{0,5}) ")
_OUT_OF_ORDER = re.compile(
    rb"\[ *(?:\d+|SUM)\](?:\[[TR]X-[CS]\])? +[\d.]+- *[\d.]+ +sec +(\d{1,15}) "
    rb"datagrams received out-of-order"
)
_PROTOCOL = re.compile(rb"Starting Test: protocol: (TCP|UDP),")
_PLAIN = re.compile(
    rb"$|-{8,}|Server listening on \d|iperf3: exiting|iperf 3\.\d|Linux |Darwin |FreeBSD |CYGWIN|"
    rb"Control connection MSS|Cookie: |TCP MSS: |Target Bitrate: |CPU Utilization: |"
    rb"(?:snd|rcv)_tcp_congestion |TCP window size|Using TCP Autotuning|Sent \d|"
    rb"Finished omit period|Setting (?:UDP block size|application pacing|fq socket pacing) |"
    rb"(?:send|get)_(?:parameters|results)|[{}]$|\"\w+\":\t|\}[\],]|SNDBUF is|RCVBUF is|"  # --debug
    rb"sent \d+ bytes of |Congestion algorithm is|tcpi_snd_cwnd|interval_len|interval forces keep|remote_congestion_used|"
    rb"\[ *(?:\d+|SUM)\](?:\[[TR]X-[CS]\])? +(?:\((?:sender|receiver) statistics not available\)|"
    rb"Sent \d+ datagrams)"
)
_MESSAGE = re.compile(
    rb"(?i)iperf3: |.*(?:error|refused|warning|unable|terminated|busy|timed? ?out|failed)"
)


@dataclass(slots=True)
class PrintedTest:
    """What the lines without figures say about one test.

    Attributes:
        counts: Whose columns its intervals have: `sender`, `receiver`; empty = they do not tell.
        mss_bytes: TCP's largest segment; NaN = not said.
        utc_s: When it began, by its own clock; NaN = not said.
        is_extra: It is the server's own output in the client's (--get-server-output).
        is_done: The client said so, so the two ends exchanged their results.
    """

    line_no: int
    is_server: bool = False
    is_reverse: bool = False
    protocol: str = "tcp"
    counts: str = ""
    mss_bytes: float = np.nan
    utc_s: float = np.nan
    summary_line_no: int = _NEVER
    is_extra: bool = False
    is_done: bool = False

    @property
    def sends(self) -> bool:
        """Whether the printing end sends, as far as the lines without figures tell."""
        if self.counts:
            return self.counts == "sender"
        return not self.is_server and not self.is_reverse


@dataclass(slots=True)
class PrintedTests(OtherLines):
    """The tests of a log, the streams they open, and what went wrong.

    Attributes:
        tests: In their order; the first is whatever stands before the first beginning.
        streams: Number of the test, and the ends; in the order of the streams' numbers.
        opened: Line, id, number of the stream, number of the test: one for each connection line.
        out_of_order: Line and count of what is said about the summary after it.
    """

    tests: list[PrintedTest] = field(default_factory=lambda: [PrintedTest(0)])
    streams: list[tuple[int, Stream]] = field(default_factory=list)
    opened: list[tuple[int, int, int, int]] = field(default_factory=list)
    out_of_order: list[tuple[int, int]] = field(default_factory=list)


class _Reader:
    def __init__(self) -> None:
        self.found = PrintedTests()
        self._utc_s = np.nan  # said before the test it is of
        self._rule_line_no = -1
        self._in_extra = False
        self._by_ports: dict[tuple[int, int], int] = {}  # streams of the client's last test

    def read(self, line_no: int, line: bytes) -> None:
        """Take one line."""
        if connected := _CONNECTED.match(line):
            self._open(connected, line_no)
        elif begins := _TEST_BEGINS.match(line):
            self.found.tests.append(
                PrintedTest(
                    line_no, begins[1] is not None, utc_s=self._utc_s, is_extra=self._in_extra
                )
            )
            self._utc_s = np.nan
            if not self._in_extra:
                self._by_ports.clear()
        elif _RULE.match(line):
            self._rule_line_no = line_no
        elif _HEADER.match(line):
            self._read_header(self.found.tests[-1], line_no, line)
        elif not self._read_setting(line_no, line) and not _PLAIN.match(line):
            self.found.add(line_no, line, _MESSAGE)

    def _read_setting(self, line_no: int, line: bytes) -> bool:
        """Take a line that says something about the whole test; False if it is none."""
        test = self.found.tests[-1]
        if time := _TIME.match(line):
            with contextlib.suppress(ValueError):  # the 32nd of a month: no time is known
                self._utc_s = email.utils.parsedate_to_datetime(time[1].decode()).timestamp()
        elif protocol := _PROTOCOL.match(line):
            test.protocol = protocol[1].decode().lower()
        elif mss := _MSS.match(line):
            test.mss_bytes = float(mss[1])
        elif late := _OUT_OF_ORDER.match(line):
            self.found.out_of_order.append((line_no, int(late[1])))
        elif line.startswith(b"Reverse mode, remote host"):
            test.is_reverse = True
        elif line.startswith(b"Server output:"):
            self._in_extra = True
        elif line.startswith(b"iperf Done"):
            self._in_extra = False
            for earlier in self.found.tests[-2:]:  # the client's, before the server's own output
                earlier.is_done |= not earlier.is_server
        else:
            return False
        return True

    def _open(self, match: re.Match[bytes], line_no: int) -> None:
        local, local_port, peer, peer_port = (
            part.decode("ascii", "replace") for part in match.groups()[1:]
        )
        test = len(self.found.tests) - 1
        stream = Stream(
            local_address=local.split("%")[0],
            local_port=int(local_port),
            peer_address=peer.split("%")[0],
            peer_port=int(peer_port),
        )
        twin = stream.peer_port, stream.local_port
        number = self._by_ports.get(twin) if self._in_extra else None
        if number is None:
            number = len(self.found.streams)
            self.found.streams.append((test, stream))
        if not self._in_extra:
            self._by_ports[stream.local_port, stream.peer_port] = number
        self.found.opened.append((line_no, int(match[1]), number, test))

    def _read_header(self, test: PrintedTest, line_no: int, line: bytes) -> None:
        if b"Datagrams" in line:
            test.protocol = "udp"
        if line_no == self._rule_line_no + 1:
            test.summary_line_no = min(test.summary_line_no, line_no)
        elif b"Retr" in line or b"Total Datagrams" in line.replace(b"Lost/Total", b""):
            test.counts = "sender"
        elif b"Jitter" in line:
            test.counts = "receiver"


def read_banners(text: pa.LargeBinaryArray, indices: NDArray[np.int64]) -> PrintedTests:
    """Read the lines at `indices` (from 0), in their order."""
    reader = _Reader()
    for index, raw in zip(indices.tolist(), text.take(pa.array(indices)).to_pylist(), strict=True):
        reader.read(index + 1, raw.strip())
    return reader.found

"""irtt's client, one round trip a line, as it prints while it runs: bytes in, `samples` frame out.

irtt prints no times. A test's script may say, in a line of its own before each run, when that began and
how far apart its packets are sent; in others, what the packets from a moment on are to be noted as; and
how much another program carried meanwhile, as a line of iperf 2::

    perfkit: phase=unloaded epoch=1795350000.125 interval_s=0.05
    [Connecting] connecting to 10.8.0.1:5001
    [10.8.0.1:5001] [Connected] connection established
    seq=0 rtt=1.26ms rd=604µs sd=652µs ipdv=n/a
    perfkit: phase=loaded epoch=1795350015.125
    load: [  1] 0.0000-15.0123 sec  56320000 Bytes  30012345 bits/sec

Round trips become `rtt_s`, those that did not come have no value: packets are numbered, and irtt's own
count at the end says how many were sent. The load becomes `load_bps`.
"""

from __future__ import annotations

import bisect
import math
import re
from dataclasses import dataclass, field
from pathlib import Path

from perfkit.errors import ParseError
from perfkit.logs.format import Format, OtherLines, Reading
from perfkit.logs.sample_rows import SampleRows, is_value

_MOST_PHASES = 100  # of one run
_MOST_LOST = 1_000_000  # in one log: more is damage, not loss
_FACTORS = {"ns": 1e-9, "µs": 1e-6, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_UNIT = r"(?:ns|µs|us|ms|s|m|h)"
_TIME = rf"(?:[0-9]{{1,12}}(?:\.[0-9]{{1,12}})?{_UNIT}){{1,4}}"
_PART = re.compile(rf"([0-9.]+)({_UNIT})")
_PHASE = re.compile(
    r"perfkit: phase=([a-z][a-z0-9-]{0,31}) epoch=([0-9]{1,11}(?:\.[0-9]{1,9})?)(?: interval_s=([0-9]{1,4}(?:\.[0-9]{1,9})?))?"
)
_TRIP = re.compile(rf"seq=([0-9]{{1,9}}) rtt=({_TIME}) [^\n]{{0,200}}")
_COUNT = re.compile(r" *packets sent/received: ([0-9]{1,9})/[0-9]{1,9} [^\n]{0,100}")
_LOAD = re.compile(
    r"load: \[ *[0-9]+\] 0\.0+- *[0-9.]{1,12} sec +[0-9]{1,18} Bytes +([0-9]{1,15}) bits/sec[^\n]{0,100}"
)
_KNOWN = re.compile(
    r" *(?:Min +Mean|(?:-{3,6} *){2,}|(?:RTT|send delay|receive delay|IPDV \(jitter\)|send IPDV|receive IPDV"
    r"|send call time|timer error|server proc\. time|duration:|server packets received:|bytes sent/received:"
    r"|send/receive rate:|packet length:|timer stats:|duplicates:|late \(Out-of-Order\) pkts:)) ?[^\n]{0,200}"
    r"|\[Connecting\] connecting to [^\n]{1,100}|\[[^\n]{1,100}\] \[(?:Connected|Waiting|WaitForPackets)\][^\n]{0,200}"
)
_SAID = re.compile(
    rb"Error|\[Error|\[[^\n]{1,100}\] \[|perfkit: |load: |iperf|connect failed|tcp connect"
)
_BEGINS = (b"[Connecting] connecting to ", b"perfkit: phase=")


@dataclass(slots=True)
class _Run:
    """One run of irtt: its phases, when it began, and which packets came back.

    Attributes:
        phases: Moment from which on packets are noted so, and the note.
    """

    phases: list[tuple[float, str]] = field(default_factory=list)
    epoch_s: float = math.nan
    interval_s: float = math.nan
    line_no: int = 0
    seen: dict[int, tuple[float, int]] = field(default_factory=dict)
    last: int = -1
    sent: int = 0

    def missing(self, last: int = -1, sent: int = 0) -> int:
        """Packets that did not come, if one of number `last` came as well, and so many were sent."""
        return max(self.sent, sent, self.last + 1, last + 1) - len(self.seen)

    def into(self, rows: SampleRows) -> None:
        """Each packet sent, in its order; one that is missing among those that came was lost."""
        begins = sorted(self.phases)
        for number in range(max(self.sent, self.last + 1)):
            value, line_no = self.seen.get(number, (math.nan, self.line_no))
            moment_s = self.epoch_s + number * self.interval_s
            last = bisect.bisect_right(begins, moment_s, key=lambda phase: phase[0])
            note = begins[last - 1][1] if last and math.isfinite(moment_s) else ""
            rows.add(moment_s, "rtt_s", value, note, line_no)


def sniff(head: bytes) -> bool:
    """Whether irtt's greeting is in the first two lines, or the second is missing."""
    lines = head.split(b"\n", 2)[:2]
    return head.startswith(_BEGINS[0]) or (
        lines[0].startswith(_BEGINS[1]) and (len(lines) < 2 or lines[1].startswith(_BEGINS[0]))
    )


def parse(data: bytes, path: Path) -> Reading:
    """Read one log.

    Raises:
        ParseError: nothing in it is irtt's.
    """
    log = _Log()
    lines = data.split(b"\n")
    cut = lines.pop()
    for line_no, line in enumerate(lines, start=1):
        log.take(line_no, line)
    if cut.strip():  # its last figure may lack digits
        log.other.unparsed.add(len(lines) + 1, cut)
    log.end_run()
    if not log.understood:
        first = lines[0] if lines else cut
        raise ParseError(path, 1, first[:200].decode("utf-8", "replace"), "no output of irtt")
    return Reading(
        path=path,
        format="irtt",
        kind="samples",
        frame=log.rows.frame(),
        unparsed=log.other.unparsed.result(),
        messages=tuple(log.other.messages),
        partial=bool(cut) or log.is_unfinished,
    )


FORMAT = Format(name="irtt", kind="samples", sniff=sniff, parse=parse)


class _Log:
    """One way through a log, line by line."""

    def __init__(self) -> None:
        self.rows, self.other = SampleRows(), OtherLines()
        self.understood, self.is_unfinished = 0, False
        self._run = _Run()
        self._counted = False
        self._missing = 0  # in the runs that have ended

    def take(self, line_no: int, line: bytes) -> None:
        text = line.decode("utf-8", "replace")
        if not line.strip():
            return
        if self._figure(line_no, text) or _KNOWN.fullmatch(text):
            self.understood += 1
        else:
            self.other.add(line_no, line, _SAID)

    def end_run(self) -> None:
        """What a run sent goes to the rows; one whose count is missing was broken off."""
        if self._run.seen or self._run.sent:
            self.is_unfinished |= not self._counted
        self._run.into(self.rows)
        self._missing += self._run.missing()
        self._run = _Run()
        self._counted = False

    def _figure(self, line_no: int, text: str) -> bool:
        """Whether a line says something about a run; it is kept."""
        if found := _TRIP.fullmatch(text):
            return self._trip(line_no, int(found[1]), _seconds(found[2]))
        if found := _COUNT.fullmatch(text):
            sent = int(found[1])
            if self._missing + self._run.missing(sent=sent) > _MOST_LOST:
                return False
            self._run.sent, self._run.line_no, self._counted = sent, line_no, True
            return True
        if found := _PHASE.fullmatch(text):
            return self._phase(line_no, found[1], float(found[2]), found[3])
        if text.startswith("[Connecting] ") and (self._run.seen or self._run.sent):
            self.end_run()
            self._run.line_no = line_no
        if found := _LOAD.fullmatch(text):
            self.rows.add(math.nan, "load_bps", float(found[1]), "", line_no)
            return True
        return False

    def _phase(self, line_no: int, name: str, epoch_s: float, interval_s: str | None) -> bool:
        """A phase begins; one that says an interval is that of a new run."""
        if interval_s:
            self.end_run()
            self._run.epoch_s, self._run.interval_s = epoch_s, float(interval_s)
            self._run.line_no = line_no
        if len(self._run.phases) >= _MOST_PHASES:
            return False
        self._run.phases.append((epoch_s, name))
        return True

    def _trip(self, line_no: int, number: int, rtt_s: float) -> bool:
        if not is_value(rtt_s) or self._missing + self._run.missing(last=number) > _MOST_LOST:
            return False
        self._run.last = max(self._run.last, number)
        self._run.line_no = self._run.line_no or line_no
        self._run.seen.setdefault(number, (rtt_s, line_no))  # a second one is a duplicate
        return True


def _seconds(text: str) -> float:
    """A duration as Go prints it: 1.26ms, 1m2.5s."""
    try:
        return sum(float(number) * _FACTORS[unit] for number, unit in _PART.findall(text))
    except ValueError:
        return math.nan

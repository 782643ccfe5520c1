"""The log of `wireguard-go`, with the lines that perfkit's start script adds: bytes in, `vpn-events` out.

The kernel's WireGuard writes no log of its own: then there is only the line of the start.

A handshake is both how a tunnel comes up and how its keys are renewed, every two minutes of traffic. The
first one with a peer since the start is the tunnel's; a peer that begins anew cannot be told from one
that renews its keys. Times are whole seconds in the zone of the host, which the log does not say.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from pathlib import Path
from typing import Any

import pandas as pd

from perfkit.errors import ParseError, TruncatedError
from perfkit.logs.fields import read_time_t, to_frame
from perfkit.logs.format import Format, Reading, UnparsedLines
from perfkit.logs.local_times import LOCAL_TIME, read_moment

_LINE = re.compile(
    r"(?P<level>DEBUG|INFO|ERROR): \([^\s()]{1,15}\) "
    r"(?P<time>[0-9]{4}/[0-9]{2}/[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}) (?P<text>.{1,2000})"
)
_START = re.compile(r"# (?P<time>[0-9]{1,10}(?:\.[0-9]{1,9})?) start (?P<text>.{0,200})")
_NAME = re.compile(r"# peer (?P<begin>\S{4})\S{35}(?P<end>\S{4})= (?P<name>\S{1,64})")
_PEER = re.compile(r"peer\((?P<begin>\S{4})…(?P<end>\S{4})\) - (?P<text>.*)")
_OURS = re.compile(r"failed: .{0,500}")
_BANNER = re.compile(r"[┌│└].{0,200}")
# The first that fits; a pair is the first one with a peer since the start, and every later one.
_EVENTS: tuple[tuple[re.Pattern[str], tuple[str, str]], ...] = (
    (re.compile("Received handshake response"), ("tunnel-up", "renegotiation")),
    (re.compile("Received handshake initiation"), ("connected", "renegotiation")),
    (re.compile("Handshake did not complete after"), ("timeout", "timeout")),
    (re.compile("Shutting down"), ("exit", "exit")),
)
_LOOKED_AT = 50  # lines


@dataclass(slots=True)
class _Found:
    """What a file holds.

    Attributes:
        met: Which events each peer has had since the last start.
        names: Of peers by the ends of their keys, as the log shortens them.
    """

    zone: tzinfo | None
    printed_local: bool = False
    names: dict[str, str] = field(default_factory=dict)
    met: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    rows: list[dict[str, Any]] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    known: int = 0
    unparsed: UnparsedLines = field(default_factory=UnparsedLines)


def sniff(head: bytes) -> bool:
    """Whether one of the first lines is of wireguard-go, or of perfkit's start."""
    lines = head.decode("utf-8", "replace").split("\n", _LOOKED_AT)[:_LOOKED_AT]
    return any(it.fullmatch(line) for line in lines for it in (_LINE, _START))


def parse(data: bytes, path: Path, *, zone: tzinfo | None = None) -> Reading:
    """Read one file.

    Args:
        zone: Of the host's local times, if the caller knows it; None = they are taken as UTC.

    Raises:
        TruncatedError: the file is empty. ParseError: no line is one of this log.
    """
    if not data.strip():
        raise TruncatedError(path, "the log is empty")
    lines, found = data.decode("utf-8", "replace").split("\n"), _Found(zone)
    for line_no, line in enumerate(lines, start=1):
        if line and (line_no == len(lines) or not _read_line(line, line_no, found)):
            found.unparsed.add(line_no, line)
    if not found.known:
        raise ParseError(path, 1, lines[0][:200], "a line of wireguard-go's log expected")
    for row in found.rows:
        row["common_name"] = found.names.get(row["common_name"], "")
    return Reading(
        path=path,
        format="wireguard-log",
        kind="vpn-events",
        frame=to_frame(found.rows, "vpn-events"),
        unparsed=found.unparsed.result(),
        notes=(LOCAL_TIME,) if found.printed_local and zone is None else (),
        messages=tuple(found.messages[-5:]),
        partial=bool(lines[-1]),
    )


FORMAT = Format(name="wireguard-log", kind="vpn-events", sniff=sniff, parse=parse, takes_zone=True)


def _read_line(line: str, line_no: int, found: _Found) -> bool:
    """One whole line; False when it is not understood."""
    if name := _NAME.fullmatch(line):
        found.names[f"{name['begin']}…{name['end']}"] = name["name"]
        return True
    if _OURS.fullmatch(line):
        found.messages.append(line)
        return True
    if _BANNER.fullmatch(line):
        return True
    reads: tuple[Callable[[str, int, _Found], bool], ...] = (_read_start, _read_own)
    is_known = any(read(line, line_no, found) for read in reads)
    found.known += is_known
    return is_known


def _read_start(line: str, line_no: int, found: _Found) -> bool:
    start = _START.fullmatch(line)
    moment = read_time_t(start["time"]) if start else None
    if start is None or moment is None:
        return False
    # The script's line comes last, and what it says is from before the first handshake.
    found.rows.append(_row("start", "", moment, start["text"], line_no))
    return True


def _read_own(line: str, line_no: int, found: _Found) -> bool:
    """A line of wireguard-go."""
    own = _LINE.fullmatch(line)
    time = own["time"].replace("/", "-") if own else ""
    moment = read_moment(time, zone=found.zone or UTC)
    if own is None or moment is None:
        return False
    found.printed_local = True
    peer = _PEER.fullmatch(own["text"])
    key, text = (f"{peer['begin']}…{peer['end']}", peer["text"]) if peer else ("", own["text"])
    if text.startswith("Starting wireguard-go"):
        found.met.clear()
    event = "network-error" if own["level"] == "ERROR" else ""
    for pattern, (first, later) in _EVENTS:
        if not event and pattern.match(text):
            event = later if first in found.met[key] else first
            found.met[key].add(first)
    if own["level"] == "ERROR":
        found.messages.append(text[:200])
    if event:
        found.rows.append(_row(event, key, moment, text, line_no))
    return True


def _row(event: str, key: str, moment: pd.Timestamp, text: str, line_no: int) -> dict[str, Any]:
    return {
        "t_utc": moment,
        "event": event,
        "common_name": key,
        "peer_address": "",
        "peer_port": 0,
        "text": text,
        "line_no": line_no,
    }

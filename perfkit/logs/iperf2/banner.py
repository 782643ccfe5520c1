"""The lines of an iperf 2 log that hold no figures: who is connected, who listens, what went wrong."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd

from perfkit.logs.format import OtherLines
from perfkit.logs.timestamps import LATEST_EPOCH_S
from perfkit.units import MS_PER_S, NS_PER_S

NEVER = int(pd.NaT.value)
LISTENING = re.compile(rb"Server listening on (TCP|UDP) port (\d{1,5})")
CONNECTING = re.compile(rb"Client connecting to .*(TCP|UDP) port \d")
# Where a line's own text begins, for the lines where that can be told.
BEGIN = re.compile(
    rb"(?P<own>\[ *(?:\*|FD)? *(?:\d{1,9}|SUM|ID)(?:-\w+)?\] *"
    rb"(?:[\d.]+ *- *[\d.]+ +sec|Interval +Transfer|local \S+ port \d|Server Report:|Sent \d)|"
    rb"Server listening on (?:TCP|UDP) port|Client connecting to |-{20}|"
    rb"(?:TCP|UDP) (?:window|buffer) size)"
)
_CONNECTED = re.compile(
    rb"\[ *(?:\*|FD)? *(\d{1,9})\] local (\S{1,64}) port (\d{1,5}) "
    rb"connected with (\S{1,64}) port (\d{1,5})(.*)"
)
_UTC = (b"UTC", b"GMT")  # another zone's abbreviation is not a zone: CST is five of them
_STAMP = re.compile(rb"on (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)(?:\.\d+)? \((\w+)\)")
_SENDS_AT = re.compile(
    rb"\[ *(\d{1,9})\] Client traffic to start in \d{1,9} seconds "
    rb"at (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) current time is \S+ \S+ \((\w+)\)"
)
_SENDS_NOW = re.compile(rb"\[ *(\d{1,9})\] WARNING: --txstart-time ")  # for that was before
_CONNECT_TIME = re.compile(rb"\(ct=(\d{1,7}(?:\.\d{1,6})?) ms\)")
_MSS = re.compile(rb"icwnd/mss/irtt=\d{1,9}/(\d{1,6})/")
_OUT_OF_ORDER = re.compile(
    rb"\[ *\*?(\d{1,9})\] +[\d.]+- *[\d.]+ +sec +(\d{1,15}) datagrams received out-of-order"
)
_SERVER_REPORT = re.compile(rb"\[ *(\d{1,9})\] Server Report:")
_KNOWN_LINE = re.compile(
    rb"\s*$|-{8,}|(?:- ){4,}|\[ ?ID\]|\[SUM-cnt\]|"
    rb"\[[^\]]{1,9}\] (?:Sent \d|.*datagrams received out-of-order)|"
    rb"\[ *(?:\*|FD)? *\d{1,9}\] +[\d.]+- *[\d.]+ +sec +[A-Z]+\d+(?:\(f\))?-PDF: |"  # --histograms
    rb"Bursting: |Bounce-back test|Enabled (?:write|receive) histograms|Isochronous: |"
    rb"TCP three-way-handshake|MSS req size|fair-queue socket pacing|"
    rb"\(null\)local \S+ port \d|"  # 2.1.8, of a connection that was only made
    rb"\[ CT\]|(?:TCP|UDP) (?:window|buffer) size|(?:Read|Write) buffer size|TOS |MSS size|"
    rb"(?:Sending|Receiving) \d+ byte datagrams|Binding to local|TCP congestion control|IPG|"
    rb"Waiting for server threads|Running Iperf Server as a daemon|The Iperf daemon process|"
    rb"\[ *\*?\d+\] (?:TCP|UDP) |Joining multicast|Setting|Using|Clock sync|ACK|Listening"
)
_MESSAGE = re.compile(
    rb"(?i).*(?:failed|error|refused|warning|timed? ?out|denied|did not|unable)|"
    rb"(?:Killed|Terminated|Aborted|Segmentation fault)(?: \(core dumped\))?$"  # by a shell, of iperf
)


@dataclass(slots=True)
class Banners(OtherLines):
    """What the lines without figures say.

    Attributes:
        connects: One record a `connected with` line.
        banners: Line number, whether of a client, whether of UDP: where an iperf says what it does.
        server_reports: Numbers of the lines that head a report of the other end.
        out_of_order: Line number, id and count of what iperf says of late datagrams.
    """

    connects: list[dict[str, Any]] = field(default_factory=list)
    listening_ports: set[int] = field(default_factory=set)
    banners: list[tuple[int, bool, bool]] = field(default_factory=list)
    server_reports: set[int] = field(default_factory=set)
    out_of_order: list[tuple[int, int, int]] = field(default_factory=list)


def read_banners(lines: Iterable[tuple[int, bytes]]) -> Banners:
    """Read the lines of one log that hold no figures, each given with its number, from 1."""
    found = Banners()
    for line_no, raw in lines:
        line = raw.strip()
        connected = _CONNECTED.search(line)
        if connected:
            found.connects.append(_connection(connected, line_no))
        elif listening := LISTENING.match(line):
            found.listening_ports.add(int(listening[2]))
            found.banners.append((line_no, False, listening[1] == b"UDP"))
        elif sends := _SENDS_AT.match(line) or _SENDS_NOW.match(line):
            _note_first_byte(found, sends, line_no, line)
        elif connecting := CONNECTING.match(line):
            found.banners.append((line_no, True, connecting[1] == b"UDP"))
        elif _SERVER_REPORT.match(line):
            found.server_reports.add(line_no)
        elif late := _OUT_OF_ORDER.match(line):
            found.out_of_order.append((line_no, int(late[1]), int(late[2])))
        elif not _KNOWN_LINE.match(line):
            found.add(line_no, line, _MESSAGE)
    return found


def _note_first_byte(found: Banners, match: re.Match[bytes], line_no: int, line: bytes) -> None:
    """A client told to send from a moment on says so after it connected, or that it came too late."""
    stream = next((c for c in found.connects[::-1] if c["id"] == int(match[1])), None)
    if stream is None:
        found.add(line_no, line, _MESSAGE)
    elif match.re is _SENDS_NOW:
        stream["connected_ns"] = stream["made_ns"]
    else:
        stream["connected_ns"] = _moment(match[2]) if match[3] in _UTC else NEVER


def _connection(match: re.Match[bytes], line_no: int) -> dict[str, Any]:
    """What such a line says. A client's stamp is of when it began to connect, which took `ct`.

    Of a stream whose sender waits for a moment the stamp does not tell when it began.
    """
    stamp, took = _STAMP.search(match[6]), _CONNECT_TIME.search(match[6])
    began_ns = _moment(stamp[1]) if stamp and stamp[2] in _UTC else NEVER
    took_ns = round(float(took[1]) * NS_PER_S / MS_PER_S) if took and began_ns != NEVER else 0
    return {
        "line_no": line_no,
        "id": int(match[1]),
        "local_address": match[2].decode("ascii", "replace").split("%")[0],
        "local_port": int(match[3]),
        "peer_address": match[4].decode("ascii", "replace").split("%")[0],
        "peer_port": int(match[5]),
        "connected_ns": NEVER if b"(epoch-start)" in match[6] else began_ns + took_ns,
        "made_ns": began_ns + took_ns,
        "reverse": b"(reverse)" in match[6],
        "mss": float(mss[1]) if (mss := _MSS.search(match[6])) and int(mss[1]) else np.nan,
    }


@functools.lru_cache(maxsize=4096)
def _moment(stamp: bytes) -> int:
    """`2026-11-22 12:33:13` in nanoseconds since 1970; 13:87 is no moment, nor is the year 9999."""
    try:
        moment = datetime.strptime(stamp.decode(), "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    except ValueError:
        return NEVER
    seconds = int(moment.timestamp())
    return seconds * NS_PER_S if abs(seconds) < LATEST_EPOCH_S else NEVER

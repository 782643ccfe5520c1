"""OpenVPN's log, of server or client: bytes in, `vpn-events` frame out.

Only lines that say how connections fared become rows; `EVENTS` lists what is told apart. All
other lines OpenVPN printed are counted as ordinary. One failed handshake prints several lines and
each is a row, so failures are counted by `restart` rows, whose text ends in the reason.

Times are `2026-11-22 13:16:01` (2.5 and later) or ctime, with or without `us=`, in the host's own
zone, or Unix times of --machine-readable-output. What a syslog, docker or `ts` put in front is left
out; its stamps count where OpenVPN printed none. A stamp without a year and a log without stamps
(--suppress-timestamps) give rows without a time.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from pathlib import Path
from typing import Any

import pandas as pd

from perfkit.errors import TruncatedError
from perfkit.logs.fields import read_time_t, split_end_point, to_frame
from perfkit.logs.format import SAMPLES_KEPT, Format, Reading, UnparsedLines
from perfkit.logs.local_times import LOCAL_TIME, read_moment
from perfkit.logs.openvpn.lines import (
    CLIENT,
    Line,
    is_openvpns,
    says_openvpn,
    take_lines_apart,
    without_marks,
)

EVENTS: dict[str, str] = {
    "auth-failed": r"AUTH_FAILED|TLS Auth Error",
    "timeout": r"Inactivity timeout|TLS key negotiation failed|Server poll timeout|timed out",
    "tls-error": r"TLS[ _]Error|TLS_ERROR|VERIFY ERROR|OpenSSL: error|tls-crypt\S* unwrap|"
    r"Authenticate/Decrypt packet error|Bad encapsulated packet",
    "refused": r"exceed maximum number of clients|Connection attempt from \S+ ignored",
    "replaced": r"will cause previous active sessions",
    "renegotiation": r"TLS: soft reset",
    "tunnel-up": r"Initialization Sequence Completed",
    "connected": r"Peer Connection Initiated with",
    "restart": r"SIG(?:USR1|HUP)\[.*\] received|"
    r"SIGTERM\[.*\] received, (?:client-instance|process) restarting",
    "disconnect": r"client-instance exiting|exit message received by peer",
    "exit": r"SIG(?:TERM|INT)\[.*\] received, process exiting",
    "fatal": r"Exiting due to fatal error|Options error",
    "packets-dropped": r"packet dropped due to output saturation|bad packet ID",
    "network-error": r"\[E[A-Z]{3,}\]|(?:read|write) (?:UDP|TCP)\S*[: ]|RESOLVE: Cannot|"
    r"connect to \S+ failed|Connection reset, restarting",
    "start": r"OpenVPN 2\.\S+ \S+ \[",
}  # the first that fits; specific ones come first
_EVENT = re.compile("|".join(EVENTS.values()))
_EVENTS = [(name, re.compile(words)) for name, words in EVENTS.items()]

_NAMED = re.compile(r"\[(?P<name>[^\]]{1,128})\] (?:Peer Connection Initiated|Inactivity timeout)")
_PEER = re.compile(r"(?:with|from|to) (?P<end>(?:\[AF_INET6?\])?[0-9a-fA-F:.\[\]]{2,60})")
_TOLD_WITHOUT_STAMP = ("Options error", "Use --help for more information.")
_NOT_TEXT = re.compile("[\x00-\x08\x0b-\x1f\x7f\ufffd]")
_LOOKED_AT = 50  # lines, for what the others have
_LONG_FRACTION = re.compile(r"([.,][0-9]{6})[0-9]+")
_ZONED = re.compile(r"(?:Z|[+-][0-9]{2}:?[0-9]{2})$")
_LONGEST_LINE = 10_240  # OpenVPN's own buffer for a message
_WARNING = re.compile(r"WARNING: |Options error: |ERROR: |Cannot |RESOLVE: ")


@dataclass(slots=True)
class _Found:
    """What a file holds.

    Attributes:
        zone: Of its local times; None when nobody knows it.
        names: Of clients, as they connected.
        idents: Those of OpenVPN, where a syslog put some in front; empty = take them all.
        needs_own: Lines have OpenVPN's own stamp.
        needs_others: They have none of its own, but one that others put in front.
        others: How many lines are other programs'.
    """

    zone: tzinfo | None = None
    names: set[str] = field(default_factory=set)
    idents: set[str] = field(default_factory=set)
    needs_own: bool = False
    needs_others: bool = False
    rows: list[dict[str, Any]] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    ordinary: int = 0
    others: int = 0
    unparsed: UnparsedLines = field(default_factory=UnparsedLines)


def sniff(head: bytes) -> bool:
    """Whether one of the first lines says what only OpenVPN says, whatever stands before it."""
    lines = head.decode("utf-8", "replace").split("\n")[:_LOOKED_AT]
    for parts in take_lines_apart(lines):
        text = parts.text if parts.own else without_marks(parts.text, (), _EVENT)
        if says_openvpn(text, or_many=parts.own is not None or not parts.ahead):
            return True
    return False


def parse(data: bytes, path: Path, *, zone: tzinfo | None = None) -> Reading:
    """Read one file.

    Args:
        zone: Of the host's local times, if the caller knows it; None = they are taken as UTC.

    Returns:
        A `vpn-events` frame in the order of the lines; the note says how many were ordinary.
        Warnings and fatal errors, each once, are `messages`. Not understood are lines without the
        stamp that the others have, and lines that are no text.

    Raises:
        TruncatedError: the file is empty.
    """
    if not data.strip():
        raise TruncatedError(path, "the log is empty: OpenVPN never wrote to it")
    texts = data.decode("utf-8", "replace").split("\n")
    lines = take_lines_apart(texts)
    found = _Found(zone=zone, idents=_idents(lines))
    found.needs_own = any(line.own for line in lines[:_LOOKED_AT])
    found.needs_others = not found.needs_own and any(line.others for line in lines[:_LOOKED_AT])
    _note_stamps(lines, found)
    for line_no, (text, line) in enumerate(zip(texts, lines, strict=True), start=1):
        if text.strip():
            _read_line(text, line, line_no, found)
    cut = not data.endswith(b"\n") and bool(lines[-1].text or not lines[-1].has_marks)
    if cut:
        found.notes.append("the last line may be cut")
    if found.others:
        found.notes.append(f"{found.others} lines of other programs, left out")
    found.notes.append(f"{found.ordinary} ordinary lines")
    return Reading(
        path=path,
        format="openvpn-log",
        kind="vpn-events",
        frame=to_frame(found.rows, "vpn-events"),
        unparsed=found.unparsed.result(),
        notes=tuple(dict.fromkeys(found.notes)),
        messages=tuple(dict.fromkeys(found.messages))[:SAMPLES_KEPT],
        partial=cut,
    )


FORMAT = Format(name="openvpn-log", kind="vpn-events", sniff=sniff, parse=parse, takes_zone=True)


def _idents(lines: Sequence[Line]) -> set[str]:
    """The idents of OpenVPN: by their name, or because a line of theirs is one that it prints."""
    return {
        line.ident
        for line in lines
        if line.ident and (is_openvpns(line.ident) or says_openvpn(line.text))
    }


def _note_stamps(lines: Sequence[Line], found: _Found) -> None:
    ahead = next((line.ahead.strip() for line in lines if line.ahead.strip(" RrWw")), "")
    if ahead:
        found.notes.append(f"the lines have a prefix, such as {ahead[:60]!r}, which is left out")
    if not (found.needs_own or found.needs_others):
        found.notes.append("lines have no time: the log was written with --suppress-timestamps")


def _read_line(printed: str, line: Line, line_no: int, found: _Found) -> None:
    """One line that is not empty."""
    if line.ident and found.idents and line.ident not in found.idents:
        found.others += 1
        return
    text = line.text if line.own else without_marks(line.text, found.names, _EVENT)
    if line.has_marks and not text:
        found.ordinary += 1  # nothing but packets
        return
    if len(text) > _LONGEST_LINE or _NOT_TEXT.search(printed):
        found.unparsed.add(line_no, printed)
        return
    is_read, moment = True, None
    if not text.startswith(_TOLD_WITHOUT_STAMP):
        is_read, moment = _moment(line, found)
    if not is_read:
        found.unparsed.add(line_no, printed)
        return
    if name := _find_event(text):
        who = _who(text)
        found.names.add(who["common_name"])
        found.rows.append({"t_utc": moment, "event": name, "line_no": line_no, **who})
    else:
        found.ordinary += 1
    if _WARNING.search(text, 0, 300):
        found.messages.append(str(_who(text)["text"])[:200])


def _find_event(text: str) -> str:
    """What a message tells, by its first words that tell any; empty: nothing.

    Words that begin at the same place: by the order of `EVENTS`. Looked for one by one, which takes a
    third of the time of one expression for all.
    """
    found = [
        (match.start(), place)
        for place, (_, words) in enumerate(_EVENTS)
        if (match := words.search(text))
    ]
    return _EVENTS[min(found)[1]][0] if found else ""


def _moment(line: Line, found: _Found) -> tuple[bool, pd.Timestamp | None]:
    """Whether a line has the stamp that the others have, and its moment in UTC, if it says one."""
    stamp = line.own or (None if found.needs_own else line.others)
    if stamp is None:
        return not (found.needs_own or found.needs_others), None
    parts = stamp.groupdict()
    if unix := parts.get("unix") or parts.get("epoch"):
        moment = read_time_t(unix)
    elif parts.get("yearless"):
        found.notes.append("syslog stamps have no year: events have no time")
        return True, None
    elif parts.get("since"):
        found.notes.append("the stamps have no date: events have no time")
        return True, None
    else:
        moment = _local_moment(parts, found)
    return moment is not None, moment


def _local_moment(parts: dict[str, str | None], found: _Found) -> pd.Timestamp | None:
    """The moment of a stamp with a date, by the zone printed in or behind it, or the host's."""
    text = parts.get("local") or parts.get("iso") or parts.get("full") or parts.get("ctime") or ""
    text, behind = _LONG_FRACTION.sub(r"\1", text), parts.get("zone") or ""
    if behind in ("UTC", "GMT"):
        behind = "Z"
    if behind[:1] in ("Z", "+", "-"):
        text += behind.ljust(5, "0") if len(behind) == 3 else behind
    elif not _ZONED.search(text) and found.zone is None:
        found.notes.append(LOCAL_TIME)
    return read_moment(text, int(parts.get("us") or "0"), zone=found.zone or UTC)


def _who(text: str) -> dict[str, Any]:
    """Whom a message is about, and the message without that."""
    name, end_point = "", None
    client = CLIENT.match(text)
    if client:
        end_point = split_end_point(client["end"])
        if end_point:
            name, text = client["name"] or "", client["text"]
    named = _NAMED.search(text)
    if end_point is None:
        peer = _PEER.search(text)
        end_point = split_end_point(peer["end"].removesuffix(":")) if peer else None
    address, port = end_point or ("", 0)
    return {
        "common_name": named["name"] if named else name,
        "peer_address": address,
        "peer_port": port,
        "text": text.rstrip(),
    }

"""OpenVPN's log, of server or client: bytes in, `vpn-events` frame out.

Only lines that say how connections fared become rows; `EVENTS` lists what is told apart. All
other lines OpenVPN printed are counted as ordinary. One failed handshake prints several lines and
each is a row, so failures are counted by `restart` rows, whose text ends in the reason.

Times are `2026-11-22 13:16:01` (2.5 and later) or ctime, with or without `us=`, in the host's own
zone; Unix times of --machine-readable-output; or a syslog's. A syslog stamp without a year and a
log without stamps (--suppress-timestamps) give rows without a time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from pathlib import Path
from typing import Any

import pandas as pd

from perfkit.errors import TruncatedError
from perfkit.logs.format import SAMPLES_KEPT, Format, Reading, UnparsedLines
from perfkit.logs.openvpn_fields import (
    LOCAL_TIME,
    read_moment,
    read_time_t,
    split_end_point,
    to_frame,
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
_EVENT = re.compile("|".join(f"(?P<e{n}>{words})" for n, words in enumerate(EVENTS.values())))
_NAMES = list(EVENTS)

_STAMPS = (
    re.compile(r"(?P<local>[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9:]{8}) (?:us=(?P<us>[0-9]{1,6}) )?"),
    re.compile(r"(?P<local>[A-Z][a-z]{2} [A-Z][a-z]{2} [ 0-9][0-9] [0-9:]{8} [0-9]{4}) "
               r"(?:us=(?P<us>[0-9]{1,6}) )?"),
    re.compile(r"(?P<unix>[0-9]{9,10}\.[0-9]{6}) [0-9a-f]{1,8} "),
    re.compile(r"(?P<zoned>[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}\S{0,16}) "
               r"\S{1,64} [^\s:\[]*(?:ovpn|openvpn)[^\s:]*: "),
    re.compile(r"(?P<yearless>[A-Z][a-z]{2} [ 0-9][0-9] [0-9:]{8}) "
               r"\S{1,64} [^\s:\[]*(?:ovpn|openvpn)[^\s:]*: "),
)  # fmt: skip
_ADDRESS = (
    r"(?:(?:udp|tcp)[46]?(?:-server)?:)?"
    r"(?:[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?::[0-9]{1,5})?|\[?[0-9a-fA-F:.]{2,45}\]?(?::[0-9]{1,5})?)"
)
_CLIENT = re.compile(rf"(?:(?P<name>[^\[\]]{{1,128}}?)/)?(?P<end>{_ADDRESS}) (?P<text>.*)")
_NAMED = re.compile(r"\[(?P<name>[^\]]{1,128})\] (?:Peer Connection Initiated|Inactivity timeout)")
_PEER = re.compile(r"(?:with|from|to) (?P<end>(?:\[AF_INET6?\])?[0-9a-fA-F:.\[\]]{2,60})")
_OWN_WORDS = re.compile(
    r"OpenVPN 2\.\S+ \S+ \[|library versions: |TCP/UDP: |TCP/UDPv|(?:UDP|TCP)v[46] link|MULTI: |"
    r"Initialization Sequence Completed|TLS: |TLS Error|VERIFY OK|Peer Connection Initiated with|"
    r"SIG[A-Z0-9]+\[.*\] received|DCO version|TUN/TAP device|PUSH: |Data Channel|Options error: |"
    r"OPTIONS IMPORT|Current Parameter Settings|Note: |NOTE: |WARNING: "
)
_TOLD_WITHOUT_STAMP = ("Options error", "Use --help for more information.")
_NOT_TEXT = re.compile("[\x00-\x08\x0b-\x1f\x7f\ufffd]")
_LONGEST_LINE = 10_240  # OpenVPN's own buffer for a message
_WARNING = re.compile(r"WARNING: |Options error: |ERROR: |Cannot |RESOLVE: ")


@dataclass(slots=True)
class _Found:
    """What a file holds; `zone` is of its local times, None when nobody knows it."""

    zone: tzinfo | None = None
    rows: list[dict[str, Any]] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    ordinary: int = 0
    unparsed: UnparsedLines = field(default_factory=UnparsedLines)


def sniff(head: bytes) -> bool:
    """Whether one of the first lines is stamped as OpenVPN stamps and says what only it says."""
    lines = head.decode("utf-8", "replace").split("\n")[:50]
    for line in lines:
        stamp = next(filter(None, (stamp.match(line) for stamp in _STAMPS)), None)
        text = line[stamp.end() :] if stamp else line
        client = _CLIENT.match(text[:256])
        if _OWN_WORDS.match(client["text"] if client else text):
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
    found = _Found(zone=zone)
    lines = data.decode("utf-8", "replace").split("\n")
    stamped = any(stamp.match(line) for line in lines[:50] for stamp in _STAMPS)
    if not stamped:
        found.notes.append("lines have no time: the log was written with --suppress-timestamps")
    order = list(_STAMPS)
    for line_no, line in enumerate(lines, start=1):
        if line.strip():
            _read_line(line, line_no, found, order if stamped else [])
    cut = not data.endswith(b"\n")
    if cut:
        found.notes.append("the last line may be cut")
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


FORMAT = Format(
    name="openvpn-log",
    kind="vpn-events",
    sniff=sniff,
    parse=parse,
    parse_local=lambda data, path, zone: parse(data, path, zone=zone),
)


def _read_line(line: str, line_no: int, found: _Found, stamps: list[re.Pattern[str]]) -> None:
    """One line that is not empty; the stamp that fits moves to the front of `stamps`."""
    if len(line) > _LONGEST_LINE or _NOT_TEXT.search(line):
        found.unparsed.add(line_no, line)
        return
    text, moment = line, None
    if stamps and not line.startswith(_TOLD_WITHOUT_STAMP):
        match = next(filter(None, (stamp.match(line) for stamp in stamps)), None)
        moment = _moment(match, found) if match else None
        if match is None or (moment is None and not match.groupdict().get("yearless")):
            found.unparsed.add(line_no, line)
            return
        stamps.remove(match.re)
        stamps.insert(0, match.re)
        text = line[match.end() :]
    event = _EVENT.search(text)
    if event:
        found.rows.append(
            {
                "t_utc": moment,
                "event": _NAMES[int(str(event.lastgroup)[1:])],
                "line_no": line_no,
                **_who(text),
            }
        )
    else:
        found.ordinary += 1
    if _WARNING.search(text, 0, 300):
        found.messages.append(str(_who(text)["text"])[:200])


def _moment(match: re.Match[str], found: _Found) -> pd.Timestamp | None:
    """The moment of a stamp in UTC; None when it is none, or has no year."""
    parts = match.groupdict()
    if unix := parts.get("unix"):
        return read_time_t(unix)
    if parts.get("yearless"):
        found.notes.append("syslog stamps have no year: events have no time")
        return None
    text = parts.get("local") or parts.get("zoned") or ""
    if parts.get("local") and found.zone is None:
        found.notes.append(LOCAL_TIME)
    return read_moment(text, int(parts.get("us") or "0"), zone=found.zone or UTC)


def _who(text: str) -> dict[str, Any]:
    """Whom a message is about, and the message without that."""
    name, end_point = "", None
    client = _CLIENT.match(text)
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

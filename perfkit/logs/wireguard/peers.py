"""`wg show all dump`, once or sampled over time: bytes in, `vpn-clients` out.

A dump has no times and no names. perfkit's own sampler writes them around each::

    # 1764496800.123456789 peers of process: wireguard-go 0.0.20220316
    # peer SCkLw…= client-001                        whose key is whose
    # 1764496801.123456789 dump
    wg0 (hidden) <public key> 1194 off               the interface: its private key is left out
    wg0 <public key> (hidden) 10.0.0.2:5000 10.8.0.2/32 1764496790 1234 5678 25
    # end

with tabs between the cells. A dump that a person has kept has the middle lines alone; then rows have no
time, and a client is called by its public key. It holds the interface's private key, which is never
shown: not in a note, not among the lines that were not understood.

A peer that was configured stands in every dump, whether it has ever come or not: `handshake_utc` says
when both sides last agreed on keys. WireGuard's bytes have its headers in them, but not those of UDP
and IP. They are counted from the device's making.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from perfkit.errors import ParseError, TruncatedError
from perfkit.logs.fields import read_time_t, split_end_point, to_frame
from perfkit.logs.format import Format, Reading, UnparsedLines

_KEY = r"[A-Za-z0-9+/]{43}="
_HIDDEN = r"\((?:hidden|none)\)"
_INTERFACE = re.compile(
    rf"[^\s/]{{1,15}}\t(?:{_KEY}|{_HIDDEN})\t(?:{_KEY}|\(none\))\t[0-9]{{1,5}}\t(?:off|0x[0-9a-f]{{1,8}})"
)
_PEER = re.compile(
    rf"[^\s/]{{1,15}}\t(?P<key>{_KEY})\t(?:{_KEY}|{_HIDDEN})\t(?P<end>\S{{1,80}})\t(?P<allowed>\S{{1,4096}})"
    r"\t(?P<handshake>[0-9]{1,10})\t(?P<recv>[0-9]{1,20})\t(?P<send>[0-9]{1,20})\t(?:off|[0-9]{1,5})"
)
_MARK = re.compile(
    r"# (?P<time>[0-9]{1,10}(?:\.[0-9]{1,9})?) (?P<what>peers of|dump)(?: .{0,200})?"
)
_NAME = re.compile(rf"# peer (?P<key>{_KEY}) (?P<name>\S{{1,64}})")
_LIKE_A_KEY = re.compile(r"[A-Za-z0-9+/]{12,}=*")
_LOOKED_AT = 4  # lines
CIPHER = "CHACHA20-POLY1305"  # WireGuard has no other


@dataclass(slots=True)
class _Found:
    """What a file holds.

    Attributes:
        snapshot: Number of the dump that the lines belong to; -1: none has begun.
        marked: Dumps are between marks, so one without an end was cut.
    """

    snapshot: int = -1
    moment: pd.Timestamp | None = None
    marked: bool = False
    ended: bool = True
    names: dict[str, str] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unparsed: UnparsedLines = field(default_factory=UnparsedLines)


def sniff(head: bytes) -> bool:
    """Whether one of the first lines is a mark of the sampler, or an interface or a peer of a dump."""
    lines = head.decode("utf-8", "replace").split("\n", _LOOKED_AT)[:_LOOKED_AT]
    return any(it.fullmatch(line) for line in lines for it in (_MARK, _INTERFACE, _PEER))


def parse(data: bytes, path: Path) -> Reading:
    """Read one file.

    Returns:
        A `vpn-clients` frame, one row a peer and dump; `partial` when the last dump has no end,
        because it was read while it was being written.

    Raises:
        TruncatedError: the file is empty. ParseError: no line is one of a dump.
    """
    if not data.strip():
        raise TruncatedError(path, "the file is empty: nobody has sampled it yet")
    lines = data.decode("utf-8", "replace").split("\n")
    found, is_known = _Found(), False
    for line_no, line in enumerate(lines, start=1):
        if line_no == len(lines) and line:
            found.unparsed.add(line_no, _without_keys(line))  # cut: a number may have lost its end
        elif line and not _read_line(line, line_no, found):
            found.unparsed.add(line_no, _without_keys(line))
        elif line:
            is_known = True
    if not is_known:
        raise ParseError(
            path, 1, _without_keys(lines[0])[:200], "a line of `wg show all dump` expected"
        )
    if not found.ended:
        found.notes.insert(0, "the last dump has no end: it was read while it was being written")
    if any(row["t_utc"] is None for row in found.rows):
        found.notes.append("dumps have no times of their own: their rows have no time")
    for row in found.rows:
        row["common_name"] = found.names.get(row["common_name"], row["common_name"])
    return Reading(
        path=path,
        format="wireguard-peers",
        kind="vpn-clients",
        frame=to_frame(found.rows, "vpn-clients"),
        unparsed=found.unparsed.result(),
        notes=tuple(found.notes),
        partial=not found.ended,
    )


FORMAT = Format(name="wireguard-peers", kind="vpn-clients", sniff=sniff, parse=parse)


def _read_line(line: str, line_no: int, found: _Found) -> bool:
    """One line; False when it is not understood."""
    if line == "# end":
        known, found.ended = found.marked and not found.ended, True
        return known
    if mark := _MARK.fullmatch(line):
        moment = read_time_t(mark["time"])
        if moment is not None and mark["what"] == "dump":
            if not found.ended:
                found.notes.append(f"line {line_no}: the dump before it has no end")
            found.snapshot, found.moment = found.snapshot + 1, moment
            found.marked, found.ended = True, False
        return moment is not None
    if name := _NAME.fullmatch(line):
        found.names[name["key"]] = name["name"]
        return True
    if found.marked and found.ended:
        return False
    if _INTERFACE.fullmatch(line):
        found.snapshot = max(found.snapshot, 0)
        return True
    row = _row(line)
    if row is not None:
        found.snapshot = max(found.snapshot, 0)
        place = {"snapshot": found.snapshot, "t_utc": found.moment, "line_no": line_no}
        found.rows.append({**row, **place})
    return row is not None


def _row(line: str) -> dict[str, Any] | None:
    """The cells of a peer; None when they are not what they must be."""
    peer = _PEER.fullmatch(line)
    end = split_end_point(peer["end"]) if peer and peer["end"] != "(none)" else ("", 0)
    seen = read_time_t(peer["handshake"]) if peer else None
    if peer is None or end is None or seen is None:
        return None
    inside = [it.partition("/")[0] for it in peer["allowed"].split(",") if it != "(none)"]
    return {
        "common_name": peer["key"],
        "peer_address": end[0],
        "peer_port": end[1],
        "tunnel_address": next((it for it in inside if ":" not in it), ""),
        "tunnel_ipv6_address": next((it for it in inside if ":" in it), ""),
        "recv_bytes": float(peer["recv"]),
        "send_bytes": float(peer["send"]),
        "client_id": -1,
        "peer_id": -1,
        "cipher": CIPHER,
        "handshake_utc": seen if seen.value else None,
    }


def _without_keys(line: str) -> str:
    return _LIKE_A_KEY.sub("(key)", line)

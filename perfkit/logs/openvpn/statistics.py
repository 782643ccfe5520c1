"""OpenVPN's client statistics (`status` on a client): bytes in, `vpn-counters` frame out.

The process's counters since its start, not since its tunnel's; the file is rewritten every few
seconds, and one that snapshots were appended to has several.
"""

from __future__ import annotations

import re
from datetime import UTC, tzinfo
from pathlib import Path
from typing import Any

from perfkit.errors import ParseError, TruncatedError
from perfkit.logs.fields import to_frame
from perfkit.logs.format import Format, Reading, UnparsedLines
from perfkit.logs.local_times import LOCAL_TIME, read_moment
from perfkit.logs.openvpn.paste import begins_with, is_end, is_pasted, without_indent

_TITLE = "OpenVPN STATISTICS"
_FIRST = re.compile(rf"{_TITLE}\s*$")
_COUNTERS = {
    "TUN/TAP read bytes": "tun_read_bytes",
    "TUN/TAP write bytes": "tun_write_bytes",
    "TCP/UDP read bytes": "link_read_bytes",
    "TCP/UDP write bytes": "link_write_bytes",
    "Auth read bytes": "auth_read_bytes",
    "pre-compress bytes": "pre_compress_bytes",
    "post-compress bytes": "post_compress_bytes",
    "pre-decompress bytes": "pre_decompress_bytes",
    "post-decompress bytes": "post_decompress_bytes",
}
_COUNTER = re.compile(r"([^,]+),([0-9]{1,20})\s*")


def sniff(head: bytes) -> bool:
    """Whether a client's statistics begin; what a terminal shows around them may precede."""
    return begins_with(head, _FIRST)


def parse(data: bytes, path: Path, *, zone: tzinfo | None = None) -> Reading:
    """Read one file.

    Args:
        zone: Of the host's local times, if the caller knows it; None = they are taken as UTC.

    Returns:
        A `vpn-counters` frame, one row a snapshot; a counter that was not printed is NaN.

    Raises:
        TruncatedError: the file is empty. ParseError: no line begins the statistics.
    """
    if not data.strip():
        raise TruncatedError(path, "the statistics are empty: OpenVPN had not written them yet")
    unparsed, rows = UnparsedLines(), list[dict[str, Any]]()
    ended = False
    lines = without_indent(data.decode("utf-8", "replace"), _FIRST).split("\n")
    for line_no, line in enumerate(lines, start=1):
        if line.strip() == _TITLE:
            rows.append({"snapshot": len(rows), "line_no": line_no})
            ended = False
        elif is_end(line) and rows:
            ended = True
        elif is_pasted(line):
            continue
        elif (
            line_no == len(lines)
            or ended
            or not rows
            or not _read_part(line, rows[-1], zone or UTC)
        ):
            unparsed.add(line_no, line)  # the last line, without its end, may have lost digits
    if not rows:
        raise ParseError(path, 1, lines[0], f"{_TITLE!r} expected")
    notes = () if ended else ("the statistics have no END: read while they were being written",)
    return Reading(
        path=path,
        format="openvpn-statistics",
        kind="vpn-counters",
        frame=to_frame(rows, "vpn-counters"),
        unparsed=unparsed.result(),
        notes=notes if zone else (*notes, LOCAL_TIME),
        partial=not ended,
    )


FORMAT = Format(
    name="openvpn-statistics", kind="vpn-counters", sniff=sniff, parse=parse, takes_zone=True
)


def _read_part(line: str, row: dict[str, Any], zone: tzinfo) -> bool:
    """`Updated,<time>` or `<counter>,<bytes>` into the row; False when it is neither."""
    if line.startswith("Updated,"):
        row["t_utc"] = read_moment(line.partition(",")[2], zone=zone)
        return row["t_utc"] is not None
    counter = _COUNTER.fullmatch(line)
    name = _COUNTERS.get(counter[1]) if counter else None
    if counter is None or name is None or name in row:
        return False
    row[name] = float(counter[2])
    return True

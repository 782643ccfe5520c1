"""OpenVPN's status file, versions 1, 2 and 3, as its server writes it: bytes in, `vpn-clients` out.

The file is a snapshot, rewritten every few seconds; a file that snapshots were appended to has
several. Counters count from the client's connection and start again when it reconnects.

- Version 1 is comma separated and ends its tables with titles; 2 tags every line and separates
  with commas; 3 is 2 with tabs. Columns are known by their header: releases added some.
- A name may hold commas. In versions 1 and 2 such a row has cells too many, and is read when only
  one column can have taken them and all other cells are what they must be.
- A client that has not said its name yet is `UNDEF`; two clients may have one name (duplicate-cn).
- Version 1 has the tunnel addresses in its routing table only; they are taken from there.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from pathlib import Path
from typing import Any

import pandas as pd

from perfkit.errors import ParseError, TruncatedError
from perfkit.logs.format import Format, Reading, UnparsedLines
from perfkit.logs.openvpn.fields import (
    LOCAL_TIME,
    read_moment,
    read_time_t,
    split_end_point,
    to_frame,
)

NOT_NAMED = "UNDEF"
_HEAD_V1 = "OpenVPN CLIENT LIST"
_SNIFF = re.compile(rb"(?:>[^\n]*\n|\s)*(?:OpenVPN CLIENT LIST[ \t]*(?:\n|$)|TITLE[,\t]OpenVPN )")
_CLIENTS, _ROUTES = "Common Name", "Virtual Address"  # the first columns of the two tables
_FREE_TEXT = ("Common Name", "Username")  # columns that may hold a comma
_FARTHEST_ZONE_S = 15 * 3600
_TEXTS = {
    "common_name": "Common Name",
    "username": "Username",
    "tunnel_address": "Virtual Address",
    "tunnel_ipv6_address": "Virtual IPv6 Address",
    "cipher": "Data Channel Cipher",
}
_COUNTS = {"recv_bytes": "Bytes Received", "send_bytes": "Bytes Sent"}
_IDS = {"client_id": "Client ID", "peer_id": "Peer ID"}


@dataclass(slots=True)
class _Snapshot:
    """One status: its moment, the columns of its tables, and its rows."""

    number: int
    separator: str = ","
    moment: pd.Timestamp | None = None
    headers: dict[str, list[str]] = field(default_factory=dict)
    table: str = ""  # version 1: the table that the lines belong to
    clients: list[dict[str, Any]] = field(default_factory=list)
    routes: list[tuple[str, str, str]] = field(default_factory=list)  # network, name, end point
    ended: bool = False


@dataclass(slots=True)
class _Found:
    """What a file holds besides the rows; `zone` is of its local times, None when not known."""

    zone: tzinfo | None = None
    snapshots: list[_Snapshot] = field(default_factory=list)
    unparsed: UnparsedLines = field(default_factory=UnparsedLines)
    notes: list[str] = field(default_factory=list)


def sniff(head: bytes) -> bool:
    """Whether the first line is a server status's; lines of the management interface may precede."""
    return bool(_SNIFF.match(head))


def parse(data: bytes, path: Path, *, zone: tzinfo | None = None) -> Reading:
    """Read one file.

    Args:
        zone: Of the host's local times, if the caller knows it; None = they are taken as UTC.

    Returns:
        A `vpn-clients` frame, one row a client and snapshot, in the order of the lines; `partial`
        when the last snapshot has no END, because it was read while it was being written.

    Raises:
        TruncatedError: the file is empty. ParseError: no line begins a status.
    """
    if not data.strip():
        raise TruncatedError(path, "the status is empty: OpenVPN had not written it yet")
    found = _Found(zone=zone)
    text = data.decode("utf-8", "replace")
    lines = text.split("\n")
    for line_no, line in enumerate(lines, start=1):
        if line_no == len(lines) and line and line != "END":
            found.unparsed.add(line_no, line)  # cut: a number may have lost its end
        elif line.strip():
            _read_line(line, line_no, found)
    if not found.snapshots:
        raise ParseError(path, 1, lines[0], "the title of an OpenVPN status expected")
    for snapshot in found.snapshots:
        _complete(snapshot, found)
    partial = not found.snapshots[-1].ended
    if partial:
        found.notes.insert(0, "the status has no END: it was read while it was being written")
    return Reading(
        path=path,
        format="openvpn-status",
        kind="vpn-clients",
        frame=to_frame(
            [row for snapshot in found.snapshots for row in snapshot.clients], "vpn-clients"
        ),
        unparsed=found.unparsed.result(),
        notes=tuple(dict.fromkeys(found.notes)),
        partial=partial,
    )


FORMAT = Format(
    name="openvpn-status",
    kind="vpn-clients",
    sniff=sniff,
    parse=parse,
    parse_local=lambda data, path, zone: parse(data, path, zone=zone),
)


def _read_line(line: str, line_no: int, found: _Found) -> None:
    """One line that is not empty: a tagged one, or one of version 1."""
    now = found.snapshots[-1] if found.snapshots else None
    if line.startswith(("TITLE,", "TITLE\t")):
        found.snapshots.append(_Snapshot(len(found.snapshots), separator=line[5]))
    elif line.strip() == _HEAD_V1:
        found.snapshots.append(_Snapshot(len(found.snapshots)))
    elif line.startswith(">") and (now is None or now.ended):
        return  # the management interface greets, or reports something between two snapshots
    elif now is None or now.ended or not _read_part(line, line_no, now, found):
        found.unparsed.add(line_no, line)


def _read_part(line: str, line_no: int, now: _Snapshot, found: _Found) -> bool:
    """One line inside a status; False when it is not understood."""
    cells = line.split(now.separator)
    match cells[0].strip():
        case "END" if len(cells) == 1:
            now.ended = True
        case "TIME" | "Updated" if now.moment is None:
            now.moment = _time(cells[1:], found)
            return now.moment is not None
        case "HEADER" if len(cells) > 2:
            now.headers[cells[1]] = [cell.strip() for cell in cells[2:]]
        case "CLIENT_LIST" | "ROUTING_TABLE" as table:
            return _read_row(cells[1:], table, line_no, now, found)
        case "GLOBAL_STATS" if len(cells) == 3:
            found.notes.append(f"{cells[1]}: {cells[2]}")
        case "ROUTING TABLE" | "GLOBAL STATS" as title if len(cells) == 1:
            now.table = title.replace(" ", "_")
        case "Common Name" | "Virtual Address" as first if first not in now.headers:
            now.table = "CLIENT_LIST" if first == _CLIENTS else "ROUTING_TABLE"
            now.headers[now.table] = [cell.strip() for cell in cells]
        case name if now.table == "GLOBAL_STATS" and len(cells) == 2:
            found.notes.append(f"{name}: {cells[1]}")
        case _:
            return bool(now.table) and _read_row(cells, now.table, line_no, now, found)
    return True


def _read_row(cells: list[str], table: str, line_no: int, now: _Snapshot, found: _Found) -> bool:
    """A row of one of the two tables; False when its cells are not what the header says."""
    header = now.headers.get(table)
    if not header:
        return False
    fits = [row for row in _assignments(header, cells) if _is_row(row, table)]
    if len(fits) != 1:
        return False
    row = fits[0]
    if table == "ROUTING_TABLE":
        now.routes.append((row[_ROUTES], row["Common Name"], row["Real Address"]))
        return True
    client = _client(row, found)
    if client is None:
        return False
    now.clients.append({**client, "snapshot": now.number, "line_no": line_no})
    return True


def _assignments(header: list[str], cells: list[str]) -> list[dict[str, str]]:
    """The ways to give the cells to the columns: one, or one for each that may hold commas."""
    extra = len(cells) - len(header)
    if extra == 0:
        return [dict(zip(header, cells, strict=True))]
    ways = []
    for place in (header.index(name) for name in _FREE_TEXT if name in header):
        if extra > 0:
            joined = ",".join(cells[place : place + extra + 1])
            filled = [*cells[:place], joined, *cells[place + extra + 1 :]]
            ways.append(dict(zip(header, filled, strict=True)))
    return ways


def _is_row(row: dict[str, str], table: str) -> bool:
    """Whether address, counters and times are what they must be."""
    if split_end_point(row.get("Real Address", "")) is None:
        return False
    if table == "ROUTING_TABLE":
        return {"Common Name", _ROUTES} <= row.keys()
    counts = [row.get(name, "") for name in _COUNTS.values()]
    ids = [row.get(name, "0") for name in _IDS.values()]
    return (
        all(re.fullmatch("[0-9]{1,20}", count) for count in counts)
        and all(re.fullmatch("[0-9]{1,18}", number) for number in ids)
        and "Common Name" in row
    )


def _client(row: dict[str, str], found: _Found) -> dict[str, Any] | None:
    """A checked row of the client list as a row of the frame; None when it has no moment."""
    connected = _time(
        [row.get("Connected Since", ""), row.get("Connected Since (time_t)", "")], found
    )
    end_point = split_end_point(row["Real Address"])
    if connected is None or end_point is None:
        return None
    return {
        **{ours: row.get(name, "").strip() for ours, name in _TEXTS.items()},
        **{ours: float(row[name]) for ours, name in _COUNTS.items()},
        **{ours: int(row.get(name, "-1")) for ours, name in _IDS.items()},
        "peer_address": end_point[0],
        "peer_port": end_point[1],
        "end_point": row["Real Address"],
        "connected_utc": connected,
    }


def _time(cells: list[str], found: _Found) -> pd.Timestamp | None:
    """The moment of `printed local time[, time_t]`; the Unix time is preferred."""
    printed = read_moment(cells[0], zone=found.zone or UTC) if cells else None
    if len(cells) > 1 and cells[1].strip():
        unix = read_time_t(cells[1])
        if unix is not None and printed is not None:
            apart_s = abs((unix - printed).total_seconds())
            if apart_s > _FARTHEST_ZONE_S:
                found.notes.append(
                    f"printed time and time_t are {apart_s / 3600:.0f} h apart, more than a zone "
                    "can make; time_t is taken"
                )
        return unix
    if printed is not None and found.zone is None:
        found.notes.append(LOCAL_TIME)
    return printed


def _complete(snapshot: _Snapshot, found: _Found) -> None:
    """Tunnel addresses from the routing table where the client list has none; what stands out."""
    by_client: dict[tuple[str, str], list[str]] = {}
    for network, name, end_point in snapshot.routes:
        if "/" not in network and not network.endswith("C"):  # no subnet, no cached route
            by_client.setdefault((name, end_point), []).append(network)
    for client in snapshot.clients:
        routes = by_client.get((client["common_name"], client.pop("end_point")), [])
        if "Virtual Address" not in snapshot.headers.get("CLIENT_LIST", []):
            client["tunnel_address"] = next((r for r in routes if ":" not in r), "")
            client["tunnel_ipv6_address"] = next((r for r in routes if ":" in r), "")
        client["t_utc"] = snapshot.moment
    names = Counter(client["common_name"] for client in snapshot.clients)
    unnamed = names.pop(NOT_NAMED, 0)
    if unnamed:
        found.notes.append(f"{unnamed} without a name: the handshake was not over ({NOT_NAMED})")
    shared = sum(count > 1 for count in names.values())
    if shared:
        found.notes.append(f"names used by more than one client: {shared}")

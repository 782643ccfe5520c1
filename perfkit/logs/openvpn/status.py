"""OpenVPN's status file, versions 1, 2 and 3, as its server writes it: bytes in, `vpn-clients` out.

The file is a snapshot, rewritten every few seconds; a file that snapshots were appended to has
several. Counters count from the client's connection and start again when it reconnects.

- Version 1 is comma separated and ends its tables with titles; 2 tags every line and separates
  with commas; 3 is 2 with tabs. Columns are known by their header: releases added some.
- A name may hold commas. In versions 1 and 2 such a row has cells too many, and is read when only
  one column can have taken them and all other cells are what they must be.
- A client that has not said its name yet is `UNDEF`; two clients may have one name (duplicate-cn).
- Version 1 has the tunnel addresses in its routing table only; they are taken from there.
- A list whose header is lost is read by the columns that releases gave it, if one fits, and noted.

How many clients there were is never 0 because they could not be read: such a file is refused.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import tzinfo
from pathlib import Path
from typing import Any

import pandas as pd

from perfkit.errors import ParseError, TruncatedError
from perfkit.logs.fields import split_end_point, to_frame
from perfkit.logs.format import Format, Reading, UnparsedLines
from perfkit.logs.openvpn.paste import begins_with, is_end, is_pasted, without_indent
from perfkit.logs.openvpn.times import PrintedTimes

NOT_NAMED = "UNDEF"
_HEAD_V1 = "OpenVPN CLIENT LIST"
_TITLE = re.compile(r"OpenVPN CLIENT LIST\s*$|TITLE[,\t]OpenVPN ")
_CLIENTS, _ROUTES = "Common Name", "Virtual Address"  # the first columns of the two tables
_FEWEST_CELLS = 4  # of a row
_FREE_TEXT = ("Common Name", "Username")  # columns that may hold a comma
# What releases had: 2.0 to 2.2, 2.3, 2.4, 2.5 and later; then version 1, and the routing tables.
_OLDEST = (
    "Common Name,Real Address,Virtual Address,Bytes Received,Bytes Sent,Connected Since,"
    "Connected Since (time_t)"
)
_NEWER = _OLDEST.replace("Virtual Address,", "Virtual Address,Virtual IPv6 Address,")
_NEWER += ",Username,Client ID,Peer ID"
_STANDARD = {
    ("CLIENT_LIST", True): (
        _OLDEST,
        f"{_OLDEST},Username",
        _NEWER,
        f"{_NEWER},Data Channel Cipher",
    ),
    ("CLIENT_LIST", False): ("Common Name,Real Address,Bytes Received,Bytes Sent,Connected Since",),
    ("ROUTING_TABLE", True): (
        "Virtual Address,Common Name,Real Address,Last Ref,Last Ref (time_t)",
    ),
    ("ROUTING_TABLE", False): ("Virtual Address,Common Name,Real Address,Last Ref",),
}
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
    """One status: its moment, the columns of its tables, and its rows.

    Attributes:
        is_tagged: Version 2 or 3.
        table: Version 1: the table that the lines belong to.
        routes: Network, name and end point.
        headless: Rows that stand in no table with a header yet: cells, table, line number, line.
        unread: Rows of clients that were not understood.
    """

    number: int
    separator: str = ","
    is_tagged: bool = False
    moment: pd.Timestamp | None = None
    headers: dict[str, list[str]] = field(default_factory=dict)
    table: str = ""
    clients: list[dict[str, Any]] = field(default_factory=list)
    routes: list[tuple[str, str, str]] = field(default_factory=list)
    headless: list[tuple[list[str], str, int, str]] = field(default_factory=list)
    unread: list[tuple[int, str]] = field(default_factory=list)
    ended: bool = False


@dataclass(slots=True)
class _Found:
    """What a file holds besides the rows.

    Attributes:
        times: What was learnt of its times.
    """

    times: PrintedTimes
    snapshots: list[_Snapshot] = field(default_factory=list)
    unparsed: UnparsedLines = field(default_factory=UnparsedLines)
    notes: list[str] = field(default_factory=list)


def sniff(head: bytes) -> bool:
    """Whether a server status begins; what a terminal shows around it may precede."""
    return begins_with(head, _TITLE)


def parse(data: bytes, path: Path, *, zone: tzinfo | None = None) -> Reading:
    """Read one file.

    Args:
        zone: Of the host's local times, if the caller knows it; None = they are taken as UTC.

    Returns:
        A `vpn-clients` frame, one row a client and snapshot, in the order of the lines; `partial`
        when the last snapshot has no END, because it was read while it was being written.

    Raises:
        TruncatedError: the file is empty, or cut before its client list.
        ParseError: no line begins a status; or there were clients, or may have been, and none can
            be read.
    """
    if not data.strip():
        raise TruncatedError(path, "the status is empty: OpenVPN had not written it yet")
    found = _Found(PrintedTimes(zone))
    lines = without_indent(data.decode("utf-8", "replace"), _TITLE).split("\n")
    for line_no, line in enumerate(lines, start=1):
        if line_no == len(lines) and not (is_end(line) or is_pasted(line)):
            found.unparsed.add(line_no, line)  # cut: a number may have lost its end
        elif line.strip():
            _read_line(line, line_no, found)
    if not found.snapshots:
        raise ParseError(path, 1, lines[0], "the title of an OpenVPN status expected")
    for snapshot in found.snapshots:
        _read_headless(snapshot, found)
        _complete(snapshot, found)
    _refuse_unread(found, path)
    found.notes += found.times.notes()
    if any(snapshot.moment is None for snapshot in found.snapshots):
        found.notes.append("the time of the status cannot be read: its rows have no time")
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
    name="openvpn-status", kind="vpn-clients", sniff=sniff, parse=parse, takes_zone=True
)


def _read_line(line: str, line_no: int, found: _Found) -> None:
    """One line that is not empty: a tagged one, or one of version 1."""
    now = found.snapshots[-1] if found.snapshots else None
    if line.startswith(("TITLE,", "TITLE\t")):
        number = len(found.snapshots)
        found.snapshots.append(_Snapshot(number, separator=line[5], is_tagged=True))
    elif line.strip() == _HEAD_V1:
        found.snapshots.append(_Snapshot(len(found.snapshots)))
    elif (now is None or now.ended) and is_pasted(line):
        return  # or the management interface reports something between two snapshots
    elif now and not now.ended and is_end(line):
        now.ended = True
    elif now is None or now.ended or not (_read_part(line, line_no, now, found) or is_pasted(line)):
        found.unparsed.add(line_no, line)


def _read_part(line: str, line_no: int, now: _Snapshot, found: _Found) -> bool:
    """One line inside a status; False when it is not understood."""
    cells = line.split(now.separator)
    match cells[0].strip():
        case "TIME" | "Updated" if now.moment is None:
            now.moment = found.times.read(cells[1:])
            return now.moment is not None
        case "HEADER" if len(cells) > 2:
            now.headers[cells[1]] = [cell.strip() for cell in cells[2:]]
        case "CLIENT_LIST" | "ROUTING_TABLE" as table:
            return _take_row(cells[1:], table, line_no, line, now, found)
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
            is_row = not now.is_tagged and now.table != "GLOBAL_STATS"
            return is_row and _read_untagged(cells, line_no, line, now, found)
    return True


def _read_untagged(
    cells: list[str], line_no: int, line: str, now: _Snapshot, found: _Found
) -> bool:
    """A row of version 1; False when it is not understood."""
    few = len(cells) < _FEWEST_CELLS
    if len(cells) == 1 or (few and (not now.headers or is_pasted(line))):
        return False
    return _take_row(cells, now.table or "CLIENT_LIST", line_no, line, now, found)


def _take_row(
    cells: list[str], table: str, line_no: int, line: str, now: _Snapshot, found: _Found
) -> bool:
    """A row of one of the two tables, now or, where its header has not come, in the end."""
    header = now.headers.get(table)
    if not header:
        now.headless.append((cells, table, line_no, line))
        return True
    is_read = _read_row([header], cells, table, line_no, now, found)
    if not is_read and table == "CLIENT_LIST":
        now.unread.append((line_no, line))
    return is_read


def _read_headless(now: _Snapshot, found: _Found) -> None:
    """Rows whose header came after them or never: then by the columns that releases had."""
    for cells, table, line_no, line in now.headless:
        own = now.headers.get(table)
        standard = [layout.split(",") for layout in _STANDARD[table, now.is_tagged]]
        if not _read_row([own] if own else standard, cells, table, line_no, now, found):
            found.unparsed.add(line_no, line)
            if table == "CLIENT_LIST":
                now.unread.append((line_no, line))
        elif not own:
            found.notes.append(
                f"the header of the {table.replace('_', ' ').lower()} is missing: its columns are "
                "taken from the OpenVPN release that has as many"
            )
    now.clients.sort(key=lambda client: int(client["line_no"]))


def _read_row(
    headers: list[list[str]],
    cells: list[str],
    table: str,
    line_no: int,
    now: _Snapshot,
    found: _Found,
) -> bool:
    """A row of one of the two tables; False when its cells are not what one header says."""
    ways = [row for header in headers for row in _assignments(header, cells)]
    fits = [row for row in ways if _is_row(row, table)]
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
    connected = found.times.read(
        [row.get("Connected Since", ""), row.get("Connected Since (time_t)", "")]
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


def _refuse_unread(found: _Found, path: Path) -> None:
    """Name what is not known of the clients; refuse a file of whose clients nothing is.

    Raises:
        ParseError: see `parse`.
    """
    unread = [row for snapshot in found.snapshots for row in snapshot.unread]
    if any(snapshot.clients for snapshot in found.snapshots):
        if unread:
            found.notes.append(f"{len(unread)} clients are missing: their rows cannot be read")
    elif unread:
        raise ParseError(path, *unread[0], "a client whose row does not fit the header")
    listless = [s for s in found.snapshots if not (s.clients or s.unread or _has_list(s))]
    if len(listless) == len(found.snapshots):
        reason = "the number of clients is not known: the client list is missing"
        if not listless[-1].ended:
            raise TruncatedError(path, f"{reason}, the status was cut before it")
        raise ParseError(path, 1, "", reason)
    if listless:
        found.notes.append("a client list is missing: the number of clients is not known")


def _has_list(snapshot: _Snapshot) -> bool:
    return "CLIENT_LIST" in snapshot.headers


def _complete(snapshot: _Snapshot, found: _Found) -> None:
    """Tunnel addresses from the routing table where the client list has none; what stands out."""
    by_client: dict[tuple[str, str], list[str]] = {}
    for network, name, end_point in snapshot.routes:
        if "/" not in network and not network.endswith("C"):  # no subnet, no cached route
            by_client.setdefault((name, end_point), []).append(network)
    ends = [client.pop("end_point") for client in snapshot.clients]
    for client, end in zip(snapshot.clients, ends, strict=True):
        routes = by_client.get((client["common_name"], end), [])
        if not client["tunnel_address"]:
            client["tunnel_address"] = next((r for r in routes if ":" not in r), "")
            client["tunnel_ipv6_address"] = next((r for r in routes if ":" in r), "")
        client["t_utc"] = snapshot.moment
    known = {
        (client["common_name"], end) for client, end in zip(snapshot.clients, ends, strict=True)
    }
    strangers = {(name, end) for _, name, end in snapshot.routes} - known
    if strangers:
        found.notes.append(f"{len(strangers)} clients have routes and are not in the client list")
    names = Counter(client["common_name"] for client in snapshot.clients)
    unnamed = names.pop(NOT_NAMED, 0)
    if unnamed:
        found.notes.append(f"{unnamed} without a name: the handshake was not over ({NOT_NAMED})")
    shared = sum(count > 1 for count in names.values())
    if shared:
        found.notes.append(f"names used by more than one client: {shared}")

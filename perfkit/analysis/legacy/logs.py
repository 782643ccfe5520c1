"""The logs of the 2011 layout, read right, and what the old scripts made of each of their lines."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfkit.errors import LogError, UnknownFormatError
from perfkit.logs import reader
from perfkit.logs.dstat import csv
from perfkit.logs.dstat.heads import find_blocks
from perfkit.logs.dstat.resaved import restore
from perfkit.logs.format import SNIFF_BYTES, Reading
from perfkit.logs.registry import load
from perfkit.logs.timestamps import from_printed
from perfkit.units import BINARY_PREFIXES, NS_PER_S, bps_to_mbps, bytes_to_bits

# dstat -t -n -N eth0 -c -m -s, as the 2011 tool ran it: time, recv, send, and then these.
_PLACES = ["usr", "sys", "idl", "wai"]
_COLUMNS = {"usr": "user", "sys": "system", "idl": "idle", "wai": "wait"}
_SOME_LEAP_YEAR = 2012  # stamps have no year, and only their distances are used
_DATA = re.compile(
    r"\[ *(?P<id>[*FD]{0,2}[0-9]{1,9}|SUM)\] *[0-9.]+ *- *[0-9.]+ +sec +"
    r"(?P<amount>[0-9.]+) +(?P<size>[KMGT]?Bytes) +(?P<rate>[0-9.]+) +(?P<unit>[KMGT]?(?:bits|Bytes)/sec)"
)


@dataclass(slots=True)
class Clients:
    """What the clients of a subtest moved, and why the old scripts said something else."""

    count: int = 0
    transfer_mib: float = 0.0
    bandwidth_mbps: float = 0.0
    reasons: list[str] = field(default_factory=list)


@dataclass(slots=True)
class ServerCpu:
    """What the server's processors did in a subtest; NaN where there is nothing to go by."""

    length_s: float = 0.0
    usr_pct: float = np.nan
    sys_pct: float = np.nan
    total_pct: float = np.nan
    wait_pct: float = np.nan
    reasons: list[str] = field(default_factory=list)


def read_clients(paths: Sequence[Path]) -> Clients:
    """The logs of one subtest, one a client; a log that cannot be read is a reason, not an error."""
    clients, seen = Clients(), Counter[str]()
    for path in paths:
        try:
            data = load(path)
            reading = _read_traffic(path)
        except LogError as exc:
            clients.reasons.append(f"not counted: {exc}")
            continue
        streams = _streams(reading.frame)
        if streams.empty:
            said = f" ({reading.messages[0]})" if reading.messages else ""
            clients.reasons.append(f"{path.name}: no data flowed{said}")
            continue
        has_sums = bool((reading.frame["kind"] == "group-summary").any())
        clients.count += _clients_in(streams, has_sums=has_sums)
        clients.transfer_mib += float(streams["size_bytes"].sum()) / BINARY_PREFIXES["M"]
        clients.bandwidth_mbps += bps_to_mbps(float(streams["throughput_bps"].sum()))
        cut = int(streams["is_cut"].sum())
        if cut:
            clients.reasons.append(
                f"{path.name}: streams without a last line, made from intervals: {cut}"
            )
        if reading.unparsed.count:
            clients.reasons.append(f"{path.name}: {reading.unparsed}")
        seen.update(_old_defects(data.decode("utf-8", "replace"), streams))
    clients.reasons += [f"{defect}: {count}" for defect, count in seen.items()]
    return clients


def _read_traffic(path: Path) -> Reading:
    """Any format of a traffic generator; logs cut down to their lines of figures are iperf's."""
    try:
        reading = reader.read(path)
    except UnknownFormatError:
        reading = reader.read(path, "iperf2")
    if reading.kind != "traffic":
        raise LogError(path, f"it is {reading.format}, not the log of a traffic generator")
    if reading.frame.empty and reading.unparsed.count and not reading.messages:
        raise LogError(path, f"no line with figures in it; {reading.unparsed}")
    return reading


def _streams(frame: pd.DataFrame) -> pd.DataFrame:
    """One row a stream: its last line and what it moved; `is_cut` = made from its intervals."""
    own = frame[frame["kind"].isin(["interval", "summary"])]
    columns = ["line_no", "peer_address", "size_bytes", "throughput_bps", "is_receiver", "is_cut"]
    found: list[dict[str, object]] = []
    for _, lines in own.groupby(["stream", "stream_id"], observed=True, sort=False):
        received = lines[lines["side"] == "receiver"]
        ends = received if len(received) else lines
        found += _unnamed(ends) if (lines["peer_port"] == 0).all() else [_stream(ends)]
    return pd.DataFrame(found, columns=columns).astype({"is_cut": bool, "is_receiver": bool})


def _unnamed(lines: pd.DataFrame) -> list[dict[str, object]]:
    """Lines of one id without a connection line: if all begin at 0, each is a client's own."""
    if (lines["start_s"] == 0).all():
        return [_stream(lines.iloc[[row]], whole=True) for row in range(len(lines))]
    return [_stream(lines)]


def _stream(lines: pd.DataFrame, *, whole: bool = False) -> dict[str, object]:
    """A stream's summary, or its intervals together when it never printed one."""
    summaries = lines if whole else lines[lines["kind"] == "summary"]
    last = (summaries if len(summaries) else lines).iloc[-1]
    size, throughput = float(last["size_bytes"]), float(last["throughput_bps"])
    if summaries.empty:
        size = float(lines["size_bytes"].sum())
        length_s = float(lines["end_s"].max() - lines["start_s"].min())
        throughput = bytes_to_bits(size) / length_s if length_s > 0 else 0.0
    return {
        "line_no": int(last["line_no"]),
        "peer_address": str(last["peer_address"]),
        "size_bytes": np.nan_to_num(size),
        "throughput_bps": np.nan_to_num(throughput),
        "is_receiver": last["side"] == "receiver",
        "is_cut": summaries.empty and len(lines) > 0,
    }


def _clients_in(streams: pd.DataFrame, *, has_sums: bool) -> int:
    """One log is one client, unless it is a server's, or lines of several put together.

    Args:
        has_sums: There are [SUM] lines, so streams without a peer are one client's all the same.
    """
    peers = streams["peer_address"].astype(str)
    if (peers == "").all():
        return 1 if has_sums else len(streams)
    return int(peers.nunique()) if streams["is_receiver"].all() else 1


def _old_defects(text: str, streams: pd.DataFrame) -> Counter[str]:
    """What the old script did wrong with a log's lines, by kind.

    It looked at lines with `MBytes` only and took fields 5 and 7, parted at blanks.
    """
    seen: Counter[str] = Counter()
    summaries = set(streams["line_no"])
    for line_no, line in enumerate(text.split("\n"), start=1):
        data = _DATA.search(line)
        if data is None:
            seen["other lines with MBytes in them, counted as clients"] += "MBytes" in line
        elif data["size"] != "MBytes":
            seen[f"summaries in {data['size']}, not seen"] += line_no in summaries
        else:
            if line_no not in summaries:
                what = "[SUM]" if data["id"] == "SUM" else "interval and second-report"
                seen[f"{what} lines, counted as clients"] += 1
            fields = line.split()
            if fields[4:5] != [data["amount"]]:
                seen[
                    "lines of shifted fields ([128], [SUM], 0.0- 2.8), counted as clients that moved 0"
                ] += 1
            elif data["unit"] != "Mbits/sec":
                seen[f"bandwidths in {data['unit']}, added as if Mbits/sec"] += 1
    return +seen


def read_load(path: Path) -> ServerCpu:
    """One subtest's monitor; a file that cannot be read gives NaN and a reason, not an error."""
    found = ServerCpu()
    try:
        data = load(path)
        if csv.sniff(data[:SNIFF_BYTES]):
            _read_whole(data, path, found)
        else:
            _read_cut(data, found)
    except LogError as exc:
        found.reasons.append(f"not counted: {exc}")
    return found


def _read_whole(data: bytes, path: Path, found: ServerCpu) -> None:
    """A file as the monitor wrote it, with its heads."""
    reading = csv.parse(data, path)
    frame = reading.frame
    length_s = np.where(frame["dt_s"].isna(), 1.0, frame["dt_s"])
    shares = {name: frame.get(f"cpu_{column}_pct") for name, column in _COLUMNS.items()}
    _average({name: np.asarray(s) for name, s in shares.items() if s is not None}, length_s, found)
    blocks = list(find_blocks(data))
    heads = data.count(b"\n") - sum(data.count(b"\n", b.start, b.end) for b in blocks)
    found.reasons.append(f"lines of heads, counted as samples of 100 % CPU: {heads}")
    found.reasons.append(f"rows since boot, counted as samples: {len(blocks)}")
    taken = [name for block in blocks for name in block.names[3:7] if block.names[3:7] != _PLACES]
    if taken:
        found.reasons.append(f"usr, sys, idl and wai were taken from {', '.join(taken)}")
    if reading.unparsed.count:
        found.reasons.append(str(reading.unparsed))


def _read_cut(data: bytes, found: ServerCpu) -> None:
    """Rows cut out by hand: columns as the 2011 tool ran its monitor, unless a line names them."""
    if b";" in data.split(b"\n", 1)[0]:
        data = restore(data)
        found.reasons.append("cells are parted by semicolons, and the old script saw none")
    places = {name: _PLACES.index(name) + 3 for name in _PLACES}
    rows, times, others = list[list[float]](), list[str](), 0
    for line in data.decode("utf-8", "replace").removesuffix("\n").split("\n"):
        cells = [cell.strip().strip('"') for cell in line.split(",")]
        if {"usr", "sys", "idl", "wai"} <= set(cells):
            places = {name: cells.index(name) for name in _PLACES}
        row = _figures(cells, places)
        if row:
            rows.append(row)
            times.append(cells[0])
        others += row is None
    length_s = _lengths(times)
    table = np.array(rows, dtype=np.float64).reshape(-1, len(_PLACES))
    _average(dict(zip(_PLACES, table.T, strict=True)), length_s, found)
    if others:
        found.reasons.append(f"lines that are no sample, counted as samples of 100 % CPU: {others}")
    found.reasons.append("the first line, parted at blanks, counted as 100 % CPU")


def _figures(cells: list[str], places: dict[str, int]) -> list[float] | None:
    """usr, sys, idl, wai of a row; None when it is no row of figures."""
    try:
        row = [float(cells[place]) for place in places.values()]
    except (IndexError, ValueError):
        return None
    return row if np.isfinite(row).all() else None


def _lengths(times: list[str]) -> NDArray[np.float64]:
    """How long each row is, by the stamps of 2011 if there are: a row ends at its stamp.

    The first is as long as the typical one. Where stamps do not go on, a row is a second.
    """
    lengths = np.ones(len(times))
    moments = from_printed(times, "", zone=UTC, year=_SOME_LEAP_YEAR)[0] if times else None
    if moments is None or len(times) < 2 or (moments == 0).any():
        return lengths
    steps = np.diff(moments) / NS_PER_S
    if (steps > 0).any():
        typical = float(np.median(steps[steps > 0]))
        lengths = np.concatenate([[typical], np.where(steps > 0, steps, 0.0)])
    return lengths


def _average(
    shares: dict[str, NDArray[np.float64]], length_s: NDArray[np.float64], found: ServerCpu
) -> None:
    """Means of the rows, each weighing as long as it lasted."""
    found.length_s = float(length_s.sum())
    if not found.length_s:
        found.reasons.append("no sample in it")
        return
    means = {name: float(np.nansum(s * length_s) / length_s.sum()) for name, s in shares.items()}
    found.usr_pct = means.get("usr", np.nan)
    found.sys_pct = means.get("sys", np.nan)
    found.wait_pct = means.get("wai", np.nan)
    found.total_pct = 100.0 - means.get("idl", np.nan)

"""Runs of which a test went both ways at once, as iperf 2 prints it with --full-duplex."""

from __future__ import annotations

import json
import re

from perfkit.model import TestKind
from perfkit.runs.folder import Run, write_json

DOWN_SHARE = 0.5  # of what went up
_LINE = re.compile(r"^\[ {1,2}(\d+)\] (\S+ sec +)(\d+) Bytes +(\d+) bits/sec.*$", re.M)


def make_both_ways(run: Run, slot: str, kind: TestKind = TestKind.TCP_BOTH) -> None:
    """Add to each stream of a test one the other way, which carried half as much each second."""
    for path in (run.root / "raw").glob(f"*/{slot}.*log"):
        path.write_text(_LINE.sub(_with_other_way, path.read_text()))
    monitor = run.host_raw_dir("server") / "monitor.csv"
    head, rows = monitor.read_text().split("\n1", 1)
    lines = [_with_sent(line.split(",")) for line in f"1{rows}".splitlines()]
    monitor.write_text("\n".join([head, *lines, ""]))
    set_kind(run, slot, kind)


def set_kind(run: Run, slot: str, kind: TestKind) -> None:
    """Have the timetable say what a test measures."""
    timetable = json.loads(run.timetable_path.read_text())
    for row in timetable["slots"]:
        if row["name"] == slot:
            row["kind"] = kind.value
    write_json(run.timetable_path, timetable)


def drop_other_way(run: Run, slot: str, host: str) -> None:
    """Take away what a host's log says of the other way."""
    path = next((run.root / "raw" / host).glob(f"{slot}.*log"))
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if not line.startswith("[ *")))


def _with_sent(cells: list[str]) -> str:
    """A tick in which both interfaces sent what the other way carried."""
    for recv, send in ((-4, -3), (-2, -1)):
        cells[send] = f"{float(cells[send]) + DOWN_SHARE * float(cells[recv]):.3f}"
    return ",".join(cells)


def _with_other_way(line: re.Match[str]) -> str:
    stream, interval, size_bytes, rate_bps = line.groups()
    down = f"{int(int(size_bytes) * DOWN_SHARE)} Bytes  {int(int(rate_bps) * DOWN_SHARE)} bits/sec"
    return f"{line[0]}\n[ *{stream}] {interval}{down}"

"""The tables of the 2011 tool from its layout `logs/<TEST>/`: right, or as it printed them.

The layout: `iperf-<subtest>*`, one log a client, and `dstat-<subtest>.csv`, the rows of the
server's monitor under load, cut out by hand, so usually without a head.

`legacy_table` reads them with perfkit's own readers and says in `differences` why a figure is
another than the old one. With `compat` it prints what the old scripts put into
`analysis-<table>.<format>`, defects included (`perfkit.analysis.legacy.compat`).

What the right tables hold, where the old headings leave it open:

- Clients are logs in which data flowed, not lines. Of one stream that both ends report the
  receiver's report counts; [SUM] and interval lines repeat other lines' bytes.
- Transfer is in MiB, the 2^20 bytes iperf calls MBytes; bandwidth is in Mbit/s (10^6), the sum and
  the mean of the clients' own averages, as it was.
- CPU total is 100 - idle, as it was, so it includes wait. Rows weigh by their length. A file with
  its head begins with the row since boot, which is dropped; in one cut by hand all rows count.
- Real length is in seconds, by the stamps; without stamps a row is a second.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from perfkit.analysis.legacy import compat as legacy_compat
from perfkit.analysis.legacy import logs
from perfkit.errors import LogError

Table = Literal["iperf", "dstat"]
TableFormat = Literal["csv", "mediawiki", "trac"]

_OLD_HEADINGS: dict[Table, tuple[str, ...]] = {
    "iperf": (
        "Test", "Subtest", "Host", "Clients", "Total transfer (MB)", "Total bandwidth (MB/s)",
        "Average bandwidth (MB/s)",
    ),
    "dstat": (
        "Test", "Subtest", "Real length", "CPU usr (%)", "CPU sys (%)", "CPU total (%)",
        "CPU wait (%)",
    ),
}  # fmt: skip
_RIGHT_UNITS = {"(MB)": "(MiB)", "(MB/s)": "(Mbit/s)", "Real length": "Real length (s)"}
_HOST = "average"
_SUBTEST = re.compile(r"iperf-(?P<subtest>[^-.]+)")
_FORMULA = ("=", "+", "-", "@", "\t")


@dataclass(frozen=True, slots=True)
class LegacyResult:
    """A table as text, with its last line feed, and why it is not the old one, a line each."""

    text: str
    differences: list[str] = field(default_factory=list)


def legacy_table(
    folder: Path,
    *,
    table: Table,
    format: TableFormat,  # noqa: A002 - the option's name
    compat: bool = False,
) -> LegacyResult:
    """Print one of the two tables of a folder of logs.

    Args:
        folder: `logs/<TEST>`; its name is the test's.
        compat: As the old scripts printed it under mawk, subtest `120s` only. Nothing is then a
            difference.

    Raises:
        LogError: the folder is not there, or, without `compat`, holds no log of that table.
    """
    if not folder.is_dir():
        raise LogError(folder, "no such folder; give the folder of one test, logs/<TEST>")
    test = folder.absolute().name
    if compat:
        rows = _old_rows(folder, table)
        return LegacyResult(_render([_OLD_HEADINGS[table], *([test, *r] for r in rows)], format))
    found = _find_logs(folder, table)
    if not found:
        wanted = "iperf-<subtest>*" if table == "iperf" else "dstat-<subtest>.csv"
        raise LogError(folder, f"no {wanted} in it; give the folder of one test, logs/<TEST>")
    headings = tuple(_right_heading(heading) for heading in _OLD_HEADINGS[table])
    rows, differences = list[list[str]](), _general_differences(table, found)
    for subtest, paths in found.items():
        if table == "iperf":
            row, reasons = _iperf_row(subtest, paths)
        else:
            row, reasons = _dstat_row(subtest, paths[0])
        rows.append(row)
        differences += [f"{subtest}: {reason}" for reason in reasons]
    escaped = [[_escape(cell, format) for cell in (test, *row)] for row in rows]
    return LegacyResult(_render([headings, *escaped], format), differences)


def _find_logs(folder: Path, table: Table) -> dict[str, list[Path]]:
    """The logs of each subtest, in the order of its number or name.

    An iperf log's subtest ends at the first dash or point, unless a dstat file names a longer one.
    """
    monitors = {p.name[6:-4]: p for p in folder.glob("dstat-?*.csv") if p.is_file()}
    if table == "dstat":
        found = {subtest: [path] for subtest, path in monitors.items()}
    else:
        found = {}
        for path in sorted(p for p in folder.glob("iperf-?*") if p.is_file()):
            rest = path.name.removeprefix("iperf-")
            longer = [s for s in monitors if re.match(re.escape(s) + r"(?:[-.]|$)", rest)]
            match = _SUBTEST.match(path.name)
            subtest = max(longer, key=len) if longer else match["subtest"] if match else rest
            found.setdefault(subtest, []).append(path)
    return dict(sorted(found.items(), key=lambda item: _natural(item[0])))


def _natural(name: str) -> list[tuple[int, str]]:
    return [
        (int(part[:18]), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d+)", name)
    ]


def _general_differences(table: Table, found: dict[str, list[Path]]) -> list[str]:
    reasons = []
    if table == "iperf":
        reasons.append("bandwidth is in Mbit/s: the old heading said MB/s over the same figures")
        reasons.append("transfer is in MiB, 2^20 bytes: the old heading said MB")
    else:
        reasons.append("Real length is in seconds: the old one was a count of records")
    others = [subtest for subtest in found if subtest != legacy_compat.SUBTEST]
    if others:
        known = legacy_compat.SUBTEST
        reasons.append(f"the old scripts knew {known} only, and left out {', '.join(others)}")
    return reasons


def _iperf_row(subtest: str, paths: Sequence[Path]) -> tuple[list[str], list[str]]:
    clients = logs.read_clients(paths)
    count, bandwidth = clients.count, clients.bandwidth_mbps
    average = f"{bandwidth / count:.2f}" if count else "n/a"
    row = [subtest, _HOST, str(count), f"{clients.transfer_mib:.2f}", f"{bandwidth:.2f}", average]
    names = ("Clients", "transfer", "bandwidth", "average")
    return row, [*clients.reasons, _was(subtest, names, legacy_compat.iperf_row(paths))]


def _dstat_row(subtest: str, path: Path) -> tuple[list[str], list[str]]:
    load = logs.read_load(path)
    shares = (load.usr_pct, load.sys_pct, load.total_pct, load.wait_pct)
    row = [
        subtest,
        f"{load.length_s:.0f}",
        *("n/a" if math.isnan(s) else f"{s:.2f}" for s in shares),
    ]
    names = ("records", "CPU usr", "sys", "total", "wait")
    return row, [*load.reasons, _was(subtest, names, legacy_compat.dstat_row(path))]


def _was(subtest: str, names: Sequence[str], old: Sequence[str] | None) -> str:
    if old is None:
        return "the old scripts could not read this, and printed no row"
    pairs = zip(names, old, strict=True)
    what = "the old row" if subtest == legacy_compat.SUBTEST else "by the old arithmetic"
    return f"{what}: " + ", ".join(f"{name} {cell or 'nothing'}" for name, cell in pairs)


def _old_rows(folder: Path, table: Table) -> list[list[str]]:
    """The one row the old scripts printed, or none where a log could not be opened."""
    subtest = legacy_compat.SUBTEST
    if table == "iperf":
        row = legacy_compat.iperf_row(sorted(folder.glob(f"iperf-{subtest}*")))
        return [] if row is None else [[subtest, _HOST, *row]]
    row = legacy_compat.dstat_row(folder / f"dstat-{subtest}.csv")
    return [] if row is None else [[subtest, *row]]


def _right_heading(heading: str) -> str:
    for old, right in _RIGHT_UNITS.items():
        if heading.endswith(old):
            return heading.removesuffix(old) + right
    return heading


def _escape(cell: str, format: TableFormat) -> str:  # noqa: A002 - as above
    """A name may hold what the target takes for its own; figures never do."""
    if format == "csv":
        quoted = io.StringIO()
        safe = f"'{cell}" if cell.startswith(_FORMULA) else cell  # no formula in a spreadsheet
        csv.writer(quoted, delimiter=";", lineterminator="").writerow([safe])
        return quoted.getvalue()
    return cell.replace("|", "{{!}}" if format == "mediawiki" else "!|")


def _render(rows: Sequence[Sequence[str]], format: TableFormat) -> str:  # noqa: A002 - as above
    """Head, rows and foot in the form of the old scripts, which is the right one too."""
    if format == "csv":
        return "".join(";".join(row) + "\n" for row in rows)
    bold = [[f"'''{heading}'''" for heading in rows[0]], *rows[1:]]
    if format == "trac":
        return "".join("||" + "||".join(row) + "||\n" for row in bold)
    lines = "".join("|" + "||".join(row) + "\n|-\n" for row in bold)
    return f'{{| border="1" style="text-align:center;"\n{lines}|}}\n'

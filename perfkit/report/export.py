"""Tables for other programs: CSV, JSON, Markdown, MediaWiki, Trac, LaTeX, HTML, XLSX.

Each format is one function from `ReportTable` to text or bytes in `EXPORTERS`; to add one, add a
function there. Every target has its own special characters, and text comes from hosts we do not
trust: a cell never becomes markup, a link, or a spreadsheet formula.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from perfkit.errors import ConfigError, did_you_mean
from perfkit.report.document import LONG_TEXT, standalone
from perfkit.report.tables import ReportTable, Value, one_line, to_html
from perfkit.report.wiki import to_mediawiki, to_trac
from perfkit.runs.folder import write_atomic

if TYPE_CHECKING:
    from perfkit.report.plots import Plot

Render = Callable[[ReportTable], str | bytes]
FORMAT = 1  # of the JSON export
LONG = 40  # rows; a longer LaTeX table breaks over pages
WIDE, TURNED = 9, 8  # columns that do not fit a LaTeX page; rows that still fit when turned
LINE = 85  # characters on a line of a LaTeX page


@dataclass(frozen=True, slots=True)
class Exporter:
    """One format: the file's suffix and the function that writes it."""

    suffix: str
    render: Render


def to_csv(table: ReportTable, delimiter: str = ",") -> str:
    """Raw values in base units under program-readable names; a decimal point always.

    Text that a spreadsheet would run as a formula gets an apostrophe; numbers stay as they are.

    Args:
        delimiter: Between cells; the 2011 tool's was a semicolon.
    """
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator="\r\n")
    writer.writerow([column.key for column in table.columns])
    for row in table.rows:
        writer.writerow(
            _guarded(str(value)) if isinstance(value, str) else _csv_number(value) for value in row
        )
    return out.getvalue()


def _guarded(text: str) -> str:
    clean = text.replace("\0", "")
    is_risky = clean.lstrip().startswith(("=", "+", "-", "@")) or clean.startswith(
        ("\t", "\r", "\n")
    )
    return f"'{clean}" if is_risky else clean


def _csv_number(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else repr(value)


def to_json(table: ReportTable) -> str:
    """Raw values in base units, typed, with everything a program needs to know of each column.

    `shown` is how people read a column: raw value / `scale` with `digits` decimals in `unit`.
    What is not known is null.
    """
    columns = [
        {
            "key": column.key,
            "type": column.kind,
            "shown": {
                "heading": column.heading,
                "unit": column.unit,
                "scale": column.scale,
                "digits": column.digits,
            },
        }
        for column in table.columns
    ]
    keys = [column.key for column in table.columns]
    document = {
        "format": FORMAT,
        "table": table.name,
        "title": table.title,
        "caption": table.caption,
        "provenance": table.provenance,
        "method": table.method,
        "columns": columns,
        "rows": [dict(zip(keys, map(_json_value, row), strict=True)) for row in table.rows],
    }
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _json_value(value: Value) -> Value:
    return None if isinstance(value, float) and not math.isfinite(value) else value


# The last line: GitHub makes links of bare addresses and pictures of names between colons.
_MARKDOWN = re.compile(
    r"""[\\`*_{}\[\]<>\#|~$^&!]
      | :(?=//|[\w+-]+:) | (?<=www)\. | @(?=\w) """,
    re.VERBOSE,
)


def to_markdown(table: ReportTable) -> str:
    """A pipe table (GitHub, pandoc), with title, caption and provenance around it."""

    def escape(text: str) -> str:
        return _MARKDOWN.sub(r"\\\g<0>", one_line(text))

    rule = ["---" if column.kind == "text" else "---:" for column in table.columns]
    lines = [f"**{escape(table.title)}**", ""]
    lines.append(_pipes([escape(column.label) for column in table.columns]))
    lines.append(_pipes(rule))
    lines += [_pipes([escape(cell) for cell in row]) for row in table.shown()]
    lines += [f"\n{escape(text)}" for text in (table.caption, table.provenance) if text]
    return "\n".join(lines) + "\n"


def _pipes(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


_LATEX = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    **{char: f"\\{char}" for char in "&%$#_{}"},
    "[": "{[}", "*": "{*}",  # at the head of a row they would belong to the line break before
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\(|\)", "±": r"\(\pm\)",
    "≥": r"\(\geq\)", "≤": r"\(\leq\)", "×": r"\(\times\)", "…": r"\ldots{}",
}  # fmt: skip


def to_latex(table: ReportTable) -> str:
    """A table for the `booktabs` package, and for `longtable` where it is longer than a page.

    Many columns would not fit a page: few rows of them are turned, so that a test is a column.
    """

    def escape(text: str) -> str:
        escaped = "".join(_LATEX.get(char, char) for char in one_line(text))
        # Pairs of quotes and hyphens would become one character each.
        escaped = re.sub("'(?=')", "'{}", escaped)
        return re.sub("-(?=-)", "-{}", escaped)

    shown = list(table.shown())
    layout = _latex_layout(table, shown)
    body = [[column.label for column in table.columns], *shown]
    if len(table.columns) > WIDE and len(shown) <= TURNED:
        body = [list(line) for line in zip(*body, strict=True)]
        layout = "l" + "r" * len(shown)
    head, *rows = (" & ".join(escape(cell) for cell in line) + r" \\" for line in body)
    caption = " ".join(
        text for text in (table.title + ".", table.caption, table.provenance) if text
    )
    if len(rows) > LONG:
        top = [rf"\begin{{longtable}}{{{layout}}}", rf"\caption{{{escape(caption)}}} \\"]
        heads = [r"\toprule", head, r"\midrule", r"\endhead"]
        return "\n".join([*top, *heads, *rows, r"\bottomrule", r"\end{longtable}", ""])
    return "\n".join(
        [
            r"\begin{table}", r"\centering", *_latex_size(body), rf"\caption{{{escape(caption)}}}",
            rf"\begin{{tabular}}{{{layout}}}", r"\toprule", head, r"\midrule", *rows,
            r"\bottomrule", r"\end{tabular}", r"\end{table}", "",
        ]
    )  # fmt: skip


def _latex_size(body: Sequence[Sequence[str]]) -> list[str]:
    """Small print for a table that would not fit the width of a page."""
    width = sum(max(map(len, column)) + 2 for column in zip(*body, strict=True))
    if width <= LINE or any(len(cell) > LONG_TEXT for line in body for cell in line):
        return []
    return [r"\scriptsize", r"\setlength{\tabcolsep}{2pt}"]


def _latex_layout(table: ReportTable, shown: Sequence[Sequence[str]]) -> str:
    """Text to the left, numbers to the right; long text is broken into lines."""
    longest = [
        max((len(row[place]) for row in shown), default=0) for place in range(len(table.columns))
    ]
    long = [n if n > LONG_TEXT else 0 for n in longest]
    # What the other columns leave of a line of about a hundred characters.
    left = max(
        1.0 - sum(n + 3 for n, is_long in zip(longest, long, strict=True) if not is_long) / 100, 0.3
    )
    return "".join(
        f"p{{{left * n / sum(long):.2f}\\linewidth}}"
        if n
        else "l"
        if column.kind == "text"
        else "r"
        for column, n in zip(table.columns, long, strict=True)
    )


def to_xlsx(table: ReportTable) -> bytes:
    """A workbook of one sheet, see `perfkit.report.xlsx`."""
    from perfkit.report import xlsx  # noqa: PLC0415 -- loads openpyxl

    return xlsx.to_xlsx(table)


EXPORTERS: Mapping[str, Exporter] = {
    "csv": Exporter("csv", to_csv),
    "csv-semicolon": Exporter("semicolon.csv", partial(to_csv, delimiter=";")),
    "json": Exporter("json", to_json),
    "xlsx": Exporter("xlsx", to_xlsx),
    "markdown": Exporter("md", to_markdown),
    "mediawiki": Exporter("mediawiki", to_mediawiki),
    "trac": Exporter("trac", to_trac),
    "latex": Exporter("tex", to_latex),
    "html": Exporter("html", to_html),
}
# What a report folder gets.
FILES = ("csv", "json", "xlsx", "markdown", "mediawiki", "trac", "latex")
LINKS = [(name, EXPORTERS[name].suffix) for name in FILES]  # for a page beside them


def get_exporter(format_name: str) -> Exporter:
    """The exporter of a format.

    Raises:
        ConfigError: no such format; the message names the nearest.
    """
    if format_name not in EXPORTERS:
        raise ConfigError(
            "report", "format", format_name, "no such format", did_you_mean(format_name, EXPORTERS)
        )
    return EXPORTERS[format_name]


def export(table: ReportTable, format_name: str) -> str:
    """A table as text.

    Raises:
        ConfigError: no such format, or one that is not text.
    """
    made = get_exporter(format_name).render(table)
    if isinstance(made, bytes):
        raise ConfigError("report", "format", format_name, "it is not text", "write it to a file")
    return made


def encode(table: ReportTable, format_name: str) -> bytes:
    """A table as the bytes of a file; text is UTF-8.

    Raises:
        ConfigError: no such format; the message names the nearest.
    """
    made = get_exporter(format_name).render(table)
    return made if isinstance(made, bytes) else made.encode("utf-8", "replace")


def write(table: ReportTable, folder: Path, formats: Sequence[str] = FILES) -> list[Path]:
    """Write `<folder>/<table>.<suffix>` for each format; returns the files."""
    paths = []
    for name in formats:
        path = folder / f"{table.name}.{get_exporter(name).suffix}"
        write_atomic(path, encode(table, name))
        paths.append(path)
    return paths


def write_all(folder: Path, tables: Iterable[ReportTable], plots: Iterable[Plot]) -> None:
    """Write what stands beside a page: tables in every format of `FILES`, pictures as SVG and PNG."""
    for table in tables:
        write(table, folder)
    for plot in plots:
        write_atomic(folder / f"{plot.name}.svg", standalone(plot.svg).encode())
        write_atomic(folder / f"{plot.name}.png", plot.png)

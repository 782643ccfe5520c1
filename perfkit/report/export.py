"""Tables as text for other programs: CSV, Markdown, MediaWiki, Trac, LaTeX, HTML.

Each format is one function from `ReportTable` to text in `EXPORTERS`; to add one, add a function
there. Every target has its own special characters, and text comes from hosts we do not trust: a
cell never becomes markup, a link, or a spreadsheet formula.

MediaWiki and Trac keep the layout of the 2011 tool's tables, so old pages and new ones match.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from perfkit.errors import ConfigError, did_you_mean
from perfkit.report.tables import Column, ReportTable, to_html
from perfkit.runs import write_atomic

Render = Callable[[ReportTable], str]


@dataclass(frozen=True, slots=True)
class Exporter:
    """One format: the file's suffix and the function that writes it."""

    suffix: str
    render: Render


def _one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


def _entities(text: str, special: str, doubled: str) -> str:
    """Special characters as numeric entities, which MediaWiki, Trac and HTML all show as text.

    Args:
        special: Characters that mean something alone.
        doubled: Characters that mean something twice in a row; alone they stay readable.
    """
    pattern = rf"[{re.escape(special)}]|([{re.escape(doubled)}])\1+"
    return re.sub(
        pattern, lambda found: "".join(f"&#{ord(char)};" for char in found[0]), _one_line(text)
    )


def to_csv(table: ReportTable) -> str:
    """Raw values in base units under program-readable names, comma and decimal point.

    Text that a spreadsheet would run as a formula gets an apostrophe; numbers stay as they are.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow([column.key for column in table.columns])
    for row in table.rows:
        writer.writerow(
            _guarded(str(value)) if isinstance(value, str) else _csv_number(value) for value in row
        )
    return out.getvalue()


def _guarded(text: str) -> str:
    clean = text.replace("\0", "")
    return (
        f"'{clean}"
        if clean.lstrip()[:1] in ("=", "+", "-", "@") or clean[:1] in "\t\r\n"
        else clean
    )


def _csv_number(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else repr(value)


def to_markdown(table: ReportTable) -> str:
    """A pipe table (GitHub, pandoc), with title, caption and provenance around it."""

    def escape(text: str) -> str:
        return re.sub(r"([\\`*_{}\[\]<>#|~$^&!])", r"\\\1", _one_line(text))

    rule = ["---" if column.kind == "text" else "---:" for column in table.columns]
    lines = [f"**{escape(table.title)}**", ""]
    lines.append(_pipes([escape(column.label) for column in table.columns]))
    lines.append(_pipes(rule))
    lines += [_pipes([escape(cell) for cell in row]) for row in table.shown()]
    lines += [f"\n{escape(text)}" for text in (table.caption, table.provenance) if text]
    return "\n".join(lines) + "\n"


def _pipes(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def to_mediawiki(table: ReportTable) -> str:
    """The layout of the old tables: a bold head line, one line a row."""

    def escape(text: str) -> str:
        return _entities(text, "&<>[]{}|\\", "'_~-!") or "&#32;"

    lines = ['{| border="1" style="text-align:center;"', f"|+ {escape(table.title)}"]
    lines.append("|" + "||".join(f"'''{escape(c.label)}'''" for c in table.columns))
    for row in table.shown():
        # The blank keeps a leading minus from reading as `|-`, the next row.
        lines += ["|-", "| " + " || ".join(escape(cell) for cell in row)]
    lines.append("|}")
    lines += [f"\n{escape(text)}" for text in (table.caption, table.provenance) if text]
    return "\n".join(lines) + "\n"


def to_trac(table: ReportTable) -> str:
    """Trac wiki: double bars, bold heads; a leading blank aligns numbers to the right."""

    def escape(text: str) -> str:
        # CamelCase would link to a page of that name, r12 to a changeset.
        escaped = _entities(text, "&<>[]{}|#!`^*$", "'_~,")
        return re.sub(r"(?<![A-Za-z&])(?=(?:[A-Z][a-z]+){2}|r\d)", "!", escaped)

    def cell(column: Column, text: str) -> str:
        return f" {escape(text)}" if column.kind == "number" else escape(text)

    lines = ["||" + "||".join(f"'''{escape(c.label)}'''" for c in table.columns) + "||"]
    lines += [
        "||" + "||".join(cell(c, text) for c, text in zip(table.columns, row, strict=True)) + "||"
        for row in table.shown()
    ]
    notes = [f"\n{escape(text)}" for text in (table.caption, table.provenance) if text]
    return "\n".join([f"'''{escape(table.title)}'''", "", *lines, *notes]) + "\n"


_LATEX = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    **{char: f"\\{char}" for char in "&%$#_{}"},
    "[": "{[}", "*": "{*}",  # at the head of a row they would belong to the line break before
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\(|\)", "±": r"\(\pm\)",
}  # fmt: skip


def to_latex(table: ReportTable) -> str:
    """A table for the `booktabs` package."""

    def escape(text: str) -> str:
        escaped = "".join(_LATEX.get(char, char) for char in _one_line(text))
        # Pairs of quotes and hyphens would become one character each.
        escaped = re.sub("'(?=')", "'{}", escaped)
        return re.sub("-(?=-)", "-{}", escaped)

    layout = "".join("l" if column.kind == "text" else "r" for column in table.columns)
    rows = [" & ".join(escape(cell) for cell in row) + r" \\" for row in table.shown()]
    head = " & ".join(escape(column.label) for column in table.columns) + r" \\"
    caption = " ".join(
        text for text in (table.title + ".", table.caption, table.provenance) if text
    )
    return "\n".join(
        [
            r"\begin{table}", r"\centering", rf"\caption{{{escape(caption)}}}",
            rf"\begin{{tabular}}{{{layout}}}", r"\toprule", head, r"\midrule", *rows,
            r"\bottomrule", r"\end{tabular}", r"\end{table}", "",
        ]
    )  # fmt: skip


EXPORTERS: Mapping[str, Exporter] = {
    "csv": Exporter("csv", to_csv),
    "markdown": Exporter("md", to_markdown),
    "mediawiki": Exporter("mediawiki", to_mediawiki),
    "trac": Exporter("trac", to_trac),
    "latex": Exporter("tex", to_latex),
    "html": Exporter("html", to_html),
}
FILES = ("csv", "markdown", "mediawiki", "trac", "latex")  # what a report folder gets


def export(table: ReportTable, format_name: str) -> str:
    """A table as text.

    Raises:
        ConfigError: no such format; the message names the nearest.
    """
    if format_name not in EXPORTERS:
        raise ConfigError(
            "report", "format", format_name, "no such format", did_you_mean(format_name, EXPORTERS)
        )
    return EXPORTERS[format_name].render(table)


def write(table: ReportTable, folder: Path, formats: Sequence[str] = FILES) -> list[Path]:
    """Write `<folder>/<table>.<suffix>` for each format; returns the files."""
    paths = []
    for name in formats:
        path = folder / f"{table.name}.{EXPORTERS[name].suffix}"
        write_atomic(path, export(table, name).encode("utf-8", "replace"))
        paths.append(path)
    return paths

"""Parts of a page that opens without a network: the frame, tables, pictures, warnings.

A page has no script, loads nothing, follows the reader's light or dark theme, and fits a phone
and paper. All text is escaped, and loses terminal escapes first: it comes from hosts.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

from perfkit.report import export
from perfkit.report.tables import SCOPED_STYLE, ReportTable, to_html
from perfkit.untrusted import without_escapes

if TYPE_CHECKING:
    from perfkit.report.plots import Plot

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def document(title: str, body: Sequence[str]) -> str:
    """A whole page from its parts, which are HTML already."""
    return (
        "<!doctype html>\n<html lang='en'>\n<head>\n<meta charset='utf-8'>\n"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>\n"
        "<meta name='color-scheme' content='light dark'>\n"
        # Nothing may be loaded or run, whatever text a log smuggles in.
        "<meta http-equiv='Content-Security-Policy' content=\"default-src 'none'; "
        "style-src 'unsafe-inline'\">\n"
        f"<title>{html.escape(title)}</title>\n<style>\n{_stylesheet()}</style>\n</head>\n"
        f"<body>\n<main>\n{chr(10).join(body)}\n</main>\n</body>\n</html>\n"
    )


def standalone(svg: str) -> str:
    """An SVG as a file of its own: on white, dark text."""
    head, _, rest = svg.partition(">")
    return (
        f'<?xml version="1.0" encoding="utf-8"?>\n{head} style="background:#fff;color:#111">{rest}'
    )


def plain(text: str) -> str:
    """Text without terminal escapes and control characters."""
    return _CONTROL.sub("", without_escapes(text))


def cleaned(table: ReportTable) -> ReportTable:
    """A table whose text has no terminal escapes and control characters."""
    rows = [
        tuple(plain(value) if isinstance(value, str) else value for value in row)
        for row in table.rows
    ]
    caption, provenance = plain(table.caption), plain(table.provenance)
    return replace(table, rows=tuple(rows), caption=caption, provenance=provenance)


def warning_box(lines: Sequence[str]) -> str:
    """The first thing on a page: what may change its figures, or that nothing does."""
    if not lines:
        return "<p class='good'>No warnings.</p>"
    items = "".join(f"<li>{html.escape(plain(line))}</li>" for line in lines)
    count = len(lines)
    return (
        f"<section class='warn' role='note'><h2>{count} warning{'s' if count > 1 else ''}</h2>"
        f"<ul>{items}</ul></section>"
    )


def section(table: ReportTable, *, folded: bool = False) -> str:
    """A table with its heading, notes, and links to its files beside the page.

    Args:
        folded: Closed until asked for.
    """
    links = " ".join(
        f"<a href='{html.escape(table.name)}.{export.EXPORTERS[name].suffix}'>{name}</a>"
        for name in export.FILES
    )
    inner = f"<div class='wide' tabindex='0'>{_table_only(table)}</div>{_notes(table)}"
    files = f"<p class='files'>as {links}</p>"
    if not table.rows:
        return f"<section><h2>{html.escape(table.title)}</h2>{_notes(table)}</section>"
    if folded:
        label = f"{html.escape(table.title)} ({len(table.rows)})"
        return f"<section><details><summary>{label}</summary>{inner}{files}</details></section>"
    return f"<section><h2>{html.escape(table.title)}</h2>{inner}{files}</section>"


def _table_only(table: ReportTable) -> str:
    text = to_html(table)
    return text[: text.index("</table>") + len("</table>")]


def _notes(table: ReportTable) -> str:
    return f"<p class='note'>{html.escape(table.caption)}</p>" if table.caption else ""


def picture(plot: Plot) -> str:
    """A plot as SVG, with its words for those who cannot see it."""
    head, _, rest = plot.svg.partition(">")
    label = html.escape(plot.alt, quote=True)
    return f"{head} role='img' aria-label='{label}'><title>{html.escape(plot.alt)}</title>{rest}"


def figure(plot: Plot) -> str:
    """A picture with its title, and links to its files beside the page."""
    files = " ".join(f"<a href='{plot.name}.{suffix}'>{suffix}</a>" for suffix in ("svg", "png"))
    caption = f"<figcaption>{html.escape(plot.title)} (as {files})</figcaption>"
    return f"<figure><div class='wide'>{picture(plot)}</div>{caption}</figure>"


def in_cell(lines: Sequence[str], tables: Sequence[ReportTable], plots: Sequence[Plot]) -> str:
    """What a notebook's cell shows of a report: warnings, a table, the pictures, other tables."""
    items = "".join(f"<li>{html.escape(plain(line))}</li>" for line in lines)
    count = f"{len(lines)} warning{'s' if len(lines) > 1 else ''}"
    warned = (
        f"<p><strong>△ {count}</strong></p><ul>{items}</ul>" if lines else "<p>No warnings.</p>"
    )
    shown = [f"<div class='wide' tabindex='0'>{to_html(cleaned(table))}</div>" for table in tables]
    pictures = [
        f"<figure>{picture(plot)}<figcaption>{html.escape(plot.title)}</figcaption></figure>"
        for plot in plots
    ]
    body = "".join([warned, *shown[:1], *pictures, *shown[1:]])
    return f"{SCOPED_STYLE}{_CELL_STYLE}<div class='perfkit-table perfkit-cell'>{body}</div>"


# A page's dark colours, where Jupyter says that its theme is dark.
_CELL_STYLE = """<style>
.perfkit-cell .wide{overflow-x:auto;margin:.8em 0}.perfkit-cell figure{margin:1em 0;max-width:62rem}
.perfkit-cell svg{width:100%;height:auto}.perfkit-cell figcaption{opacity:.8}
[data-jp-theme-light="false"] .perfkit-cell{--plot-blue:#6cc0f5;--plot-orange:#f0b93a;
--plot-green:#2fcf9f;--plot-red:#ff8f4d}
</style>"""


@cache
def _stylesheet() -> str:
    return resources.files("perfkit.report").joinpath("page.css").read_text(encoding="utf-8")

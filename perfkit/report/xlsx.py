"""A table as an XLSX workbook: numbers are numbers, text is text and never a formula."""

from __future__ import annotations

import io
import math
import re

from openpyxl import Workbook
from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE, Cell
from openpyxl.styles import Alignment, Font
from openpyxl.utils import get_column_letter
from openpyxl.worksheet.worksheet import Worksheet

from perfkit.report.tables import Column, ReportTable, Value

_LONGEST = 32_767  # characters a cell can hold
_WIDEST = 48  # characters a column is made wide
_UNSTORABLE = re.compile("[\ud800-\udfff\ufffe\uffff]")  # XML has no way to write these
_LOOKS_ESCAPED = re.compile(r"_(?=x[0-9A-Fa-f]{4}_)")


def to_xlsx(table: ReportTable) -> bytes:
    """One sheet: title, head, rows, then caption and provenance.

    A number is stored in the unit of its heading with all its digits, and shown with the
    column's; what is not known is an empty cell, so that sums and plots leave it out.
    """
    book = Workbook()
    sheet = book.worksheets[0]
    sheet.title = re.sub(r"[\\/*?:\[\]]", " ", table.name)[:31] or "table"
    _write_text(sheet.cell(1, 1), table.title).font = Font(bold=True, size=13)
    for place, column in enumerate(table.columns, start=1):
        head = _write_text(sheet.cell(2, place), column.label)
        head.font = Font(bold=True)
        side = "left" if column.kind == "text" else "right"
        head.alignment = Alignment(horizontal=side, vertical="bottom", wrap_text=True)
    for row_no, row in enumerate(table.rows, start=3):
        for place, (column, value) in enumerate(zip(table.columns, row, strict=True), start=1):
            _write_value(sheet.cell(row_no, place), column, value)
    after = len(table.rows) + 4
    for row_no, text in enumerate(filter(None, (table.caption, table.provenance)), start=after):
        _write_text(sheet.cell(row_no, 1), text)
    sheet.freeze_panes = "A3"
    _set_widths(sheet, table)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def _write_value(cell: Cell, column: Column, value: Value) -> None:
    if isinstance(value, str):
        _write_text(cell, value)
    elif value is not None and math.isfinite(value):
        cell.value = value if column.scale == 1.0 else value / column.scale
        cell.number_format = f"0.{'0' * column.digits}" if column.digits else "0"
    elif value is not None and math.isinf(value):
        _write_text(cell, column.show(value))


def _write_text(cell: Cell, text: str) -> Cell:
    """Text as itself: openpyxl would take `=1+1` for a formula and `#N/A` for an error."""
    clean = _UNSTORABLE.sub("�", ILLEGAL_CHARACTERS_RE.sub("", text))
    cell.value = _LOOKS_ESCAPED.sub("_x005F_", clean)[:_LONGEST]
    cell.data_type = "s"
    cell.quotePrefix = True  # it stays text when someone edits the cell
    return cell


def _set_widths(sheet: Worksheet, table: ReportTable) -> None:
    cells = list(table.shown())
    for place, column in enumerate(table.columns):
        longest = max((len(row[place]) for row in cells), default=0)
        # A long heading is wrapped over two lines.
        width = min(max(longest, (len(column.label) + 1) // 2, 8) + 2, _WIDEST)
        sheet.column_dimensions[get_column_letter(place + 1)].width = width

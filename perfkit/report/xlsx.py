"""A table as an XLSX workbook: numbers are numbers, text is text and never a formula."""

from __future__ import annotations

import io
import math
import re

from openpyxl import Workbook
from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE, Cell
from openpyxl.styles import Alignment, Font
from openpyxl.utils import get_column_letter
from openpyxl.worksheet.properties import PageSetupProperties
from openpyxl.worksheet.worksheet import Worksheet

from perfkit.report.tables import Column, ReportTable, Value

_LONGEST = 32_767  # characters a cell can hold
_WIDEST = 48  # characters a column is made wide
_NOTE_WIDTH = 110.0
_LINE_HEIGHT = 15.0  # points
# Made once: one for each of some thousand cells would take a fifth of a workbook's time.
_AT_TOP = {is_long: Alignment(wrap_text=is_long, vertical="top") for is_long in (False, True)}
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
    widths = _set_widths(sheet, table)
    for row_no, text in enumerate(filter(None, (table.caption, table.provenance)), start=after):
        _write_note(sheet, row_no, text, widths)
    sheet.freeze_panes = "A3"
    sheet.print_title_rows = "2:2"
    sheet.page_setup.orientation = "landscape"
    sheet.page_setup.fitToHeight = 0  # as many pages as it takes, each as wide as the table
    sheet.sheet_properties.pageSetUpPr = PageSetupProperties(fitToPage=True)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def _write_note(sheet: Worksheet, row_no: int, text: str, widths: list[float]) -> None:
    """Text under the table, over its columns, or as many as make a readable line."""
    last, width = 0, 0.0
    while last < len(widths) and width < _NOTE_WIDTH:
        width += widths[last]
        last += 1
    cell = _write_text(sheet.cell(row_no, 1), text)
    cell.alignment = _AT_TOP[True]
    sheet.merge_cells(start_row=row_no, end_row=row_no, start_column=1, end_column=last)
    # A merged cell's height is not found by itself.
    sheet.row_dimensions[row_no].height = _LINE_HEIGHT * math.ceil(1.1 * len(text) / width)


def _write_value(cell: Cell, column: Column, value: Value) -> None:
    if isinstance(value, str):
        _write_text(cell, value).alignment = _AT_TOP[len(value) > _WIDEST]
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


def _set_widths(sheet: Worksheet, table: ReportTable) -> list[float]:
    cells, widths = list(table.shown()), list[float]()
    for place, column in enumerate(table.columns):
        longest = max((len(row[place]) for row in cells), default=0)
        # A long heading is wrapped over two lines.
        width = min(max(longest, (len(column.label) + 1) // 2, 8) + 2, _WIDEST)
        sheet.column_dimensions[get_column_letter(place + 1)].width = width
        widths.append(float(width))
    return widths

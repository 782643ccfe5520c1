"""Large monitors' logs that need not be loaded: one head, then rows of figures and nothing else.

pandas reads such a file from the disk on all cores, twice as fast as Arrow reads it from memory. It
makes text of a column with what is no figure, and leaves a row's last cells empty where it is too
short; so a file that comes out whole had nothing in it that would have to be cleaned, or looked at
row by row. Whole numbers are read as such, which is faster, and made floats in their own memory.
"""

from __future__ import annotations

import csv
import io
import warnings
from pathlib import Path

import pandas as pd

from perfkit.logs.dstat.heads import CsvBlock, find_blocks
from perfkit.logs.dstat.rows import Table, plan_rows
from perfkit.logs.format import clean
from perfkit.logs.recast import to_floats

_HEAD_BYTES = 100_000
_SAMPLE = 20  # rows
# Before 3.1 pandas rounds figures of many digits, takes a NUL for an end, and reads on one core.
_PANDAS_IS_EXACT = "max_threads" in dir(pd.options.mode)


def find_only_block(path: Path) -> tuple[bytes, CsvBlock] | None:
    """The block of a file that has one, and the file's first bytes; None when it must be loaded.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    blocks = list(find_blocks(head)) if clean(head) == head else []
    return (head, blocks[0]) if len(blocks) == 1 else None


def read_plain_rows(path: Path, head: bytes, block: CsvBlock) -> Table | None:
    """The rows of a file's only block; None when they are not plain, or still being written.

    Args:
        head: The file's first bytes, with some rows.

    Raises:
        OSError: it cannot be read.
    """
    plan = plan_rows(head, block)
    size = path.stat().st_size
    if not _PANDAS_IS_EXACT or plan.times or plan.texts or not _ends_with_a_line(path):
        return None
    frame = _read_figures(path, head, block)
    if frame is None:
        return None
    is_short = frame.shape[1] != plan.width or frame[plan.width - 1].hasnans
    is_text = any(dtype.kind not in "iuf" for dtype in frame.dtypes)
    if is_short or is_text or path.stat().st_size != size:
        return None
    columns = []
    for place in range(plan.width):
        figures = frame[place].to_numpy()
        figures.flags.writeable = True  # nobody else has the frame
        columns.append(to_floats(figures))
        if figures.dtype.kind == "f":  # no whole number of 64 bits is too large, or none
            plan.forget(place, columns[place])
    return Table(columns=columns, unknown=plan.unknown)


def _read_figures(path: Path, head: bytes, block: CsvBlock) -> pd.DataFrame | None:
    """The rows; None when one has more cells than the first, or what is no figure among decimals."""
    with warnings.catch_warnings():  # text in a part of a column, which is looked at afterwards
        warnings.filterwarnings("ignore", category=pd.errors.DtypeWarning, module=__name__)
        try:
            return pd.read_csv(
                path,
                header=None,
                skiprows=head.count(b"\n", 0, block.start),
                dtype=None if _has_whole_columns(head[block.start : block.end]) else "float64",
                na_values=[""],
                keep_default_na=False,
                quoting=csv.QUOTE_NONE,
                lineterminator="\n",
                compression=None,
            )
        except ValueError:
            return None


def _has_whole_columns(rows: bytes) -> bool:
    """Whether a column of the first rows has no decimals; a tool prints them always, or rarely."""
    cells = [line.split(b",") for line in rows.split(b"\n", _SAMPLE)[:_SAMPLE]]
    return any(all(map(bytes.isdigit, column)) for column in zip(*cells, strict=False))


def _ends_with_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, io.SEEK_END)
        return file.read() == b"\n"

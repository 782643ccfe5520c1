"""Large monitors' logs that need not be loaded: one head, then rows of figures and nothing else.

pandas reads such a file from the disk on all cores, twice as fast as Arrow reads it from memory. It
refuses what is no figure, and leaves a row's last cells empty where it is too short; so a file that
comes out whole had nothing in it that would have to be cleaned, or looked at row by row.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pandas as pd

from perfkit.logs.dstat.heads import CsvBlock, find_blocks
from perfkit.logs.dstat.rows import Table, plan_rows
from perfkit.logs.format import clean

_HEAD_BYTES = 100_000
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
    try:
        frame = pd.read_csv(
            path,
            header=None,
            skiprows=head.count(b"\n", 0, block.start),
            dtype="float64",
            na_values=[""],
            keep_default_na=False,
            quoting=csv.QUOTE_NONE,
            lineterminator="\n",
            compression=None,
        )
    except ValueError:  # no figure, or more cells than in the first row
        return None
    figures = frame.to_numpy()
    is_short = figures.shape[1] != plan.width or frame[plan.width - 1].hasnans
    if is_short or path.stat().st_size != size:
        return None
    figures.flags.writeable = True  # nobody else has the frame
    columns = list(figures.T)
    for place, column in enumerate(columns):
        plan.forget(place, column)
    return Table(columns=columns, unknown=plan.unknown)


def _ends_with_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, io.SEEK_END)
        return file.read() == b"\n"

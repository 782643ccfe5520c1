"""Large monitors' logs that need not be loaded: one head, then rows that need no cleaning.

To load a file costs more than to look through it: memory that was never used is dearer than the
bytes that go into it. So pandas takes the rows from the disk, on all cores; whether they are plain
rows, and whether each has all its cells, is looked up beside that.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from perfkit.logs.dstat_heads import Block, find_blocks
from perfkit.logs.format import clean

_HEAD_BYTES = 100_000
_PIECE_BYTES = 250_000  # stays in a processor's cache
# Of other heads or of text, of what `clean` takes away, and of hexadecimal numbers.
_NOT_PLAIN = b'"\0\x1b\rxX'


def find_only_block(path: Path) -> tuple[bytes, Block] | None:
    """The block of a file that has one, and the file's first bytes; None when it must be loaded.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    blocks = list(find_blocks(head)) if clean(head) == head else []
    return (head, blocks[0]) if len(blocks) == 1 else None


def count_commas(path: Path, start: int) -> int | None:
    """The commas in a file's rows; None when those are not plain: to be cleaned, a head, or cut.

    Args:
        start: The byte at which the rows begin.

    Raises:
        OSError: it cannot be read.
    """
    commas, last = 0, b"\n"
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        while piece := file.read(_PIECE_BYTES):
            if any(byte in piece for byte in _NOT_PLAIN):
                return None
            commas += int(np.count_nonzero(np.frombuffer(piece, dtype=np.uint8) == ord(",")))
            last = piece[-1:]
    return commas if last == b"\n" else None

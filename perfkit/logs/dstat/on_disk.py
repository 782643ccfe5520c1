"""Large monitors' logs that need not be loaded: one head, then rows that need no cleaning.

To load a file costs more than to look through it: memory that was never used is dearer than the
bytes that go into it. So Arrow takes the rows from the disk, and each piece is looked through on
its way for whatever would make it anything but plain rows.
"""

from __future__ import annotations

import io
from pathlib import Path

from perfkit.logs.dstat.heads import CsvBlock, find_blocks
from perfkit.logs.format import clean

_HEAD_BYTES = 100_000
# Of other heads or of text, of what `clean` takes away, and of numbers Arrow reads as hexadecimal.
_NOT_PLAIN = b'"\0\x1b\rxX'


def find_only_block(path: Path) -> tuple[bytes, CsvBlock] | None:
    """The block of a file that has one, and the file's first bytes; None when it must be loaded.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    blocks = list(find_blocks(head)) if clean(head) == head else []
    return (head, blocks[0]) if len(blocks) == 1 else None


class PlainRows(io.RawIOBase):
    """The rows of a file; whoever reads them all knows whether they are plain.

    Attributes:
        are_plain: None of what was read yet needs cleaning or is a head, and it ends with a line.
    """

    def __init__(self, path: Path, start: int) -> None:
        self._file = path.open("rb", buffering=0)
        self._file.seek(start)
        self.are_plain = True
        self._last = b"\n"

    def readable(self) -> bool:
        """A file to read from."""
        return True

    def read(self, size: int = -1) -> bytes:
        """The next bytes; none at the end, or as soon as they are not plain."""
        piece = self._file.read(size) if self.are_plain else b""
        if any(byte in piece for byte in _NOT_PLAIN) or not (piece or self._last == b"\n"):
            self.are_plain = False
        self._last = piece[-1:] or self._last
        return piece

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()

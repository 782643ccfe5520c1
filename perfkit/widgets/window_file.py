"""segments.json shared by several writers: none overwrites a change that it has not read.

Two notebooks on one run, or a notebook and `perfkit segment`, may both write. Each remembers the
file as it was at its last read or write; when the file has changed since, it must be read first.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Iterator, Sequence

from perfkit.analysis import segments
from perfkit.model import Segment
from perfkit.runs.folder import Run

ABSENT = ""  # the revision of a file that is not there


class WindowFile:
    """One reader and writer of a run's segments.json."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._seen = ABSENT

    @property
    def is_current(self) -> bool:
        """The file is as this reader saw it last."""
        return self._revision() == self._seen

    def read(self) -> list[Segment]:
        """What is saved now; windows of logs that have changed since say so.

        Raises:
            SegmentError: it is not one of perfkit's.
        """
        self._seen = self._revision()
        return segments.load(self._run) if self._seen != ABSENT else []

    def write(self, windows: Sequence[Segment]) -> None:
        """Save, atomically; only while `held`, and only when it `is_current`.

        Raises:
            RunError: it cannot be written.
        """
        segments.save(self._run, windows)
        self._seen = self._revision()

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keep other writers of this kind out; the lock is on the folder and leaves no file."""
        folder = os.open(self._run.root, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)

    def _revision(self) -> str:
        try:
            return hashlib.sha256(self._run.segments_path.read_bytes()).hexdigest()
        except FileNotFoundError:
            return ABSENT

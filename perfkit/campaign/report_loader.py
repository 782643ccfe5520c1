"""What makes a report, imported while the last clients end and `perfkit run` only waits for them.

It takes most of a second of a processor. It is not begun while tests run: on one machine they share
its processors.
"""

from __future__ import annotations

import contextlib
import importlib
import threading
from collections.abc import Sequence

NEEDED = (
    "perfkit.campaign.offline",
    "perfkit.report.connect_plots",  # and with it Matplotlib
    "perfkit.report.xlsx",
    "jinja2",
    "pyarrow.parquet",
)


class ReportLoader:
    """Imports modules, once, in a thread of its own; a process that ends waits for the thread.

    A module that cannot be imported is left out: whoever needs it meets the same error.
    """

    def __init__(self, modules: Sequence[str] = NEEDED) -> None:
        self._modules = modules
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """Begin, and return at once; once begun, this does nothing."""
        if self._thread is None:
            thread = threading.Thread(target=self._load, name="report-loader")
            with contextlib.suppress(RuntimeError):  # no more threads: it is imported later
                thread.start()
                self._thread = thread

    def wait(self) -> None:
        """Until what was begun is over: two threads in the same imports would wait for each other."""
        if self._thread is not None:
            self._thread.join()

    def _load(self) -> None:
        for name in self._modules:
            with contextlib.suppress(Exception):
                importlib.import_module(name)

"""A copy of the project as it is shipped, which a test may spoil."""

from __future__ import annotations

import shutil
from pathlib import Path

PROJECT = Path(__file__).parents[1]
PARTS = ("config", "resources", "notebooks")


def copy_project(folder: Path, *parts: str) -> Path:
    """Copy these parts of it, all of `PARTS` if none is named; returns the folder.

    Without the settings of whoever runs the tests, config/*.conf, and what notebooks have left.
    """
    for part in parts or PARTS:
        own = ("*.conf",) if part == "config" else ("out*", ".ipynb_checkpoints")
        shutil.copytree(PROJECT / part, folder / part, ignore=shutil.ignore_patterns(*own))
    return folder

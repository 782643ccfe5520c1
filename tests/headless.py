"""Notebooks as a machine runs them: papermill in a process of its own, on a copy of the project."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[1]
QUIET = ("--no-progress-bar", "--log-level", "ERROR", "--stdout-file", "-")


def papermill(
    project: Path, notebook: str = "campaign", /, **parameters: object
) -> subprocess.CompletedProcess[str]:
    """The README's command, from notebooks/; the executed notebook is out-<notebook>.ipynb there."""
    options = [str(x) for name, value in parameters.items() for x in ("-p", name, value)]
    names = (f"{notebook}.ipynb", f"out-{notebook}.ipynb")
    return subprocess.run(
        [sys.executable, "-m", "papermill", *names, *options, *QUIET],
        cwd=project / "notebooks",
        env={**os.environ, "PERFKIT_HOME": str(project)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )

"""A wheel of this tree, and an environment that has it and nothing of this tree."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).parents[1]


def build_wheel(folder: Path) -> Path:
    """Build the wheel into a folder, with the build tool of this environment."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", folder, ROOT], check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def make_environment(folder: Path, wheel: Path) -> Path:
    """A virtual environment with the wheel installed; returns its python.

    What perfkit depends on is found where these tests have it: a path is added, and files that
    install a tree for editing count only in an environment's own folder.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--quiet", "--no-input"]
    subprocess.run([*pip, "install", "--no-deps", str(wheel)], check=True, capture_output=True)
    (libraries,) = folder.glob("lib/python3*/site-packages")
    (libraries / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    return python


def install_example(source: Path, folder: Path) -> Path:
    """Build an example package and install it with pip into a folder of its own; returns that."""
    shutil.copytree(source, folder / "source")
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", folder / "site"]
    subprocess.run([*command, folder / "source"], check=True, capture_output=True)
    return folder


def run_beside(installed: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run this environment's Python with an installed example on its path."""
    path = os.pathsep.join([str(installed / "site"), *sys.path])
    return subprocess.run(
        [sys.executable, *words],
        cwd=installed,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )

"""A project folder with the two tests that perfkit ships, whose config and scripts a test may spoil."""

from __future__ import annotations

from pathlib import Path

import pytest

DIRECT = "[direct-tcp]\nduration = 10\n"
BOTH = f"{DIRECT}\n[tunnel-tcp]\nduration = 10\npath = tunnel\n"


def make_small_project(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, conf: str = BOTH, file: str = "tests.conf"
) -> Path:
    """Write it, and make it the project that perfkit finds.

    Args:
        conf: The tests, for `config/<file>`.
    """
    scripts = folder / "resources" / "tests"
    scripts.mkdir(parents=True)
    (folder / "resources" / "fabfile.py").touch()
    for name in ("direct-tcp", "tunnel-tcp"):
        (scripts / name).write_text("#!/bin/sh\n")
        (scripts / name).chmod(0o755)
    (folder / "config").mkdir()
    (folder / "config" / file).write_text(conf)
    monkeypatch.setenv("PERFKIT_HOME", str(folder))
    return folder

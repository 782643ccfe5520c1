"""The command before it knows any command: it ends like one that was interrupted."""

from __future__ import annotations

import subprocess
import sys

INTERRUPTED_WHILE_LOADING = """
import builtins, sys
load = builtins.__import__
def interrupt(name, *rest):
    if name == "click":
        raise KeyboardInterrupt
    return load(name, *rest)
builtins.__import__ = interrupt
from perfkit.__main__ import main
main()
"""


def test_the_package_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "perfkit", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("perfkit, version ")


def test_an_interrupt_while_it_loads_is_one_line() -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_WHILE_LOADING],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "perfkit: interrupted before anything was begun\n"

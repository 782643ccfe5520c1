"""The right wing works on a laptop: importing it brings in nothing that talks to machines.

import-linter does not see that importing a module runs its parents' `__init__`; this does.
"""

from __future__ import annotations

import json
import pkgutil
import subprocess
import sys

import pytest

import perfkit

LEFT_WING = ("fleet", "ssh", "vpn", "configure", "measure")
HEAVY = {"boto3", "botocore", "fabric", "invoke", "paramiko", "pyroute2", "papermill", "IPython"}


def modules_after(*imports: str) -> set[str]:
    """Top-level names and perfkit's modules in sys.modules of a fresh interpreter."""
    program = (
        f"import json, sys\nfor n in {imports!r}: __import__(n)\nprint(json.dumps([*sys.modules]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    loaded = json.loads(done.stdout)
    return {name for name in loaded if name.startswith("perfkit") or "." not in name}


def leaves(room: str) -> list[str]:
    """Every module of a room."""
    walk = pkgutil.walk_packages(perfkit.__path__, "perfkit.")
    return [info.name for info in walk if f"{info.name}.".startswith(f"perfkit.{room}.")]


@pytest.mark.parametrize("room", ["logs", "analysis", "report", "store"])
def test_a_room_that_needs_files_only_imports_nothing_that_talks_to_machines(room: str) -> None:
    loaded = modules_after(*leaves(room))
    assert f"perfkit.{room}" in loaded
    assert loaded & HEAVY == set()
    assert {
        name for name in loaded if name.startswith(tuple(f"perfkit.{room}" for room in LEFT_WING))
    } == set()


def test_the_foundation_imports_the_standard_library_only() -> None:
    names = ("errors", "model", "units", "retry", "runs.journal", "runs.folder")
    loaded = modules_after(*(f"perfkit.{name}" for name in names))
    foreign = {name for name in loaded if not name.startswith(("perfkit", "_"))}
    assert foreign - set(sys.stdlib_module_names) - modules_after() == set()


def test_importing_the_package_imports_nothing_of_it() -> None:
    assert {n for n in modules_after("perfkit") if n.startswith("perfkit")} == {"perfkit"}


def test_the_phases_load_what_draws_compares_or_talks_to_hosts_only_when_they_do() -> None:
    slow = HEAVY | {
        "cryptography",
        "duckdb",
        "MLRsearch",
        "matplotlib",
        "pandas",
        "scipy",
        "openpyxl",
        "anywidget",
        "ipywidgets",
    }
    assert modules_after("perfkit.campaign.phases") & slow == set()


def test_the_command_line_answers_help_without_loading_ssh_or_cloud() -> None:
    assert modules_after("perfkit.cli.app") & HEAVY == set()

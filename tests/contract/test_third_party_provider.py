"""A provider of somebody else: installed, found by its entry point, held to the same contract."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[1] / "data" / "example_provider"
SUITE = """
import pytest

pytest.register_assert_rewrite("perfkit.testing.provider_contract")

from perfkit.testing.provider_contract import ProviderContract


class TestShed(ProviderContract):
    @pytest.fixture
    def options(self):
        return {"name": "shed"}
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example, built and installed by pip into a folder of its own."""
    folder = tmp_path_factory.mktemp("third-party")
    shutil.copytree(EXAMPLE, folder / "source")
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", folder / "site"]
    subprocess.run([*command, folder / "source"], check=True, capture_output=True)
    return folder


def run_there(installed: Path, *words: str) -> subprocess.CompletedProcess[str]:
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


def test_it_is_found_by_its_entry_point_and_an_unknown_name_lists_it(installed: Path) -> None:
    code = "from perfkit.fleet.provider import *; print(provider_names()); get_provider('shedd')"
    done = run_there(installed, "-c", code)
    assert "'local', 'shed', 'static'" in done.stdout
    assert "did you mean 'shed'?" in done.stderr


def test_it_keeps_the_contract(installed: Path) -> None:
    (installed / "test_shed.py").write_text(SUITE)
    done = run_there(installed, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_shed.py")
    assert done.returncode == 0, done.stdout[-3000:]
    assert "19 passed" in done.stdout

"""A provider of somebody else: installed, found by its entry point, held to the same contract."""

from __future__ import annotations

from pathlib import Path

import pytest
from wheels import install_example, run_beside

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
    return install_example(EXAMPLE, tmp_path_factory.mktemp("third-party"))


def test_it_is_found_by_its_entry_point_and_an_unknown_name_lists_it(installed: Path) -> None:
    code = "from perfkit.fleet.provider import *; print(provider_names()); get_provider('shedd')"
    done = run_beside(installed, "-c", code)
    assert "'local', 'shed', 'static'" in done.stdout
    assert "did you mean 'shed'?" in done.stderr


def test_it_keeps_the_contract(installed: Path) -> None:
    (installed / "test_shed.py").write_text(SUITE)
    done = run_beside(installed, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_shed.py")
    assert done.returncode == 0, done.stdout[-3000:]
    assert "19 passed" in done.stdout

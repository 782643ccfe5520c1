"""The rules all tests run under hold: nothing is skipped in CI, orphans are reaped, statuses pass."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]

ORPHAN = """
import subprocess
from pathlib import Path

def test_an_orphan_is_collected():
    script = "setsid sleep 0.05 & echo $!"
    pid = subprocess.run(["sh", "-c", script], check=True, stdout=subprocess.PIPE).stdout
    waited = subprocess.run(["timeout", "60", "sh", "-c", f"while [ -e /proc/{int(pid)} ]; do sleep 0.02; done"])
    assert waited.returncode == 0
"""


def run_pytest(folder: Path, text: str, *options: str, ci: bool = False) -> tuple[int, str]:
    """Run a test module of its own under our conftest: exit status, output."""
    (folder / "test_it.py").write_text(text)
    environment = {k: v for k, v in os.environ.items() if k not in {"CI", "PYTEST_XDIST_WORKER"}}
    environment |= {"PYTHONPATH": str(TESTS), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    if ci:
        environment["CI"] = "true"
    command = [sys.executable, "-m", "pytest", "-c", os.devnull, "--rootdir", str(folder), "-rA"]
    plugins = ["-p", "conftest", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, *plugins, *options, "test_it.py"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("pass", 0),
        ("assert not 1", 1),
        ("raise KeyboardInterrupt", 2),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", 137),
    ],
)
def test_the_exit_status_of_the_tests_comes_through(tmp_path: Path, body: str, status: int) -> None:
    assert run_pytest(tmp_path, f"def test_it():\n    {body}\n")[0] == status


def test_an_orphan_of_a_test_is_collected_whatever_pid_1_does(tmp_path: Path) -> None:
    status, output = run_pytest(tmp_path, ORPHAN)
    assert status == 0, output


def test_a_missing_tool_is_skipped_with_its_name_and_fails_in_ci(tmp_path: Path) -> None:
    text = "def test_it(needs_tools):\n    needs_tools('sh', 'no-such-tool')\n"
    status, output = run_pytest(tmp_path, text)
    assert status == 0
    assert "not installed: no-such-tool" in output
    status, output = run_pytest(tmp_path, text, ci=True)
    assert status == 1
    assert "CI must have what its tests need" in output


@pytest.mark.parametrize(
    "text",
    [
        "import pytest\ndef test_it():\n    pytest.skip('not here')\n",
        "import pytest\n@pytest.mark.skipif(True, reason='not here')\ndef test_it(): pass\n",
        "import pytest\npytest.importorskip('no_such_module', reason='not here')\n",
        "import pytest\npytest.skip('not here', allow_module_level=True)\n",
    ],
    ids=["in the test", "by a mark", "by an import", "the whole module"],
)
def test_nothing_is_skipped_in_ci_whoever_skips_it(tmp_path: Path, text: str) -> None:
    text += "\ndef test_that(): pass\n"
    status, output = run_pytest(tmp_path, text)
    assert status in {0, 5}  # skipped, or nothing collected
    assert "not here" in output
    status, output = run_pytest(tmp_path, text, ci=True)
    assert status not in {0, 5}
    assert "CI must have what its tests need: " in output
    assert "not here" in output


def test_a_test_that_needs_root_says_so_and_fails_in_ci(tmp_path: Path) -> None:
    text = (
        "import os, pytest\nos.geteuid = lambda: 1000\n"
        "@pytest.mark.root\ndef test_it():\n    pass\n"
        "def test_that(needs_root):\n    pass\n"
    )
    status, output = run_pytest(tmp_path, text)
    assert status == 0
    assert output.count("SKIPPED") == 2
    assert run_pytest(tmp_path, text, ci=True)[0] == 1


def test_benchmarks_run_only_when_they_are_asked_for(tmp_path: Path) -> None:
    text = (
        "import pytest\n@pytest.mark.benchmark\ndef test_it():\n    pass\ndef test_that(): pass\n"
    )
    assert "1 passed, 1 deselected" in run_pytest(tmp_path, text)[1]
    assert "1 passed, 1 deselected" in run_pytest(tmp_path, text, "-m", "benchmark")[1]

"""The wheel alone is enough: a project folder from it, a campaign by command and by papermill."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from wheels import build_wheel, make_environment

from perfkit.runs.folder import list_runs

pytestmark = pytest.mark.root


def test_with_the_wheel_alone_a_project_folder_is_made_and_campaigns_run_in_it(
    tmp_path: Path, needs_tools: object
) -> None:
    needs_tools("openvpn", "iperf")  # type: ignore[operator]
    python = make_environment(tmp_path / "environment", build_wheel(tmp_path / "wheel"))
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "PERFKIT"))}
    environment = inherited | {"PATH": f"{python.parent}:{os.environ['PATH']}"}
    lab = tmp_path / "lab"

    def run(*command: str, folder: Path) -> str:
        done = subprocess.run(
            command,
            check=False,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=240,
        )
        assert done.returncode == 0, done.stdout[-3000:]
        return done.stdout

    run("perfkit", "init", "lab", folder=tmp_path)
    where = run("python", "-c", "import perfkit; print(perfkit.__file__)", folder=lab)
    assert Path(where.strip()).is_relative_to(tmp_path / "environment")
    assert "2 reachable" in run("perfkit", "run", "--clients", "1", "--duration-s", "2", folder=lab)
    papermill = ("python", "-m", "papermill", "campaign.ipynb", "out.ipynb")
    run(*papermill, "-p", "clients", "1", "-p", "duration_s", "2", folder=lab / "notebooks")
    runs = list_runs(lab / "runs")
    assert len(runs) == 2
    assert all((one.report_dir / "index.html").is_file() for one in runs)

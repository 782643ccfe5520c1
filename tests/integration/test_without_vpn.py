"""A campaign of direct tests alone, where OpenVPN is installed neither here nor on any host."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from project_copy import copy_project

from perfkit.fleet.local.provider import LocalProvider
from perfkit.runs.folder import Run, list_runs

pytestmark = pytest.mark.root

# A file that cannot be run, in a mount namespace of the command's own, where the program is.
HIDDEN = """
for folder in /usr/local/sbin /usr/local/bin /usr/sbin /usr/bin; do
    [ ! -e $folder/openvpn ] || mount --bind /dev/null $folder/openvpn || exit 99
done
! command -v openvpn || exit 98
exec "$@"
"""
# Hosts have the programs of this machine, but may remove them from their own view.
REMOVED = """

_set_up = set_up


def without_openvpn(c, then=""):
    script = "rm -f /usr/local/sbin/openvpn /usr/local/bin/openvpn /usr/sbin/openvpn /usr/bin/openvpn"
    as_root(c, script + "; PATH=$PATH:/usr/sbin:/sbin; ! command -v openvpn")
    _set_up(c, then)


set_up = without_openvpn
"""


@pytest.fixture
def project(tmp_path: Path, needs_tools: Callable[..., None]) -> Path:
    """A project of the test's own whose recipe removes OpenVPN from hosts."""
    needs_tools("sshd", "iperf", "ip", "unshare")
    copy_project(tmp_path, "config", "resources")
    with (tmp_path / "resources/fabfile.py").open("a") as file:
        file.write(REMOVED)
    return tmp_path


def perfkit_run(project: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """`perfkit run` where no openvpn is to be found."""
    command = [sys.executable, "-m", "perfkit", "run", *words]
    return subprocess.run(
        ["unshare", "--mount", "sh", "-c", HIDDEN, "sh", *command],
        env={**os.environ, "PERFKIT_HOME": str(project)},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


def test_direct_tests_go_to_the_report_without_openvpn(project: Path) -> None:
    done = perfkit_run(project, "--vpn", "none", "--clients", "1", "--duration-s", "2")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    (run,) = list_runs(project / "runs")
    assert run.manifest()["vpn"] == {"name": "none"}
    tests = pd.read_csv(run.report_dir / "tests.csv")
    assert tests.iloc[:, 0].tolist() == ["01-direct-tcp"]
    assert "left out, there is no VPN: tunnel-tcp" in done.stdout + done.stderr
    assert (run.report_dir / "index.html").exists()
    assert not list(run.root.glob("hosts/*/bundle/vpn"))
    assert left_of(run) == []


def left_of(run: Run) -> list[str]:
    provider = LocalProvider()
    return [*(host.name for host in provider.hosts(run.id)), *provider.residue(run.id)]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--vpn", "none", "--tests", "tunnel-tcp"), "needs a tunnel, but there is no VPN"),
        (("--vpn", "openvpm"), "did you mean 'openvpn'?"),
        (("--vpn", "openvpm", "--tests", "direct-tcp"), "did you mean 'openvpn'?"),
    ],
)
def test_what_cannot_be_run_is_refused_before_any_host_is_made(
    project: Path, words: tuple[str, ...], says: str
) -> None:
    done = perfkit_run(project, *words, "--clients", "1")
    assert done.returncode != 0
    assert says in done.stderr
    assert not list(project.glob("runs/*/hosts/*"))

"""Existing hosts that do not answer while their run is released: they stay its own until they do."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from existing_hosts import Lab, existing_hosts, until_it_listens
from project_copy import copy_project

from perfkit.runs.folder import list_runs
from perfkit.runs.journal import read

pytestmark = [pytest.mark.root, pytest.mark.slow]
TAG = "cat /var/lib/perfkit/perfkit.tag 2>/dev/null || echo free"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    (tmp_path / "lab").mkdir()
    with existing_hosts(tmp_path / "lab", n_clients=2) as lab:
        yield lab


@pytest.fixture
def project(lab: Lab, tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    copy_project(folder, "resources")
    shutil.copytree(lab.config_dir, folder / "config")
    return folder


def perfkit(project: Path, *words: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "perfkit", *words],
        cwd=project,
        env={**os.environ, "PERFKIT_HOME": str(project)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_a_release_that_reaches_nobody_fails_each_time_and_the_next_one_that_does_ends_it(
    lab: Lab, project: Path
) -> None:
    status, said = perfkit(project, "launch", "--provider", "static", "--clients", "1")
    assert status == 0, said
    (run,) = list_runs(project / "runs")
    for host in lab.hosts[:2]:
        lab.inside(host, "kill $(cat /run/sshd.pid); kill -KILL $(pgrep '^sshd') || true")
    for words in (["release"], ["release"], ["reap", run.id, "--yes"], ["clean", "--yes"]):
        status, said = perfkit(project, *words)
        assert status == 1, said
        assert "STILL THERE" in said
        assert "lab-server" in said
        assert "lab-client-001" in said
        assert "connection refused" in said
    ended = [e.fields["leaked"] for e in read(run.journal_path).events if e.kind == "released"]
    assert len(ended) == 4
    assert all(ended)
    assert "lab-client-001 could not be asked: connection refused" in perfkit(project, "status")[1]

    for host in lab.hosts[:2]:
        assert run.id in lab.inside(host, TAG)
        lab.inside(host, f"/usr/sbin/sshd -f /etc/ssh/sshd_config; {until_it_listens()}")
    # One of them is not in the file any more; the run's own copy still names it.
    server, _, other = lab.hosts
    text = "\n".join([lab.section(server), lab.section(other)])
    (project / "config" / "static.conf").write_text(f"[static]\nssh_config = /dev/null\n{text}")
    status, said = perfkit(project, "reap", run.id, "--yes")
    assert status == 0, said
    assert f"ended 2 hosts of {run.id}" in said
    assert all(lab.inside(host, TAG) == "free\n" for host in lab.hosts)

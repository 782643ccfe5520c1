"""What the host agent sees on a host, run here in a mount namespace of its own."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from perfkit.fleet.static.host_agents import HOST_AGENT
from perfkit.fleet.static.tags import obstacles

pytestmark = pytest.mark.root


def look(folder: Path, options: str) -> dict[str, tuple[str, ...]]:
    """The answer to `look` for a work folder on a file system that is mounted with some options."""
    script = (
        f"mount -t tmpfs -o {options} none {folder} && mkdir {folder}/lib || exit 9\n"
        f'text=$(cat {HOST_AGENT}); export text; exec sh -c "$text" host-agent look {folder}/lib/perfkit'
    )
    argv = ["unshare", "-m", "sh", "-c", script]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    return {key: (value,) for key, _, value in (x.partition("=") for x in done.stdout.splitlines())}


def test_a_work_folder_on_a_file_system_mounted_noexec_is_refused_before_launch(
    tmp_path: Path,
) -> None:
    workdir = f"{tmp_path}/lib/perfkit"
    assert list(obstacles(look(tmp_path, "exec,size=200m"), workdir, tunnel=False)) == []
    (said,) = obstacles(look(tmp_path, "noexec,size=200m"), workdir, tunnel=False)
    assert said.startswith(f"{workdir} is on {tmp_path}, which is mounted noexec")
    assert "set workdir" in said

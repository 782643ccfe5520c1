"""What the host agent sees on a host, run here in a mount namespace of its own."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from perfkit.fleet.static.host_agents import _AS_ROOT, HOST_AGENT  # private: the words of sudo
from perfkit.fleet.static.tags import obstacles

pytestmark = pytest.mark.root

SUDO = """#!/bin/sh
echo 'sudo: unable to resolve host lab-1: Temporary failure in name resolution' >&2
echo 'sudo: a password is required' >&2
exit 1
"""


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


def test_why_a_user_cannot_become_root_is_what_sudo_said_last(tmp_path: Path) -> None:
    for name, text in (("sudo", SUDO), ("id", "#!/bin/sh\necho 1000\n")):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    done = subprocess.run(
        ["sh", "-c", f"PATH={tmp_path}:$PATH\n{_AS_ROOT}"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "no_root=sudo: a password is required"

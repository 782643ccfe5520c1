"""What the host agent sees on a host, run here in a mount namespace of its own."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shlex import quote

import pytest

from perfkit.fleet.static.host_agents import _AS_ROOT, HOST_AGENT  # private: the words of sudo
from perfkit.fleet.static.tags import Tag, obstacles
from perfkit.model import Role

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


@pytest.mark.parametrize(("carries_hosts", "said"), [(True, "freed"), (False, "cleaned")])
def test_a_machine_that_was_taken_for_hosts_is_none_even_before_it_has_any(
    tmp_path: Path, *, carries_hosts: bool, said: str
) -> None:
    tag = Tag(
        run_id="a-run",
        name="machine-001",
        role=Role.CLIENT,
        token="first",
        owner="me",
        expires_utc=datetime.now(UTC) + timedelta(hours=1),
        carries_hosts=carries_hosts,
    )
    expires, workdir = int(tag.expires_utc.timestamp()), tmp_path / "perfkit"
    script = f"""
        text=$(cat {HOST_AGENT}); export text
        agent() {{ sh -c "$text" host-agent "$@"; }}
        agent claim {workdir} a-run root {expires} {quote(tag.to_text())} >{tmp_path}/claimed
        agent look {workdir}; echo end; agent clean {workdir} a-run root
    """
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    looked, _, cleaned = done.stdout.partition("end\n")
    assert ("packed=0" in looked.splitlines()) == carries_hosts
    assert cleaned.splitlines() == [f"{said}=machine-001"]


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

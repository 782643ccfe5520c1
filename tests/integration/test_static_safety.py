"""perfkit's folder on an existing host is used only where no other user could change what lies in it."""

from __future__ import annotations

import os
import pwd
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from perfkit.fleet.static.host_agents import HOST_AGENT
from perfkit.fleet.static.tags import obstacles

pytestmark = pytest.mark.root

NOBODY = 65534


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder for everybody, like /tmp."""
    with tempfile.TemporaryDirectory(prefix="everybodys-", dir="/run") as folder:
        Path(folder).chmod(0o1777)
        yield Path(folder)


def ask(workdir: Path, verb: str, *arguments: str, login: str = "root") -> dict[str, str]:
    """What `host_agent.sh` answers, run as it is run on a host."""
    text = HOST_AGENT.read_text()
    done = subprocess.run(
        ["sh", "-c", text, "perfkit-host-agent", verb, str(workdir), *arguments],
        env={**os.environ, "text": text, **({"SUDO_USER": login} if login != "root" else {})},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    pairs = (line.partition("=") for line in done.stdout.splitlines())
    return {key: value for key, _, value in pairs}


def claim(workdir: Path, login: str = "root") -> dict[str, str]:
    return ask(workdir, "claim", "r1", login, "4000000000", "run=r1\nname=server", login=login)


def a_folder_of_another_user(workdir: Path) -> None:
    workdir.mkdir()
    os.chown(workdir, NOBODY, NOBODY)


def a_link_to_a_folder_of_root(workdir: Path) -> None:
    target = workdir.parent / "target"
    target.mkdir()
    workdir.symlink_to(target)


def a_folder_open_to_others(workdir: Path) -> None:
    workdir.mkdir()
    workdir.chmod(0o1777)


def a_folder_open_to_a_group(workdir: Path) -> None:
    workdir.mkdir()
    os.chown(workdir, 0, NOBODY)
    workdir.chmod(0o775)


def a_parent_without_sticky_bit(workdir: Path) -> None:
    workdir.parent.chmod(0o777)


def a_parent_of_another_user(workdir: Path) -> None:
    os.chown(workdir.parent, NOBODY, NOBODY)


@pytest.mark.parametrize(
    "prepare",
    [
        a_folder_of_another_user,
        a_link_to_a_folder_of_root,
        a_folder_open_to_others,
        a_folder_open_to_a_group,
        a_parent_without_sticky_bit,
        a_parent_of_another_user,
    ],
)
def test_a_folder_that_others_could_change_is_named_and_left_alone(
    shared: Path, prepare: Callable[[Path], None]
) -> None:
    workdir = shared / "perfkit"
    prepare(workdir)
    (said,) = obstacles({k: (v,) for k, v in ask(workdir, "look").items()}, "W", tunnel=False)
    assert said.startswith("W: other users of the host could change what root runs from there: ")
    before = [(path, path.lstat()) for path in sorted(shared.rglob("*"))]
    answer = claim(workdir)
    assert list(answer) == ["unsafe"]
    assert answer["unsafe"] in said
    assert [(path, path.lstat()) for path in sorted(shared.rglob("*"))] == before


def test_a_tag_that_another_user_has_written_is_not_obeyed(shared: Path) -> None:
    workdir = shared / "perfkit"
    a_folder_of_another_user(workdir)
    (workdir / "perfkit.tag").write_text("run=r1\nexpires=1\nowned=65534:65534:777\nmade=no\n")
    (workdir / "kept").touch()
    for answer in (claim(workdir), ask(workdir, "clean", "r1", "root")):
        assert "cleaned" not in answer
    assert "untouched" in ask(workdir, "clean", "r1", "root")["left"]
    ask(workdir, "note", "r1", "ended=x")
    assert "ended" not in (workdir / "perfkit.tag").read_text()
    assert (workdir / "kept").exists()


@pytest.mark.parametrize("login", ["root", "nobody"])
def test_a_folder_below_one_for_everybody_is_taken_where_nobody_made_it_first(
    shared: Path, login: str
) -> None:
    workdir = shared / "perfkit"
    assert claim(workdir, login)["claimed"] == "yes"
    try:
        assert workdir.stat().st_uid == pwd.getpwnam(login).pw_uid
        assert "unsafe" not in ask(workdir, "look", login=login)
    finally:
        assert ask(workdir, "clean", "r1", login, login=login)["cleaned"] == "server"
    assert not workdir.exists()


@pytest.mark.parametrize(
    ("place", "options", "words"),
    [
        ("perfkit", "nr_inodes=1", "No space left"),  # its folder cannot be made
        (".", "nr_inodes=1", "No space left"),  # the tag cannot be written
        (".", "ro", "Read-only file system"),
    ],
)
def test_why_a_host_cannot_be_tagged_is_told_in_the_systems_words(
    shared: Path, place: str, options: str, words: str
) -> None:
    disk = shared / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"mode=755,{options}", "none", str(disk)]
    subprocess.run(mount, check=True)
    try:
        answer = claim(disk / place)
        assert list(answer) == ["refused"]
        (said,) = obstacles({k: (v,) for k, v in answer.items()}, "W", tunnel=False)
        assert words in said
        assert list(disk.iterdir()) == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from perfkit import ownership
from perfkit.errors import ConfigError
from perfkit.settings import project
from perfkit.settings.project import project_dir

NOBODY = 65534


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder like /tmp: everybody may write, nobody may rename what is another's."""
    with tempfile.TemporaryDirectory(prefix="everybodys-") as folder:
        Path(folder).chmod(0o1777)
        yield Path(folder)


def test_a_folder_for_everybody_with_the_sticky_bit_is_safe_to_make_things_in(shared: Path) -> None:
    assert ownership.find_fault(shared) is None
    assert not ownership.is_private(shared)
    assert not ownership.is_closed(shared)


@pytest.mark.parametrize("mode", [0o777, 0o702])
def test_one_without_it_is_not_nor_is_what_lies_below(shared: Path, mode: int) -> None:
    below = shared / "below"
    below.mkdir(mode=0o700)
    shared.chmod(mode)
    for folder in (shared, below):
        fault = ownership.find_fault(folder)
        assert fault
        assert f"(mode {mode:04o}, no sticky bit)" in fault
    assert not ownership.is_private(below)


def test_a_link_is_judged_by_what_it_leads_to(shared: Path, tmp_path: Path) -> None:
    shared.chmod(0o777)
    (tmp_path / "link").symlink_to(shared)
    assert ownership.find_fault(tmp_path / "link")


@pytest.mark.parametrize("mode", [0o750, 0o701, 0o755])
def test_a_folder_that_others_may_enter_or_list_is_not_private(shared: Path, mode: int) -> None:
    own = shared / "own"
    own.mkdir(mode=0o700)
    assert ownership.is_private(own)
    own.chmod(mode)
    assert not ownership.is_private(own)


def test_a_link_and_a_file_and_nothing_are_no_private_folders(shared: Path) -> None:
    (shared / "own").mkdir(mode=0o700)
    (shared / "link").symlink_to(shared / "own")
    (shared / "file").touch(mode=0o600)
    for name in ("link", "file", "nothing"):
        assert not ownership.is_private(shared / name)


@pytest.mark.root
def test_a_folder_of_another_user_is_neither_safe_nor_private(shared: Path) -> None:
    theirs = shared / "theirs"
    theirs.mkdir(mode=0o700)
    os.chown(theirs, NOBODY, NOBODY)
    assert ownership.find_fault(theirs) == f"{theirs} belongs to nobody"
    assert not ownership.is_private(theirs)
    os.chown(theirs, 54321, 54321)
    assert ownership.find_fault(theirs) == f"{theirs} belongs to user 54321"


@pytest.mark.root
def test_a_group_of_others_counts_as_others(shared: Path) -> None:
    group = shared / "group"
    group.mkdir(mode=0o700)
    group.chmod(0o770)
    assert ownership.find_fault(group) is None
    os.chown(group, 0, NOBODY)
    assert ownership.find_fault(group)


def test_a_folder_that_is_not_there_is_told(shared: Path) -> None:
    assert "No such file" in str(ownership.find_fault(shared / "nothing"))


@pytest.mark.root
def test_a_project_that_is_only_come_across_must_not_be_another_users(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (shared / "resources").mkdir()
    (shared / "resources" / "fabfile.py").touch()
    mine = shared / "mine"
    mine.mkdir()
    monkeypatch.chdir(mine)
    monkeypatch.delenv("PERFKIT_HOME", raising=False)
    monkeypatch.setattr(project, "CHECKOUT", shared / "elsewhere")
    assert project_dir() == shared
    os.chown(shared / "resources", NOBODY, NOBODY)
    with pytest.raises(ConfigError, match=rf"resources belongs to nobody.*PERFKIT_HOME={shared}"):
        project_dir()
    monkeypatch.setenv("PERFKIT_HOME", str(shared))
    assert project_dir() == shared

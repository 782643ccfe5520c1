from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from perfkit.errors import LaunchError
from perfkit.fleet.local import claims

pytestmark = pytest.mark.root

NOBODY = 65534


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(claims, "FOLDER", tmp_path / "perfkit")
    return tmp_path / "perfkit"


def test_a_name_is_held_by_one_and_free_when_that_one_is_gone(folder: Path) -> None:
    lock = claims.hold("subnet")
    assert lock is not None
    assert claims.hold("subnet") is None
    assert claims.hold("another") is not None
    os.close(lock)
    assert claims.hold("subnet") is not None


def test_no_other_user_can_hold_a_name(folder: Path) -> None:
    old = os.umask(0)
    try:
        lock = claims.hold("subnet")
    finally:
        os.umask(old)
    assert lock is not None
    os.close(lock)
    for path in (folder, *folder.iterdir()):
        about = path.lstat()
        assert about.st_uid == 0
        assert not about.st_mode & (0o066 if path == folder else 0o077)


@pytest.mark.parametrize("wrong", ["a link", "a file", "another user's", "open to others"])
def test_a_folder_that_is_not_roots_alone_is_refused_in_words(folder: Path, wrong: str) -> None:
    if wrong == "a link":
        (folder.parent / "elsewhere").mkdir()
        folder.symlink_to(folder.parent / "elsewhere")
    elif wrong == "a file":
        folder.touch()
    else:
        folder.mkdir()
        os.chown(folder, NOBODY if wrong == "another user's" else 0, 0)
        folder.chmod(0o777 if wrong == "open to others" else 0o755)
    for use in (lambda: claims.hold("subnet"), lambda: claims.listen("run", 0)):
        with pytest.raises(LaunchError, match="must be a folder that only root can change"):
            use()


def test_one_keeper_of_a_run_listens_and_a_killed_ones_socket_is_taken_over(folder: Path) -> None:
    killed = claims.listen("run", 0)
    assert killed is not None
    assert claims.listen("run", 0) is None
    claims.forget("run")
    assert claims.socket_path("run").exists(), "a keeper answers there"
    killed.close()
    assert claims.socket_path("run").exists()
    again = claims.listen("another", 0)
    assert again is not None
    assert not claims.socket_path("run").exists(), "nobody answered there"
    again.close()
    claims.forget("another")
    assert not claims.socket_path("another").exists()


def test_the_longest_run_id_has_room_for_its_socket() -> None:
    run_id = "r" * 81
    assert len(str(claims.socket_path(run_id))) <= 107
    assert len(str(claims.FOLDER / f".{run_id}.{2**22}")) <= 107


def test_only_root_and_the_launching_user_reach_the_socket(folder: Path) -> None:
    folder.parent.parent.chmod(0o711)
    listener = claims.listen("run", NOBODY)
    assert listener is not None
    about = claims.socket_path("run").stat()
    assert (about.st_uid, about.st_mode & 0o777) == (NOBODY, 0o600)
    listener.close()


def test_a_lock_goes_with_the_process_that_was_killed(folder: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from perfkit.fleet.local import claims\n"
        "claims.FOLDER = Path(sys.argv[1]); claims.hold('subnet'); print('held', flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"held\n"
        assert claims.hold("subnet") is None
        holder.kill()
    assert claims.hold("subnet") is not None

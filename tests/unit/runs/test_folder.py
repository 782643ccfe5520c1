"""The run folder: made whole or not at all, found by any name, written by one process."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import textwrap
from datetime import datetime, tzinfo
from pathlib import Path

import pytest

from perfkit.errors import RunError
from perfkit.runs import folder as runs
from perfkit.runs.folder import Run


class OneMoment(datetime):
    """A clock that stands."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> OneMoment:
        """Always the same."""
        return cls(2026, 1, 1, 12, tzinfo=tz)


def test_a_new_run_has_a_manifest_and_private_folders(tmp_path: Path) -> None:
    run = runs.create(tmp_path / "deep" / "runs", "demo", {"clients": 10})
    manifest = run.manifest()
    assert manifest["run"] == run.id
    assert manifest["name"] == "demo"
    assert manifest["parameters"] == {"clients": 10}
    assert re.fullmatch(r"[0-9]{8}T[0-9]{6}Z-demo-[0-9a-f]{6}", run.id)
    for path in (run.root, run.keys_dir, run.config_dir, run.raw_dir):
        assert path.stat().st_mode & 0o777 == 0o700
    assert run.manifest_path.stat().st_mode & 0o777 == 0o600


def test_runs_of_one_name_in_one_second_are_different_runs(tmp_path: Path) -> None:
    made = [runs.create(tmp_path, "demo", {"n": n}) for n in range(4)]
    assert len({run.id for run in made}) == 4
    assert runs.list_runs(tmp_path) == made
    assert runs.open_run(tmp_path, "demo") == made[-1]


def test_two_folders_never_share_a_tag_not_even_in_one_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "datetime", OneMoment)
    made = [runs.create(tmp_path / str(folder), "demo", {}) for folder in range(50)]
    assert len({run.id for run in made}) == 50
    assert len({run.id[:21] for run in made}) == 1


def test_an_id_that_is_taken_is_not_used_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "datetime", OneMoment)
    drawn = iter(["aaaaaa", "aaaaaa", "bbbbbb"])
    monkeypatch.setattr(runs.secrets, "token_hex", lambda _n: next(drawn))
    first, second = (runs.create(tmp_path, "demo", {}) for _ in range(2))
    assert (first.id[-6:], second.id[-6:]) == ("aaaaaa", "bbbbbb")


@pytest.mark.parametrize("place", ["file/runs", "file", "/proc/runs"])
def test_where_no_folder_can_be_made_the_message_names_place_and_remedy(
    tmp_path: Path, place: str
) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunError, match="no run folder can be made there") as caught:
        runs.create(tmp_path / place, "demo", {})
    assert str(tmp_path / place) in str(caught.value)
    assert "runs_dir" in str(caught.value)


def test_a_run_is_found_by_id_by_name_by_path_and_as_latest(tmp_path: Path) -> None:
    first = runs.create(tmp_path, "first", {})
    second = runs.create(tmp_path, "second", {})
    assert runs.open_run(tmp_path, first.id) == first
    assert runs.open_run(tmp_path, "first") == first
    assert runs.open_run(tmp_path, str(first.root)) == first
    assert runs.open_run(tmp_path, "latest") == second


def test_an_unknown_run_gets_the_nearest_one(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="there is no such folder"):
        runs.open_run(tmp_path / "none", "latest")
    with pytest.raises(RunError, match="there are no runs yet"):
        runs.open_run(tmp_path, "latest")
    run = runs.create(tmp_path, "demo", {})
    with pytest.raises(RunError, match=f"did you mean '{run.id}'"):
        runs.open_run(tmp_path, run.id[:-1])
    with pytest.raises(RunError, match="did you mean 'demo'"):
        runs.open_run(tmp_path, "dmeo")


def test_a_run_of_another_user_hides_no_other_run() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        runs.create(folder, "zz-theirs", {}).root.chmod(0)
        mine = runs.create(folder, "mine", {})
        mine.root.chmod(0o755)
        mine.manifest_path.chmod(0o644)
        me = os.geteuid()
        if me == 0:
            os.seteuid(65534)
        try:
            assert runs.list_runs(folder) == [mine]
            assert runs.open_run(folder, "mine") == mine
            with pytest.raises(RunError, match="did you mean 'mine'"):
                runs.open_run(folder, "mien")
        finally:
            os.seteuid(me)


def test_a_damaged_manifest_is_named_and_hides_no_other_run(tmp_path: Path) -> None:
    good = runs.create(tmp_path, "good", {})
    bad = runs.create(tmp_path, "zz-bad", {})
    bad.manifest_path.write_text("{")
    assert runs.open_run(tmp_path, "good") == good
    assert runs.open_run(tmp_path, bad.id) == bad
    with pytest.raises(RunError, match="not JSON"):
        bad.manifest()


@pytest.mark.parametrize("text", ["[]", '{"format": 99}', "{}", '"text"'])
def test_a_manifest_of_another_format_is_refused(tmp_path: Path, text: str) -> None:
    run = runs.create(tmp_path, "demo", {})
    run.manifest_path.write_text(text)
    with pytest.raises(RunError, match="format 1 expected"):
        run.manifest()


def test_folders_without_a_manifest_are_not_runs(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "README.md").write_text("hello")
    assert runs.list_runs(tmp_path) == []


def test_updating_the_manifest_keeps_what_it_had(tmp_path: Path) -> None:
    run = runs.create(tmp_path, "demo", {"clients": 10})
    run.update_manifest({"kernel": "6.1"})
    assert run.manifest()["kernel"] == "6.1"
    assert run.manifest()["parameters"] == {"clients": 10}


def test_a_file_no_phase_has_written_yet_is_named(tmp_path: Path) -> None:
    run = runs.create(tmp_path, "demo", {})
    with pytest.raises(RunError, match=r"timetable\.json: not there; the phase that writes it"):
        run.load_json(run.timetable_path)
    with pytest.raises(RunError, match="cannot be read"):
        run.load_json(run.raw_dir)


def test_the_lock_names_the_process_that_holds_it(tmp_path: Path) -> None:
    run = runs.create(tmp_path, "demo", {})
    program = textwrap.dedent(
        f"""
        import sys
        from pathlib import Path
        from perfkit.runs.folder import Run
        with Run(Path({str(run.root)!r})).locked():
            print("locked", flush=True)
            sys.stdin.read()
        """
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"locked\n"
        with pytest.raises(RunError, match=f"pid {holder.pid}"), run.locked():
            pass
        holder.kill()
    with run.locked():  # a dead holder holds nothing
        said = (run.root / ".lock").read_text()
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        assert said.startswith(f"pid {os.getpid()}, ")
        assert f"boot {boot_id}, since 20" in said


def test_the_name_of_a_holder_that_died_or_of_another_boot_bars_nobody(tmp_path: Path) -> None:
    run = runs.create(tmp_path, "demo", {})
    (run.root / ".lock").write_text("pid 1 on elsewhere, boot 0000, since 2001-01-01 00:00:00 UTC")
    with run.locked():
        assert "pid 1 on" not in (run.root / ".lock").read_text()


def test_a_folder_whose_making_was_cut_short_is_no_run(tmp_path: Path) -> None:
    def die(_run: Run) -> dict[str, object]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runs.create(tmp_path, "demo", {}, fill=die)
    assert runs.list_runs(tmp_path) == []
    made = runs.create(tmp_path, "demo", {}, fill=lambda run: {"keys": run.keys_dir.is_dir()})
    assert made.manifest()["keys"] is True
    assert runs.list_runs(tmp_path) == [made]


def test_the_lock_is_free_again_after_an_error_under_it(tmp_path: Path) -> None:
    run = runs.create(tmp_path, "demo", {})
    with pytest.raises(KeyError), run.locked():
        raise KeyError
    with run.locked():
        pass


def test_a_lock_that_cannot_be_taken_for_want_of_a_folder_is_a_run_error(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="cannot be written"), Run(tmp_path / "gone").locked():
        pass


def test_a_write_that_fails_keeps_the_old_file_and_leaves_nothing_beside_it(
    tmp_path: Path,
) -> None:
    path = tmp_path / "segments.json"
    runs.write_json(path, {"old": True})
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, old[1]))  # as a full disk: a part is written
    try:
        with pytest.raises(RunError, match=r"segments\.json: cannot be written \(File too large\)"):
            runs.write_atomic(path, b"x" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, handler)
    assert json.loads(path.read_bytes()) == {"old": True}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.root
def test_on_a_full_disk_the_old_file_stays(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], check=True)
    try:
        runs.write_json(disk / "hosts.json", {"old": True})
        with pytest.raises(RunError, match=r"No space left on device.*make room"):
            runs.write_atomic(disk / "hosts.json", b"x" * 100_000)
        assert json.loads((disk / "hosts.json").read_bytes()) == {"old": True}
        assert [p.name for p in disk.iterdir()] == ["hosts.json"]
    finally:
        subprocess.run(["umount", disk], check=True)


def test_an_atomic_write_replaces_the_file_with_the_mode_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "new" / "key"
    runs.write_atomic(path, b"one")
    runs.write_atomic(path, b"two", mode=0o644)
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o644
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_every_path_of_a_run_is_inside_it_and_in_the_layout_of_the_docstring(
    tmp_path: Path,
) -> None:
    run = Run(tmp_path / "20300101T000000Z-demo")
    for name in (n for n in dir(Run) if n.endswith(("_path", "_dir"))):
        value = getattr(run, name)
        path = value("client-001") if callable(value) else value
        assert path.is_relative_to(run.root)
        assert path.relative_to(run.root).parts[0] in (runs.__doc__ or "")


def test_a_checksum_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    assert runs.sha256_of(tmp_path / "empty").startswith("e3b0c44298fc1c14")

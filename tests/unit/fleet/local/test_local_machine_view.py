"""What of the machine's files a run's hosts are shown; in a mount namespace that ends with each test."""

from __future__ import annotations

import os
import shutil
import stat
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from machine_stage import STAGE, in_own_mounts

from perfkit.fleet.local import linux, machine_view

pytestmark = pytest.mark.root

OLD_NS = 1_600_000_000_123_456_789


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder under one that hosts see, with something for all and something for root."""
    folder = Path("/opt") / f"perfkit-unit-{uuid.uuid4().hex[:10]}"
    (folder / "runs").mkdir(parents=True)
    (folder / "locked").mkdir(mode=0o700)
    (folder / "locked/inside").write_text("private")
    (folder / "for-all").write_text("public")
    write_private(folder / "for-root")
    yield folder
    shutil.rmtree(folder)


def write_private(path: Path) -> None:
    path.write_text("private")
    path.chmod(0o600)


def attempt(work: Callable[[], object]) -> object:
    """What root gets: the value or the name of the error."""
    try:
        return work()
    except OSError as exc:
        return type(exc).__name__


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def show(folder: Path) -> Path:
    """A host's overlay on the public view of a folder."""
    for name in ("upper", "work", "host"):
        (STAGE / name).mkdir(mode=0o755)
    assert machine_view.show_public(folder, STAGE / "public")
    options = f"lowerdir={STAGE}/public,upperdir={STAGE}/upper,workdir={STAGE}/work"
    linux.mount("overlay", str(STAGE / "host"), "overlay", options=options)
    return STAGE / "host"


def test_root_in_a_host_reads_what_all_may_read_and_nothing_else(folder: Path) -> None:
    def work() -> list[object]:
        host = show(folder)
        write_private(folder / "made-later")
        (folder / "for-all").chmod(0o600)
        closed_later = attempt((host / "for-all").read_text)
        (folder / "for-all").chmod(0o644)
        return [
            (host / "for-all").read_text(),
            attempt((host / "for-root").read_text),
            attempt((host / "made-later").read_text),
            attempt((host / "locked/inside").read_text),
            attempt(lambda: names(host / "locked")),
            closed_later,
        ]

    assert in_own_mounts(work) == ["public", *["PermissionError"] * 5]


def test_changing_a_private_file_in_a_host_does_not_open_it(folder: Path) -> None:
    def work() -> list[object]:
        host = show(folder)
        secret, other = host / "for-root", host / "other"
        (host / "locked").chmod(0o755)
        return [
            attempt(lambda: secret.chmod(0o644)),
            attempt(lambda: os.chown(secret, 1, 1)),
            attempt(lambda: secret.rename(other)),
            attempt(lambda: other.hardlink_to(secret)),
            attempt(secret.read_text),
            attempt((host / "locked/inside").read_text),
            attempt(lambda: names(host / "locked")),
        ]

    assert in_own_mounts(work) == ["PermissionError"] * 7


def test_a_host_changes_and_removes_what_it_sees(folder: Path) -> None:
    def work() -> list[object]:
        host = show(folder)
        (host / "for-all").write_text("changed")
        (host / "for-root").unlink()
        (host / "for-root").write_text("the host's own")
        return [(host / "for-all").read_text(), (host / "for-root").read_text()]

    assert in_own_mounts(work) == ["changed", "the host's own"]
    assert (folder / "for-all").read_text() == "public"
    assert (folder / "for-root").read_text() == "private"


def test_where_overlays_stack_no_deeper_private_files_are_looked_for_and_hidden(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stack() -> object:
        """Whether a folder that is an overlay already can be shown: a host's would be the third."""
        host = show(folder)
        return machine_view.show_public(host, STAGE / "again")

    assert in_own_mounts(stack) is False
    monkeypatch.setattr(machine_view, "show_public", lambda *_: False)
    monkeypatch.setattr(machine_view, "TREES", ("opt",))
    view, files = build_and_list([])
    assert view.trees["opt"] == Path("/opt")
    assert files[str(folder / "for-root")] == "whiteout"
    assert files[str(folder / "locked")] == "whiteout"
    assert str(folder / "for-all") not in files


def build_and_list(hidden: list[Path]) -> tuple[machine_view.MachineView, dict[str, str]]:
    """The view, and of its mask every entry by the path it lies over: folder, whiteout or file."""

    def work() -> tuple[machine_view.MachineView, dict[str, str]]:
        view = machine_view.build(STAGE, hidden)
        kinds = {stat.S_IFDIR: "folder", stat.S_IFCHR: "whiteout"}
        return view, {
            f"/{path.relative_to(view.mask)}": kinds.get(stat.S_IFMT(path.lstat().st_mode), "file")
            for path in view.mask.rglob("*")
        }

    found = in_own_mounts(work)
    assert isinstance(found, tuple), found
    return found


def test_hidden_folders_are_hidden_only_inside_what_hosts_see(folder: Path) -> None:
    hidden = [
        folder / "runs",
        folder / "comes-later",
        Path("/usr"),
        Path("/nowhere/x"),
        Path("/root"),
    ]
    view, files = build_and_list(hidden)
    assert files[str(folder / "runs")] == "whiteout"
    assert files[str(folder / "comes-later")] == "whiteout"
    assert files[str(folder)] == "folder"
    assert not [path for path in files if path.startswith(("/usr", "/root", "/nowhere"))]
    assert "usr" in view.trees


def test_a_folder_that_only_root_may_enter_is_not_shown_at_all(folder: Path) -> None:
    def work() -> object:
        (STAGE / "opt").mkdir(mode=0o700)
        linux.bind(str(STAGE / "opt"), "/opt")
        return machine_view.present_trees()

    trees = in_own_mounts(work)
    assert isinstance(trees, tuple)
    assert "opt" not in trees
    assert "usr" in trees


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    """A machine's /etc with one of each kind."""
    etc = tmp_path / "machine"
    for name in ("cron.d", "cron.daily", "ssh", "pam.d", "ssl/certs", "locked", "wireguard", "app"):
        (etc / name).mkdir(parents=True)
    for name in ("passwd", "crontab", "cron.d/job", "ssh/ssh_config", "wireguard/wg0.conf", "machine-id",
                 "ssl/certs/ca.pem", "app/settings", "app/hidden", "locked/inside"):  # fmt: skip
        (etc / name).write_text("public")
        os.utime(etc / name, ns=(OLD_NS, OLD_NS))
    for name in ("shadow", "app/password"):
        write_private(etc / name)
    (etc / "locked").chmod(0o700)
    (etc / "app").chmod(0o775)
    (etc / "resolv.conf").symlink_to("/run/somewhere")
    (etc / "link").symlink_to("app/settings")
    os.chown(etc / "app/settings", 12, 34)
    return etc


@pytest.fixture
def copy(tmp_path: Path, etc: Path) -> Path:
    old = os.umask(0o077)
    try:
        machine_view.copy_etc(etc, tmp_path / "copy", [etc / "app/hidden"], ["More yes"])
    finally:
        os.umask(old)
    return tmp_path / "copy"


def test_etc_is_a_copy_of_what_all_may_read(copy: Path) -> None:
    copied = {str(path.relative_to(copy)) for path in copy.rglob("*") if not path.is_dir()}
    own = {
        "shadow",
        "gshadow",
        "sudoers",
        "resolv.conf",
        "timezone",
        "pam.d/cron",
        "ssh/sshd_config",
    }
    assert copied == own | {"passwd", "ssl/certs/ca.pem", "app/settings", "link"}
    assert (copy / "link").readlink() == Path("app/settings")
    assert (copy / "passwd").read_text() == "public"


def test_files_in_etc_are_as_old_as_the_machines(copy: Path, etc: Path) -> None:
    for name in ("passwd", "app/settings", "ssl/certs/ca.pem"):
        assert (copy / name).stat().st_mtime_ns == (etc / name).stat().st_mtime_ns == OLD_NS


def test_owners_and_modes_in_etc_are_the_machines_whatever_the_umask(copy: Path, etc: Path) -> None:
    for name in ("passwd", "app", "app/settings", "ssl", "ssl/certs", "."):
        ours, machines = (copy / name).stat(), (etc / name).stat()
        assert (ours.st_mode, ours.st_uid, ours.st_gid) == (
            machines.st_mode,
            machines.st_uid,
            machines.st_gid,
        ), name
    for name, mode in {"ssh": 0o755, "cron.d": 0o755, "timezone": 0o644, "sudoers": 0o440}.items():
        assert stat.S_IMODE((copy / name).stat().st_mode) == mode, name


def test_passwords_keys_and_cron_jobs_of_the_machine_are_not_those_of_the_host(copy: Path) -> None:
    assert (copy / "shadow").read_text() == "root:*:19000:0:99999:7:::\n"
    assert stat.S_IMODE((copy / "shadow").stat().st_mode) == 0o600
    assert names(copy / "ssh") == ["sshd_config"]
    assert (copy / "ssh/sshd_config").read_text().endswith("More yes\n")
    assert sorted(path.name for path in copy.glob("*cron*")) == ["cron.d", "cron.daily"]
    assert names(copy / "cron.d") == []


def test_files_of_the_kernel_that_only_root_may_read_are_known() -> None:
    view = in_own_mounts(lambda: machine_view.build(STAGE, []))
    assert isinstance(view, machine_view.MachineView)
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():  # a process, which may end meanwhile
            continue
        status = entry.lstat()
        if stat.S_ISREG(status.st_mode) and not status.st_mode & 0o004:
            assert entry.name in view.hidden_kernel_files
    assert {"keys", "key-users"} <= set(view.hidden_kernel_files) | set(MISSING)


MISSING = [name for name in ("keys", "key-users") if not Path("/proc", name).exists()]

"""A run handed on: without its secrets, the same bytes each time, and opened without trust."""

from __future__ import annotations

import io
import lzma
import os
import shutil
import stat
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from perfkit import untrusted
from perfkit.analysis import campaign_cells
from perfkit.campaign import offline
from perfkit.campaign.archive import export_run, import_run
from perfkit.cli import app
from perfkit.errors import RunError
from perfkit.runs import campaign_folder
from perfkit.runs.campaign_folder import block_runs
from perfkit.runs.folder import Run, sha256_of
from perfkit.ssh.keys import make_ssh_key
from perfkit.testing.campaigns import make_campaign
from perfkit.testing.runs import make_run

KEY = make_ssh_key().private_openssh
MARKER = b"PRIVATE KEY"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = make_run(
        tmp_path_factory.mktemp("made") / "run", clients=2, tests=["direct-tcp"], duration_s=4
    )
    for path, text in {
        run.key_path: KEY,
        run.keys_dir / "ca.key": "-----BEGIN PRIVATE KEY-----\n",
        run.host_dir("server") / "bundle/openvpn/tls-crypt.key": "secret",
        run.host_dir("server") / "bundle/openvpn/server.conf": "port 1194",
        run.host_dir("server") / "configure.log": "all went well",
        run.config_dir / "tests.conf": "[direct-tcp]\n",
        run.config_dir / "resources/openvpn/server.conf": "port 1194",
        run.journal_path: "",
        run.root / ".lock": "pid 1",
    }.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return run


@pytest.fixture
def run(made: Run, tmp_path: Path) -> Run:
    shutil.copytree(made.root, tmp_path / "there" / made.id)
    return Run(tmp_path / "there" / made.id)


def names_in(archive: Path) -> list[str]:
    with tarfile.open(archive) as tar:
        return tar.getnames()


def test_no_key_is_in_the_archive_and_what_was_left_out_is_said(run: Run, tmp_path: Path) -> None:
    exported = export_run(run, tmp_path / "run.tar.xz")
    names = names_in(exported.path)
    assert f"{run.id}/raw/server/monitor.csv" in names
    assert f"{run.id}/hosts/server/configure.log" in names
    assert not [name for name in names if "/keys/" in name or "bundle" in name or ".lock" in name]
    assert MARKER not in lzma.decompress(exported.path.read_bytes())
    assert {"keys/id_ed25519", "keys/ca.key"} <= set(exported.left_out)
    assert "left out, keys of the run: keys/ca.key, keys/id_ed25519" in str(exported)
    assert stat.S_IMODE(exported.path.stat().st_mode) == 0o600


def test_the_same_run_gives_the_same_bytes(run: Run, tmp_path: Path) -> None:
    export_run(run, tmp_path / "one.tar.xz")
    for path in run.root.rglob("*"):
        os.utime(path, (1, 1))
        path.chmod(0o755)
    export_run(run, tmp_path / "two.tar.xz")
    assert sha256_of(tmp_path / "one.tar.xz") == sha256_of(tmp_path / "two.tar.xz")


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("raw/server/odd.log", KEY, "a private key"),
        ("raw/server/odd.log.xz", KEY, "a private key"),
        ("config/resources/tests/mine", f"#!/bin/sh\ncat <<EOF\n{KEY}", "a private key"),
        ("config/static.key", "anything", "named like a key"),
        ("config/resources/id_rsa", "anything", "named like a key"),
        ("hosts/server/static.log", "-----BEGIN OpenVPN Static key V1-----", "an OpenVPN key"),
        ("config/ec2.conf", "profile = AKIAABCDEFGHIJKLMNOP", "an AWS access key"),
    ],
)
def test_a_secret_in_any_file_is_found_and_left_out(
    run: Run, tmp_path: Path, name: str, text: str, reason: str
) -> None:
    path = run.root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(lzma.compress(text.encode()) if name.endswith(".xz") else text.encode())
    exported = export_run(run, tmp_path / "run.tar.xz")
    assert reason in exported.left_out[name]
    assert f"{run.id}/{name}" not in names_in(exported.path)
    assert import_run(exported.path, tmp_path / "here").id == run.id


def test_a_link_is_not_followed_out_of_the_run(run: Run, tmp_path: Path) -> None:
    (run.raw_dir / "server/hostname.log").symlink_to("/etc/hostname")
    (run.raw_dir / "etc").symlink_to("/etc")
    exported = export_run(run, tmp_path / "run.tar.xz")
    assert exported.left_out["raw/server/hostname.log"] == "no regular file"
    assert exported.left_out["raw/etc"] == "no regular file"


def test_a_secret_in_a_file_that_a_run_needs_ends_the_export(run: Run, tmp_path: Path) -> None:
    run.manifest_path.write_text(run.manifest_path.read_text() + KEY)
    with pytest.raises(RunError, match=r"manifest\.json: holds what looks like a private key"):
        export_run(run, tmp_path / "run.tar.xz")
    assert list(tmp_path.glob("*.xz")) == list(tmp_path.glob(".run*")) == []


def test_an_archive_that_is_there_is_not_overwritten(run: Run, tmp_path: Path) -> None:
    (tmp_path / "run.tar.xz").write_text("mine")
    with pytest.raises(RunError, match="is there already"):
        export_run(run, tmp_path / "run.tar.xz")


def test_an_opened_run_is_evaluated_like_the_one_it_was_made_of(run: Run, tmp_path: Path) -> None:
    shell = CliRunner()
    archive = tmp_path / "run.tar.xz"
    packed = shell.invoke(app.main, ["export", str(run.root), "-o", str(archive)])
    assert packed.exit_code == 0, packed.output
    assert "no private key was found in it" in packed.output
    here = tmp_path / "here"
    done = shell.invoke(app.main, ["import", str(archive), "--runs-dir", str(here)])
    assert done.exit_code == 0, done.output
    opened = offline.find_run("latest", runs_dir=str(here))
    modes = {stat.S_IMODE(path.stat().st_mode) for path in opened.root.rglob("*") if path.is_file()}
    folders = {stat.S_IMODE(path.stat().st_mode) for path in opened.root.rglob("*/")}
    assert (modes, folders, stat.S_IMODE(opened.root.stat().st_mode)) == ({0o600}, {0o700}, 0o700)
    assert offline.segment(opened).to_text() == offline.segment(run).to_text()
    one, other = (offline.report(it, echo=False).summary for it in (run, opened))
    assert one.tests.equals(other.tests)
    second = make_run(tmp_path / "second", clients=2, tests=["direct-tcp"], duration_s=4, seed=1)
    compared = offline.compare(str(second.root), str(opened.root), out=str(here), echo=False)
    assert compared.page is not None


def test_a_run_is_not_opened_over_one_that_is_there(run: Run, tmp_path: Path) -> None:
    archive = export_run(run, tmp_path / "run.tar.xz").path
    import_run(archive, tmp_path / "here")
    with pytest.raises(RunError, match="is there already"):
        import_run(archive, tmp_path / "here")


def member(name: str, kind: bytes = tarfile.REGTYPE, **options: object) -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.type = kind
    for key, value in options.items():
        setattr(found, key, value)
    return found


def with_pax(size: int) -> bytes:
    """A header of a member that is said to be so large, of the kind that tarfile loads whole."""
    return member("x", tarfile.XHDTYPE, size=size).tobuf(tarfile.USTAR_FORMAT)


ADDED: dict[str, tuple[list[tuple[tarfile.TarInfo, bytes]], str]] = {
    "a way out": ([(member("run/../../out"), b"x")], "no path below"),
    "an absolute path": ([(member("/tmp/out"), b"x")], "no path below"),
    "a path from here": ([(member("./run/x"), b"x")], "no path below"),
    "a name with an escape": ([(member("run/a\x1b[2J"), b"x")], "no path below"),
    "a symbolic link": ([(member("run/x", tarfile.SYMTYPE, linkname="/etc"), b"")], "a link"),
    "a hard link": ([(member("run/x", tarfile.LNKTYPE, linkname="/etc/passwd"), b"")], "a link"),
    "a device": ([(member("run/x", tarfile.BLKTYPE), b"")], "a device"),
    "a fifo": ([(member("run/x", tarfile.FIFOTYPE), b"")], "a device"),
    "an unknown kind": ([(member("run/x", b"Z"), b"")], "no plain file"),
    "a file twice": ([(member("run/x"), b"x"), (member("run/x"), b"y")], "comes twice"),
    "another run": ([(member("other/x"), b"x")], "of another run"),
    "no run": ([(member("x"), b"x")], "in no run's folder"),
    "keys": ([(member("run/keys/id_ed25519"), b"x")], "never packs"),
    "a cache": ([(member("run/tables/cache/x.json"), b"x")], "never packs"),
    "a file as a folder": ([(member("run/x"), b"x"), (member("run/x/y"), b"y")], "cannot be op"),
    "a changed log": ([(member("run/raw/SHA256SUMS"), b"0" * 64 + b"  ../../x\n")], "comes twice"),
}


def packed(run: Run, folder: Path, change: Callable[[bytes], bytes]) -> Path:
    """An archive of a run, changed as a tar."""
    archive = export_run(run, folder / "run.tar.xz").path
    archive.write_bytes(lzma.compress(change(lzma.decompress(archive.read_bytes())), preset=0))
    return archive


def refused(archive: Path, folder: Path, words: str) -> None:
    with pytest.raises(RunError, match=words) as caught:
        import_run(archive, folder / "here")
    assert str(caught.value).isprintable()
    assert list((folder / "here").iterdir()) == []
    assert not (folder / "out").exists()


@pytest.mark.parametrize("name", ADDED)
def test_an_archive_that_would_do_more_than_write_a_run_is_refused(
    run: Run, tmp_path: Path, name: str
) -> None:
    members, words = ADDED[name]

    def add(data: bytes) -> bytes:
        file = io.BytesIO(data)
        with tarfile.open(fileobj=file, mode="a") as tar:
            for info, content in members:
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
        return file.getvalue()

    refused(packed(run, tmp_path, add), tmp_path, words)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: data[: len(data) // 2], "not an archive of perfkit export"),
        (lambda data: data[:1000], "not an archive of perfkit export"),
        (lambda _: b"", "not an archive of perfkit export"),
        (lambda _: bytes(10240), "is empty"),
        (lambda _: b"no tar at all" * 100, "not an archive of perfkit export"),
        (lambda data: with_pax(0o77777777777) + data, "a header of"),
        (lambda data: with_pax(0o10_000_000) + data, "a header of"),
        (lambda data: data.replace(b"sec", b"sek"), "is not what was collected"),
        (lambda data: data.replace(b'"t0_utc_s"', b'"t1_utc_s"'), "are not as perfkit writes them"),
        (lambda data: data.replace(b'"start_s": 5.0', b'"start_s": "x"'), "are not as perfkit wr"),
        (lambda data: data.replace(b'"run": "run"', b'"run": "nur"'), "manifest is not that of"),
    ],
)
def test_a_damaged_or_forged_archive_is_refused(
    run: Run, tmp_path: Path, change: Callable[[bytes], bytes], words: str
) -> None:
    refused(packed(run, tmp_path, change), tmp_path, words)


def test_a_bomb_is_refused_before_it_fills_memory_or_disk(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = export_run(run, tmp_path / "run.tar.xz").path
    monkeypatch.setattr(untrusted, "FILE_BYTES", 2**20)
    with lzma.open(archive, "wb", preset=0) as file:
        file.write(member("run/raw/x.log", size=2**30).tobuf(tarfile.USTAR_FORMAT))
        for _ in range(64):
            file.write(bytes(2**20))
    tracemalloc.start()
    try:
        refused(archive, tmp_path, "larger than")
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 16 * 2**20


def test_all_that_comes_out_of_an_archive_is_bounded(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = export_run(run, tmp_path / "run.tar.xz").path
    monkeypatch.setattr("perfkit.campaign.archive.TOTAL_BYTES", 4096)
    refused(archive, tmp_path, "more than .* unpacked")


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.tar.xz").write_bytes(b"\x1f\x8b something else")
    refused(tmp_path / "x.tar.xz", tmp_path, "not an archive of perfkit export")


@pytest.fixture(scope="module")
def made_campaign(tmp_path_factory: pytest.TempPathFactory) -> Run:
    root = tmp_path_factory.mktemp("made") / "big"
    return make_campaign(root, clients=(1, 2), repetitions=1, void=(), duration_s=4)


@pytest.fixture
def campaign(made_campaign: Run, tmp_path: Path) -> Run:
    run = Run(Path(shutil.copytree(made_campaign.root, tmp_path / "there" / "big")))
    for place in (run, *block_runs(run)):
        place.key_path.parent.mkdir(exist_ok=True)
        place.key_path.write_text(KEY)
        bundle = place.host_dir("server") / "bundle/openvpn/tls-crypt.key"
        bundle.parent.mkdir(parents=True)
        bundle.write_text("secret")
        place.cache_dir.mkdir(parents=True, exist_ok=True)
        (place.cache_dir / "x.json").write_text("{}")
    return run


def test_a_campaign_is_packed_with_its_blocks_and_without_their_keys(
    campaign: Run, tmp_path: Path
) -> None:
    archive = export_run(campaign, tmp_path / "c.tar.xz").path
    names = names_in(archive)
    assert "big/design.json" in names
    assert {f"big/blocks/000{n}/raw/SHA256SUMS" for n in (1, 2)} <= set(names)
    wrong = ("keys/", "bundle/", "cache/", "cells.parquet", "windows-read")
    assert not [name for name in names if any(part in name for part in wrong)]
    assert MARKER not in lzma.decompress(archive.read_bytes())
    opened = import_run(archive, tmp_path / "here")
    assert campaign_cells.refresh(opened).equals(campaign_cells.refresh(campaign))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("big/cells.parquet", "never packs"),
        ("big/tables/windows-read.json", "never packs"),
        ("big/blocks/0001/tables/cache/y.json", "never packs"),
        ("big/blocks/0001/keys/id_ed25519", "never packs"),
    ],
)
def test_what_would_stand_for_the_logs_of_blocks_is_refused(
    campaign: Run, tmp_path: Path, name: str, words: str
) -> None:
    def add(data: bytes) -> bytes:
        file = io.BytesIO(data)
        with tarfile.open(fileobj=file, mode="a") as tar:
            tar.addfile(member(name, size=1), io.BytesIO(b"x"))
        return file.getvalue()

    refused(packed(campaign, tmp_path, add), tmp_path, words)


def test_a_changed_log_of_a_block_and_a_changed_design_are_refused(
    campaign: Run, tmp_path: Path
) -> None:
    sums = block_runs(campaign)[0].sums_path
    sums.chmod(0o600)
    sums.write_text(sums.read_text().replace(sums.read_text()[:8], "00000000", 1))
    refused(export_run(campaign, tmp_path / "a.tar.xz").path, tmp_path, "is not what was collected")
    sums.unlink()
    campaign_folder.design_path(campaign).write_text('{"format": 1}')
    refused(export_run(campaign, tmp_path / "b.tar.xz").path, tmp_path, "damaged at")


def test_a_block_alone_is_not_packed(campaign: Run, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="perfkit export big has it"):
        export_run(block_runs(campaign)[0], tmp_path / "block.tar.xz")

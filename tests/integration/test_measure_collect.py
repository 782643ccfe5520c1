"""Logs brought home from real hosts: whole, checksummed, read-only, and only what is a log."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from measured_fleet import Fleet, launch, shipped, spec

from perfkit.errors import CollectError, RunError
from perfkit.measure import collect as collecting
from perfkit.measure.collect import collect
from perfkit.measure.plan import plan
from perfkit.runs.folder import Run
from perfkit.ssh.remote import Access, RemotePool
from perfkit.ssh.sftp import part_of

pytestmark = pytest.mark.root

SLOTS = plan([shipped("direct-tcp", 1)])


@pytest.fixture(scope="module")
def fleet(
    needs_root: None,
    needs_tools: Callable[..., None],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Fleet]:
    """A server and two clients; the first client has been measured, and all was collected."""
    needs_tools("iperf", "cron", "sshd")
    for fleet in launch(tmp_path_factory.mktemp("collect"), "namespaces", 2):
        assert fleet.measure(SLOTS, fleet.hosts[:2]).failed == ()
        collected = collect(fleet.run, fleet.hosts[:2], SLOTS, pool=fleet.pool, threads=2)
        assert collected.failed == ()
        yield fleet


def test_collected_files_are_read_only_and_their_checksums_hold(fleet: Fleet) -> None:
    checked = subprocess.run(
        ["sha256sum", "--check", "--strict", "SHA256SUMS"],
        cwd=fleet.run.raw_dir,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout
    files = {p for p in fleet.run.raw_dir.rglob("*") if p.is_file()}
    assert len(checked.stdout.splitlines()) == len(files) - 1  # all but SHA256SUMS itself
    assert {p.stat().st_mode & 0o777 for p in files} == {0o400}
    assert fleet.run.clocks_path in files


def test_collecting_again_contacts_nobody_and_changes_nothing(fleet: Fleet) -> None:
    before = {p: p.stat().st_mtime_ns for p in fleet.run.raw_dir.rglob("*")}
    with RemotePool(Access(key_path=Path("/none"), known_hosts_path=Path("/none"))) as no_pool:
        again = collect(fleet.run, fleet.hosts[:2], SLOTS, pool=no_pool, threads=2)
    assert again.failed == ()
    assert {p: p.stat().st_mtime_ns for p in fleet.run.raw_dir.rglob("*")} == before


def test_what_a_host_should_not_offer_stays_there(fleet: Fleet, tmp_path: Path) -> None:
    own = fleet.in_new_run(tmp_path)
    host = fleet.client(2)
    fleet.sh(
        host,
        f"""mkdir -p {host.workdir}/logs && cd {host.workdir}/logs
        echo good >extra.log
        ln -s /etc/passwd link.log; mkfifo pipe.log; mkdir folder.log; echo x >.hidden; echo x >x.part
        echo x >'a b'; echo x >"$(printf 'two\\nlines')" """,
    )
    slots = plan([spec("absent", tmp_path, "true")])
    result = collect(own.run, [host], slots, pool=fleet.pool, threads=1)
    (failed,) = result.failed
    assert "missing on the host: 01-absent.log, 01-absent.events.json" in failed.reason
    assert "'a b' (not a name of a log)" in failed.reason
    assert {p.name for p in own.run.host_raw_dir(host.name).iterdir()} == {"extra.log"}
    fleet.sh(host, f"rm -rf {host.workdir}/logs/*")


def test_a_log_that_is_too_large_is_left_and_named(
    fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = fleet.in_new_run(tmp_path)
    host = fleet.client(2)
    fleet.sh(
        host, f"mkdir -p {host.workdir}/logs; head -c 5000 /dev/zero >{host.workdir}/logs/big.log"
    )
    monkeypatch.setattr(collecting, "FILE_LIMIT_BYTES", 4096)
    slots = plan([spec("absent", tmp_path, "true")])
    (failed,) = collect(own.run, [host], slots, pool=fleet.pool, threads=1).failed
    assert "big.log (too large: 4.88 KiB)" in failed.reason
    fleet.sh(host, f"rm {host.workdir}/logs/big.log")


def test_a_collected_file_that_was_changed_is_found_and_never_fetched_over(
    fleet: Fleet, tmp_path: Path
) -> None:
    copy = Run(tmp_path / "copy")
    shutil.copytree(fleet.run.root, copy.root)
    changed = copy.host_raw_dir("client-001") / "01-direct-tcp.log"
    changed.chmod(0o644)
    changed.write_text("better numbers\n")
    with pytest.raises(CollectError, match=r"client-001/01-direct-tcp\.log"):
        collect(copy, fleet.hosts[:2], SLOTS, pool=fleet.pool, threads=2)
    assert changed.read_text() == "better numbers\n"


def copy_of(fleet: Fleet, tmp_path: Path) -> Fleet:
    """The same hosts, with a copy of what was collected from them."""
    copy = Run(tmp_path / fleet.run.id)
    shutil.copytree(fleet.run.root, copy.root)
    return replace(fleet, run=copy)


def test_what_a_killed_collector_had_fetched_whole_is_not_fetched_again(
    fleet: Fleet, tmp_path: Path
) -> None:
    own = copy_of(fleet, tmp_path)
    sums = own.run.sums_path.read_text()
    own.run.sums_path.unlink()  # it is written last
    with RemotePool(Access(key_path=Path("/none"), known_hosts_path=Path("/none"))) as no_pool:
        assert collect(own.run, own.hosts[:2], SLOTS, pool=no_pool, threads=2).failed == ()
    assert own.run.sums_path.read_text() == sums


def test_small_logs_that_were_fetched_ahead_are_collected_without_asking_the_host(
    fleet: Fleet, tmp_path: Path
) -> None:
    own = fleet.in_new_run(tmp_path)
    fetch = collecting.small_logs_of(own.run, fleet.pool)
    for host in own.hosts[:2]:
        fetch(host)
    assert not own.run.sums_path.exists()
    with RemotePool(Access(key_path=Path("/none"), known_hosts_path=Path("/none"))) as no_pool:
        assert collect(own.run, own.hosts[:2], SLOTS, pool=no_pool, threads=2).failed == ()
    assert own.run.sums_path.exists()


def test_logs_that_are_not_small_are_left_to_the_collector_and_so_is_a_host_that_is_gone(
    fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collecting, "SMALL_BYTES", 1000)
    own = fleet.in_new_run(tmp_path)
    collecting.small_logs_of(own.run, fleet.pool)(own.hosts[0])
    with RemotePool(Access(key_path=Path("/none"), known_hosts_path=Path("/none"))) as no_pool:
        collecting.small_logs_of(own.run, no_pool)(own.hosts[1])  # nothing is raised
    assert not any(own.run.raw_dir.glob("*/*"))


def test_a_file_that_was_cut_off_is_gone_on_with_from_its_end(fleet: Fleet, tmp_path: Path) -> None:
    own = copy_of(fleet, tmp_path)
    own.run.sums_path.unlink()
    log = own.run.host_raw_dir("server") / "01-direct-tcp.server.log"
    whole = log.read_bytes()
    log.unlink()
    part_of(log).write_bytes(whole[:1000])
    again = part_of(log).stat().st_ino
    assert collect(own.run, own.hosts[:2], SLOTS, pool=fleet.pool, threads=2).failed == ()
    assert log.read_bytes() == whole
    assert log.stat().st_ino == again  # the part became the file
    assert not part_of(log).exists()


def test_a_part_of_another_file_does_not_get_in(fleet: Fleet, tmp_path: Path) -> None:
    own = copy_of(fleet, tmp_path)
    own.run.sums_path.unlink()
    log = own.run.host_raw_dir("client-001") / "01-direct-tcp.log"
    whole = log.read_bytes()
    log.unlink()
    part_of(log).write_bytes(b"of yesterday\n" * 3)
    assert collect(own.run, own.hosts[:2], SLOTS, pool=fleet.pool, threads=2).failed == ()
    assert log.read_bytes() == whole


def test_a_host_that_is_gone_is_not_asked_and_what_it_did_not_deliver_is_named(
    fleet: Fleet, tmp_path: Path
) -> None:
    own = copy_of(fleet, tmp_path)
    own.run.sums_path.unlink()
    log = own.run.host_raw_dir("client-001") / "01-direct-tcp.log"
    log.unlink()
    part_of(log).write_bytes(b"half")
    gone = {"client-001"}
    result = collect(own.run, own.hosts[:2], SLOTS, pool=fleet.pool, threads=2, gone=gone)
    (failed,) = result.failed
    assert "lost with the host: 01-direct-tcp.log" in failed.reason
    assert "partial, not used: 01-direct-tcp.log (4 B)" in failed.reason
    assert "01-direct-tcp.log" not in own.run.sums_path.read_text().split("server/")[0]


def test_a_full_disk_here_is_no_hosts_fault_and_nothing_is_lost_by_it(
    fleet: Fleet, tmp_path: Path
) -> None:
    own = fleet.in_new_run(tmp_path)
    raw = own.run.raw_dir
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", raw], check=True)
    try:
        ballast = raw / ".ballast"
        ballast.write_bytes(bytes(60 * 1024))
        with pytest.raises(RunError, match=r"(incomplete|cannot be written).*make room"):
            collect(own.run, fleet.hosts[:2], SLOTS, pool=fleet.pool, threads=2)
        ballast.unlink()
        subprocess.run(["mount", "-o", "remount,size=8m", raw], check=True)
        assert collect(own.run, fleet.hosts[:2], SLOTS, pool=fleet.pool, threads=2).failed == ()
    finally:
        subprocess.run(["umount", raw], check=True)

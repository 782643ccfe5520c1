"""Hosts on loopback: nobody else gets at their files, and whatever is left of one is found and ended."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from local_runs import LocalRun, answers, wait_until

from perfkit.errors import LaunchError, ProviderError
from perfkit.fleet.local import loopback, loopback_folders, loopback_processes, tags
from perfkit.fleet.local.provider import LocalProvider
from perfkit.fleet.reap import release_until_quiet
from perfkit.model import Host
from perfkit.testing.provider_runs import with_reasons

NOBODY = 65534
SOON_S = 60.0


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A temporary folder for everybody, like /tmp, that is this process's."""
    with tempfile.TemporaryDirectory(prefix="everybodys-", dir="/tmp") as folder:
        Path(folder).chmod(0o1777)
        monkeypatch.setattr("tempfile.tempdir", folder)
        yield Path(folder)


@pytest.fixture
def run(tmp_path: Path, needs_tools: Callable[..., None]) -> Iterator[LocalRun]:
    needs_tools("sshd", "ssh")
    run = LocalRun(tmp_path)
    yield run
    left = [pid for processes in found(run).values() for pid in processes]
    loopback.end(run.run_id)
    assert left == [], "the test should have released its hosts"


@pytest.fixture
def provider() -> LocalProvider:
    return LocalProvider("loopback")


def found(run: LocalRun) -> dict[str, list[int]]:
    hosts = loopback_processes.find(run.run_id, {})
    return {name: [process.pid for process in processes] for name, processes in hosts.items()}


def by_nobody(script: str) -> None:
    """What another user does in the shared folder."""
    command = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    subprocess.run([*command, "sh", "-c", f"umask 0; {script}"], check=True, timeout=60)


def folder_of(host: Host) -> Path:
    return Path(host.workdir).parent


def assert_only_ours(host: Host) -> None:
    for path in (folder_of(host), folder_of(host).parent):
        about = path.lstat()
        assert stat.S_ISDIR(about.st_mode)
        assert (about.st_uid, stat.S_IMODE(about.st_mode)) == (os.geteuid(), 0o700)


@pytest.mark.root
def test_folders_that_another_user_made_first_are_neither_used_nor_removed(
    run: LocalRun, provider: LocalProvider, shared: Path, needs_tools: Callable[..., None]
) -> None:
    needs_tools("setpriv")
    old = f"{shared}/perfkit-0/{run.run_id}/client-001"
    guessed = f"{shared}/perfkit-loopback-{run.run_id}-guessed1"
    by_nobody(f"mkdir -p {old} {guessed}/client-001 && echo mine >{guessed}/client-001/sshd_config")
    provider.preflight(2)
    (host,) = provider.launch(run.request("client-001"))
    assert_only_ours(host)
    assert folder_of(host).parent != Path(guessed)
    assert list(Path(old).iterdir()) == []
    assert release_until_quiet(provider, run.run_id).leaked == ()
    assert Path(guessed, "client-001", "sshd_config").read_text() == "mine\n"


@pytest.mark.parametrize("disguise", ["a link", "open to others"])
def test_a_folder_of_the_right_name_that_is_not_private_is_neither_used_nor_removed(
    run: LocalRun, provider: LocalProvider, shared: Path, tmp_path: Path, disguise: str
) -> None:
    wrong = shared / f"perfkit-loopback-{run.run_id}-00000000"
    place = tmp_path / "elsewhere" if disguise == "a link" else wrong
    place.mkdir(mode=0o700 if disguise == "a link" else 0o755)
    (place / "file").write_text("of somebody")
    if disguise == "a link":
        wrong.symlink_to(place)
    (host,) = provider.launch(run.request("client-001"))
    assert_only_ours(host)
    assert folder_of(host).parent != wrong
    provider.release(run.run_id)
    assert [path.name for path in place.iterdir()] == ["file"]
    assert list(shared.iterdir()) == [wrong]


@pytest.mark.parametrize("mode", [0o777, 0o707])
def test_a_temporary_folder_in_which_others_may_rename_is_refused_in_words(
    run: LocalRun, provider: LocalProvider, shared: Path, mode: int
) -> None:
    shared.chmod(mode)
    with pytest.raises(ProviderError, match=r"no sticky bit.*set TMPDIR"):
        provider.preflight(2)
    with pytest.raises(LaunchError, match=r"no sticky bit.*set TMPDIR"):
        provider.launch(run.request("client-001"))
    assert list(shared.iterdir()) == []


@pytest.mark.root
def test_a_temporary_folder_of_another_user_is_refused_in_words(
    provider: LocalProvider, shared: Path
) -> None:
    os.chown(shared, NOBODY, NOBODY)
    with pytest.raises(ProviderError, match=r"belongs to nobody; set TMPDIR"):
        provider.preflight(2)


@pytest.mark.root
def test_sshd_checks_owners_and_modes_itself_where_no_folder_on_the_way_is_everybodys(
    run: LocalRun, provider: LocalProvider, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (host,) = provider.launch(run.request("client-001"))
    assert "StrictModes no\n" in (folder_of(host) / "sshd_config").read_text()
    provider.release(run.run_id)
    with tempfile.TemporaryDirectory(prefix="perfkit test % ", dir="/var/lib") as closed:
        monkeypatch.setattr("tempfile.tempdir", closed)
        (host,) = provider.launch(run.request("client-001", token="second"))
        assert "StrictModes yes\n" in (folder_of(host) / "sshd_config").read_text()
        assert run.ssh(host, "echo in").stdout == "in\n"
        provider.release(run.run_id)
        assert list(Path(closed).iterdir()) == []


def test_hosts_whose_folder_is_gone_are_ended(run: LocalRun, provider: LocalProvider) -> None:
    (host,) = provider.launch(run.request("client-001"))
    run.ssh(host, "setsid sleep 300 >/dev/null 2>&1 </dev/null &")
    shutil.rmtree(folder_of(host).parent)
    report = release_until_quiet(provider, run.run_id)
    assert (report.leaked, report.released) == ((), ("client-001",))
    assert found(run) == {}


def test_hosts_launched_under_another_temporary_folder_are_ended_with_it(
    run: LocalRun, provider: LocalProvider, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = provider.launch(run.request("server"))
    monkeypatch.undo()
    again = provider.launch(run.request("server"))
    assert [host.port for host in again] == [host.port for host in first]
    report = release_until_quiet(provider, run.run_id)
    assert (report.leaked, report.released) == ((), ("server",))
    assert found(run) == {}
    assert list(shared.iterdir()) == []


@pytest.mark.parametrize("gone", ["sshd", "sshd and tag", "sshd, tag and folder"])
def test_what_a_dead_host_has_left_running_is_listed_and_ended(
    run: LocalRun, provider: LocalProvider, gone: str
) -> None:
    (host,) = provider.launch(run.request("client-001"))
    run.ssh(host, "setsid sleep 300 >/dev/null 2>&1 </dev/null &")
    (tagged,) = tags.scan(run.run_id)
    with subprocess.Popen(
        [*run.client("ssh", host, "-p"), "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as session:
        assert session.stdin
        assert session.stdout
        session.stdin.write(b"x\n")
        session.stdin.flush()
        assert session.stdout.readline() == b"x\n"
        processes = loopback_processes.find(run.run_id, {})["client-001"]
        (listener,) = [it for it in processes if loopback_processes.listen_on([it], host.port)]
        os.kill(listener.pid, signal.SIGKILL)
        assert wait_until(lambda: not answers(host), SOON_S)
        if "tag" in gone:
            os.kill(tagged.pid, signal.SIGKILL)
            assert wait_until(lambda: tags.scan(run.run_id) == [], SOON_S)
        if "folder" in gone:
            shutil.rmtree(folder_of(host).parent)
        assert run.run_id in provider.runs()
        assert bool(provider.hosts(run.run_id)) == ("tag" not in gone)
        assert any("client-001: process" in it for it in provider.residue(run.run_id)) == (
            "tag" in gone
        )
        report = release_until_quiet(provider, run.run_id)
        assert (report.leaked, report.released) == ((), ("client-001",))
        assert found(run) == {}
        assert session.wait(SOON_S) != 0, "its session has ended too"


def test_an_idle_session_whose_listening_sshd_was_killed_is_ended(
    run: LocalRun, provider: LocalProvider, tmp_path: Path
) -> None:
    (host,) = provider.launch(run.request("client-001"))
    run.pin([host])
    logged_in = tmp_path / "logged-in"  # before that, a session does not outlive who accepts it
    tell = ["-o", "PermitLocalCommand=yes", "-o", f"LocalCommand=touch '{logged_in}'"]
    with subprocess.Popen(
        [*run.client("ssh", host, "-p")[:-1], *tell, "-N", f"{host.user}@{host.address}"]
    ):
        assert wait_until(logged_in.exists, SOON_S)
        assert len(sshds(run, host)) >= 2
        processes = loopback_processes.find(run.run_id, {})["client-001"]
        (listener,) = [it for it in processes if loopback_processes.listen_on([it], host.port)]
        os.kill(listener.pid, signal.SIGKILL)
        assert wait_until(lambda: not answers(host), SOON_S)
        assert sshds(run, host), "the session has outlived the sshd that accepted it"
        assert release_until_quiet(provider, run.run_id).leaked == ()
        assert sshds(run, host) == []


def sshds(run: LocalRun, host: Host) -> list[int]:
    processes = loopback_processes.find(run.run_id, {host.name: host.port}).get(host.name, [])
    return [process.pid for process in processes if process.is_sshd]


def test_a_dead_host_can_be_made_again(run: LocalRun, provider: LocalProvider) -> None:
    provider.launch(run.request("client-001"))
    (tagged,) = tags.scan(run.run_id)
    os.kill(tagged.pid, signal.SIGKILL)
    assert wait_until(lambda: not provider.hosts(run.run_id), SOON_S)
    (host,) = provider.launch(run.request("client-001", token="second"))
    assert run.ssh(host, "echo in").stdout == "in\n"
    provider.release(run.run_id)


def test_a_port_that_is_taken_after_it_was_chosen_is_replaced_by_another(
    run: LocalRun, provider: LocalProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    # private: another process takes a port in between, as no door can
    free_ports, asked = loopback._free_ports, []
    with socket.create_server(("127.0.0.1", 0)) as strangers:
        taken = strangers.getsockname()[1]

        def choose(count: int) -> list[int]:
            asked.append(count)
            return [taken, *free_ports(count - 1)] if len(asked) == 1 else free_ports(count)

        # private: the fault that is said above
        monkeypatch.setattr(loopback, "_free_ports", choose)
        server, client = provider.launch(run.request("server", "client-001"))
    assert asked == [2, 1]
    assert taken not in (server.port, client.port)
    assert run.ssh(server, "echo in").stdout == "in\n"
    provider.release(run.run_id)


def test_why_one_host_of_several_was_not_made_is_recorded(
    run: LocalRun, provider: LocalProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    # private: the fault is put between the folder and its files
    write = loopback._write_folder

    def write_wrong(folder: Path, *rest: object) -> None:
        write(folder, *rest)  # type: ignore[arg-type]
        if folder.name == "client-002":
            with (folder / "sshd_config").open("a") as file:
                file.write("NoSuchWord yes\n")

    # private: the fault that is said above
    monkeypatch.setattr(loopback, "_write_folder", write_wrong)
    request, reasons = with_reasons(run.request("client-001", "client-002"))
    (host,) = provider.launch(request)
    assert host.name == "client-001"
    assert list(reasons) == ["client-002"]
    assert "NoSuchWord" in reasons["client-002"]
    assert loopback_folders.find(run.run_id)
    provider.release(run.run_id)


def test_a_key_that_cannot_be_written_fails_its_own_host_only(
    run: LocalRun, provider: LocalProvider
) -> None:
    request = run.request("client-001", "client-002", "client-003")
    wrong = replace(request.hosts[1], host_key_private="no text: \ud800")
    request, reasons = with_reasons(
        replace(request, hosts=(request.hosts[0], wrong, request.hosts[2]))
    )
    for _ in range(2):
        assert [host.name for host in provider.launch(request)] == ["client-001", "client-003"]
        assert list(reasons) == ["client-002"]
        assert "UnicodeEncodeError" in reasons["client-002"]
    provider.release(run.run_id)

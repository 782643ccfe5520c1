"""An open run: one writer, everything journalled, and the same again after the process died."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from memory_provider import MemoryProvider
from small_project import make_small_project

from perfkit.campaign import limits, phases
from perfkit.campaign import session as sessions
from perfkit.campaign.session import Session
from perfkit.errors import ConfigError, JournalError, RunError, ScheduleError
from perfkit.model import Host, HostState, Role, host_names
from perfkit.notebook import parameters as notebook
from perfkit.runs import journal
from perfkit.settings import parameters as settings
from perfkit.vpn.base import Program

TEMPLATES = Path(__file__).parents[3] / "resources" / "openvpn"
TESTS_CONF = "[direct-tcp]\nduration = 10\n\n[tunnel-tcp]\nduration = 10\npath = tunnel\n"


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> MemoryProvider:
    memory = MemoryProvider()
    monkeypatch.setattr(sessions, "get_provider", lambda _name, **_options: memory)
    return memory


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    make_small_project(tmp_path, monkeypatch, conf=TESTS_CONF)
    shutil.copytree(TEMPLATES, tmp_path / "resources" / "openvpn")
    return tmp_path


def opened(**parameters: object) -> Session:
    return sessions.open_new(settings.load(parameters))


def add_running(session: Session, name: str) -> None:
    session.inventory.add(name, Role.CLIENT)
    host = Host(name=name, role=Role.CLIENT, address="198.18.0.9", host_key="ssh-ed25519 AAAA")
    session.inventory.move(name, HostState.RUNNING, host=host)


@pytest.mark.usefixtures("project")
def test_a_new_run_asks_the_provider_first_and_records_what_it_runs_on(
    provider: MemoryProvider,
) -> None:
    with opened(clients=4, name="demo") as session:
        manifest = session.run.manifest()
        assert provider.preflights == [5]
        assert manifest["parameters"]["clients"] == 4
        assert manifest["controller"]["python"]
        assert manifest["provider_traits"]["can_tunnel"] is True
        assert session.run.key_path.stat().st_mode & 0o777 == 0o600
        assert (session.run.config_dir / "tests.conf").read_text() == TESTS_CONF
        assert [slot.name for slot in session.slots] == ["01-direct-tcp", "02-tunnel-tcp"]


@pytest.mark.usefixtures("project")
def test_more_clients_than_the_provider_can_make_are_refused_before_a_folder_is_made(
    provider: MemoryProvider, project: Path
) -> None:
    with pytest.raises(ConfigError, match="give at most 49"):
        opened(clients=50)
    assert provider.preflights == []
    assert not (project / "runs").exists()


@pytest.mark.usefixtures("provider")
def test_an_impossible_timetable_is_refused_before_a_folder_is_made(project: Path) -> None:
    conf = "[direct-tcp]\nduration = 60\ntime = 0\n\n[tunnel-tcp]\nduration = 9\ntime = 0.5\n"
    (project / "config" / "tests.conf").write_text(conf)
    with pytest.raises(ScheduleError):
        opened()
    assert not (project / "runs").exists()


@pytest.mark.usefixtures("project")
def test_hosts_that_cannot_tunnel_leave_out_tunnel_tests_and_the_manifest_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    flat = MemoryProvider(can_tunnel=False)
    monkeypatch.setattr(sessions, "get_provider", lambda _name, **_options: flat)
    with opened() as session:
        assert [slot.name for slot in session.slots] == ["01-direct-tcp"]
        assert "tunnel-tcp" in str(session.run.manifest()["notices"])
    with pytest.raises(ConfigError, match="needs a tunnel"):
        opened(tests="tunnel-tcp")


@pytest.mark.usefixtures("provider")
def test_attaching_to_a_run_that_is_open_here_gives_the_same_session(project: Path) -> None:
    session = opened(name="demo")
    assert sessions.attach(project / "runs", session.run.id) is session
    with pytest.raises(RunError, match=f"pid {os.getpid()}"), session.run.locked():
        pass
    session.close()
    session.close()
    with sessions.attach(project / "runs", session.run.id) as again:
        assert again is not session


@pytest.mark.usefixtures("provider")
def test_a_run_that_cannot_be_opened_is_not_left_locked(project: Path) -> None:
    with opened(name="demo") as session:
        session.journal.append("note")
        session.journal.append("note")
    whole = session.run.journal_path.read_bytes()
    session.run.journal_path.write_bytes(b"x" + whole)
    with pytest.raises(JournalError) as held:  # as a notebook holds the last traceback
        sessions.attach(project / "runs", session.run.id)
    session.run.journal_path.write_bytes(whole)
    sessions.attach(project / "runs", session.run.id).close()
    assert "damaged" in str(held.value)


@pytest.mark.usefixtures("project", "provider")
def test_the_log_of_a_host_is_named_so_that_a_copied_run_finds_it() -> None:
    with opened() as session:
        add_running(session, "client-001")
        (host,) = session.inventory.hosts()
        log = session.pool.log_path(host)
        session.inventory.move("client-001", HostState.FAILED, reason="gone", log=log)
        session.write_hosts()
        (row,) = session.run.load_json(session.run.hosts_path)
        assert row["log"] == "hosts/client-001/configure.log"
        assert (session.run.root / row["log"]) == log


@pytest.mark.usefixtures("project", "provider")
def test_a_phase_is_journalled_with_its_seconds_also_when_it_fails() -> None:
    with opened() as session:
        with session.phase("launch"):
            pass
        with pytest.raises(KeyError), session.phase("configure"):
            raise KeyError("gone")
        assert session.run.load_json(session.run.hosts_path) == []
    events = journal.read(session.run.journal_path).events
    assert [e.kind for e in events if e.kind.startswith("phase")] == [
        "phase-started",
        "phase-done",
        "phase-started",
        "phase-failed",
    ]
    assert events[-1].fields["reason"] == "KeyError: 'gone'"
    assert 0 <= events[-1].fields["elapsed_s"] < 60


def test_attach_brings_back_settings_and_hosts_and_names_those_that_are_gone(
    project: Path, provider: MemoryProvider
) -> None:
    with opened(clients=2, name="demo", duration_s=3) as session:
        add_running(session, "client-001")
        add_running(session, "client-002")
        provider.put(session.run.id, "client-001")
    (project / "config" / "tests.conf").write_text("[direct-tcp]\nduration = 99\n")
    with sessions.attach(project / "runs", "demo") as again:
        assert again.settings.parameters.most_clients == 2
        assert [slot.duration_s for slot in again.slots] == [3, 3]
        states = {r.name: r.state for r in again.inventory.records()}
        assert states == {"client-001": HostState.RUNNING, "client-002": HostState.FAILED}
        assert "no longer lists it" in again.inventory.get_record("client-002").reason


def test_names_of_clients_sort_as_they_count() -> None:
    names = [name for name, _ in host_names(1000)]
    assert names[0] == "server"
    assert names[1:] == sorted(names[1:])
    assert [name for name, _ in host_names(2)] == [
        "server",
        "client-001",
        "client-002",
    ]


@pytest.mark.usefixtures("project")
def test_hosts_that_all_failed_are_released_all_the_same(provider: MemoryProvider) -> None:
    with opened(clients=1, name="demo") as session:
        add_running(session, "client-001")
        provider.put(session.run.id, "client-001")
        session.inventory.move("client-001", HostState.FAILED, reason="it never started")
        assert session.inventory.hosts() == []
        phases.release(session)
        assert provider.hosts(session.run.id) == []
        assert not session.is_up


@pytest.mark.usefixtures("project")
def test_kept_hosts_stay_until_somebody_says_otherwise(provider: MemoryProvider) -> None:
    with opened(clients=1, name="demo", keep_fleet=True) as session:
        add_running(session, "client-001")
        provider.put(session.run.id, "client-001")
        phases.release(session)
        assert len(provider.hosts(session.run.id)) == 1
        phases.release(session, keep=False)
        assert provider.hosts(session.run.id) == []


@pytest.mark.usefixtures("project")
def test_hosts_that_hold_what_cannot_be_stored_here_outlive_the_process(
    provider: MemoryProvider,
) -> None:
    with opened(clients=1, name="demo") as session:
        add_running(session, "client-001")
        provider.put(session.run.id, "client-001")
        with pytest.raises(RunError), session.phase("collect"):
            raise RunError("raw/: no space left")
        # private: what atexit calls, which no test can wait for
        session._release_if_up()  # as when a notebook's kernel ends
        assert len(provider.hosts(session.run.id)) == 1
        with session.phase("collect"):
            pass
        assert session.spared == ""


@pytest.mark.usefixtures("provider")
def test_a_disk_too_small_for_the_run_is_refused_before_a_folder_is_made(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits.shutil, "disk_usage", lambda _path: SimpleNamespace(free=1))
    with pytest.raises(ConfigError, match=r"runs_dir .*1 B are free; make room"):
        opened(clients=3)
    assert not (project / "runs").exists()


@pytest.mark.usefixtures("provider")
def test_more_hosts_than_the_kernel_lets_run_the_vpns_program_are_refused_before_launch(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(TEMPLATES.parent / "wireguard", project / "resources" / "wireguard")
    inotify, numbers = "fs.inotify.max_user_instances", "kernel.pid_max"
    low = {inotify: 48, numbers: 32 * 26 + 16}
    monkeypatch.setattr(limits, "read_sysctl", lambda name: low[name])
    monkeypatch.setattr(Program, "is_needed_here", property(lambda it: it.name == "wireguard-go"))
    with pytest.raises(ConfigError, match=r"ask for at most 31, .*sysctl -w fs\.inotify\S+=98"):
        opened(clients=32, vpn="wireguard")
    low.update({inotify: 99, numbers: 32 * 26 + 15})
    with pytest.raises(ConfigError, match=r"ask for at most 30, .*sysctl -w kernel\.pid_max=1696"):
        opened(clients=31, vpn="wireguard")
    assert not (project / "runs").exists()
    low.update({inotify: 48, numbers: 32 * 26 + 16})
    with opened(clients=31, vpn="wireguard") as session:
        assert session.run.root.is_dir()
    with opened(clients=49) as session:  # OpenVPN takes none
        assert session.run.root.is_dir()


@pytest.mark.usefixtures("project", "provider")
def test_a_campaign_needs_room_for_all_its_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    free = SimpleNamespace(free=50_000_000)
    monkeypatch.setattr(limits.shutil, "disk_usage", lambda _path: free)
    with opened(clients=9) as session:
        assert session.run.root.is_dir()
    with pytest.raises(ConfigError, match=r"a campaign with 9 clients needs about .* are free"):
        opened(clients="1..9", repetitions=10)


@pytest.mark.usefixtures("project", "provider")
@pytest.mark.parametrize("runs_dir", ["/proc/x", __file__, f"{__file__}/x"])
def test_a_runs_folder_that_cannot_be_made_is_not_called_too_small(runs_dir: str) -> None:
    with pytest.raises(ConfigError, match=r"no folder can be made in .*; set runs_dir to"):
        opened(clients=3, runs_dir=runs_dir)


@pytest.mark.usefixtures("provider")
def test_tests_that_outlast_the_hosts_are_refused_before_a_folder_is_made(project: Path) -> None:
    with pytest.raises(ConfigError, match=r"expires_min = 5.* the tests take 20 min .* end before"):
        opened(clients=3, duration_s=600, expires_min=5)
    assert not (project / "runs").exists()


@pytest.mark.usefixtures("provider")
def test_the_key_of_existing_hosts_is_not_offered_to_hosts_that_were_made_for_the_run(
    project: Path,
) -> None:
    (project / "config" / "ssh.conf").write_text("[ssh]\nkey_file = ~/.ssh/of_the_lab\n")
    with opened(clients=1, name="demo") as session:
        assert session.pool.access.key_path == session.run.key_path


@pytest.mark.usefixtures("project")
def test_what_a_notebook_prints_says_each_notice_about_its_hosts_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    memory = MemoryProvider(can_tunnel=False)
    monkeypatch.setattr(sessions, "get_provider", lambda _name, **_options: memory)
    variables = {"clients": 2, "In": [""]}
    notebook.form(variables)
    phases.start(**notebook.parameters(variables)).close()
    printed = capsys.readouterr().out
    assert "2 clients and 1 server at memory" in printed
    assert printed.count(memory.notice) == 1
    assert printed.count("left out, hosts cannot have a tunnel: tunnel-tcp") == 1

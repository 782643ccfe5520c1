"""The command line: help that teaches, errors of one line, exit statuses that can be relied on."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner, Result
from memory_provider import MemoryProvider

from perfkit import doctor
from perfkit.campaign import phases, status_reap
from perfkit.cli import app
from perfkit.doctor import CheckResult, Examination, State
from perfkit.fleet.inventory import Inventory
from perfkit.model import HostResult, Role, StageResult


def perfkit(*arguments: str) -> Result:
    return CliRunner().invoke(app.main, arguments)


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> MemoryProvider:
    memory = MemoryProvider()
    monkeypatch.setattr(status_reap, "provider_names", lambda: ["memory"])
    monkeypatch.setattr(status_reap, "get_provider", lambda _name, **_options: memory)
    return memory


def test_help_is_a_tutorial_that_names_every_command() -> None:
    text = perfkit("--help").output
    tutorial = text.split("Commands:")[0]
    for command in app.main.commands:
        if command != "release":  # `run` and `reap` do it
            assert command in tutorial, command


@pytest.mark.parametrize("command", sorted(app.main.commands))
def test_every_command_explains_itself(command: str) -> None:
    result = perfkit(command, "--help")
    assert result.exit_code == 0
    assert len(result.output.splitlines()[2].strip()) > 20


@pytest.mark.parametrize("minutes", ["nan", "inf", "1_0", "010", "\uff15", "True"])
def test_minutes_to_renew_are_a_number_as_everywhere_else(minutes: str) -> None:
    result = perfkit("renew", "--minutes", minutes)
    assert result.exit_code == 2
    assert "a number is needed, in plain digits" in result.output


def test_an_unknown_command_is_a_usage_error() -> None:
    assert perfkit("lunch").exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run", "--clients", "0"], "clients"),
        (["run", "--clients", "ten"], "clients"),
        (["run", "--clients", "1000000000"], "clients"),
        (["run", "--clients", "1_0"], "a whole number is needed"),
        (["run", "--clients", "010"], "a whole number is needed"),
        (["run", "--duration-s", "nan"], "a number is needed"),
        (["run", "--tests", "direct-tcp,direct-tcp"], "named twice, and runs once"),
        (["launch", "--provider", "lokal"], "did you mean 'local'"),
        (["run", "--tests", "direct-tpc"], "did you mean 'direct-tcp'"),
        (["run", "--starter", "chance"], "starter"),
        (["run", "--segments", "saved"], "before you in 05_segments: events or auto"),
    ],
)
def test_bad_input_is_one_line_and_status_1_and_nothing_is_launched(
    arguments: list[str], says: str, tmp_path: Path
) -> None:
    result = perfkit(*arguments, "--runs-dir", str(tmp_path / "runs"))
    assert result.exit_code == 1
    assert result.stderr.startswith("perfkit: ConfigError: ")
    assert says in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("command", ["configure", "measure", "collect", "segment", "report"])
def test_a_phase_of_a_run_that_is_not_there_says_so(command: str, tmp_path: Path) -> None:
    result = perfkit(command, "demo", "--runs-dir", str(tmp_path))
    assert result.exit_code == 1
    assert "no run 'demo'; there are no runs yet" in result.stderr


def test_output_to_a_full_disk_is_one_line_and_a_failure() -> None:
    for arguments in (["--help"], ["--version"], ["run", "--help"]):
        with Path("/dev/full").open("w") as full:
            done = subprocess.run(
                [sys.executable, "-m", "perfkit.cli.app", *arguments],
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
        assert done.returncode == 1
        assert len(done.stderr.splitlines()) == 1, done.stderr


@pytest.mark.parametrize("command", ["clean", "trust"])
def test_a_folder_of_settings_that_is_not_there_is_refused(command: str, tmp_path: Path) -> None:
    result = perfkit(command, "--config-dir", str(tmp_path / "none"))
    assert result.exit_code == 1
    assert "no such folder" in result.stderr


def test_reap_fails_when_something_is_still_there(provider: MemoryProvider, tmp_path: Path) -> None:
    provider.put("run-a", "server", "client-001")
    provider.stuck = {"server"}
    result = perfkit("reap", "--yes", "--runs-dir", str(tmp_path))
    assert result.exit_code == 1
    assert result.stdout.startswith("STILL THERE: run-a: server")


def test_reap_is_a_dry_run_by_default(provider: MemoryProvider, tmp_path: Path) -> None:
    provider.put("run-a", "server")
    result = perfkit("reap", "--runs-dir", str(tmp_path))
    assert result.exit_code == 0
    assert "nothing was done; add --yes" in result.output
    assert len(provider.hosts()) == 1


def test_status_lists_what_is_running(provider: MemoryProvider, tmp_path: Path) -> None:
    provider.put("run-a", "server")
    result = perfkit("status", "--runs-dir", str(tmp_path))
    assert result.exit_code == 0
    assert "run-a: 1 host at memory" in result.output


@pytest.mark.parametrize(("state", "status"), [(State.LIMITED, 0), (State.MISSING, 1)])
def test_doctor_fails_only_if_something_is_missing(
    monkeypatch: pytest.MonkeyPatch, state: State, status: int
) -> None:
    finding = CheckResult(need="sshd", why="hosts", found="not found", state=state, remedy="get it")
    monkeypatch.setattr(doctor, "examine", lambda: Examination(findings=(finding,)))
    result = perfkit("doctor")
    assert result.exit_code == status
    assert "-> get it" in result.output


def test_an_interrupt_says_where_to_look_and_ends_as_a_shell_expects(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(status_reap, "status", interrupt)
    result = perfkit("status")
    assert result.exit_code == 130
    assert result.stderr.startswith("perfkit: interrupted; perfkit status")


@pytest.mark.parametrize(
    ("clients", "status"), [((True, False), 0), ((True, True), 0), ((False, False), 1)]
)
def test_a_phase_that_no_client_passed_ends_with_status_1(
    clients: tuple[bool, ...], status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    inventory = Inventory()
    inventory.add("server", Role.SERVER)
    results = [HostResult(host="server", ok=True)]
    for number, ok in enumerate(clients):
        inventory.add(f"client-{number}", Role.CLIENT)
        results.append(HostResult(host=f"client-{number}", ok=ok))
    outcome = StageResult(stage="collect", results=results)
    session = SimpleNamespace(inventory=inventory)
    monkeypatch.setattr(phases, "attach", lambda *_, **__: contextlib.nullcontext(session))
    monkeypatch.setattr(phases, "collect", lambda _session: outcome)
    result = perfkit("collect")
    assert result.exit_code == status
    assert f"{1 + sum(clients)} of {1 + len(clients)} hosts" in result.stdout

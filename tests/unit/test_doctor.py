"""The doctor: what is missing is named with the command that mends it, for this distribution."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest

from perfkit import doctor
from perfkit.doctor import CheckResult, Examination, Need, State
from perfkit.fleet.local import namespaces, userns


def finding(need: str, state: State, remedy: str = "") -> CheckResult:
    return CheckResult(need=need, why=f"why {need}", found="<found>", state=state, remedy=remedy)


def row(examination: Examination, need: str) -> CheckResult:
    (found,) = [f for f in examination.findings if f.need == need]
    return found


def empty_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *installers: str) -> str:
    """A PATH with nothing on it but the named package managers."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in installers:
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("CONDA_PREFIX", raising=False)
    return str(folder)


@pytest.fixture
def no_privilege(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(namespaces, "why_not", lambda: "neither root nor passwordless sudo")


def test_user_namespaces_that_are_switched_off_are_named_with_what_switches_them_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "limit").write_text("0\n")
    monkeypatch.setattr(userns, "LIMIT", tmp_path / "limit")
    monkeypatch.setattr(namespaces, "privileged", lambda *words: list(words))
    monkeypatch.setattr(namespaces.linux, "effective_capabilities", lambda: -1)
    (finding,) = (f for f in doctor.examine().findings if f.need == "privilege")
    assert finding.state is doctor.State.LIMITED
    assert "user namespaces are switched off" in finding.found
    assert finding.remedy.startswith("sysctl -w user.max_user_namespaces=")


def test_the_table_of_needs_has_a_package_for_each_program() -> None:
    needs = doctor.load_needs()
    assert len({need.program for need in needs}) == len(needs)
    for need in needs:
        assert re.fullmatch(r"[a-z0-9-]+", need.apt), need
        assert re.fullmatch(r"[a-z0-9-]+", need.dnf), need
        assert re.fullmatch(r"[a-z0-9-]+", need.conda), need
        assert need.needed_for in {"all", "namespaces", "setup", "extras", "tests"}, need


@pytest.mark.usefixtures("no_privilege")
@pytest.mark.parametrize(
    ("installer", "command"),
    [
        ("apt-get", "apt-get install -y openssh-server"),
        ("dnf", "dnf install -y openssh-server"),
        ("none", "install the package that has sshd (Debian calls it openssh-server)"),
    ],
)
def test_a_missing_program_gets_the_command_of_the_distribution(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, installer: str, command: str
) -> None:
    path = empty_machine(tmp_path, monkeypatch, installer)
    sshd = row(doctor.examine(project=tmp_path, search_path=path), "sshd")
    assert sshd.state is State.MISSING
    assert sshd.found == "not found"
    assert sshd.remedy.removeprefix("sudo ") == command


@pytest.mark.usefixtures("no_privilege")
def test_a_library_is_looked_for_where_the_systems_loader_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = {"dnf": "-", "conda": "-", "needed_for": "all", "why": "linked to"}
    there = Need(program="lib:libc.so.6", apt="libc6", **columns)
    absent = Need(program="lib:libnowhere.so.9", apt="libnowhere9", **columns)
    monkeypatch.setattr(doctor, "load_needs", lambda: (there, absent))
    path = empty_machine(tmp_path, monkeypatch, "apt-get")
    examination = doctor.examine(project=tmp_path, search_path=path)
    assert row(examination, "libc.so.6").state is State.OK
    missing = row(examination, "libnowhere.so.9")
    assert missing.state is State.MISSING
    assert missing.remedy.endswith("apt-get install -y libnowhere9")


@pytest.mark.usefixtures("no_privilege")
def test_in_a_conda_environment_conda_is_named_where_it_has_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = empty_machine(tmp_path, monkeypatch, "apt-get")
    monkeypatch.setenv("CONDA_PREFIX", "/somewhere")
    examination = doctor.examine(project=tmp_path, search_path=path)
    assert row(examination, "sshd").remedy == "conda install -c conda-forge openssh"
    assert "apt-get install -y openvpn" in row(examination, "openvpn").remedy


@pytest.mark.usefixtures("no_privilege")
def test_without_privilege_only_what_hosts_on_loopback_run_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = empty_machine(tmp_path, monkeypatch, "apt-get")
    examination = doctor.examine(project=tmp_path, search_path=path)
    missing = [f.need for f in examination.findings if f.state is State.MISSING]
    assert missing == ["sshd", "iperf"]
    assert row(examination, "privilege").state is State.LIMITED
    assert "no tunnels" in row(examination, "privilege").remedy
    assert row(examination, "openvpn").state is State.LIMITED
    assert not examination.ok


@pytest.mark.usefixtures("no_privilege")
def test_a_port_in_use_is_named_for_hosts_on_loopback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        # The real one may be in use by tests that run beside this one.
        monkeypatch.setattr(doctor, "IPERF_PORT", held.getsockname()[1])
        port = row(doctor.examine(project=tmp_path), f"port {doctor.IPERF_PORT}")
    assert port.found == "in use"
    assert port.state is State.LIMITED


@pytest.mark.usefixtures("no_privilege")
def test_a_runs_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("in the way")
    runs_row = row(doctor.examine(project=tmp_path), "runs/")
    assert runs_row.state is State.MISSING
    assert str(tmp_path / "runs") in runs_row.found
    assert "runs_dir" in runs_row.remedy


@pytest.mark.usefixtures("no_privilege")
def test_the_environment_the_tests_run_in_has_every_declared_package(tmp_path: Path) -> None:
    examination = doctor.examine(project=tmp_path)
    for need in ("Python", "Python packages", "papermill", "jupyterlab", "Jupyter kernel"):
        assert row(examination, need).state is State.OK


@pytest.mark.root
def test_a_machine_that_scripts_setup_prepared_is_ready_for_tunnels(tmp_path: Path) -> None:
    examination = doctor.examine(project=tmp_path)
    assert [f for f in examination.findings if f.state is not State.OK] == []
    assert examination.ok
    assert examination.verdict == "Ready for local hosts with tunnels."


def test_limits_are_no_fault_and_a_missing_need_is() -> None:
    fine = finding("a", State.OK)
    limited = finding("b", State.LIMITED, "do b")
    missing = finding("c", State.MISSING, "do c")
    assert Examination(findings=(fine,)).verdict == "Ready for local hosts with tunnels."
    assert Examination(findings=(fine, limited)).ok
    assert Examination(findings=(fine, limited)).verdict == "Ready, within limits: b."
    assert not Examination(findings=(fine, limited, missing)).ok
    assert "missing: c" in Examination(findings=(fine, limited, missing)).verdict


def test_the_plain_table_has_aligned_columns_and_each_remedy_under_its_need() -> None:
    text = str(
        Examination(
            findings=(finding("short", State.OK), finding("longer", State.MISSING, "mend it"))
        )
    )
    head, first, second, remedy, blank, verdict = text.splitlines()
    assert head.index("state") == first.index("ok") == second.index("MISSING")
    assert remedy == "  -> mend it"
    assert blank == ""
    assert verdict.startswith("Not ready")


def test_the_html_table_escapes_what_was_found() -> None:
    page = Examination(findings=(finding("a", State.OK),))._repr_html_()
    assert "&lt;found&gt;" in page
    assert "<found>" not in page

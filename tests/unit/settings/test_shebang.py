"""A script that cannot run on a host is refused before hosts exist, or where only they can tell."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from perfkit.configure.facts import collect_facts
from perfkit.errors import ConfigError, HostError
from perfkit.model import Host, Role
from perfkit.settings import parameters, shebang
from perfkit.settings.shebang import Interpreter
from perfkit.ssh.remote import Remote

SEARCH_PATH = "/usr/local/bin:/usr/bin:/bin"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with one test, `a`, whose scripts are in order."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "tests.conf").write_text("[a]\nduration = 1\n")
    for name in ("tests/a", "tests/a.server", "bin/run-slot"):
        script_at(tmp_path / "resources" / name, b"#!/bin/sh\nexec true\n")
    (tmp_path / "resources" / "fabfile.py").touch()
    monkeypatch.setenv("PERFKIT_HOME", str(tmp_path))
    return tmp_path


def script_at(path: Path, content: bytes, mode: int = 0o755) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(mode)
    return path


BROKEN = {
    "CR LF": (b"#!/bin/sh\r\ntrue\r\n", "line 1 ends as on Windows", r"sed -i 's/\r$//'"),
    "CR LF after line 1": (b"#!/bin/sh\ntrue\nfalse\r\n", "line 3 ends as on Windows", "sed -i"),
    "CR LF without #!": (b"true\r\nfalse\r\n", "line 1 ends as on Windows", "sed -i"),
    "CR LF for Python": (b"#!/usr/bin/env python3\r\nprint()\r\n", "line 1 ends as", "sed -i"),
    "CR only": (b"#!/bin/sh\rtrue\r", "its lines end with CR only", "tr '"),
    "mark": (b"\xef\xbb\xbf#!/bin/sh\ntrue\n", "byte order mark (UTF-8)", "sed -i '1s/^"),
    "UTF-16": ("#!/bin/sh\n".encode("utf-16"), "byte order mark (UTF-16)", "save it as UTF-8"),
    "empty": (b"", "empty", "write what the test does"),
    "blank": (b"\n \n", "empty", "write what the test does"),
    "relative": (b"#!python3\nprint()\n", "names python3, which is no absolute path", "env"),
    "nothing named": (b"#!\ntrue\n", "names nothing", "#!/bin/sh"),
    "long": (b"#!/" + 300 * b"x" + b"\ntrue\n", "its first line has 303 bytes", "255"),
}


@pytest.mark.parametrize("name", ["tests/a", "tests/a.server", "bin/run-slot"])
@pytest.mark.parametrize("kind", BROKEN)
def test_a_script_that_no_host_could_run_is_refused_with_the_command_that_mends_it(
    project: Path, name: str, kind: str
) -> None:
    content, problem, remedy = BROKEN[kind]
    parameters.load({})
    script_at(project / "resources" / name, content)
    with pytest.raises(ConfigError) as refused:
        parameters.load({})
    assert f"resources/{name}" in str(refused.value)
    assert problem in refused.value.problem
    assert remedy in refused.value.remedy


@pytest.mark.parametrize("kind", ["CR LF", "CR LF after line 1", "CR only", "mark"])
def test_the_command_that_is_given_does_mend_the_script(project: Path, kind: str) -> None:
    script = script_at(project / "resources/tests/a", BROKEN[kind][0])
    with pytest.raises(ConfigError) as refused:
        parameters.load({})
    mend = refused.value.remedy.rpartition(": ")[2]
    subprocess.run(["sh", "-c", mend], cwd=project, check=True)
    parameters.load({})
    assert os.spawnv(os.P_WAIT, script, ["a"]) in (0, 1)


@pytest.mark.parametrize("name", ["a", "a.server"])
def test_a_script_that_is_not_executable_or_no_file_is_refused(project: Path, name: str) -> None:
    script = project / "resources" / "tests" / name
    script.chmod(0o644)
    with pytest.raises(ConfigError, match=f"{name}.*not executable; chmod"):
        parameters.load({})
    script.unlink()
    script.symlink_to("nowhere")
    with pytest.raises(ConfigError, match=f"{name}.*not a file"):
        parameters.load({})


@pytest.mark.parametrize(
    ("first", "found"),
    [
        ("#!/bin/sh -e", Interpreter("/bin/sh")),
        ("#! /usr/bin/python3", Interpreter("/usr/bin/python3")),
        ("#!/usr/bin/env python3", Interpreter("/usr/bin/env", "python3")),
        ("#!/usr/bin/env -S LC_ALL=C python3 -u", Interpreter("/usr/bin/env", "python3")),
        ("true", Interpreter()),
    ],
)
def test_what_runs_a_script_is_read_as_the_kernel_and_env_do(
    tmp_path: Path, first: str, found: Interpreter
) -> None:
    script = script_at(tmp_path / "a", f"{first}\n".encode())
    assert shebang.check(script, source="tests.conf") == found


def test_an_interpreter_that_this_machine_lacks_is_refused_for_hosts_that_have_its_programs(
    tmp_path: Path,
) -> None:
    shebang.require_here([script_at(tmp_path / "a", b"#!/bin/sh\n")], search_path=SEARCH_PATH)
    for line, said in (
        ("#!/opt/nowhere/python3", "its interpreter /opt/nowhere/python3 is not on this machine"),
        ("#!/usr/bin/env nowhere-python", "looks for nowhere-python, which is not in /usr/local"),
    ):
        script = script_at(tmp_path / "b", f"{line}\n".encode())
        with pytest.raises(ConfigError, match=said):
            shebang.require_here([script], search_path=SEARCH_PATH)


class HereRemote:
    """A host whose commands run in a folder of this machine."""

    def __init__(self, folder: Path, *before: str) -> None:
        self.host = Host(
            name="client-001", role=Role.CLIENT, address="", host_key="", workdir=str(folder)
        )
        self._before = before

    def run_script(self, text: str) -> SimpleNamespace:
        done = subprocess.run(
            [*self._before, "sh", "-c", text], capture_output=True, text=True, check=True
        )
        return SimpleNamespace(stdout=done.stdout)


def facts_of(remote: HereRemote, scripts: list[Path]) -> dict[str, object]:
    checks = shebang.host_checks(scripts)
    return collect_facts(cast(Remote, remote), checks=checks, then="touch done")


def test_a_host_that_lacks_interpreters_fails_to_configure_and_names_every_script(
    tmp_path: Path,
) -> None:
    good = [script_at(tmp_path / "s" / "good", b"#!/usr/bin/env sh\n")]
    remote = HereRemote(tmp_path / "work")
    facts = facts_of(remote, good)
    assert facts["ncpu"] == os.cpu_count()
    assert all(re.fullmatch(r"[\w.-]+=[0-9]+", w) for w in str(facts["link_speeds_mbps"]).split())
    assert (tmp_path / "work" / "done").exists()
    (tmp_path / "work" / "done").unlink()
    bad = [
        script_at(tmp_path / "s" / "it's", b"#!/opt/nowhere/python3\n"),
        script_at(tmp_path / "s" / "b.server", b"#!/usr/bin/env nowhere-python\n"),
    ]
    with pytest.raises(HostError) as failed:
        facts_of(remote, [*good, *bad])
    assert str(failed.value) == (
        "client-001: not ready: tests/it's: its interpreter /opt/nowhere/python3 is not on this "
        "host; tests/b.server: env finds no nowhere-python on this host"
    )
    assert not (tmp_path / "work" / "done").exists()


@pytest.mark.root
def test_a_host_whose_work_folder_is_mounted_noexec_says_so_when_it_is_configured(
    tmp_path: Path,
) -> None:
    (tmp_path / "work").mkdir()
    mount = f'mount -t tmpfs -o noexec none {tmp_path / "work"} && exec "$@"'
    remote = HereRemote(tmp_path / "work", "unshare", "-m", "sh", "-c", mount, "sh")
    with pytest.raises(HostError, match=r"no program can be executed in .*/work: .*noexec\?"):
        facts_of(remote, [])

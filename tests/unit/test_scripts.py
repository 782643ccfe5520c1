"""scripts/: what they call, what they say, what they return; every tool they call is a stand-in.

Runs as an ordinary user, in a copy of the project whose .venv writes down how it is called.
"""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from perfkit.testing.provider_runs import wait_until

ROOT = Path(__file__).parents[2]
LANES = 8  # of pytest, in scripts/test
NOBODY = pwd.getpwnam("nobody")
APT_GETS_IT = 'case "$*" in *" install "*) cp "$0" "${0%/*}/no-such-tool" ;; esac'


@dataclass
class Project:
    """A copy of what the scripts touch; `calls` is what the stand-ins were called with."""

    root: Path

    def add_tool(self, path: str, body: str = "") -> None:
        tool = self.root / path
        tool.parent.mkdir(parents=True, exist_ok=True)
        tool.write_text(f'#!/bin/sh\necho "${{0##*/}} $*" >>{self.root}/calls\n{body}\n')
        tool.chmod(0o755)

    @property
    def calls(self) -> list[str]:
        log = self.root / "calls"
        lines = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return lines

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*command, **environment)
        said, complained = process.communicate()
        return subprocess.CompletedProcess(process.args, process.returncode, said, complained)

    def start(self, *command: str, **environment: str) -> subprocess.Popen[str]:
        for path in (self.root, *self.root.rglob("*")):
            os.chown(path, *self.owner)
        return subprocess.Popen(
            [str(self.root / command[0]), *command[1:]],
            env={"PATH": f"{self.root}/bin:/usr/bin:/bin", "HOME": str(self.root), **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **({"user": NOBODY.pw_uid, "group": NOBODY.pw_gid} if os.geteuid() == 0 else {}),
        )

    @property
    def owner(self) -> tuple[int, int]:
        return (NOBODY.pw_uid, NOBODY.pw_gid) if os.geteuid() == 0 else (os.getuid(), os.getgid())


@pytest.fixture
def project() -> Iterator[Project]:
    """A project that needs one tool nobody has, on a machine where sudo asks for a password."""
    with tempfile.TemporaryDirectory() as folder:  # pytest's own is closed to other users
        root = Path(folder).resolve()
        shutil.copytree(ROOT / "scripts", root / "scripts")
        (root / "perfkit").mkdir()
        (root / "notebooks").mkdir()
        need = ("no-such-tool", "no-such-package", "no-such-rpm", "-", "all", "to be missing")
        (root / "perfkit" / "needs.tsv").write_text("# head\n" + "\t".join(need) + "\n")
        (root / "pyproject.toml").write_text("[project]\n")
        made = Project(root)
        made.add_tool(".venv/bin/python")
        made.add_tool("bin/sudo", "exit 1")
        made.add_tool("bin/apt-get")
        yield made


def pip_calls(calls: list[str]) -> list[str]:
    return [call for call in calls if " -m pip " in f" {call} "]


def test_setup_without_privilege_says_what_is_missing_and_goes_on(project: Project) -> None:
    done = project.run("scripts/setup")
    assert done.returncode == 0, done.stderr
    assert "not on this machine: no-such-tool" in done.stdout
    assert "sudo apt-get install -y no-such-package" in done.stdout
    calls = project.calls
    assert not any(call.startswith("apt-get") for call in calls)
    assert len(pip_calls(calls)) == 2
    assert "--group dev" in pip_calls(calls)[1]
    assert all("-c scripts/constraints.txt" in call for call in pip_calls(calls))


def test_setup_with_passwordless_sudo_installs_what_is_missing_and_nothing_asks(
    project: Project,
) -> None:
    project.add_tool("bin/sudo", 'shift; case "$1" in env) "$@" ;; esac')
    project.add_tool("bin/apt-get", f"echo $DEBIAN_FRONTEND >>{project.root}/calls\n{APT_GETS_IT}")
    project.add_tool("bin/sh", "exit 0")  # the machine's own policy-rc.d is not the test's
    done = project.run("scripts/setup")
    assert done.returncode == 0, done.stderr
    assert "installing system packages: no-such-package" in done.stdout
    assert "not on this machine" not in done.stdout
    calls = project.calls
    installs = [c for c in calls if c.startswith("apt-get") and " install " in c]
    assert len(installs) == 1
    assert installs[0].endswith("-y --no-install-recommends no-such-package")
    assert "noninteractive" in calls


def test_setup_goes_on_when_apt_fails_and_shows_what_it_said(project: Project) -> None:
    project.add_tool("bin/sudo", 'shift; case "$1" in env) "$@" ;; esac')
    project.add_tool("bin/apt-get", "echo E: no network; exit 100")
    project.add_tool("bin/sh", "exit 0")
    done = project.run("scripts/setup")
    assert done.returncode == 0
    assert "E: no network" in done.stderr
    assert "going on without: no-such-package" in done.stdout


def test_what_only_tests_need_is_asked_for_only_by_them(project: Project) -> None:
    need = ("no-such-browser", "browser", "browser", "-", "tests", "browser tests")
    with (project.root / "perfkit" / "needs.tsv").open("a") as needs:
        needs.write("\t".join(need) + "\n")
    assert "no-such-browser" not in project.run("scripts/setup").stdout
    assert "no-such-browser" in project.run("scripts/setup", "--tests").stdout
    assert project.run("scripts/setup", "--test").returncode == 2


def test_a_library_is_a_need_like_a_program_and_a_package_is_asked_for_once(
    project: Project,
) -> None:
    with (project.root / "perfkit" / "needs.tsv").open("a") as needs:
        for name, package in (
            ("lib:libc.so.6", "libc6"),
            ("lib:libnowhere.so.9", "libnowhere9"),
            ("no-such-tool-either", "no-such-package"),
        ):
            needs.write("\t".join((name, package, "no-such-rpm", "-", "all", "tried")) + "\n")
    said = project.run("scripts/setup").stdout
    assert "not on this machine: no-such-tool lib:libnowhere.so.9 no-such-tool-either" in said
    assert "apt-get install -y no-such-package libnowhere9 \n" in said


def test_a_second_setup_installs_nothing_until_the_pins_change(project: Project) -> None:
    project.add_tool("bin/no-such-tool")
    assert project.run("scripts/setup").returncode == 0
    assert len(pip_calls(project.calls)) == 2
    again = project.run("scripts/setup")
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    assert pip_calls(project.calls) == []
    with (project.root / "scripts" / "constraints.txt").open("a") as pins:
        pins.write("more==1\n")
    assert project.run("scripts/setup").returncode == 0
    assert len(pip_calls(project.calls)) == 2


def test_a_setup_that_failed_shows_why_and_is_tried_again(project: Project) -> None:
    project.add_tool("bin/no-such-tool")
    project.add_tool(
        ".venv/bin/python", 'case "$*" in *pip*install*) echo no space; exit 1 ;; esac'
    )
    failed = project.run("scripts/setup")
    assert failed.returncode == 1
    assert "no space" in failed.stderr
    assert not (project.root / ".venv" / ".setup-stamp").exists()
    project.add_tool(".venv/bin/python")
    assert project.run("scripts/setup").returncode == 0


def test_without_a_python_that_is_new_enough_setup_says_how_to_get_one(project: Project) -> None:
    done = project.run("scripts/setup", PYTHON="/nowhere/python3")
    assert done.returncode == 1
    assert "no Python 3.11 or newer" in done.stderr
    assert "PYTHON=/path/to/python3" in done.stderr


def ready(project: Project) -> None:
    """As after scripts/setup, with the tools of .venv as stand-ins."""
    project.add_tool("bin/no-such-tool")
    for tool in ("papermill", "ruff", "mypy", "lint-imports", "pytest"):
        project.add_tool(f".venv/bin/{tool}")
    (project.root / ".venv/bin/activate").write_text(f"PATH={project.root}/.venv/bin:$PATH\n")
    assert project.run("scripts/setup").returncode == 0
    assert project.calls


def test_campaign_runs_papermill_in_notebooks_into_a_private_file(project: Project) -> None:
    ready(project)
    project.add_tool(".venv/bin/papermill", f"pwd >>{project.root}/calls; exit 3")
    done = project.run("scripts/campaign", "-p", "clients", "5")
    assert done.returncode == 3  # papermill's own
    call, cwd = project.calls[-2:]
    assert cwd == str(project.root / "notebooks")
    assert call.startswith("papermill campaign.ipynb out-")
    assert call.endswith("-p clients 5")
    (executed,) = (project.root / "notebooks").glob("out-*.ipynb")
    assert executed.name in done.stdout
    assert stat.S_IMODE(executed.stat().st_mode) == 0o600


def test_test_runs_every_step_although_one_fails_and_fails_at_the_end(project: Project) -> None:
    ready(project)
    project.add_tool(".venv/bin/mypy", "echo wrong type; exit 1")
    project.add_tool(".venv/bin/pytest", "echo 5 passed")
    done = project.run("scripts/test", "-k", "units")
    tools = [call.split()[0] for call in project.calls if not call.startswith(("sudo", "python"))]
    assert tools == ["ruff", "ruff", "lint-imports", "mypy", "pytest"]
    assert done.returncode == 1
    assert "wrong type" in done.stdout
    assert "test: types    FAILED" in done.stdout
    assert done.stdout.splitlines()[-1] == "5 passed"
    assert done.stderr.strip() == "test: failed: types"


def test_test_names_each_lane_that_failed_and_shows_what_it_printed(project: Project) -> None:
    ready(project)
    project.add_tool(".venv/bin/mypy", "echo wrong type; exit 1")
    project.add_tool(
        ".venv/bin/pytest", 'case "$*" in *"tests/browser") echo bad; exit 1 ;; esac; echo ok'
    )
    done = project.run("scripts/test")
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    shown = lines[lines.index("== types") :]
    assert shown[:2] == ["== types", "wrong type"]
    assert shown[shown.index("== browser") + 1] == "bad"
    said = [line.split() for line in lines[: lines.index("== types")]]
    verdicts = {words[1]: words[2] for words in said if words[0] == "test:"}
    lanes = {line.removeprefix("== ") for line in shown if line.startswith("== ")}
    assert {name for name in lanes if verdicts[name] == "FAILED"} == {"types", "browser"}
    assert {name for name in lanes if verdicts[name] == "ok"} == lanes - {"types", "browser"}
    assert shown.count("ok") == len(lanes) - 2
    assert done.stderr.strip() == "test: failed: types browser"


def test_a_test_run_that_is_ended_ends_its_lanes(project: Project) -> None:
    ready(project)
    project.add_tool(".venv/bin/pytest", f"echo $$ >>{project.root}/pids; exec sleep 600")
    process = project.start("scripts/test")
    pids = project.root / "pids"
    assert wait_until(lambda: pids.exists() and len(pids.read_text().splitlines()) == LANES, 60)
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == 143
    for pid in pids.read_text().split():
        assert wait_until(lambda pid=pid: not Path("/proc", pid).exists(), 60)


def test_every_test_belongs_to_one_lane(project: Project) -> None:
    """By what each lane asks pytest for, over all test modules that there are."""
    ready(project)
    modules = [path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").rglob("test_*.py")]
    modules = [name for name in modules if not name.startswith("tests/data/")]
    for name in modules:
        (project.root / name).parent.mkdir(parents=True, exist_ok=True)
        (project.root / name).touch()
    assert project.run("scripts/test").returncode == 0
    lanes = [shlex.split(call)[1:] for call in project.calls if call.startswith("pytest ")]
    for marks in ("root", "not root"):
        begins = ["-m", *marks.split()]
        own = [words for words in lanes if words[: len(begins)] == begins or words[0] != "-m"]
        taken = [taken_by(words, modules) for words in own]
        chosen = sorted(name for names in taken for name in names)
        assert chosen == sorted(modules), marks


def taken_by(words: list[str], modules: list[str]) -> list[str]:
    """The modules that pytest collects for these arguments."""
    ignored = [words[at + 1] for at, word in enumerate(words) if word == "--ignore"]
    options = {"-m", "--ignore", "root", "not", *ignored}
    wanted = [word for word in words if word not in options] or ["tests"]
    return [
        name
        for name in modules
        if any(Path(name).is_relative_to(folder) for folder in wanted)
        and not any(Path(name).is_relative_to(folder) for folder in ignored)
    ]


def test_test_passes_its_options_to_pytest_and_ends_with_its_closing_line(project: Project) -> None:
    ready(project)
    project.add_tool(".venv/bin/pytest", "echo 5 passed")
    done = project.run("scripts/test", "-k", "units")
    assert done.returncode == 0
    assert project.calls[-1] == "pytest -k units"
    assert done.stdout.splitlines()[-1] == "5 passed"
    assert done.stderr == ""

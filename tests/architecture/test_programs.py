"""Every program that is run or asked for is declared in perfkit/needs.tsv, or every Debian has it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import playwright
import pytest
from programs_run import programs_of_python, programs_of_shell

from perfkit.doctor import load_needs

ROOT = Path(__file__).parents[2]
NEEDS = {need.program: need for need in load_needs()}

# Packages of Debian's priority "required": the smallest installation has them, and what is
# removed with --force only.
BASE_BY_PACKAGE = {
    "bash, dash": "bash dash sh",
    "coreutils": "cat chgrp chmod chown chroot cksum cp cut date df dirname echo env false head id"
    " install ln ls mkdir mkfifo mktemp mv nice nohup nproc pwd readlink rm rmdir seq sha256sum sleep sort stat stdbuf tail"
    " tee test timeout touch tr true uname wc yes",
    "of its own name": "apt-get dpkg dpkg-query find grep gzip hostname mawk awk perl sed tar xargs",
    "util-linux, mount": "flock mount nsenter pivot_root setpriv setsid umount unshare",
    "passwd": "passwd useradd usermod",
    "libc-bin": "ldd",
}
BASE = {name for names in BASE_BY_PACKAGE.values() for name in names.split()}
SHELLS_OWN = {
    *("break", "cd", "command", "continue", "eval", "exec", "exit", "export", "kill", "printf"),
    *("pwd", "read", "return", "set", "shift", "trap", "umask", "unset", "wait"),
}
OF_THE_ENVIRONMENT = frozenset({"papermill", "pytest", "python"})  # .venv, from pyproject.toml
# Other machines' own: the package manager of Fedora, and what every cloud image comes with.
ELSEWHERE = frozenset({"cloud-init", "dnf", "poweroff", "shutdown"})
STAND_INS = frozenset({"no-such-program"})
# In the package of another need, in every distribution.
BESIDE = {
    "crontab": "cron",
    "pgrep": "ps",
    "sysctl": "ps",
    "ssh-add": "ssh",
    "ssh-agent": "ssh",
}
# Libraries of required packages, by the beginning of their names.
BASE_LIBRARIES = ("ld-linux", "libc.", "libdl.", "libgcc_s.", "libm.", "libpthread.", "librt.")
BASE_LIBRARIES += ("libstdc++.", "libutil.", "linux-vdso.")


def sources() -> list[Path]:
    """What runs programs; a capture beside a fixture says how it was made, and is run by nobody."""
    folders = ("perfkit", "resources", "scripts", "tests", ".ci")
    found = [path for folder in folders for path in sorted((ROOT / folder).rglob("*"))]
    return [p for p in found if p.is_file() and (p.suffix == ".py" or not is_data(p))]


def is_data(path: Path) -> bool:
    return "data" in path.relative_to(ROOT).parts or "__pycache__" in path.parts


def programs_of(path: Path) -> set[str]:
    text = path.read_bytes().decode("utf-8", "replace")
    if path.suffix == ".py" or re.match(r"#!\S*python", text):
        return programs_of_python(text)
    return programs_of_shell(text) if text.startswith("#!/bin/sh") else set()


@pytest.fixture(scope="module")
def run_by() -> dict[str, list[str]]:
    """Program -> the files that run it or ask for it."""
    found: dict[str, list[str]] = {}
    for path in sources():
        for program in programs_of(path):
            found.setdefault(program, []).append(str(path.relative_to(ROOT)))
    return found


def test_every_program_that_is_run_or_asked_for_is_declared(run_by: dict[str, list[str]]) -> None:
    known = {*NEEDS, *BESIDE, *BASE, *SHELLS_OWN, *OF_THE_ENVIRONMENT, *ELSEWHERE, *STAND_INS}
    assert {name: files for name, files in run_by.items() if name not in known} == {}
    assert set(BESIDE.values()) <= set(NEEDS)


def test_every_declared_program_is_run_or_asked_for_somewhere(run_by: dict[str, list[str]]) -> None:
    captures = [path for path in (ROOT / "tests" / "data").rglob("*") if path.is_file()]
    captured = {name for path in captures for name in programs_of(path)}  # what people's tests run
    used = {*run_by, *captured} | {BESIDE[name] for name in run_by if name in BESIDE}
    programs = {name for name in NEEDS if ":" not in name}
    assert programs - used == set()
    modules = {name.partition(":")[2] for name in NEEDS if name.startswith("python3:")}
    assert modules == {"ensurepip"}  # `-m venv` in scripts/setup
    assert "-m venv" in (ROOT / "scripts" / "setup").read_text()


def test_what_only_tests_run_is_not_asked_of_those_who_measure(
    run_by: dict[str, list[str]],
) -> None:
    shipped = {n for n, files in run_by.items() if any(not f.startswith("tests/") for f in files)}
    only_tests = {need.program for need in NEEDS.values() if need.needed_for == "tests"}
    assert only_tests & shipped <= {"sudo"}  # who is not root has it; root does without


def test_every_library_that_a_program_of_the_environment_is_linked_to_is_declared() -> None:
    driver = Path(playwright.__file__).parent / "driver" / "node"
    asked = subprocess.run(["ldd", driver], check=True, capture_output=True, text=True).stdout
    linked = {Path(line.split()[0]).name for line in asked.splitlines()}
    others = {name for name in linked if not name.startswith(BASE_LIBRARIES)}
    assert others == {name.removeprefix("lib:") for name in NEEDS if name.startswith("lib:")}


@pytest.mark.parametrize(
    ("script", "programs"),
    [
        ("a; b && c | d || e &\nf", {"a", "b", "c", "d", "e", "f"}),
        ("X=1 Y=$(made one) run; ! gone", {"made", "run", "gone"}),
        ("echo 'not; this' \"nor; $(but this) `and that`\" # nor | that", {"echo", "but", "and"}),
        ("case $x in a | b) one ;; c) two ;; esac", {"one", "two"}),
        ("f() { inner; }; f; if ask; then do-it; fi", {"inner", "ask", "do-it"}),
        ("for x in $(list); do each >out 2>&1 <in; done", {"list", "each"}),
        ("exec env A=b timeout -k 2 5 setsid real-one", {"exec", "env", "timeout", "setsid", "real-one"}),
        ("sh -c 'in-there; and-here' && python3 -c 'not here'", {"sh", "in-there", "and-here", "python3"}),
        ("cat <<'end'\nnot this\nend\nbut-this", {"cat", "but-this"}),
        ("n=$((a + b)); echo ${x:-no; no}", {"echo"}),
        ("/usr/sbin/sshd -p 1; ./mine; $theirs; bin/own", {"sshd"}),
        ('exec "$program" word; timeout "$n" bin/own word; sudo -n "$x" one', {"exec", "timeout", "sudo", "one"}),
        ("(sub; shell) & trap 'on-exit' EXIT", {"sub", "shell", "trap", "on-exit"}),
    ],
)  # fmt: skip
def test_the_reader_of_shell_knows_a_command_when_it_sees_one(
    script: str, programs: set[str]
) -> None:
    assert programs_of_shell(script) == programs


@pytest.mark.parametrize(
    ("source", "programs"),
    [
        ("subprocess.run(['a', 'x'])", {"a"}),
        ("argv = ['a', '-c', 'x']\nPopen([*argv, 'y'])", {"a"}),
        ("run(['nsenter', '-t', pid, '-m', 'sh', '-c', f'one {x}; two'])", {"nsenter", "sh", "one", "two"}),
        ("needs_tools('a', 'b'); shutil.which('c'); 'x'.find(y)", {"a", "b", "c"}),
        ("TEXT = 'a b; c d'\nhost.inside(TEXT.replace('b', x))", {"a", "c"}),
        ("path.write_text('#!/bin/sh\\nown x')", {"own"}),
        ("TOOLS = ('a', 'b')\n_MORE_TOOLS = {'c': 1}", {"a", "b", "c"}),
        ("Fault('name of it', first='a b')", {"a"}),
        ("remote.run_script('word'); print('some words'); run([sys.executable])", set()),
    ],
)  # fmt: skip
def test_the_reader_of_python_knows_who_runs_what(source: str, programs: set[str]) -> None:
    assert programs_of_python(source) == programs

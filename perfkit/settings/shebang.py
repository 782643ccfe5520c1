"""Test scripts as the kernel of a host will read them: what is wrong is found before anything runs.

A script comes from an editor, an archive or a clone on another system. It may then have Windows line
ends, a byte order mark or an interpreter that is somewhere else, all of which look right on a screen.
What can be seen in the file is refused by `check`; whether a host has the interpreter is asked there,
with the text of `host_checks`.
"""

from __future__ import annotations

import re
import shutil
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from perfkit.errors import ConfigError

LONGEST_LINE = 255  # of a first line, by Linux: BINPRM_BUF_SIZE - 1
SHELLS = frozenset({"", "sh", "ash", "bash", "busybox", "dash", "ksh", "mksh", "zsh"})
_MARKS = {b"\xef\xbb\xbf": "UTF-8", b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
_ELF = b"\x7fELF"
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")


@dataclass(frozen=True, slots=True)
class Interpreter:
    """What runs a script.

    Attributes:
        path: Absolute, from the first line; empty: none is named, and a shell runs it.
        program: What `env` is to find; empty where env is not used.
    """

    path: str = ""
    program: str = ""

    @property
    def name(self) -> str:
        """`bash` for /bin/bash and for /usr/bin/env bash."""
        return self.program or self.path.rpartition("/")[2]


def check(script: Path, *, source: str) -> Interpreter:
    """Find out what runs a script.

    Raises:
        ConfigError: it cannot run on any host; the message has the command that mends it.
    """
    try:
        fault = _fault_of_file(script)
        content = b"" if fault else script.read_bytes()
    except OSError as exc:
        fault, content = (exc.strerror or str(exc), "make it readable"), b""
    found = _interpreter(content.partition(b"\n")[0])
    fault = fault or _fault_of_content(script, content) or _fault_of_lines(script, content, found)
    if fault:
        shown = f"resources/{script.parent.name}/{script.name}"
        raise ConfigError(source, "script", shown, *fault)
    return found


Fault = tuple[str, str]  # what is wrong, and what mends it


def _fault_of_file(script: Path) -> Fault | None:
    if not script.is_file():
        return "not a file", f"put a script there, or remove {script}"
    if not script.stat().st_mode & stat.S_IXUSR:  # not os.access: nothing is executed here
        return "not executable", f"chmod +x {script}"
    return None


def _fault_of_content(script: Path, content: bytes) -> Fault | None:
    if not content.strip():
        return "empty", "write what the test does, beginning with #!/bin/sh"
    for mark, encoding in _MARKS.items():
        if content.startswith(mark):
            how = "save it as UTF-8 without a byte order mark"
            if encoding == "UTF-8":
                how += f": sed -i '1s/^\\xef\\xbb\\xbf//' {script}"
            return f"it begins with a byte order mark ({encoding}), not with #!", how
    return None


def _fault_of_lines(script: Path, content: bytes, found: Interpreter) -> Fault | None:
    if content.startswith(_ELF):
        return None
    lines = content.split(b"\n")
    wrong = [n for n, line in enumerate(lines, start=1) if line.endswith(b"\r")]
    if len(lines) == 1 and b"\r" in content:
        mend = f"tr '\\r' '\\n' <{script} >new && cat new >{script} && rm new"
        return "its lines end with CR only", mend
    if wrong and (wrong[0] == 1 or found.name in SHELLS):
        problem = (
            f"line {wrong[0]} ends as on Windows (CR LF), and the CR is taken for a part of it"
        )
        return problem, f"sed -i 's/\\r$//' {script}"
    if lines[0].startswith(b"#!"):
        if len(lines[0]) > LONGEST_LINE:
            return f"its first line has {len(lines[0])} bytes", f"{LONGEST_LINE} are the most"
        if not found.path.startswith("/"):
            problem = f"its first line names {found.path or 'nothing'}, which is no absolute path"
            return problem, "begin it with #!/bin/sh, or with #!/usr/bin/env and a program"
    return None


def _interpreter(first: bytes) -> Interpreter:
    """What the first line names."""
    if not first.startswith(b"#!"):
        return Interpreter()
    words = first[2:].decode("utf-8", "replace").split()
    path = words[0] if words else ""
    if path.rpartition("/")[2] != "env":
        return Interpreter(path)
    rest = [w for w in words[1:] if not w.startswith("-") and not _ASSIGNMENT.match(w)]
    return Interpreter(path, rest[0] if rest else "")


def require_here(scripts: Iterable[Path], *, search_path: str) -> None:
    """Refuse interpreters that this machine does not have, for hosts that have its programs.

    Args:
        search_path: Where hosts look for what `env` is to find.

    Raises:
        ConfigError: the first one that is missing.
    """
    for script in scripts:
        found = check(script, source="tests.conf")
        problem = ""
        if found.path and shutil.which(found.path) is None:
            problem = f"its interpreter {found.path} is not on this machine"
        elif found.program and shutil.which(found.program, path=search_path) is None:
            problem = f"its first line looks for {found.program}, which is not in {search_path}"
        if problem:
            shown = f"resources/{script.parent.name}/{script.name}"
            remedy = "install it, or name another one in the script's first line"
            raise ConfigError("tests.conf", "script", shown, problem, remedy)


def host_checks(scripts: Iterable[Path]) -> str:
    """Shell text that prints a line for each script that a host cannot run, and why.

    Runs in the host's work folder; also tries whether programs in it may be executed at all.
    """
    return "\n".join([_TRIAL, *_interpreter_checks(scripts)])


_TRIAL = """\
if ! bin/run-slot nothing 2>/dev/null; then # it may not be there
    printf '#!/bin/sh\\n' >.trial && chmod 755 .trial && ./.trial 2>/dev/null ||
        echo "no program can be executed in $PWD: is it on a file system mounted noexec?"
    rm -f .trial
fi"""


def _interpreter_checks(scripts: Iterable[Path]) -> Iterator[str]:
    for script in scripts:
        found = check(script, source="tests.conf")
        if found.path:
            said = quote(f"tests/{script.name}: its interpreter {found.path} is not on this host")
            yield f"[ -x {quote(found.path)} ] || echo {said}"
        if found.program:
            said = quote(f"tests/{script.name}: env finds no {found.program} on this host")
            yield f"command -v {quote(found.program)} >/dev/null || echo {said}"

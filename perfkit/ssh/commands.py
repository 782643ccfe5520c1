"""Remote commands as text: wrapped so that they end, their output kept small, questions recognised.

Nothing here connects to anything; `perfkit.ssh.remote` does.
"""

from __future__ import annotations

import base64
import re
import shlex
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from perfkit import untrusted
from perfkit.errors import CommandError, CommandTimeoutError, HostError, PromptError

KILL_AFTER_S = 1
CAPTURE_BYTES = 1 << 20  # of each stream; more is left out of the middle

# Programs that would ask a person are told that there is none.
ENVIRONMENT: Mapping[str, str] = {
    "LC_ALL": "C",
    "DEBIAN_FRONTEND": "noninteractive",
    "DEBIAN_PRIORITY": "critical",
    "NEEDRESTART_MODE": "a",
    "APT_LISTCHANGES_FRONTEND": "none",
    "UCF_FORCE_CONFFOLD": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "PIP_NO_INPUT": "1",
    "SSH_ASKPASS_REQUIRE": "never",
    "PAGER": "cat",
    "SYSTEMD_PAGER": "cat",
}

_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandResult:
    """What a remote command did; output beyond `CAPTURE_BYTES` a stream lacks its middle."""

    host: str
    command: str
    exit_status: int
    stdout: str
    stderr: str
    elapsed_s: float


def wrap(
    script: str,
    *,
    limit_s: float,
    env: Mapping[str, str] | None = None,
    has_stdin: bool = False,
    is_program: bool = False,
) -> str:
    """Render a POSIX sh script as the one command line given to the remote login shell.

    The script runs in its own process group and that group is killed at the limit, whatever
    became of the connection; its input is at end of file, unless it is given one. `exit $?` keeps the login shell as a
    parent, so a script that dies of a signal still yields a status (128 + signal): a command
    without any status then always means a lost connection.

    Args:
        is_program: It is a program and its arguments, quoted: `timeout` starts that without another
            shell, which is a program less.

    Raises:
        ValueError: a name in `env` is not a variable's name, or the limit is not positive.
    """
    if limit_s <= 0:
        raise ValueError(f"limit_s must be positive, got {limit_s}")
    wrong = [name for name in env or {} if not _ENV_NAME.fullmatch(name)]
    if wrong:
        raise ValueError(f"not names of environment variables: {wrong}")
    variables = {**ENVIRONMENT, **(env or {})}
    # The login shell's own assignments: `env` would be one more program for every command.
    assignments = " ".join(f"{name}={shlex.quote(value)}" for name, value in variables.items())
    command = script if is_program else shlex.join(["sh", "-c", script])
    limited = f"timeout -k {KILL_AFTER_S} {limit_s:.3f} {command}"
    return f"{assignments} {limited}{'' if has_stdin else ' </dev/null'}; exit $?"


def for_any_shell(command: str) -> str:
    """A command line for sh, in words that every login shell understands, POSIX or not."""
    encoded = base64.b64encode(command.encode()).decode()
    return f"""sh -c 'eval "$(echo {encoded} | base64 -d)"'"""


def as_root(script: str) -> str:
    """POSIX sh text that runs a script as root, whoever has logged in."""
    text = shlex.quote(script)
    return f'if [ "$(id -u)" = 0 ]; then sh -c {text}; else sudo -n sh -c {text}; fi'


def detached(argv: Sequence[str], log: str | None) -> str:
    """Render a script that starts `argv` in its own session and prints its pid.

    The process has its own standard streams: one that kept the connection's open would hold the
    connection. `setsid` does not fork here, because the shell is not interactive and the child
    leads no group, so `$!` is the pid of `argv` itself.
    """
    output = shlex.quote(log or "/dev/null")
    program = shlex.quote(argv[0])
    return (
        f"command -v {program} >/dev/null || {{ echo {program}: not found >&2; exit 127; }}\n"
        f"setsid {shlex.join(argv)} </dev/null >>{output} 2>&1 &\n"
        "echo $!"
    )


class Capture:
    """Output of one stream: its first and last bytes, bounded however much a command prints."""

    def __init__(self, limit_bytes: int = CAPTURE_BYTES) -> None:
        self._half = limit_bytes // 2
        self._head = bytearray()
        self._tail = bytearray()
        self.n_bytes = 0

    def add(self, data: bytes) -> None:
        """Take the next bytes."""
        self.n_bytes += len(data)
        room = self._half - len(self._head)
        self._head += data[:room]
        self._tail += data[room:] if room > 0 else data
        if len(self._tail) > 2 * self._half:  # cut seldom: a cut moves all bytes behind it
            del self._tail[: -self._half]

    def text(self) -> str:
        """All of it, or head and tail around a line that says how much is left out."""
        tail = self._tail[-self._half :]
        left_out = self.n_bytes - len(self._head) - len(tail)
        middle = b"\n[%d bytes left out]\n" % left_out if left_out else b""
        return (bytes(self._head) + middle + bytes(tail)).decode(errors="replace")


# Said by programs that looked for a terminal or an answer and found none.
_ASKED = re.compile(
    r"""
      sudo:\ .*(a\ password\ is\ required|terminal\ is\ required)
    | (no\ tty\ present|not\ a\ tty|a\ terminal\ is\ required)
    | cannot\ open\ /dev/tty | /dev/tty:\ (No\ such\ device|Permission\ denied)
    | end\ of\ file\ on\ stdin\ at\ conffile\ prompt
    | \[sudo\]\ password | ^(.*\s)?(password|passphrase)(\ for\ .*)?:\s*$
    | [\[(]\s*(y(es)?\s*/\s*n(o)?)\b[^\])]*[\])]
    | Authentication\ token\ manipulation\ error
    """,
    re.VERBOSE | re.IGNORECASE,
)
_QUESTION = re.compile(r"[?:]\s*$")
_HOST_KEY_ASKED = "Host key verification failed."
_HOST_KEY_REFUSED = ("strict checking", "IDENTIFICATION HAS CHANGED")
_TAIL_LINES = 3


def find_question(stdout: str, stderr: str) -> str | None:
    """The question on which a command that failed, or ran into its limit, was stuck.

    A question is the last line when it is unterminated and ends like one, or one of the last
    three lines when it is what a program says that found nobody to ask. A command that ended
    well asked nothing that mattered: do not call this for it.
    """
    for text in (stderr, stdout):
        lines = text.rstrip("\r\n").splitlines()[-_TAIL_LINES:]
        if not lines:
            continue
        unterminated = not text.endswith("\n")
        if unterminated and _QUESTION.search(lines[-1]):
            return lines[-1].strip()
        asked = [line for line in lines if _ASKED.search(line)]
        if asked:
            return asked[-1].strip()
        if lines[-1].strip() == _HOST_KEY_ASKED and not _was_strict(text):
            return f"ssh wanted a host key confirmed ({_HOST_KEY_ASKED})"
    return None


def _was_strict(text: str) -> bool:
    return any(words in text for words in _HOST_KEY_REFUSED)


def failed(result: CommandResult, *, where: str = "") -> HostError:
    """The error for a command that ended with another status than 0.

    Args:
        where: Place in a recipe that gave the command.
    """
    where = f" ({where})" if where else ""
    command, status = shorten(result.command), result.exit_status
    question = find_question(result.stdout, result.stderr)
    if question is not None:
        return PromptError(
            result.host, f"asked a question nobody can answer{where}", command, question
        )
    message = _with_last_words(f"exit status {status}", result)
    if status > 128 and status - 128 in set(signal.Signals):
        message = f"killed by {signal.Signals(status - 128).name}"
    said = untrusted.printable(result.stdout), untrusted.printable(result.stderr)
    return CommandError(result.host, message + where, command, status, *said)


def out_of_time(result: CommandResult, limit_s: float) -> HostError:
    """The error for a command that was killed on the host at its limit."""
    command = shorten(result.command)
    question = find_question(result.stdout, result.stderr)
    if question is not None:
        message = f"asked a question and was ended after {limit_s:g} s"
        return PromptError(result.host, message, command, question)
    return CommandTimeoutError(
        result.host,
        f"still running after {limit_s:g} s, ended on the host; "
        "give it a longer limit or find out what it waits for",
        command,
        result.exit_status,
        untrusted.printable(result.stdout),
        untrusted.printable(result.stderr),
    )


def shorten(script: str, width: int = 200) -> str:
    """A script as one line for messages and logs."""
    line = " ".join(script.split())
    return line if len(line) <= width else f"{line[: width - 1]}…"


def _with_last_words(message: str, result: CommandResult) -> str:
    """A message and the last line of what the command said of its error, which often is the reason."""
    lines = result.stderr.rstrip().splitlines()
    return f"{message}: {untrusted.one_line(lines[-1], 300)}" if lines else message

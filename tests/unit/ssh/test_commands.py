"""Remote commands as text."""

from __future__ import annotations

import os
import shlex
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st
from local_runs import wait_until

from perfkit.errors import CommandError, CommandTimeoutError, PromptError
from perfkit.ssh.commands import (
    CAPTURE_BYTES,
    Capture,
    CommandResult,
    detached,
    failed,
    find_question,
    out_of_time,
    shorten,
    wrap,
)

WORDS = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=30
)


def result(status: int, stdout: str = "", stderr: str = "") -> CommandResult:
    return CommandResult(
        host="client-001",
        command="work",
        exit_status=status,
        stdout=stdout,
        stderr=stderr,
        elapsed_s=1.0,
    )


def run_locally(line: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)


@given(script=WORDS, value=WORDS)
def test_whatever_a_script_and_a_variable_hold_they_arrive_as_one_word_each(
    script: str, value: str
) -> None:
    line = wrap(script, limit_s=5, env={"GIVEN": value})
    words = shlex.split(line.removesuffix(" </dev/null; exit $?"))
    assert words[-3:] == ["sh", "-c", script]
    assert f"GIVEN={value}" in words


@pytest.mark.parametrize(
    "value", ["1; echo PWNED", "$(echo PWNED)", "`echo PWNED`", "a'b\"c", "two\nlines", "Å %s \\n"]
)
def test_a_real_shell_gives_a_variable_back_unchanged(value: str) -> None:
    done = run_locally(wrap('printf %s "$GIVEN"', limit_s=5, env={"GIVEN": value}))
    assert done.stdout == value


def test_a_wrapped_command_reads_end_of_file_and_keeps_its_status() -> None:
    done = run_locally(wrap("read answer || exit 7", limit_s=5))
    assert done.returncode == 7


def test_a_command_killed_by_a_signal_still_has_a_status() -> None:
    assert run_locally(wrap("kill -9 $$", limit_s=5)).returncode == 137


@given(argv=st.lists(WORDS, max_size=3))
def test_a_program_gets_its_arguments_as_they_are_without_another_shell(argv: list[str]) -> None:
    line = wrap(shlex.join(["printf", "<%s>", *argv]), limit_s=5, is_program=True)
    words = shlex.split(line.removesuffix(" </dev/null; exit $?"))
    assert words[-len(argv) - 6 :] == ["timeout", "-k", "1", "5.000", "printf", "<%s>", *argv]


@pytest.mark.parametrize(
    ("argv", "status"),
    [
        (["sh", "-c", "exit 7"], 7),
        (["sh", "-c", "kill -9 $$"], 137),
        (["no-such-program"], 127),
        (["/"], 126),
        (["cat"], 0),  # at the end of its input at once
        (["sleep", "9"], 124),
    ],
)
def test_a_programs_status_is_that_of_a_script_with_it(argv: list[str], status: int) -> None:
    of_program, of_script = (
        run_locally(wrap(shlex.join(argv), limit_s=0.5, is_program=is_program))
        for is_program in (True, False)
    )
    assert of_program.returncode == of_script.returncode == status


def test_a_command_is_killed_at_its_limit_with_all_its_children() -> None:
    nap = f"sleep 61.{os.getpid()}"  # the same test may run elsewhere on this machine
    done = run_locally(wrap(f"trap '' TERM; ({nap} & {nap})", limit_s=0.2))
    search = ["pgrep", "-f", nap]
    assert done.returncode in {124, 137}
    assert wait_until(  # a killed process has to be run to end
        lambda: subprocess.run(search, capture_output=True, check=False).stdout == b"", 30
    )


@pytest.mark.parametrize("name", ["A;B", "", "1A", "A B", "A=B"])
def test_what_is_no_variable_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="environment variables"):
        wrap("true", limit_s=5, env={name: "x"})


def test_a_limit_must_be_positive() -> None:
    with pytest.raises(ValueError, match="positive"):
        wrap("true", limit_s=0)


def test_a_detached_program_that_is_not_there_is_an_error_now() -> None:
    done = run_locally(detached(["no-such-program"], None))
    assert done.returncode == 127
    assert "no-such-program: not found" in done.stderr


@given(st.lists(st.binary(max_size=700), max_size=40))
def test_capture_keeps_all_below_its_limit_and_both_ends_above_it(pieces: list[bytes]) -> None:
    capture = Capture(limit_bytes=2000)
    for piece in pieces:
        capture.add(piece)
    whole = b"".join(pieces)
    if len(whole) <= 2000:
        assert capture.text() == whole.decode(errors="replace")
    else:
        left_out = f"\n[{len(whole) - 2000} bytes left out]\n"
        head, tail = whole[:1000], whole[-1000:]
        expected = head + left_out.encode() + tail
        assert capture.text() == expected.decode(errors="replace")


def test_capture_stays_small_however_much_is_printed() -> None:
    capture = Capture()
    for _ in range(100):
        capture.add(b"x" * CAPTURE_BYTES)
    assert capture.n_bytes == 100 * CAPTURE_BYTES
    assert len(capture.text()) < CAPTURE_BYTES + 100
    # private: what it holds in memory is no part of what it says
    assert len(capture._head) + len(capture._tail) < 3 * CAPTURE_BYTES


QUESTIONS = {
    "read": ("Your name? ", "", "Your name?"),
    "terminal password": (
        "",
        "sh: 1: cannot open /dev/tty: No such device or address\n",
        "/dev/tty",
    ),
    "sudo": ("", "sudo: a password is required\n", "sudo: a password is required"),
    "sudo without -n": (
        "",
        "sudo: a terminal is required to read the password; either use ssh's -t option or "
        "configure an askpass helper\nsudo: a password is required\n",
        "sudo: a password is required",
    ),
    "apt": (
        "After this operation, 3 kB will be used.\nDo you want to continue? [Y/n] Abort.\n",
        "",
        "[Y/n]",
    ),
    "dpkg": (
        "*** /etc/thing.conf (Y/I/N/O/D/Z) [default=N] ? ",
        "dpkg: error processing package thing (--configure):\n"
        " end of file on stdin at conffile prompt\n",
        "end of file on stdin at conffile prompt",
    ),
    "ssh": ("", "Host key verification failed.\r\n", "host key confirmed"),
    "passwd": ("", "Current password: passwd: Authentication token manipulation error\n", "token"),
    "su": ("", "Password: ", "Password:"),
    "git": ("", "Username for 'https://example.org': ", "Username"),
}


@pytest.mark.parametrize(("stdout", "stderr", "words"), QUESTIONS.values(), ids=QUESTIONS)
def test_the_question_of_a_program_is_found(stdout: str, stderr: str, words: str) -> None:
    question = find_question(stdout, stderr)
    assert question is not None
    assert words in question


@pytest.mark.parametrize(
    ("stdout", "stderr"),
    [
        ("", ""),
        ("What is wrong?\n", ""),  # terminated: a statement
        ("", "tar: x: Cannot open: No such file or directory\n"),
        ("downloading… 37 %", ""),
        ("set password for users in /etc/shadow\ndone\n", ""),
        (
            "",
            "No ED25519 host key is known for h and you have requested strict checking.\n"
            "Host key verification failed.\n",
        ),
        ("", "WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!\nHost key verification failed.\n"),
    ],
)
def test_other_output_is_no_question(stdout: str, stderr: str) -> None:
    assert find_question(stdout, stderr) is None


def test_a_failed_command_says_status_signal_or_question() -> None:
    status, by_signal, asked = failed(result(3)), failed(result(137)), failed(result(1, "Go on? "))
    assert isinstance(status, CommandError)
    assert "exit status 3" in str(status)
    assert "SIGKILL" in str(by_signal)
    assert isinstance(asked, PromptError)
    assert asked.last_line == "Go on?"


def test_a_command_out_of_time_says_so_or_what_it_asked() -> None:
    assert isinstance(out_of_time(result(124, "working…"), 5), CommandTimeoutError)
    assert isinstance(out_of_time(result(124, "Password: "), 5), PromptError)


def test_a_long_script_is_shortened_to_one_line() -> None:
    assert shorten("a\n  b") == "a b"
    assert len(shorten("x " * 500)) == 200

"""What `Remote` promises, against a real sshd."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import paramiko
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from local_sshd import LocalSshd, make_access
from own_ports import free_port

from perfkit.configure.fabric_tasks import GuardedConnection, do_task
from perfkit.errors import (
    CommandError,
    CommandTimeoutError,
    LostError,
    PerfkitError,
    PromptError,
    TransferError,
    UnreachableError,
)
from perfkit.model import Host
from perfkit.ssh import connection
from perfkit.ssh.keys import make_ssh_key
from perfkit.ssh.known_hosts import pin_hosts
from perfkit.ssh.remote import Access, Remote, RemotePool

RUN_KEY = make_ssh_key()
# Of one who never answers; it must not be needed by one who does, on a starved machine.
SHORT = {"connect_timeout_s": 1.0, "patience_s": 1.5}
WATCHFUL = {"connect_timeout_s": 4.0, "silence_s": 1.0}
SOON_S = 20.0  # far less than what is interrupted here would take, and enough for a starved machine


@pytest.fixture(scope="module", autouse=True)
def _needs_sshd(needs_tools: Callable[..., None]) -> None:
    needs_tools("sshd", "timeout", "setsid")


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSshd]:
    """One sshd for the tests that leave it as it is."""
    server = LocalSshd(tmp_path_factory.mktemp("sshd"), RUN_KEY).start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def access(sshd: LocalSshd) -> Access:
    return make_access(sshd.root, RUN_KEY, sshd.host)


@pytest.fixture(scope="module")
def remote(sshd: LocalSshd, access: Access) -> Iterator[Remote]:
    with Remote(sshd.host, access, sshd.root / "configure.log") as opened:
        yield opened


@pytest.fixture
def own_sshd(tmp_path: Path) -> Iterator[LocalSshd]:
    """An sshd that a test may stop or kill."""
    server = LocalSshd(tmp_path, RUN_KEY).start()
    yield server
    server.stop()


OWN = os.getpid()  # in the length of a sleep: the same tests may run elsewhere on this machine


def processes_with(words: str) -> list[str]:
    """Command lines on this machine that hold the words, without ours."""
    found = []
    for pid in (entry.name for entry in Path("/proc").iterdir() if entry.name.isdigit()):
        with contextlib.suppress(OSError):
            line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
            if words.encode() in line and int(pid) != os.getpid():
                found.append(line.decode(errors="replace"))
    return found


def wait_until(condition: Callable[[], object], limit_s: float = 60.0) -> None:
    give_up = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < give_up, "it did not happen"
        time.sleep(0.02)


@contextlib.contextmanager
def once_it_runs(words: str, deed: Callable[[], object]) -> Iterator[None]:
    """Do something as soon as a process with these words in its command line is there."""

    def wait_and_do() -> None:
        wait_until(lambda: processes_with(words))
        deed()

    thread = threading.Thread(target=wait_and_do)
    thread.start()
    try:
        yield
    finally:
        thread.join()


# -- commands --------------------------------------------------------------------------------------


def test_a_command_returns_its_status_and_both_streams(remote: Remote) -> None:
    result = remote.run_script("echo out; echo err >&2; exit 3", check=False)
    assert (result.exit_status, result.stdout, result.stderr) == (3, "out\n", "err\n")
    assert result.host == remote.host.name


def test_a_failed_command_raises_with_its_output(remote: Remote) -> None:
    with pytest.raises(CommandError, match="exit status 3") as caught:
        remote.run_script("echo why >&2; exit 3")
    assert caught.value.stderr == "why\n"


@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    words=st.lists(
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20),
        min_size=1,
        max_size=4,
    )
)
def test_arguments_arrive_as_they_were_given(remote: Remote, words: list[str]) -> None:
    result = remote.run(["printf", r"%s\0", *words])
    assert result.stdout.split("\0")[:-1] == words


def test_a_command_killed_by_a_signal_is_told_from_a_lost_connection(remote: Remote) -> None:
    with pytest.raises(CommandError, match="SIGKILL") as caught:
        remote.run_script("kill -9 $$")
    assert caught.value.exit_status == 137
    assert remote.run(["true"]).exit_status == 0


def test_a_command_is_ended_at_its_limit_and_leaves_no_process(remote: Remote) -> None:
    started = time.monotonic()
    with pytest.raises(CommandTimeoutError, match=r"after 0\.5 s"):
        remote.run_script(f"sleep 71.{OWN} & sleep 71.{OWN}", timeout_s=0.5)
    assert time.monotonic() - started < SOON_S
    wait_until(
        lambda: processes_with(f"sleep 71.{OWN}") == [], SOON_S
    )  # a killed one has to be run


def test_a_command_that_ran_out_of_time_before_its_start_was_answered_is_told_as_such(
    remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers of a busy machine come late: the limit counts from when the command was sent."""
    pid_file, begin = tmp_path / "pid", paramiko.Channel.exec_command

    def answered_late(channel: paramiko.Channel, command: str) -> None:
        begin(channel, command)
        wait_until(lambda: pid_file.exists() and bool(pid_file.read_text()), SOON_S)
        wait_until(lambda: not Path("/proc", pid_file.read_text().strip()).exists(), SOON_S)

    monkeypatch.setattr(paramiko.Channel, "exec_command", answered_late)
    with pytest.raises(CommandTimeoutError, match=r"after 0\.5 s"):
        remote.run_script(f"echo $$ >{pid_file}; exec sleep 30", timeout_s=0.5)


def test_output_from_before_the_limit_is_in_the_error(remote: Remote) -> None:
    with pytest.raises(CommandTimeoutError) as caught:
        remote.run_script("echo begun; sleep 30", timeout_s=3)
    assert caught.value.stdout == "begun\n"


def test_endless_output_is_bounded_in_memory_and_on_disk(remote: Remote) -> None:
    with pytest.raises(CommandTimeoutError) as caught:
        remote.run(["yes"], timeout_s=2)
    assert len(caught.value.stdout) < 2 << 20
    assert "bytes left out" in caught.value.stdout
    assert remote.log is not None
    assert remote.log.stat().st_size < 20 << 20


def test_a_child_that_holds_the_line_does_not_hold_the_command(remote: Remote) -> None:
    started = time.monotonic()
    assert remote.run_script("sleep 45 & echo on").stdout == "on\n"
    assert time.monotonic() - started < SOON_S


def test_a_detached_program_outlives_the_connection(sshd: LocalSshd, access: Access) -> None:
    log = sshd.root / "detached.log"
    with Remote(sshd.host, access) as opened:
        script = "echo begun; exec sleep 72.5"
        started = time.monotonic()
        pid = opened.start_detached(["sh", "-c", script], log=str(log))
        assert time.monotonic() - started < SOON_S
    try:
        wait_until(lambda: Path(f"/proc/{pid}/cmdline").read_bytes() == b"sleep\x0072.5\x00")
        assert log.read_text() == "begun\n"
    finally:
        os.kill(pid, signal.SIGKILL)


def test_a_detached_program_that_is_not_there_is_an_error(remote: Remote) -> None:
    with pytest.raises(CommandError, match="127"):
        remote.start_detached(["no-such-program"])


def test_a_conversation_notes_when_each_answer_came(remote: Remote) -> None:
    answers = remote.converse('while read -r x; do echo "got $x"; done', ["a", "b", "c"])
    assert [answer.line for answer in answers] == ["got a", "got b", "got c"]
    assert all(0 < it.received_utc_s - it.sent_utc_s < SOON_S for it in answers)


@pytest.mark.parametrize("pause_s", [0.0, 0.5])
def test_a_conversation_with_one_who_leaves_is_lost(
    own_sshd: LocalSshd, monkeypatch: pytest.MonkeyPatch, pause_s: float
) -> None:
    """Whether the next question is still sent, or the channel is known to be closed by then."""

    def slow_clock() -> float:
        time.sleep(pause_s)
        return 0.0

    monkeypatch.setattr("perfkit.ssh.remote.time", SimpleNamespace(time=slow_clock))
    with (
        Remote(own_sshd.host, make_access(own_sshd.root, RUN_KEY, own_sshd.host)) as opened,
        pytest.raises(LostError, match="before it answered"),
    ):
        opened.converse("read -r x; echo $x", ["a", "b"])


def test_everything_is_in_the_hosts_log_with_its_time(sshd: LocalSshd, access: Access) -> None:
    log = sshd.root / "own.log"
    with Remote(sshd.host, access, log) as opened:
        opened.run_script("echo out; echo err >&2; exit 3", check=False)
    lines = [line.split(" ", 1) for line in log.read_text().splitlines()]
    assert all(stamp.endswith("+00:00") for stamp, _ in lines)
    texts = [text for _, text in lines]
    assert texts[1] == "$ echo out; echo err >&2; exit 3"
    assert sorted(texts[2:4]) == ["1> out", "2> err"]
    assert texts[4].startswith("= exit status 3 after")


# -- nothing waits on input ------------------------------------------------------------------------

PROMPTS = {
    "read": 'printf "Your name? "; read -r name || exit 1',
    "password from the terminal": 'printf "Password: " >/dev/tty; read -r p </dev/tty || exit 1',
    "sudo": "echo 'sudo: a password is required' >&2; exit 1",
    "apt": 'printf "Do you want to continue? [Y/n] "; read -r a || { echo Abort.; exit 1; }',
    "dpkg": 'printf "*** /etc/x (Y/I/N/O/D/Z) [default=N] ? "; read -r a || exit 1',
    "a question, then silence": f'printf "Overwrite the file? "; sleep 73.{OWN}',
}


@pytest.mark.parametrize("script", PROMPTS.values(), ids=PROMPTS)
def test_a_prompt_is_reported_in_time_and_leaves_no_process(remote: Remote, script: str) -> None:
    started = time.monotonic()
    with pytest.raises(PromptError) as caught:
        # Only the last of them is still there at its limit: the others end by themselves.
        remote.run_script(script, timeout_s=3 if "sleep" in script else 60)
    assert time.monotonic() - started < SOON_S
    assert caught.value.host == remote.host.name
    assert caught.value.last_line
    wait_until(lambda: processes_with(f"sleep 73.{OWN}") == [], SOON_S)


def test_an_ssh_that_would_ask_for_a_host_key_is_a_prompt(
    remote: Remote, own_sshd: LocalSshd
) -> None:
    nowhere = "-F none -o UserKnownHostsFile=/dev/null -o GlobalKnownHostsFile=/dev/null"
    with pytest.raises(PromptError, match="host key"):
        remote.run_script(f"ssh {nowhere} -p {own_sshd.port} 127.0.0.1 true")


def test_a_command_that_ends_well_may_print_what_it_likes(remote: Remote) -> None:
    assert remote.run_script('printf "Ready? "').stdout == "Ready? "


# -- lost is not a result --------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_sshd_means_lost_and_never_a_result(
    own_sshd: LocalSshd, number: signal.Signals
) -> None:
    access = make_access(own_sshd.root, RUN_KEY, own_sshd.host)
    with Remote(own_sshd.host, access) as opened:
        opened.run(["true"])
        with (
            once_it_runs(f"sleep 44.{OWN}", lambda: own_sshd.signal(number)),
            pytest.raises(LostError, match="outcome is not known"),
        ):
            opened.run_script(f"echo half; sleep 44.{OWN}; echo whole", check=False)
        with pytest.raises(LostError):
            opened.run(["true"])


def test_a_stopped_sshd_is_noticed_long_before_the_commands_limit(own_sshd: LocalSshd) -> None:
    access = make_access(own_sshd.root, RUN_KEY, own_sshd.host, **WATCHFUL)
    with Remote(own_sshd.host, access) as opened:
        opened.run(["true"])
        started = time.monotonic()
        with (
            once_it_runs(f"sleep 45.{OWN}", lambda: own_sshd.signal(signal.SIGSTOP)),
            pytest.raises(LostError),
        ):
            opened.run_script(f"sleep 45.{OWN}", timeout_s=60)
        assert time.monotonic() - started < SOON_S


def test_a_stopped_sshd_is_noticed_during_a_transfer(own_sshd: LocalSshd) -> None:
    access = make_access(own_sshd.root, RUN_KEY, own_sshd.host, **WATCHFUL)
    with Remote(own_sshd.host, access) as opened:
        opened.put(b"x", str(own_sshd.root / "file"))
        own_sshd.signal(signal.SIGSTOP)
        with pytest.raises(LostError):
            opened.put(b"y" * 10_000_000, str(own_sshd.root / "file"))
    assert (own_sshd.root / "file").read_bytes() == b"x"


def test_a_quiet_command_on_a_living_host_is_left_alone(sshd: LocalSshd, access: Access) -> None:
    with Remote(sshd.host, replace(access, silence_s=0.3)) as opened:
        assert opened.run_script("sleep 1.5; echo done").stdout == "done\n"


def test_an_abort_from_outside_ends_a_running_command_at_once(
    sshd: LocalSshd, access: Access
) -> None:
    with Remote(sshd.host, access) as opened:
        started = time.monotonic()
        with (
            once_it_runs(f"sleep 46.{OWN}", lambda: opened.connection.abort("deadline is over")),
            pytest.raises(LostError, match="deadline is over"),
        ):
            opened.run_script(f"sleep 46.{OWN}", timeout_s=60)
        assert time.monotonic() - started < SOON_S


def test_closing_does_not_wait_for_a_host_that_is_stopped(
    own_sshd: LocalSshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "WAKE_S", 60.0)  # so late does paramiko's reader wake by itself
    opened = Remote(own_sshd.host, make_access(own_sshd.root, RUN_KEY, own_sshd.host))
    opened.open()
    own_sshd.signal(signal.SIGSTOP)
    started = time.monotonic()
    opened.close()
    opened.close()
    assert time.monotonic() - started < SOON_S


# -- who is let in, and whom we trust --------------------------------------------------------------


def open_and_close(host: Host, access: Access) -> None:
    with Remote(host, access):
        pass


def refusal(host: Host, access: Access) -> tuple[str, float]:
    started = time.monotonic()
    with pytest.raises(UnreachableError) as caught:
        open_and_close(host, access)
    return str(caught.value), time.monotonic() - started


def test_a_host_with_another_key_than_the_pinned_one_is_refused(
    sshd: LocalSshd, tmp_path: Path
) -> None:
    impostor = replace(sshd.host, host_key=make_ssh_key().public_openssh)
    reason, elapsed_s = refusal(sshd.host, make_access(tmp_path, RUN_KEY, impostor))
    assert "host key is not the pinned one" in reason
    assert "attempts" not in reason  # final: not tried again
    assert elapsed_s < SOON_S


def test_a_host_without_a_pin_is_not_even_connected_to(sshd: LocalSshd, tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.setblocking(False)
        host = replace(sshd.host, port=listener.getsockname()[1])
        reason, _ = refusal(host, make_access(tmp_path, RUN_KEY))
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert "no host key is pinned" in reason


def test_a_key_that_the_host_does_not_know_is_refused_once(sshd: LocalSshd, tmp_path: Path) -> None:
    reason, elapsed_s = refusal(sshd.host, make_access(tmp_path, make_ssh_key(), sshd.host))
    assert "refused the run's key" in reason
    assert "attempts" not in reason
    assert elapsed_s < SOON_S


def test_a_missing_key_file_is_said_at_once(sshd: LocalSshd, access: Access) -> None:
    reason, elapsed_s = refusal(sshd.host, replace(access, key_path=Path("/nonexistent/key")))
    assert "the key file /nonexistent/key is not there" in reason
    assert elapsed_s < SOON_S / 2  # the patience that it could have cost is 20 s


def test_neither_agent_nor_the_users_own_keys_nor_ssh_config_are_used(
    sshd: LocalSshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True)
    key = home / ".ssh" / "id_ed25519"
    key.write_text(RUN_KEY.private_openssh)  # it would be let in, were it offered
    key.chmod(0o600)
    (home / ".ssh" / "config").write_text(f"Host *\n  IdentityFile {key}\n  User nobody\n")
    monkeypatch.setenv("HOME", str(home))
    reason, _ = refusal(sshd.host, make_access(tmp_path, make_ssh_key(), sshd.host))
    assert "refused the run's key" in reason


def test_a_new_host_at_a_reused_address_is_trusted_once_it_is_pinned(
    own_sshd: LocalSshd, tmp_path: Path
) -> None:
    old = replace(own_sshd.host, host_key=make_ssh_key().public_openssh)
    access = make_access(tmp_path, RUN_KEY, old)
    refusal(own_sshd.host, access)
    pin_hosts(access.known_hosts_path, [own_sshd.host])
    open_and_close(own_sshd.host, access)


# -- unreachable -----------------------------------------------------------------------------------


def test_a_closed_port_is_refused_within_the_patience(sshd: LocalSshd, tmp_path: Path) -> None:
    host = replace(sshd.host, port=free_port())
    reason, elapsed_s = refusal(host, make_access(tmp_path, RUN_KEY, host, **SHORT))
    assert re.search(r"connection refused \(\[127\.0\.0\.1\]:\d+\)", reason)
    assert elapsed_s < SOON_S


def test_a_tarpit_that_accepts_and_says_nothing_costs_only_the_patience(
    sshd: LocalSshd, tmp_path: Path
) -> None:
    with socket.socket() as tarpit:
        tarpit.bind(("127.0.0.1", 0))
        tarpit.listen()
        host = replace(sshd.host, port=tarpit.getsockname()[1])
        reason, elapsed_s = refusal(host, make_access(tmp_path, RUN_KEY, host, **SHORT))
    assert "no SSH session" in reason
    assert elapsed_s < SOON_S


def test_an_sshd_that_comes_up_late_is_waited_for(tmp_path: Path) -> None:
    server = LocalSshd(tmp_path, RUN_KEY)
    timer = threading.Timer(0.7, server.start)
    timer.start()
    try:
        open_and_close(server.host, make_access(tmp_path, RUN_KEY, server.host, patience_s=120))
    finally:
        timer.join()
        server.stop()


def test_a_throttling_sshd_lets_everybody_in_after_a_while(tmp_path: Path) -> None:
    server = LocalSshd(tmp_path, RUN_KEY, MaxStartups="2:100:3").start()
    access = make_access(tmp_path, RUN_KEY, server.host, patience_s=300)
    errors: list[PerfkitError] = []

    def connect() -> None:
        try:
            open_and_close(server.host, access)
        except PerfkitError as exc:
            errors.append(exc)

    threads = [threading.Thread(target=connect) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    server.stop()
    assert errors == []


# -- files -----------------------------------------------------------------------------------------


def test_a_file_goes_there_and_back_with_its_mode(remote: Remote, sshd: LocalSshd) -> None:
    data = os.urandom(3_000_000)
    path = sshd.root / "there"
    remote.put(data, str(path), mode=0o750)
    assert path.stat().st_mode & 0o777 == 0o750
    assert remote.get(str(path), sshd.root / "back", limit_bytes=len(data)) == len(data)
    assert (sshd.root / "back").read_bytes() == data
    assert remote.read(str(path), limit_bytes=len(data)) == data
    assert [it.name for it in sshd.root.iterdir() if it.name.endswith(".part")] == []


def test_an_empty_file_goes_there_and_back(remote: Remote, sshd: LocalSshd) -> None:
    remote.put(b"", str(sshd.root / "empty"))
    assert remote.read(str(sshd.root / "empty"), limit_bytes=0) == b""


def test_a_path_is_put_as_its_content(remote: Remote, sshd: LocalSshd) -> None:
    remote.put(Path(__file__), str(sshd.root / "copy"))
    assert (sshd.root / "copy").read_bytes() == Path(__file__).read_bytes()


@pytest.mark.parametrize("kind", ["link", "fifo", "folder", "nothing", "large"])
def test_what_is_not_a_regular_file_of_the_right_size_is_not_fetched(
    remote: Remote, sshd: LocalSshd, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / kind
    {
        "link": lambda: path.symlink_to("/etc/hostname"),
        "fifo": lambda: os.mkfifo(path),
        "folder": path.mkdir,
        "nothing": lambda: None,
        "large": lambda: path.write_bytes(b"x" * 101),
    }[kind]()
    with pytest.raises(TransferError, match=f"getting {path}"):
        remote.get(str(path), tmp_path / "target", limit_bytes=100)
    assert not (tmp_path / "target").exists()
    assert remote.run(["true"]).exit_status == 0


def test_a_folder_that_is_not_there_refuses_a_file(remote: Remote) -> None:
    with pytest.raises(TransferError, match="/nonexistent/file"):
        remote.put(b"x", "/nonexistent/file")


# -- the connection that recipes get ---------------------------------------------------------------


def test_fabrics_own_manners_hold(remote: Remote) -> None:
    c = GuardedConnection(remote)
    with c.cd("/tmp"), c.prefix("WORD=yes"):
        result = c.run("pwd; echo $WORD $GIVEN", hide=True, env={"GIVEN": "a; echo b"})
    assert result.stdout == "/tmp\nyes a; echo b\n"
    assert result.ok
    assert c.run("exit 3", warn=True).exited == 3


def test_a_recipe_that_fails_raises_what_fabric_says_and_comes_out_as_ours(
    remote: Remote,
) -> None:
    with pytest.raises(CommandError, match="exit status 4") as caught:
        do_task(lambda c: c.run("echo why >&2; exit 4", hide=True), GuardedConnection(remote))
    assert caught.value.stderr == "why\n"


def test_a_recipe_may_ignore_a_status_but_not_a_lost_connection(own_sshd: LocalSshd) -> None:
    access = make_access(own_sshd.root, RUN_KEY, own_sshd.host)
    with (
        Remote(own_sshd.host, access) as opened,
        once_it_runs(f"sleep 47.{OWN}", lambda: own_sshd.signal(signal.SIGKILL)),
        pytest.raises(LostError),
    ):
        do_task(lambda c: c.run(f"sleep 47.{OWN}", warn=True), GuardedConnection(opened))


def test_a_recipe_that_prompts_is_reported_with_its_question(remote: Remote) -> None:
    with pytest.raises(PromptError, match="Delete everything"):
        do_task(
            lambda c: c.run("printf 'Delete everything? '; read -r x", pty=True),
            GuardedConnection(remote),
        )


def test_a_recipes_command_has_fabrics_timeout(remote: Remote) -> None:
    with pytest.raises(CommandTimeoutError):
        do_task(lambda c: c.run("sleep 45", timeout=0.5), GuardedConnection(remote))


@pytest.mark.parametrize("option", ["asynchronous", "disown"])
def test_a_recipe_leaves_nothing_running_behind_our_back(remote: Remote, option: str) -> None:
    with pytest.raises(CommandError, match="setsid"):
        do_task(lambda c: c.run("sleep 9", **{option: True}), GuardedConnection(remote))


def test_a_recipe_cannot_open_a_shell(remote: Remote) -> None:
    with pytest.raises(PromptError, match="interactive shell"):
        do_task(lambda c: c.shell(), GuardedConnection(remote))


def test_sudo_never_asks(remote: Remote) -> None:
    needs_sudo = remote.host.user != "root"
    command = GuardedConnection(remote).sudo("echo as root", warn=True, hide=True).command
    assert command == ("sudo -n echo as root" if needs_sudo else "echo as root")
    as_other = GuardedConnection(remote).sudo("true", user="nobody", warn=True, hide=True).command
    assert as_other == "sudo -n -H -u nobody true"


def test_a_recipe_puts_and_gets_files(remote: Remote, sshd: LocalSshd, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_text("content")
    do_task(lambda c: c.put(str(source), str(sshd.root / "put")), GuardedConnection(remote))
    do_task(
        lambda c: c.get(str(sshd.root / "put"), str(tmp_path / "got")), GuardedConnection(remote)
    )
    assert (tmp_path / "got").read_text() == "content"
    with pytest.raises(TransferError):
        do_task(lambda c: c.put(str(source), "/nonexistent/put"), GuardedConnection(remote))


# -- the pool --------------------------------------------------------------------------------------


def test_the_pool_keeps_a_connection_and_makes_a_new_one_when_it_is_dead(
    own_sshd: LocalSshd,
) -> None:
    access = make_access(own_sshd.root, RUN_KEY, own_sshd.host)
    with RemotePool(access, own_sshd.root / "logs") as pool:
        first = pool.get(own_sshd.host)
        assert pool.get(own_sshd.host) is first
        own_sshd.stop()
        wait_until(lambda: not first.connection.is_open)
        own_sshd.start()
        second = pool.get(own_sshd.host)
        assert second is not first
        assert second.run(["echo", "again"]).stdout == "again\n"
        assert pool.log_path(own_sshd.host) == own_sshd.root / "logs/client-001/configure.log"


def test_threads_that_want_the_same_host_share_one_connection(
    sshd: LocalSshd, access: Access
) -> None:
    found: list[Remote] = []
    with RemotePool(access) as pool:
        threads = [
            threading.Thread(target=lambda: found.append(pool.get(sshd.host))) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 8
        assert len({id(remote) for remote in found}) == 1


def test_a_dropped_host_frees_whoever_is_still_connecting_to_it(
    sshd: LocalSshd, tmp_path: Path
) -> None:
    with socket.socket() as tarpit:
        tarpit.bind(("127.0.0.1", 0))
        tarpit.listen()
        host = replace(sshd.host, port=tarpit.getsockname()[1])
        patient = {"connect_timeout_s": 60.0, "patience_s": 60.0}
        pool = RemotePool(make_access(tmp_path, RUN_KEY, host, **patient))

        def drop_it() -> None:
            with tarpit.accept()[0]:
                pool.drop(host, "deadline is over")

        dropping = threading.Thread(target=drop_it)
        dropping.start()
        started = time.monotonic()
        with pytest.raises(LostError, match="deadline is over"):
            pool.get(host)
        assert time.monotonic() - started < SOON_S
        dropping.join()
        pool.close()


def test_a_closed_pool_opens_nothing(sshd: LocalSshd, access: Access) -> None:
    pool = RemotePool(access)
    opened = pool.get(sshd.host)
    pool.close()
    pool.close()
    with pytest.raises(LostError, match="closed"):
        pool.get(sshd.host)
    with pytest.raises(LostError):
        opened.run(["true"])


def test_no_file_descriptors_are_left(sshd: LocalSshd, access: Access) -> None:
    def cycle() -> None:
        with RemotePool(access) as pool:
            pool.get(sshd.host).run(["true"])
            pool.get(sshd.host).put(b"x", str(sshd.root / "x"))

    cycle()
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        cycle()
    wait_until(lambda: len(list(Path("/proc/self/fd").iterdir())) <= before)

"""Every error that paramiko, invoke, fabric and sockets can raise becomes one of ours."""

from __future__ import annotations

import io
import socket
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import fabric.exceptions
import invoke.exceptions
import paramiko
import paramiko.buffered_pipe
import paramiko.sftp
import paramiko.ssh_exception
import pytest

from perfkit.configure.fabric_tasks import GuardedConnection, do_task
from perfkit.errors import (
    CommandError,
    HostError,
    LostError,
    PromptError,
    TransferError,
    UnreachableError,
)
from perfkit.model import Host, Role
from perfkit.ssh.foreign_errors import is_final, translate, unreachable
from perfkit.ssh.jump_hosts import to_jump
from perfkit.ssh.keys import make_ssh_key
from perfkit.ssh.remote import Access, Remote

SOME_KEY = paramiko.Ed25519Key.from_private_key(io.StringIO(make_ssh_key().private_openssh))
HOST = Host(name="client-001", role=Role.CLIENT, address="192.0.2.1", host_key="ssh-ed25519 AAAA")


def exceptions_of(module: ModuleType) -> list[type[Exception]]:
    return [
        kind
        for kind in vars(module).values()
        if isinstance(kind, type)
        and issubclass(kind, Exception)
        and kind.__module__ == module.__name__
    ]


def make(kind: type[Exception]) -> Exception:
    """An instance whose constructor is skipped: they all want something else."""
    exc = kind.__new__(kind, "detail")
    defaults: dict[str, Any] = {
        "result": invoke.runners.Result(command="work", exited=1, hide=("stdout", "stderr")),
        "reason": None,
        "prompt": "?",
        "timeout": 1,
        "exceptions": (),
        "name": "n",
        "start": "s",
        "explanation": "e",
        "allowed_types": [],
        "types": [],
        "hostname": "h",
        "key": SOME_KEY,
        "expected_key": SOME_KEY,
        "errors": {("192.0.2.1", 22): OSError()},
        "code": 1,
        "text": "t",
        "command": "c",
        "error": "e",
        "message": "m",
    }
    for name, value in defaults.items():
        if not hasattr(kind, name):
            setattr(exc, name, value)
    return exc


SSH = exceptions_of(paramiko.ssh_exception)
RECIPE = exceptions_of(invoke.exceptions) + exceptions_of(fabric.exceptions)
PLAIN = [
    (EOFError(), LostError),
    (TimeoutError(), LostError),
    (ConnectionResetError(), LostError),
    (BrokenPipeError(), LostError),
    (paramiko.buffered_pipe.PipeTimeout(), LostError),
    (paramiko.sftp.SFTPError("Garbage packet received"), TransferError),
    (FileNotFoundError(2, "No such file"), TransferError),
    (PermissionError(13, "Permission denied"), TransferError),
    (OSError("Failure"), TransferError),
    (socket.gaierror(-2, "Name or service not known"), TransferError),
]


class Boom:
    """Stands in for a recipe."""

    def __init__(self, exc: Exception) -> None:
        self.exc = exc

    def __call__(self, _connection: object) -> None:
        raise self.exc


@pytest.fixture
def remote() -> Remote:
    return Remote(HOST, Access(key_path=Path("none"), known_hosts_path=Path("none")))


def test_the_lists_are_what_the_libraries_have() -> None:
    assert len(SSH) >= 14
    assert len(RECIPE) >= 18


@pytest.mark.parametrize("kind", SSH, ids=lambda kind: kind.__name__)
def test_an_ssh_error_on_an_open_connection_means_lost(
    remote: Remote, kind: type[Exception]
) -> None:
    expected = TransferError if issubclass(kind, OSError) else LostError
    with pytest.raises(expected) as caught:
        do_task(Boom(make(kind)), GuardedConnection(remote))
    assert caught.value.host == "client-001"


@pytest.mark.parametrize("kind", SSH, ids=lambda kind: kind.__name__)
def test_an_ssh_error_before_the_login_means_unreachable(kind: type[Exception]) -> None:
    error = unreachable(HOST, make(kind), attempts=1)
    assert isinstance(error, UnreachableError)
    assert "192.0.2.1" in str(error)


@pytest.mark.parametrize("kind", RECIPE, ids=lambda kind: kind.__name__)
def test_an_error_of_fabric_or_invoke_means_the_recipe_failed(
    remote: Remote, kind: type[Exception]
) -> None:
    with pytest.raises(CommandError) as caught:
        do_task(Boom(make(kind)), GuardedConnection(remote))
    assert caught.value.host == "client-001"


@pytest.mark.parametrize(("exc", "kind"), PLAIN, ids=lambda value: type(value).__name__)
def test_a_plain_error_on_an_open_connection_is_translated(
    exc: Exception, kind: type[HostError]
) -> None:
    assert type(translate("client-001", exc, "working")) is kind


def test_an_unexpected_exit_with_a_question_is_a_prompt(remote: Remote) -> None:
    result = invoke.runners.Result(command="work", exited=1, stdout="Go on? [y/N] ")
    with pytest.raises(PromptError, match="Go on"):
        do_task(Boom(invoke.exceptions.UnexpectedExit(result)), GuardedConnection(remote))


@pytest.mark.parametrize(
    ("exc", "words", "final"),
    [
        (ConnectionRefusedError(111, "Connection refused"), "connection refused", False),
        (TimeoutError("timed out"), "no answer in time", False),
        (paramiko.AuthenticationException("Authentication failed."), "refused the run's key", True),
        (paramiko.AuthenticationException("Authentication timeout."), "no answer to the lo", False),
        (
            paramiko.AuthenticationException("Authentication failed: transport … saw EOF"),
            "no answer to the login",
            False,
        ),
        (socket.gaierror(-2, "Name or service not known"), "name cannot be resolved", False),
        (EOFError(), "closed the connection before the login", False),
        (paramiko.SSHException("Error reading SSH protocol banner"), "no SSH session", False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_the_cause_is_named_and_only_what_can_change_is_tried_again(
    exc: Exception, words: str, final: bool
) -> None:
    assert words in str(unreachable(HOST, exc, attempts=1))
    assert is_final(exc) is final


def test_a_host_that_its_machine_cannot_reach_is_named_with_the_machine() -> None:
    exc = paramiko.ChannelException(2, "Connect failed")
    jump = to_jump(replace(HOST, name="machine-001", machine="lab-1"))
    assert jump.name == "lab-1"
    for machine, whose in (("lab-1", "its machine lab-1"), ("", "its jump host")):
        host = replace(HOST, machine=machine, jump=jump)
        assert f"{whose} could not connect to it" in str(unreachable(host, exc, attempts=1))


def test_errors_of_ours_pass_through_a_recipe_unchanged(remote: Remote) -> None:
    ours = LostError("client-001", "gone")
    with pytest.raises(LostError) as caught:
        do_task(Boom(ours), GuardedConnection(remote))
    assert caught.value is ours

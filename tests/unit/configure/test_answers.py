"""What hosts answer to configure and measure: refused with the host's name, never a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from perfkit.configure.facts import collect_facts
from perfkit.errors import CommandError
from perfkit.model import Host, Role
from perfkit.ssh.access import Access
from perfkit.ssh.commands import CommandResult
from perfkit.ssh.remote import Remote

HOST = Host(name="client-001", role=Role.CLIENT, address="192.0.2.1", host_key="k")
FACTS = '{"kernel": "6.1", "ncpu": 2, "os": "Debian"}'


def remote_that_says(text: str, monkeypatch: pytest.MonkeyPatch) -> Remote:
    answer = CommandResult(
        host=HOST.name, command="x", exit_status=0, stdout=text, stderr="", elapsed_s=0.1
    )
    monkeypatch.setattr(Remote, "run_script", lambda *_, **__: answer)
    return Remote(HOST, Access(key_path=Path("none"), known_hosts_path=Path("none")))


def test_facts_as_hosts_print_them_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    assert collect_facts(remote_that_says(FACTS, monkeypatch))["ncpu"] == 2


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[" * 100000,
        "[]",
        "7",
        FACTS[:-1],
        FACTS.replace("2", "9" * 10**6),
        FACTS.replace("2", '"2"'),
        FACTS.replace("Debian", r"\ud800"),
        FACTS.replace("2", "[]"),
    ],
)
def test_facts_beyond_the_bounds_fail_that_host_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    with pytest.raises(CommandError, match="client-001: its facts are refused: ") as caught:
        collect_facts(remote_that_says(text, monkeypatch))
    assert len(str(caught.value)) < 3000


@pytest.mark.parametrize("text", ["", "x", "1" * 10**6, "1.5", "pid 7", "\x1b[2J"])
def test_a_number_that_is_none_fails_that_host(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    remote = remote_that_says(text, monkeypatch)
    with pytest.raises(CommandError, match="client-001: ") as caught:
        remote.start_detached(["true"])
    assert str(caught.value).replace("\n", "").isprintable()


def test_a_number_is_taken_with_blanks_around_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert remote_that_says(" 4711\n", monkeypatch).start_detached(["true"]) == 4711

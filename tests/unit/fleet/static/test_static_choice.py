"""Which machine of static.conf a host gets; no machine is asked here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from local_runs import LocalRun

from perfkit.errors import UnreachableError
from perfkit.fleet.static.host_agents import Answer, HostAgents
from perfkit.fleet.static.hostlist import Machine
from perfkit.fleet.static.provider import StaticProvider
from perfkit.ssh.keys import make_ssh_key

KEY = make_ssh_key().public_openssh


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Machines that do not answer; all others let themselves be tagged."""
    names: set[str] = set()
    tags: dict[str, dict[str, tuple[str, ...]]] = {}

    def ask(_agents: HostAgents, machine: Machine, verb: str, *arguments: str, **_: bool) -> Answer:
        if machine.name in names:
            raise UnreachableError(machine.name, "no answer in time")
        if verb == "claim":
            lines = (line.partition("=") for line in arguments[-1].splitlines())
            tags[machine.name] = {f"tag.{key}": (value,) for key, _, value in lines}
        return tags.get(machine.name, {})

    monkeypatch.setattr(HostAgents, "ask", ask)
    return names


def provider_of(folder: Path, *clients: str) -> StaticProvider:
    sections = [("lab-0", "server"), *((name, "client") for name in clients)]
    (folder / "static.conf").write_text(
        "[static]\nssh_config = /dev/null\n"
        + "".join(
            f"[{name}]\nrole = {role}\naddress = 192.0.2.{n}\nkey_file = {folder}/k\nhost_key = {KEY}\n"
            for n, (name, role) in enumerate(sections, 1)
        )
    )
    return StaticProvider(folder)


def test_a_host_whose_machine_died_gets_one_that_answers(tmp_path: Path, silent: set[str]) -> None:
    provider, run = provider_of(tmp_path, "lab-1", "lab-2", "lab-3"), LocalRun(tmp_path)
    first = provider.launch(run.request("server", "client-001", "client-002"))
    assert [host.machine for host in first] == ["lab-0", "lab-1", "lab-2"]
    silent.add("lab-1")
    (again,) = provider_of(tmp_path, "lab-1", "lab-2", "lab-3").launch(
        run.request("client-001", token="again")
    )
    assert again.machine == "lab-3"


def test_where_none_answers_the_reason_is_that_of_the_machine(
    tmp_path: Path, silent: set[str]
) -> None:
    provider, run = provider_of(tmp_path, "lab-1", "lab-2"), LocalRun(tmp_path)
    provider.launch(run.request("server", "client-001", "client-002"))
    silent.add("lab-1")
    said: list[object] = []
    request = run.request("client-001", token="again")
    again = provider_of(tmp_path, "lab-1", "lab-2")
    again.launch(replace(request, record=lambda _kind, **fields: said.append(fields["reason"])))
    assert said == ["UnreachableError: lab-1: no answer in time"]

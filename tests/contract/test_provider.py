"""What every provider must do; one suite for all of them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from local_runs import LocalRun, in_fresh_process, wait_until

from perfkit.errors import ConfigError, LaunchError
from perfkit.fleet.provider import Provider, get_provider
from perfkit.model import Host, Role

PROVIDERS = [
    pytest.param(
        {"name": "local", "isolation": "namespaces"}, id="namespaces", marks=pytest.mark.root
    ),
    pytest.param({"name": "local", "isolation": "loopback"}, id="loopback"),
]
LISTING = """
import json, sys
from perfkit.fleet.provider import get_provider
provider = get_provider(**json.loads(sys.argv[1]))
hosts = [
    [h.run_id, h.name, str(h.role), h.address, h.port, h.owner, h.expires_utc.timestamp()]
    for h in provider.hosts(sys.argv[2])
]
print(json.dumps([hosts, list(provider.residue(sys.argv[2]))]))
"""


@dataclass
class Fleet:
    options: dict[str, Any]
    provider: Provider
    run: LocalRun
    hosts: dict[str, Host]

    def there(self) -> dict[str, str]:
        return {h.name: h.identity for h in self.provider.hosts(self.run.run_id)}


@pytest.fixture(params=PROVIDERS)
def options(request: pytest.FixtureRequest) -> dict[str, Any]:
    chosen: dict[str, Any] = request.param
    return chosen


@pytest.fixture
def fleet(options: dict[str, Any], tmp_path: Path) -> Iterator[Fleet]:
    provider = get_provider(**options)
    run = LocalRun(tmp_path)
    try:
        hosts = provider.launch(run.request("server", "client-001"))
        yield Fleet(options, provider, run, {host.name: host for host in hosts})
    finally:
        report = provider.release(run.run_id)
    assert report.leaked == ()
    assert list(provider.hosts(run.run_id)) == []
    assert list(provider.residue(run.run_id)) == []


def test_it_keeps_the_protocol_and_says_what_its_hosts_are_like(options: dict[str, Any]) -> None:
    provider = get_provider(**options)
    assert isinstance(provider, Provider)
    assert provider.name == options["name"]
    assert provider.traits.max_hosts >= 100
    assert not provider.traits.costs_money


def test_preflight_accepts_a_small_fleet_and_refuses_one_beyond_its_limit(
    options: dict[str, Any],
) -> None:
    provider = get_provider(**options)
    provider.preflight(2)
    for wrong in (0, -1, provider.traits.max_hosts + 1, 1_000_000_000):
        with pytest.raises(ConfigError, match=str(wrong)):
            provider.preflight(wrong)


def test_a_launched_host_lets_in_the_runs_key_and_shows_the_pinned_host_key(fleet: Fleet) -> None:
    for name, host in fleet.hosts.items():
        said = fleet.run.ssh(host, f"cd {host.workdir} && touch here && ls && echo role of {name}")
        assert said.stdout == f"here\nrole of {name}\n", said.stderr


def test_a_launched_host_offers_sftp(fleet: Fleet, tmp_path: Path) -> None:
    host = fleet.hosts["client-001"]
    fleet.run.ssh(host, f"echo of the host > {host.workdir}/file")
    done = subprocess.run(
        [*fleet.run.client("sftp", host, "-P")[:-1], "-b", "-", f"{host.user}@{host.address}"],
        input=f"get {host.workdir}/file {tmp_path}/fetched\n",
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "fetched").read_text() == "of the host\n"


def test_another_key_is_refused(fleet: Fleet, tmp_path: Path) -> None:
    stranger = LocalRun(tmp_path)
    refused = stranger.ssh(fleet.hosts["server"], "true")
    assert refused.returncode == 255
    assert "Permission denied" in refused.stderr


def test_another_host_key_is_refused(fleet: Fleet) -> None:
    server, client = fleet.hosts["server"], fleet.hosts["client-001"]
    assert fleet.run.ssh(server, "true").returncode == 0
    fleet.run.known_hosts_path.write_text(f"[{server.address}]:{server.port} {client.host_key}\n")
    refused = subprocess.run(
        [*fleet.run.client("ssh", server, "-p"), "true"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert refused.returncode == 255


def test_the_same_token_makes_nothing_twice_and_returns_the_same_hosts(
    fleet: Fleet,
) -> None:
    before = fleet.there()
    request = fleet.run.request("server", "client-001")
    again = fleet.provider.launch(request)
    assert [(h.name, h.address, h.port) for h in again] == [
        (h.name, h.address, h.port) for h in fleet.hosts.values()
    ]
    assert fleet.there() == before


def test_another_token_adds_hosts_to_the_same_run(fleet: Fleet) -> None:
    fleet.provider.launch(fleet.run.request("client-002", token="second"))
    assert set(fleet.there()) == {"server", "client-001", "client-002"}


def test_a_name_in_use_is_not_given_to_another_batch(fleet: Fleet) -> None:
    before = fleet.there()
    added = fleet.provider.launch(fleet.run.request("server", "client-002", token="second"))
    assert [host.name for host in added] == ["client-002"]
    assert fleet.there().items() > before.items()


def test_a_fresh_process_lists_the_hosts_by_their_tag(fleet: Fleet) -> None:
    hosts, residue = json.loads(
        in_fresh_process(LISTING, json.dumps(fleet.options), fleet.run.run_id)
    )
    listed = {
        name: (run, role, address, port, owner)
        for run, name, role, address, port, owner, _ in hosts
    }
    assert listed == {
        host.name: (fleet.run.run_id, host.role, host.address, host.port, "Åsa at test")
        for host in fleet.hosts.values()
    }
    expires = {datetime.fromtimestamp(row[-1], UTC) for row in hosts}
    assert all(timedelta(0) < at - datetime.now(UTC) <= timedelta(seconds=121) for at in expires)
    assert residue
    assert fleet.run.run_id in fleet.provider.runs()


def test_terminate_ends_the_named_hosts_only_and_unknown_names_are_fine(fleet: Fleet) -> None:
    before = fleet.there()
    report = fleet.provider.terminate(fleet.run.run_id, ["client-001", "nobody"])
    assert report.leaked == ()
    assert fleet.there() == {"server": before["server"]}
    assert fleet.provider.terminate(fleet.run.run_id, ["client-001"]).leaked == ()
    assert fleet.run.ssh(fleet.hosts["server"], "echo alive").stdout == "alive\n"


def test_a_served_token_does_not_bring_back_a_terminated_host(fleet: Fleet) -> None:
    request = fleet.run.request("server", "client-001")
    fleet.provider.terminate(fleet.run.run_id, ["client-001"])
    assert [host.name for host in fleet.provider.launch(request)] == ["server"]


def test_release_can_be_repeated(fleet: Fleet) -> None:
    assert len(fleet.provider.release(fleet.run.run_id).released) >= 2
    again = fleet.provider.release(fleet.run.run_id)
    assert (again.leaked, again.released) == ((), ())


def test_release_leaves_other_runs_alone(fleet: Fleet, tmp_path: Path) -> None:
    other = LocalRun(tmp_path)
    try:
        fleet.provider.launch(other.request("server"))
        fleet.provider.release(other.run_id)
        assert set(fleet.there()) == {"server", "client-001"}
    finally:
        fleet.provider.release(other.run_id)


def test_a_run_nobody_knows_is_empty_and_can_be_released(options: dict[str, Any]) -> None:
    provider = get_provider(**options)
    assert list(provider.hosts("nobody-knows-me")) == []
    assert "nobody-knows-me" not in provider.runs()
    assert list(provider.residue("nobody-knows-me")) == []
    assert provider.release("nobody-knows-me").leaked == ()
    assert provider.terminate("nobody-knows-me", ["client-001"]).leaked == ()


def test_what_would_not_make_a_host_is_refused(options: dict[str, Any], tmp_path: Path) -> None:
    provider = get_provider(**options)
    run = LocalRun(tmp_path)
    with pytest.raises(LaunchError, match="expired"):
        provider.launch(run.request("server", life_s=-1))
    for names in (["../escape"], ["a b"], ["server", "server"], []):
        with pytest.raises(LaunchError, match="host names"):
            provider.launch(run.request(*names))
    run.run_id = "run with spaces"
    with pytest.raises(LaunchError, match="run id"):
        provider.launch(run.request("server"))


def test_hosts_end_by_themselves_at_their_expiry(options: dict[str, Any], tmp_path: Path) -> None:
    provider = get_provider(**options)
    run = LocalRun(tmp_path)
    try:
        provider.launch(run.request("server", "client-001", life_s=3))
        assert len(provider.hosts(run.run_id)) == 2
        gone = wait_until(
            lambda: not provider.hosts(run.run_id) and not provider.residue(run.run_id), 30
        )
        assert gone, provider.residue(run.run_id)
    finally:
        provider.release(run.run_id)


def test_hosts_know_their_role(fleet: Fleet) -> None:
    assert fleet.hosts["server"].role == Role.SERVER
    assert fleet.hosts["client-001"].role == Role.CLIENT

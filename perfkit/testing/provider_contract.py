"""What every provider must do, as a suite to inherit; needs pytest and OpenSSH's client.

    pytest.register_assert_rewrite("perfkit.testing.provider_contract")  # failures say more
    from perfkit.testing.provider_contract import ProviderContract

    class TestMyCloud(ProviderContract):
        @pytest.fixture
        def options(self) -> dict[str, Any]:
            return {"name": "mycloud", "config_dir": "…"}

`options` are the arguments of `perfkit.fleet.provider.get_provider`, plain enough for JSON, because
some tests ask from a process that knows nothing else. Each test makes hosts of its own and releases them; at most three clients
and two servers are there at a time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest

from perfkit.errors import ConfigError, LaunchError
from perfkit.fleet.provider import Provider, ReleaseReport, get_provider
from perfkit.model import Host, Role
from perfkit.ssh.keys import make_ssh_key
from perfkit.testing.provider_runs import (
    ProviderRun,
    finished,
    in_fresh_process,
    wait_until,
    with_reasons,
)

LISTING = """
import json, sys
from pathlib import Path
from perfkit.fleet.provider import get_provider
options = json.loads(sys.argv[1])
if "config_dir" in options:
    options["config_dir"] = Path(options["config_dir"])
provider = get_provider(**options)
hosts = [
    [h.run_id, h.name, str(h.role), h.address, h.port, h.owner, h.expires_utc.timestamp()]
    for h in provider.hosts(sys.argv[2])
]
print(json.dumps([hosts, list(provider.runs())]))
"""


def make(options: dict[str, Any]) -> Provider:
    """A provider object of these options, as a process of its own would make it."""
    folder = options.get("config_dir")
    return get_provider(**{**options, **({"config_dir": Path(folder)} if folder else {})})


@dataclass
class LaunchedPair:
    """A server and a client, launched for one test."""

    options: dict[str, Any]
    provider: Provider
    run: ProviderRun
    hosts: dict[str, Host]

    def there(self) -> dict[str, str]:
        """What the provider lists of this run: name -> identity."""
        return {h.name: h.identity for h in self.provider.hosts(self.run.run_id)}


class ProviderContract:
    """Inherit it under a name that begins with `Test`, and say what `options` are.

    Attributes:
        costs_money: As the provider's traits must say.
        short_life_s: A life long enough to be listed in, and short enough to be waited for.
        ends_within_s: After their expiry, hosts are gone within this time, also on a busy machine.
        leaves_residue: What is no host may outlive its hosts until the run is released or reaped;
            only for what costs nothing.
    """

    costs_money: ClassVar[bool] = False
    short_life_s: ClassVar[float] = 3.0
    ends_within_s: ClassVar[float] = 60.0
    leaves_residue: ClassVar[bool] = False

    @pytest.fixture
    def options(self) -> dict[str, Any]:
        """Arguments of `get_provider`; every suite gives its own."""
        raise NotImplementedError("give the options of your provider in a fixture of this name")

    @pytest.fixture
    def fleet(self, options: dict[str, Any], tmp_path: Path) -> Iterator[LaunchedPair]:
        """A server and a client; whatever a test did to them, nothing is left afterwards."""
        provider = make(options)
        run = ProviderRun(tmp_path)
        try:
            hosts = provider.launch(run.request("server", "client-001"))
            yield LaunchedPair(options, provider, run, {host.name: host for host in hosts})
        finally:
            report = provider.release(run.run_id)
        assert report.leaked == ()
        assert list(provider.hosts(run.run_id)) == []
        assert list(provider.residue(run.run_id)) == []
        assert run.run_id not in provider.runs()

    def test_it_keeps_the_protocol_and_says_what_its_hosts_are_like(
        self, options: dict[str, Any]
    ) -> None:
        provider = make(options)
        assert isinstance(provider, Provider)
        assert provider.name == options["name"]
        assert provider.traits.max_hosts >= 2
        assert provider.traits.costs_money is self.costs_money
        assert provider.notice.endswith(".")

    def test_preflight_accepts_a_small_fleet_and_refuses_one_beyond_its_limit(
        self, options: dict[str, Any]
    ) -> None:
        provider = make(options)
        provider.preflight(2)
        for wrong in (0, -1, provider.traits.max_hosts + 1, 1_000_000_000):
            with pytest.raises(ConfigError, match=str(wrong)):
                provider.preflight(wrong)

    def test_a_launched_host_lets_in_the_right_key_and_shows_the_pinned_host_key(
        self, fleet: LaunchedPair
    ) -> None:
        assert set(fleet.hosts) == {"server", "client-001"}
        for name, host in fleet.hosts.items():
            script = f"cd {host.workdir} && touch here && ls here && rm here && echo I am {name}"
            said = fleet.run.ssh(host, script)
            assert said.stdout == f"here\nI am {name}\n", said.stderr

    def test_a_launched_host_offers_sftp(self, fleet: LaunchedPair, tmp_path: Path) -> None:
        host = fleet.hosts["client-001"]
        fleet.run.ssh(host, f"echo of the host > {host.workdir}/file")
        command = [*fleet.run.client("sftp", host, "-P")[:-1], "-b", "-"]
        fetch = f"get {host.workdir}/file {tmp_path}/fetched\n"
        done = finished([*command, f"{host.user}@{host.address}"], fetch)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "fetched").read_text() == "of the host\n"

    def test_another_key_is_refused(self, fleet: LaunchedPair, tmp_path: Path) -> None:
        stranger = ProviderRun(tmp_path)
        host = fleet.hosts["server"]
        refused = stranger.ssh(replace(host, key_file=""), "true")
        assert refused.returncode == 255
        assert "Permission denied" in refused.stderr

    def test_another_host_key_is_refused(self, fleet: LaunchedPair) -> None:
        server = fleet.hosts["server"]
        assert fleet.run.ssh(server, "true").returncode == 0
        fleet.run.pin([replace(server, host_key=make_ssh_key().public_openssh)])
        refused = finished([*fleet.run.client("ssh", server, "-p"), "true"])
        assert refused.returncode == 255

    def test_the_same_token_makes_nothing_twice_and_returns_the_same_hosts(
        self, fleet: LaunchedPair
    ) -> None:
        before = fleet.there()
        again = fleet.provider.launch(fleet.run.request("server", "client-001"))
        assert [(h.name, h.address, h.port) for h in again] == [
            (h.name, h.address, h.port) for h in fleet.hosts.values()
        ]
        assert fleet.there() == before

    def test_another_token_adds_hosts_to_the_same_run(self, fleet: LaunchedPair) -> None:
        fleet.provider.launch(fleet.run.request("client-002", token="second"))
        assert set(fleet.there()) == {"server", "client-001", "client-002"}

    def test_a_name_in_use_is_not_given_to_another_batch(self, fleet: LaunchedPair) -> None:
        before = fleet.there()
        request, reasons = with_reasons(fleet.run.request("server", "client-002", token="second"))
        added = fleet.provider.launch(request)
        assert [host.name for host in added] == ["client-002"]
        assert fleet.there().items() > before.items()
        assert set(reasons) == {"server"}, "why it was not made, and of no other host"
        assert reasons["server"]

    def test_a_fresh_process_lists_the_hosts_by_their_tag(self, fleet: LaunchedPair) -> None:
        said = in_fresh_process(LISTING, json.dumps(fleet.options), fleet.run.run_id)
        hosts, runs = json.loads(said)
        listed = {
            name: (run, role, address, port, owner)
            for run, name, role, address, port, owner, _ in hosts
        }
        assert listed == {
            host.name: (fleet.run.run_id, host.role, host.address, host.port, "Åsa at test")
            for host in fleet.hosts.values()
        }
        expires = {datetime.fromtimestamp(row[-1], UTC) for row in hosts}
        assert all(
            timedelta(0) < at - datetime.now(UTC) <= timedelta(seconds=121) for at in expires
        )
        assert fleet.run.run_id in runs

    def test_terminate_ends_the_named_hosts_only_and_unknown_names_are_fine(
        self, fleet: LaunchedPair
    ) -> None:
        before = fleet.there()
        report = fleet.provider.terminate(fleet.run.run_id, ["client-001", "nobody"])
        assert report.leaked == ()
        assert fleet.there() == {"server": before["server"]}
        assert fleet.provider.terminate(fleet.run.run_id, ["client-001"]).leaked == ()
        assert fleet.run.ssh(fleet.hosts["server"], "echo alive").stdout == "alive\n"

    def test_a_served_token_does_not_bring_back_a_terminated_host(
        self, fleet: LaunchedPair
    ) -> None:
        request, reasons = with_reasons(fleet.run.request("server", "client-001"))
        fleet.provider.terminate(fleet.run.run_id, ["client-001"])
        assert [host.name for host in fleet.provider.launch(request)] == ["server"]
        assert set(reasons) == {"client-001"}
        assert reasons["client-001"]

    def test_release_can_be_repeated(self, fleet: LaunchedPair) -> None:
        fleet.provider.release(fleet.run.run_id)
        assert fleet.provider.release(fleet.run.run_id) == ReleaseReport()

    def test_a_release_counts_hosts_and_names_what_else_went_apart(
        self, fleet: LaunchedPair
    ) -> None:
        report = fleet.provider.release(fleet.run.run_id)
        assert str(report).startswith("released 2 hosts")
        names = {what.partition(" ")[0] for what in report.released}
        assert names == {"server", "client-001"}

    def test_release_leaves_other_runs_alone(self, fleet: LaunchedPair, tmp_path: Path) -> None:
        other = ProviderRun(tmp_path)
        try:
            fleet.provider.launch(other.request("server"))
            fleet.provider.release(other.run_id)
            assert set(fleet.there()) == {"server", "client-001"}
        finally:
            fleet.provider.release(other.run_id)

    def test_a_run_nobody_knows_is_empty_and_can_be_released(self, options: dict[str, Any]) -> None:
        provider = make(options)
        assert list(provider.hosts("nobody-knows-me")) == []
        assert "nobody-knows-me" not in provider.runs()
        assert list(provider.residue("nobody-knows-me")) == []
        assert provider.release("nobody-knows-me").leaked == ()
        assert provider.terminate("nobody-knows-me", ["client-001"]).leaked == ()

    def test_what_would_not_make_a_host_is_refused(
        self, options: dict[str, Any], tmp_path: Path
    ) -> None:
        provider = make(options)
        run = ProviderRun(tmp_path)
        with pytest.raises(LaunchError, match="expired"):
            provider.launch(run.request("server", life_s=-1))
        for names in (["../escape"], ["a b"], ["server", "server"], []):
            with pytest.raises(LaunchError, match="host names"):
                provider.launch(run.request(*names))
        run.run_id = "run with spaces"
        with pytest.raises(LaunchError, match="run id"):
            provider.launch(run.request("server"))

    def test_hosts_end_by_themselves_at_their_expiry(
        self, options: dict[str, Any], tmp_path: Path
    ) -> None:
        provider = make(options)
        run, life_s = ProviderRun(tmp_path), self.short_life_s
        try:
            while not self._listed_in_time(provider, run, life_s):
                assert life_s < self.ends_within_s, "hosts cannot be listed while they live"
                provider.release(run.run_id)  # a busy machine took longer than the hosts lived
                run, life_s = ProviderRun(tmp_path), 2 * life_s
            gone = wait_until(
                lambda: (
                    not provider.hosts(run.run_id)
                    and (self.leaves_residue or not provider.residue(run.run_id))
                ),
                life_s + self.ends_within_s,
            )
            assert gone, provider.residue(run.run_id)
        finally:
            provider.release(run.run_id)

    @staticmethod
    def _listed_in_time(provider: Provider, run: ProviderRun, life_s: float) -> bool:
        """Whether two hosts could be launched and listed before their life was over."""
        request = run.request("server", "client-001", life_s=life_s)
        try:
            provider.launch(request)
            listed = provider.hosts(run.run_id)
        except LaunchError:
            if datetime.now(UTC) < request.expires_utc:
                raise
            return False
        if datetime.now(UTC) >= request.expires_utc:
            return False
        assert len(listed) == 2, listed
        return True

    def test_hosts_know_their_role(self, fleet: LaunchedPair) -> None:
        assert fleet.hosts["server"].role == Role.SERVER
        assert fleet.hosts["client-001"].role == Role.CLIENT

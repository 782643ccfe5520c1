"""Which client is on which machine, and what is said when a machine is missing; no machine is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from local_runs import LocalRun
from memory_provider import MemoryProvider
from paper_machines import PaperMachines

from perfkit.campaign import limits, links
from perfkit.campaign import session as sessions
from perfkit.errors import ConfigError, LaunchError
from perfkit.fleet.packed.provider import PackedProvider
from perfkit.fleet.provider import LaunchRequest, UnaskedHost
from perfkit.fleet.silent_hosts import describe
from perfkit.model import Host, Role
from perfkit.settings import parameters as settings

CLIENTS = [f"client-{number:03d}" for number in range(1, 6)]


class Lab(MemoryProvider):
    """Machines in memory: `lab-0` is the server."""

    packed_pool = "10.64.0.0/16"
    is_full = False

    def launch(self, request: LaunchRequest) -> Sequence[Host]:
        if self.is_full:
            raise LaunchError("no client is free")
        return super().launch(request)

    def check_packing(self, per_machine: int, memory_bytes: int) -> None:
        pass

    def open_ways(self, run_id: str) -> Mapping[str, str]:
        return {}

    def candidates(self, n_hosts: int) -> Sequence[Host]:
        return [self._machine(number, Role.CLIENT) for number in range(n_hosts)]

    def machines(self, run_id: str) -> Sequence[Host]:
        there = self.hosts(run_id)
        return [
            replace(self._machine(int("0" + it.name[8:]), it.role), name=it.name) for it in there
        ]

    def _machine(self, number: int, role: Role) -> Host:
        name = f"lab-{number}"
        return Host(name=name, role=role, address=f"192.0.2.{number}", host_key="k", machine=name)


def packed(hands: PaperMachines, n_clients: int = 5) -> PackedProvider:
    return PackedProvider(Lab(), per_machine=2, n_clients=n_clients, machines=hands)


def test_clients_fill_one_machine_after_the_other_each_with_a_prefix_of_its_own(
    tmp_path: Path,
) -> None:
    hands = PaperMachines()
    provider = packed(hands)
    run = LocalRun(tmp_path)
    hosts = provider.launch(run.request("server", *CLIENTS))
    assert [(host.name, host.machine, host.address) for host in hosts] == [
        ("server", "lab-0", "192.0.2.0"),
        ("client-001", "lab-1", "10.64.0.2"),
        ("client-002", "lab-1", "10.64.0.3"),
        ("client-003", "lab-2", "10.64.16.2"),
        ("client-004", "lab-2", "10.64.16.3"),
        ("client-005", "lab-3", "10.64.32.2"),
    ]
    jumps = [host.jump.name if host.jump else "" for host in hosts]
    assert jumps == ["", "lab-1", "lab-1", "lab-2", "lab-2", "lab-3"]
    assert hands.ways == {
        "10.64.0.0/20": "192.0.2.1",
        "10.64.16.0/20": "192.0.2.2",
        "10.64.32.0/20": "192.0.2.3",
    }
    assert (hands.peers, hands.routed) == ([["192.0.2.0"]] * 3, {"lab-0"})
    assert {host.name for host in provider.hosts(run.run_id)} == {"server", *CLIENTS}
    assert provider.traits.per_machine == 2


def test_a_machine_is_made_ready_once_however_many_batches_its_clients_come_in(
    tmp_path: Path,
) -> None:
    hands = PaperMachines()
    provider, run = packed(hands), LocalRun(tmp_path)
    provider.launch(run.request("server", *CLIENTS[:1]))
    (host,) = provider.launch(run.request("client-002", token="second"))
    assert (host.machine, host.address) == ("lab-1", "10.64.0.2")
    assert sorted(hands.prepared) == ["lab-1", "lab-2", "lab-3"]


def test_clients_of_a_machine_that_fails_are_missing_with_its_name_as_the_reason(
    tmp_path: Path,
) -> None:
    said: dict[str, str] = {}

    def record(_kind: str, **fields: str) -> None:
        said[fields["name"]] = fields["reason"]

    request = replace(LocalRun(tmp_path).request("server", *CLIENTS), record=record)
    hosts = packed(PaperMachines("lab-2")).launch(request)
    assert [host.name for host in hosts] == ["server", "client-001", "client-002", "client-005"]
    reason = "machine lab-2: connection refused"
    assert said == {"client-003": reason, "client-004": reason}


def test_clients_of_a_machine_that_is_gone_are_missed_and_no_others(tmp_path: Path) -> None:
    lab, run, said = Lab(), LocalRun(tmp_path), dict[str, str]()
    provider = PackedProvider(lab, per_machine=2, n_clients=4, machines=PaperMachines())
    provider.launch(run.request("server", *CLIENTS[:4]))
    lab.there = [host for host in lab.there if host.name != "machine-002"]
    lab.is_full = True

    def record(_kind: str, **fields: str) -> None:
        said[fields["name"]] = fields["reason"]

    request = replace(run.request("client-002", "client-003", token="again"), record=record)
    assert [host.name for host in provider.launch(request)] == ["client-002"]
    assert said == {"client-003": "no client is free"}


def test_hosts_that_the_server_does_not_reach_are_no_hosts(tmp_path: Path) -> None:
    provider, run = packed(PaperMachines(is_heard=False)), LocalRun(tmp_path)
    assert [it.name for it in provider.launch(run.request("server"))] == ["server"]
    with pytest.raises(LaunchError, match=r"lab-1: the server does not reach.*iptables -S FORWARD"):
        provider.launch(run.request("client-001", token="second"))


def test_clients_without_a_server_are_not_made(tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match="has no server, so its clients would have no way"):
        packed(PaperMachines()).launch(LocalRun(tmp_path).request("client-001"))


def test_a_client_by_another_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match="attic: packed hosts are called client-001"):
        packed(PaperMachines()).launch(LocalRun(tmp_path).request("server", "attic"))


def test_hosts_that_can_carry_none_of_their_own_are_refused_before_launch() -> None:
    chosen = settings.load({"provider": "local", "per_machine": 20})
    words = "per_machine.*hosts of provider local cannot carry hosts.*use provider = static or ec2"
    with pytest.raises(ConfigError, match=words):
        sessions.provider_for(chosen)


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"outside_ip": "4,6"}, "outside_ip.*addresses of IPv4 only"),
    ],
)
def test_what_packed_hosts_cannot_have_is_refused_by_name(more: dict[str, str], why: str) -> None:
    chosen = settings.load({"provider": "static", "per_machine": 20, **more})
    with pytest.raises(ConfigError, match=f"{why}.*or per_machine"):
        limits.require_what_can_be_packed(chosen)


def test_packed_hosts_cannot_have_links() -> None:
    chosen = settings.load({"provider": "static", "per_machine": 20, "link": "10mbit"})
    with pytest.raises(ConfigError, match=r"link.*no links are built yet.*or per_machine"):
        links.require(chosen, packed(PaperMachines()))


def test_one_client_on_each_machine_is_no_packing() -> None:
    with pytest.raises(ConfigError, match=r"per_machine.*give 2 or more"):
        PackedProvider(Lab(), per_machine=1, n_clients=5)


def test_more_clients_than_machines_carry_are_refused() -> None:
    provider = PackedProvider(Lab(max_hosts=4), per_machine=2, n_clients=7)
    assert provider.traits.max_hosts == 7
    with pytest.raises(ConfigError, match="6 are the most, 2 on a machine"):
        provider.preflight(8)


def test_a_silent_machine_is_said_once_for_all_the_hosts_that_are_on_it() -> None:
    silent = [UnaskedHost(machine="lab-2", reason="no answer", name=name) for name in CLIENTS]
    (line,) = describe(silent, "a-run")
    assert line.startswith("not reached, so not cleaned: lab-2: no answer; ")


@pytest.mark.parametrize(("vpn", "per_machine"), [("wireguard", 112), ("openvpn", 500)])
def test_packed_clients_whose_vpns_fit_into_a_kernels_limits_are_not_warned_of(
    vpn: str, per_machine: int
) -> None:
    chosen = settings.load({"provider": "static", "vpn": vpn, "per_machine": per_machine})
    assert limits.of_packed_machines(chosen) == ()


def test_more_userspace_vpns_than_a_kernel_usually_lets_run_are_said_before_the_launch() -> None:
    chosen = settings.load({"provider": "static", "vpn": "wireguard", "per_machine": 113})
    (said,) = limits.of_packed_machines(chosen)
    assert "each runs wireguard-go, and they need a fs.inotify.max_user_instances of 129" in said

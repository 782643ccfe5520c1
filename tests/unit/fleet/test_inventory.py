"""The host table: states move one way, every change is journalled, a queue hands hosts on."""

import threading
from pathlib import Path

import pytest

from perfkit.errors import RunError
from perfkit.fleet.inventory import Inventory
from perfkit.model import Host, HostState, Role
from perfkit.runs.journal import Journal, read


def a_host(name: str) -> Host:
    return Host(name=name, role=Role.CLIENT, address="198.18.0.3", host_key="ssh-ed25519 AAAA")


def test_every_change_is_journalled_and_the_table_comes_back_from_the_journal(
    tmp_path: Path,
) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    table = Inventory(journal)
    table.add("server", Role.SERVER)
    table.add("client-001", Role.CLIENT)
    table.move("client-001", HostState.RUNNING, host=a_host("client-001"))
    table.set_tunnel_address("client-001", "10.8.0.2")
    table.move("server", HostState.FAILED, reason="LaunchError: no memory", log=Path("a.log"))
    journal.close()

    again = Inventory.from_events(read(tmp_path / "journal.jsonl").events)

    assert again.records() == table.records()
    assert again.have_been(HostState.RUNNING) == [a_host("client-001")]
    assert again.get_record("client-001").host == a_host("client-001")
    assert again.get_record("server").reason == "LaunchError: no memory"


def test_a_state_never_goes_back_and_a_failed_host_stays_failed() -> None:
    table = Inventory()
    table.add("client-001", Role.CLIENT)
    table.move("client-001", HostState.REACHABLE, host=a_host("client-001"))
    with pytest.raises(RunError, match="cannot go back to running"):
        table.move("client-001", HostState.RUNNING)
    table.move("client-001", HostState.FAILED, reason="LostError: gone")
    with pytest.raises(RunError, match="is failed; it cannot become configured"):
        table.move("client-001", HostState.CONFIGURED)
    table.move("client-001", HostState.RELEASED)
    assert table.get_record("client-001").reason == "LostError: gone"
    assert table.have_been(HostState.REACHABLE) == [a_host("client-001")]
    assert table.have_been(HostState.CONFIGURED) == []


def test_a_host_does_not_fail_without_a_reason() -> None:
    table = Inventory()
    table.add("client-001", Role.CLIENT)
    with pytest.raises(RunError, match="without a reason"):
        table.move("client-001", HostState.FAILED)


def test_an_unknown_host_is_refused_with_the_nearest_name() -> None:
    table = Inventory()
    table.add("client-001", Role.CLIENT)
    with pytest.raises(RunError, match="did you mean 'client-001'"):
        table.move("client-01", HostState.RUNNING)


def test_reachable_hosts_are_handed_on_while_others_are_still_launching() -> None:
    table = Inventory()
    for name in ("client-001", "client-002", "client-003"):
        table.add(name, Role.CLIENT)
    taken: list[str] = []
    first_taken = threading.Event()

    def drain() -> None:
        for host in table.as_they_become(HostState.REACHABLE):
            taken.append(host.name)
            first_taken.set()

    thread = threading.Thread(target=drain)
    thread.start()
    table.move("client-002", HostState.REACHABLE, host=a_host("client-002"))
    assert first_taken.wait(60)
    assert taken == ["client-002"]
    table.move("client-001", HostState.FAILED, reason="LaunchError: no")
    table.move("client-003", HostState.REACHABLE, host=a_host("client-003"))
    thread.join(60)
    assert not thread.is_alive()
    assert taken == ["client-002", "client-003"]


def test_records_name_the_server_first_and_failed_hosts_are_not_usable() -> None:
    table = Inventory()
    table.add("client-001", Role.CLIENT)
    table.add("server", Role.SERVER)
    table.move("client-001", HostState.RUNNING, host=a_host("client-001"))
    assert [r.name for r in table.records()] == ["server", "client-001"]
    assert [h.name for h in table.hosts()] == ["client-001"]
    table.move("client-001", HostState.FAILED, reason="x")
    assert table.hosts() == []
    assert table.counts() == {HostState.REQUESTED: 1, HostState.FAILED: 1}

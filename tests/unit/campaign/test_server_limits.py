"""More clients than a test's program on the server can serve: several programs, or refused before launch."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from memory_provider import MemoryProvider

from perfkit.campaign.limits import of_connecting, of_round_trips, ports_of, require_servers
from perfkit.errors import ConfigError
from perfkit.model import NetworkPath, TestKind, TestSpec
from perfkit.settings import parameters as settings
from perfkit.settings.parameters import Settings
from perfkit.settings.tests_conf import load_tests

PROJECT = Path(__file__).parents[3]
READS = 'iperf -p "${PERFKIT_PORT:-5001}"'


def made(folder: Path, client: str = READS, server: str | None = READS) -> TestSpec:
    script, server_script = folder / "own", folder / "own.server"
    script.write_text(f"#!/bin/sh\n{client}\n")
    if server is not None:
        server_script.write_text(f"#!/bin/sh\n{server}\n")
    return TestSpec(
        name="own", script=script, server_script=None if server is None else server_script,
        duration_s=10, needs=("iperf",),
    )  # fmt: skip


def test_iperf_2_with_more_than_a_thousand_clients_on_one_server_is_refused(tmp_path: Path) -> None:
    test = made(tmp_path)
    require_servers([test], 1000)
    with pytest.raises(ConfigError, match=r"\[own\].*1001 clients.*write clients_per_server = 900"):
        require_servers([test], 1001)
    for other in (
        replace(test, clients_per_server=900),
        replace(test, clients_per_server=5000),  # an iperf that was built for more
        replace(test, server="192.0.2.1"),
        replace(test, needs=("python3",)),
        made(tmp_path, server=None),
    ):
        require_servers([other], 4000)


@pytest.mark.parametrize(
    ("client", "server", "named"),
    [
        ("iperf -p 5001", READS, "own does"),
        (READS, "iperf -s", "own.server does"),
        ("iperf", "iperf -s", "own and own.server does"),
    ],
)
def test_a_script_that_looks_at_no_port_cannot_have_several_servers(
    tmp_path: Path, client: str, server: str, named: str
) -> None:
    test = replace(made(tmp_path, client, server), clients_per_server=2)
    require_servers([test], 2)
    with pytest.raises(ConfigError, match=rf"2 programs.*{named} not read \$PERFKIT_PORT"):
        require_servers([test], 3)


def test_ports_beyond_the_last_one_are_refused(tmp_path: Path) -> None:
    test = replace(made(tmp_path), clients_per_server=2, port=65_534)
    require_servers([test], 4)
    with pytest.raises(ConfigError, match="give 65533 at most"):
        require_servers([test], 5)


def test_each_program_on_the_server_has_a_port_and_a_server_elsewhere_none_of_ours(
    tmp_path: Path,
) -> None:
    test = replace(made(tmp_path), clients_per_server=2)
    assert ports_of([test, replace(test, server="192.0.2.1", port=7)], 5) == {5001, 5002, 5003}
    assert ports_of([test], 2) == {5001}


def test_every_test_as_shipped_can_have_four_thousand_clients(tmp_path: Path) -> None:
    shutil.copy(PROJECT / "config" / "tests.conf.sample", tmp_path)
    tests = load_tests(tmp_path, PROJECT / "resources")
    require_servers(tests, 4000)
    of_iperf = {test.name for test in tests if "iperf" in test.needs}
    assert of_iperf == {test.name for test in tests if test.clients_per_server == 900}


@pytest.mark.parametrize(
    ("clients", "shared_cpu", "said"),
    [
        (200, True, []),  # 60 s as shipped
        (201, True, ["connect-storm", "idle"]),
        (1100, False, []),  # each has processors of its own
    ],
)
def test_too_many_clients_of_one_machine_for_a_test_of_connecting_are_told_before_launch(
    tmp_path: Path, clients: int, said: list[str], *, shared_cpu: bool
) -> None:
    found = of_connecting(*with_clients(tmp_path, clients, shared_cpu=shared_cpu))
    assert [text.partition(":")[0] for text in found] == said
    assert all("give duration = 60 or more" in text for text in found)


@pytest.mark.parametrize(
    ("clients", "processors", "shared_cpu", "said"),
    [
        (250, 2, True, []),
        (251, 2, True, ["5020", "about 1.0 processors (one for each 5000)", "has 2", "most 250 clients"]),
        (1100, 2, True, ["22000", "about 4.4 processors (one for each 5000)", "has 2", "most 250 clients"]),
        (1100, 16, True, []),
        (1100, 2, False, []),  # each has processors of its own
    ],
)  # fmt: skip
def test_more_round_trips_than_shared_processors_answer_are_told_before_launch(
    tmp_path: Path, clients: int, processors: int, said: list[str], *, shared_cpu: bool
) -> None:
    chosen, memory = with_clients(tmp_path, clients, shared_cpu=shared_cpu)
    found = of_round_trips(chosen, memory, processors)
    assert [text.partition(":")[0] for text in found] == (["tunnel-latency"] if said else [])
    assert [word for word in said if word not in found[0]] == []


def test_round_trips_of_a_script_are_counted_by_its_own_interval_and_those_beside_the_tunnel_cost_less(
    tmp_path: Path,
) -> None:
    chosen, memory = with_clients(tmp_path, 1000)
    (latency,) = (test for test in chosen.tests if test.kind is TestKind.LATENCY)
    tests = [replace(latency, name=name, script=tmp_path / name) for name in ("slow", "silent")]
    tests[0].script.write_text("echo perfkit: phase=unloaded epoch=1 interval_s=0.5")
    tests[1].script.write_text("echo nobody knows how often")
    tests.append(replace(latency, name="beside", path=NetworkPath.DIRECT))
    found = of_round_trips(replace(chosen, tests=tuple(tests)), memory, 2)
    assert [text.partition(":")[0] for text in found] == ["beside"]
    assert "at most 750 clients" in found[0]


def with_clients(
    folder: Path, clients: int, *, shared_cpu: bool = True
) -> tuple[Settings, MemoryProvider]:
    """Settings with all tests as shipped, and a provider whose hosts share processors or not."""
    shutil.copy(PROJECT / "config" / "tests.conf.sample", folder)
    tests = tuple(load_tests(folder, PROJECT / "resources"))
    chosen = settings.load({"clients": clients, "config_dir": str(folder)})
    memory = MemoryProvider()
    memory.traits = replace(memory.traits, shared_cpu=shared_cpu)
    return replace(chosen, tests=tests), memory

"""config/tests.conf: which tests there are, and which of them a run does."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from pydantic import Field

from perfkit.errors import ConfigError, did_you_mean
from perfkit.model import SHORTEST_WINDOW_S, NetworkPath, TestKind, TestSpec
from perfkit.runs.folder import NAME_PATTERN
from perfkit.settings import ini, shebang

SHORTEST_OF_CONNECTED_S = 30.0  # of tests in which clients connect
SHORTEST_LATENCY_S = 6.0

RATE_VARIABLE = b"PERFKIT_RATE_BPS"
SEND_AT_VARIABLE = b"PERFKIT_SEND_AT"


class TestConf(ini.Section):
    """One section of config/tests.conf."""

    __test__ = False

    time: float | None = Field(None, ge=0, le=10_080)
    duration: float = Field(ge=SHORTEST_WINDOW_S, le=86_400)
    server: str | None = Field(None, pattern=r"^[A-Za-z0-9][A-Za-z0-9.:-]{0,253}$")
    port: int = Field(5001, ge=1, le=65_535)
    needs: str = Field("", pattern=r"^[A-Za-z0-9_.+ -]*$")
    path: NetworkPath = NetworkPath.DIRECT
    kind: TestKind = TestKind.TCP
    packet_bytes: int | None = Field(None, ge=16, le=65_000)
    clients_per_server: int | None = Field(None, ge=1, le=100_000)
    connect_first: bool = False
    in_all: bool = True


def load_tests(config_dir: Path, resources_dir: Path) -> tuple[TestSpec, ...]:
    """Read tests.conf, in the order of its sections.

    Raises:
        ConfigError: a bad section, or a test without an executable script.
    """
    path, parser = ini.read_ini(config_dir, "tests")
    if not parser.sections():
        raise ConfigError(
            path.name, "sections", [], "no test in it", "add a section named like a script"
        )
    return tuple(
        _test_spec(path.name, name, dict(parser[name]), resources_dir / "tests")
        for name in parser.sections()
    )


def _test_spec(source: str, name: str, keys: dict[str, str], scripts_dir: Path) -> TestSpec:
    where = f"{source} [{name}]"
    if not NAME_PATTERN.fullmatch(name):
        raise ConfigError(
            where, "name", name, "not a test name", "use lower-case letters, digits, - and _"
        )
    checked = ini.validate(TestConf, keys, source=where)
    check_kind(where, checked)
    script = scripts_dir / name
    if not os.path.lexists(script):
        there = (
            [p.name for p in scripts_dir.glob("*") if not p.suffix] if scripts_dir.is_dir() else []
        )
        remedy = f"write it (chmod +x); {did_you_mean(name, there)}"
        raise ConfigError(where, "script", f"resources/tests/{name}", "not there", remedy)
    shebang.check(script, source=where)
    server_script = scripts_dir / f"{name}.server"
    if has_server := os.path.lexists(server_script):
        shebang.check(server_script, source=where)
    test = TestSpec(
        name=name,
        script=script,
        server_script=server_script if has_server else None,
        duration_s=checked.duration,
        time_min=checked.time,
        server=checked.server,
        port=checked.port,
        needs=tuple(checked.needs.split()),
        path=checked.path,
        kind=checked.kind,
        packet_bytes=checked.packet_bytes,
        clients_per_server=checked.clients_per_server,
        connect_first=checked.connect_first,
        in_all=checked.in_all,
    )
    check_connect_first(where, test)
    return test


def check_connect_first(where: str, test: TestSpec) -> None:
    """Refuse to start a script ahead of its test that does not know when to send.

    Raises:
        ConfigError: with what to do.
    """
    if test.connect_first and SEND_AT_VARIABLE not in test.script.read_bytes():
        problem = (
            f"{test.script.name} does not read $PERFKIT_SEND_AT: it would send before its test"
        )
        remedy = "have the script wait until then, or leave connect_first out"
        raise ConfigError(where, "connect_first", "yes", problem, remedy)


def check_kind(where: str, checked: TestConf) -> None:
    """Refuse a test with no time for its phases, and one of connected clients that has no tunnel."""
    _check_phases(where, "duration", checked.kind, checked.duration)
    if not checked.kind.is_of_all_connected:
        return
    if checked.path is not NetworkPath.TUNNEL:
        problem = f"a test of kind {checked.kind} is about tunnels"
        raise ConfigError(where, "path", str(checked.path), problem, "write path = tunnel")
    if checked.server is not None:
        problem = f"a test of kind {checked.kind} starts the server's VPN anew"
        raise ConfigError(where, "server", checked.server, problem, "leave server out")


def _check_phases(where: str, key: str, kind: TestKind, duration_s: float) -> None:
    """Refuse a test of phases that is too short for them."""
    if kind is TestKind.LATENCY and duration_s < SHORTEST_LATENCY_S:
        problem = "a test of kind latency measures half of the time alone, and half under load"
        remedy = f"give {SHORTEST_LATENCY_S:g} seconds or more"
        raise ConfigError(where, key, duration_s, problem, remedy)
    if kind.is_of_all_connected and duration_s < SHORTEST_OF_CONNECTED_S:
        problem = f"a test of kind {kind} has phases, the shortest a tenth of it"
        remedy = f"give {SHORTEST_OF_CONNECTED_S:g} seconds or more"
        raise ConfigError(where, key, duration_s, problem, remedy)


def select_tests(
    tests: tuple[TestSpec, ...], names: str, duration_s: float
) -> tuple[TestSpec, ...]:
    """The tests asked for, in tests.conf's order, with the duration asked for.

    Args:
        names: Comma-separated, or `all`: those with `in_all`.
        duration_s: 0: each its own.

    Raises:
        ConfigError: a name is unknown or there twice, or there is none.
    """
    by_name = {test.name: test for test in tests}
    wanted = [word.strip() for word in names.split(",") if word.strip()]
    if twice := [name for name in wanted if wanted.count(name) > 1]:
        remedy = "name it once; to run it twice, copy its section and scripts under a second name"
        problem = f"{twice[0]} is named twice, and runs once"
        raise ConfigError("parameters", "tests", names, problem, remedy)
    if wanted == ["all"]:
        wanted = [test.name for test in tests if test.in_all]
    for name in wanted:
        if name not in by_name:
            raise ConfigError(
                "parameters", "tests", name, "not in tests.conf", did_you_mean(name, by_name)
            )
    if not wanted:
        raise ConfigError(
            "parameters", "tests", names, "names no test", f"known are: {', '.join(by_name)}"
        )
    selected = (test for test in tests if test.name in wanted)
    if not duration_s:
        return tuple(selected)
    changed = tuple(replace(test, duration_s=duration_s) for test in selected)
    for test in changed:
        _check_phases("parameters", "duration_s", test.kind, duration_s)
    return changed


def refuse_times(tests: tuple[TestSpec, ...]) -> None:
    """Refuse tests with a time of their own where the order of tests is drawn.

    Raises:
        ConfigError: the first one.
    """
    timed = [test for test in tests if test.time_min is not None]
    if timed and len(tests) > 1:
        raise ConfigError(
            f"tests.conf [{timed[0].name}]",
            "time",
            timed[0].time_min,
            "in a campaign the order of the tests is drawn, so none has a time of its own",
            "leave time out, or choose one test alone (tests = …)",
        )


def refuse_unread_rate(
    tests: Iterable[TestSpec], rate: str, *, source: str, is_compared: bool = True
) -> None:
    """Refuse a rate that no script of the tests looks at: it would change nothing.

    Args:
        is_compared: There are others in the campaign: then each test must look at it, since one that
            does not would be compared with itself.

    Raises:
        ConfigError: with what to do.
    """
    tests = tuple(tests)
    deaf = [test.name for test in tests if RATE_VARIABLE not in test.script.read_bytes()]
    if deaf and (is_compared or len(deaf) == len(tests)):
        problem = f"no script of {', '.join(deaf)} reads $PERFKIT_RATE_BPS"
        remedy = "choose tests that do, for example tunnel-udp, or leave the rate out"
        raise ConfigError(source, "rate", rate, problem, remedy)

"""What a run may not exceed: the disk it is kept on, the life of its hosts, and what they can do.

All are found before a folder or a host is made for nothing.
"""

from __future__ import annotations

import math
import re
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from perfkit.campaign.vpn_choice import all_vpns
from perfkit.errors import ConfigError
from perfkit.fleet.provider import Provider
from perfkit.measure.plan import server_ports, servers_for
from perfkit.model import NetworkPath, Slot, TestKind, TestSpec
from perfkit.settings.capacity import trial_bounds
from perfkit.settings.parameters import Settings
from perfkit.units import format_duration, format_size, minutes_to_s
from perfkit.vpn.base import NONE

USUAL = {"fs.inotify.max_user_instances": 128}  # what Linux sets it to
IPERF2, IPERF2_SERVES = "iperf", 1_000  # connections of a server; it is aborted by some more
LAST_PORT = 65_535
CONNECTING_PER_MIN = 200  # clients of one machine, in a test in which all connect at once
# Answered in a second of one processor that client, VPN and server share, irtt and OpenVPN: measured with
# 150 and 400 clients in the tunnel, 250 beside it, on two processors.
ROUND_TRIPS_PER_CPU_S = {NetworkPath.TUNNEL: 5_000, NetworkPath.DIRECT: 15_000}
ROUND_TRIPS_SHARE = 0.5  # of the processors: the load comes on top
RESERVED = 16  # of a kernel's limit: what else the user runs has some
PORT_VARIABLE = b"PERFKIT_PORT"
INTERVAL = re.compile(
    rb"\binterval_s=([0-9]+(?:\.[0-9]+)?)"
)  # in a script, see `perfkit.logs.irtt`
DISK_PER_HOST_BYTES = 2_000_000  # keys, logs, frames and report, with reserve
DISK_PER_HOST_AND_BLOCK_BYTES = 100_000  # of a campaign: logs; 45,000 with two tests of 5 s


def require_disk(chosen: Settings) -> None:
    """Refuse a runs folder that cannot be made or cannot hold the run.

    Tries it with a temporary folder: that tells more than permissions do.

    Raises:
        ConfigError: with what is wrong with it, or with what is needed and what is free.
    """
    existing = chosen.runs_dir
    try:
        existing = next(p for p in (chosen.runs_dir, *chosen.runs_dir.parents) if p.exists())
        tempfile.TemporaryDirectory(dir=existing).cleanup()
    except OSError as exc:
        raise ConfigError(
            "parameters",
            "runs_dir",
            str(chosen.runs_dir),
            f"no folder can be made in {existing} ({exc.strerror})",
            "set runs_dir to a folder that you may write",
        ) from exc
    parameters = chosen.parameters
    needed_bytes = (parameters.most_clients + 1) * DISK_PER_HOST_BYTES
    if parameters.is_campaign:
        times = parameters.most_repetitions * len(parameters.crossed)
        times *= trial_bounds(parameters.capacity)[1]
        armed = times * sum(clients + 1 for clients in parameters.clients)
        needed_bytes += armed * DISK_PER_HOST_AND_BLOCK_BYTES
    free_bytes = shutil.disk_usage(existing).free
    if free_bytes < needed_bytes:
        raise ConfigError(
            "parameters",
            "runs_dir",
            str(chosen.runs_dir),
            f"a {'campaign' if parameters.is_campaign else 'run'} with {parameters.most_clients} "
            "clients needs about "
            f"{format_size(needed_bytes)}, {format_size(free_bytes)} are free",
            "make room, ask for fewer clients, or set runs_dir to another disk",
        )


def require_kernel_limits(chosen: Settings, provider: Provider) -> None:
    """Refuse more hosts on this machine than its kernel lets run the VPN's program.

    Raises:
        ConfigError: with the limit, and how it is raised.
    """
    clients = chosen.parameters.most_clients
    programs = {it.name: it for vpn in all_vpns(chosen) for it in vpn.programs}
    for program in programs.values() if provider.traits.shared_cpu else ():
        for name, each in program.takes.items() if program.is_needed_here else ():
            limit, needed = read_sysctl(name), (clients + 1) * each + RESERVED
            if needed > limit:
                raise ConfigError(
                    "parameters",
                    "clients",
                    clients,
                    f"every host runs {program.name}, and this machine's {name} of {limit} is for all "
                    "of them together",
                    f"ask for at most {max(0, (limit - RESERVED) // each - 1)}, or as root: "
                    f"sysctl -w {name}={2 * needed}",
                )


def require_what_can_be_packed(chosen: Settings) -> None:
    """Refuse what clients that share machines cannot have.

    Raises:
        ConfigError: with what to leave out.
    """
    parameters = chosen.parameters
    if not parameters.per_machine:
        return
    each = f"{parameters.per_machine} clients share a machine"
    if others := ",".join(it for it in parameters.outside_ip if it != "4"):
        raise ConfigError(
            "parameters",
            "outside_ip",
            others,
            f"{each} and have addresses of IPv4 only",
            "leave out outside_ip, or per_machine",
        )


def noticed(chosen: Settings, provider: Provider, processors: int) -> tuple[str, ...]:
    """What is not refused, and may spoil the figures all the same.

    Args:
        processors: That this machine has.
    """
    return (
        *of_packed_machines(chosen),
        *of_connecting(chosen, provider),
        *of_round_trips(chosen, provider, processors),
    )


def of_packed_machines(chosen: Settings) -> tuple[str, ...]:
    """What the programs of packed clients may exceed on their machines, where nobody has looked."""
    each_has = chosen.parameters.per_machine
    programs = {it.name: it for vpn in all_vpns(chosen) for it in vpn.programs}
    return tuple(
        f"{each_has} clients on a machine: where its kernel has no module for the VPN, each runs "
        f"{program.name}, and they need a {name} of {each_has * each + RESERVED} there; kernels have "
        f"{USUAL[name]} if nobody raised it, which was not looked at: sysctl {name}"
        for program in programs.values()
        for name, each in program.takes.items()
        if each_has * each + RESERVED > USUAL.get(name, math.inf)
    )


def ports_of(tests: Iterable[TestSpec], clients: int) -> set[int]:
    """Where the run's own server listens in these tests."""
    return {port for test in tests for port in server_ports(test, clients)}


def require_servers(tests: Iterable[TestSpec], clients: int) -> None:
    """Refuse more clients than a test's programs on the server can serve.

    Raises:
        ConfigError: the first such test, with what to write into its section.
    """
    for test in tests:
        where, servers = f"tests.conf [{test.name}]", servers_for(test, clients)
        most, script = test.clients_per_server, test.server_script
        if test.server is not None or script is None:
            continue
        if most is None and IPERF2 in test.needs and clients > IPERF2_SERVES:
            raise ConfigError(
                where,
                "clients_per_server",
                most,
                f"{clients} clients, and a server of iperf 2 is aborted when it has more than about "
                f"{IPERF2_SERVES} connections (FD_SETSIZE)",
                "write clients_per_server = 900 there: the server's script runs once for so many, each "
                "time with a port of its own",
            )
        deaf = [it.name for it in (test.script, script) if PORT_VARIABLE not in it.read_bytes()]
        if servers > 1 and deaf:
            raise ConfigError(
                where,
                "clients_per_server",
                most,
                f"{clients} clients need {servers} programs on the server, each with a port of its own, "
                f"and {' and '.join(deaf)} does not read $PERFKIT_PORT",
                "let it, or leave clients_per_server out if one program serves them all",
            )
        if test.port + servers - 1 > LAST_PORT:
            raise ConfigError(
                where,
                "port",
                test.port,
                f"{clients} clients need {servers} ports from there on, and {LAST_PORT} is the last one",
                f"give {LAST_PORT + 1 - servers} at most",
            )


def of_connecting(chosen: Settings, provider: Provider) -> tuple[str, ...]:
    """Tests in which all clients connect at once, too short for so many that share processors."""
    clients = chosen.parameters.most_clients
    needed_s = minutes_to_s(clients / CONNECTING_PER_MIN)
    return tuple(
        f"{test.name}: {clients} clients of one machine need about {format_duration(needed_s)} (a minute "
        f"for each {CONNECTING_PER_MIN}) and it has {format_duration(test.duration_s)}: most may not have "
        f"connected in time; give duration = {needed_s:.0f} or more, or fewer clients"
        for test in chosen.tests
        if test.kind.is_of_all_connected
        and test.duration_s < needed_s
        and provider.traits.shared_cpu
    )


def of_round_trips(chosen: Settings, provider: Provider, processors: int) -> tuple[str, ...]:
    """Latency tests whose round trips alone keep the processors busy that all hosts share."""
    clients, found = chosen.parameters.most_clients, []
    for test in chosen.tests if provider.traits.shared_cpu else ():
        interval = INTERVAL.search(test.script.read_bytes())
        if test.kind is not TestKind.LATENCY or not interval or not float(interval[1]):
            continue
        per_cpu_s, each_per_s = ROUND_TRIPS_PER_CPU_S[test.path], 1 / float(interval[1])
        needed = clients * each_per_s / per_cpu_s
        if needed > ROUND_TRIPS_SHARE * processors:
            most = math.floor(ROUND_TRIPS_SHARE * processors * per_cpu_s / each_per_s)
            found.append(
                f"{test.name}: {clients} clients of one machine make {clients * each_per_s:.0f} round trips "
                f"a second, which take about {needed:.1f} processors (one for each {per_cpu_s}) before "
                f"there is any load, and it has {processors}: the times will be those of waiting for a "
                f"processor, and some clients may not connect; give at most {most} clients, or a script "
                "with a longer interval_s"
            )
    return tuple(found)


def read_sysctl(name: str) -> int:
    """A limit of this machine's kernel, by the name that `sysctl` has for it."""
    return int((Path("/proc/sys") / name.replace(".", "/")).read_text())


def require_life(chosen: Settings, slots: Sequence[Slot]) -> None:
    """Refuse a timetable that is longer than the hosts live: they would end in the midst of a test.

    Launching and configuring come on top, so a run that passes may still be too tight.

    Raises:
        ConfigError: with the time that the tests take.
    """
    tests_s = max((slot.end_s + slot.grace_s for slot in slots), default=0.0)
    if tests_s >= minutes_to_s(chosen.parameters.expires_min):
        raise ConfigError(
            "parameters",
            "expires_min",
            chosen.parameters.expires_min,
            f"the tests take {format_duration(tests_s)}, and the hosts would end before",
            "give more minutes, or fewer or shorter tests",
        )


def fitted(chosen: Settings, provider: Provider) -> tuple[Settings, list[str]]:
    """The settings as far as the provider can serve them, and what was left out.

    Raises:
        ConfigError: more clients than it has hosts for, or a test asked for by name needs a tunnel.
    """
    n_hosts = chosen.parameters.most_clients + 1
    if n_hosts > provider.traits.max_hosts:
        raise ConfigError(
            "parameters",
            "clients",
            chosen.parameters.most_clients,
            f"provider {provider.name} makes at most {provider.traits.max_hosts} hosts",
            f"give at most {provider.traits.max_hosts - 1}",
        )
    outside = tuple(test for test in chosen.tests if test.path is not NetworkPath.TUNNEL)
    no_vpn = chosen.parameters.vpn == NONE
    if len(outside) == len(chosen.tests) or (provider.traits.can_tunnel and not no_vpn):
        return chosen, []
    in_tunnel = ",".join(test.name for test in chosen.tests if test not in outside)
    why, remedy = "hosts cannot have a tunnel", "run as root or with passwordless sudo"
    if no_vpn:
        why, remedy = "there is no VPN", "choose a VPN"
    if chosen.parameters.tests != "all" or not outside:
        raise ConfigError(
            "parameters",
            "tests",
            in_tunnel,
            f"needs a tunnel, but {why} (provider = {provider.name}, vpn = {chosen.parameters.vpn})",
            f"{remedy}, or choose tests with path = direct",
        )
    return replace(chosen, tests=outside), [f"left out, {why}: {in_tunnel}"]

"""The tests that are shipped: which program they start, and how it is told the address family."""

from __future__ import annotations

import os
import runpy
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from perfkit.logs import samples
from perfkit.vpn.openvpn.configuration import template_values
from perfkit.vpn.plan import TunnelPlan

TESTS = Path(__file__).parents[2] / "resources" / "tests"
V4, V6 = "192.0.2.1", "2001:db8::1"


@pytest.mark.parametrize(
    ("name", "remote", "peer", "is_six"),
    [
        ("direct-tcp", V4, "10.8.0.1", False),
        ("direct-tcp", V6, "10.8.0.1", True),
        ("direct-tcp.server", V6, "10.8.0.1", True),
        ("direct-tcp.server", V4, "10.8.0.1", False),
        ("tunnel-tcp", V6, "10.8.0.1", False),
        ("tunnel-tcp.server", V6, "10.8.0.1", False),
        ("tunnel-tcp", V4, "fd00::1", True),
        ("direct-udp", V6, "10.8.0.1", True),
        ("tunnel-pps", V6, "10.8.0.1", False),
        ("tunnel-udp.server", V4, "fd00::1", True),
    ],
)
def test_iperf_is_told_of_ipv6_where_the_address_it_uses_is_one(
    tmp_path: Path, name: str, remote: str, peer: str, *, is_six: bool
) -> None:
    stand_in = tmp_path / "iperf"
    stand_in.write_text('#!/bin/sh\necho "told: $*"\n')
    stand_in.chmod(0o755)
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(
        [str(TESTS / name), remote, peer], env=env, capture_output=True, text=True, check=True
    )
    words = done.stdout.split()
    assert ("-V" in words) is is_six
    used = remote if name.startswith("direct") else peer
    assert (used in words) is not name.endswith(".server")


@pytest.mark.parametrize(
    ("name", "env", "told"),
    [
        ("direct-tcp", {}, []),
        ("direct-tcp", {"PERFKIT_RATE_BPS": "200000"}, ["-b 200000", "-l 1400"]),
        ("tunnel-tcp", {"PERFKIT_RATE_BPS": "100000000"}, ["-b 100000000", "-l 125000"]),
        ("tunnel-udp", {"PERFKIT_RATE_BPS": "200000"}, ["-b 200000", "-l 1372", "-u"]),
        ("tunnel-pps", {"PERFKIT_PACKET_BYTES": "512"}, ["-b 10g", "-l 512", "-u"]),
        ("direct-pps", {"PERFKIT_RATE_BPS": "", "PERFKIT_PACKET_BYTES": ""}, ["-b 10g", "-l 64"]),
        ("direct-tcp-down", {}, ["-R", f"-c {V4}"]),
        ("tunnel-tcp-down", {"PERFKIT_RATE_BPS": "200000"}, ["-R", "-b 200000", "-c 10.8.0.1"]),
        ("direct-tcp-both", {}, ["--full-duplex", f"-c {V4}"]),
        ("tunnel-tcp-both", {}, ["--full-duplex", "-c 10.8.0.1"]),
    ],
)
def test_iperf_is_told_the_direction_the_rate_of_a_client_and_the_size_of_a_packet(
    tmp_path: Path, name: str, env: dict[str, str], told: list[str]
) -> None:
    stand_in = tmp_path / "iperf"
    stand_in.write_text('#!/bin/sh\necho "told: $*"\n')
    stand_in.chmod(0o755)
    done = subprocess.run(
        [str(TESTS / name), V4, "10.8.0.1"],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", **env},
        capture_output=True,
        text=True,
        check=True,
    )
    assert all(f" {words} " in done.stdout for words in told)
    is_limited = " -b " in done.stdout or " -l " in done.stdout
    assert is_limited is any(words[:2] in ("-b", "-l") for words in told)
    assert (" -R " in done.stdout) is name.endswith("-down")


@pytest.mark.parametrize(("address", "proto"), [(V4, "udp"), (V6, "udp6")])
def test_openvpn_listens_where_its_clients_look_for_it(address: str, proto: str) -> None:
    values = template_values(TunnelPlan(server_address=address, clients=2))
    assert values["proto"] == proto
    assert values["server_address"] == address


PHASES_S = 1.2  # of a test: a sixth, a half and a tenth of it can be waited for
STOP_FAILS, START_FAILS = "echo no key >&2; exit 1", "echo no port >&2; exit 1"


class ConnectedHost:
    """A host with a VPN that only writes down what it is told, and a tunnel that always answers."""

    def __init__(self, root: Path) -> None:
        self.root, self.vpn = root, root / "vpn"
        self.vpn.mkdir()
        for name in ("start", "stop"):
            self.script(self.vpn / name, f"echo {name} >>{root}/orders")
        bin_dir = root / "bin"
        bin_dir.mkdir()
        self.script(bin_dir / "ping", 'echo "[$(date +%s.%N)] 64 bytes from 10.8.0.1: time=1 ms"')
        self.script(
            bin_dir / "ip", 'case $* in *10.8.0.1) echo "x dev lo" ;; *) echo "x dev e" ;; esac'
        )
        self.env = {
            "PATH": f"{bin_dir}:{os.environ['PATH']}",
            "PERFKIT_VPN_DIR": str(self.vpn),
        }
        self.begin_anew(PHASES_S)

    def begin_anew(self, phases_s: float) -> None:
        """A test begins now, and nothing was ordered yet."""
        self.env |= {"PERFKIT_T0": f"{time.time():.6f}", "PERFKIT_DURATION_S": str(phases_s)}
        (self.root / "orders").unlink(missing_ok=True)

    @staticmethod
    def script(path: Path, text: str) -> None:
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    @property
    def orders(self) -> list[str]:
        path = self.root / "orders"
        return path.read_text().split() if path.exists() else []

    def begin(self, name: str) -> subprocess.Popen[bytes]:
        argv = [str(TESTS / name), V4, "10.8.0.1"]
        both = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        return subprocess.Popen(argv, env=self.env, start_new_session=True, **both)

    def run(self, name: str) -> tuple[int, dict[str, tuple[float, str]], str]:
        """Exit status, the samples by quantity and phase, and what was said beside them."""
        process = self.begin(name)
        output, _ = process.communicate(timeout=60)
        return process.returncode, *read(output)


def read(output: bytes) -> tuple[dict[str, tuple[float, str]], str]:
    found = samples.parse(output, Path("log"))
    assert found.unparsed.count == 0, found.unparsed
    rows = found.frame.to_dict("records")
    values = {
        f"{row['quantity']} {str(row['note']).partition(':')[0]}": (row["value"], str(row["note"]))
        for row in rows
    }
    return values, " ".join(found.messages)


@pytest.fixture
def host(tmp_path: Path) -> ConnectedHost:
    return ConnectedHost(tmp_path)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.02)


def test_a_storm_measures_from_the_start_to_the_first_reply_in_both_phases(
    host: ConnectedHost,
) -> None:
    for phases_s in (PHASES_S, 10 * PHASES_S, 40 * PHASES_S):
        host.begin_anew(phases_s)
        status, found, said = host.run("connect-storm")
        if not any("no reply within" in note for _, note in found.values()):
            break  # else the machine was too busy to begin the test while its phases lasted
    assert (status, said) == (0, "")
    assert set(found) == {"late_s first", "connect_s first", "connect_s restart"}
    assert all(value >= 0 for value, _ in found.values())
    assert host.orders == ["stop", "start", "start"]


@pytest.mark.parametrize(
    ("script", "text", "why"),
    [
        ("stop", STOP_FAILS, "first: stop: no key"),
        ("start", START_FAILS, "first: start: no port"),
    ],
)
def test_a_vpn_that_could_not_be_stopped_or_started_has_no_time_to_connect(
    host: ConnectedHost, script: str, text: str, why: str
) -> None:
    host.script(host.vpn / script, text)
    status, found, _ = host.run("connect-storm")
    value, note = found["connect_s first"]
    assert (status, note) == (0, why)
    assert value != value  # noqa: PLR0124 -- NaN


def test_a_vpn_that_was_stopped_too_slowly_has_no_negative_time_to_connect(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """1,100 clients on two processors: stopping theirs took longer than the phase."""
    storm = runpy.run_path(str(TESTS / "connect-storm"))
    storm["look"]("first", "none", V4, begun_s=1e9 + 30, until_s=1e9 + 11.25)
    assert capsys.readouterr().out.endswith(
        ",connect_s,,first: its VPN could only begin 18.8 s too late\n"
    )


def test_a_storm_without_a_reply_says_so_and_has_the_vpn_started(host: ConnectedHost) -> None:
    host.script(host.root / "bin" / "ping", "exit 1")
    status, found, _ = host.run("connect-storm")
    assert status == 0
    assert "no reply within" in found["connect_s first"][1]
    assert "no reply within" in found["connect_s restart"][1]
    assert host.orders == ["stop", "start", "start"]


@pytest.mark.parametrize("name", ["connect-storm", "idle"])
def test_a_host_without_a_tunnel_leaves_its_vpn_alone(host: ConnectedHost, name: str) -> None:
    host.script(host.root / "bin" / "ip", "echo x dev eth0")
    status, _, said = host.run(name)
    assert status == 1
    assert "no tunnel led to 10.8.0.1 when the test began" in said
    assert host.orders == []


@pytest.mark.parametrize("name", ["connect-storm", "idle"])
def test_a_test_that_is_ended_in_the_middle_leaves_its_vpn_started(
    host: ConnectedHost, name: str
) -> None:
    host.env["PERFKIT_DURATION_S"] = "600"
    process = host.begin(name)
    wait_until(lambda: host.orders == ["stop"])
    os.killpg(process.pid, signal.SIGTERM)
    process.communicate(timeout=60)
    assert host.orders == ["stop", "start"]


@pytest.mark.parametrize("name", ["idle", "idle.server", "connect-storm.server"])
def test_what_a_script_waits_with_ends_with_it_though_it_has_lost_the_signal(
    host: ConnectedHost, name: str
) -> None:
    """As a shell's child does that was forked just before the signal came."""
    sleep = shutil.which("sleep")
    deaf = f"trap '' TERM INT; echo >>{host.root}/asleep; exec {sleep} \"$@\""
    host.script(host.root / "bin" / "sleep", deaf)
    host.begin_anew(6000)
    process = host.begin(name)
    wait_until((host.root / "asleep").exists)
    os.killpg(process.pid, signal.SIGTERM)
    process.communicate(timeout=120)  # whoever still slept would hold the line
    assert host.orders[-1:] == ["start"]


@pytest.mark.parametrize(
    ("name", "orders", "quantities"),
    [
        ("connect-storm.server", ["stop", "start"], ["vpn_stop_s restart", "vpn_start_s restart"]),
        ("idle.server", ["stop", "start"], ["vpn_start_s idle"]),
    ],
)
def test_a_server_starts_its_vpn_anew_and_serves_until_it_is_told_to_end(
    host: ConnectedHost, name: str, orders: list[str], quantities: list[str]
) -> None:
    process = host.begin(name)
    wait_until(lambda: host.orders == orders)
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(1 + len(quantities))]
    os.killpg(process.pid, signal.SIGINT)
    rest, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    found, said = read(b"".join(lines) + rest)
    assert (list(found), said) == (quantities, "")
    assert host.orders == [*orders, "start"]  # does nothing where it runs


def test_an_idle_client_says_what_went_through_its_devices(host: ConnectedHost) -> None:
    status, found, said = host.run("idle")
    assert (status, said) == (0, "")
    assert found["idle_s idle"][0] > 0
    assert found["tunnel_recv_bytes idle"][0] >= 0
    outer = found["outer_recv_bytes idle"][0]
    assert outer != outer  # noqa: PLR0124 -- NaN: there is no device e
    assert host.orders == ["stop", "start"]


def test_an_idle_client_whose_tunnel_does_not_come_up_has_failed(host: ConnectedHost) -> None:
    host.script(host.root / "bin" / "ping", "exit 1")
    status, found, said = host.run("idle")
    assert (status, found) == (1, {})
    assert "no reply through the tunnel" in said


def test_an_idle_client_asks_its_tunnel_once_though_the_clock_ticks_before_it_does(
    host: ConnectedHost,
) -> None:
    """A second may begin between two looks at the clock; here one begins at each."""
    date, ticks = shutil.which("date"), host.root / "ticks"
    tick = f"echo >>{ticks}; exec wc -l <{ticks}"
    host.script(host.root / "bin" / "date", f'[ "$*" != +%s ] || {{ {tick}; }}; exec {date} "$@"')
    assert host.run("idle")[0] == 0
    assert ticks.exists()

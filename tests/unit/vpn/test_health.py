"""What the tunnel gate reads from a host's answer."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from perfkit.model import Host, Role
from perfkit.vpn.base import Vpn, get_vpn
from perfkit.vpn.health import health_script, parse_health

VPN = get_vpn("openvpn", Path(__file__).parents[3] / "resources")
assert VPN is not None
CLIENT = Host(name="client-001", role=Role.CLIENT, address="192.0.2.9", host_key="")


def test_a_tunnel_with_everything_is_healthy() -> None:
    health = parse_health(
        VPN.traits, CLIENT, "address=10.8.0.2\nroute=yes\nping=yes\nfinal=\n", "10.8.0.1"
    )
    assert health.ok
    assert health.tunnel_address == "10.8.0.2"
    assert health.reason == ""


@pytest.mark.parametrize(
    ("answer", "missing"),
    [
        (
            "address=\nroute=\nping=\nfinal=\n",
            ["no tunnel address", "no route", "no answer to a ping from 10.8.0.1"],
        ),
        (
            "address=10.8.0.2\nroute=\nping=\nfinal=\n",
            ["no route", "no answer to a ping from 10.8.0.1"],
        ),
        ("address=10.8.0.2\nroute=yes\nping=\nfinal=\n", ["no answer to a ping from 10.8.0.1"]),
    ],
)
def test_what_is_missing_is_listed_with_the_end_of_the_log(answer: str, missing: list[str]) -> None:
    health = parse_health(
        VPN.traits, CLIENT, answer + "TLS Error: handshake failed\nRestart\n", "10.8.0.1"
    )
    assert not health.ok
    what, _, log = health.reason.partition("; openvpn.log ends: ")
    assert [part.removesuffix(" to 10.8.0.1") for part in what.split(", ")] == missing
    assert log == "TLS Error: handshake failed | Restart"


def test_a_host_without_a_log_never_started_openvpn() -> None:
    health = parse_health(VPN.traits, CLIENT, "address=\nroute=\nping=\nfinal=\n", "10.8.0.1")
    assert "OpenVPN was not started" in health.reason


def test_a_strange_answer_is_not_healthy() -> None:
    assert not parse_health(VPN.traits, CLIENT, "", "10.8.0.1").ok
    assert not parse_health(VPN.traits, CLIENT, "bash: ip: not found\n", "10.8.0.1").ok


def script_of(tmp_path: Path, role: Role, log: str, *, is_running: bool) -> str:
    """What the script prints in a work folder; it would wait for an hour."""
    for name in ("logs", "vpn"):
        (tmp_path / name).mkdir()
    (tmp_path / "logs/openvpn.log").write_text(log)
    pid = os.getpid()
    if not is_running:
        ended = subprocess.Popen(["true"])
        ended.wait()
        pid = ended.pid
    (tmp_path / "vpn/openvpn.pid").write_text(f"{pid}\n")
    host = replace(CLIENT, role=role, workdir=str(tmp_path))
    script = health_script(VPN, host, 18_000, "192.0.2.254")
    done = subprocess.run(
        ["sh", "-c", script], capture_output=True, text=True, timeout=300, check=True
    )
    return parse_health(VPN.traits, host, done.stdout, "192.0.2.254").reason


STAMP = "2026-11-30 02:35:32 "
NEVER = (
    "AUTH: Received control message: AUTH_FAILED",
    "VERIFY ERROR: depth=0, error=certificate has expired: CN=server",
    "OpenSSL: error:0A000086:SSL routines::certificate verify failed:",
    "OPTIONS ERROR: failed to negotiate cipher with server.  Add the server's cipher",
    "OpenSSL: error:0A000410:SSL routines::ssl/tls alert handshake failure:SSL alert number 40",
)
FATAL = (
    "ERROR: Cannot open TUN/TAP dev /dev/net/tun: Operation not permitted (errno=1)",
    "ERROR: Cannot ioctl TUNSETIFF tun0: Operation not permitted (errno=1)",
    "TCP/UDP: Socket bind failed on local address [AF_INET][undef]:1194: Address already in use",
    "Options error: Unrecognized option or missing or extra parameter(s) in client.conf:3: x",
    "Something nobody has thought of",
)


@pytest.mark.parametrize("line", NEVER)
def test_a_client_that_will_not_be_let_in_is_not_waited_for(tmp_path: Path, line: str) -> None:
    log = f"{STAMP}Initial packet\n{STAMP}{line}\n{STAMP}Restart pause, 1 second(s)\n"
    reason = script_of(tmp_path, Role.CLIENT, log, is_running=True)
    assert reason == f"OpenVPN: {' '.join(line.split())}"


@pytest.mark.parametrize("line", FATAL)
@pytest.mark.parametrize("role", Role)
def test_a_host_whose_openvpn_has_ended_is_not_waited_for(
    tmp_path: Path, role: Role, line: str
) -> None:
    log = f"{STAMP}OpenVPN 2.6.3\n{STAMP}{line}\n"
    if "nobody" not in line:
        log += f"{STAMP}Exiting due to fatal error\n"
    assert script_of(tmp_path, role, log, is_running=False) == f"OpenVPN: {line}"


def test_strangers_that_a_server_refused_say_nothing_of_the_server(tmp_path: Path) -> None:
    log = f"{STAMP}192.0.2.66:4000 VERIFY ERROR: depth=0\n{STAMP}Exiting due to fatal error\n"
    assert "VERIFY" not in script_of(tmp_path, Role.SERVER, log, is_running=False)


@pytest.mark.parametrize(
    ("line", "address"),
    [
        ("7: lo    inet 10.8.0.4/24 scope global lo\\       valid_lft forever", "10.8.0.4"),
        ("7: lo    inet 10.8.0.6 peer 10.8.0.5/32 scope global lo", "10.8.0.6"),
        ("7: lo    inet 10.8.0.4/24 scope global lo\n7: lo    inet 10.9.0.4/24 lo", "10.8.0.4"),
        ("7: lo    inet6 fd70:6572:666b::4/64 scope global \\ valid_lft", "fd70:6572:666b::4"),
        ("", ""),
    ],
)
def test_the_address_of_a_tunnel_is_read_from_what_ip_prints(
    tmp_path: Path, line: str, address: str
) -> None:
    route = "case $* in *route*) echo 'x dev lo src y' ;; *) cat answer ;; esac"
    (tmp_path / "answer").write_text(line)
    for name, does in (("ip", route), ("ping", ":")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / name).chmod(0o755)
    traits = replace(VPN.traits, devices=dict.fromkeys(Role, "lo"))  # which every machine has
    vpn = SimpleNamespace(traits=traits, last_words=VPN.last_words)
    script = health_script(cast(Vpn, vpn), replace(CLIENT, workdir=str(tmp_path)), 1, "192.0.2.1")
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-c", script], cwd=tmp_path, env={"PATH": path}, capture_output=True, check=True
    )
    said = done.stdout.decode().splitlines()
    assert said[:3] == [f"address={address}", "route=yes", f"ping={'yes' if address else ''}"]


def test_a_tunnel_of_ipv6_is_asked_for_its_address_of_that() -> None:
    peer = "fd70:6572:666b::1"
    script = health_script(VPN, CLIENT, 1, peer)
    assert "ip -6 -o addr show dev" in script
    assert f"ip -6 route get {peer}" in script
    said = "address=fd70:6572:666b::4\nroute=yes\nping=yes\nfinal=\n"
    found = parse_health(VPN.traits, CLIENT, said, peer)
    assert (found.ok, found.tunnel_address) == (True, "fd70:6572:666b::4")
    of_other = parse_health(VPN.traits, CLIENT, said.replace("fd70:6572:666b::4", "10.8.0.4"), peer)
    assert of_other.reason.startswith("no tunnel address")

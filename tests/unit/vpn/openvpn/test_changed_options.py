"""OpenVPN's configuration with the options of a variant in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from perfkit.errors import ConfigError
from perfkit.model import Host, Role
from perfkit.runs import folder as runs
from perfkit.vpn.base import Changes
from perfkit.vpn.openvpn.configuration import OpenVpn
from perfkit.vpn.openvpn.options import with_options
from perfkit.vpn.plan import TunnelPlan

RESOURCES = Path(__file__).parents[4] / "resources"
PLAN = TunnelPlan(server_address="192.0.2.1", clients=100)
CONF = "# sndbuf is for later\nsndbuf 1\nverb 3\n  sndbuf 2\nsndbuf-like 3\npush a\npush b"


def changed(conf: str, **options: str) -> str:
    named = {name.replace("_", "-"): value for name, value in options.items()}
    return with_options(conf, Role.SERVER, Changes(options={Role.SERVER: named}))


def files_of(tmp_path: Path, role: Role, changes: Changes) -> dict[str, str]:
    vpn = OpenVpn(RESOURCES).changed(changes)
    vpn.prepare(runs.create(tmp_path / "runs", "test", {}), PLAN)
    host = Host(name=role, role=role, address="192.0.2.9", host_key="")
    return {name: data.decode() for name, data in vpn.files(host, tmp_path).items()}


def test_an_option_stands_in_place_of_all_lines_of_its_name_and_of_no_other() -> None:
    assert changed(CONF, sndbuf="65536") == (
        "# sndbuf is for later\nsndbuf 65536\nverb 3\nsndbuf-like 3\npush a\npush b"
    )
    assert changed(CONF, push="c") == CONF.replace("push a\npush b", "push c\n")
    assert changed(CONF, fast_io="") == f"{CONF}\nfast-io\n"
    assert changed("", verb="4") == "verb 4\n"


def test_the_options_of_the_other_role_are_left() -> None:
    other = Changes(options={Role.CLIENT: {"sndbuf": "65536"}})
    assert with_options(CONF, Role.SERVER, other) == CONF


@pytest.mark.parametrize("value", ["64k", "", "64 K", "0x10"])
def test_no_word_is_taken_where_the_template_has_a_number(value: str) -> None:
    with pytest.raises(ConfigError, match=r"openvpn\.server\.sndbuf.*not a number"):
        changed(CONF, sndbuf=value)


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("dev", "tun7", "perfkit needs this option"),
        ("writepid", "x", "perfkit needs this option"),
        ("Sndbuf", "1", "not an option's name"),
        ("--sndbuf", "1", "not an option's name"),
        ("sndbuf", "1\nscript-security 2", "not one line"),
        ("proto", "tcp", "not the same word"),
    ],
)
def test_an_option_that_cannot_be_changed_is_refused(
    role: Role, name: str, value: str, says: str
) -> None:
    changes = Changes(source="variants.conf [x]", options={role: {name: value}})
    with pytest.raises(ConfigError, match=rf"variants\.conf \[x\]: openvpn\.{role}\..*{says}"):
        OpenVpn(RESOURCES).changed(changes)


def test_another_protocol_is_in_both_configurations(tmp_path: Path) -> None:
    own = {"proto": "tcp", "explicit-exit-notify": "0"}
    both = Changes(options={Role.SERVER: own, Role.CLIENT: own})
    server = files_of(tmp_path / "s", Role.SERVER, both)["server.conf"].splitlines()
    client = files_of(tmp_path / "c", Role.CLIENT, both)["client.conf"].splitlines()
    assert "proto tcp" in server
    assert "remote 192.0.2.1 1194 tcp" in client
    assert "proto tcp" not in client
    assert "explicit-exit-notify 0" in client


def test_another_binary_is_what_is_started_checked_and_asked_for_its_version(
    tmp_path: Path,
) -> None:
    changes = Changes(binary="/opt/open vpn/sbin/openvpn")
    files = files_of(tmp_path, Role.CLIENT, changes)
    for script in ("start", "check"):
        assert "'/opt/open vpn/sbin/openvpn' --" in files[script]
    vpn = OpenVpn(RESOURCES).changed(changes)
    assert vpn.traits.version_command == (changes.binary, "--version")

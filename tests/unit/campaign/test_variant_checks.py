"""Variants that could not run, or that would compare a thing with itself, are refused before launch."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from project_copy import copy_project

from perfkit.campaign import phases, variant_checks
from perfkit.errors import ConfigError
from perfkit.settings import parameters


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    copy_project(tmp_path, "resources", "config")
    monkeypatch.setenv("PERFKIT_HOME", str(tmp_path))
    return tmp_path


def tried(project: Path, text: str, *, here: bool = True, **chosen: object) -> None:
    (project / "config/variants.conf").write_text(text)
    settings = parameters.load({"variants": "base,x", **chosen})
    variant_checks.require(settings, programs_are_here=here)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("openvpn.server.sndbuff = 65536", "openvpn.server.sndbuff = '65536'.*on a server"),
        ("openvpn.client.topologie = subnet", "openvpn.client.topologie.*on a client"),
        ("openvpn.both.data-ciphers = ROT13", "openvpn.server.data-ciphers.*ROT13"),
        ("openvpn.both.keepalive = 5", "openvpn.server.keepalive.*missing or extra parameter"),
        (
            "openvpn.binary = /nowhere/openvpn",
            "openvpn.binary = '/nowhere/openvpn'.*no such program",
        ),
        ("openvpn.binary = /bin/false", "openvpn.binary = '/bin/false'"),
        ("openvpn.binary = /bin/true", "openvpn.binary = '/bin/true'"),
    ],
)
def test_what_openvpn_would_not_start_with_is_named_by_the_line_that_is_wrong(
    project: Path, needs_tools: Callable[..., None], text: str, says: str
) -> None:
    needs_tools("openvpn")
    with pytest.raises(ConfigError, match=rf"variants\.conf \[x\].*({says})"):
        tried(project, f"[x]\n{text}\n")


def test_every_variant_of_the_sample_would_start(
    project: Path, needs_tools: Callable[..., None]
) -> None:
    needs_tools("openvpn", "wg", "wireguard-go")
    settings = parameters.load({"variants": "base,chacha,sndbuf64k,tcp,slow,wg,no-dco,again"})
    variant_checks.require(settings, programs_are_here=True)


def test_where_hosts_have_programs_of_their_own_openvpn_is_not_asked_here(project: Path) -> None:
    tried(project, "[x]\nopenvpn.binary = /nowhere/openvpn\n", here=False)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "control = no",
        "openvpn.server.sndbuf = 4194304",
        "test.tunnel-tcp.duration = 30",
        "test.direct-tcp.port = 5001",
        "resources = same",
    ],
)
def test_a_variant_that_equals_another_is_refused_unless_it_says_control(
    project: Path, text: str
) -> None:
    (project / "config/same/tests").mkdir(parents=True)
    shutil.copy(project / "resources/tests/tunnel-tcp", project / "config/same/tests")
    with pytest.raises(ConfigError, match=r"\[x\].*it differs from base in nothing"):
        tried(project, f"[x]\n{text}\n", here=False)
    controlled = text.replace("control = no", "")
    tried(project, f"[x]\n{controlled}\ncontrol = yes\n", here=False)


def test_two_variants_that_equal_each_other_are_refused(project: Path) -> None:
    text = "[x]\nopenvpn.both.mssfix = 1200\n[y]\nopenvpn.server.mssfix = 1200\nopenvpn.client.mssfix = 1200\n"
    with pytest.raises(ConfigError, match=r"\[y\].*it differs from x in nothing"):
        tried(project, text, here=False, variants="x,y")
    tried(project, f"{text}control = yes\n", here=False, variants="x,y")


def test_a_change_that_no_test_of_the_run_uses_is_none(project: Path) -> None:
    text = "[x]\nopenvpn.both.mssfix = 1200\n"
    tried(project, text, here=False)
    with pytest.raises(ConfigError, match="in nothing that this run uses"):
        tried(project, text, here=False, tests="direct-tcp")


@pytest.mark.parametrize("name", ["tests/tunnel-tcp", "bin/monitor", "openvpn/client.conf"])
def test_a_replaced_file_makes_a_difference(project: Path, name: str) -> None:
    place = project / "config/tuned" / name
    place.parent.mkdir(parents=True)
    shutil.copy(project / "resources" / name, place)
    with place.open("a") as file:
        file.write("# tuned\n")
    tried(project, "[x]\nresources = tuned\n", here=False)


def test_a_template_with_another_device_is_refused(project: Path) -> None:
    place = project / "config/tuned/openvpn/server.conf"
    place.parent.mkdir(parents=True)
    text = (project / "resources/openvpn/server.conf").read_text()
    place.write_text(text.replace("dev tun0", "dev tun1"))
    with pytest.raises(ConfigError, match=r"\[x\].*another device"):
        tried(project, "[x]\nresources = tuned\n", here=False)


def test_a_wrong_variant_is_refused_before_a_run_folder_is_made(
    project: Path, needs_tools: Callable[..., None]
) -> None:
    needs_tools("openvpn", "sshd")
    (project / "config/variants.conf").write_text("[x]\nopenvpn.server.sndbuff = 1\n")
    with pytest.raises(ConfigError, match=r"openvpn\.server\.sndbuff"):
        phases.start(variants="base,x", clients=1)
    assert not list((project / "runs").glob("*"))


def test_a_level_that_is_as_it_was_without_one_is_no_twin_of_base(
    project: Path, needs_tools: Callable[..., None]
) -> None:
    needs_tools("openvpn")
    settings = parameters.load({"link": "none; 10mbit", "rate": "1mbit,2mbit"})
    variant_checks.require(settings, programs_are_here=True)
    with pytest.raises(ConfigError, match=r"x-none.*differs from base-none in nothing"):
        tried(project, "[x]\n", link="none; 10mbit")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("wireguard.client.mut = 1400", r"wireguard\.client\.mut = '1400'.*did you mean 'mtu'"),
        ("wireguard.both.mtu = 1400k", r"wireguard\.server\.mtu = '1400k'.*not a whole number"),
        (
            "wireguard.binary = /nowhere/wg-go",
            r"wireguard\.binary = '/nowhere/wg-go'.*no such program",
        ),
    ],
)
def test_what_the_other_vpn_would_not_take_is_named_before_launch(
    project: Path, needs_tools: Callable[..., None], text: str, says: str
) -> None:
    needs_tools("openvpn", "wg")
    with pytest.raises(ConfigError, match=rf"variants\.conf \[x\].*{says}"):
        tried(project, f"[x]\nvpn = wireguard\n{text}\n")


def test_a_vpn_that_nobody_has_is_named_with_the_variant(project: Path) -> None:
    with pytest.raises(ConfigError, match=r"variants\.conf \[x\].*vpn = 'wiregard'.*'wireguard'"):
        tried(project, "[x]\nvpn = wiregard\n")

"""config/variants.conf: what a variant is, and what is refused before anything is launched."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from project_copy import copy_project

from perfkit.errors import ConfigError
from perfkit.model import BASE_VARIANT, Variant
from perfkit.settings import parameters, variants
from perfkit.settings.parameters import Settings


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of the test's own."""
    copy_project(tmp_path, "resources", "config")
    monkeypatch.setenv("PERFKIT_HOME", str(tmp_path))
    return tmp_path


def write(project: Path, text: str, names: str = "x") -> Settings:
    (project / "config/variants.conf").write_text(text)
    return parameters.load({"variants": names})


TUNED = "#!/bin/sh\n: after $PERFKIT_SEND_AT\necho tuned\n"


def replacing(project: Path, *names: str, mode: int = 0o755) -> Path:
    """A folder beside variants.conf that replaces files."""
    folder = project / "config/tuned"
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(TUNED)
        (folder / name).chmod(mode)
    return folder


def test_a_section_is_a_variant_and_base_needs_none(project: Path) -> None:
    replacing(project, "tests/tunnel-tcp")
    settings = write(
        project,
        "[tuned]\nopenvpn.server.sndbuf = 65536 # bytes\nopenvpn.both.data-ciphers = AES-128-GCM\n"
        "openvpn.both.fast-io =\nopenvpn.binary = /opt/ovpn/sbin/openvpn\nresources = tuned\n"
        "test.tunnel-tcp.duration = 20\ncontrol = yes\n",
        names="base,tuned",
    )
    base, tuned = variants.load(settings)
    assert base == BASE_VARIANT
    shared = {"data-ciphers": "AES-128-GCM", "fast-io": ""}
    assert tuned == Variant(
        name="tuned",
        vpn_options={"server": {"sndbuf": "65536", **shared}, "client": shared},
        binary="/opt/ovpn/sbin/openvpn",
        resources=project / "config/tuned",
        test_parameters={"tunnel-tcp.duration": "20"},
        control=True,
    )
    other_way = parameters.load({"variants": ["tuned", "base"]})
    assert variants.load(other_way) == (tuned, base)


def test_every_variant_of_the_sample_is_one(project: Path) -> None:
    names = ["chacha", "sndbuf64k", "tcp", "slow", "wg", "no-dco", "again"]
    settings = parameters.load({"variants": names})
    text = (project / "config/variants.conf.sample").read_text()
    assert [line[1:-1] for line in text.splitlines() if line.startswith("[")] == names
    assert [it.name for it in variants.load(settings)] == names


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no such section.*write a section [x]"),
        ("[y]\ncontrol = yes\n", "no such section"),
        ("[xx]\n", "did you mean 'xx'?"),
        ("[x]\n[x]\n", "already exists"),
        ("[x]\ncontrol = yes\ncontrol = no\n", "already exists"),
        ("[x]\n[base]\nopenvpn.server.sndbuf = 1\n", "base is what stands in resources/"),
        ("[x]\ncontrol = perhaps\n", "neither yes nor no"),
        ("[x]\ncontrl = yes\n", "unknown key; did you mean 'control'?"),
        ("[x]\nopenvpn.sndbuf = 1\n", "unknown key; known are:"),
        ("[x]\nopenvpn.servr.sndbuf = 1\n", "openvpn.server.<option>"),
        ("[x]\nopenvpn.server. = 1\n", "unknown key"),
        ("[x]\nwireguard.both.mtu = 1\n", "the variant's VPN is openvpn, not wireguard"),
        ("[x]\nopenvpn.both.a = 1\nopenvpn.client.a = 2\n", "given for the client by another key"),
        ("[x]\nopenvpn.binary = openvpn\n", "not an absolute path"),
        ("[x]\nopenvpn.binary =\n", "not an absolute path"),
        ("[x]\ntest.tunel-tcp.duration = 3\n", "did you mean 'tunnel-tcp'?"),
        ("[x]\ntest.tunnel-tcp.durations = 3\n", "did you mean 'duration'?"),
        ("[x]\ntest.tunnel-tcp.path = direct\n", "not to be changed here"),
        ("[x]\ntest.tunnel-tcp.duration = 0.5\n", "greater than or equal to 1"),
        ("[x]\ntest.tunnel-tcp.port = high\n", "a whole number is needed"),
        ("[x]\nresources = nowhere\n", "no such folder; make"),
        ("[x]\nresources =\n", "no such folder"),
        ("[x]\nresources = empty\n", "holds no file"),
        ("[x]\nresources = tuned\n", "tests/tunel-tcp replaces nothing.*did you mean"),
        ("[x]\nresources = fabfile\n", "fabfile.py replaces nothing that a variant may replace"),
        ("[x]\nopenvpn.server.auth-password = secret1\n", "looks like a secret"),
    ],
)
def test_what_is_wrong_in_a_variant_is_named_with_its_remedy(
    project: Path, text: str, says: str
) -> None:
    replacing(project, "tests/tunel-tcp")
    (project / "config/empty").mkdir()
    shutil.copytree(project / "config/empty", project / "config/fabfile")
    (project / "config/fabfile/fabfile.py").touch()
    settings = write(project, text)
    with pytest.raises(ConfigError) as caught:
        variants.load(settings)
    for part in says.split(".*"):
        assert part in str(caught.value)


def test_a_variant_leaves_a_test_the_time_that_its_kind_needs(project: Path) -> None:
    (project / "config/tests.conf").write_text(
        "[idle]\nkind = idle\nduration = 60\nneeds = ping\npath = tunnel\n"
    )
    settings = write(project, "[x]\ntest.idle.duration = 2\n")
    with pytest.raises(ConfigError, match=r"has phases.*give 30 seconds or more"):
        variants.load(settings)


def test_a_script_that_no_host_could_run_is_refused(project: Path) -> None:
    replacing(project, "tests/tunnel-tcp", mode=0o644)
    settings = write(project, "[x]\nresources = tuned\n")
    with pytest.raises(ConfigError, match=r"\[x\].*not executable"):
        variants.load(settings)


def test_without_a_vpn_nothing_of_one_can_be_changed(project: Path) -> None:
    (project / "config/variants.conf").write_text("[x]\nopenvpn.both.mssfix = 1200\n")
    settings = parameters.load({"vpn": "none", "tests": "direct-tcp", "variants": "x"})
    with pytest.raises(ConfigError, match="the variant's VPN is none, not openvpn"):
        variants.load(settings)


def test_a_variants_settings_have_its_values_and_its_files_and_else_ours(project: Path) -> None:
    folder = replacing(project, "tests/tunnel-tcp", "bin/monitor", "openvpn/server.conf")
    settings = write(
        project,
        "[x]\nresources = tuned\ntest.tunnel-tcp.duration = 20\ntest.tunnel-tcp.port = 5009\n",
    )
    (variant,) = variants.load(settings)
    applied = variants.applied(settings, variant)
    assert applied.variant == variant
    assert settings.variant == BASE_VARIANT
    direct, tunnel = applied.tests
    assert (tunnel.duration_s, tunnel.port, tunnel.needs) == (20, 5009, ("iperf",))
    assert (direct.duration_s, direct.port) == (30, 5001)
    places = {"tests/tunnel-tcp", "bin/monitor", "openvpn/server.conf"}
    for path in sorted((project / "resources").rglob("*")):
        name = path.relative_to(project / "resources").as_posix()
        if path.is_file() and "readme" not in name:
            source = folder / name if name in places else path
            assert (applied.resources_dir / name).read_bytes() == source.read_bytes(), name
    assert tunnel.script.read_text().endswith("echo tuned\n")
    assert tunnel.server_script is not None
    assert tunnel.server_script.exists()
    assert variants.applied(settings, BASE_VARIANT) == settings


def test_a_replaced_script_that_would_send_before_its_test_is_refused(project: Path) -> None:
    folder = replacing(project, "tests/tunnel-tcp")
    (folder / "tests/tunnel-tcp").write_text("#!/bin/sh\niperf -c $2\n")
    settings = write(project, "[x]\nresources = tuned\n")
    (variant,) = variants.load(settings)
    with pytest.raises(ConfigError, match=r"variants\.conf \[x\].*does not read \$PERFKIT_SEND_AT"):
        variants.applied(settings, variant)


def test_a_file_edited_after_a_variant_was_applied_counts(project: Path) -> None:
    folder = replacing(project, "tests/tunnel-tcp")
    settings = write(project, "[x]\nresources = tuned\n")
    (variant,) = variants.load(settings)
    variants.applied(settings, variant)
    edited = TUNED.replace("tuned", "edited")
    (folder / "tests/tunnel-tcp").write_text(edited)
    script = variants.applied(settings, variant).tests[1].script
    assert script.read_text() == edited


def test_what_a_run_keeps_gives_the_same_variants_when_the_users_files_are_gone(
    project: Path, tmp_path: Path
) -> None:
    folder = replacing(project, "tests/tunnel-tcp")
    settings = write(
        project,
        "[x]\nopenvpn.both.mssfix = 1200\nopenvpn.client.fast-io =\nopenvpn.binary = /opt/o\n"
        "resources = tuned\ntest.direct-tcp.port = 5009\n[y]\ncontrol = yes\n[z]\nbroken = 1\n",
        names="base,x,y",
    )
    before = variants.changes(settings)
    assert before["base"] == {}
    assert before["y"] == {"control": "yes"}
    assert before["x"]["openvpn.client.mssfix"] == "1200"
    assert before["x"]["resources"].keys() == {"tests/tunnel-tcp"}
    kept = tmp_path / "run/config"
    kept.mkdir(parents=True)
    variants.keep(settings, kept)
    shutil.rmtree(folder)
    (project / "config/variants.conf").unlink()
    of_run = replace(settings, config_dir=kept)
    again = variants.load(of_run)
    assert variants.changes(of_run) == before
    script = variants.applied(of_run, again[1]).tests[1].script
    assert script.read_text() == TUNED


def test_base_alone_leaves_no_copy(project: Path, tmp_path: Path) -> None:
    variants.keep(parameters.load(), tmp_path / "config")
    assert not (tmp_path / "config/variants.conf").exists()


def test_a_variant_may_have_another_vpn_with_options_of_that_one(
    project: Path, tmp_path: Path
) -> None:
    text = "[wg]\nvpn = wireguard\nwireguard.both.mtu = 1380\n[same]\nvpn = openvpn\nopenvpn.server.verb = 4\n"
    settings = write(project, text, names="base,wg,same")
    _, wg, same = variants.load(settings)
    assert (wg.vpn, same.vpn) == ("wireguard", "")
    assert wg.vpn_options == {role: {"mtu": "1380"} for role in ("server", "client")}
    assert variants.changes(settings)["wg"] == {
        "vpn": "wireguard", "wireguard.server.mtu": "1380", "wireguard.client.mtu": "1380",
    }  # fmt: skip
    shutil.copytree(project / "config", tmp_path / "kept")
    (tmp_path / "kept/variants.conf").unlink()
    variants.keep(settings, tmp_path / "kept")
    kept = parameters.load({"variants": "wg", "config_dir": str(tmp_path / "kept")})
    assert variants.load(kept) == (wg,)


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (
            "vpn = wireguard\nopenvpn.server.sndbuf = 1",
            "the variant's VPN is wireguard, not openvpn",
        ),
        ("wireguard.both.mtu = 1380", "the variant's VPN is openvpn, not wireguard"),
        ("vpn = wireguard\nopenvpn.binary = /opt/x", "the variant's VPN is wireguard, not openvpn"),
        ("vpn = none", "variants compare one VPN with another"),
    ],
)
def test_an_option_of_the_other_vpn_and_no_vpn_are_refused(
    lines: str, problem: str, project: Path
) -> None:
    with pytest.raises(ConfigError, match=problem):
        variants.load(write(project, f"[x]\n{lines}\n"))


def test_a_run_without_a_vpn_has_no_variant_with_one(project: Path) -> None:
    (project / "config/variants.conf").write_text("[x]\nvpn = wireguard\n")
    settings = parameters.load({"variants": "x", "vpn": "none"})
    with pytest.raises(ConfigError, match="the run's VPN is none"):
        variants.load(settings)

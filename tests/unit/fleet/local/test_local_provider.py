from __future__ import annotations

from pathlib import Path

import pytest
from local_runs import LocalRun

from perfkit.errors import ConfigError, LaunchError, ProviderError
from perfkit.fleet.local import loopback, loopback_folders, namespaces, tools
from perfkit.fleet.local.provider import LocalProvider


def test_an_unknown_isolation_is_named_with_the_nearest_known_one() -> None:
    with pytest.raises(ConfigError, match="did you mean 'namespaces'"):
        LocalProvider("namespace")


def test_auto_falls_back_to_loopback_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(namespaces, "why_not", lambda: "neither root nor passwordless sudo")
    provider = LocalProvider()
    assert provider.isolation == "loopback"
    assert not provider.traits.can_tunnel
    assert "neither root nor passwordless sudo" in provider.notice
    assert "cannot run tunnel tests" in provider.notice


def test_auto_takes_namespaces_where_they_can_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(namespaces, "why_not", lambda: None)
    provider = LocalProvider()
    assert provider.isolation == "namespaces"
    assert provider.traits.can_tunnel


def test_namespaces_without_privileges_are_refused_before_anything_is_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(namespaces, "why_not", lambda: "neither root nor passwordless sudo")
    monkeypatch.setattr(tools, "missing", lambda _names: [])
    with pytest.raises(ProviderError, match="isolation=loopback"):
        LocalProvider("namespaces").preflight(2)


def test_missing_programs_are_named_with_the_command_that_installs_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tools, "SEARCH_PATH", "/nowhere")
    with pytest.raises(ProviderError, match=r"apt-get install -y coreutils openssh-server"):
        LocalProvider("loopback").preflight(2)


def test_more_hosts_than_fit_into_memory_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    provider = LocalProvider("loopback")
    monkeypatch.setattr("perfkit.fleet.local.limits.MEMORY_PER_HOST_BYTES", 10**12)
    with pytest.raises(ProviderError, match=r"2 local hosts need about 2000000 MB .* at most 0"):
        provider.preflight(2)


def test_a_temporary_folder_that_cannot_be_used_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(loopback_folders, "DISK_PER_HOST_BYTES", 10**15)
    with pytest.raises(ProviderError, match="TMPDIR"):
        LocalProvider("loopback").preflight(2)


def test_a_loopback_fleet_of_which_no_sshd_answers_is_a_launch_error_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(tools, "find", lambda _name: "/bin/false")
    monkeypatch.setattr(tools, "sshd_version", lambda: (9, 2))
    run = LocalRun(tmp_path)
    provider = LocalProvider("loopback")
    with pytest.raises(LaunchError, match="server: its sshd ended and logged nothing"):
        provider.launch(run.request("server"))
    provider.release(run.run_id)
    assert list(provider.hosts(run.run_id)) == []
    assert list(tmp_path.glob("perfkit-*")) == []


def test_ports_are_distinct_and_outside_those_the_kernel_hands_out() -> None:
    # private: 200 hosts would have to be started to see as many ports
    ports = loopback._free_ports(200)
    assert len(set(ports)) == 200
    assert all(port in loopback.PORTS for port in ports)


def test_programs_are_searched_for_in_sbin_too(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {"/usr/sbin", "/sbin"} <= set(tools.SEARCH_PATH.split(":"))
    monkeypatch.setattr(tools, "SEARCH_PATH", "/nowhere")
    with pytest.raises(ProviderError, match="apt-get install -y tini"):
        tools.find("tini")

"""VPNs found by name, and what becomes of their secrets."""

from __future__ import annotations

from pathlib import Path

import pytest

from perfkit.errors import ConfigError
from perfkit.model import Role
from perfkit.runs import folder
from perfkit.vpn.base import destroy_secrets, get_vpn, vpn_names
from perfkit.vpn.openvpn.ca import Authority

RESOURCES = Path(__file__).parents[3] / "resources"


def test_openvpn_is_found_like_anybody_elses_vpn() -> None:
    assert "openvpn" in vpn_names()
    vpn = get_vpn("openvpn", RESOURCES)
    assert vpn is not None
    assert vpn.traits.name == "openvpn"


def test_none_is_no_vpn() -> None:
    assert get_vpn("none", RESOURCES) is None


@pytest.mark.parametrize("name", ["openvpm", "no-such-vpn", ""])
def test_a_vpn_that_nobody_has_is_refused_with_the_names_there_are(name: str) -> None:
    with pytest.raises(ConfigError, match="no such VPN") as caught:
        get_vpn(name, RESOURCES)
    assert "openvpn" in str(caught.value)


@pytest.mark.parametrize("folder_name", ["vpn", "openvpn"])  # the latter in runs of perfkit 0.1
def test_a_released_run_holds_no_private_key_of_its_vpn(tmp_path: Path, folder_name: str) -> None:
    run = folder.create(tmp_path, "done", {})
    authority = Authority(run.keys_dir)
    bundle = run.host_dir("client-001") / "bundle" / folder_name
    bundle.mkdir(parents=True)
    (bundle / "host.key").write_text(authority.issue("client-001", Role.CLIENT).key)
    (bundle / "tls-crypt.key").write_text(authority.tls_crypt_key)
    gone = destroy_secrets(run)
    assert len(gone) == 4
    texts = [path.read_text() for path in run.root.rglob("*") if path.is_file()]
    assert not [text for text in texts if "PRIVATE KEY" in text or "Static key" in text]
    assert destroy_secrets(run) == []

"""What every VPN must do: one suite, which ships with perfkit, for OpenVPN and for anybody's."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from wheels import install_example, run_beside

pytest.register_assert_rewrite("perfkit.testing.vpn_contract")

from perfkit.testing.vpn_contract import VpnContract, VpnOnHostsContract  # noqa: E402 -- rewritten first

RESOURCES = Path(__file__).parents[2] / "resources"
EXAMPLE = Path(__file__).parents[1] / "data" / "example_vpn"
OWN_DEVICE = "myvpn0"


def with_own_device(folder: Path) -> Path:
    """The shipped templates with the user's own `dev` line."""
    shutil.copytree(RESOURCES / "openvpn", folder / "openvpn")
    for path in (folder / "openvpn").iterdir():
        text = path.read_text()
        assert "\ndev tun0\n" in text
        path.write_text(text.replace("\ndev tun0\n", f"\ndev {OWN_DEVICE}\ndev-type tun\n"))
    return folder


class OpenVpn:
    option = ("sndbuf", "65536")

    @pytest.fixture
    def name(self) -> str:
        return "openvpn"

    @pytest.fixture
    def resources_dir(self) -> Path:
        return RESOURCES


class OpenVpnWithOwnDevice(OpenVpn):
    @pytest.fixture
    def resources_dir(self, tmp_path: Path) -> Path:
        return with_own_device(tmp_path / "own")


class TestOpenVpn(OpenVpn, VpnContract): ...


class TestOpenVpnWithOwnDevice(OpenVpnWithOwnDevice, VpnContract): ...


@pytest.fixture
def needs_openvpn(needs_tools: Callable[..., None]) -> None:
    needs_tools("openvpn", "sshd", "ip", "ping")


@pytest.mark.root
@pytest.mark.usefixtures("needs_openvpn")
class TestOpenVpnOnHosts(OpenVpn, VpnOnHostsContract): ...


@pytest.mark.root
@pytest.mark.usefixtures("needs_openvpn")
class TestOpenVpnWithOwnDeviceOnHosts(OpenVpnWithOwnDevice, VpnOnHostsContract): ...


class WireGuard:
    option = ("mtu", "1380")

    @pytest.fixture
    def name(self) -> str:
        return "wireguard"

    @pytest.fixture
    def resources_dir(self) -> Path:
        return RESOURCES


class TestWireGuard(WireGuard, VpnContract): ...


@pytest.fixture
def needs_wireguard(needs_tools: Callable[..., None]) -> None:
    needs_tools("wg", "wireguard-go", "sshd", "ip", "ping")


@pytest.mark.root
@pytest.mark.usefixtures("needs_wireguard")
class TestWireGuardOnHosts(WireGuard, VpnOnHostsContract): ...


THIRD_PARTY = """
from pathlib import Path

import pytest

pytest.register_assert_rewrite("perfkit.testing.vpn_contract")

from perfkit.testing.vpn_contract import SUITE


class TestString(SUITE):
    option = ("mtu", "1200")

    @pytest.fixture
    def name(self):
        return "string"

    @pytest.fixture
    def resources_dir(self):
        return Path("source/resources").resolve()
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example, built and installed by pip into a folder of its own."""
    return install_example(EXAMPLE, tmp_path_factory.mktemp("third-party"))


@pytest.mark.parametrize(
    ("suite", "promises"),
    [
        ("VpnContract", 14),
        pytest.param("VpnOnHostsContract", 10, marks=pytest.mark.root),
    ],
)
def test_somebody_elses_vpn_keeps_the_contract(installed: Path, suite: str, promises: int) -> None:
    (installed / f"test_{suite}.py").write_text(THIRD_PARTY.replace("SUITE", suite))
    done = run_beside(installed, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"test_{suite}.py")
    assert done.returncode == 0, done.stdout[-3000:]
    assert f"{promises} passed" in done.stdout


def test_a_wrong_name_lists_somebody_elses_vpn_too(installed: Path) -> None:
    code = "from pathlib import Path; from perfkit.vpn.base import *; get_vpn('strin', Path())"
    done = run_beside(installed, "-c", code)
    assert "did you mean 'string'?" in done.stderr

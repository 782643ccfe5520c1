"""OpenVPN as perfkit runs it: its templates, its files on a host, how it is started and stopped.

The templates `resources/openvpn/server.conf` and `client.conf` are the user's: cipher, transport,
buffers and device are what stands there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from perfkit.errors import ConfigError
from perfkit.model import Host, Role
from perfkit.runs.folder import Run
from perfkit.vpn.base import CHECK, IPV6, START, STOP, Changes, LastWords, Program, VpnTraits
from perfkit.vpn.openvpn import options
from perfkit.vpn.openvpn.scripts import scripts
from perfkit.vpn.plan import SPARE_CLIENTS, TunnelPlan
from perfkit.vpn.template_text import fill_in, text_of

if TYPE_CHECKING:
    from perfkit.vpn.openvpn.ca import Authority

_DEVICE = re.compile(r"(?m)^[ \t]*dev[ \t]+(\S+)")
_NAMED = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,14}")  # 15 bytes, as the kernel takes

# What OpenVPN logs when waiting is of no use. On the server the lines about certificates and
# ciphers are about whoever tried to connect, so they say nothing of the server itself.
_FATAL = (
    "Options error",
    "Cannot open TUN/TAP",
    "Cannot ioctl TUNSETIFF",
    "Failed to open tun/tap",
    "Socket bind failed",
)
_REFUSED = (
    "AUTH_FAILED",
    "VERIFY .*ERROR",
    "certificate verify failed",
    "OPTIONS ERROR",
    "no (common|shared) cipher",
    "unsupported protocol",
    "no protocols available",
    "alert (unknown ca|bad certificate|certificate|handshake failure|protocol version)",
)
_ENDINGS = ("process exiting", "due to fatal error")


class OpenVpn:
    """OpenVPN 2; see `perfkit.vpn.base.Vpn`.

    Raises:
        ConfigError: a template is missing, or names no device; an option of `changes` is no option
            or perfkit needs it as it is.
    """

    secrets: ClassVar[tuple[str, ...]] = (
        "keys/ca.key",
        "keys/tls-crypt.key",
        "hosts/*/bundle/vpn/*.key",
        "hosts/*/bundle/openvpn/*.key",  # of runs made by perfkit 0.1
    )
    programs: ClassVar[tuple[Program, ...]] = (
        Program(name="openvpn", apt="openvpn", dnf="openvpn"),
    )

    def __init__(self, resources_dir: Path, changes: Changes | None = None) -> None:
        changes = changes or Changes()
        options.check(changes)
        self._resources_dir, self._changes = resources_dir, changes
        self._program = changes.binary or "openvpn"
        self._templates = {role: resources_dir / "openvpn" / f"{role}.conf" for role in Role}
        self._confs: dict[Role, str] = {}
        self._authority: Authority | None = None
        self.traits = VpnTraits(
            name="openvpn",
            title="OpenVPN",
            devices={role: _device(path) for role, path in self._templates.items()},
            single_core=True,
            logs=("openvpn.log", "openvpn-status.log"),
            pid_file="vpn/openvpn.pid",
            version_command=(self._program, "--version"),
            secrets=self.secrets,
            carries_ipv6=True,
        )

    def changed(self, changes: Changes) -> OpenVpn:
        """OpenVPN with options that stand instead of a template's lines of the same name."""
        return OpenVpn(self._resources_dir, changes)

    def prepare(self, run: Run, plan: TunnelPlan) -> None:
        """Fill the templates in and open the run's certificate authority."""
        from perfkit.vpn.openvpn.ca import Authority  # noqa: PLC0415 -- loads cryptography

        values = template_values(plan, options.protocol(self._changes))
        self._confs = {
            role: options.with_options(fill_in(path, values), role, self._changes)
            for role, path in self._templates.items()
        }
        if self._changes.inside_ip == IPV6:
            conf = self._confs[Role.SERVER]
            self._confs[Role.SERVER] = f"{conf.rstrip()}\nserver-ipv6 {plan.network_6}\n"
        self._authority = Authority(run.keys_dir)

    def files(self, host: Host, earlier: Path) -> Mapping[str, bytes]:
        """Configuration, certificates, this host's own key, and the three scripts."""
        authority = self._authority
        assert authority is not None, "prepare comes first"
        start, stop, check = scripts(host.role, self._program)
        texts = {
            f"{host.role}.conf": self._confs[host.role],
            START: start,
            STOP: stop,
            CHECK: check,
            "ca.crt": authority.certificate,
            "tls-crypt.key": authority.tls_crypt_key,
        }
        if host.role is Role.SERVER:
            texts["crl.pem"] = authority.crl
        files = {name: text.encode() for name, text in texts.items()}
        if (earlier / "host.crt").exists():  # written last: there = complete
            return files | {
                name: (earlier / name).read_bytes() for name in ("host.key", "host.crt")
            }
        issued = authority.issue(host.name, host.role)
        return files | {"host.key": issued.key.encode(), "host.crt": issued.certificate.encode()}

    def last_words(self, role: Role) -> LastWords:
        """A client that is refused never connects; a server goes on whoever it refuses."""
        refused = _REFUSED if role is Role.CLIENT else ()
        return LastWords(
            patterns=(*_FATAL, *refused), is_final=role is Role.CLIENT, endings=_ENDINGS
        )


def template_values(plan: TunnelPlan, proto: str = "udp") -> dict[str, str]:
    """What the templates in resources/openvpn may name.

    OpenVPN's server listens to IPv6 only if told so, as `udp6`; then to both.
    """
    family = "6" if ":" in plan.server_address else ""
    return {
        "server_address": plan.server_address,
        "port": str(plan.port),
        "proto": f"{proto}{family}",
        "network": str(plan.network.network_address),
        "netmask": str(plan.network.netmask),
        "max_clients": str(plan.clients + SPARE_CLIENTS),
    }


def _device(template: Path) -> str:
    """The device that a template names.

    Raises:
        ConfigError: it names none, or leaves the choice of a number to OpenVPN.
    """
    found = _DEVICE.findall(text_of(template))
    name = found[-1] if found else ""
    if not _NAMED.fullmatch(name) or name in {"tun", "tap", "null"}:
        raise ConfigError(
            str(template),
            "dev",
            name,
            "no device by name, so nobody knows which one is the tunnel's",
            "write `dev tun0`, or another name and `dev-type tun`",
        )
    return name

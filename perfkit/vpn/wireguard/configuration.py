"""WireGuard as perfkit runs it: its templates, its files on a host, how it is started and stopped.

The kernel's WireGuard is used where it has one, else `wireguard-go`, a process; which one, each host
says. The controller makes all keys, so the server's file names every client of the run before any is
there, and a client needs nothing but the server's public key.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from perfkit.errors import ConfigError, RunError
from perfkit.model import Host, Role
from perfkit.runs.folder import Run
from perfkit.vpn.base import CHECK, IPV6, START, STOP, Changes, LastWords, Program, VpnTraits
from perfkit.vpn.plan import TunnelPlan
from perfkit.vpn.wireguard import templates
from perfkit.vpn.wireguard.scripts import (
    IMPLEMENTATION_COMMAND,
    KERNEL_MODULE,
    LOG,
    PEERS_LOG,
    SAMPLE,
    scripts,
)

if TYPE_CHECKING:
    from perfkit.vpn.wireguard.keys import HostKeys

_KEY, _CONF, _INTERFACE, _NAMES = "wireguard.key", "wireguard.conf", "interface", "names"


class WireGuard:
    """WireGuard; see `perfkit.vpn.base.Vpn`.

    Raises:
        ConfigError: a template is missing, or names no device; an option of `changes` is no option
            or perfkit needs it as it is.
    """

    secrets: ClassVar[tuple[str, ...]] = ("keys/wireguard.secret", f"hosts/*/bundle/vpn/{_KEY}")
    programs: ClassVar[tuple[Program, ...]] = (
        Program(name="wg", apt="wireguard-tools", dnf="wireguard-tools"),
        Program(
            name="wireguard-go",
            apt="wireguard-go",
            dnf="wireguard-go",
            unless=KERNEL_MODULE,
            # It watches its own socket; 12 threads on two processors, each with a process number
            # as the 14 have that any other VPN's host takes for itself and a test.
            takes={"fs.inotify.max_user_instances": 1, "kernel.pid_max": 26},
        ),
    )

    _plan: TunnelPlan  # both are there once `prepare` was called
    _keys: HostKeys

    def __init__(self, resources_dir: Path, changes: Changes | None = None) -> None:
        changes = changes or Changes()
        templates.check(changes)
        self._resources_dir, self._changes = resources_dir, changes
        self._templates = {role: resources_dir / "wireguard" / f"{role}.conf" for role in Role}
        self.traits = VpnTraits(
            name="wireguard",
            title="WireGuard",
            devices={role: templates.device_of(path) for role, path in self._templates.items()},
            single_core=False,
            logs=(LOG, PEERS_LOG),
            pid_file="vpn/wireguard.pid",
            version_command=IMPLEMENTATION_COMMAND,
            secrets=self.secrets,
            carries_ipv6=True,
        )

    def changed(self, changes: Changes) -> WireGuard:
        """WireGuard with options that stand instead of a template's lines of the same name."""
        return WireGuard(self._resources_dir, changes)

    def prepare(self, run: Run, plan: TunnelPlan) -> None:
        """Try the templates, and make the secret that all keys of the run come from."""
        from perfkit.vpn.wireguard.keys import HostKeys  # noqa: PLC0415 -- loads cryptography

        room = plan.network.num_addresses - 3  # the network, the server, the broadcast
        if plan.clients > room:
            remedy = f"ask for at most {room}"
            problem = f"the tunnel's network {plan.network} has no addresses for so many"
            raise ConfigError("parameters", "clients", plan.clients, problem, remedy)
        self._plan = plan
        for role in Role:
            self._settings(role, 1 if role is Role.SERVER else 2)
        self._keys = HostKeys(run.keys_dir)

    def files(self, host: Host, earlier: Path) -> Mapping[str, bytes]:
        """Configuration, this host's own key, and the scripts; the server's names all clients."""
        del earlier  # all is made from the run's secret, so nothing needs to be kept
        assert hasattr(self, "_keys"), "prepare comes first"
        place = self._place(host)
        settings = self._settings(host.role, place)
        start, stop, check, sample = scripts(host.role, settings.device, self._changes.binary)
        texts = {
            START: start,
            STOP: stop,
            CHECK: check,
            _INTERFACE: f"address={settings.address}\n{self._address_6(place)}mtu={settings.mtu}\n",
            _CONF: self._conf(host.role, settings),
            _KEY: f"{self._keys.of(host.name).private}\n",
        }
        if host.role is Role.SERVER:
            texts |= {SAMPLE: sample, _NAMES: self._names()}
        return {name: text.encode() for name, text in texts.items()}

    def last_words(self, role: Role) -> LastWords:
        """What keeps its device from being made; whoever is not let in hears nothing."""
        del role
        return LastWords(
            patterns=(
                "Failed to create TUN device",
                "Failed to listen on uapi socket",
                "^failed: ",
            ),
            is_final=True,
            endings=("Shutting down",),
        )

    @property
    def _is_dual(self) -> bool:
        """Whether hosts have an address of IPv6 as well."""
        return self._changes.inside_ip == IPV6

    def _address_6(self, place: int) -> str:
        network = self._plan.network_6
        return f"address_6={network[place]}/{network.prefixlen}\n" if self._is_dual else ""

    def _allowed(self, place: int) -> str:
        """What a client may send from."""
        own = f"{self._plan.network[place]}/32"
        return f"{own}, {self._plan.network_6[place]}/128" if self._is_dual else own

    def _settings(self, role: Role, place: int) -> templates.FilledTemplate:
        server = self._plan.server_address
        values = {
            "port": str(self._plan.port),
            "address": f"{self._plan.network[place]}/{self._plan.network.prefixlen}",
        }
        if role is Role.CLIENT:
            values["server_address"] = f"[{server}]" if ":" in server else server
            own = [str(self._plan.network), *([str(self._plan.network_6)] if self._is_dual else [])]
            values["network"] = ", ".join(own)
        settings = templates.read(self._templates[role], values)
        return settings.with_options(self._changes.options.get(role, {}))

    def _place(self, host: Host) -> int:
        """Which address of the tunnel's is a host's, by its place among the run's names.

        Raises:
            RunError: the run has no client of that name.
        """
        if host.role is Role.SERVER:
            return 1
        names = self._plan.client_names
        if host.name not in names:
            raise RunError(
                f"{host.name}: not one of the {len(names)} clients that the run was planned with, "
                "so the server does not know its key"
            )
        return 2 + names.index(host.name)

    def _conf(self, role: Role, settings: templates.FilledTemplate) -> str:
        """For `wg setconf`, but for the private key."""
        parts = ["[Interface]", *_lines(settings.interface)]
        if role is Role.CLIENT:
            parts += ["[Peer]", f"PublicKey = {self._keys.of('server').public}"]
            parts += _lines(settings.peer)
            return "\n".join(parts) + "\n"
        for place, name in enumerate(self._plan.client_names, start=2):
            parts += ["[Peer]", f"PublicKey = {self._keys.of(name).public}"]
            parts += [f"AllowedIPs = {self._allowed(place)}", *_lines(settings.peer)]
        return "\n".join(parts) + "\n"

    def _names(self) -> str:
        """The head of the log of peers: whose key is whose."""
        return "".join(
            f"# peer {self._keys.of(name).public} {name}\n" for name in self._plan.client_names
        )


def _lines(values: Mapping[str, str]) -> list[str]:
    return [f"{key} = {value}" for key, value in values.items()]

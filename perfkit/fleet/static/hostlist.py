"""config/static.conf and ~/.ssh/config in, the machines that a run may use out.

A section of the file is a machine. What it leaves out is taken from the user's own ssh_config, as
OpenSSH itself reads it (`ssh -G`), then from ssh.conf. Nothing is asked of any machine here.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from perfkit.errors import ConfigError, NotSetUpError, ProviderError, did_you_mean
from perfkit.fleet.packable import check_pool
from perfkit.model import Host, Jump, Role
from perfkit.settings import ini
from perfkit.settings.hosts_conf import SshConf

FILE = "static.conf"
COMMON = "static"  # the section that is no machine
JUMP = "jump"
KEY_TYPES = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ssh-rsa")  # best first

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_HOP = re.compile(  # OpenSSH puts brackets around addresses
    r"(?:(?P<user>[A-Za-z_][A-Za-z0-9._-]*)@)?\[?(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)\]?"
    r"(?::(?P<port>[0-9]{1,5}))?"
)
_NOT_GIVEN = "perfkit.none"  # the user of a host for which ssh_config names none


def _absolute(text: str) -> str:
    """Expand `~`; a quote, a percent or a dollar sign would mean something to ssh_config."""
    path = os.path.expanduser(text)  # noqa: PTH111 -- Path would turn "" into "."
    if text and (not path.startswith("/") or not path.isprintable() or set(path) & set("\"%$'\\")):
        raise ValueError("an absolute path, or one that begins with ~/, is needed")
    return path


def _address(text: str) -> str:
    """An address of IPv4 or IPv6, as programs print it; one that means the same on all hosts."""
    if not text:
        return text
    address = ip_address(text)
    if address.is_link_local:
        raise ValueError("a link-local address, which is valid on one link only")
    return str(address)


def _place(text: str) -> str:
    """A name or an address: what has a colon is an IPv6 address, and no `host:port`."""
    if ":" not in text:
        return text
    try:
        return _address(text)
    except ValueError as exc:
        if "link-local" in str(exc):
            raise
        raise ValueError("neither a name nor an address; the port has its own key") from exc


PlaceText = Annotated[str, AfterValidator(_place)]
AddressText = Annotated[str, AfterValidator(_address)]
PoolText = Annotated[str, AfterValidator(partial(check_pool, widest=8))]
PathText = Annotated[str, AfterValidator(_absolute)]


class CommonConf(ini.Section):
    """Section [static]: what holds for all machines."""

    ssh_config: PathText = Field("~/.ssh/config", validate_default=True)
    known_hosts: PathText = Field("", description="a known_hosts file that you trust")
    # So plain a path is the same to a shell, to grep and to ssh.
    workdir: str = Field(
        "/var/lib/perfkit",
        pattern=r"^(/[A-Za-z0-9_-]+){2,}$",
        description="a folder of perfkit's own on every host, like /var/lib/perfkit",
    )
    packed_pool: PoolText = Field("198.18.0.0/15", description="addresses of packed hosts")
    tunnel: bool = Field(default=True, description="yes, or no: hosts cannot or must not have one")


class HostConf(ini.Section):
    """One machine; an empty value is taken from ssh_config, then from ssh.conf."""

    role: Literal["server", "client", "jump"]
    address: PlaceText = Field(
        "",
        pattern=r"^([A-Za-z0-9:][A-Za-z0-9._:-]*)?$",
        description="an address, or a name of ~/.ssh/config; empty: the section's name",
    )
    traffic_address: AddressText = Field("", description="an address of the host")
    user: str = Field("", pattern=r"^([A-Za-z_][A-Za-z0-9._-]*)?$")
    key_file: PathText = Field("", description="path of a private key, absolute or with ~/")
    port: int = Field(0, ge=0, le=65_535)
    jump: str = Field("", description="name of another section")
    host_key: str = Field(
        "",
        pattern=rf"^(({'|'.join(KEY_TYPES)}) [A-Za-z0-9+/]+=*)?$",
        description="the host's public key, ssh-ed25519 AAAA…; `perfkit trust` writes it",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A machine as the file describes it.

    Attributes:
        name: Its section, or its name in ssh_config.
        role: None for a jump host.
        host_key: Empty: nobody has said yet which key is the right one.
        key_file: Empty: none is known.
        traffic_address: Empty: the tests' traffic takes `address`.
    """

    name: str
    role: Role | None
    address: str
    port: int
    user: str
    key_file: str
    host_key: str
    jump: Machine | None = None
    traffic_address: str = ""

    def __str__(self) -> str:
        where = self.address if self.port == 22 else f"{self.address}:{self.port}"
        through = f" through {self.jump.name}" if self.jump else ""
        return f"{self.name} ({self.user}@{where}{through})"

    def to_host(self, name: str, **more: Any) -> Host:
        """It as a host of a run under a name; `more` is what is not said here."""
        assert self.role is not None
        return Host(
            name=name,
            role=self.role,
            **_place_of(self),
            jump=self.jump.to_jump() if self.jump else None,
            **more,
        )

    def to_jump(self) -> Jump:
        """It as a jump host."""
        return Jump(name=self.name, **_place_of(self))


def _place_of(machine: Machine) -> dict[str, Any]:
    shared = ("address", "port", "user", "key_file", "host_key")
    return {key: getattr(machine, key) for key in shared}


@dataclass(frozen=True, slots=True, kw_only=True)
class HostList:
    """The whole file: servers and clients in its order, jump hosts besides."""

    path: Path
    common: CommonConf
    machines: tuple[Machine, ...]

    @property
    def hosts(self) -> tuple[Machine, ...]:
        """The machines that can be hosts of a run."""
        return tuple(machine for machine in self.machines if machine.role is not None)

    @property
    def places(self) -> tuple[Machine, ...]:
        """All that is logged in to: hosts and jump hosts, each once."""
        jumps = [machine.jump for machine in self.machines if machine.jump]
        return tuple({machine.name: machine for machine in (*jumps, *self.machines)}.values())

    def of_role(self, role: Role) -> list[Machine]:
        """The machines of a role, in the file's order."""
        return [machine for machine in self.machines if machine.role is role]


def load(config_dir: Path) -> HostList:
    """Read static.conf.

    Raises:
        NotSetUpError: there is none; the sample names no machine of yours.
        ConfigError: the first thing that is wrong in it, with its remedy.
    """
    path, parser = ini.read_ini(config_dir, "static")
    if path.name != FILE:
        raise NotSetUpError(
            f"{config_dir / FILE}: not there; copy {FILE}.sample and name your hosts in it"
        )
    sections = {name: dict(parser[name]) for name in parser.sections()}
    common = ini.validate(CommonConf, sections.pop(COMMON, {}), source=f"{FILE} [{COMMON}]")
    confs = {}
    for name, keys in sections.items():
        if not _NAME.fullmatch(name):
            remedy = "use letters, digits, '.', '_' and '-'"
            raise ConfigError(FILE, "section", name, "not a host's name", remedy)
        confs[name] = ini.validate(HostConf, keys, source=f"{FILE} [{name}]")
    reader = _Reader(confs, common, ini.load(config_dir, "ssh", SshConf))
    found = HostList(
        path=path, common=common, machines=tuple(reader.machine(name) for name in confs)
    )
    _check(found)
    return found


def _check(found: HostList) -> None:
    for role in Role:
        if not found.of_role(role):
            raise ConfigError(
                FILE, "role", role.value, "no section has it", "a run has a server and clients"
            )
    seen: dict[tuple[str, int], str] = {}
    for machine in found.places:
        other = seen.setdefault((machine.address, machine.port), machine.name)
        if other != machine.name:
            raise ConfigError(
                f"{FILE} [{machine.name}]",
                "address",
                machine.address,
                f"[{other}] has the same",
                "a run uses a machine once",
            )


class _Reader:
    """Fills in what the sections leave out."""

    def __init__(self, confs: Mapping[str, HostConf], common: CommonConf, ssh: SshConf) -> None:
        self._confs, self._common, self._ssh = confs, common, ssh
        has_file = Path(common.ssh_config).exists()
        if not has_file and "ssh_config" in common.model_fields_set:
            source = f"{FILE} [{COMMON}]"
            raise ConfigError(source, "ssh_config", common.ssh_config, "not found", "fix the path")
        self._ssh_config = common.ssh_config if has_file else "none"
        self._defaults = self._options("none.invalid", "none") if has_file else {}

    def machine(self, name: str, *, before: str = "") -> Machine:
        """The machine of a section.

        Args:
            before: The machine that it is the jump host of.
        """
        given = self._confs[name]
        role = None if given.role == JUMP else Role(given.role)
        found = self._looked_up(name, given.address or name, role=role, before=before)
        hop = found.jump
        if given.jump:
            hop = self._jump(name, given.jump, before=before)
        return replace(
            found,
            user=given.user or found.user,
            port=given.port or found.port,
            key_file=given.key_file or found.key_file,
            host_key=given.host_key or found.host_key,
            jump=hop,
            traffic_address=given.traffic_address,
        )

    def _jump(self, name: str, wanted: str, *, before: str) -> Machine:
        _require_single(before, name, wanted)
        others = {other: given for other, given in self._confs.items() if other != name}
        jumps = [other for other, given in others.items() if given.role == JUMP]
        if wanted not in others:
            raise ConfigError(
                f"{FILE} [{name}]",
                "jump",
                wanted,
                "no other section is called so",
                did_you_mean(wanted, jumps) if jumps else f"add [{wanted}] with role = jump",
            )
        return self.machine(wanted, before=name)

    def _looked_up(self, name: str, alias: str, *, role: Role | None, before: str) -> Machine:
        """What ssh_config, ssh.conf and known_hosts say of a machine."""
        options = {} if self._ssh_config == "none" else self._options(alias, self._ssh_config)
        own = {key: value for key, value in options.items() if value != self._defaults.get(key)}
        address = own.get("hostname", [alias])[0]
        port = int(own.get("port", ["22"])[0])
        pinned = (own["hostkeyalias"][0], 22) if "hostkeyalias" in own else (address, port)
        user = own.get("user", [self._ssh.user])[0]
        tokens = {"%%": "%", "%d": "~", "%h": address, "%n": alias, "%p": str(port), "%r": user}
        keys = [
            Path(re.sub("%.", lambda token: tokens.get(token[0], token[0]), path)).expanduser()
            for path in own.get("identityfile", [])
        ]
        key_file = next((str(path) for path in keys if path.is_file()), self._ssh.key_file)
        return Machine(
            name=name,
            role=role,
            address=address,
            port=port,
            user=user,
            key_file=_absolute(key_file),
            host_key=find_known_key(self._common.known_hosts, *pinned),
            jump=self._hop(name, own, before=before),
        )

    def _hop(self, name: str, own: Mapping[str, list[str]], *, before: str) -> Machine | None:
        """The ProxyJump of ssh_config: a section of ours, or another name there."""
        source = f"{self._common.ssh_config}, for {FILE} [{name}]"
        if own.get("proxycommand", ["none"]) != ["none"]:
            remedy = "write it as ProxyJump, or name a jump host in the section"
            raise ConfigError(
                source, "ProxyCommand", own["proxycommand"][0], "not supported", remedy
            )
        written = own.get("proxyjump", ["none"])[0]
        if written == "none":
            return None
        parts = _HOP.fullmatch(written)
        if parts is None:
            raise ConfigError(source, "ProxyJump", written, "not one host", "name one jump host")
        wanted = parts["name"]
        known = [key for key, given in self._confs.items() if wanted in (key, given.address)]
        if known:
            return self._jump(name, known[0], before=before)
        _require_single(before, name, wanted)
        hop = self._looked_up(wanted, wanted, role=None, before=name)
        port = int(parts["port"] or hop.port)
        pin = find_known_key(self._common.known_hosts, hop.address, port)
        return replace(hop, user=parts["user"] or hop.user, port=port, host_key=pin)

    def _options(self, alias: str, ssh_config: str) -> dict[str, list[str]]:
        """What OpenSSH makes of a name: option in lower case -> its values.

        The first value of an option counts, so a user that comes last is one that nobody gave; left
        to itself, `ssh -G` shows the one who runs it.
        """
        source = f"{FILE} [{COMMON}]"
        with tempfile.NamedTemporaryFile(prefix="perfkit-ssh_config-") as file:
            try:
                file.write(b"" if ssh_config == "none" else Path(ssh_config).read_bytes())
            except OSError as exc:
                problem = exc.strerror or str(exc)
                raise ConfigError(source, "ssh_config", ssh_config, problem, "fix it") from exc
            file.write(f"\nMatch all\n  User {_NOT_GIVEN}\n".encode())
            file.flush()
            done = _run(["ssh", "-G", "-F", file.name, "--", alias])
        if done.returncode != 0:
            said = (done.stderr.strip() or "not readable").splitlines()[-1]
            problem = said.replace(file.name, ssh_config)
            remedy = "fix it, or name another file"
            raise ConfigError(source, "ssh_config", ssh_config, problem, remedy)
        options: dict[str, list[str]] = {}
        for line in done.stdout.splitlines():
            key, _, value = line.partition(" ")
            options.setdefault(key, []).append(value)
        return options


def _require_single(before: str, name: str, wanted: str) -> None:
    if before:
        raise ConfigError(
            f"{FILE} [{before}]",
            "jump",
            f"{wanted},{name}",
            "one jump host on the way is supported",
            "name one that reaches the host directly",
        )


def find_known_key(known_hosts: str, address: str, port: int) -> str:
    """The best key that a known_hosts file, plain or hashed, has for an address; else empty."""
    if not known_hosts or not Path(known_hosts).is_file():
        return ""
    name = address if port == 22 else f"[{address}]:{port}"
    lines = _run(["ssh-keygen", "-F", name, "-f", known_hosts]).stdout.splitlines()
    words = [line.split() for line in lines if line and not line.startswith(("#", "@"))]
    keys = {found[1]: f"{found[1]} {found[2]}" for found in words if len(found) > 2}
    return next((keys[kind] for kind in KEY_TYPES if kind in keys), "")


def _run(argv: list[str]) -> subprocess.CompletedProcess[str]:
    if shutil.which(argv[0]) is None:
        raise ProviderError(
            f"{argv[0]}: not installed here; provider=static needs OpenSSH's client "
            "(apt-get install openssh-client)"
        )
    return subprocess.run(
        argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20, check=False
    )

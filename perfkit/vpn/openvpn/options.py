"""OpenVPN's options as a variant changes them: which may be, and a configuration with them in it."""

from __future__ import annotations

import re
from collections.abc import Mapping

from perfkit.errors import ConfigError
from perfkit.model import Role
from perfkit.vpn.base import Changes, check_mtu

# What perfkit starts, finds, identifies and reads OpenVPN by: the same in all variants of a run.
_OURS = {
    *("dev", "dev-type", "client", "server", "topology", "remote", "port", "lport", "rport"),
    *("server-ipv6", "ifconfig-ipv6", "ifconfig-ipv6-pool"),
    *("ca", "cert", "key", "crl-verify", "tls-crypt"),
    *("cd", "config", "daemon", "log", "log-append", "status", "status-version", "writepid"),
}
_NAME = re.compile(r"[a-z][a-z0-9-]*")
_PROTOCOLS = ("udp", "tcp")


def check(changes: Changes) -> None:
    """See that the options are names of OpenVPN's kind, and that perfkit does not need them.

    Whether OpenVPN knows them, it is asked itself: `perfkit.vpn.openvpn.scripts`.

    Raises:
        ConfigError: the first that is not.
    """
    for role, options in changes.options.items():
        for name, value in options.items():
            key = f"openvpn.{role}.{name}"
            if not _NAME.fullmatch(name):
                remedy = "write it as in OpenVPN's configuration: letters, digits and -"
                raise ConfigError(changes.source, key, value, "not an option's name", remedy)
            if name in _OURS:
                problem = "perfkit needs this option as it is, the same in all variants"
                remedy = "change another one; what all variants share stands in resources/openvpn"
                raise ConfigError(changes.source, key, value, problem, remedy)
            if name == "tun-mtu":
                check_mtu(changes, key, value)
            if not value.isprintable():
                raise ConfigError(changes.source, key, value, "not one line", "write it on one")
    _check_protocol(changes)


def _check_protocol(changes: Changes) -> None:
    chosen = {role: changes.options.get(role, {}).get("proto", "") for role in Role}
    for role, proto in chosen.items():
        if proto and (proto not in _PROTOCOLS or set(chosen.values()) != {proto}):
            problem = f"not the same word of {' and '.join(_PROTOCOLS)} on server and client"
            remedy = "write openvpn.both.proto = tcp, and openvpn.both.explicit-exit-notify = 0"
            raise ConfigError(changes.source, f"openvpn.{role}.proto", proto, problem, remedy)


def protocol(changes: Changes) -> str:
    """The protocol that a variant chooses, else UDP."""
    return changes.options.get(Role.SERVER, {}).get("proto") or "udp"


def with_options(conf: str, role: Role, changes: Changes) -> str:
    """A configuration in which a variant's options stand instead of all lines of the same name.

    Raises:
        ConfigError: a word stands where the configuration has a number: OpenVPN would take 64k for
            64, and go on.
    """
    options: Mapping[str, str] = changes.options.get(role, {})
    for name, value in options.items():
        if name == "proto":  # of the plan: `remote` names it too
            continue
        lines = re.compile(rf"(?m)^[ \t]*{re.escape(name)}(?:[ \t]+(\S.*?))?[ \t]*$\n?")
        found = [match.group(1) or "" for match in lines.finditer(conf)]
        if found and _are_numbers(found[0]) and not _are_numbers(value):
            problem = f"not a number, as in {name} {found[0]}"
            remedy = "write it as OpenVPN takes it, without a unit"
            raise ConfigError(changes.source, f"openvpn.{role}.{name}", value, problem, remedy)
        line = f"{name} {value}".rstrip() + "\n"
        place = lines.search(conf)
        at = place.start() if place else len(conf)
        before = conf[:at] if not conf[:at] or conf[:at].endswith("\n") else f"{conf[:at]}\n"
        conf = before + line + lines.sub("", conf[at:])
    return conf


def _are_numbers(text: str) -> bool:
    return bool(text) and all(re.fullmatch(r"-?\d+", word) for word in text.split())

"""The templates of WireGuard, in the form of wg(8): read, held to what perfkit can do, and changed.

Text in, `FilledTemplate` out; and `FilledTemplate` with a variant's options.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from perfkit.errors import ConfigError, did_you_mean
from perfkit.vpn.base import Changes, check_mtu
from perfkit.vpn.template_text import fill_in, text_of

_INTERFACE, _PEER = "[Interface]", "[Peer]"
# Keys by section: those of wg(8), and three for `ip`.
_KEYS = {
    _INTERFACE: ("Device", "Address", "MTU", "ListenPort", "FwMark"),
    _PEER: ("Endpoint", "AllowedIPs", "PersistentKeepalive"),
}
_OURS = ("PrivateKey", "PublicKey", "PresharedKey")  # the run's own
_DEVICE = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,14}")  # 15 bytes, as the kernel takes
_ADDRESS = re.compile(r"[0-9]{1,3}(\.[0-9]{1,3}){3}/[0-9]{1,2}")
# What a variant may change: the same on all hosts of a role, and nobody finds or knows a host by it.
_OPTIONS: Mapping[str, tuple[str, str, tuple[int, int]]] = {
    "mtu": (_INTERFACE, "MTU", (576, 65535)),
    "fwmark": (_INTERFACE, "FwMark", (0, 2**32 - 1)),
    "persistentkeepalive": (_PEER, "PersistentKeepalive", (0, 65535)),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FilledTemplate:
    """A template's keys, filled in.

    Attributes:
        interface, peer: Values by key, for `wg`.
        mtu: Empty: the device's own.
    """

    device: str
    address: str
    mtu: str
    interface: Mapping[str, str]
    peer: Mapping[str, str]

    def with_options(self, options: Mapping[str, str]) -> FilledTemplate:
        """The same with a variant's options, which `check` has seen."""
        changed = self
        for name, value in options.items():
            section, key, _ = _OPTIONS[name.lower()]
            if key == "MTU":
                changed = replace(changed, mtu=value)
            elif section == _INTERFACE:
                changed = replace(changed, interface={**changed.interface, key: value})
            else:
                changed = replace(changed, peer={**changed.peer, key: value})
        return changed


def check(changes: Changes) -> None:
    """See that the options are some that a variant may change, with values that they can have.

    Raises:
        ConfigError: the first that is not.
    """
    ours = {key.lower() for keys in _KEYS.values() for key in keys} - set(_OPTIONS)
    ours |= {key.lower() for key in _OURS}
    for role, options in changes.options.items():
        for name, value in options.items():
            where = changes.source, f"wireguard.{role}.{name}", value
            if name.lower() in ours:
                problem = "perfkit needs this option as it is, the same in all variants"
                raise ConfigError(*where, problem, f"change one of {', '.join(_OPTIONS)}")
            if name.lower() not in _OPTIONS:
                raise ConfigError(*where, "no such option", did_you_mean(name.lower(), _OPTIONS))
            _, _, (least, most) = _OPTIONS[name.lower()]
            if not (re.fullmatch("[0-9]{1,10}", value) and least <= int(value) <= most):
                problem = f"not a whole number from {least} to {most}"
                raise ConfigError(*where, problem, "write it as wg takes it, without a unit")
            if name.lower() == "mtu":
                check_mtu(changes, where[1], value)


def device_of(template: Path) -> str:
    """The device that a template names.

    Raises:
        ConfigError: the template is not there, or names none.
    """
    found = re.findall(r"(?m)^[ \t]*Device[ \t]*=[ \t]*(\S+)", text_of(template))
    name = found[-1] if found else ""
    if not _DEVICE.fullmatch(name):
        raise ConfigError(
            str(template), "Device", name, "no device by name", "write `Device = wg0` there"
        )
    return str(name)


def read(template: Path, values: Mapping[str, str]) -> FilledTemplate:
    """A template with its ${names} replaced.

    Raises:
        ConfigError: not there, or something in it is not known; the message lists what is.
    """
    found: dict[str, dict[str, str]] = {_INTERFACE: {}, _PEER: {}}
    section = ""
    for number, line in enumerate(fill_in(template, values).splitlines(), start=1):
        text = line.partition("#")[0].strip()
        if text.lower() in {it.lower() for it in found}:
            section = next(it for it in found if it.lower() == text.lower())
        elif text:
            key, value = _key_value(text, section, f"{template} line {number}")
            found[section][key] = value
    interface = found[_INTERFACE]
    device, address, mtu = (interface.pop(key, "") for key in ("Device", "Address", "MTU"))
    if not _ADDRESS.fullmatch(address):
        remedy = "write `Address = ${address}`"
        raise ConfigError(str(template), "Address", address, "not one of the tunnel", remedy)
    if mtu and not re.fullmatch("[0-9]{3,5}", mtu):
        raise ConfigError(str(template), "MTU", mtu, "not a number of bytes", "write 1420")
    return FilledTemplate(
        device=device, address=address, mtu=mtu, interface=interface, peer=found[_PEER]
    )


def _key_value(text: str, section: str, where: str) -> tuple[str, str]:
    name, equals, value = (part.strip() for part in text.partition("="))
    if not equals or not section:
        remedy = "write key = value below [Interface] or [Peer]"
        raise ConfigError(where, "line", text, "no key of a section", remedy)
    known = {key.lower(): key for key in _KEYS[section]}
    if name.lower() in {key.lower() for key in _OURS}:
        raise ConfigError(where, name, "***", "keys are the run's own", "remove the line")
    if name.lower() not in known:
        remedy = did_you_mean(name, known.values())
        raise ConfigError(where, name, value, f"not known in {section}", remedy)
    return known[name.lower()], value

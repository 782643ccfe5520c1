"""The SSH host keys of one run, pinned: a file in OpenSSH's known_hosts format, mode 0600."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path

from perfkit.model import Host
from perfkit.runs.folder import write_atomic

_pinning = threading.Lock()


def pin_name(address: str, port: int) -> str:
    """The name known_hosts gives to an address: `[address]:port` unless the port is 22."""
    return address if port == 22 else f"[{address}]:{port}"


def pin_hosts(known_hosts_path: Path, hosts: Iterable[Host]) -> None:
    """Pin the hosts' keys, replacing older pins of the same addresses; atomic, mode 0600.

    A jump host is pinned with the host behind it. A new host at an address that was used before is
    thereby a host with a new pin, and the old host's key is refused from now on. Thread-safe.
    """
    with _pinning:
        known = _read_pins(known_hosts_path)
        pins = dict(known)
        for host in hosts:
            for place in (host, host.jump):
                if place is not None:
                    pin = " ".join(place.host_key.split()[:2])
                    pins[pin_name(place.address, place.port)] = pin
        if pins != known or not known_hosts_path.exists():
            text = "".join(f"{name} {key}\n" for name, key in pins.items())
            write_atomic(known_hosts_path, text.encode())


def find_pin(known_hosts_path: Path, address: str, port: int) -> str | None:
    """The pinned key of an address, `ssh-ed25519 AAAA…`; None when there is none."""
    return _read_pins(known_hosts_path).get(pin_name(address, port))


def _read_pins(path: Path) -> Mapping[str, str]:
    """Key by name, the first of each name; the file is parsed once as long as it is the same."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return {}
    return _parse(path, found.st_ino, found.st_mtime_ns, found.st_size)


@lru_cache(maxsize=4)
def _parse(path: Path, *_state: int) -> Mapping[str, str]:
    pins: dict[str, str] = {}
    for line in path.read_text().splitlines():
        name, _, key = line.partition(" ")
        if key and not line.startswith("#"):
            pins.setdefault(name, key)
    return pins

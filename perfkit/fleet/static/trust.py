"""Host keys of existing machines: fetched and shown, and written down once a person has said yes.

Nothing here trusts a key by itself: `fetch` only shows, `pin` writes what it is given, and between
them stands whoever has compared the fingerprint with what the machine's own console says.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from perfkit.errors import ConfigError, did_you_mean
from perfkit.fleet.static import hostlist
from perfkit.fleet.static.host_agents import HostAgents
from perfkit.fleet.static.hostlist import FILE, Machine
from perfkit.runs.folder import write_atomic
from perfkit.ssh.keys import fingerprint

_HEADER = re.compile(r"\s*\[(?P<name>[^\]]*)\]")
_HOST_KEY = re.compile(r"\s*host_key\s*[=:]")


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownKey:
    """The key that a machine shows now, and the one it is known by."""

    machine: Machine
    host_key: str

    @property
    def is_known(self) -> bool:
        """It is the pinned one."""
        return self.host_key == self.machine.host_key

    @property
    def fingerprint(self) -> str:
        """As `ssh-keygen -l` prints it."""
        return fingerprint(self.host_key)

    def __str__(self) -> str:
        kind = self.host_key.split()[0]
        lines = [f"{self.machine} shows", f"  {kind} {self.fingerprint}"]
        if self.is_known:
            lines.append("  which is pinned already")
        elif self.machine.host_key:
            lines += [
                f"  ANOTHER KEY than the pinned one, {fingerprint(self.machine.host_key)}:",
                "  either the machine was reinstalled, or another one answers at its address",
            ]
        return "\n".join(lines)


def names_to_ask(config_dir: Path, names: tuple[str, ...] = ()) -> list[str]:
    """The machines meant: those named, else all without a pin; jump hosts come first.

    Raises:
        ConfigError: static.conf has no machine of that name.
    """
    places = hostlist.load(config_dir).places
    known = [place.name for place in places]
    for name in names:
        if name not in known:
            raise ConfigError(FILE, "section", name, "no such machine", did_you_mean(name, known))
    wanted = [p for p in places if p.name in names or (not names and not p.host_key)]
    return [place.name for place in sorted(wanted, key=lambda place: place.jump is not None)]


def fetch(config_dir: Path, name: str) -> ShownKey:
    """Ask one machine for its key; it is logged in to by nobody, and nothing is kept.

    Raises:
        UnreachableError: it does not answer, or its jump host is not pinned.
    """
    places = hostlist.load(config_dir).places
    machine = next(place for place in places if place.name == name)
    return ShownKey(machine=machine, host_key=HostAgents().fetch_host_key(machine))


def pin(config_dir: Path, shown: ShownKey) -> Path:
    """Write the key into the machine's section of static.conf, and nothing else; returns the file."""
    path = config_dir / FILE
    text = with_key(path.read_text(encoding="utf-8"), shown.machine, shown.host_key)
    write_atomic(path, text.encode(), path.stat().st_mode & 0o777)
    return path


def with_key(text: str, machine: Machine, host_key: str) -> str:
    """The file's text with the key; a jump host known from ssh_config only gets a section."""
    line = f"host_key = {host_key}\n"
    out: list[str] = []
    section, found = None, False
    for old in text.splitlines(keepends=True):
        header = _HEADER.match(old)
        section = header["name"] if header else section
        if section == machine.name and _HOST_KEY.match(old):
            continue
        out.append(old if old.endswith("\n") else f"{old}\n")
        if header and section == machine.name:
            out.append(line)
            found = True
    if not found:
        place = [f"address = {machine.address}\n", f"port = {machine.port}\n"]
        out += [f"\n[{machine.name}]\n", "role = jump\n", *place, f"user = {machine.user}\n", line]
    return "".join(out)

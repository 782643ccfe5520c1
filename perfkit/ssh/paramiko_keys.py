"""Keys as paramiko wants them: that of a login, from its file or ssh-agent; a pin; one that is shown.

Part of the boundary to paramiko, with `perfkit.ssh.connection`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import paramiko
import paramiko.hostkeys
import paramiko.pkey

from perfkit.errors import UnreachableError
from perfkit.model import Host, Jump
from perfkit.ssh.access import Access
from perfkit.ssh.foreign_errors import FOREIGN, unreachable
from perfkit.ssh.jump_hosts import JumpHosts
from perfkit.ssh.keys import has_passphrase, key_file_fault, passphrase_fault
from perfkit.ssh.known_hosts import find_pin, pin_name

HOST_KEY_KINDS = (  # that can be pinned, best first
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "rsa-sha2-512",
    "rsa-sha2-256",
)


@contextlib.contextmanager
def login_key(host: str, path: Path) -> Iterator[paramiko.PKey]:
    """The key of a file, while it is being used.

    Raises:
        UnreachableError: why it cannot be used, of the host that it is for.
    """
    fault = key_file_fault(path)
    if fault:
        raise UnreachableError(host, fault)
    try:
        protected = has_passphrase(path)
        key = _key_of_agent(path) if protected else _load(path, path.stat().st_mtime_ns)
    except (*FOREIGN, ValueError, TypeError, paramiko.pkey.UnknownKeyType) as exc:
        raise UnreachableError(host, f"the key {path} cannot be used: {exc}") from exc
    if key is None:
        raise UnreachableError(host, passphrase_fault(path))
    try:
        yield key
    finally:
        if isinstance(key, paramiko.AgentKey):
            key.agent.close()  # type: ignore[attr-defined] # it is an Agent


def pinned_key(host: Host | Jump, known_hosts_path: Path | None) -> paramiko.hostkeys.HostKeyEntry:
    """The key that a host must show.

    Args:
        known_hosts_path: The file of pins; None: the one that the host is described with.

    Raises:
        UnreachableError: there is none.
    """
    where, pin = pin_name(host.address, host.port), host.host_key
    if known_hosts_path is not None:
        pin = find_pin(known_hosts_path, host.address, host.port) or ""
    try:
        entry = paramiko.hostkeys.HostKeyEntry.from_line(f"{where} {pin}") if pin else None
    except paramiko.hostkeys.InvalidHostKey:
        entry = None
    if entry is None:
        raise UnreachableError(
            host.name,
            f"{where}: no host key is pinned{f' in {known_hosts_path}' if known_hosts_path else ''}; "
            "hosts are pinned at launch, and an unknown host is not trusted",
        )
    return entry


def fetch_host_key(place: Host | Jump, access: Access, jump_hosts: JumpHosts) -> str:
    """The public key that an SSH server shows now; nobody logs in to it, and nothing is trusted.

    Raises:
        UnreachableError: it, or the jump host before it, does not answer.
    """
    limit_s = access.connect_timeout_s
    try:
        transport = paramiko.Transport(jump_hosts.dial(place, limit_s))
        with contextlib.closing(transport):
            transport.get_security_options().key_types = HOST_KEY_KINDS
            transport.banner_timeout = limit_s
            transport.start_client(timeout=limit_s)
            key = transport.get_remote_server_key()
    except FOREIGN as exc:
        raise unreachable(place, exc, 1) from exc
    return f"{key.get_name()} {key.get_base64()}"


@lru_cache(maxsize=8)
def _load(path: Path, _mtime_ns: int) -> paramiko.PKey:
    return paramiko.PKey.from_path(path)


def _key_of_agent(path: Path) -> paramiko.PKey | None:
    """The agent's key of a file that a passphrase protects; no other key it holds is offered."""
    agent = paramiko.Agent()
    with contextlib.suppress(OSError, IndexError):
        public = path.with_name(f"{path.name}.pub").read_text().split()[1]
        for key in agent.get_keys():
            if key.get_base64() == public:
                return key
    agent.close()
    return None

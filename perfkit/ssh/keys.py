"""SSH keys in OpenSSH's formats: made fresh, or derived, so that a crash does not change them.

A run has one secret, its own key. The key that a host shows is derived from it: the controller
knows it before the host exists, knows it again after it was killed, and stores nothing. Who has
the run's key can log in to every host anyway, so nothing is given away by it.
"""

from __future__ import annotations

import base64
import hashlib
import os
import stat
import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from perfkit.errors import ConfigError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SEED_BYTES = 32  # of an ed25519 key
_HEAD_BYTES = 16_384
_PUBLIC = (b"ssh-", b"ecdsa-", b"sk-", b"-----BEGIN PUBLIC KEY", b"---- BEGIN SSH2 PUBLIC")


@dataclass(frozen=True, slots=True, kw_only=True)
class SshKey:
    """An ed25519 key pair in OpenSSH's formats, without a comment."""

    private_openssh: str = field(repr=False)
    public_openssh: str  # "ssh-ed25519 AAAA…"


def make_ssh_key() -> SshKey:
    """Make a new pair; used for the run's own key."""
    from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415 -- loads cryptography

    return _render(ed25519.Ed25519PrivateKey.generate())


def derive_ssh_key(secret: str, label: str) -> SshKey:
    """The key pair that belongs to a label under a secret; the same two give the same pair.

    HKDF-SHA256 (RFC 5869) over the secret key's 32 bytes; the label is its `info`.

    Args:
        secret: An ed25519 private key in OpenSSH's format, without a passphrase.
        label: What the key is for; another label gives an unrelated key.

    Raises:
        ConfigError: the secret is no such key.
    """
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415 -- loads cryptography
    from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415 -- loads cryptography
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF  # noqa: PLC0415 -- loads cryptography

    seed = HKDF(
        algorithm=hashes.SHA256(), length=SEED_BYTES, salt=None, info=f"perfkit {label}".encode()
    ).derive(_raw(secret))
    return _render(ed25519.Ed25519PrivateKey.from_private_bytes(seed))


def fingerprint(host_key: str) -> str:
    """`SHA256:…` of a public key, as `ssh-keygen -l` prints it."""
    digest = hashlib.sha256(base64.b64decode(host_key.split()[1])).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def wrong_host_key(pinned: str, shown: str = "") -> str:
    """What is said of a host that does not show its pinned key.

    Args:
        pinned: Its public key.
        shown: The fingerprint of the key that it shows; empty: not known.
    """
    shows = f"it shows {shown}, " if shown else ""
    return (
        f"its host key is not the pinned one: {shows}pinned is {fingerprint(pinned)}; it was "
        "reinstalled, or another machine answers at its address"
    )


def refused_key(path: Path, user: str) -> str:
    """What is said where a host does not let a key in."""
    if has_passphrase(path):
        return passphrase_fault(path)
    return f"it refused the key {path} for user {user}"


def passphrase_fault(path: Path) -> str:
    """What is said of a key that nobody can unlock: perfkit never asks for a passphrase."""
    return (
        f"the key {path} has a passphrase, and ssh-agent does not hold it: ssh-add {path}, or name "
        "a key without one"
    )


def key_file_fault(path: Path) -> str:
    """Why a file is no private key that can be used; empty when it looks like one.

    Who may read it is judged as OpenSSH does: one of this user's own is nobody else's to read.
    """
    try:
        about = path.stat()
        head = path.read_bytes()[:_HEAD_BYTES] if path.is_file() else b""
    except FileNotFoundError:
        return f"the key file {path} is not there: fix the path in config/, or make the key"
    except OSError as exc:
        return f"the key file {path} cannot be read ({exc.strerror}): fix its permissions"
    if about.st_uid == os.getuid() and about.st_mode & 0o077:
        mode = f"{stat.S_IMODE(about.st_mode):04o}"
        return f"the key file {path} can be read by others (mode {mode}): chmod 600 {path}"
    if head.startswith(_PUBLIC):
        return f"the key file {path} holds a public key: name the private one"
    return "" if b"PRIVATE KEY" in head else f"the key file {path} holds no private key"


def has_passphrase(path: Path) -> bool:
    """A private key that must be unlocked before it can be used."""
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 -- loads cryptography
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 -- loads cryptography

    try:
        data = path.read_bytes()
    except OSError:
        return False
    is_openssh = b"OPENSSH PRIVATE KEY" in data
    load = serialization.load_ssh_private_key if is_openssh else serialization.load_pem_private_key
    try:
        load(data, password=None)
    except TypeError:  # its word for a password that is missing
        return True
    except (ValueError, UnsupportedAlgorithm):
        return False
    return False


def _raw(private_openssh: str) -> bytes:
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 -- loads cryptography
    from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415 -- loads cryptography

    try:
        key = serialization.load_ssh_private_key(private_openssh.encode(), password=None)
    except (ValueError, TypeError) as exc:
        raise _not_a_key() from exc
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise _not_a_key()
    return key.private_bytes_raw()


def _not_a_key() -> ConfigError:
    return ConfigError(
        "run", "key", "***", "not an ed25519 key in OpenSSH's format", "begin a new run"
    )


def _render(key: Ed25519PrivateKey) -> SshKey:
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 -- loads cryptography

    public = key.public_key()
    text = public.public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    ).decode()
    return SshKey(
        private_openssh=_private_file(key.private_bytes_raw(), public.public_bytes_raw()),
        public_openssh=text,
    )


def _private_file(seed: bytes, public: bytes) -> str:
    """OpenSSH's private key file, without a passphrase.

    Written here because libraries put a random check number into it, and what a batch of hosts is
    asked for must be the same, to the byte, when it is asked for again.

    Source: PROTOCOL.key of OpenSSH.
    """
    kind = b"ssh-ed25519"
    shown = _field(kind) + _field(public)
    check = hashlib.sha256(public).digest()[:4]
    secret = check + check + shown + _field(seed + public) + _field(b"")
    secret += bytes(range(1, 1 + -len(secret) % 8))  # padding: 1, 2, 3, …
    body = b"openssh-key-v1\0" + _field(b"none") + _field(b"none") + _field(b"")
    body += (1).to_bytes(4, "big") + _field(shown) + _field(secret)
    lines = "\n".join(textwrap.wrap(base64.b64encode(body).decode(), 70))
    mark = "OPENSSH PRIVATE KEY"
    return f"-----BEGIN {mark}-----\n{lines}\n-----END {mark}-----\n"


def _field(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data

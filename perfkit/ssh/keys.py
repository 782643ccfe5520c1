"""SSH keys in OpenSSH's formats: made fresh, or derived, so that a crash does not change them.

A run has one secret, its own key. The key that a host shows is derived from it: the controller
knows it before the host exists, knows it again after it was killed, and stores nothing. Who has
the run's key can log in to every host anyway, so nothing is given away by it.
"""

from __future__ import annotations

import base64
import hashlib
import textwrap
from dataclasses import dataclass, field

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from perfkit.errors import ConfigError

SEED_BYTES = 32  # of an ed25519 key


@dataclass(frozen=True, slots=True, kw_only=True)
class SshKey:
    """An ed25519 key pair in OpenSSH's formats, without a comment."""

    private_openssh: str = field(repr=False)
    public_openssh: str  # "ssh-ed25519 AAAA…"


def make_ssh_key() -> SshKey:
    """Make a new pair; used for the run's own key."""
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
    seed = HKDF(
        algorithm=hashes.SHA256(), length=SEED_BYTES, salt=None, info=f"perfkit {label}".encode()
    ).derive(_raw(secret))
    return _render(ed25519.Ed25519PrivateKey.from_private_bytes(seed))


def _raw(private_openssh: str) -> bytes:
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


def _render(key: ed25519.Ed25519PrivateKey) -> SshKey:
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

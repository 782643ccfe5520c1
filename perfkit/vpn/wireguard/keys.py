"""The keys of one run's WireGuard: a pair of X25519 for each host, all made from one secret.

The secret lies in `Run.keys_dir` and never leaves it. A host gets its own private key and the public
keys of those it talks to. Keys are derived and not drawn, so that a second configure gives a host the
same one, and the server's file can name clients that do not exist yet.

Source: RFC 7748 for X25519, RFC 5869 for the derivation (HKDF).
"""

from __future__ import annotations

import base64
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from perfkit.errors import RunError
from perfkit.runs.folder import write_atomic

MADE_FROM = "wireguard.secret"  # in the run's keys/
_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPair:
    """What one host is known by; base64, as `wg` takes it."""

    public: str
    private: str = field(repr=False)


class HostKeys:
    """The key pairs of a run's hosts, by host name.

    Makes the run's secret, or loads it when the run has one already.

    Raises:
        RunError: the secret cannot be read.
    """

    def __init__(self, keys_dir: Path) -> None:
        path = keys_dir / MADE_FROM
        if not path.exists():
            write_atomic(path, f"{secrets.token_hex(_BYTES)}\n".encode())
        try:
            self._secret = bytes.fromhex(path.read_text())
        except (OSError, ValueError) as exc:
            raise RunError(
                f"{path}: the secret of the run's WireGuard cannot be read ({exc}); "
                "remove the file and configure all hosts again"
            ) from exc

    def of(self, host: str) -> KeyPair:
        """The pair of one host: the same whenever it is asked for."""
        derived = HKDF(
            hashes.SHA256(), _BYTES, salt=None, info=f"perfkit wireguard {host}".encode()
        )
        key = X25519PrivateKey.from_private_bytes(derived.derive(self._secret))
        private = key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
        public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return KeyPair(
            public=base64.b64encode(public).decode(), private=base64.b64encode(private).decode()
        )

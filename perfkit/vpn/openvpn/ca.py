"""The certificates of one run's OpenVPN: a certificate authority and a tls-crypt key.

All of it lives in `Run.keys_dir`. The authority's key never leaves it; a host gets its own key
and certificate and nothing else, because a shared client key (duplicate-cn) would hide a host
that connected twice. Certificates are P-256, short-lived, and backdated a little for hosts whose
clock is behind.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from perfkit.errors import RunError
from perfkit.model import Role
from perfkit.runs.folder import write_atomic

BACKDATE = timedelta(minutes=10)
TLS_CRYPT_BYTES = 256  # 2048 bits, as `openvpn --genkey` makes


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What one host presents: its certificate and its key, PEM."""

    certificate: str
    key: str = field(repr=False)


class Authority:
    """The run's certificate authority.

    Opening it makes it, or loads it when the run has one already: a second `configure` goes on
    with the same one. Writes `ca.crt`, `ca.key`, `crl.pem` and `tls-crypt.key` to `keys_dir`, 0600.
    """

    def __init__(self, keys_dir: Path, *, days: float = 2.0) -> None:
        self._dir, self._days = keys_dir, days
        if not (keys_dir / "tls-crypt.key").exists():  # written last: there = complete
            self._create()
        try:
            self.certificate = (keys_dir / "ca.crt").read_text()
            self.tls_crypt_key = (keys_dir / "tls-crypt.key").read_text()
            key = serialization.load_pem_private_key((keys_dir / "ca.key").read_bytes(), None)
            self._subject = x509.load_pem_x509_certificate(self.certificate.encode()).subject
        except (OSError, ValueError) as exc:
            raise RunError(
                f"{keys_dir}: the run's certificate authority cannot be read ({exc}); "
                "remove ca.crt, ca.key and tls-crypt.key there and configure all hosts again"
            ) from exc
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        self._key = key
        if not (keys_dir / "crl.pem").exists():
            self._write_crl([])

    @property
    def crl(self) -> str:
        """The certificates that are refused although they are ours, signed, PEM."""
        return (self._dir / "crl.pem").read_text()

    def revoke(self, certificate: str) -> None:
        """Have the server refuse a certificate that was issued, from its next connection on.

        The server must get the new `crl`: configure it again.
        """
        serial = x509.load_pem_x509_certificate(certificate.encode()).serial_number
        known = {revoked.serial_number for revoked in x509.load_pem_x509_crl(self.crl.encode())}
        self._write_crl([*known, serial])

    def _write_crl(self, serials: Iterable[int]) -> None:
        now = datetime.now(UTC)
        # Valid for longer than any certificate: OpenVPN refuses everybody when its list is stale.
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._subject)
            .last_update(now - BACKDATE)
            .next_update(now + timedelta(days=self._days + 1))
        )
        for serial in sorted(set(serials)):
            revoked = x509.RevokedCertificateBuilder(serial, now - BACKDATE).build()
            builder = builder.add_revoked_certificate(revoked)
        crl = builder.sign(self._key, hashes.SHA256())
        pem = crl.public_bytes(serialization.Encoding.PEM)
        write_atomic(self._dir / "crl.pem", pem)

    def _create(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _name(f"perfkit {self._dir.parent.name}"[:64])
        certificate = (
            _builder(subject, subject, key.public_key(), self._days)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(signs_certificates=True), critical=True)
            .sign(key, hashes.SHA256())
        )
        write_atomic(self._dir / "ca.key", _pem(key).encode())
        write_atomic(self._dir / "ca.crt", _pem_certificate(certificate).encode())
        write_atomic(self._dir / "tls-crypt.key", _static_key().encode())

    def issue(self, name: str, role: Role) -> Credentials:
        """Make a key and a certificate for a host; its common name is the host's name.

        The extended key usage is that of the host's role, so `remote-cert-tls` on the other side
        refuses a client that plays the server.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        usage = {
            Role.SERVER: ExtendedKeyUsageOID.SERVER_AUTH,
            Role.CLIENT: ExtendedKeyUsageOID.CLIENT_AUTH,
        }[role]
        certificate = (
            _builder(_name(name), self._subject, key.public_key(), self._days)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return Credentials(certificate=_pem_certificate(certificate), key=_pem(key))


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: float
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(now + timedelta(days=days))
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        # `remote-cert-tls` of older OpenVPN asks a TLS server for key agreement
        key_agreement=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


def _pem_certificate(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _static_key() -> str:
    text = secrets.token_hex(TLS_CRYPT_BYTES)
    lines = [text[start : start + 32] for start in range(0, len(text), 32)]
    head, tail = "-----BEGIN OpenVPN Static key V1-----", "-----END OpenVPN Static key V1-----"
    return "\n".join(["#", "# 2048 bit OpenVPN static key", "#", head, *lines, tail, ""])

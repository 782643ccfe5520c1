"""The run's certificate authority."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID

from perfkit.errors import RunError
from perfkit.model import Role
from perfkit.vpn.openvpn.ca import Authority


def extension(certificate: x509.Certificate, kind: type[x509.ExtensionType]) -> object:
    return certificate.extensions.get_extension_for_class(kind).value  # type: ignore[type-var] # any of them


@pytest.mark.parametrize(
    ("role", "usage"),
    [
        (Role.SERVER, ExtendedKeyUsageOID.SERVER_AUTH),
        (Role.CLIENT, ExtendedKeyUsageOID.CLIENT_AUTH),
    ],
)
def test_a_certificate_names_its_host_and_may_play_only_its_role(
    tmp_path: Path, role: Role, usage: x509.ObjectIdentifier
) -> None:
    authority = Authority(tmp_path / "keys", days=1)
    issued = authority.issue("client-007", role)
    certificate = x509.load_pem_x509_certificate(issued.certificate.encode())
    root = x509.load_pem_x509_certificate(authority.certificate.encode())
    now = datetime.now(UTC)

    certificate.verify_directly_issued_by(root)
    assert certificate.subject.rfc4514_string() == "CN=client-007"
    assert list(extension(certificate, x509.ExtendedKeyUsage)) == [usage]  # type: ignore[call-overload] # iterable
    assert extension(certificate, x509.BasicConstraints) == x509.BasicConstraints(False, None)
    assert certificate.not_valid_before_utc < now - timedelta(minutes=9)
    assert now + timedelta(hours=23) < certificate.not_valid_after_utc < now + timedelta(hours=25)
    key = load_pem_private_key(issued.key.encode(), None)
    assert key.public_key() == certificate.public_key()
    assert "PRIVATE" not in repr(issued)


def test_two_hosts_share_neither_key_nor_serial_number(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "keys")
    one, two = authority.issue("a", Role.CLIENT), authority.issue("b", Role.CLIENT)
    serials = {
        x509.load_pem_x509_certificate(it.certificate.encode()).serial_number for it in (one, two)
    }
    assert one.key != two.key
    assert len(serials) == 2


def test_a_second_opening_finds_the_same_authority(tmp_path: Path) -> None:
    first, second = Authority(tmp_path / "keys"), Authority(tmp_path / "keys")
    assert second.certificate == first.certificate
    assert second.tls_crypt_key == first.tls_crypt_key
    issued = x509.load_pem_x509_certificate(second.issue("a", Role.CLIENT).certificate.encode())
    issued.verify_directly_issued_by(x509.load_pem_x509_certificate(first.certificate.encode()))


def test_secrets_of_the_authority_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    Authority(tmp_path / "keys")
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "keys").iterdir()}
    names = ("ca.crt", "ca.key", "crl.pem", "tls-crypt.key")
    assert modes == dict.fromkeys(names, 0o600)


def test_revoked_certificates_stay_revoked_and_the_list_outlives_them(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "keys", days=1)
    certificates = [authority.issue(f"client-{n:03d}", Role.CLIENT).certificate for n in range(3)]
    for certificate in certificates[:2]:
        Authority(tmp_path / "keys", days=1).revoke(certificate)
    crl = x509.load_pem_x509_crl(authority.crl.encode())
    loaded = [x509.load_pem_x509_certificate(text.encode()) for text in certificates]
    assert {r.serial_number for r in crl} == {c.serial_number for c in loaded[:2]}
    issuer = x509.load_pem_x509_certificate(authority.certificate.encode())
    assert crl.is_signature_valid(issuer.public_key())  # type: ignore[arg-type] # of a CA
    assert crl.next_update_utc is not None
    assert crl.next_update_utc > loaded[2].not_valid_after_utc


def test_a_damaged_authority_says_what_to_do(tmp_path: Path) -> None:
    Authority(tmp_path / "keys")
    (tmp_path / "keys" / "ca.key").write_text("garbage")
    with pytest.raises(RunError, match=r"remove ca\.crt, ca\.key and tls-crypt\.key"):
        Authority(tmp_path / "keys")


def test_the_tls_crypt_key_has_openvpns_form(tmp_path: Path) -> None:
    text = Authority(tmp_path / "keys").tls_crypt_key
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert lines[0] == "-----BEGIN OpenVPN Static key V1-----"
    assert lines[-1] == "-----END OpenVPN Static key V1-----"
    assert all(re.fullmatch("[0-9a-f]{32}", line) for line in lines[1:-1])
    assert len("".join(lines[1:-1])) * 4 == 2048

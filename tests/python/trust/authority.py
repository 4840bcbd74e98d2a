"""Certificates of every kind that has to be refused, made on the spot."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path

from asn1crypto import x509 as asn1
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


@dataclass(frozen=True)
class Kind:
    """What is special about a server's certificate; the default is a good one."""

    names: tuple[str, ...] = ("localhost",)
    common_name: str = "localhost"
    begins: datetime.datetime = NOW - DAY
    ends: datetime.datetime = NOW + 12 * DAY
    purpose: x509.ObjectIdentifier = ExtendedKeyUsageOID.SERVER_AUTH
    rsa_bits: int | None = None
    sha1: bool = False
    alone: bool = False
    """Signed by its own key."""
    stranger: bool = False
    """Signed by an authority that nobody trusts."""
    newest: ssl.TLSVersion | None = None


def _named(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


class Authority:
    """A CA whose files lie in DIRECTORY."""

    def __init__(self, directory: Path, name: str = "Test authority") -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named(name)
        public = self._key.public_key()
        made = (
            x509.CertificateBuilder()
            .subject_name(self._name)
            .issuer_name(self._name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - DAY)
            .not_valid_after(NOW + 99 * DAY)
            .add_extension(x509.BasicConstraints(True, None), True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), False)
            .sign(self._key, hashes.SHA256())
        )
        self.ca_file = directory / f"{name.replace(' ', '-')}.pem"
        self.ca_file.write_bytes(made.public_bytes(serialization.Encoding.PEM))

    def issue(self, kind: Kind, file: str, passphrase: bytes | None = None) -> Path:
        """Return a file with a new key and its certificate of KIND."""
        key: Key = (
            rsa.generate_private_key(65537, kind.rsa_bits)
            if kind.rsa_bits
            else ec.generate_private_key(ec.SECP256R1())
        )
        subject = _named(kind.common_name)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject if kind.alone else self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(kind.begins)
            .not_valid_after(kind.ends)
            .add_extension(x509.ExtendedKeyUsage([kind.purpose]), False)
        )
        if kind.names:
            alternative = x509.SubjectAlternativeName(list(map(_general, kind.names)))
            builder = builder.add_extension(alternative, False)
        signing = key if kind.alone else self._key
        made = builder.sign(signing, hashes.SHA256())
        der = made.public_bytes(serialization.Encoding.DER)
        if kind.sha1:
            assert isinstance(signing, ec.EllipticCurvePrivateKey)
            der = _by_sha1(der, signing)
        encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
        if passphrase is not None:
            encryption = serialization.BestAvailableEncryption(passphrase)
        path = self._directory / file
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
            )
            + ssl.DER_cert_to_PEM_cert(der).encode()
        )
        return path


def _by_sha1(der: bytes, key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return the certificate DER signed again, by a digest that nothing signs by any more."""
    made = asn1.Certificate.load(der)
    made["tbs_certificate"]["signature"] = {"algorithm": "sha1_ecdsa"}
    made["signature_algorithm"] = {"algorithm": "sha1_ecdsa"}
    octets = made["tbs_certificate"].dump(force=True)
    made["signature_value"] = key.sign(octets, ec.ECDSA(hashes.SHA1()))  # noqa: S303
    signed: bytes = made.dump(force=True)
    return signed


def context(file: Path, newest: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    """Return a server's context that shows FILE, however bad it is."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.set_ciphers("ALL:@SECLEVEL=0")
    if newest is not None:
        made.minimum_version = ssl.TLSVersion.TLSv1
        made.maximum_version = newest
    made.load_cert_chain(file)
    return made

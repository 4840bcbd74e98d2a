"""A certificate chain told line by line, in substance as gnutls-cli tells it.

Nothing here decides; it only reads DER, whose every text is the server's and is made
harmless by whoever shows it.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from datetime import UTC, datetime


def told(chain: Sequence[bytes], now: datetime | None = None) -> list[str]:
    """Return lines that tell the CHAIN (DER, the server's own certificate first)."""
    if not chain:
        return ["- The server showed no certificate."]
    count = len(chain)
    lines = [f"- Got a certificate list of {count} certificate{'s' * (count != 1)}."]
    for index, der in enumerate(chain):
        try:
            lines += _told(index, der, now or datetime.now(UTC))
        except (ValueError, TypeError, KeyError, OverflowError):
            lines.append(f"- Certificate[{index}]: it can't be read.")
    return lines


def _told(index: int, der: bytes, now: datetime) -> list[str]:
    from asn1crypto import x509

    certificate = x509.Certificate.load(der, strict=True)
    key = certificate.public_key
    begins, ends = certificate.not_valid_before, certificate.not_valid_after
    size = f"{key.bit_size} bits" if key.algorithm == "rsa" else str(_curve(key))
    names = ", ".join(_names(certificate)) or "none"
    return [
        f"- Certificate[{index}]:",
        f" - subject '{_distinguished(certificate.subject)}'",
        f" - issuer '{_distinguished(certificate.issuer)}', serial {certificate.serial_number:#x}",
        f" - {key.algorithm.upper()} key, {size}, signed using {_signature(certificate)}",
        f" - valid from {begins:%Y-%m-%d %H:%M:%S} UTC to {ends:%Y-%m-%d %H:%M:%S} UTC "
        f"({_age(begins, ends, now)})",
        f" - names: {names}",
        f" - SHA-256 fingerprint {hashlib.sha256(der).hexdigest()}",
        f" - public key {pin(certificate.public_key.dump())}",
    ]


def pin(public_key: bytes) -> str:
    """Return the pin of a PUBLIC_KEY (SubjectPublicKeyInfo in DER).

    It is RFC 7469's digest, written as curl and wget take it.
    """
    return "sha256//" + base64.b64encode(hashlib.sha256(public_key).digest()).decode("ascii")


def key(der: bytes) -> str | None:
    """Return the pin of the key in a certificate (DER), None if it can't be read."""
    from asn1crypto import x509

    try:
        return pin(x509.Certificate.load(der, strict=True).public_key.dump())
    except (ValueError, TypeError, KeyError):
        return None


def names(der: bytes) -> list[str]:
    """Return the names that a certificate (DER) is for, none if it can't be read."""
    from asn1crypto import x509

    try:
        return _names(x509.Certificate.load(der, strict=True))
    except (ValueError, TypeError, KeyError):
        return []


ABBREVIATIONS = {
    "common_name": "CN",
    "country_name": "C",
    "domain_component": "DC",
    "email_address": "EMAIL",
    "locality_name": "L",
    "organization_name": "O",
    "organizational_unit_name": "OU",
    "serial_number": "serialNumber",
    "state_or_province_name": "ST",
}
"""Of the attributes of names (RFC 4514 section 3)."""


def _distinguished(name: object) -> str:
    """Return a NAME as RFC 4514 writes it, what is nearest first."""
    parts = []
    for relative in reversed(name.chosen):  # type: ignore[attr-defined]
        for attribute in relative:
            kind = attribute["type"].native
            value = re.sub(r'([,+"\\<>;])', r"\\\1", str(attribute["value"].native))
            parts.append(f"{ABBREVIATIONS.get(kind, kind)}={value}")
    return ",".join(parts)


def _curve(key: object) -> object:
    try:
        return getattr(key, "curve")[1]  # noqa: B009 - a property that may raise
    except (AttributeError, ValueError, TypeError):
        return "of its usual size"


def _signature(certificate: object) -> str:
    algorithm = certificate["signature_algorithm"]  # type: ignore[index]
    name = str(algorithm["algorithm"].native)
    return name.upper().replace("_", "-")


def _names(certificate: object) -> list[str]:
    value = certificate.subject_alt_name_value  # type: ignore[attr-defined]
    return [str(name.native) for name in value or ()]


def _age(begins: datetime, ends: datetime, now: datetime) -> str:
    if now < begins:
        return f"not valid yet, for {_days((begins - now).days)}"
    if now > ends:
        return f"expired {_days((now - ends).days)} ago"
    return f"expires in {_days((ends - now).days)}"


def _days(days: int) -> str:
    return f"{days} day{'s' * (days != 1)}"

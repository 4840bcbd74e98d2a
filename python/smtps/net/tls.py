"""TLS over any transport: the standard library's ssl, fed through memory.

Defaults: the system's certificates or one CA file, TLS 1.2 or newer, names by
subjectAltName only, no key or signature under OpenSSL's security level 2.
"""

from __future__ import annotations

import contextlib
import ssl
from typing import NamedTuple

from smtps.errors import (
    CertificateError,
    ConfigurationError,
    ConnectionLostError,
    SmtpsError,
    TlsError,
)

RECORD = 16384
"""Octets of clear text in the largest TLS record (RFC 8446 5.1)."""

WEAK_REFUSED = "DEFAULT:@SECLEVEL=2"
"""OpenSSL's level 2: no RSA key under 2048 bits, no SHA-1 signature."""

CERTIFICATE_WORDS = {
    9: "the certificate is not valid yet",
    10: "the certificate has expired",
    18: "the certificate is signed by itself, by nobody that this machine trusts",
    19: "the certificate's chain ends in a root that this machine does not trust",
    20: "the certificate's issuer is not known to this machine",
    21: "the certificate's issuer is not known to this machine",
    26: "the certificate is not meant for servers",
    62: "the certificate is for another name",
    64: "the certificate is for another address",
    66: "the certificate's key is too short",
    67: "the key of the certificate's issuer is too short",
    68: "the certificate's signature uses an outdated digest",
}
"""OpenSSL's verify codes (X509_V_ERR) in words."""


def context(ca_file: str | None = None) -> ssl.SSLContext:
    """Return a verifying client context; CA_FILE (PEM) replaces the system's certificates.

    Raises ConfigurationError if CA_FILE can't be used.
    """
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.hostname_checks_common_name = False
    made.set_ciphers(WEAK_REFUSED)
    try:
        if ca_file:
            made.load_verify_locations(cafile=ca_file)
        else:
            made.load_default_certs(ssl.Purpose.SERVER_AUTH)
    except OSError as error:
        raise ConfigurationError(
            f"The CA file {ca_file} can't be used: {error.strerror or error}."
        ) from None
    return made


class Established(NamedTuple):
    """What the handshake came to."""

    version: str
    cipher: str
    chain: tuple[bytes, ...]
    """The server's certificates in DER, its own first."""


class Layer:
    """One TLS connection without I/O: ciphertext in and out, clear text in and out."""

    def __init__(self, made: ssl.SSLContext, host: str) -> None:
        self._in = ssl.MemoryBIO()
        self._out = ssl.MemoryBIO()
        self._object = made.wrap_bio(self._in, self._out, server_hostname=host)
        self._host = host
        self._first = b""

    def handshake(self, data: bytes | None) -> tuple[bytes, bool]:
        """Take ciphertext DATA (None at the start, ``b""`` at the end of the connection).

        Return what is to be sent, and whether the handshake is done.  Raises
        CertificateError, TlsError or ConnectionLostError.
        """
        if data == b"":
            raise ConnectionLostError(
                f"{self._host} closed the connection in the middle of the TLS handshake."
            )
        if data:
            self._first = (self._first + data)[:4]
            self._in.write(data)
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            return self._out.read(), False
        except ssl.SSLCertVerificationError as error:
            raise self._refused(error) from None
        except ssl.SSLError as error:
            raise self._failed(error) from None
        return self._out.read(), True

    def farewell(self) -> bytes:
        """Return what OpenSSL still wants to say (an alert), after an error."""
        return self._out.read()

    def _refused(self, error: ssl.SSLCertVerificationError) -> SmtpsError:
        reason = CERTIFICATE_WORDS.get(error.verify_code, error.verify_message)
        refused = CertificateError(
            f"The certificate of {self._host} is not accepted: {reason}. Nothing was sent.",
            host=self._host,
            reason=reason,
        )
        refused.chain = self._chain()
        return refused

    def _failed(self, error: ssl.SSLError) -> SmtpsError:
        if self._first[:3].isdigit():
            return TlsError(
                f"{self._host} answers in clear text: on this port it does not speak TLS at once. "
                "Try STARTTLS, or another port."
            )
        reason = (error.reason or str(error)).replace("_", " ").lower()
        return TlsError(f"The TLS handshake with {self._host} failed: {reason}. Nothing was sent.")

    def _chain(self) -> tuple[bytes, ...]:
        """The chain as the server sent it.

        Public only from Python 3.13 on; before, the private object has the same call.
        """
        found = getattr(self._object, "get_unverified_chain", None) or getattr(
            getattr(self._object, "_sslobj", None), "get_unverified_chain", None
        )
        try:
            certificates = found() if found else None
        except ssl.SSLError:
            certificates = None
        chain = []
        for certificate in certificates or ():
            if isinstance(certificate, bytes):
                chain.append(certificate)
            else:
                chain.append(ssl.PEM_cert_to_DER_cert(certificate.public_bytes()))
        if not chain:
            try:
                own = self._object.getpeercert(binary_form=True)
            except ValueError:
                own = None
            chain = [own] if own else []
        return tuple(chain)

    @property
    def established(self) -> Established:
        """What the handshake came to."""
        cipher = self._object.cipher()
        return Established(self._object.version() or "", cipher[0] if cipher else "", self._chain())

    def encrypt(self, data: bytes) -> bytes:
        """Return DATA as ciphertext."""
        view = memoryview(data)
        while view:
            view = view[self._object.write(view) :]
        return self._out.read()

    def decrypt(self, data: bytes | None) -> tuple[bytes, bytes, bool]:
        """Take ciphertext DATA; return the clear text, what is to be sent, and if it is the end.

        A connection cut without TLS's own close counts as an end like any other: what was
        cut short is told by SMTP's own line ends.
        """
        if data:
            self._in.write(data)
        elif data is not None:
            self._in.write_eof()
        clear: list[bytes] = []
        ended = data == b""
        while True:
            try:
                piece = self._object.read(RECORD)
            except ssl.SSLWantReadError:
                break
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                ended = True
                break
            except ssl.SSLError as error:
                if clear:
                    # It may be the reply that tells of a mail that it was accepted.
                    ended = True
                    break
                raise ConnectionLostError(
                    f"The TLS connection to {self._host} broke: "
                    f"{(error.reason or str(error)).replace('_', ' ').lower()}."
                ) from None
            if not piece:
                ended = True
                break
            clear.append(piece)
        return b"".join(clear), self._out.read(), ended

    def close(self) -> bytes:
        """Return TLS's own close (close_notify)."""
        with contextlib.suppress(ssl.SSLError, ValueError):
            self._object.unwrap()
        return self._out.read()

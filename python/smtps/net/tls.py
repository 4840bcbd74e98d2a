"""TLS over any transport: the standard library's ssl, fed through memory.

Defaults: the system's certificates or one CA file, TLS 1.2 or newer, names by
subjectAltName only, no key or signature under OpenSSL's security level 2.
"""

from __future__ import annotations

import contextlib
import ssl
from typing import NamedTuple

from smtps.errors import (
    UNSENT,
    CertificateError,
    ConfigurationError,
    ConnectionLostError,
    PassphraseError,
    SmtpsError,
    TlsError,
)
from smtps.net.group import FIRST_OCTETS, group

RECORD = 16384
"""Octets of clear text in the largest TLS record (RFC 8446 5.1)."""

WEAK_REFUSED = "DEFAULT:@SECLEVEL=2"
"""OpenSSL's level 2: no RSA key under 2048 bits, no SHA-1 signature."""

TLS_WORDS = {
    "UNSUPPORTED_PROTOCOL": "it speaks no TLS newer than 1.1",
    "TLSV1_ALERT_PROTOCOL_VERSION": "it speaks no TLS newer than 1.1",
    "WRONG_SSL_VERSION": "it speaks no TLS newer than 1.1",
    "WRONG_VERSION_NUMBER": "it said something that is not TLS",
    "NO_PROTOCOLS_AVAILABLE": "it speaks no TLS newer than 1.1",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "it has no cipher in common with us",
    "DH_KEY_TOO_SMALL": "its key exchange is too weak to be safe",
    "WRONG_SIGNATURE_TYPE": "it signs by an outdated digest",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "it wants a client certificate",
    "SSLV3_ALERT_BAD_CERTIFICATE": "it does not take our client certificate",
    "TLSV1_ALERT_UNKNOWN_CA": "it does not know the issuer of our client certificate",
    "TLSV1_ALERT_ACCESS_DENIED": "it does not let our client certificate in",
}
"""OpenSSL's reasons in words, those that people meet."""


class ClientCertificate(NamedTuple):
    """A certificate to show: FILE (PEM) with its chain, KEY's file where it is another."""

    file: str
    key: str | None = None
    passphrase: str = ""

    def __repr__(self) -> str:
        return f"<the client certificate {self.file}>"


def context(
    ca_file: str | None = None, client: ClientCertificate | None = None, verify: bool = True
) -> ssl.SSLContext:
    """Return a client context; CA_FILE (PEM) replaces the system's certificates.

    Without VERIFY any certificate passes: whoever asks for that compares its key before
    anything is sent, and shows no CLIENT certificate.  Raises ConfigurationError if a file
    can't be used, PassphraseError if the client's key wants another passphrase.
    """
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.hostname_checks_common_name = False
    made.set_ciphers(WEAK_REFUSED)
    if not verify:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
        return made
    try:
        if ca_file:
            made.load_verify_locations(cafile=ca_file)
        else:
            made.load_default_certs(ssl.Purpose.SERVER_AUTH)
    except OSError as error:
        raise ConfigurationError(
            f"The CA file {ca_file} can't be used: {_no_authority(error)}."
        ) from None
    if client is not None:
        _show(made, client)
    return made


def _no_authority(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return "there is no certificate in it (in PEM)"
    return error.strerror or str(error)


def _show(made: ssl.SSLContext, client: ClientCertificate) -> None:
    wanted = False

    def passphrase() -> str:
        nonlocal wanted
        wanted = True
        return client.passphrase

    try:
        # Never without one: OpenSSL would ask on the terminal by itself.
        made.load_cert_chain(client.file, client.key, passphrase)
    except (ssl.SSLError, ValueError) as error:
        # Python itself refuses one that is too long, or no text.
        if wanted:
            raise PassphraseError(
                f"The key in {client.key or client.file} wants "
                f"{'another' if client.passphrase else 'a'} passphrase.",
                file=client.key or client.file,
            ) from None
        file = f"{client.file} with the key in {client.key}" if client.key else client.file
        raise ConfigurationError(
            f"The client certificate {file} can't be used: {_unusable(error)}."
        ) from None
    except OSError as error:
        raise ConfigurationError(
            f"The client certificate {client.file}, or its key, can't be read: {error.strerror}."
        ) from None


def _unusable(error: Exception) -> str:
    match getattr(error, "reason", None):
        case "KEY_VALUES_MISMATCH":
            return "the key is another certificate's"
        case None:
            return "the certificate or the key is missing, or not in PEM"
        case reason:
            return str(reason).replace("_", " ").lower()


class Established(NamedTuple):
    """What the handshake came to."""

    version: str
    cipher: str
    bits: int
    """Of the cipher's key."""
    group: str | None
    """Of the key exchange."""
    chain: tuple[bytes, ...]
    """The server's certificates in DER, its own first."""


class Layer:
    """One TLS connection without I/O: ciphertext in and out, clear text in and out."""

    def __init__(self, made: ssl.SSLContext, host: str) -> None:
        self._in = ssl.MemoryBIO()
        self._out = ssl.MemoryBIO()
        # Neither SNI nor certificates know DNS's dot behind the root (RFC 6066 section 3).
        name = host.removesuffix(".")
        self._object = made.wrap_bio(self._in, self._out, server_hostname=name)
        self._host = host
        self._first = bytearray()

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
            self._first += data[: FIRST_OCTETS - len(self._first)]
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
        refused = CertificateError(
            f"The certificate of {self._host} is not accepted. {UNSENT}",
            host=self._host,
            code=error.verify_code,
            message=error.verify_message,
        )
        refused.chain = self._chain()
        return refused

    def _failed(self, error: ssl.SSLError) -> SmtpsError:
        if self._first[:3].isdigit():
            return TlsError(
                f"{self._host} answers in clear text: on this port it does not speak TLS at once. "
                "Try STARTTLS (--tls starttls, :tls starttls), or another port."
            )
        return TlsError(f"The TLS handshake with {self._host} failed: {_words(error)}. {UNSENT}")

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
        return Established(
            self._object.version() or "",
            cipher[0] if cipher else "",
            cipher[2] if cipher else 0,
            group(bytes(self._first)),
            self._chain(),
        )

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
                    f"The TLS connection to {self._host} broke: {_words(error)}."
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


def _words(error: ssl.SSLError) -> str:
    """Return ERROR in words; OpenSSL's own are ASCII, and nobody's but OpenSSL's."""
    reason = error.reason or str(error)
    return TLS_WORDS.get(reason, reason.replace("_", " ").lower())

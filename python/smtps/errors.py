"""The one tree of errors, imported by every room; it imports nothing.

Each error carries what all three doors need: a ``kind`` (a symbol on the RPC), the
exit ``status`` of the command line (DESIGN section 10, from sysexits), and ``details``, a
plist's worth of facts for a program.  Its text is one sentence for a person, without
control characters and without secrets.
"""

from __future__ import annotations

from typing import ClassVar

Detail = str | int | bool | None | list[str]

UNSENT = "No mail and no password was sent."
"""What is true where TLS could not be had, also of a server that was greeted in clear."""


class SmtpsError(Exception):
    """Anything that smtps itself reports.  Raised only through its leaves.

    ``text`` is the sentence a person reads; ``details`` are facts by name.
    """

    kind: ClassVar[str] = "error"
    status: ClassVar[int] = 70

    def __init__(self, text: str, **details: Detail) -> None:
        super().__init__(text)
        self.text = text
        self.details = details

    def __str__(self) -> str:
        return self.text


class UsageError(SmtpsError):
    """The command or call was put together wrongly."""

    kind = "usage"
    status = 64


class ConfigurationError(SmtpsError):
    """An account, a settings file or an installed part is unusable."""

    kind = "configuration"
    status = 78


# What was handed in


class MessageError(SmtpsError):
    """The message, the sender or an address can't be sent; nothing left the machine."""

    kind = "message-unusable"
    status = 65


class AgainError(MessageError):
    """The same mail was handed in before, and may arrive by that."""

    kind = "again"


class AddressError(MessageError):
    """An address, or a parameter beside it, that could change the command it stands in."""

    kind = "address-unusable"


class MessageUnreadableError(SmtpsError):
    """The message's file can't be read."""

    kind = "message-unreadable"
    status = 66


# The protocol: whose fault


class ProtocolError(SmtpsError):
    """The rules of SMTP were broken; the two leaves say by whom."""

    kind = "protocol"


class LocalProtocolError(ProtocolError):
    """We, or who drives us, asked for what the state does not allow."""

    kind = "local-protocol"


class RemoteProtocolError(ProtocolError):
    """The server said what SMTP does not allow."""

    kind = "remote-protocol"
    status = 76


# The network


class NetworkError(SmtpsError):
    """No connection, or no longer one."""

    kind = "network"
    status = 69


class HostUnknownError(NetworkError):
    """The name has no address."""

    kind = "host-unknown"
    status = 68


class UnreachableError(NetworkError):
    """Nothing listens there, or no way leads there."""

    kind = "unreachable"


class ConnectionLostError(NetworkError):
    """The connection ended before its time."""

    kind = "connection-lost"


class TimedOutError(NetworkError):
    """The other side said nothing for too long."""

    kind = "timed-out"


class UncertainError(NetworkError):
    """The connection ended when the server may have taken the message already."""

    kind = "uncertain"
    status = 74


# Identity


class IdentityError(SmtpsError):
    """The server's identity, its TLS, or our login was refused."""

    kind = "identity"
    status = 77


class TlsError(IdentityError):
    """The TLS handshake failed for another reason than the certificate."""

    kind = "tls"


class CertificateError(IdentityError):
    """The server's certificate was not accepted; ``chain`` is what it showed, in DER."""

    kind = "certificate"
    chain: tuple[bytes, ...] = ()


class PassphraseError(IdentityError):
    """The key of the client certificate can't be opened with the passphrase that there is."""

    kind = "passphrase"


class LoginError(IdentityError):
    """The login was refused, or could not be made safely."""

    kind = "login"


class ChallengeError(LoginError):
    """A server's challenge is none of the mechanism's: it failed, and not for the secret."""


class CredentialsLaterError(SmtpsError):
    """The secret can be had only by asking a person who is not being asked now."""

    kind = "credentials-later"
    status = 77


class OutputError(SmtpsError):
    """What was asked for can't be written to standard output."""

    kind = "output"
    status = 73


# The outbox


class OutboxError(SmtpsError):
    """The outbox can't be read or written."""

    kind = "outbox"
    status = 73


class DamagedEntryError(OutboxError):
    """An entry of the outbox is not what we wrote; it is left alone."""

    kind = "outbox-damaged"


class AfterworkError(OutboxError):
    """What was to follow the acceptance of a mail could not be done; the mail itself is sent."""

    kind = "outbox-afterwork"


# The RPC


class RpcError(SmtpsError):
    """The other side of the pipe."""

    kind = "rpc"


class WireError(RpcError):
    """A value or a line outside the closed grammar."""

    kind = "wire"


class PeerGoneError(RpcError):
    """The other side went away."""

    kind = "peer-gone"


class CallTimedOutError(RpcError):
    """The other side did not answer a call in time."""

    kind = "call-timed-out"


class CallRefusedError(RpcError):
    """The other side answered a call with an error."""

    kind = "call-refused"


class UnknownMethodError(RpcError):
    """A call of a method that is not in the table."""

    kind = "unknown-method"

"""Commands (RFC 5321 4.1): what is sent, what it is, and how it may be shown.

Rule for this file: no octet below space and no DEL gets into a line but the CRLF at its
end, so that nothing a caller hands in can become a second command.
"""

from __future__ import annotations

import enum
import re
from typing import NamedTuple

from smtps.errors import LocalProtocolError
from smtps.protocol import address
from smtps.protocol.visible import visible


class Verb(enum.Enum):
    """What a reply can be owed to.  GREETING is what every connection owes at first."""

    GREETING = "greeting"
    EHLO = "EHLO"
    HELO = "HELO"
    STARTTLS = "STARTTLS"
    AUTH = "AUTH"
    RESPONSE = "SASL response"
    MAIL = "MAIL"
    RCPT = "RCPT"
    DATA = "DATA"
    BODY = "end of data"
    BDAT = "BDAT"
    BDAT_LAST = "BDAT LAST"
    RSET = "RSET"
    NOOP = "NOOP"
    VRFY = "VRFY"
    EXPN = "EXPN"
    HELP = "HELP"
    QUIT = "QUIT"
    OTHER = "an unknown command"

    def __str__(self) -> str:
        return self.value


TYPED = {
    verb.value: verb
    for verb in Verb
    if verb not in (Verb.GREETING, Verb.RESPONSE, Verb.BODY, Verb.BDAT_LAST, Verb.OTHER)
}
"""The verbs a person can type, by their word."""

MASKS = {
    "username": "<the-base64-username>",
    "password": "<the-base64-password>",
    "credentials": "<the-encoded-auth-credentials>",
    "response": "<the-sasl-response>",
}
"""What stands in every transcript in a response's place, by what that is."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class Command(NamedTuple):
    """A line to send.  ``line`` has its CRLF and stays out of every repr."""

    verb: Verb
    line: bytes
    shown: str
    """The line for a transcript: harmless, and masked."""
    secrets: tuple[bytes, ...] = ()
    """Octets that a server's text must not show again."""
    mechanism: str | None = None

    def __repr__(self) -> str:
        return f"<{self.verb}: {self.shown}>"


def line(
    verb: Verb,
    text: str,
    shown: str | None = None,
    secrets: tuple[bytes, ...] = (),
    mechanism: str | None = None,
) -> Command:
    """Return the command made of TEXT.

    Raises LocalProtocolError if a control character stands in it; SHOWN and SECRETS are
    for lines that hold a secret.
    """
    if _CONTROL.search(text):
        raise LocalProtocolError(
            f"A command with a control character in it was not sent: "
            f"“{shown or visible(text, 100)}”."
        )
    return Command(
        verb, text.encode() + b"\r\n", visible(text) if shown is None else shown, secrets, mechanism
    )


def ehlo(name: str) -> Command:
    """EHLO with our NAME, a domain or an address literal (RFC 5321 4.1.1.1)."""
    return line(Verb.EHLO, f"EHLO {name}")


def helo(name: str) -> Command:
    """HELO with our NAME (RFC 5321 4.1.1.1)."""
    return line(Verb.HELO, f"HELO {name}")


def starttls() -> Command:
    """STARTTLS (RFC 3207 section 4)."""
    return line(Verb.STARTTLS, "STARTTLS")


def auth(mechanism: str, response: str | None, secrets: tuple[bytes, ...] = ()) -> Command:
    """AUTH MECHANISM, with RESPONSE, base64 or ``=``, as initial response (RFC 4954 section 4)."""
    if response in (None, "="):
        text = f"AUTH {mechanism}" if response is None else f"AUTH {mechanism} ="
        return line(Verb.AUTH, text, None, secrets, mechanism)
    return line(
        Verb.AUTH,
        f"AUTH {mechanism} {response}",
        f"AUTH {mechanism} {MASKS['credentials']}",
        (response.encode(), *secrets),
        mechanism,
    )


def sasl_response(response: str, kind: str, secrets: tuple[bytes, ...] = ()) -> Command:
    """Answer a 334 with RESPONSE, base64 or ``*``; KIND is one of `MASKS` (RFC 4954 section 4)."""
    shown = response if response in ("", "*") else MASKS[kind]
    return line(Verb.RESPONSE, response, shown, secrets)


def mail(reverse_path: str, parameters: tuple[str, ...] = ()) -> Command:
    """MAIL FROM (RFC 5321 4.1.1.2); an empty REVERSE_PATH is the null one."""
    path = address.check(reverse_path) if reverse_path else ""
    return line(Verb.MAIL, " ".join((f"MAIL FROM:<{path}>", *parameters)))


def rcpt(forward_path: str, parameters: tuple[str, ...] = ()) -> Command:
    """RCPT TO (RFC 5321 4.1.1.3)."""
    return line(Verb.RCPT, " ".join((f"RCPT TO:<{address.check(forward_path)}>", *parameters)))


def data() -> Command:
    """DATA (RFC 5321 4.1.1.4)."""
    return line(Verb.DATA, "DATA")


def bdat(octets: int, last: bool) -> Command:
    """BDAT for a chunk of OCTETS, which follow (RFC 3030 section 2)."""
    verb = Verb.BDAT_LAST if last else Verb.BDAT
    return line(verb, f"BDAT {octets}{' LAST' if last else ''}")


def rset() -> Command:
    """RSET (RFC 5321 4.1.1.5)."""
    return line(Verb.RSET, "RSET")


def noop() -> Command:
    """NOOP (RFC 5321 4.1.1.9)."""
    return line(Verb.NOOP, "NOOP")


def quit_() -> Command:
    """QUIT (RFC 5321 4.1.1.10)."""
    return line(Verb.QUIT, "QUIT")

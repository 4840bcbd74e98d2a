"""The server's half of SMTP without I/O: octets in, octets out, mails kept.

Strict where a client should be caught: lines end with CRLF, commands come in their order,
parameters only as offered.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from smtps.sandbox.logins import MECHANISMS, Login

LINE_LIMIT = 12288 + 512
"""Octets of a command line: RFC 4954 section 4 allows 12288 for AUTH."""

MESSAGE_LIMIT = 64 * 1024 * 1024
"""Octets of a message when the offer names no limit: the sandbox keeps mails in memory."""

BAD_COMMANDS_LIMIT = 20
"""After so many errors the connection is closed: that is no mail client."""

_PATH = re.compile(r"<((?:\"(?:[^\"\\]|\\.)*\"|[^<>\"\s])*)>(.*)", re.DOTALL)


@dataclass(frozen=True)
class Offer:
    """What a server says it can do.  The lines of EHLO are given as they stand."""

    greeting: str = "sandbox.localhost ESMTP Service"
    clear: tuple[str, ...] = ()
    """EHLO's lines in clear; None of them counts under TLS."""
    secure: tuple[str, ...] = ()
    """EHLO's lines under TLS."""
    enhanced: bool = False
    login_needed: bool = True

    def keywords(self, tls: bool) -> dict[str, list[str]]:
        """Return keyword to parameters."""
        lines = [
            line.replace("AUTH=", "AUTH ").split() for line in (self.secure if tls else self.clear)
        ]
        found: dict[str, list[str]] = {}
        for words in lines:
            found.setdefault(words[0], []).extend(words[1:])
        return found


DOCUMENTED_IMPLICIT = Offer(
    secure=(
        "DSN",
        "8BITMIME",
        "PIPELINING",
        "HELP",
        "AUTH=LOGIN",
        "AUTH LOGIN CRAM-MD5 DIGEST-MD5 PLAIN",
        "DELIVERBY 300",
        "SIZE",
    ),
)
"""The EHLO list of the documented dialogue over implicit TLS, to the letter."""

DOCUMENTED_STARTTLS = Offer(
    greeting="sandbox.localhost ESMTP",
    clear=("SIZE 35651584", "8BITMIME", "STARTTLS", "ENHANCEDSTATUSCODES", "PIPELINING"),
    secure=("SIZE 35651584", "8BITMIME", "AUTH LOGIN PLAIN", "ENHANCEDSTATUSCODES", "PIPELINING"),
    enhanced=True,
)
"""The EHLO lists of the documented dialogue with STARTTLS."""

PARAMETERS = {
    "SIZE": "SIZE",
    "BODY": "8BITMIME",
    "SMTPUTF8": "SMTPUTF8",
    "RET": "DSN",
    "ENVID": "DSN",
    "NOTIFY": "DSN",
    "ORCPT": "DSN",
    "BY": "DELIVERBY",
    "AUTH": "AUTH",
    "REQUIRETLS": "REQUIRETLS",
    "HOLDFOR": "FUTURERELEASE",
    "HOLDUNTIL": "FUTURERELEASE",
    "MT-PRIORITY": "MT-PRIORITY",
}
"""Parameter of MAIL or RCPT to the keyword that offers it."""


@dataclass(frozen=True)
class Accepted:
    """A mail that was taken: the envelope, MAIL's parameters, and the octets as received."""

    mail_from: str
    recipients: tuple[str, ...]
    parameters: tuple[str, ...]
    octets: bytes
    user: str | None


@dataclass
class _Transaction:
    sender: str
    parameters: tuple[str, ...]
    recipients: list[str] = field(default_factory=list)
    octets: bytearray = field(default_factory=bytearray)


Override = Callable[[str, str], str | None]
"""Gets verb and line; returns the reply to give instead, or None.  ``.`` is the verb of the
end of data."""


class ServerMachine:
    """One connection's server side.  LOGINS maps users to passwords."""

    def __init__(
        self,
        offer: Offer,
        logins: Mapping[str, str] | None = None,
        tls: bool = True,
        override: Override | None = None,
    ) -> None:
        self.accepted: list[Accepted] = []
        self.closed = False
        self.wants_tls = False
        self.user: str | None = None
        self._offer = offer
        self._logins = dict(logins or {})
        self._override = override
        self._tls = tls
        self._in = bytearray()
        self._out = bytearray()
        self._helo = False
        self._login: Login | None = None
        self._transaction: _Transaction | None = None
        self._in_data = False
        self._chunk = 0
        self._chunk_last = False
        self._chunk_dropped = False
        self._errors = 0
        self._say(f"220 {offer.greeting}")

    @property
    def between_secrets(self) -> bool:
        """True while a login waits for its next response."""
        return self._login is not None

    def data_to_send(self) -> bytes:
        """Return and forget what is to be sent."""
        data = bytes(self._out)
        self._out.clear()
        return data

    def receive(self, data: bytes) -> None:
        """Take DATA from the client."""
        if self.closed or self.wants_tls:
            return
        self._in += data
        while not self.closed and not self.wants_tls:
            if self._chunk:
                if not self._take_chunk():
                    return
            elif self._in_data:
                if not self._take_text():
                    return
            elif not self._take_line():
                return

    def tls_started(self) -> None:
        """The handshake was made: forget everything (RFC 3207 section 4.2)."""
        self._in.clear()
        self.wants_tls = False
        self._tls = True
        self._helo = False
        self.user = None
        self._transaction = None

    def time_out(self) -> None:
        """The client took too long over its secret."""
        self._login = None
        self._say("421 the login took too long, good bye")
        self.closed = True

    # Octets

    def _say(self, reply: str) -> None:
        self._out += reply.encode() + b"\r\n"

    def _reply(self, code: int, text: str, enhanced: str = "") -> None:
        if code >= 500:
            self._errors += 1
        self._say(f"{code} {enhanced + ' ' if enhanced and self._offer.enhanced else ''}{text}")
        if self._errors >= BAD_COMMANDS_LIMIT:
            self._say("421 too many errors, good bye")
            self.closed = True

    def _take_line(self) -> bool:
        end = self._in.find(b"\n", 0, LINE_LIMIT)
        if end < 0:
            if len(self._in) >= LINE_LIMIT:
                self._reply(500, "line too long")
                self.closed = True
            return False
        line = bytes(self._in[: end + 1])
        del self._in[: end + 1]
        if not line.endswith(b"\r\n") or b"\r" in line[:-2]:
            self._reply(500, "lines end with CR LF")
            return True
        try:
            text = line[:-2].decode("utf-8")
        except UnicodeDecodeError:
            self._reply(500, "this is not UTF-8")
            return True
        if self._login is not None:
            self._continue_login(text)
        else:
            self._command(text)
        return True

    def _take_text(self) -> bool:
        assert self._transaction is not None
        octets = self._transaction.octets
        # The end of data may be split between what has been kept and what comes.
        searched = max(0, len(octets) - 4)
        octets += self._in
        self._in.clear()
        if octets.startswith(b".\r\n"):
            end, rest = 0, 3
        else:
            at = octets.find(b"\r\n.\r\n", searched)
            if at < 0:
                if len(octets) > MESSAGE_LIMIT:
                    self._reply(552, "message too large", "5.3.4")
                    self.closed = True
                return False
            end, rest = at + 2, at + 5
        self._in += octets[rest:]
        text = (b"\r\n" + octets[:end]).replace(b"\r\n.", b"\r\n")[2:]
        self._in_data = False
        self._end_of_message(text)
        return True

    def _take_chunk(self) -> bool:
        if not self._in:
            return False
        piece = self._in[: self._chunk]
        del self._in[: len(piece)]
        self._chunk -= len(piece)
        if self._transaction is not None and not self._chunk_dropped:
            self._transaction.octets += piece
        if self._chunk == 0:
            self._end_of_chunk()
        return True

    # Commands

    def _command(self, line: str) -> None:
        verb, _, rest = line.partition(" ")
        verb = verb.upper()
        if self._overridden(verb, line):
            return
        handler = COMMANDS.get(verb)
        if handler is None:
            self._reply(500, "unrecognised command", "5.5.2")
        else:
            handler(self, rest.strip(" "))

    def _overridden(self, verb: str, line: str) -> bool:
        reply = self._override(verb, line) if self._override else None
        if reply is None:
            return False
        self._out += reply.encode()
        if reply.startswith("421"):
            self.closed = True
        return True

    def _ehlo(self, name: str) -> None:
        if not name:
            self._reply(501, "EHLO needs a name", "5.5.4")
            return
        self._helo = True
        self._transaction = None
        lines = [
            f"sandbox.localhost greets {name}",
            *(self._offer.secure if self._tls else self._offer.clear),
        ]
        for line in lines[:-1]:
            self._say(f"250-{line}")
        self._say(f"250 {lines[-1]}")

    def _helo_(self, name: str) -> None:
        if not name:
            self._reply(501, "HELO needs a name", "5.5.4")
            return
        self._helo = True
        self._transaction = None
        self._say("250 sandbox.localhost")

    def _starttls(self, rest: str) -> None:
        if "STARTTLS" not in self._offer.keywords(self._tls) or self._tls:
            self._reply(503, "STARTTLS is not offered", "5.5.1")
            return
        self._say("220 2.0.0 Ready to start TLS")
        # What was sent behind STARTTLS in clear is dropped.
        self._in.clear()
        self.wants_tls = True

    def _auth(self, rest: str) -> None:
        words = rest.split()
        mechanism = words[0].upper() if words else ""
        if not self._helo or self.user is not None or self._transaction is not None:
            self._reply(503, "AUTH out of order", "5.5.1")
        elif mechanism not in self._offer.keywords(self._tls).get("AUTH", []):
            self._reply(504, "unrecognised authentication type", "5.5.4")
        else:
            self._login = MECHANISMS[mechanism](self._logins)
            challenge = next(self._login)
            if len(words) > 1:
                self._continue_login("" if words[1] == "=" else words[1])
            else:
                self._challenge(challenge)

    def _challenge(self, challenge: bytes) -> None:
        self._say(f"334 {base64.b64encode(challenge).decode()}")

    def _continue_login(self, text: str) -> None:
        login, self._login = self._login, None
        assert login is not None
        if text == "*":
            self._reply(501, "authentication cancelled", "5.7.0")
            return
        try:
            response = base64.b64decode(text.encode(), validate=True)
        except (binascii.Error, ValueError):
            self._reply(501, "this is not base64", "5.5.2")
            return
        try:
            self._challenge(login.send(response))
            self._login = login
        except StopIteration as stop:
            self.user = stop.value
            if self.user is None:
                self._reply(535, "authentication failed", "5.7.8")
            elif self._offer.enhanced:
                self._reply(235, "Accepted", "2.7.0")
            else:
                self._reply(235, "login authentication successful")

    def _mail(self, rest: str) -> None:
        match = _PATH.fullmatch(rest[5:].strip()) if rest[:5].upper() == "FROM:" else None
        if not self._helo or self._transaction is not None:
            self._reply(503, "MAIL out of order", "5.5.1")
        elif self._offer.login_needed and self.user is None:
            self._reply(530, "authentication required", "5.7.0")
        elif match is None:
            self._reply(501, "MAIL FROM:<address>", "5.1.7")
        elif self._parameters_right(match[2].split()):
            self._transaction = _Transaction(match[1], tuple(match[2].split()))
            if self._offer.enhanced:
                self._reply(250, "OK", "2.1.0")
            else:
                self._reply(250, f"MAIL FROM:<{match[1]}> OK")

    def _parameters_right(self, words: list[str]) -> bool:
        offered = self._offer.keywords(self._tls)
        for word in words:
            name, _, value = word.partition("=")
            if PARAMETERS.get(name.upper()) not in offered:
                self._reply(555, f"parameter {name} not recognised", "5.5.4")
                return False
            limits = offered.get("SIZE") or []
            if (
                name.upper() == "SIZE"
                and limits
                and value.isdigit()
                and 0 < int(limits[0]) < int(value)
            ):
                self._reply(552, "message too large", "5.3.4")
                return False
        return True

    def _rcpt(self, rest: str) -> None:
        match = _PATH.fullmatch(rest[3:].strip()) if rest[:3].upper() == "TO:" else None
        if self._transaction is None or self._transaction.octets:
            self._reply(503, "RCPT out of order", "5.5.1")
        elif match is None or not match[1]:
            self._reply(501, "RCPT TO:<address>", "5.1.3")
        elif len(self._transaction.recipients) >= 1000:
            self._reply(452, "too many recipients", "4.5.3")
        elif self._parameters_right(match[2].split()):
            self._transaction.recipients.append(match[1])
            if self._offer.enhanced:
                self._reply(250, "OK", "2.1.5")
            else:
                self._reply(250, f"RCPT TO:<{match[1]}> OK")

    def _data(self, rest: str) -> None:
        if self._transaction is None or self._transaction.octets:
            self._reply(503, "DATA out of order", "5.5.1")
        elif not self._transaction.recipients:
            self._reply(554, "no valid recipients", "5.5.1")
        else:
            self._say("354 Start mail input; end with <CRLF>.<CRLF>")
            self._in_data = True

    def _bdat(self, rest: str) -> None:
        words = rest.split()
        last = len(words) == 2 and words[1].upper() == "LAST"
        if (
            "CHUNKING" not in self._offer.keywords(self._tls)
            or not words
            or not words[0].isdigit()
            or len(words[0]) > 10
            or len(words) > 2
        ):
            self._reply(501, "BDAT octets [LAST]", "5.5.4")
            self.closed = True
            return
        self._chunk = int(words[0])
        self._chunk_last = last
        self._chunk_dropped = (
            self._transaction is None
            or not self._transaction.recipients
            or len(self._transaction.octets) + self._chunk > MESSAGE_LIMIT
        )
        if self._chunk == 0:
            self._end_of_chunk()

    def _end_of_chunk(self) -> None:
        if self._chunk_dropped or self._transaction is None:
            self._reply(503, "BDAT out of order", "5.5.1")
            self._transaction = None
        elif self._chunk_last:
            self._end_of_message(bytes(self._transaction.octets))
        else:
            self._reply(250, "chunk received", "2.0.0")

    def _end_of_message(self, octets: bytes) -> None:
        transaction, self._transaction = self._transaction, None
        assert transaction is not None
        if self._overridden(".", "."):
            return
        self.accepted.append(
            Accepted(
                transaction.sender,
                tuple(transaction.recipients),
                transaction.parameters,
                octets,
                self.user,
            )
        )
        self._reply(250, f"{len(self.accepted):04X} Mail accepted", "2.0.0")

    def _rset(self, rest: str) -> None:
        self._transaction = None
        self._reply(250, "OK", "2.0.0")

    def _noop(self, rest: str) -> None:
        self._reply(250, "OK", "2.0.0")

    def _vrfy(self, rest: str) -> None:
        self._reply(252, "send some mail, and see", "2.5.0")

    def _help(self, rest: str) -> None:
        self._say("214 this is the sandbox of smtps; see RFC 5321")

    def _quit(self, rest: str) -> None:
        if self._offer.enhanced:
            self._reply(221, "closing connection", "2.0.0")
        else:
            self._reply(221, "sandbox.localhost QUIT")
        self.closed = True


COMMANDS: dict[str, Callable[[ServerMachine, str], None]] = {
    "EHLO": ServerMachine._ehlo,
    "HELO": ServerMachine._helo_,
    "STARTTLS": ServerMachine._starttls,
    "AUTH": ServerMachine._auth,
    "MAIL": ServerMachine._mail,
    "RCPT": ServerMachine._rcpt,
    "DATA": ServerMachine._data,
    "BDAT": ServerMachine._bdat,
    "RSET": ServerMachine._rset,
    "NOOP": ServerMachine._noop,
    "VRFY": ServerMachine._vrfy,
    "HELP": ServerMachine._help,
    "QUIT": ServerMachine._quit,
}
"""Verb to what it does."""

"""The server's half of SMTP without I/O: octets in, octets out, mails kept.

Strict where a client should be caught: lines end with CRLF, commands come in their order,
parameters and addresses only as offered, no command before its predecessor's reply where
PIPELINING is not offered.  What is wrong and yet commonly taken is noted in `faults`.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from smtps.sandbox import extensions, parameters
from smtps.sandbox.logins import MECHANISMS, Login, Logins, bound

NAME = "sandbox.localhost"

COMMAND_LIMIT = 512
"""Octets of a command line with its CRLF: RFC 5321 4.5.3.1.4."""

ENVELOPE_LIMIT = COMMAND_LIMIT + 1024
"""The same for MAIL and RCPT, which extensions lengthen: DSN and AUTH by 500 each."""

LOGIN_LIMIT = 12288
"""The same for AUTH and what follows it: RFC 4954 section 4."""

LINE_LIMITS = {"MAIL": ENVELOPE_LIMIT, "RCPT": ENVELOPE_LIMIT, "AUTH": LOGIN_LIMIT}

MESSAGE_LIMIT = 64 * 1024 * 1024
"""Octets of a message when the offer names no limit: the sandbox keeps mails in memory."""

RECIPIENTS_LIMIT = 1000
"""Recipients of a mail: ten times what RFC 5321 4.5.3.1.8 asks for."""

ERRORS_LIMIT = 20
"""After so many errors the connection is closed: that is no mail client."""

FAULTS_LIMIT = 20
"""So many faults are noted: a hostile client shall not fill the memory."""

SILENCE = ""
"""An override's reply that is none: the client waits."""

HANG_UP = "\0"
"""An override's reply that closes the connection without a word."""

_DOCUMENTED_TEXTS = {
    "login": "login authentication successful",
    "mail": "MAIL FROM:<{address}> OK",
    "rcpt": "RCPT TO:<{address}> OK",
    "data": "Start mail input; end with <CRLF>.<CRLF>",
    "message": "{id} Mail accepted",
    "quit": f"{NAME} QUIT",
}


@dataclass(frozen=True)
class Offer:
    """What a server says it can do, which is also what it then does.

    The lines of EHLO are given as they stand.
    """

    greeting: str = f"{NAME} ESMTP Service ready"
    clear: tuple[str, ...] = ()
    """EHLO's lines in clear; none of them counts under TLS."""
    secure: tuple[str, ...] = ()
    """EHLO's lines under TLS."""
    login_needed: bool = True
    swallows_chunks: bool = True
    """False: the octets of a refused BDAT are run as commands, as Dovecot does before a login."""
    texts: Mapping[str, str] = field(default_factory=lambda: _DOCUMENTED_TEXTS)
    """The texts of the replies that the documented dialogues word in two ways."""

    def keywords(self, tls: bool) -> dict[str, list[str]]:
        """Return keyword to its words, both in capitals."""
        found: dict[str, list[str]] = {}
        for line in self.secure if tls else self.clear:
            keyword, *words = line.upper().replace("AUTH=", "AUTH ").split()
            found.setdefault(keyword, []).extend(words)
        return found

    def with_more(self, more: Sequence[str]) -> Offer:
        """Return this offer with MORE extensions, each a keyword and what may follow it.

        Raises UsageError where the sandbox does not have one.
        """
        lines = [extensions.line(text) for text in more]
        return replace(
            self,
            # Who offers nothing in clear does not begin in clear.
            clear=extensions.added(self.clear, lines, secure=False) if self.clear else (),
            secure=extensions.added(self.secure, lines, secure=True),
        )


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
    greeting=f"{NAME} ESMTP ready",
    clear=("SIZE 35651584", "8BITMIME", "STARTTLS", "ENHANCEDSTATUSCODES", "PIPELINING"),
    secure=("SIZE 35651584", "8BITMIME", "AUTH LOGIN PLAIN", "ENHANCEDSTATUSCODES", "PIPELINING"),
    texts={
        "login": "Accepted",
        "mail": "OK {id}",
        "rcpt": "OK {id}",
        # Two blanks: the documented server has them.
        "data": " Go ahead {id}",
        "message": "OK {id}",
        "quit": "closing connection {id}",
    },
)
"""The EHLO lists of the documented dialogue with STARTTLS."""


@dataclass(frozen=True)
class Accepted:
    """A mail that was taken: the envelope, its parameters as sent, and the octets, unstuffed."""

    mail_from: str
    recipients: tuple[str, ...]
    parameters: tuple[str, ...]
    recipient_parameters: tuple[tuple[str, ...], ...]
    octets: bytes
    user: str | None


@dataclass
class _Transaction:
    sender: str
    parameters: tuple[str, ...]
    recipients: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    asked: int = 0
    """How many recipients were named, refused ones too."""
    octets: bytearray = field(default_factory=bytearray)
    chunked: bool = False
    too_large: bool = False

    def has(self, parameter: str) -> bool:
        return parameter in (word.upper() for word in self.parameters)


Override = Callable[[str, str], str | None]
"""Gets verb and line; returns the reply to give instead, or None for the usual one.

The reply is whole lines with their CRLF, or `SILENCE` or `HANG_UP`.  With 2yz or 3yz the
command has its usual effect, with any other it has none; after 421 the connection closes.
Three more verbs are ``GREETING``, ``LOGIN`` for a login's outcome (the line is the user, or
empty where it failed), and ``.`` for the end of a message.
"""

_ATOM = r"[^\s\x00-\x1f\x7f()<>\[\]:;@\\,.\"]+"
_LOCAL = rf"(?:{_ATOM}(?:\.{_ATOM})*|\"(?:[^\"\\\x00-\x1f\x7f]|\\[ -~])*\")"
# One class for each place: alternatives that overlap make a hostile address expensive.
_INNER = "a-z0-9\x80-\U0010ffff"
_LABEL = rf"[{_INNER}](?:[{_INNER}_-]*[{_INNER}])?"
_DOMAIN = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-z0-9.:-]+\])"
_PATH = re.compile(
    rf"<(?P<address>(?P<local>{_LOCAL})@(?P<domain>{_DOMAIN})|postmaster|)>(?: +(?P<words>.*))?",
    re.IGNORECASE,
)
"""RFC 5321 4.1.2, without source routes; RFC 6531 3.3 for what is not ASCII."""

_VERB = re.compile(rb"[A-Za-z]*")
_BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n")
_LONG = re.compile(rb"[^\r\n]{999}")
"""RFC 5321 4.5.3.1.6."""
_HEADER = re.compile(rb"(?:[!-9;-~]+:[^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*)*")
"""RFC 5322 2.2; empty where a message begins with its text."""


class ServerMachine:
    """One connection's server side.

    LOGINS maps users to passwords.  TLS tells whether the connection begins under it, and
    BINDING is TLS's own for SCRAM-PLUS.  KEEP gets each mail, and raises OSError where it
    can't keep it; without it mails go to ``accepted``.
    """

    def __init__(
        self,
        offer: Offer,
        logins: Logins | None = None,
        tls: bool = True,
        override: Override | None = None,
        keep: Callable[[Accepted], None] | None = None,
        binding: bytes | None = None,
    ) -> None:
        self.accepted: list[Accepted] = []
        self.faults: list[str] = []
        self.closed = False
        self.wants_tls = False
        self.user: str | None = None
        self._offer = offer
        self._logins = dict(logins or {})
        self._override = override
        self._tls = tls
        self._keep = keep or self.accepted.append
        self._binding = binding
        self._in = bytearray()
        self._out = bytearray()
        self._skipping = False
        self._instead: str | None = None
        self._greeted = False
        self._extended = False
        self._last_of_group = True
        self._login: Login | None = None
        self._responses = 0
        self._transaction: _Transaction | None = None
        self._in_data = False
        self._chunk = 0
        self._chunk_last = False
        self._chunk_refused: tuple[int, str, str] | None = None
        self._errors = 0
        self._mails = 0
        self._begun = 0
        self._domains: set[str] = set()
        if not self._overridden("GREETING", ""):
            self._say(f"220 {offer.greeting}")

    @property
    def between_secrets(self) -> bool:
        """True while the second answer of a login is awaited: the password, after the user."""
        return self._login is not None and self._responses > 0

    def data_to_send(self) -> bytes:
        """Return and forget what is to be sent."""
        data = bytes(self._out)
        self._out.clear()
        return data

    def receive(self, data: bytes) -> None:
        """Take DATA from the client.

        What is not yet fetched by `data_to_send` counts as not yet seen by the client.
        """
        if self.closed or self.wants_tls:
            return
        self._in += data
        while self._in and not self.closed and not self.wants_tls:
            if self._chunk:
                self._take_chunk()
            elif not (self._take_text() if self._in_data else self._take_line()):
                return

    def tls_started(self) -> None:
        """The handshake was made: forget everything (RFC 3207 section 4.2)."""
        self._in.clear()
        self.wants_tls = False
        self._tls = True
        self._greeted = self._extended = False
        self.user = None
        self._transaction = None

    def time_out(self) -> None:
        """The password took too long: the login ends as if the user name had been wrong."""
        self._login = None
        self._logged_in(None)

    # Octets

    def _say(self, *lines: str) -> None:
        if self._instead is not None:
            self._out += self._instead.encode()
            self._instead = None
            return
        for line in lines[:-1]:
            self._out += f"{line[:3]}-{line[4:]}\r\n".encode()
        self._out += f"{lines[-1]}\r\n".encode()

    def _reply(self, code: int, enhanced: str, text: str) -> None:
        if "ENHANCEDSTATUSCODES" in self._offer.keywords(self._tls) and not 300 <= code < 400:
            text = f"{enhanced} {text}"
        self._say(f"{code} {text}")
        if code >= 500:
            self._errors += 1
            if self._errors >= ERRORS_LIMIT:
                self._say("421 too many errors, good bye")
                self.closed = True

    def _texted(self, code: int, enhanced: str, name: str, address: str = "") -> None:
        text = self._offer.texts[name].format(address=address, id=f"{self._mails + 1:04X}")
        self._reply(code, enhanced, text)

    def _fault(self, text: str) -> None:
        if len(self.faults) < FAULTS_LIMIT:
            self.faults.append(text)

    def _overridden(self, verb: str, line: str) -> bool:
        """Return True where the reply to VERB was given in place of its effect."""
        reply = self._override(verb, line) if self._override else None
        if reply is None:
            return False
        if reply == HANG_UP:
            self.closed = True
        elif reply[:1] in ("2", "3"):
            self._instead = reply
            return False
        else:
            self._out += reply.encode()
            self.closed = reply.startswith("421")
        return True

    def _take_line(self) -> bool:
        end = self._in.find(b"\n")
        if end < 0:
            if len(self._in) >= LOGIN_LIMIT:
                self._in.clear()
                self._skipping = True
            return False
        line = bytes(self._in[: end + 1])
        del self._in[: end + 1]
        skipped, self._skipping = self._skipping, False
        awaited = self._login is not None
        verb = "" if awaited else _VERB.match(line)[0].decode().upper()  # type: ignore[index]
        if not self._in_turn(verb):
            return True
        limit = LOGIN_LIMIT if awaited else LINE_LIMITS.get(verb, COMMAND_LIMIT)
        try:
            text = line.removesuffix(b"\r\n").decode("utf-8")
        except UnicodeDecodeError:
            text = "\0"
        if skipped or len(line) > limit:
            self._wrong_line("line too long")
        elif not line.endswith(b"\r\n"):
            self._wrong_line("lines end with CR LF")
        elif re.search(r"[\x00-\x1f\x7f]", text):
            self._wrong_line("control characters, or not UTF-8")
        elif awaited:
            self._continue_login(text)
        else:
            self._command(verb, text.rstrip(" "))
        return True

    def _wrong_line(self, text: str) -> None:
        # RFC 4954 section 4: a response that can't be read ends the login.
        self._login = None
        self._reply(500, "5.5.2", text)

    def _in_turn(self, verb: str) -> bool:
        """Say what comes before the reply to its predecessor, if it may not."""
        unseen = bool(self._out)
        if unseen and "PIPELINING" not in self._offer.keywords(self._tls):
            self._fault(f"{verb} without waiting, and PIPELINING is not offered")
            self._reply(503, "5.5.0", "PIPELINING is not offered")
            self.closed = True
            return False
        if unseen and self._last_of_group:
            self._fault(f"{verb} behind what must be the last of its group")
        self._last_of_group = verb in _LAST_OF_GROUP
        return True

    def _limit(self) -> int:
        words = self._offer.keywords(self._tls).get("SIZE") or ["0"]
        # RFC 1870 section 3: 0, like no number, names no limit.
        return min(int(words[0]) or MESSAGE_LIMIT, MESSAGE_LIMIT)

    def _grown(self, transaction: _Transaction) -> None:
        # Before they are unstuffed, dots take up to a third more.
        if len(transaction.octets) > self._limit() * 4 // 3 + len(b"\r\n\r\n.\r\n"):
            transaction.too_large = True
        if transaction.too_large:
            # What stays may be the beginning of the end of data.
            del transaction.octets[:-4]

    def _take_text(self) -> bool:
        transaction = self._transaction
        assert transaction is not None
        octets = transaction.octets
        # The end of data may be split between what has been kept and what comes.
        searched = max(0, len(octets) - 4)
        octets += self._in
        self._in.clear()
        at = octets.find(b"\r\n.\r\n", searched)
        if at < 0:
            self._grown(transaction)
            return False
        self._in += octets[at + 5 :]
        self._in_data = False
        # The CRLF that was put first makes every line alike (RFC 5321 4.5.2), and goes.
        self._end_of_message(bytes(octets[: at + 2].replace(b"\r\n.", b"\r\n")[2:]))
        return True

    def _take_chunk(self) -> None:
        piece = self._in[: self._chunk]
        del self._in[: len(piece)]
        self._chunk -= len(piece)
        if self._transaction is not None and self._chunk_refused is None:
            self._transaction.octets += piece
            self._grown(self._transaction)
        if self._chunk == 0:
            self._end_of_chunk()

    # Commands

    def _command(self, verb: str, line: str) -> None:
        if self._overridden(verb, line):
            # The octets behind a BDAT come all the same.
            if verb == "BDAT" and not self.closed:
                self._bdat_overridden(line)
            return
        handler = COMMANDS.get(verb)
        rest = line[len(verb) :].strip(" ")
        if handler is None or line[len(verb) : len(verb) + 1].strip():
            self._reply(500, "5.5.2", "unrecognised command")
        elif not line.isascii() and verb not in _OWN_CHECK:
            self._reply(501, "5.5.4", f"{verb} is followed by ASCII only")
        elif verb in _WITHOUT_WORDS and rest:
            self._reply(501, "5.5.4", f"{verb} stands alone")
        else:
            handler(self, rest)
        self._instead = None

    def _hello(self, name: str, extended: bool, *lines: str) -> None:
        if not name:
            self._reply(501, "5.5.4", "your name is missing")
            return
        self._greeted, self._extended = True, extended
        self._transaction = None
        self._say(f"250 {NAME} greets {name[:100]}", *(f"250 {line}" for line in lines))

    def _ehlo(self, name: str) -> None:
        self._hello(name, True, *(self._offer.secure if self._tls else self._offer.clear))

    def _helo(self, name: str) -> None:
        self._hello(name, False)

    def _offered(self) -> dict[str, list[str]]:
        return self._offer.keywords(self._tls) if self._extended else {}

    def _starttls(self, rest: str) -> None:
        if "STARTTLS" not in self._offered() or self._tls or self._transaction is not None:
            self._reply(503, "5.5.1", "STARTTLS is not offered here")
            return
        self._say("220 2.0.0 Ready to start TLS")
        if self._in:
            self._fault("something behind STARTTLS in clear")
        # RFC 3207 section 4.2: what was sent in clear is dropped.
        self._in.clear()
        self.wants_tls = True

    def _wanting(self) -> str:
        clear = not self._tls and "STARTTLS" in self._offered()
        return "issue a STARTTLS command first" if clear else "authentication required"

    def _auth(self, rest: str) -> None:
        name, *words = rest.split(" ")
        offered = self._offered().get("AUTH", [])
        known = MECHANISMS
        if self._binding is not None and any(word.endswith("-PLUS") for word in offered):
            known = MECHANISMS | bound(self._binding)
        mechanism = known.get(name.upper()) if name.upper() in offered else None
        if not self._greeted or self.user is not None or self._transaction is not None:
            self._reply(503, "5.5.1", "AUTH out of order")
        elif not self._tls and "STARTTLS" in self._offered() and not offered:
            self._reply(530, "5.7.0", self._wanting())
        elif mechanism is None:
            self._reply(504, "5.5.4", "unrecognised authentication type")
        elif len(words) > 1 or (words and not mechanism.client_first):
            self._reply(501, "5.5.4", f"AUTH {name.upper()} has no such words")
        else:
            self._login = mechanism.begin(self._logins)
            self._responses = 0
            challenge = next(self._login)
            if words:
                self._continue_login("" if words[0] == "=" else words[0])
            else:
                self._challenge(challenge)

    def _challenge(self, challenge: bytes) -> None:
        self._say(f"334 {base64.b64encode(challenge).decode()}")

    def _continue_login(self, text: str) -> None:
        login, self._login = self._login, None
        assert login is not None
        if text == "*":
            self._reply(501, "5.7.0", "authentication cancelled")
            return
        try:
            response = base64.b64decode(text.encode(), validate=True)
        except binascii.Error:
            self._reply(501, "5.5.2", "this is not base64")
            return
        try:
            self._challenge(login.send(response))
            self._login = login
            self._responses += 1
        except StopIteration as stop:
            self._logged_in(stop.value)

    def _logged_in(self, user: str | None) -> None:
        if self._overridden("LOGIN", user or ""):
            return
        self.user = user
        if user is None:
            self._reply(535, "5.7.8", "authentication failed")
        else:
            self._texted(235, "2.7.0", "login")
        self._instead = None

    def _path(
        self, rest: str, before: str, known: Mapping[str, parameters.Parameter]
    ) -> tuple[str, tuple[str, ...]] | None:
        """Read a path and its parameters; None where a refusal was said."""
        verb = "MAIL" if known is parameters.MAIL else "RCPT"
        match = _PATH.fullmatch(rest[len(before) :]) if rest.upper().startswith(before) else None
        if match is None:
            self._reply(501, "5.5.4", f"write {verb} {before}<address>")
            return None
        address, words = match["address"], tuple((match["words"] or "").split())
        if len((match["local"] or "").encode()) > 64 or len(address.encode()) > 254:
            self._reply(501, "5.1.3", "address too long")
            return None
        refused = parameters.refusal(words, known, self._offered())
        if refused is not None:
            self._reply(refused.code, refused.enhanced, refused.text)
            return None
        transaction = self._transaction or _Transaction(address, words)
        if not (match[0].isascii() or transaction.has("SMTPUTF8")):
            self._reply(553, "5.6.7", "SMTPUTF8 is needed for this address")
            return None
        return address, words

    def _mail(self, rest: str) -> None:
        most = self._limits("MAILMAX")
        if not self._greeted or self._transaction is not None:
            self._reply(503, "5.5.1", "MAIL out of order")
        elif self._offer.login_needed and self.user is None:
            self._reply(530, "5.7.0", self._wanting())
        elif most is not None and self._begun >= most:
            self._reply(452, "4.5.3", "no more mails on this connection")
        elif path := self._path(rest, "FROM:", parameters.MAIL):
            size = next((word[5:] for word in path[1] if word.upper().startswith("SIZE=")), "0")
            if int(size) > self._limit():
                self._reply(552, "5.3.4", "message too large")
            elif path[0].lower() == "postmaster":
                self._reply(501, "5.1.7", "a sender has a domain")
            else:
                self._transaction = _Transaction(*path)
                self._begun += 1
                self._texted(250, "2.1.0", "mail", path[0])

    def _rcpt(self, rest: str) -> None:
        transaction = self._transaction
        if transaction is None or transaction.chunked:
            self._reply(503, "5.5.1", "RCPT out of order")
            return
        transaction.asked += 1
        if path := self._path(rest, "TO:", parameters.RCPT):
            domain = path[0].rpartition("@")[2].lower()
            if not path[0]:
                self._reply(501, "5.1.3", "a recipient is missing")
            elif transaction.asked > (self._limits("RCPTMAX") or RECIPIENTS_LIMIT):
                self._reply(452, "4.5.3", "too many recipients")
            elif not self._domain_allowed(domain):
                self._reply(452, "4.5.3", "recipients in too many domains")
            else:
                self._domains.add(domain)
                transaction.recipients.append(path)
                self._texted(250, "2.1.5", "rcpt", path[0])

    def _domain_allowed(self, domain: str) -> bool:
        most = self._limits("RCPTDOMAINMAX")
        return most is None or domain in self._domains or len(self._domains) < most

    def _limits(self, name: str) -> int | None:
        """Return what LIMITS says of NAME, None if nothing.  Source: RFC 9422 section 4."""
        for word in self._offered().get("LIMITS", []):
            key, _, value = word.partition("=")
            if key == name:
                return int(value)
        return None

    def _data(self, rest: str) -> None:
        transaction = self._transaction
        if transaction is None or transaction.chunked or transaction.has("BODY=BINARYMIME"):
            self._reply(503, "5.5.1", "DATA out of order")
        elif not transaction.recipients:
            self._reply(554, "5.5.1", "no valid recipients")
        else:
            self._texted(354, "", "data")
            self._in_data = True
            if self._in:
                self._fault("text before the reply to DATA")
            transaction.octets += b"\r\n"

    def _bdat(self, rest: str) -> None:
        words = re.fullmatch("([0-9]{1,20})( +LAST)?", rest, re.IGNORECASE | re.ASCII)
        if words is None or "CHUNKING" not in self._offered():
            self._reply(501, "5.5.4", "BDAT octets [LAST], where CHUNKING is offered")
            # How many octets follow is not known.
            self.closed = True
            return
        transaction = self._transaction
        self._chunk_refused = None
        if transaction is None:
            self._chunk_refused = (503, "5.5.1", "BDAT out of order")
        elif not transaction.recipients:
            self._chunk_refused = (554, "5.5.1", "no valid recipients")
        else:
            transaction.chunked = True
        self._chunk_last = words[2] is not None
        if self._chunk_refused and not self._offer.swallows_chunks:
            self._end_of_chunk()
            return
        self._begin_chunk(int(words[1]))

    def _bdat_overridden(self, line: str) -> None:
        match = re.match(r"BDAT +([0-9]{1,20})", line, re.IGNORECASE | re.ASCII)
        if match and self._offer.swallows_chunks:
            self._chunk_refused = (0, "", "")
            self._begin_chunk(int(match[1]))

    def _begin_chunk(self, octets: int) -> None:
        self._chunk = octets
        if octets == 0:
            self._end_of_chunk()

    def _end_of_chunk(self) -> None:
        transaction = self._transaction
        if self._chunk_refused is not None:
            self._transaction = None
            if self._chunk_refused[0]:
                self._reply(*self._chunk_refused)
        elif transaction is not None and self._chunk_last:
            self._end_of_message(bytes(transaction.octets))
        elif transaction is not None and (
            transaction.too_large or len(transaction.octets) > self._limit()
        ):
            self._transaction = None
            self._reply(552, "5.3.4", "message too large")
        else:
            self._reply(250, "2.0.0", "chunk received")

    def _wrong_text(self, transaction: _Transaction, octets: bytes) -> tuple[int, str, str] | None:
        if transaction.too_large or len(octets) > self._limit():
            return 552, "5.3.4", "message too large"
        if transaction.has("BODY=BINARYMIME"):
            return None
        if _BARE.search(octets):
            return 550, "5.6.0", "a CR or LF stands alone in the message"
        if _LONG.search(octets):
            return 550, "5.6.0", "a line of the message has over 998 octets"
        if not octets.isascii() and not (
            transaction.has("BODY=8BITMIME") or transaction.has("SMTPUTF8")
        ):
            self._fault("8-bit text without BODY=8BITMIME")
        if not (_HEADER.match(octets)[0].isascii() or transaction.has("SMTPUTF8")):  # type: ignore[index]
            self._fault("an 8-bit header without SMTPUTF8")
        if b"\0" in octets:
            self._fault("NUL in the message")
        return None

    def _end_of_message(self, octets: bytes) -> None:
        transaction, self._transaction = self._transaction, None
        assert transaction is not None
        # RFC 2920 section 3.1: the next group may begin behind the end of a message.
        self._last_of_group = False
        if self._overridden(".", "."):
            return
        wrong = self._wrong_text(transaction, octets)
        if wrong is not None:
            self._reply(*wrong)
            return
        try:
            self._keep(
                Accepted(
                    transaction.sender,
                    tuple(address for address, _ in transaction.recipients),
                    transaction.parameters,
                    tuple(words for _, words in transaction.recipients),
                    octets,
                    self.user,
                )
            )
        except OSError:
            self._reply(451, "4.3.0", "the mail can't be kept")
        else:
            self._texted(250, "2.0.0", "message")
            self._mails += 1
        self._instead = None

    def _rset(self, rest: str) -> None:
        self._transaction = None
        self._reply(250, "2.0.0", "OK")

    def _noop(self, rest: str) -> None:
        self._reply(250, "2.0.0", "OK")

    def _vrfy(self, rest: str) -> None:
        if rest:
            self._reply(252, "2.5.0", "send some mail, and see")
        else:
            self._reply(501, "5.5.4", "whom?")

    def _help(self, rest: str) -> None:
        self._reply(214, "2.0.0", " ".join(COMMANDS))

    def _quit(self, rest: str) -> None:
        self._texted(221, "2.0.0", "quit")
        self.closed = True


COMMANDS: Mapping[str, Callable[[ServerMachine, str], None]] = {
    "EHLO": ServerMachine._ehlo,
    "HELO": ServerMachine._helo,
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

_WITHOUT_WORDS = ("STARTTLS", "DATA", "RSET", "QUIT")

_OWN_CHECK = ("MAIL", "RCPT", "VRFY", "BDAT")
"""Whose words may be in UTF-8 (RFC 6531 sections 3.3 and 3.7.4.2), or end it where they are."""

_LAST_OF_GROUP: Sequence[str] = ("EHLO", "HELO", "STARTTLS", "DATA", "VRFY", "NOOP", "QUIT")
"""RFC 2920 section 3.1.  (AUTH is not among them: RFC 4954 section 4.)"""

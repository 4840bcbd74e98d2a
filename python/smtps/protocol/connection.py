"""One connection: where lines, replies, commands and the state table meet.

Each command sent is remembered until its reply has come, so no reply is ever paired with
another command's.  Two ways of driving it:

- the engine leads: `send` checks against the state table, and any break of the protocol by
  the server raises `RemoteProtocolError`;
- a person leads: `send_line` lets every line through and only follows along, and what the
  server does wrong is told as a `Violation` event.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from smtps.errors import LocalProtocolError, RemoteProtocolError
from smtps.protocol import commands, states
from smtps.protocol.commands import Command, Verb
from smtps.protocol.ehlo import Extensions
from smtps.protocol.replies import LineReader, Reply, ReplyAssembler
from smtps.protocol.states import State
from smtps.protocol.visible import visible

SERVICE_CLOSING = 421
"""The reply that may come at any time, and after which the server closes (RFC 5321 3.8)."""

SECRET_MASK = b"<masked>"

SCRAM_PROOF = b"v="
"""What the server's last word in SCRAM begins with (RFC 5802 section 7): who has it, and the
challenge before, can try passwords."""

SHORT = 4
"""Octets from which on a secret is masked wherever it stands.  One or two letters stand in
every text, which would lose its meaning, and tell them by what is missing: a shorter one is
masked as a word of its own."""


class LineReceived(NamedTuple):
    """A line of the server's, harmless and masked; ``decoded`` is a challenge in clear.

    ``verb`` is what it answers, None for what nothing asked for; ``bare`` tells that the line
    ended with LF alone.
    """

    text: str
    code: int | None = None
    decoded: str | None = None
    verb: Verb | None = None
    bare: bool = False


class ReplyReceived(NamedTuple):
    """A whole reply and the command it answers; ``command`` is None for an unasked 421."""

    command: Command | None
    reply: Reply
    challenge: bytes | None = None
    """The text of a 334 as it came, still in base64."""


class Violation(NamedTuple):
    """By hand only: what the server did against the protocol, in a sentence."""

    text: str


class Ended:
    """The server closed the connection."""


ENDED = Ended()


Event = LineReceived | ReplyReceived | Violation | Ended

_GREETING = Command(Verb.GREETING, b"", "")

Trace = Callable[[str, str], None]
"""Called with ``recv`` or ``send`` and a masked, harmless line."""


Forms = Callable[[str], tuple[bytes, ...]]
"""Returns the forms in which a server could repeat a secret."""


class Connection:
    """The client's view of one SMTP connection, without I/O."""

    def __init__(
        self, by_hand: bool = False, trace: Trace | None = None, forms: Forms | None = None
    ) -> None:
        self.by_hand = by_hand
        self._forms = forms
        self.state = State.GREETING
        self.extensions = Extensions()
        self.hello_accepted = False
        self.authenticated = False
        self.broken = False
        """True once replies and commands can no longer be paired for sure."""
        self.owed: deque[Command] = deque([_GREETING])
        self._trace = trace
        self._reader = LineReader()
        self._assembler = ReplyAssembler()
        self._events: deque[Event] = deque()
        self._secrets: set[bytes] = set()
        self._secret: re.Pattern[bytes] | None = None
        self._end = False
        self._chunk_left = 0
        self._responses = 0
        self._refused = False
        """True behind a login that was refused: a line that is no command may be its secret."""
        self.mechanism: str | None = None
        """The mechanism of a login under way."""

    # Sending

    @property
    def expected(self) -> State:
        """The state if everything unanswered succeeds."""
        state, hello = self.state, self.hello_accepted
        for command in self.owed:
            hello = hello or command.verb in (Verb.EHLO, Verb.HELO)
            state = states.move(state, command.verb, states.SUCCESS[command.verb], hello) or state
        return state

    def send(self, command: Command) -> bytes:
        """Return the octets of COMMAND and wait for its reply.

        Raises LocalProtocolError if the state does not allow it.
        """
        if command.verb not in states.ALLOWED[self.expected]:
            raise LocalProtocolError(f"{command.verb} can't be sent in state {self.expected}.")
        self._owe(command)
        return command.line

    def _owe(self, command: Command) -> None:
        self._remember(command)
        self.owed.append(command)
        if self._trace is not None and command.verb is not Verb.BODY:
            self._trace("send", command.shown)

    def _remember(self, command: Command) -> None:
        new = {secret for secret in command.secrets if secret} - self._secrets
        if new:
            self._secrets |= new
            # The longest first: a secret may be part of another, and of what stands for it.
            found = sorted(self._secrets, key=len, reverse=True)
            self._secret = re.compile(b"|".join(map(_pattern, found)))
        if command.verb is Verb.AUTH:
            self.mechanism = command.mechanism
            self._responses = 1 if command.secrets else 0

    def send_body(self) -> bytes:
        """Return the end of data, for which a reply is then owed."""
        return self.send(Command(Verb.BODY, b".\r\n", "."))

    @property
    def next_secret(self) -> str | None:
        """What a line typed now would be: username, password, credentials, response or None."""
        if self.expected is not State.AUTHENTICATING:
            pending = [c for c in self.owed if c.verb in (Verb.AUTH, Verb.RESPONSE)]
            if not pending:
                return None
        if self.mechanism == "LOGIN":
            return "username" if self._responses == 0 else "password"
        return "credentials" if self.mechanism == "PLAIN" else "response"

    def read_line(self, text: str) -> Command:
        """Return the command that a typed line TEXT is in the present state."""
        octets = text.encode("utf-8", "surrogateescape") + b"\r\n"
        if self.state is State.DATA or self._chunk_left:
            verb = Verb.BODY if text == "." and not self._chunk_left else Verb.OTHER
            return Command(verb, octets, visible(text))
        due = self.next_secret
        if due is not None:
            if text == "*":
                return Command(Verb.RESPONSE, octets, "*")
            return Command(
                Verb.RESPONSE,
                octets,
                commands.MASKS[due] if text else "",
                () if due == "username" else self._readings(text),
            )
        words = text.split()
        verb = commands.TYPED.get(words[0].upper(), Verb.OTHER) if words else Verb.OTHER
        if verb is Verb.OTHER and self._refused and text != "*":
            return Command(
                verb,
                octets,
                commands.MASKS["response"] if text else "",
                self._readings(text),
            )
        if verb is Verb.AUTH and len(words) > 1:
            mechanism = words[1].upper()
            if words[2:] in ([], ["="]):
                return Command(verb, octets, visible(text), (), mechanism)
            mask = commands.MASKS["username" if mechanism == "LOGIN" else "credentials"]
            shown = visible(" ".join(words[:2]) + " " + mask)
            return Command(verb, octets, shown, self._readings(words[2]), mechanism)
        if verb is Verb.BDAT and len(words) > 1 and words[-1].upper() == "LAST":
            verb = Verb.BDAT_LAST
        return Command(verb, octets, visible(text))

    def _readings(self, text: str) -> tuple[bytes, ...]:
        """Return the ways in which a secret typed as base64 TEXT could come back."""
        octets = text.encode("utf-8", "surrogateescape")
        clear = _clear(octets) or b""
        secret = _secret_in(clear)
        found = [octets, clear, secret]
        if self._forms is not None:
            with suppress(UnicodeDecodeError):
                found += self._forms(secret.decode())
        return tuple(part for part in found if part)

    def send_line(self, text: str) -> tuple[bytes, Command]:
        """By hand: return the octets of the typed line TEXT, and what it was taken for."""
        command = self.read_line(text)
        if self._chunk_left:
            self._chunk_left = max(0, self._chunk_left - len(command.line))
        elif self.state is State.DATA:
            if command.verb is Verb.BODY:
                self.owed.append(command)
        else:
            if command.verb in (Verb.BDAT, Verb.BDAT_LAST):
                digits = text.split()[1:2]
                size = digits[0] if digits else ""
                self._chunk_left = int(size) if size.isascii() and size.isdigit() else 0
            self._remember(command)
            if command.verb is Verb.RESPONSE:
                self._responses += 1
            self._refused = self._refused and command.verb is Verb.OTHER
            self.owed.append(command)
        if self._trace is not None:
            self._trace("send", command.shown)
        return command.line, command

    def begins_login(self, text: str) -> bool:
        """By hand: return True if the typed line TEXT begins a login, or is what was to follow."""
        verb = self.read_line(text).verb
        inside = self.taking_message
        return not inside and (verb is Verb.AUTH or (verb is Verb.OTHER and self._refused))

    def login_withheld(self) -> None:
        """By hand: AUTH was typed and not sent, so a line that is no command may be its secret."""
        self._refused = True

    @property
    def taking_message(self) -> bool:
        """True while what is sent is a message's text."""
        return self.state is State.DATA or self.inside_chunk

    @property
    def inside_chunk(self) -> bool:
        """True while octets that BDAT named are to be sent: before them comes no reply."""
        return self._chunk_left > 0

    # Receiving

    def receive(self, data: bytes) -> None:
        """Take DATA from the server; ``b""`` means that the connection ended."""
        if data:
            self._reader.feed(data)
        else:
            self._end = True

    @property
    def unread(self) -> int:
        """Octets received that no event has told yet."""
        return len(self._reader)

    @property
    def cut_line(self) -> str:
        """What is unread, as it is shown; where a cut secret may be in it, only its size."""
        rest = self._reader.rest
        return f"{len(rest)} octets" if self._secret else f"“{visible(rest)}”"

    def next_event(self) -> Event | None:
        """Return the next event, None if more octets are needed.

        When the engine leads, raises RemoteProtocolError for what the server may not say.
        """
        while not self._events:
            try:
                line = self._reader.next_line()
                if line is None:
                    break
                self._take(line)
            except RemoteProtocolError as error:
                self.broken = True
                if not self.by_hand:
                    raise
                self._events.append(Violation(error.text))
        if self._events:
            return self._events.popleft()
        if self._end and self.state is not State.CLOSED:
            self.state = State.CLOSED
            return ENDED
        return None

    def masked(self, text: bytes) -> bytes:
        """Return TEXT of the server's without the secrets that were sent to it."""
        return self._secret.sub(SECRET_MASK, text) if self._secret else text

    def _masked_line(self, line: bytes) -> bytes:
        if line.startswith((b"334 ", b"235 ")):
            # A challenge is shown as it came, and decoded.
            clear = _clear(line[4:]) or b""
            if clear.startswith(SCRAM_PROOF) or (self._secret and self._secret.search(clear)):
                return line[:4] + SECRET_MASK
        # A code is a code, though a secret may be the same three digits.
        code = 4 if _CODE.match(line) else 0
        return line[:code] + self.masked(line[code:])

    def _take(self, line: bytes) -> None:
        masked = self._masked_line(line)
        text = visible(masked)
        if self._trace is not None:
            self._trace("recv", text)
        if self.by_hand:
            code = int(line[:3]) if line[:3].isdigit() and line[:3].isascii() else None
            decoded = _decoded(masked[4:]) if line.startswith(b"334 ") else None
            verb = self.owed[0].verb if self.owed else None
            self._events.append(LineReceived(text, code, decoded, verb, self._reader.bare))
        reply = self._assembler.add(line, masked)
        if reply is None:
            return
        challenge = reply.lines[0] if reply.code == 334 else None
        reply = reply._replace(lines=tuple(map(self.masked, reply.lines)))
        if reply.code == SERVICE_CLOSING and not self.owed:
            self.state = State.CLOSING
            self._events.append(ReplyReceived(None, reply))
            return
        if not self.owed:
            raise RemoteProtocolError(f"The server sent “{text}” when nothing was asked.")
        command = self.owed.popleft()
        self._settle(command, reply)
        if not self.owed:
            # A BDAT that was refused at once: no chunk of it is waited for any more.
            self._chunk_left = 0
        self._events.append(ReplyReceived(command, reply, challenge))

    def _settle(self, command: Command, reply: Reply) -> None:
        """Move to the state that REPLY to COMMAND leads to."""
        verb = command.verb
        greeted = verb in (Verb.EHLO, Verb.HELO) and reply.category == 2
        hello = self.hello_accepted or greeted
        state = states.move(self.state, verb, reply.category, hello)
        if state is None or not states.answers(verb, reply.code):
            raise RemoteProtocolError(
                f"The server answered {verb} with “{reply}”, which can't be an answer to it."
            )
        if greeted:
            self.hello_accepted = True
            self.extensions = Extensions(reply if verb is Verb.EHLO else None)
        if verb in (Verb.AUTH, Verb.RESPONSE):
            self.authenticated = self.authenticated or reply.category == 2
            self._refused = reply.category in (4, 5)
        self.state = State.CLOSING if reply.code == SERVICE_CLOSING else state

    def tls_started(self) -> None:
        """Forget all that was learned in clear (RFC 3207 section 4.2).

        Raises RemoteProtocolError if the server said more behind its 220: octets that
        somebody put there to be read as if they had come under TLS.
        """
        if self._reader or self._assembler.open or self._events:
            raise RemoteProtocolError(
                "The server, or somebody between, sent more text in clear behind its answer to "
                "STARTTLS. This is how answers are forged; the connection was ended."
            )
        self.state = State.GREETED
        self.hello_accepted = False
        self.authenticated = False
        self.extensions = Extensions()

    def close(self) -> None:
        """Note that we closed the connection."""
        self.state = State.CLOSED


_TOKEN = re.compile(rb"\x01auth=[^\x01 ]+ +([^\x01]+)", re.IGNORECASE)


def _secret_in(clear: bytes) -> bytes:
    """Return what is secret by itself in a response: a token (RFC 7628 3.1), PLAIN's password.

    Of a response that is neither, it is all.
    """
    token = _TOKEN.search(clear)
    return token[1] if token else clear.split(b"\0")[-1]


_CODE = re.compile(rb"[0-9]{3}[ -]")

_IN_WORDS = rb"[0-9A-Za-z\x80-\xff]"


def _pattern(secret: bytes) -> bytes:
    """Return the regular expression that finds SECRET.

    A server may tell a line that it takes for a command in capitals.
    """
    found = re.escape(secret)
    if len(secret) >= SHORT:
        return b"(?i:%b)" % found
    return b"(?<!%b)%b(?!%b)" % (_IN_WORDS, found, _IN_WORDS)


def _decoded(challenge: bytes) -> str | None:
    """Return the text of a base64 CHALLENGE, harmless, or None if it is not base64."""
    clear = _clear(challenge)
    return None if clear is None else visible(clear)


def _clear(challenge: bytes) -> bytes | None:
    try:
        return base64.b64decode(challenge.strip(), validate=True)
    except (binascii.Error, ValueError):
        return None

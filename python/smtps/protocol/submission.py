"""The engine that leads: open a connection, log in, deliver mails, quit.

Each method is a generator of `steps`; it never does I/O itself.  `Submission.deliver`
always returns an `Outcome`: what goes wrong on the way is a verdict, not an error.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from dataclasses import dataclass

from smtps.errors import (
    ConnectionLostError,
    CredentialsLaterError,
    IdentityError,
    LocalProtocolError,
    LoginError,
    NetworkError,
    RemoteProtocolError,
    SmtpsError,
    TlsError,
)
from smtps.protocol import body, commands
from smtps.protocol.address import domain
from smtps.protocol.commands import Command, Verb
from smtps.protocol.connection import (
    SERVICE_CLOSING,
    Connection,
    Ended,
    ReplyReceived,
    Trace,
)
from smtps.protocol.envelope import Envelope, Message
from smtps.protocol.outcome import Fate, Outcome, Verdict
from smtps.protocol.replies import Reply
from smtps.protocol.states import State
from smtps.protocol.steps import (
    Commit,
    Exchange,
    Handshake,
    Login,
    Peek,
    Phase,
    Receive,
    Send,
    Steps,
)

HELLO_NAME = "[127.0.0.1]"
"""Tells nothing about the machine, and is valid everywhere (RFC 5321 4.1.3)."""

INITIAL_RESPONSE_LIMIT = 400
"""Characters of an initial response beside AUTH; a command line may have 512 octets (RFC
5321 4.5.3.1.4), and servers that refuse a longer one take it as a continuation."""

CHALLENGES_LIMIT = 8
"""Challenges of one login.  The longest mechanism has three."""

WRITE_SIZE = 64 * 1024
"""Octets of a body written at once: four TLS records."""

WORDS_NOT_KNOWN = frozenset({500, 501, 502, 503, 504})
"""Replies of a server that does not know a command, or not with this parameter."""

MECHANISM_REFUSED = WORDS_NOT_KNOWN | {534, 538}
"""Replies that refuse the mechanism and say nothing about the secret (RFC 4954 section 6)."""

PHASES = {
    Verb.GREETING: Phase.GREETING,
    Verb.AUTH: Phase.LOGIN,
    Verb.RESPONSE: Phase.LOGIN,
    Verb.DATA: Phase.DATA,
    Verb.BODY: Phase.END_OF_DATA,
    Verb.BDAT_LAST: Phase.END_OF_DATA,
    Verb.QUIT: Phase.QUIT,
}


class Stop(Exception):  # noqa: N818 - an end, not always an error
    """The transaction ends here, with this verdict for all who have none yet."""

    def __init__(self, verdict: Verdict, text: str, reply: Reply | None = None) -> None:
        super().__init__(text)
        self.verdict = verdict
        self.text = text
        self.reply = reply


@dataclass
class _Transaction:
    envelope: Envelope
    replies: dict[int, Reply]
    """Each recipient's reply to RCPT, by index."""
    committed: bool = False
    last_sent: bool = False
    """The octets that could complete the message began to leave."""

    @property
    def accepted(self) -> tuple[int, ...]:
        return tuple(
            i
            for i in range(len(self.envelope.recipients))
            if i in self.replies and self.replies[i].category == 2
        )


class Submission:
    """One connection that the engine leads.

    TLS is ``implicit`` (already established when the engine starts), ``starttls``
    (required) or ``none``.  TRACE gets the masked dialogue line by line.
    """

    def __init__(self, tls: str, host: str, trace: Trace | None = None) -> None:
        self.connection = Connection(trace=trace)
        self.tls = tls
        self.host = host
        self._wait = 0
        self._protected = tls == "implicit"

    # Words with the server

    def _reply(self) -> Steps[ReplyReceived]:
        """Wait for the next reply that is owed."""
        connection = self.connection
        command = connection.owed[0].verb if connection.owed else Verb.OTHER
        phase = PHASES.get(command, Phase.COMMAND)
        self._wait += 1
        while True:
            event = connection.next_event()
            if isinstance(event, ReplyReceived):
                return event
            if isinstance(event, Ended):
                raise Stop(
                    Verdict.UNREACHED,
                    f"{self.host} closed the connection instead of answering {_asked(command)}.",
                )
            connection.receive((yield Receive(phase, self._wait)))

    def _say(self, command: Command) -> Steps[ReplyReceived]:
        """Send COMMAND alone and wait for its reply."""
        yield from self._flush_input()
        yield from self._write(self.connection.send(command))
        return (yield from self._reply())

    def _write(self, data: bytes, phase: Phase = Phase.COMMAND) -> Steps[None]:
        """Send DATA for which a reply is owed.

        A server that refuses and closes may have left its last words: they are read next.
        """
        try:
            yield Send(data, phase)
        except ConnectionLostError:
            self.connection.broken = True

    def _flush_input(self) -> Steps[None]:
        """Before a command: nothing may lie unread that could be taken for its reply."""
        connection = self.connection
        if connection.owed:
            return
        while data := (yield Peek()):
            connection.receive(data)
            event = connection.next_event()
            if isinstance(event, ReplyReceived):
                # Raised as an error by the connection unless it is the 421 that may come any time.
                raise Stop(
                    Verdict.DEFERRED,
                    f"{self.host} said that it closes the connection: “{event.reply}”.",
                    event.reply,
                )
        if connection.unread:
            connection.next_event()

    # Opening

    def open(self, sender: str = "") -> Steps[None]:
        """Greeting, EHLO, STARTTLS where asked for, EHLO again.

        SENDER's domain serves as the EHLO name where the server wants one.  Raises Stop.
        """
        greeting = (yield from self._reply()).reply
        self._stop_unless_2yz(greeting, "with its greeting")
        yield from self._hello(sender)
        if self.tls == "starttls":
            yield from self._start_tls()
            yield from self._hello(sender)

    def _hello(self, sender: str) -> Steps[None]:
        reply = (yield from self._say(commands.ehlo(HELLO_NAME))).reply
        if reply.code == 504 or (reply.code == 550 and str(reply.enhanced) == "5.5.2"):
            name = domain(sender) if sender else None
            if name and name.isascii():
                reply = (yield from self._say(commands.ehlo(name))).reply
        if reply.code in WORDS_NOT_KNOWN and self.tls != "starttls":
            reply = (yield from self._say(commands.helo(HELLO_NAME))).reply
        self._stop_unless_2yz(reply, "to EHLO")

    def _start_tls(self) -> Steps[None]:
        if "STARTTLS" not in self.connection.extensions:
            raise Stop(
                Verdict.LOGIN,
                f"{self.host} does not offer STARTTLS, so nothing was sent: "
                "without it anybody on the way could read the mail and the password.",
            )
        reply = (yield from self._say(commands.starttls())).reply
        if reply.category == 4:
            raise Stop(Verdict.DEFERRED, f"{self.host} can't start TLS for now: “{reply}”.", reply)
        if reply.category != 2:
            raise Stop(
                Verdict.LOGIN,
                f"{self.host} refused STARTTLS: “{reply}”. Nothing was sent in clear.",
                reply,
            )
        try:
            # What came in the same segment as the 220 is in the reader, what came after in Peek.
            behind: bytes = yield Peek()
            if behind:
                self.connection.receive(behind)
            self.connection.tls_started()
        except RemoteProtocolError as error:
            raise Stop(Verdict.LOGIN, error.text) from error
        yield Handshake()
        self._protected = True

    def _stop_unless_2yz(self, reply: Reply, when: str) -> None:
        if reply.category == 2:
            return
        if reply.category == 4:
            raise Stop(Verdict.DEFERRED, f"{self.host} refused for now {when}: “{reply}”.", reply)
        raise Stop(Verdict.REFUSED_WHOLE, f"{self.host} refused {when}: “{reply}”.", reply)

    # Login

    def login(self) -> Steps[None]:
        """Log in if the driver wants it, with the first mechanism that serves.  Raises Stop."""
        failed: tuple[str, ...] = ()
        while not self.connection.authenticated:
            exchange: Exchange | None = yield Login(self.connection.extensions, failed)
            if exchange is None:
                return
            reply = yield from self._authenticate(exchange)
            if reply.category == 2:
                return
            if reply.category == 4:
                raise Stop(
                    Verdict.DEFERRED, f"{self.host} can't take the login for now: “{reply}”.", reply
                )
            if reply.code not in MECHANISM_REFUSED:
                raise Stop(
                    Verdict.LOGIN,
                    f"{self.host} refused the login ({exchange.name}): "
                    f"“{reply}”. Check the user name and the password.",
                    reply,
                )
            failed = (*failed, exchange.name)

    def _authenticate(self, exchange: Exchange) -> Steps[Reply]:
        """Run one mechanism to its end and return the last reply."""
        initial = exchange.initial()
        encoded = None if initial is None else _base64(initial) or "="
        masks = iter(exchange.masks)
        first = encoded is not None and len(encoded) <= INITIAL_RESPONSE_LIMIT
        if first:
            next(masks, None)
        event = yield from self._say(
            commands.auth(
                exchange.name, encoded if first else None, exchange.secrets if first else ()
            )
        )
        answers = 0
        while event.challenge is not None:
            answers += 1
            if encoded is not None and not first:
                answer, encoded = encoded.removeprefix("="), None
            else:
                answer = self._answer(exchange, event.challenge, answers)
            mask = next(masks, commands.RESPONSE_MASK)
            event = yield from self._say(
                commands.sasl_response(
                    answer,
                    mask,
                    (answer.encode(), *exchange.secrets)
                    if answer not in ("", "*") and mask != commands.USERNAME_MASK
                    else (),
                )
            )
        if event.reply.category == 2:
            exchange.succeeded(None)
        return event.reply

    def _answer(self, exchange: Exchange, challenge: bytes, answers: int) -> str:
        if answers > CHALLENGES_LIMIT:
            raise Stop(
                Verdict.LOGIN, f"{self.host} did not come to an end of the login ({exchange.name})."
            )
        try:
            return _base64(exchange.respond(base64.b64decode(challenge.strip(), validate=True)))
        except (binascii.Error, LoginError):
            # "*" takes the login back (RFC 4954 section 4); the server answers 501.
            return "*"

    # A mail

    def deliver(self, envelope: Envelope, message: Message) -> Steps[Outcome]:
        """Send MESSAGE and return what became of it for each recipient.

        The connection serves for another mail afterwards if `usable` says so.
        """
        transaction = _Transaction(envelope, {})
        try:
            return (yield from self._transact(transaction, message))
        except (Stop, SmtpsError) as error:
            return self._stopped(transaction, as_stop(error))

    def _stopped(self, transaction: _Transaction, stop: Stop) -> Outcome:
        if transaction.last_sent and stop.verdict in (Verdict.UNREACHED, Verdict.PROTOCOL):
            stop = Stop(
                Verdict.UNCERTAIN,
                f"{stop.text} The whole message had left by then, so it may have been delivered.",
            )
        return self._outcome(transaction, stop)

    def _outcome(self, transaction: _Transaction, stop: Stop) -> Outcome:
        fates = []
        for index, recipient in enumerate(transaction.envelope.recipients):
            reply = transaction.replies.get(index)
            if reply is None or reply.category == 2:
                fates.append(Fate(recipient, stop.verdict, stop.reply))
            else:
                verdict = Verdict.DEFERRED if reply.category == 4 else Verdict.REFUSED
                fates.append(Fate(recipient, verdict, reply))
        return Outcome(tuple(fates), stop.text)

    @property
    def usable(self) -> bool:
        """True if another transaction may be begun on this connection."""
        connection = self.connection
        return (
            not connection.broken
            and not connection.owed
            and not connection.unread
            and connection.state is State.READY
        )

    def _check_fits(self, envelope: Envelope, message: Message) -> tuple[str, ...]:
        """Return MAIL's parameters.  Raises Stop for what this server can't take."""
        extensions = self.connection.extensions
        parameters = []
        if "SIZE" in extensions:
            limit = extensions.size
            if limit is not None and message.shape.octets > limit:
                raise Stop(
                    Verdict.UNSENDABLE,
                    f"The message has {message.shape.octets} octets and "
                    f"{self.host} takes {limit} at most; nothing was sent.",
                )
            parameters.append(f"SIZE={message.shape.octets}")
        if message.shape.eight_bit and "8BITMIME" in extensions:
            parameters.append("BODY=8BITMIME")
        if envelope.international:
            if "SMTPUTF8" not in extensions:
                raise Stop(
                    Verdict.UNSENDABLE,
                    "An address has letters beyond ASCII, and "
                    f"{self.host} does not take such (SMTPUTF8); nothing was sent.",
                )
            parameters.append("SMTPUTF8")
        return tuple(parameters)

    def _transact(self, transaction: _Transaction, message: Message) -> Steps[Outcome]:
        envelope = transaction.envelope
        parameters = self._check_fits(envelope, message)
        flight = [
            commands.mail(envelope.sender, parameters),
            *map(commands.rcpt, envelope.recipients),
            commands.data(),
        ]
        data_reply = yield from self._fly(transaction, flight)
        if data_reply.category != 3:
            self._stop_unless_2yz(data_reply, "to DATA")
        if not transaction.accepted:
            # 354 although nobody was accepted: an empty message ends it (RFC 2920 3.1).
            yield from self._write(self.connection.send_body())
            yield from self._reply()
            return self._nobody(transaction)
        reply = yield from self._send_body(transaction, message)
        self._stop_unless_2yz(reply, "the message")
        return self._accepted(transaction, reply)

    def _fly(self, transaction: _Transaction, flight: list[Command]) -> Steps[Reply]:
        """Send MAIL, the RCPTs and DATA, together where PIPELINING allows (RFC 2920).

        Return the reply to DATA.  Raises Stop where there is nothing to go on with.
        """
        together = "PIPELINING" in self.connection.extensions
        if together:
            yield from self._flush_input()
            yield from self._write(b"".join(map(self.connection.send, flight)))
        mail, *rcpts, data = flight
        event = (yield from self._reply()) if together else (yield from self._say(mail))
        mail_reply = event.reply
        if mail_reply.category != 2 and not together:
            self._refused_mail(mail_reply)
        for index, rcpt in enumerate(rcpts):
            event = (yield from self._reply()) if together else (yield from self._say(rcpt))
            transaction.replies[index] = event.reply
            if event.reply.code == SERVICE_CLOSING:
                break
        if mail_reply.category != 2:
            transaction.replies.clear()
            if together and self.connection.state is not State.CLOSING:
                event = yield from self._reply()
                if event.reply.category == 3:
                    self.connection.broken = True
            self._refused_mail(mail_reply)
        if not transaction.accepted and (not together or self.connection.state is State.CLOSING):
            self._nobody_left(transaction)
        event = (yield from self._reply()) if together else (yield from self._say(data))
        if not transaction.accepted and event.reply.category != 3:
            self._nobody_left(transaction)
        return event.reply

    def _refused_mail(self, reply: Reply) -> None:
        if reply.code == 530:
            raise Stop(Verdict.LOGIN, f"{self.host} wants a login first: “{reply}”.", reply)
        self._stop_unless_2yz(reply, "the sender")

    def _nobody_left(self, transaction: _Transaction) -> None:
        outcome = self._nobody(transaction)
        raise Stop(outcome.verdict, outcome.text)

    def _nobody(self, transaction: _Transaction) -> Outcome:
        """Every recipient was refused."""
        replies = list(transaction.replies.values())
        wants_login = next((r for r in replies if r.code == 530), None)
        if wants_login:
            transaction.replies.clear()
            return self._outcome(
                transaction,
                Stop(
                    Verdict.LOGIN, f"{self.host} wants a login first: “{wants_login}”.", wants_login
                ),
            )
        last = replies[-1]
        verdict = Verdict.DEFERRED if last.category == 4 else Verdict.REFUSED
        who = _listed(transaction.envelope.recipients)
        return self._outcome(
            transaction, Stop(verdict, f"{self.host} refused {who}: “{last}”.", last)
        )

    def _send_body(self, transaction: _Transaction, message: Message) -> Steps[Reply]:
        """Send the message and its end, and return the last reply."""
        connection = self.connection
        yield Commit(transaction.accepted)
        transaction.committed = True
        yield from self._early_reply()
        pieces = body.stuffed(body.crlf(message.content()))
        pending = b""
        for piece in _blocks(pieces):
            if pending:
                try:
                    yield Send(pending, Phase.BLOCK)
                except ConnectionLostError:
                    yield from self._early_reply()
                    raise
                yield from self._early_reply()
            pending = piece
        end = connection.send_body()
        transaction.last_sent = True
        yield from self._write(pending + end, Phase.BLOCK)
        return (yield from self._reply()).reply

    def _early_reply(self) -> Steps[None]:
        """Look for a reply that came before the end of the data.

        A refusal ends the transaction; anything else before its time breaks the protocol.
        """
        connection = self.connection
        while data := (yield Peek()):
            connection.receive(data)
        if not connection.unread:
            return
        connection.owed.append(Command(Verb.OTHER, b"", ""))
        event = connection.next_event()
        if event is None:
            connection.owed.pop()
            return
        connection.broken = True
        if isinstance(event, ReplyReceived) and event.reply.category in (4, 5):
            self._stop_unless_2yz(event.reply, "the message before its end")
        raise RemoteProtocolError(f"{self.host} answered the message before its end was sent.")

    def _accepted(self, transaction: _Transaction, reply: Reply) -> Outcome:
        count = len(transaction.accepted)
        recipients = transaction.envelope.recipients
        refused = [r for i, r in enumerate(recipients) if i not in transaction.accepted]
        text = (
            f"{self.host} accepted the message for {count} recipient{'s' * (count != 1)}: "
            f"“{reply}”."
        )
        if refused:
            text += f" It refused {_listed(refused)}: “{_first_refusal(transaction)}”."
        return self._outcome(transaction, Stop(Verdict.ACCEPTED, text, reply))

    def quit(self) -> Steps[None]:
        """Say QUIT and wait for its answer; what goes wrong now no longer matters."""
        if self.connection.broken or Verb.QUIT not in _sendable(self.connection):
            return
        try:
            yield from self._say(commands.quit_())
        except (Stop, SmtpsError):
            return


def _sendable(connection: Connection) -> frozenset[Verb]:
    from smtps.protocol.states import ALLOWED

    return ALLOWED[connection.expected] if not connection.owed else frozenset()


def as_stop(error: Stop | SmtpsError) -> Stop:
    """Return the verdict that ERROR comes to, before anything was committed."""
    match error:
        case Stop():
            return error
        case CredentialsLaterError() | IdentityError() | TlsError():
            return Stop(Verdict.LOGIN, error.text)
        case RemoteProtocolError():
            return Stop(Verdict.PROTOCOL, error.text)
        case NetworkError():
            return Stop(Verdict.UNREACHED, error.text)
        case LocalProtocolError():
            return Stop(Verdict.UNSENDABLE, error.text)
    raise error


def _blocks(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield PIECES joined into blocks of at least WRITE_SIZE octets, but for the last."""
    block = bytearray()
    for piece in pieces:
        block += piece
        if len(block) >= WRITE_SIZE:
            yield bytes(block)
            block.clear()
    yield bytes(block)


def _base64(octets: bytes) -> str:
    return base64.b64encode(octets).decode("ascii")


def _asked(verb: Verb) -> str:
    return "with its greeting" if verb is Verb.GREETING else str(verb)


def _listed(addresses: list[str] | tuple[str, ...]) -> str:
    if len(addresses) <= 3:
        return ", ".join(addresses)
    return f"{', '.join(addresses[:2])} and {len(addresses) - 2} others"


def _first_refusal(transaction: _Transaction) -> Reply:
    return next(r for r in transaction.replies.values() if r.category != 2)

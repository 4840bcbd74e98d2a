"""The engine that leads: open a connection, log in, deliver mails, quit.

Each method is a generator of `steps`; it never does I/O itself.  `Submission.deliver`
always returns an `Outcome`: what goes wrong on the way is a verdict, not an error.
"""

from __future__ import annotations

from collections.abc import Sequence

from smtps.errors import RemoteProtocolError, SmtpsError
from smtps.protocol import commands, login
from smtps.protocol.address import domain
from smtps.protocol.commands import Verb
from smtps.protocol.connection import Connection
from smtps.protocol.dialogue import Dialogue, Stop
from smtps.protocol.envelope import Envelope, Message
from smtps.protocol.outcome import Outcome, Verdict
from smtps.protocol.replies import Reply
from smtps.protocol.states import ALLOWED, State
from smtps.protocol.steps import Handshake, Peek, Steps
from smtps.protocol.transaction import Transaction, next_group

HELLO_NAME = "[127.0.0.1]"
"""Tells nothing about the machine, and is valid everywhere (RFC 5321 4.1.3)."""

WORD_NOT_KNOWN = frozenset({500, 502, 503})
"""Replies to EHLO of a server that knows HELO only (RFC 5321 3.2)."""


class Submission:
    """The connection of DIALOGUE, which the engine leads.

    TLS is ``implicit`` (already established when the engine starts), ``starttls``
    (required) or ``none``.
    """

    def __init__(self, tls: str, dialogue: Dialogue) -> None:
        self.dialogue = dialogue
        self.tls = tls
        self.host = dialogue.host
        self._transactions = 0
        self._domains: set[str] = set()
        """Of all recipients that were named on this connection."""

    @property
    def connection(self) -> Connection:
        """What is known of the connection."""
        return self.dialogue.connection

    def open(self, sender: str = "") -> Steps[None]:
        """Take the greeting, and `greet`.  Raises Stop."""
        greeting = (yield from self.dialogue.reply()).reply
        if greeting.category != 2:
            raise self.dialogue.refusal(greeting, "with its greeting")
        yield from self.greet(sender)

    def greet(self, sender: str = "") -> Steps[None]:
        """Say EHLO, STARTTLS where asked for, EHLO again.

        SENDER's domain serves as the EHLO name where the server wants one.  Raises Stop.
        """
        yield from self._hello(sender)
        if self.tls == "starttls":
            yield from self._start_tls()
            yield from self._hello(sender)

    def _hello(self, sender: str) -> Steps[None]:
        say = self.dialogue.say
        reply = (yield from say(commands.ehlo(HELLO_NAME))).reply
        if _wants_a_name(reply):
            name = domain(sender)
            if name and name.isascii():
                reply = (yield from say(commands.ehlo(name))).reply
        if reply.code in WORD_NOT_KNOWN and self.tls != "starttls":
            reply = (yield from say(commands.helo(HELLO_NAME))).reply
        if reply.category != 2:
            raise self.dialogue.refusal(reply, "EHLO")

    def _start_tls(self) -> Steps[None]:
        if "STARTTLS" not in self.connection.extensions:
            raise Stop(
                Verdict.LOGIN,
                f"{self.host} does not offer STARTTLS, so no mail and no password was sent: "
                "without it anybody on the way could read them. Is the port right? At 465 TLS "
                "begins at once.",
            )
        reply = (yield from self.dialogue.say(commands.starttls())).reply
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
            behind: bytes | None = yield Peek()
            if behind:
                self.connection.receive(behind)
            self.connection.tls_started()
        except RemoteProtocolError as error:
            raise Stop(Verdict.LOGIN, error.text) from error
        yield Handshake()

    def login(self) -> Steps[None]:
        """Log in if the driver wants it, with the first mechanism that serves.  Raises Stop."""
        yield from login.login(self.dialogue)

    def deliver(self, envelope: Envelope, message: Message, recent: bool) -> Steps[Outcome]:
        """Log in if that was not done, send MESSAGE in one transaction, tell what became of it.

        RECENT tells that the server was heard lately, so that the connection is alive.
        """
        self._transactions += 1
        self._domains |= set(map(domain, envelope.recipients))
        return (yield from Transaction(self.dialogue, envelope, message, recent).run())

    def next_group(self, envelope: Envelope, pending: Sequence[int]) -> tuple[int, ...]:
        """Return those of the recipients PENDING (by index) that the next transaction takes.

        Empty if there can be no other on this connection.
        """
        limit = self.connection.extensions.limit
        return next_group(
            envelope, pending, limit("RCPTMAX"), limit("RCPTDOMAINMAX"), self._domains
        )

    @property
    def usable(self) -> bool:
        """True if another transaction may be begun on this connection."""
        connection = self.connection
        most = connection.extensions.limit("MAILMAX")
        return (
            not connection.broken
            and not connection.owed
            and not connection.unread
            and connection.state in (State.READY, State.MAIL, State.RCPT)
            and (most is None or self._transactions < most)
        )

    def noop(self) -> Steps[None]:
        """Have the server show that it is there.  Raises Stop or SmtpsError where it is not."""
        reply = (yield from self.dialogue.say(commands.noop())).reply
        if reply.category != 2:
            self.connection.broken = True
            raise self.dialogue.refusal(reply, "NOOP")

    def quit(self) -> Steps[None]:
        """Say QUIT and wait for its answer; what goes wrong now no longer matters."""
        connection = self.connection
        if connection.broken or connection.owed or Verb.QUIT not in ALLOWED[connection.state]:
            return
        try:
            yield from self.dialogue.say(commands.quit_())
        except (Stop, SmtpsError):
            return


def _wants_a_name(reply: Reply) -> bool:
    """Return True if REPLY to EHLO refuses an address literal as our name."""
    return reply.code in (501, 504) or (reply.code == 550 and str(reply.enhanced) == "5.5.2")

"""Commands and replies in turn: the words that every part of the engine that leads is made of."""

from __future__ import annotations

from collections.abc import Callable

from smtps.errors import (
    ConfigurationError,
    ConnectionLostError,
    CredentialsLaterError,
    IdentityError,
    LocalProtocolError,
    MessageError,
    NetworkError,
    PassphraseError,
    RemoteProtocolError,
    SmtpsError,
)
from smtps.protocol.commands import Command, Verb
from smtps.protocol.connection import Connection, Ended, Event, ReplyReceived
from smtps.protocol.outcome import Verdict
from smtps.protocol.replies import Reply
from smtps.protocol.steps import Peek, Phase, Receive, Send, Steps

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


def as_stop(error: Stop | SmtpsError) -> Stop:
    """Return the verdict that ERROR comes to, before anything was committed."""
    match error:
        case Stop():
            return error
        case CredentialsLaterError() | PassphraseError():
            return Stop(Verdict.LATER, error.text)
        case ConfigurationError():
            return Stop(Verdict.CONFIGURATION, error.text)
        case IdentityError():
            return Stop(Verdict.LOGIN, error.text)
        case RemoteProtocolError():
            return Stop(Verdict.PROTOCOL, error.text)
        case NetworkError():
            return Stop(Verdict.UNREACHED, error.text)
        case LocalProtocolError() | MessageError():
            return Stop(Verdict.UNSENDABLE, error.text)
    raise error


class Dialogue:
    """A connection to HOST, which the engine leads.

    TELL gets each event that is no reply: there are such only where a person leads otherwise.
    """

    def __init__(
        self, host: str, connection: Connection, tell: Callable[[Event], None] = lambda event: None
    ) -> None:
        self.connection = connection
        self.host = host
        self._tell = tell
        self._wait = 0

    def reply(self) -> Steps[ReplyReceived]:
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
            if event is None:
                connection.receive((yield Receive(phase, self._wait)))
            else:
                self._tell(event)

    def say(self, command: Command) -> Steps[ReplyReceived]:
        """Send COMMAND alone and wait for its reply."""
        yield from self.clear_input()
        yield from self.write(self.connection.send(command))
        return (yield from self.reply())

    def write(self, data: bytes, phase: Phase = Phase.COMMAND) -> Steps[None]:
        """Send DATA for which a reply is owed.

        A server that refuses and closes may have left its last words: they are read next.
        """
        try:
            yield Send(data, phase)
        except ConnectionLostError:
            self.connection.broken = True

    def clear_input(self) -> Steps[None]:
        """Before a command: nothing may lie unread that could be taken for its reply.

        Raises Stop where the server has gone, or said that it goes: nothing is sent then.
        """
        connection = self.connection
        if connection.owed:
            return
        while True:
            event = connection.next_event()
            if isinstance(event, ReplyReceived):
                # Raised as an error by the connection unless it is the 421 that may come any time.
                raise Stop(
                    Verdict.DEFERRED,
                    f"{self.host} said that it closes the connection: “{event.reply}”.",
                    event.reply,
                )
            if event is not None:
                self._tell(event)
            elif not (yield from self._arrived()):
                return

    def peek(self) -> Steps[bool]:
        """Take what has arrived, one read's worth; return True if anything is unread.

        Raises Stop where nothing is, and the server has gone.
        """
        return self.connection.unread > 0 or (yield from self._arrived())

    def _arrived(self) -> Steps[bool]:
        data: bytes | None = yield Peek()
        if data is None:
            raise Stop(
                Verdict.UNREACHED,
                f"{self.host} closed the connection before the message had left.",
            )
        if data:
            self.connection.receive(data)
        return bool(data)

    def refusal(self, reply: Reply, what: str) -> Stop:
        """Return what a negative REPLY comes to; WHAT follows “refused”."""
        if reply.category == 4:
            return Stop(Verdict.DEFERRED, f"{self.host} refused {what} for now: “{reply}”.", reply)
        return Stop(Verdict.REFUSED_WHOLE, f"{self.host} refused {what}: “{reply}”.", reply)


def _asked(verb: Verb) -> str:
    return "with its greeting" if verb is Verb.GREETING else str(verb)

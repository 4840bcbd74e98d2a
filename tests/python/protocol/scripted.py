"""A server that plays replies from a list: what `net` would carry, without a network."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from smtps.errors import ConnectionLostError, SmtpsError, TimedOutError
from smtps.protocol import body, steps
from smtps.protocol.connection import Connection
from smtps.protocol.dialogue import Dialogue, Stop, as_stop
from smtps.protocol.envelope import Envelope, Message
from smtps.protocol.outcome import Fate, Outcome
from smtps.protocol.submission import Submission


class Script:
    """Plays one of REPLIES for the connection, and for each command, chunk or message.

    A reply of None closes the connection.  SINGLE gives its octets one by one.  With the last
    reply it stays, ``closes`` or ``resets``, as AFTER says.
    """

    def __init__(
        self, replies: Iterable[bytes | None], single: bool = False, after: str = "stays"
    ) -> None:
        self._replies = list(replies)
        self._pending = b""
        self._single = single
        self._after = after
        self._in_data = False
        self._unparsed = b""
        self.heard = b""
        self.flights: list[bytes] = []
        """What was sent each time that nothing the server had said was unread."""
        self.bodies: list[bytes] = []
        self.commits: list[tuple[int, ...]] = []
        self.before_commit = b""
        self.closed = False
        self._play()

    def _play(self) -> None:
        if self.closed or not self._replies:
            return
        reply = self._replies.pop(0)
        self.closed = reply is None or not (self._replies or self._after == "stays")
        self._pending += reply or b""
        self._in_data = bool(reply) and reply.startswith(b"354") if reply else False

    def _hear(self, data: bytes) -> None:
        self.heard += data
        self._unparsed += data
        while self._unparsed:
            if self._in_data:
                text = b"\r\n" + self._unparsed
                end = text.find(b"\r\n.\r\n")
                if end < 0:
                    return
                self.bodies.append(text[2 : end + 2].replace(b"\r\n..", b"\r\n."))
                self._unparsed = text[end + 5 :]
                self._in_data = False
            else:
                line, found, rest = self._unparsed.partition(b"\r\n")
                if not found:
                    return
                if line.startswith(b"BDAT "):
                    size = int(line.split()[1])
                    if len(rest) < size:
                        return
                    self.bodies.append(rest[:size])
                    rest = rest[size:]
                self._unparsed = rest
            self._play()

    def _said(self) -> bytes:
        size = 1 if self._single else len(self._pending)
        said, self._pending = self._pending[:size], self._pending[size:]
        return said

    def chosen(self, step: steps.Login, choice: steps.Chosen | None) -> steps.Chosen | None:
        """Return what the login of STEP gets."""
        return choice

    def run(self, engine: steps.Steps[Any], choice: steps.Chosen | None = None) -> Any:
        """Carry out ENGINE's steps and return its result; CHOICE is what a login gets."""
        answer: Any = None
        error: SmtpsError | None = None
        listening = False
        while True:
            try:
                step = engine.throw(error) if error else engine.send(answer)
            except StopIteration as stop:
                return stop.value
            answer = error = None
            match step:
                case steps.Send(data, _):
                    if listening or not self.flights:
                        self.flights.append(b"")
                    listening = False
                    self.flights[-1] += data
                    if self.closed:
                        error = ConnectionLostError("The connection broke.")
                        continue
                    self._hear(data)
                case steps.Receive():
                    listening = True
                    if not self._pending:
                        if not self.closed and not self._replies:
                            error = TimedOutError("mx did not answer within 300 seconds.")
                        else:
                            answer = b""
                        continue
                    answer = self._said()
                case steps.Peek():
                    answer = self._said() or (None if self.closed else b"")
                    if answer is None and self._after == "resets":
                        error = ConnectionLostError("The connection broke.")
                case steps.Commit(recipients):
                    self.commits.append(recipients)
                    self.before_commit = self.heard
                case steps.Login():
                    try:
                        answer = self.chosen(step, choice)
                    except SmtpsError as raised:
                        error = raised
                case steps.Work(function):
                    try:
                        answer = function()
                    except SmtpsError as raised:
                        error = raised


def message(text: bytes) -> Message:
    """Return TEXT as a message."""
    return Message(lambda: [text], body.shape([text]))


def deliver(
    replies: Iterable[bytes | None],
    recipients: tuple[str, ...] = ("a@x",),
    text: bytes = b"S: x\n\n.dot\n",
    single: bool = False,
    choice: steps.Chosen | None = None,
    recent: bool = False,
    envelope: Envelope | None = None,
    after: str = "stays",
) -> tuple[Outcome, Script, Submission]:
    """Open a connection to a server that plays REPLIES, and send one mail."""
    script = Script(replies, single, after)
    submission = Submission("none", Dialogue("mx", Connection()))
    sent = envelope or Envelope("me@x", recipients)

    def engine() -> steps.Steps[Outcome]:
        try:
            yield from submission.open()
        except (Stop, SmtpsError) as error:
            stop = as_stop(error)
            fates = tuple(Fate(r, stop.verdict, stop.reply) for r in sent.recipients)
            return Outcome(fates, stop.text)
        return (yield from submission.deliver(sent, message(text), recent))

    outcome: Outcome = script.run(engine(), choice)
    return outcome, script, submission

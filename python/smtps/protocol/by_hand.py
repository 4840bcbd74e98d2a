"""What the engine does in a dialogue that a person leads, when it is handed the connection.

Each is a part: given the dialogue it yields steps, and returns a sentence about what came of
it.  One command at a time, so that it reads as if it had been typed.
"""

from __future__ import annotations

from collections.abc import Callable

from smtps.errors import LocalProtocolError
from smtps.protocol import body, commands, login
from smtps.protocol.dialogue import Dialogue, Stop
from smtps.protocol.envelope import Envelope, Message
from smtps.protocol.outcome import Verdict
from smtps.protocol.states import State
from smtps.protocol.steps import Phase, Send, Steps
from smtps.protocol.submission import Submission
from smtps.protocol.transaction import Transaction, blocks
from smtps.protocol.visible import visible

Part = Callable[[Dialogue], Steps[str]]
"""Raises Stop or SmtpsError where it could not be done."""

TOGETHER = ("PIPELINING", "CHUNKING")
"""What a person does not do: they would leave in one flight what is to be seen step by step."""


def greet(tls: str) -> Part:
    """Say EHLO; with TLS ``starttls``, start TLS and say it again."""

    def part(dialogue: Dialogue) -> Steps[str]:
        yield from Submission(tls, dialogue).greet()
        offered = visible(", ".join(dialogue.connection.extensions)) or "no extension"
        return f"{dialogue.host} offers {offered}."

    return part


def log_in(dialogue: Dialogue) -> Steps[str]:
    """Log in, after EHLO if that was not said, by the mechanism that the driver chooses."""
    yield from _greeted(dialogue)
    if dialogue.connection.authenticated:
        raise LocalProtocolError("You are logged in already.")
    yield from login.login(dialogue)
    if not dialogue.connection.authenticated:
        raise LocalProtocolError("Nobody was logged in: no user was named.")
    return f"Logged in by {dialogue.connection.mechanism}."


def transaction(envelope: Envelope, message: Message) -> Part:
    """Send MESSAGE by ENVELOPE, from MAIL to the last reply, after EHLO if need be."""

    def part(dialogue: Dialogue) -> Steps[str]:
        connection = dialogue.connection
        yield from _greeted(dialogue)
        if connection.state in (State.MAIL, State.RCPT):
            yield from dialogue.say(commands.rset())
        offered = connection.extensions
        connection.extensions = offered.without(TOGETHER)
        try:
            outcome = yield from Transaction(dialogue, envelope, message, recent=False).run()
        finally:
            connection.extensions = offered
        if outcome.verdict is not Verdict.ACCEPTED:
            raise Stop(outcome.verdict, outcome.text)
        return outcome.text

    return part


def verify(envelope: Envelope) -> Part:
    """Ask what the server would say to the first recipient of ENVELOPE, and take it back."""

    def part(dialogue: Dialogue) -> Steps[str]:
        connection, host, recipient = dialogue.connection, dialogue.host, envelope.recipients[0]
        yield from _greeted(dialogue)
        if connection.state in (State.MAIL, State.RCPT):
            raise LocalProtocolError("A transaction is under way, and would be lost: RSET first.")
        international = envelope.international and "SMTPUTF8" in connection.extensions
        parameters = ("SMTPUTF8",) if international else ()
        reply = (yield from dialogue.say(commands.mail(envelope.sender, parameters))).reply
        if reply.category != 2:
            raise dialogue.refusal(reply, "the sender, so it was not asked about the recipient")
        reply = (yield from dialogue.say(commands.rcpt(recipient))).reply
        yield from dialogue.say(commands.rset())
        if reply.category != 2:
            raise dialogue.refusal(reply, recipient)
        return f"{host} would take {recipient}: “{reply}”. No mail was sent."

    return part


def text(message: Message) -> Part:
    """Send MESSAGE as what DATA takes, after DATA itself if that was not said."""

    def part(dialogue: Dialogue) -> Steps[str]:
        connection = dialogue.connection
        if connection.state is State.RCPT:
            reply = (yield from dialogue.say(commands.data())).reply
            if reply.category != 3:
                raise dialogue.refusal(reply, "DATA")
        if connection.state is not State.DATA:
            raise LocalProtocolError(
                "The message comes behind MAIL and RCPT: say these first, or send the whole "
                "transaction."
            )
        for block in blocks(body.stuffed(body.crlf(message.content()))):
            yield Send(block, Phase.BLOCK)
        yield from dialogue.write(connection.send_body(), Phase.BLOCK)
        reply = (yield from dialogue.reply()).reply
        if reply.category != 2:
            raise dialogue.refusal(reply, "the message")
        return f"{dialogue.host} accepted the message: “{reply}”."

    return part


def _greeted(dialogue: Dialogue) -> Steps[None]:
    """Say EHLO if nothing was."""
    if not dialogue.connection.hello_accepted:
        yield from Submission("none", dialogue).greet()

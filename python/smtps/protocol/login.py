"""Logging in (RFC 4954): one mechanism after the other, until one serves."""

from __future__ import annotations

import base64
import binascii

from smtps.errors import LoginError
from smtps.protocol import commands
from smtps.protocol.commands import Command
from smtps.protocol.dialogue import Dialogue, Stop
from smtps.protocol.outcome import Verdict
from smtps.protocol.replies import Reply
from smtps.protocol.steps import Chosen, Exchange, Login, Steps

INITIAL_RESPONSE_LIMIT = 400
"""Characters of an initial response beside AUTH; a command line may have 512 octets (RFC
5321 4.5.3.1.4), and servers that refuse a longer one take it as a continuation."""

CHALLENGES_LIMIT = 8
"""Challenges of one login.  The longest mechanism has three."""

MECHANISM_REFUSED = frozenset({500, 501, 502, 503, 504, 534, 538})
"""Replies that refuse the mechanism and say nothing about the secret (RFC 4954 section 6)."""


def chosen(dialogue: Dialogue, failed: tuple[str, ...] = ()) -> Steps[Chosen | None]:
    """Have a mechanism chosen that is none of FAILED; None if there is no login to make."""
    if dialogue.connection.authenticated:
        return None
    answer: Chosen | None = yield Login(dialogue.connection.extensions, failed)
    return answer


def at_once(exchange: Exchange) -> Command | None:
    """Return the AUTH command that is all of EXCHANGE, None if there is more to it.

    Only such a one may have others behind it in its flight (RFC 4954 section 4).
    """
    initial = exchange.initial() if exchange.single else None
    if initial is None:
        return None
    encoded = _base64(initial) or "="
    if len(encoded) > INITIAL_RESPONSE_LIMIT:
        return None
    return commands.auth(exchange.name, encoded, exchange.secrets)


def login(dialogue: Dialogue, failed: tuple[str, ...] = ()) -> Steps[None]:
    """Log in if the driver wants it, with the first mechanism that serves.  Raises Stop."""
    yield from login_with(dialogue, (yield from chosen(dialogue, failed)), failed)


def login_with(
    dialogue: Dialogue, choice: Chosen | None, failed: tuple[str, ...] = ()
) -> Steps[None]:
    """Log in with CHOICE, and where that mechanism is turned down, with others."""
    while choice is not None:
        reply = yield from authenticate(dialogue, choice.exchange)
        if reply.category == 2:
            return
        if reply.code not in MECHANISM_REFUSED:
            raise refusal(dialogue, choice.exchange, reply)
        failed = (*failed, choice.exchange.name)
        choice = yield from chosen(dialogue, failed)


def refusal(dialogue: Dialogue, exchange: Exchange, reply: Reply) -> Stop:
    """Return what a negative REPLY, the last of EXCHANGE, comes to."""
    if reply.category == 4:
        return Stop(
            Verdict.DEFERRED, f"{dialogue.host} can't take the login for now: “{reply}”.", reply
        )
    return Stop(
        Verdict.LOGIN,
        f"{dialogue.host} refused the login ({exchange.name}): “{reply}”. "
        "Check the user name and the password.",
        reply,
    )


def authenticate(dialogue: Dialogue, exchange: Exchange) -> Steps[Reply]:
    """Run one mechanism to its end and return the last reply."""
    initial = exchange.initial()
    encoded = None if initial is None else _base64(initial) or "="
    masks = iter(exchange.masks)
    first = encoded is not None and len(encoded) <= INITIAL_RESPONSE_LIMIT
    if first:
        next(masks, None)
    event = yield from dialogue.say(
        commands.auth(exchange.name, encoded if first else None, exchange.secrets)
    )
    answers = 0
    while event.challenge is not None:
        answers += 1
        if encoded is not None and not first:
            answer, encoded = encoded.removeprefix("="), None
        else:
            answer = _answer(dialogue, exchange, event.challenge, answers)
        mask = next(masks, commands.RESPONSE_MASK)
        event = yield from dialogue.say(
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


def _answer(dialogue: Dialogue, exchange: Exchange, challenge: bytes, answers: int) -> str:
    if answers > CHALLENGES_LIMIT:
        raise Stop(
            Verdict.LOGIN, f"{dialogue.host} did not come to an end of the login ({exchange.name})."
        )
    try:
        return _base64(exchange.respond(base64.b64decode(challenge.strip(), validate=True)))
    except (binascii.Error, LoginError):
        # "*" takes the login back (RFC 4954 section 4); the server answers 501.
        return "*"


def _base64(octets: bytes) -> str:
    return base64.b64encode(octets).decode("ascii")

"""Logging in (RFC 4954): one mechanism after the other, until one serves.

A mechanism that fails for another reason than the secret is followed by the next one.  A
secret that is refused is not tried by others: each try counts against the user.
"""

from __future__ import annotations

import base64
import binascii
from typing import NamedTuple

from smtps.errors import ChallengeError, LoginError, NetworkError
from smtps.protocol import commands
from smtps.protocol.commands import Command
from smtps.protocol.connection import ReplyReceived
from smtps.protocol.dialogue import Dialogue, Stop, as_stop
from smtps.protocol.outcome import Verdict
from smtps.protocol.replies import Reply
from smtps.protocol.steps import Chosen, Exchange, Login, Steps, Work
from smtps.protocol.visible import visible

INITIAL_RESPONSE_LIMIT = 400
"""Characters of an initial response beside AUTH; a command line may have 512 octets (RFC
5321 4.5.3.1.4), and servers that refuse a longer one take it as a continuation."""

CHALLENGES_LIMIT = 8
"""Challenges of one login.  The longest mechanism has three."""

MECHANISM_REFUSED = frozenset({500, 501, 502, 503, 504, 534, 538})
"""Replies that refuse the mechanism and say nothing about the secret (RFC 4954 section 6)."""

SECRET_REFUSED = 535
"""The reply that refuses the secret (RFC 4954 section 6)."""

TOLD_LIMIT = 400
"""Characters of what a server told in a challenge that are repeated."""

MEANINGS: dict[tuple[int, tuple[int, int] | None], str] = {
    (432, (7, 12)): "It wants the password once by PLAIN first: --auth PLAIN.",
    (534, None): "It wants a stronger mechanism, or a password made for programs (app password).",
    (535, (7, 30)): "It takes no passwords any more, but tokens: --auth XOAUTH2.",
    (535, (7, 139)): "It takes no passwords any more, but tokens: --auth XOAUTH2.",
    (538, None): "It wants encryption for this mechanism.",
    (550, (7, 30)): "It takes no passwords any more, but tokens: --auth XOAUTH2.",
}
"""Code, and subject and detail of the enhanced one (None: any), to what is meant: RFC 4954
section 6, and what Microsoft's servers say."""


class TurnedDown(NamedTuple):
    """A mechanism that failed for another reason than the secret."""

    name: str
    why: str
    reply: Reply


class _Ended(NamedTuple):
    """How the run of a mechanism ended; ``why`` is what made us break it off."""

    reply: Reply
    why: ChallengeError | None = None


Failed = tuple[TurnedDown, ...]


def chosen(dialogue: Dialogue, failed: Failed = ()) -> Steps[Chosen | None]:
    """Have a mechanism chosen that is none of FAILED; None if there is no login to make.

    Raises LoginError if there is none, Stop if there is none left.
    """
    if dialogue.connection.authenticated:
        return None
    try:
        answer: Chosen | None = yield Login(
            dialogue.connection.extensions, tuple(one.name for one in failed)
        )
    except LoginError as error:
        if not failed:
            raise
        raise _all_turned_down(dialogue, failed, error.text) from None
    return answer


def _all_turned_down(dialogue: Dialogue, failed: Failed, then: str) -> Stop:
    whys = "; ".join(f"{one.name} ({one.why})" for one in failed)
    text = f"{dialogue.host} turned down the login by {whys}. {then}"
    return Stop(Verdict.LOGIN, text, failed[-1].reply)


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


def login(dialogue: Dialogue, failed: Failed = ()) -> Steps[None]:
    """Log in if the driver wants it, with the first mechanism that serves.  Raises Stop."""
    yield from login_with(dialogue, (yield from chosen(dialogue, failed)), failed)


def login_with(dialogue: Dialogue, choice: Chosen | None, failed: Failed = ()) -> Steps[None]:
    """Log in with CHOICE, and where that mechanism is turned down, with others.  Raises Stop."""
    while choice is not None:
        exchange = choice.exchange
        try:
            ended = yield from _authenticate(dialogue, exchange)
        except (Stop, NetworkError) as error:
            if failed and as_stop(error).verdict is Verdict.UNREACHED:
                raise _all_turned_down(dialogue, failed, as_stop(error).text) from None
            raise
        reply = ended.reply
        if reply.category == 2:
            return
        blamed = ended.why is None and _secret_refused(exchange, reply)
        if blamed and (yield from _again(dialogue, exchange)):
            return
        down = turned_down(dialogue, exchange, reply, ended.why)
        if down is None:
            raise refusal(dialogue, exchange, reply)
        failed = (*failed, down)
        choice = yield from chosen(dialogue, failed)


def turned_down(
    dialogue: Dialogue, exchange: Exchange, reply: Reply, why: ChallengeError | None = None
) -> TurnedDown | None:
    """Return what says that REPLY is not about a secret, so that another mechanism may do."""
    if reply.category != 5:
        return None
    about_mechanism = reply.code in MECHANISM_REFUSED and not _secret_refused(exchange, reply)
    if exchange.secret and why is None and not about_mechanism:
        return None
    if why is not None:
        text = why.text
    else:
        refused = reply.code == SECRET_REFUSED and not exchange.secret
        text = f"“{reply}”.{_meaning(reply) or (f' {exchange.advice}' if refused else '')}"
    return TurnedDown(exchange.name, text.removesuffix("."), reply)


def refusal(dialogue: Dialogue, exchange: Exchange, reply: Reply) -> Stop:
    """Return what a negative REPLY, the last of EXCHANGE, comes to."""
    told = _told(dialogue, exchange)
    meaning = _meaning(reply)
    if reply.category == 4:
        text = f"{dialogue.host} can't take the login for now: “{reply}”.{told}{meaning}"
        return Stop(Verdict.DEFERRED, text, reply)
    text = f"{dialogue.host} refused the login ({exchange.name}): “{reply}”.{told}"
    return Stop(Verdict.LOGIN, text + (meaning or f" {exchange.advice}"), reply)


def _told(dialogue: Dialogue, exchange: Exchange) -> str:
    if not exchange.told:
        return ""
    told = dialogue.connection.masked(exchange.told.encode("utf-8", "replace"))
    return f" Its reason: {visible(told, TOLD_LIMIT)}."


def _meaning(reply: Reply) -> str:
    code = reply.enhanced
    meaning = MEANINGS.get((reply.code, None))
    if code is not None:
        meaning = MEANINGS.get((reply.code, (code.subject, code.detail)), meaning)
    return f" {meaning}" if meaning else ""


def _secret_refused(exchange: Exchange, reply: Reply) -> bool:
    return reply.category == 5 and (reply.code == SECRET_REFUSED or exchange.told is not None)


def _again(dialogue: Dialogue, exchange: Exchange) -> Steps[bool]:
    """Say EXCHANGE's secret in its other ways, if it has any; return True if one is taken.

    If none is, the first refusal stands, whatever becomes of these.
    """
    other = exchange.again()
    while other is not None:
        try:
            ended = yield from _authenticate(dialogue, other)
        except (Stop, NetworkError) as error:
            if as_stop(error).verdict is Verdict.UNREACHED:
                return False
            raise
        if ended.reply.category == 2:
            return True
        other = other.again() if _secret_refused(other, ended.reply) else None
    return False


def _authenticate(dialogue: Dialogue, exchange: Exchange) -> Steps[_Ended]:
    """Run one mechanism to its end.  Raises Stop where nothing may follow it."""
    # Some of it is work, on purpose: nobody else is to wait for that.
    initial: bytes | None = yield Work(exchange.initial)
    encoded = None if initial is None else _base64(initial) or "="
    kinds = iter(exchange.kinds)
    first = encoded is not None and len(encoded) <= INITIAL_RESPONSE_LIMIT
    if first:
        next(kinds, None)
    event = yield from dialogue.say(
        commands.auth(exchange.name, encoded if first else None, exchange.secrets)
    )
    challenges = 0
    while event.challenge is not None:
        challenges += 1
        try:
            if encoded is not None and not first:
                answer, encoded = encoded.removeprefix("="), None
            elif challenges > CHALLENGES_LIMIT:
                raise LoginError(
                    f"{dialogue.host} did not come to an end of the login ({exchange.name})."
                )
            else:
                answer = yield from _answer(exchange, event.challenge)
        except LoginError as error:
            return (yield from _cancelled(dialogue, error))
        kind = next(kinds, "response")
        hidden = (answer.encode(), *exchange.secrets)
        event = yield from dialogue.say(
            commands.sasl_response(answer, kind, () if not answer or kind == "username" else hidden)
        )
    if event.reply.category == 2:
        try:
            exchange.succeeded()
        except LoginError as error:
            raise _distrusted(dialogue, error, event.reply) from None
    return _Ended(event.reply)


def _answer(exchange: Exchange, challenge: bytes) -> Steps[str]:
    try:
        clear = base64.b64decode(challenge.strip(), validate=True)
    except (binascii.Error, ValueError):
        raise ChallengeError(f"The server's challenge for {exchange.name} is not base64.") from None
    answer: bytes = yield Work(lambda: exchange.respond(clear))
    return _base64(answer)


def _cancelled(dialogue: Dialogue, error: LoginError) -> Steps[_Ended]:
    """Take the login back for ERROR's reason (RFC 4954 section 4); the server answers 501."""
    event: ReplyReceived = yield from dialogue.say(commands.sasl_response("*", "response"))
    reply = event.reply
    if event.challenge is not None or reply.category == 2 or not isinstance(error, ChallengeError):
        raise _distrusted(dialogue, error, reply)
    return _Ended(reply, error)


def _distrusted(dialogue: Dialogue, error: LoginError, reply: Reply) -> Stop:
    """Return the end of a connection whose server can't be dealt with, for ERROR's reason."""
    dialogue.connection.authenticated = False
    dialogue.connection.broken = True
    return Stop(Verdict.LOGIN, error.text, reply)


def _base64(octets: bytes) -> str:
    return base64.b64encode(octets).decode("ascii")

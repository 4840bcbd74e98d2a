"""The one table of states: where a connection stands, and what each reply does to that.

Rules for this file: everything that moves a connection from one state to another is in
`TRANSITIONS`; what the engine may send in a state is in `ALLOWED`.  A person at the
keyboard may send anything: for them only `TRANSITIONS` counts.
"""

from __future__ import annotations

import enum

from smtps.protocol.commands import Verb


class State(enum.Enum):
    """Where the dialogue stands, as the replies so far say."""

    GREETING = "greeting"
    """Connected; the server speaks first (RFC 5321 3.1)."""
    GREETED = "greeted"
    """220 received, no EHLO accepted yet."""
    READY = "ready"
    """EHLO or HELO accepted; no transaction."""
    AUTHENTICATING = "authenticating"
    """A 334 waits for its answer (RFC 4954 section 4)."""
    HANDSHAKE = "handshake"
    """STARTTLS was accepted: the next octets are TLS (RFC 3207 section 4)."""
    MAIL = "mail"
    """MAIL accepted, no recipient yet."""
    RCPT = "rcpt"
    """At least one recipient accepted."""
    DATA = "data"
    """354 received: what is sent is the message, up to the dot."""
    CHUNKS = "chunks"
    """A chunk was accepted, the last one has not been sent (RFC 3030 section 2)."""
    CLOSING = "closing"
    """QUIT was answered, or the server said that it closes."""
    CLOSED = "closed"

    def __str__(self) -> str:
        return self.value


class Move(enum.Enum):
    """Moves that depend on the state they start from."""

    STAY = "stay"
    RESET = "reset"
    """Back to READY, or GREETED where no EHLO was accepted."""


Transition = State | Move

_FAILED: dict[int, Transition] = {4: Move.STAY, 5: Move.STAY}
_NEUTRAL: dict[int, Transition] = {2: Move.STAY, **_FAILED}
_END_OF_MESSAGE: dict[int, Transition] = {2: Move.RESET, 4: Move.RESET, 5: Move.RESET}
_LOGIN: dict[int, Transition] = {
    2: Move.RESET,
    3: State.AUTHENTICATING,
    4: Move.RESET,
    5: Move.RESET,
}

TRANSITIONS: dict[Verb, dict[int, Transition]] = {
    Verb.GREETING: {2: State.GREETED, 4: State.CLOSING, 5: State.CLOSING},
    Verb.EHLO: {2: State.READY, **_FAILED},
    Verb.HELO: {2: State.READY, **_FAILED},
    Verb.STARTTLS: {2: State.HANDSHAKE, **_FAILED},
    Verb.AUTH: _LOGIN,
    Verb.RESPONSE: _LOGIN,
    Verb.MAIL: {2: State.MAIL, **_FAILED},
    Verb.RCPT: {2: State.RCPT, **_FAILED},
    Verb.DATA: {3: State.DATA, **_FAILED},
    Verb.BODY: _END_OF_MESSAGE,
    Verb.BDAT: {2: State.CHUNKS, 4: Move.RESET, 5: Move.RESET},
    Verb.BDAT_LAST: _END_OF_MESSAGE,
    Verb.RSET: {2: Move.RESET, **_FAILED},
    Verb.NOOP: _NEUTRAL,
    Verb.VRFY: _NEUTRAL,
    Verb.EXPN: _NEUTRAL,
    Verb.HELP: _NEUTRAL,
    Verb.QUIT: {2: State.CLOSING, 4: State.CLOSING, 5: State.CLOSING},
    Verb.OTHER: _NEUTRAL,
}
"""Verb, then first digit of the reply, to what becomes of the state.  A digit that is
missing is a reply that the verb can't have: the server broke the protocol."""

ONLY_TO: dict[int, frozenset[Verb]] = {
    220: frozenset({Verb.GREETING, Verb.STARTTLS}),
    221: frozenset({Verb.QUIT}),
    235: frozenset({Verb.AUTH, Verb.RESPONSE}),
    334: frozenset({Verb.AUTH, Verb.RESPONSE}),
    354: frozenset({Verb.DATA}),
}
"""Codes with one meaning: as an answer to anything else they betray a reply too many."""

SUCCESS = {
    verb: 3 if 3 in moves and verb is Verb.DATA else 2 for verb, moves in TRANSITIONS.items()
}
"""The first digit with which each verb succeeds."""

ANYTIME = frozenset({Verb.NOOP, Verb.RSET, Verb.QUIT, Verb.VRFY, Verb.HELP, Verb.EXPN})

ALLOWED: dict[State, frozenset[Verb]] = {
    State.GREETING: frozenset(),
    State.GREETED: ANYTIME | {Verb.EHLO, Verb.HELO},
    State.READY: ANYTIME | {Verb.EHLO, Verb.STARTTLS, Verb.AUTH, Verb.MAIL},
    State.AUTHENTICATING: frozenset({Verb.RESPONSE}),
    State.HANDSHAKE: frozenset(),
    State.MAIL: ANYTIME | {Verb.RCPT},
    State.RCPT: ANYTIME | {Verb.RCPT, Verb.DATA, Verb.BDAT, Verb.BDAT_LAST},
    State.DATA: frozenset({Verb.BODY}),
    State.CHUNKS: ANYTIME | {Verb.BDAT, Verb.BDAT_LAST},
    State.CLOSING: frozenset(),
    State.CLOSED: frozenset(),
}
"""What the engine may send, counting on the success of what is still unanswered."""


def answers(verb: Verb, code: int) -> bool:
    """Return True if a reply with CODE can be an answer to VERB."""
    if code // 100 not in TRANSITIONS[verb]:
        return False
    # 3yz asks for something: only by its own code is it known what for.
    return verb in ONLY_TO[code] if code in ONLY_TO else code // 100 != 3


def move(state: State, verb: Verb, digit: int, hello: bool) -> State | None:
    """Return the state after a reply with first DIGIT to VERB in STATE, None if it can't be.

    HELLO tells whether an EHLO or HELO was accepted on this layer.
    """
    if verb is Verb.RCPT and digit == 2 and state is State.CHUNKS:
        return state
    transition = TRANSITIONS[verb].get(digit)
    if transition is Move.STAY:
        return state
    if transition is Move.RESET:
        if state in (State.GREETED, State.READY):
            return state
        return State.READY if hello else State.GREETED
    return transition

"""The dialogue as text, masked and harmless: written down, read again, replayed.

A header as mails have one, an empty line, and the dialogue, a line a line::

    smtps transcript 1
    Host: localhost
    Port: 465
    TLS: implicit
    Date: 2026-11-24 09:42:18 UTC

           - Handshake was completed
         3 recv> 220 sandbox.localhost ESMTP Service ready
      1207 send> ehlo localhost.localdomain

The number is milliseconds since the session began.  What neither ``recv> `` nor ``send> ``
stands before tells about the connection.  Who reads it does without header and numbers, too:
so is what was copied from a session.  Emacs has the same in smtps-session-keep.el.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from smtps.errors import MessageError
from smtps.protocol.commands import MASKS, TYPED

FIRST = "smtps transcript 1"
"""What the file begins with: what it is, and the version of its form."""

LIMIT = 16 * 1024 * 1024
"""Characters of a transcript that are read: the longest session that Emacs keeps has less."""

_FACT = re.compile(r"([A-Za-z-]+): *(.*)")
_LINE = re.compile(r" *(?:[0-9]+ +)?(recv|send)>(?: (.*))?")
_CODE = re.compile(r"([2-5][0-9]{2})([ -]|$)")
_TYPED_LATE = "<typed as the "
"""What Emacs shows in the place of a secret that was sent when none was asked for."""


class Exchange(NamedTuple):
    """What the client said, and the lines of the reply to it; empty where none came."""

    sent: str | None
    """Without CRLF; None where the server spoke by itself, as in its greeting."""
    reply: tuple[str, ...] = ()
    message: tuple[str, ...] = ()
    """Where ``sent`` is the dot: the lines before it, as far as they were written down."""

    @property
    def code(self) -> int | None:
        """The reply's code, None where there is none."""
        found = _CODE.match(self.reply[-1]) if self.reply else None
        return int(found[1]) if found else None

    @property
    def verb(self) -> str:
        """The first word of what was said, in capitals."""
        return (self.sent or "").upper().partition(" ")[0]

    @property
    def masked(self) -> bool:
        """True if a secret was said, which the transcript does not have."""
        return self.sent is not None and is_masked(self.sent)


class Recording(NamedTuple):
    """A transcript that was read: the facts of its header, and the dialogue."""

    facts: dict[str, str]
    """By their names in small letters: host, port, tls, date."""
    exchanges: tuple[Exchange, ...]


def is_masked(sent: str) -> bool:
    """Return True if in SENT, a line of the client's, a mask stands for a secret."""
    words = sent.split(" ")
    if words[0].upper() == "AUTH" and len(words) > 2:
        sent = " ".join(words[2:])
    return sent in MASKS.values() or sent.startswith(_TYPED_LATE)


def head(host: str, port: int, tls: str | None, date: str) -> str:
    """Return the header, with the empty line behind it; DATE is in UTC."""
    facts = {"Host": host, "Port": port, "TLS": tls, "Date": date}
    lines = [FIRST, *(f"{name}: {fact}" for name, fact in facts.items() if fact)]
    return "".join(f"{line}\n" for line in (*lines, ""))


def line(text: str, at: int | None = None) -> str:
    """Return the line for TEXT, such as ``recv> 220 hello``, AT milliseconds; no line break."""
    return f"{'' if at is None else at:>6} {text}"


def read(text: str) -> Recording:
    """Return what the transcript TEXT tells.

    Commands that left in one flight are told in their order, each with its own reply.
    Raises MessageError if there is no dialogue in it.
    """
    facts: dict[str, str] = {}
    lines = [line.rstrip("\r") for line in text[:LIMIT].split("\n")]
    if FIRST in lines:
        # In a report versions come first.
        del lines[: lines.index(FIRST)]
        while len(lines) > 1 and (found := _FACT.fullmatch(lines[1])):
            facts[found[1].lower()] = found[2]
            del lines[1]
    reader = _Reader()
    for match in filter(None, map(_LINE.fullmatch, lines)):
        getattr(reader, match[1])(match[2] or "")
    if not reader.exchanges:
        raise MessageError("No dialogue is in it: no line begins with recv> or send>.")
    return Recording(facts, tuple(reader.exchanges))


class _Reader:
    """Pairs commands with their replies."""

    def __init__(self) -> None:
        self.exchanges: list[Exchange] = []
        self._answered = 0
        """How many of them have their whole reply."""
        self._message: list[str] | None = None
        """The message's lines so far, None outside."""
        self._chunk_left = 0

    def send(self, text: str) -> None:
        if self._message is not None:
            if text == ".":
                self._end_message()
            else:
                self._message.append(text)
            return
        exchange = Exchange(text)
        if self._chunk_left > 0 and exchange.verb != "BDAT":
            self._chunk_left -= len(text.encode()) + 2
            return
        size = text.split()[1:2] if exchange.verb == "BDAT" else []
        self._chunk_left = int(size[0]) if size and size[0].isdecimal() else 0
        self.exchanges.append(exchange)

    def recv(self, text: str) -> None:
        if text.startswith("- "):
            # The end, as a session tells it.
            return
        if self._message is not None:
            # `smtps send` does not write the message down.
            self._end_message()
        self._chunk_left = 0
        if self._answered == len(self.exchanges):
            self.exchanges.append(Exchange(None))
        exchange = self.exchanges[self._answered]
        exchange = exchange._replace(reply=(*exchange.reply, text))
        self.exchanges[self._answered] = exchange
        found = _CODE.match(text)
        if found and found[2] != "-":
            self._answered += 1
            if exchange.verb == "DATA" and exchange.code == 354:
                self._message = []

    def _end_message(self) -> None:
        self.exchanges.append(Exchange(".", message=tuple(self._message or ())))
        self._message = None


def differs(exchange: Exchange, said: str) -> bool:
    """Return True if SAID, a line of a client's, is not what EXCHANGE has.

    The name behind EHLO and HELO may be any, since each machine has its own; so may a SIZE,
    since each message has its own, and what a mask stands for.
    """
    recorded = exchange.sent or ""
    words, others = recorded.split(), said.split()
    told = len(words)
    if exchange.masked:
        told = 2 if exchange.verb == "AUTH" else 0
    elif exchange.verb in ("EHLO", "HELO"):
        told = 1
    elif len(words) != len(others):
        return True
    return _alike(words[:told]) != _alike(others[:told])


def _alike(words: Iterable[str]) -> list[str]:
    """Return WORDS without what may differ."""
    return [re.sub(r"^SIZE=[0-9]+$", "SIZE=", word.upper()) for word in words]


def told(said: str) -> str:
    """Return what may be told of SAID, a client's line that nobody expected."""
    words = said.split()
    verb = words[0].upper() if words else ""
    if verb == "AUTH":
        return " ".join(words[:2])
    return said if verb in TYPED else "a line that is no command"

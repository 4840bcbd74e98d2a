"""Invariant: whatever a server sends, whole or octet by octet, `Connection` tells the same events,
raises nothing but RemoteProtocolError and LocalProtocolError, and keeps no more than one line.

Random dialogues from a seed, driven both ways: by the engine, and by hand.  A failure prints
the seed and the dialogue.  ``python -m hostile.fuzz [COUNT] [SEED]`` checks COUNT replies on
all processors.
"""

from __future__ import annotations

import os
import random
import resource
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

from smtps.errors import LocalProtocolError, RemoteProtocolError
from smtps.protocol import commands
from smtps.protocol.commands import Command
from smtps.protocol.connection import Connection, Event
from smtps.protocol.replies import LINE_LIMIT, LineReader, ReplyAssembler

REPLIES = 8
"""Replies of one dialogue, about."""

BATCH = 4000
"""Replies a process checks at a time."""

KEPT_LIMIT = LINE_LIMIT + 2
"""Octets that may lie unread once all events are told: a line that is not whole, and its CRLF."""

GROWTH_LIMIT = 64 * 1024
"""KiB by which a process may grow: room for the allocator, none for what was received."""

CODES = (
    b"220", b"250", b"250", b"250", b"250", b"251", b"235", b"334", b"354", b"221", b"421", b"450",
    b"451", b"452", b"454", b"500", b"501", b"503", b"530", b"535", b"550", b"552", b"554", b"299",
    b"399", b"599", b"000", b"099", b"100", b"150", b"199", b"600", b"999",
)  # fmt: skip

TEXTS = (
    b"", b"ok", b"2.0.0 ok", b"5.1.1 no such user", b"4.3.2", b"9.9.9 what", b"2.0.0", b" ", b"-",
    b"mx.test ESMTP", b"PIPELINING", b"SIZE 1000", b"SIZE", b"AUTH PLAIN LOGIN", b"AUTH=PLAIN",
    b"CHUNKING", b"8BITMIME", b"STARTTLS", b"VXNlcm5hbWU6", b"VXN", b"!", b"=", b"no\0thing",
    b"a\rb", b"\r", b"\r\r", b"\x1b[2J", b"(kill-emacs)", b"\x80\xff", b"\xc3", b"\xc3\xa9",
    b"\xe2\x80\xae", b"secret", b"c2VjcmV0", b"250 ok", b"x" * 600,
)  # fmt: skip

ENDS = (b"\r\n",) * 12 + (b"\n", b"\r\r\n", b"\n\r", b"\r", b"")

TYPED = (
    "ehlo x", "helo x", "noop", "mail from:<a@x>", "rcpt to:<b@x>", "data", ".", "text", "..", "",
    "auth plain AHUAc2VjcmV0", "auth login", "auth login dQ==", "AUTH PLAIN", "AUTH CRAM-MD5",
    "dQ==", "c2VjcmV0", "*", "quit", "rset", "starttls", "bdat 3", "bdat 0 last", "bdat x",
    "bdat 99 LAST", "vrfy x", "help", "expn y", "nonsense", "\x00", "\udcff", "mail", " rcpt",
)  # fmt: skip


def _commands() -> tuple[Command, ...]:
    return (
        commands.ehlo("x"), commands.helo("x"), commands.starttls(),
        commands.auth("PLAIN", "AHUAc2VjcmV0", (b"secret", b"c2VjcmV0")),
        commands.auth("LOGIN", None), commands.sasl_response("c2VjcmV0", "password", (b"secret",)),
        commands.mail("a@x"), commands.rcpt("b@x"), commands.data(), commands.bdat(3, False),
        commands.bdat(0, True), commands.rset(), commands.quit_(),
    )  # fmt: skip


SENDABLE = _commands()


@dataclass(frozen=True)
class Turn:
    """What we say, and what the server says then."""

    sent: tuple[int, ...]
    """Places in `SENDABLE`, or in `TYPED` by hand."""
    octets: bytes


# What servers say


def line(chance: random.Random) -> bytes:
    """A line that is a reply's, or nearly."""
    kind = chance.random()
    if kind < 0.002:
        size = LINE_LIMIT + chance.randint(-8, 8)
        return chance.choice((b"250 ", b"250-", b"")) + b"x" * size + chance.choice(ENDS)
    if kind < 0.04:
        return chance.randbytes(chance.randint(0, 12)) + chance.choice(ENDS)
    separator = chance.choice((b" ", b" ", b" ", b" ", b"-", b"-", b"", b"_", b"\t"))
    return chance.choice(CODES) + separator + chance.choice(TEXTS) + chance.choice(ENDS)


def reply(chance: random.Random) -> bytes:
    """A reply that is right, most of the time."""
    if chance.random() < 0.25:
        return b"".join(line(chance) for _ in range(chance.choice((1, 1, 1, 2, 3))))
    code = chance.choice(CODES[:24])
    texts = [chance.choice(TEXTS) for _ in range(chance.choice((1, 1, 1, 1, 2, 4)))]
    if chance.random() < 0.0005:
        texts = [b"x" * chance.choice((0, 200, 300))] * chance.randint(250, 262)
    last = texts.pop()
    end = chance.choice(ENDS[:13])
    return b"".join(code + b"-" + text + end for text in texts) + code + b" " + last + end


def dialogue(chance: random.Random, by_hand: bool) -> list[Turn]:
    """Turns in which we speak, mostly sensibly, and the server answers what it likes."""
    turns = []
    fine = [b"220 hi\r\n", b"250-mx\r\n250 AUTH PLAIN\r\n", b"250 ok\r\n", b"250 ok\r\n",
            b"354 go\r\n", b"250 2.0.0 done\r\n"]  # fmt: skip
    way = [(), (0,), (6,), (7,), (8,), ()] if not by_hand else [(), (0,), (3,), (4,), (5,), (6,)]
    good = chance.randint(0, len(fine))
    for place in range(REPLIES):
        if place < good:
            turns.append(Turn(way[place], fine[place]))
            continue
        count = chance.choice((0, 1, 1, 1, 2, 3))
        among = len(TYPED if by_hand else SENDABLE)
        sent = tuple(chance.randrange(among) for _ in range(count))
        turns.append(Turn(sent, b"".join(reply(chance) for _ in range(chance.choice((1, 1, 2))))))
    return turns


# What becomes of it

Outcome = tuple[str, object]


def _events(connection: Connection) -> Iterator[Event]:
    while (event := connection.next_event()) is not None:
        yield event


def drive(turns: Iterable[Turn], by_hand: bool, size: int) -> list[Outcome]:
    """Return all that the connection tells, fed SIZE octets at a time (0: each turn whole)."""
    told: list[Outcome] = []
    traced: list[tuple[str, str]] = []
    connection = Connection(by_hand, lambda direction, text: traced.append((direction, text)))
    try:
        for turn in turns:
            for place in turn.sent:
                if by_hand:
                    _, command = connection.send_line(TYPED[place])
                    told.append(("typed", command.verb))
                else:
                    try:
                        connection.send(SENDABLE[place])
                    except LocalProtocolError as error:
                        told.append(("local", error.text))
            octets = turn.octets
            for start in range(0, len(octets), size or len(octets) or 1):
                connection.receive(octets[start : start + size] if size else octets)
                told += (("event", event) for event in _events(connection))
                if connection.unread > KEPT_LIMIT:
                    raise AssertionError(f"{connection.unread} octets are kept")
            told.append(("state", (connection.state, connection.broken, len(connection.owed))))
        connection.receive(b"")
        told += (("event", event) for event in _events(connection))
    except RemoteProtocolError as error:
        if by_hand:
            raise AssertionError("raised by hand") from error
        told.append(("remote", error.text))
    told.append(("extensions", tuple(connection.extensions.items())))
    told.append(("trace", tuple(traced)))
    return told


def read(octets: bytes, size: int) -> list[Outcome]:
    """Return the replies and errors that the reader alone makes of OCTETS."""
    told: list[Outcome] = []
    reader, assembler = LineReader(), ReplyAssembler()
    for start in range(0, len(octets), size or len(octets) or 1):
        reader.feed(octets[start : start + size] if size else octets)
        while True:
            try:
                found = reader.next_line()
                if found is None:
                    break
                made = assembler.add(found, found)
                if made is not None:
                    told.append(("reply", (made, str(made))))
            except RemoteProtocolError as error:
                told.append(("remote", error.text))
        if len(reader) > KEPT_LIMIT:
            raise AssertionError(f"{len(reader)} octets are kept")
    return told


class Found(Exception):  # noqa: N818 - what was looked for
    """An input that breaks the invariant."""


def check(seed: int) -> int:
    """Check one dialogue by the engine and one by hand; return how many replies' octets went in.

    Raises Found.
    """
    chance = random.Random(seed)  # noqa: S311 - it has to be the same again
    count = 0
    for by_hand in (False, True):
        turns = dialogue(chance, by_hand)
        octets = b"".join(turn.octets for turn in turns)
        count += len(turns)
        try:
            pairs = [(drive(turns, by_hand, 0), drive(turns, by_hand, 1))]
            if by_hand:
                pairs.append((read(octets, 0), read(octets, 1)))
        except Exception as error:
            raise Found(f"seed {seed}, by hand {by_hand}: {error!r}\n{turns}") from error
        for whole, single in pairs:
            if whole != single:
                differing = next(
                    (pair for pair in zip(whole, single, strict=False) if pair[0] != pair[1]),
                    (whole[-1], single[-1]),
                )
                raise Found(
                    f"seed {seed}, by hand {by_hand}: whole and octet by octet differ\n"
                    f"whole:  {differing[0]}\nsingle: {differing[1]}\n{turns}"
                )
    return count


def batch(seed: int) -> tuple[int, int]:
    """Check dialogues from SEED on; return the replies, and the process's peak in KiB."""
    count = 0
    while count < BATCH:
        count += check(seed)
        seed += 1
    return count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main(words: list[str]) -> int:
    """Check COUNT replies from SEED on, and print what was done."""
    wanted = int(words[0]) if words else 1_000_000
    seed = int(words[1]) if len(words) > 1 else random.SystemRandom().randrange(1 << 40)
    print(f"seed {seed}", flush=True)
    begun = time.monotonic()
    # A dialogue has a seed of its own: batches do not meet.
    seeds = range(seed, seed + wanted // BATCH * BATCH + BATCH, BATCH)
    count = 0
    peaks: list[int] = []
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        try:
            for done, peak in pool.map(batch, seeds[: -(-wanted // BATCH)]):
                count += done
                peaks.append(peak)
        except Found as found:
            pool.shutdown(cancel_futures=True)
            print(f"{found}\nAgain: tests/bench/fuzz 1 {str(found).split()[1].rstrip(',')}")
            return 1
    growth = max(peaks) - peaks[0]
    print(
        f"{count} replies, each whole and octet by octet, by the engine or by hand, in "
        f"{time.monotonic() - begun:.0f} s: no difference, no other error, peak "
        f"{max(peaks) // 1024} MB, growth {growth // 1024} MB"
    )
    return int(growth > GROWTH_LIMIT)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

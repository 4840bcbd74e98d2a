"""A server that counts what it accepted, an outbox, and what became of each mail in it."""

from __future__ import annotations

import itertools
import os
import random
import re
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from smtps.client.account import Account
from smtps.outbox import afterwork
from smtps.outbox.forms import form
from smtps.outbox.journal import Journal
from smtps.outbox.spool import Spool
from smtps.protocol.envelope import Envelope
from smtps.protocol.outcome import Verdict
from smtps.rpc.codec import Symbol, plist

PYTHON = Path(__file__).parents[3] / "python"
ELISP = Path(__file__).parents[3] / "elisp"

HELPER = (sys.executable, "-I", str(PYTHON))

END_SECONDS = 60

FLUSHES = 20
"""Of an outbox whose server goes away now and then."""


class Counts(NamedTuple):
    """What came of all mails of a kind of trial: one a recipient."""

    kind: str
    kills: int
    """Kills, cuts or refused writes that took place."""
    mails: int
    accepted: int
    uncertain: int
    failed: int
    lost: int
    doubled: int
    lied: int
    """Told to be what the server says they are not."""

    @property
    def clean(self) -> bool:
        """True if each was accepted once, or is shown to be uncertain or failed."""
        return not (self.lost or self.doubled or self.lied)

    def __str__(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in self._asdict().items())


def total(kind: str, counts: Iterable[Counts]) -> Counts:
    """Return the sum of COUNTS, called KIND."""
    columns = list(zip(*(count[1:] for count in counts), strict=True))
    return Counts(kind, *(sum(column) for column in columns or [()] * 8))


class Server:
    """Takes mails, and counts for each recipient how often one was accepted.

    It takes its time before it answers, and now and then, unless RELIABLE, it goes away instead.
    """

    def __init__(self, dice: random.Random, reliable: bool = False) -> None:
        self._reliable = reliable
        self.accepted: Counter[str] = Counter()
        self._dice = dice
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def account(self) -> Account:
        """The account whose server it is."""
        return Account("127.0.0.1", self.port, "none")

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connected, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=(connected,), daemon=True).start()

    def close(self) -> None:
        """Listen no longer."""
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _serve(self, connected: socket.socket) -> None:
        with suppress(OSError, ValueError), connected, connected.makefile("rwb") as file:
            connected.settimeout(END_SECONDS)
            file.write(b"220 crash.test\r\n")
            file.flush()
            recipients: list[str] = []
            while line := file.readline():
                word = line[:4].upper()
                answer = b"250 ok\r\n"
                if word == b"EHLO":
                    answer = b"250-crash.test\r\n250-PIPELINING\r\n250 CHUNKING\r\n"
                elif word == b"MAIL":
                    recipients = []
                elif word == b"RCPT":
                    recipients.append(line.split(b"<")[1].split(b">")[0].decode())
                elif word == b"BDAT":
                    size = int(line.split()[1])
                    if len(file.read(size)) < size:
                        return
                    self.accepted.update(recipients)
                    time.sleep(self._dice.choice((0, 0, 0.002, 0.01)))
                    if not self._reliable and self._dice.random() < 0.03:
                        return
                elif word == b"QUIT":
                    answer = b"221 bye\r\n"
                file.write(answer)
                file.flush()
                if word == b"QUIT":
                    return


_numbers = itertools.count()


def addresses(count: int) -> list[str]:
    """Return COUNT addresses that were never used before."""
    return [f"m{next(_numbers)}@crash.test" for _ in range(count)]


def text(address: str) -> bytes:
    """Return a mail for ADDRESS."""
    return f"From: a@crash.test\r\nTo: {address}\r\nSubject: x\r\n\r\nText.\r\n".encode()


def queue(
    box: Spool, account: Account, recipients: Sequence[str], maildir: Path | None = None
) -> None:
    """Put a mail of ACCOUNT for RECIPIENTS into BOX, whose copy is to go to MAILDIR if given."""
    envelope = Envelope("a@crash.test", tuple(recipients))
    content = [text(recipients[0])]
    mail = box.take_in(account, envelope, content.copy, f"<{recipients[0]}>", "held")
    if maildir is not None:
        copy = form("fcc", kind=Symbol("maildir"), path=str(maildir))
        (mail / afterwork.NAME).write_text(form("afterwork", version=1) + copy)
    mail.rename(box.place("queue", mail.name))


def environment(home: Path) -> dict[str, str]:
    """Return an environment whose home is HOME."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("XDG_")},
        "HOME": str(home),
    }


def flush(box: Spool) -> None:
    """Start all again, and leave it alone until nothing waits that could go."""
    for _ in range(FLUSHES):
        done = subprocess.run(
            [*HELPER, "outbox", "flush", "--outbox", str(box.root)],
            capture_output=True, text=True, env=environment(box.root.parent),
            timeout=END_SECONDS, check=False,
        )  # fmt: skip
        # What matters most of the fates; 74, uncertain, may hide that something waits.
        if done.returncode not in (0, 74, 75):
            raise AssertionError(done)
        if not box.names("queue") and not box.names("active"):
            return
        time.sleep(0.05)


class _Fate(NamedTuple):
    state: str
    verdict: str | None

    @property
    def accepted(self) -> bool:
        """True if it is told to be."""
        return self.state == "sent" or self.verdict == Verdict.ACCEPTED.value


def _fates(box: Spool) -> Iterator[tuple[str, _Fate]]:
    """Yield each recipient in BOX, where their mail lies, and what came last of it."""
    for state in ("queue", "held", "active", "sent", "failed"):
        for name in box.names(state):
            directory = box.root / state / name
            verdicts = {
                facts.get("recipient"): str(facts.get("verdict"))
                for kind, rest in Journal(directory).records()
                if kind == "result" and (facts := plist(rest))
            }
            for index, address in enumerate(box.entry(directory).envelope.recipients):
                yield address, _Fate(state, verdicts.get(index))


def with_copies(counts: Counts, box: Spool, maildir: Path) -> Counts:
    """Return COUNTS of mails in BOX, and of their copies in MAILDIR: each accepted one has one."""
    text = [copy.read_text() for part in ("cur", "new") for copy in (maildir / part).iterdir()]
    copies = Counter(re.search(r"^To: (.*)$", copy, re.MULTILINE)[1] for copy in text)  # type: ignore[index]
    accepted = {address for address, fate in _fates(box) if fate.accepted}
    return counts._replace(
        lost=counts.lost + len(accepted - set(copies)),
        doubled=counts.doubled + sum(number > 1 for number in copies.values()),
        lied=counts.lied + len(set(copies) - accepted),
    )


def count(
    kind: str,
    kills: int,
    box: Spool,
    mails: Collection[str],
    promised: Collection[str],
    accepted: Counter[str],
    denied: Collection[str] = (),
) -> Counts:
    """Return what became of MAILS, of which it was told that those PROMISED are safe.

    Of those DENIED it was told that they were not sent.  ACCEPTED is what the server says.
    A mail whose writer was killed before it came that far leaves nothing; its writer has it.
    """
    fates: dict[str, list[_Fate]] = {}
    for address, fate in _fates(box):
        fates.setdefault(address, []).append(fate)
    uncertain = failed = lost = lied = 0
    known = [a for a in mails if a in promised or a in fates or a in accepted]
    for address in known:
        taken = accepted[address]
        places = fates.get(address, [])
        states = {fate.state for fate in places}
        doubtful = any(fate.state == "failed" and fate.verdict == "uncertain" for fate in places)
        refused = (
            "failed" in states
            and not doubtful
            and not any(fate.verdict == "accepted" for fate in places)
        )
        uncertain += doubtful
        failed += refused
        # What waits though it could go is as good as lost.
        lost += not (taken or doubtful or refused)
        lied += (
            len(places) > 1
            or (taken and address in denied and not doubtful)
            or (taken and (refused or not states <= {"sent", "failed"}))
            or (not taken and "sent" in states)
        )
    return Counts(
        kind,
        kills,
        len(known),
        sum(accepted[address] > 0 for address in mails),
        uncertain,
        failed,
        lost,
        sum(accepted[address] > 1 for address in mails),
        lied,
    )

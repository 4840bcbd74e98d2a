"""Kills at random moments, again and again, over one outbox."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from crash.counting import (
    ELISP,
    END_SECONDS,
    HELPER,
    Counts,
    Server,
    addresses,
    count,
    environment,
    flush,
    queue,
    with_copies,
)
from smtps.errors import SmtpsError
from smtps.outbox import overview
from smtps.outbox.spool import MAILS, Spool
from smtps.rpc import codec
from smtps.rpc.codec import Symbol, Value

QUEUED = 12
"""Mails that are queued for each life of the helper: more than it gets to."""

LIFE = 0.25
"""Seconds that a helper lives at most, once it has started."""

SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGKILL, signal.SIGTERM)

RETRIES = 4
"""Mails that are to be tried again in each life of a helper."""

WRITTEN = 40
"""Mails that are sent in each life of an Emacs: more than it gets to."""

EMACS_LIFE = 0.6
"""Seconds for which an Emacs sends at most, once it has begun."""

WITH_EMACS = ("setpriv", "--pdeathsig", "KILL")
"""Lets a process be killed in the moment that its parent is."""


class Life:
    """One helper, and what it is told."""

    def __init__(self, outbox: Path) -> None:
        self.process = subprocess.Popen(
            [*HELPER, "rpc"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        call: list[Value] = [Symbol("call"), 1, Symbol("outbox-drain"), {"outbox": str(outbox)}]
        with suppress(BrokenPipeError):
            self.process.stdin.write(codec.dumps(call).encode() + b"\n")
            self.process.stdin.flush()
        # Its first word: it has begun.
        self.process.stdout.readline()

    def end(self, number: signal.Signals | None) -> None:
        """Kill it, or tell it by the end of its input to go."""
        assert self.process.stdin is not None
        if number is not None:
            self.process.send_signal(number)
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.process.wait(END_SECONDS)


def helper(directory: Path, kills: int, seed: int) -> Counts:
    """Kill the helper KILLS times over an outbox below DIRECTORY, then let one live."""
    dice = random.Random(seed)  # noqa: S311
    box = Spool(directory / "box")
    mails: list[str] = []
    with Server(dice) as server:
        for _ in range(kills):
            while len(box.names("queue")) < QUEUED:
                mails += addresses(1)
                queue(box, server.account, mails[-1:])
            life = Life(box.root)
            time.sleep(dice.random() * LIFE)
            life.end(dice.choice(SIGNALS))
        flush(box)
        return count("helper, random", kills, box, mails, mails, server.accepted)


def company(directory: Path, kills: int, seed: int) -> Counts:
    """Kill a helper and, beside it, ``outbox flush``, while a mail is to be tried again.

    So it goes KILLS times over an outbox below DIRECTORY; each mail has a copy to be filed.
    """
    dice = random.Random(seed)  # noqa: S311
    box = Spool(directory / "box")
    maildir = directory / "copies"
    for part in ("cur", "new", "tmp"):
        (maildir / part).mkdir(parents=True)
    mails: list[str] = []
    with Server(dice) as server:
        for _ in range(kills):
            while len(box.names("queue")) < QUEUED:
                mails += addresses(1)
                queue(box, server.account, mails[-1:], maildir)
            beside = subprocess.Popen(
                [*HELPER, "outbox", "flush", "--outbox", str(box.root)],
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                env=environment(directory),
            )  # fmt: skip
            life = Life(box.root)
            for _ in range(RETRIES):
                time.sleep(dice.random() * LIFE / RETRIES)
                name = dice.choice([name for state in MAILS for name in box.names(state)])
                # Most were sent, or nobody knows; or it is just being moved.
                with suppress(SmtpsError):
                    overview.retry(box, overview.found(box, name))
            life.end(dice.choice(SIGNALS))
            time.sleep(dice.random() * LIFE)
            beside.kill()
            beside.wait(END_SECONDS)
        flush(box)
        counts = count("helper and flush, random", kills, box, mails, mails, server.accepted)
        return with_copies(counts, box, maildir)


def emacs(
    box: Spool,
    port: int,
    directory: Path,
    mails: Sequence[str],
    helper: Sequence[str],
    seconds: float = END_SECONDS,
) -> list[str]:
    """Return the command of an Emacs that sends MAILS through HELPER (see life.el)."""
    return [
        "emacs", "-Q", "--batch", "-L", str(ELISP), "-l", str(Path(__file__).parent / "life.el"),
        str(box.root), str(port), str(directory), str(seconds), ",".join(mails), *helper,
    ]  # fmt: skip


def told(file: Path) -> list[str]:
    """Return the mails that an Emacs wrote to FILE."""
    return file.read_text().split() if file.exists() else []


def of_emacs(directory: Path, kills: int, seed: int, both: bool) -> Counts:
    """Kill an Emacs that sends, and its helper too if BOTH, KILLS times; then let all live."""
    dice = random.Random(seed)  # noqa: S311
    box = Spool(directory / "box")
    command = [*WITH_EMACS * both, *HELPER, "rpc"]
    mails: list[str] = []
    with Server(dice) as server:
        for _ in range(kills):
            written = addresses(WRITTEN)
            mails += written
            life = subprocess.Popen(
                emacs(box, server.port, directory, written, command),
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                env=environment(directory),
            )  # fmt: skip
            assert life.stderr is not None
            assert life.stderr.readline() == b"ready\n"
            time.sleep(dice.random() * EMACS_LIFE)
            life.kill()
            life.wait(END_SECONDS)
            life.stderr.close()
        flush(box)
        kind = "both, random" if both else "Emacs, random"
        return count(kind, kills, box, mails, told(directory / "promised"), server.accepted)

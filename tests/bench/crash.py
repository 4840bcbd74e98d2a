"""Kill the helper at random moments, again and again, and count what became of each mail.

``crash.py [KILLS [SEED]]``: each mail has to be accepted exactly once, or be uncertain or
failed before the user's eyes; none is lost, none is accepted twice.
"""

from __future__ import annotations

import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from smtps.client.account import Account
from smtps.outbox.journal import Journal
from smtps.outbox.spool import Spool
from smtps.protocol.envelope import Envelope
from smtps.rpc import codec
from smtps.rpc.codec import Symbol, Value, plist

PYTHON = Path(__file__).parents[2] / "python"

KILLS = 500

QUEUED = 12
"""Mails that are queued for each life of the helper: more than it gets to."""

LIFE = 0.35
"""Seconds that a helper lives at most; it needs some 0.1 to start."""

END_SECONDS = 60

SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGKILL, signal.SIGTERM)


class Counts(NamedTuple):
    """What came of all."""

    kills: int
    mails: int
    accepted: int
    uncertain: int
    lost: int
    doubled: int
    lied: int
    """In sent/, and never accepted."""

    def __str__(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in self._asdict().items())


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

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connected, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=(connected,), daemon=True).start()

    def close(self) -> None:
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


class Life:
    """One helper, and what it is told."""

    def __init__(self, outbox: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-I", str(PYTHON), "rpc"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        assert self.process.stdin is not None
        call: list[Value] = [Symbol("call"), 1, Symbol("outbox-drain"), {"outbox": str(outbox)}]
        with suppress(BrokenPipeError):
            self.process.stdin.write(codec.dumps(call).encode() + b"\n")
            self.process.stdin.flush()

    def end(self, number: signal.Signals | None) -> None:
        """Kill it, or tell it by the end of its input to go."""
        assert self.process.stdin is not None
        if number is not None:
            self.process.send_signal(number)
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait(END_SECONDS)


def run(directory: Path, kills: int, seed: int) -> Counts:
    """Kill the helper KILLS times over an outbox below DIRECTORY, then let one live."""
    dice = random.Random(seed)  # noqa: S311
    server = Server(dice)
    box = Spool(directory / "box")
    account = Account("127.0.0.1", server.port, "none")
    names: list[str] = []

    def queue() -> None:
        while len(box.names("queue")) < QUEUED:
            address = f"m{len(names)}@crash.test"
            text = f"Subject: {address}\r\n\r\nText.\r\n".encode()
            envelope = Envelope("a@crash.test", (address,))
            content = [text]
            box.take_in(account, envelope, content.copy, f"<{address}>", "queue")
            names.append(address)

    for _ in range(kills):
        queue()
        life = Life(box.root)
        time.sleep(dice.random() * LIFE)
        life.end(dice.choice(SIGNALS))
    life = Life(box.root)
    deadline = time.monotonic() + END_SECONDS
    while box.names("queue") or box.names("active"):
        if time.monotonic() > deadline:
            break
        time.sleep(0.05)
    life.end(None)
    server.close()
    return _counted(box, names, server.accepted, kills)


def _counted(box: Spool, names: list[str], accepted: Counter[str], kills: int) -> Counts:
    state = {}
    uncertain = 0
    for where in ("queue", "active", "sent", "failed"):
        for name in box.names(where):
            directory = box.root / where / name
            state[box.entry(directory).envelope.recipients[0]] = where
            verdicts = [
                plist(rest).get("verdict")
                for kind, rest in Journal(directory).records()
                if kind == "result"
            ]
            uncertain += where == "failed" and verdicts[-1:] == ["uncertain"]
    shown = {name for name, where in state.items() if where in ("sent", "failed")}
    return Counts(
        kills,
        len(names),
        sum(accepted[name] > 0 for name in names),
        uncertain,
        sum(not accepted[name] and name not in shown for name in names),
        sum(accepted[name] > 1 for name in names),
        sum(not accepted[name] and state.get(name) == "sent" for name in names),
    )


def main() -> int:
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else KILLS
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else int(time.time())
    with tempfile.TemporaryDirectory() as directory:
        found = run(Path(directory), kills, seed)
    print(f"seed {seed}: {found}")
    return 1 if found.lost or found.doubled or found.lied else 0


if __name__ == "__main__":
    sys.exit(main())

"""The helper, driven as Emacs drives it."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import messages
import sink

from smtps.client.account import Account
from smtps.outbox.spool import Spool, octets
from smtps.protocol.envelope import Envelope
from smtps.rpc import codec
from smtps.rpc.codec import Symbol, Value
from smtps.rpc.framing import Lines

PYTHON = Path(__file__).parents[2] / "python"

SECONDS = 120
"""Far more than any mail here takes."""


def command(*words: str) -> list[str]:
    """Return the command line that runs ``smtps`` with WORDS from this tree."""
    return [sys.executable, "-I", str(PYTHON), *words]


class Helper:
    """A helper process with an outbox at DIRECTORY, as a context manager."""

    def __init__(
        self,
        directory: Path,
        port: int,
        ca_file: Path,
        user: str = sink.USER,
        password: str = sink.PASSWORD,
    ) -> None:
        self._outbox = directory
        self._spool = Spool(directory)
        self._account = Account(
            sink.HOST, port, "implicit", user=user, name="bench", ca_file=str(ca_file)
        )
        self._secret = {"user": user, "password": password}
        self._lines = Lines()
        self._calls = 0
        self._fates: dict[str, tuple[str, str]] = {}
        self._returned = 0

    def __enter__(self) -> Helper:
        self._process = subprocess.Popen(
            command("rpc"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        self.pid = self._process.pid
        return self

    def __exit__(self, *_: object) -> None:
        # The pipe's end tells it to go.
        with self._process:
            assert self._process.stdin is not None
            self._process.stdin.close()
            try:
                self._process.wait(SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                raise

    def queue(self, message: Path, count: int = 1) -> str:
        """Put MESSAGE for COUNT recipients into the outbox; return its id."""
        return self._spool.take_in(
            self._account,
            Envelope(messages.SENDER, tuple(messages.recipients(count))),
            octets(message),
            "<bench@example.org>",
            "queue",
        ).name

    def ready(self) -> None:
        """Wait until the helper has started."""
        self._calls += 1
        self._write([Symbol("call"), self._calls, Symbol("alive"), None])
        self._until(lambda: self._returned == self._calls)

    def drain(self, *names: str) -> None:
        """Have what is queued sent, and wait until the mails NAMES are accepted."""
        self._calls += 1
        self._write(
            [
                Symbol("call"),
                self._calls,
                Symbol("outbox-drain"),
                {"outbox": str(self._outbox)},
            ]
        )
        self._until(lambda: all(name in self._fates for name in names))
        for name in names:
            state, text = self._fates[name]
            if state != "sent":
                raise RuntimeError(f"the mail {name} was not sent: {text}")

    def send(self, message: Path, count: int = 1) -> None:
        """Queue MESSAGE and wait until it is accepted."""
        self.drain(self.queue(message, count))

    def _write(self, form: Value) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(codec.dumps(form).encode() + b"\n")

    def _until(self, reached: Callable[[], bool]) -> None:
        assert self._process.stdout is not None
        deadline = time.monotonic() + SECONDS
        while not reached():
            left = deadline - time.monotonic()
            if not select.select([self._process.stdout], [], [], max(0, left))[0]:
                raise TimeoutError("the helper does not come to an end of a mail")
            data = os.read(self._process.stdout.fileno(), 65536)
            if not data:
                raise RuntimeError("the helper has died")
            for line in self._lines.feed(data):
                assert isinstance(line, bytes)
                self._take(codec.loads(line.decode()))

    def _take(self, form: Value) -> None:
        assert isinstance(form, list)
        match form:
            case ["call", int(uid), "credentials", *_]:
                self._write([Symbol("return"), uid, self._secret])
            case ["return", int(uid), *_]:
                self._returned = uid
            case ["event", "outbox", *properties]:
                told = codec.plist(properties)
                if told["state"] != "active":
                    self._fates[str(told["id"])] = (str(told["state"]), str(told["text"]))
            case ["return-error" | "epc-error", *rest]:
                raise RuntimeError(f"the helper refuses: {rest}")

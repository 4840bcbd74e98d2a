"""A connection that is cut at every step, by a proxy between the client and a real server.

What comes together is a step.  It is cut before it is passed on, or in its middle; so each
step is cut before, in between, and after.
"""

from __future__ import annotations

import socket
import struct
import subprocess
import tempfile
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from crash.counting import (
    HELPER,
    Counts,
    addresses,
    count,
    environment,
    flush,
    queue,
    text,
    total,
)
from smtps.client.account import Account
from smtps.outbox.spool import Spool
from smtps.sandbox.server import PASSWORD, USER, Sandbox

READ_SIZE = 64 * 1024

TOO_LONG = 60

PATIENCE = 1
"""Seconds that a client waits for a server that has gone silent."""

RESET = struct.pack("ii", 1, 0)
"""SO_LINGER for a close that sends RST."""


class Cut(NamedTuple):
    """At which step (0 for none), before it or in its MIDDLE, and how: ``fin``, ``rst``, or
    ``silence``, after which nothing comes through any more and nobody is told."""

    step: int
    middle: bool
    how: str


NONE = Cut(0, False, "fin")


class Cutter:
    """A proxy before PORT that makes the CUT once, and then passes on all."""

    def __init__(self, port: int) -> None:
        self.cut = NONE
        self.steps = 0
        """Those that were seen since it was zero."""
        self.done = False
        self._target = port
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]

    def __enter__(self) -> Cutter:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(TOO_LONG)
        self._listening.close()

    def make(self, cut: Cut) -> None:
        """Make CUT at the next chance."""
        self.cut, self.steps, self.done = cut, 0, False

    def _start(self, work: Callable[..., None], *arguments: object) -> threading.Thread:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()
        return thread

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                self._start(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self._target)) as server:
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            broken = threading.Event()
            for thread in (
                self._start(self._carry, client, server, broken),
                self._start(self._carry, server, client, broken),
            ):
                thread.join()
            if broken.is_set() and self.cut.how == "rst":
                for end in (client, server):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)

    def _carry(self, source: socket.socket, sink: socket.socket, broken: threading.Event) -> None:
        with suppress(OSError):
            while data := source.recv(READ_SIZE):
                # One at a time, so that nothing slips by beside a cut.
                with self._lock:
                    self.steps += 1
                    if not self.done and self.steps == self.cut.step:
                        self.done = True
                        broken.set()
                        if self.cut.middle:
                            sink.sendall(data[: len(data) // 2])
                        if self.cut.how != "silence":
                            break
                    if not broken.is_set():
                        sink.sendall(data)
        # A reset is sent by closing, and by nothing before it.
        how = socket.SHUT_RD if broken.is_set() and self.cut.how == "rst" else socket.SHUT_RDWR
        for end in (source, sink) if broken.is_set() else (sink,):
            with suppress(OSError):
                end.shutdown(how if broken.is_set() else socket.SHUT_WR)


class Way(NamedTuple):
    """How mails are sent: by which command, by what the server offers, and to how many each."""

    kind: str
    mails: int
    recipients: int
    chunking: bool


WAYS = {
    way.kind: way
    for way in (
        # The second mail goes over a connection that stands.
        Way("outbox flush", 2, 1, True),
        Way("outbox flush, DATA", 2, 1, False),
        Way("outbox flush, 3 recipients", 1, 3, True),
        Way("send", 1, 1, True),
        Way("send, DATA", 1, 1, False),
    )
}


class _World:
    """An outbox of its own before one server, through a cutter."""

    def __init__(self, way: Way, root: Path, sandbox: Sandbox, cutter: Cutter) -> None:
        self.way = way
        self.root = root
        self.box = Spool(root / "box")
        self.sandbox = sandbox
        self.account = Account(
            "localhost",
            cutter.port,
            "implicit",
            user=USER,
            ca_file=str(sandbox.ca_file),
            password_command=f"printf %s {PASSWORD}",
        )
        self.mails = [addresses(way.recipients) for _ in range(way.mails)]

    def run(self, cut: Cut) -> subprocess.CompletedProcess[str]:
        if self.way.kind.startswith("outbox flush"):
            for recipients in self.mails:
                queue(self.box, self.account, recipients)
            words = ["outbox", "flush", "--outbox", str(self.box.root)]
        else:
            account = self.account
            words = [
                "send", "-t", str(self.root / "mail"), "--host", account.host,
                "--port", str(account.port), "--tls", "implicit", "--user", USER,
                "--ca-file", str(account.ca_file), "--outbox", str(self.box.root),
                "--password-command", str(account.password_command),
            ]  # fmt: skip
            if cut.how == "silence":
                words += ["--timeout", str(PATIENCE)]
            (self.root / "mail").write_bytes(text(self.mails[0][0]))
        return subprocess.run(
            [*HELPER, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True,
            env=environment(self.root), timeout=TOO_LONG, check=False,
        )  # fmt: skip

    def accepted(self) -> Counter[str]:
        """Return how often the server has accepted a mail for each recipient."""
        return Counter(recipient for mail in self.sandbox.accepted for recipient in mail.recipients)


def _one(way: Way, sandbox: Sandbox, cutter: Cutter, cut: Cut) -> Counts:
    with tempfile.TemporaryDirectory() as directory:
        world = _World(way, Path(directory), sandbox, cutter)
        cutter.make(cut)
        done = world.run(cut)
        assert "Traceback" not in done.stderr, done.stderr
        made = cutter.done
        cutter.cut = NONE
        flush(world.box)
        mails = [address for recipients in world.mails for address in recipients]
        sending = way.kind.startswith("send")
        return count(
            way.kind,
            made,
            world.box,
            mails,
            # What a send that failed has not even kept was said to be nowhere.
            mails,
            world.accepted(),
            mails if sending and done.returncode else (),
        )


def each(way: Way, directory: Path, every: int = 1) -> tuple[Counts, list[Cut]]:
    """Cut WAY at each of its steps, or at one in EVERY; return also those that were bad."""
    more = ["CHUNKING"] if way.chunking else []
    with Sandbox(directory, more=more) as sandbox, Cutter(sandbox.port) as cutter:
        undisturbed = _one(way, sandbox, cutter, NONE)
        assert undisturbed.accepted == undisturbed.mails
        steps = cutter.steps
        # Only who sends for one attempt can be told how long to wait.
        hows = ("fin", "rst", "silence") if way.kind.startswith("send") else ("fin", "rst")
        cuts = [
            Cut(step, middle, how)
            for step in range(1, steps + 1)
            for middle in (False, True)
            for how in hows
        ][::every]
        counted = [(cut, _one(way, sandbox, cutter, cut)) for cut in cuts]
    return (
        total(f"{way.kind}, a cut at each step", (counts for _, counts in counted)),
        [cut for cut, counts in counted if not counts.clean],
    )

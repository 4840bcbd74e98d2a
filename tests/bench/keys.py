"""Type into a real ``emacs -nw`` while it sends mail, and measure when it obeys the keys.

``keys.py [MEGABYTES]``: a mail of so many MB on the wire, to a server 200 ms away (there and
back), by smtps and by smtpmail.el; then 1,000 mails that are sent while their list is shown.
``--screens`` prints what was on the screen.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import drain
import lisp
import messages
import sink

from smtps.client.account import Account
from smtps.outbox.spool import Spool, octets
from smtps.protocol.envelope import Envelope

sys.path.append(str(Path(__file__).parents[1] / "e2e"))
from terminal import Terminal

KEYS = Path(__file__).with_name("keys.el")

MEGABYTES = 25

DELAY = 0.1
"""Seconds each way."""

PAUSE = 0.05
"""Seconds between keys: as a quick typist does it."""

BEFORE = 30
"""Keys that are typed before the mail is sent, to know what they take without."""

AFTER = 10
"""Keys that are typed when all is done."""

SECONDS = 600

SHOWN = 50
"""Mails that were sent which the list shows."""

LINE = 40
"""Keys in a line."""


SERVER = """\
import pathlib, sys, delayproxy, sink
directory, delay = sys.argv[1:]
with sink.Sink(pathlib.Path(directory), taken=lambda mail: print("taken", flush=True)) as made:
    with delayproxy.Proxy(made.port, float(delay)) as proxy:
        print(proxy.port, made.ca_file, flush=True)
        sys.stdin.read()
"""


ON = """
(smtps-mode 1)
(smtps-mode-line-show t) ; as once Emacs has been idle
"""


class Typed(NamedTuple):
    """Milliseconds, garbage collection left out of all but its own."""

    quiet: float
    """The most that a key took before anything was sent; the terminal's own time is in it."""
    command: float
    """What the command that sends took, the send function in it."""
    function: float
    """What the send function took of that."""
    collected: float
    """The garbage collection in the command."""
    key: float
    """The most that a key took that was typed once the command had begun."""
    later: float
    """The most that a key took that was typed once it had returned."""
    own: float
    """The most that a filter or timer of ours took."""
    keys: int
    """The keys that were typed from the command's beginning on."""


class Far:
    """A sink DELAY seconds away each way, in a process of its own, as a context manager."""

    def __init__(self, directory: Path, delay: float) -> None:
        self._words = [sys.executable, "-c", SERVER, str(directory), str(delay)]

    def __enter__(self) -> Far:
        self._process = subprocess.Popen(
            self._words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parent)},
        )  # fmt: skip
        assert self._process.stdout is not None
        port, ca_file = self._process.stdout.readline().split()
        self.port, self.ca_file = int(port), Path(ca_file.decode())
        os.set_blocking(self._process.stdout.fileno(), False)
        self._taken = b""
        return self

    def __exit__(self, *_: object) -> None:
        with self._process:
            assert self._process.stdin is not None
            self._process.stdin.close()

    def taken(self) -> int:
        """Return how many mails have come so far."""
        assert self._process.stdout is not None
        self._taken += self._process.stdout.read() or b""
        return self._taken.count(b"taken")


class Typist:
    """Types into TERMINAL, a key now and then, and remembers when."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self.at: list[float] = []

    def type(self) -> None:
        """Type a key, and pause."""
        last = len(self.at) % LINE == LINE - 1
        began = time.time()
        self.at.append(began)
        self._terminal.type(" " if last else "k")
        time.sleep(max(0.0, began + PAUSE - time.time()))

    def until(self, reached: Callable[[], bool]) -> None:
        """Type until REACHED returns True."""
        deadline = time.monotonic() + SECONDS
        while not reached():
            if time.monotonic() > deadline:
                raise TimeoutError(self._terminal.screen())
            self.type()


class Emacs:
    """An ``emacs -nw`` that sends to SERVER, its home at HOME, as a context manager."""

    def __init__(self, home: Path, elisp: Path, server: Far, smtpmail: bool, on: bool) -> None:
        home.mkdir()
        self.outbox = home / "outbox"
        self._log = home / "log"
        (home / ".authinfo").write_text(
            f"machine {sink.HOST} port {server.port} login {sink.USER} password {sink.PASSWORD}\n"
        )
        (home / "init.el").write_text(_configuration(server, self.outbox, smtpmail, on))
        self.terminal = Terminal(
            f"emacs -Q -nw -L {elisp} -l {home}/init.el -l {KEYS}",
            {"HOME": str(home), "KEYS_LOG": str(self._log), "KEYS_FILE": str(home / "file")},
        )
        self.file = home / "file"

    def __enter__(self) -> Emacs:
        self.terminal.__enter__()
        self.terminal.until("typed")
        self.typist = Typist(self.terminal)
        return self

    def __exit__(self, *_: object) -> None:
        self.terminal.__exit__(None, None, None)

    def noted(self) -> list[tuple[str, float, float]]:
        """End Emacs; return what it has noted: words, times and garbage collection up to then."""
        self.terminal.keys("C-c", "t")
        self.terminal.until("^status=0$")
        words = [line.split() for line in self._log.read_text().splitlines()]
        return [(word, float(time), float(collected)) for word, time, collected in words]


def _configuration(server: Far, outbox: Path, smtpmail: bool, on: bool) -> str:
    common = f"""
(setq smtpmail-smtp-server "{sink.HOST}" smtpmail-smtp-service {server.port}
      smtpmail-stream-type 'ssl smtpmail-smtp-user "{sink.USER}"
      gnutls-trustfiles '("{server.ca_file}") auth-sources '("~/.authinfo"))
"""
    if smtpmail:
        return f"{common}(setq message-send-mail-function #'smtpmail-send-it)"
    python = Path(__file__).parents[2] / "python"
    return f"""{common}
(require 'smtps)
(setq smtps-helper-command '("{sys.executable}" "-I" "{python}" "rpc")
      smtps-outbox-directory "{outbox}"
      smtps-accounts '(("bench" :host "{sink.HOST}" :port {server.port} :tls implicit
                        :user "{sink.USER}" :ca-file "{server.ca_file}")))
{ON if on else ""}
"""


def typed(noted: Sequence[tuple[str, float, float]], at: Sequence[float], begins: str) -> Typed:
    """Return what was NOTED of the keys sent AT these times; BEGINS is the command's first word."""
    when = {word: (moment, collected) for word, moment, collected in noted}
    keys = [(moment, collected) for word, moment, collected in noted if word == "key"]
    if len(keys) != len(at):
        raise RuntimeError(f"{len(at)} keys were typed, and Emacs obeyed {len(keys)}")
    began, ended = when[begins], when["command-ends"]
    entered, left = when.get("function-begins", began), when.get("function-ends", began)
    # What was collected by the time at which a key was sent: the note before tells.
    moments = [(moment, collected) for word, moment, collected in noted if word != "own"]
    lags = []
    for sent, key in zip(at, keys, strict=True):
        before = max((note for note in moments if note[0] <= sent), default=(sent, 0.0))
        lags.append((sent, without((sent, before[1]), key)))
    during = [lag for sent, lag in lags if sent >= began[0] - PAUSE]
    figures = [
        max(lag for sent, lag in lags if sent < began[0] - PAUSE),
        without(began, ended),
        without(entered, left),
        ended[1] - began[1],
        max(during),
        max(lag for sent, lag in lags if sent >= ended[0]),
        max((moment for word, moment, _ in noted if word == "own"), default=0.0),
    ]
    quiet, command, function, collected, key_most, later, own = (1000 * n for n in figures)
    return Typed(quiet, command, function, collected, key_most, later, own, len(during))


def without(begin: tuple[float, float], end: tuple[float, float]) -> float:
    """Return the seconds from BEGIN to END, each with what had been collected by then."""
    return end[0] - begin[0] - (end[1] - begin[1])


Show = Callable[[str, str], None]
"""Called with a name and what was on the screen."""


def unseen(name: str, screen: str) -> None:
    """Show nothing."""


def one_large(
    directory: Path, elisp: Path, megabytes: int, smtpmail: bool, show: Show = unseen
) -> Typed:
    """Send a mail of MEGABYTES to a server that is far away."""
    name = "smtpmail" if smtpmail else "smtps"
    with (
        Far(directory, DELAY) as server,
        Emacs(directory / f"{name}-{megabytes}", elisp, server, smtpmail, True) as emacs,
    ):
        # Base64 makes 78 octets of 57.
        emacs.file.write_bytes(os.urandom(megabytes * 1000 * 1000 // 78 * 57))
        typist, terminal = emacs.typist, emacs.terminal
        for _ in range(BEFORE):
            typist.type()
        terminal.keys("C-c", "k")
        terminal.until("a file")
        terminal.keys("C-c", "C-c")
        typist.until(lambda: "unsent mail" not in terminal.screen())
        for _ in range(AFTER):
            typist.type()
        show(f"{name}, under way", terminal.screen())
        typist.until(lambda: server.taken() == 1)
        for _ in range(AFTER):
            typist.type()
        show(f"{name}, after", terminal.screen())
        return typed(emacs.noted(), typist.at, "command-begins")


def many_small(directory: Path, elisp: Path, mails: int, show: Show = unseen) -> Typed:
    """Send MAILS of 2 KB while their list is shown."""
    with (
        Far(directory, 0) as server,
        Emacs(directory / f"smtps-{mails}-mails", elisp, server, False, False) as emacs,
    ):
        small = drain.small(directory)
        box = Spool(emacs.outbox)
        account = Account(
            sink.HOST, server.port, "implicit", sink.USER, "bench", ca_file=str(server.ca_file)
        )
        envelope = Envelope(messages.SENDER, tuple(messages.recipients(1)))
        for _ in range(mails):
            box.take_in(account, envelope, octets(small), "<bench@example.org>", "queue")
        typist, terminal = emacs.typist, emacs.terminal
        terminal.keys("M-x")
        terminal.enter("smtps-outbox", f"{mails} waits")
        terminal.keys("C-x", "o")
        for _ in range(BEFORE):
            typist.type()
        terminal.keys("C-c", "g")
        for _ in range(AFTER):
            typist.type()
        show("the outbox, under way", terminal.screen())
        typist.until(lambda: server.taken() == mails)
        for _ in range(AFTER):
            typist.type()
        screen = terminal.until(f"Outbox {min(mails, SHOWN)} sent")
        show("the outbox, after", screen)
        noted = emacs.noted()
        return typed(noted, typist.at, "go")


def main() -> None:
    """Print what was measured."""
    parser = argparse.ArgumentParser(prog="tests/bench/typing", description=__doc__)
    parser.add_argument("megabytes", type=int, nargs="?", default=MEGABYTES)
    parser.add_argument("--mails", type=int, default=drain.MAILS)
    parser.add_argument("--screens", action="store_true", help="print the screens, too")
    arguments = parser.parse_args()

    def show(name: str, screen: str) -> None:
        if arguments.screens:
            print(f"--- {name}\n{screen}", flush=True)

    print(
        f"{'milliseconds':<26}{'before':>9}{'command':>9}{'function':>9}{'garbage':>9}"
        f"{'key':>9}{'later':>9}{'ours':>9}{'keys':>6}"
    )
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        elisp = lisp.compiled(directory)
        large = arguments.megabytes
        for told, measured in (
            (f"smtps, {large} MB", one_large(directory, elisp, large, False, show)),
            (f"smtpmail, {large} MB", one_large(directory, elisp, large, True, show)),
            (
                f"smtps, {arguments.mails} mails",
                many_small(directory, elisp, arguments.mails, show),
            ),
        ):
            *times, keys = measured
            print(f"{told:<26}" + "".join(f"{figure:>9.1f}" for figure in times) + f"{keys:>6}")


if __name__ == "__main__":
    main()

"""Type into a real ``emacs -nw`` while servers flood its sessions.

``flood.py [MEGABYTES]``: a server sends so many MB, in each of several ways, for some seconds at
the most, to one session, and in the end to ten at once.  Told are the time in which a key was
obeyed, with an Emacs that does nothing beside it on the same machine, what garbage collection
took of that, what was read, the most memory that either process has come to, and what was kept.
The status is 1 if Emacs took more processor time than `PAUSE_BAR` between two looks at the keys,
or a process grew past `MEMORY_BAR`: these hold on a busy machine, too.  ``--screens`` prints what
was on the screen.
"""

from __future__ import annotations

import argparse
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import NamedTuple

import lisp
from keys import AFTER, BEFORE, KEYS, PAUSE, Typist

sys.path.append(str(Path(__file__).parents[1] / "e2e"))
from terminal import Terminal

FLOOD = Path(__file__).with_name("flood.el")

MEGABYTES = 100

SECONDS = 20
"""What one way may take.  A server that is not read has to wait: not all of it may come."""

TOGETHER = 10
"""Sessions at once."""

BLOCK = 100_000

WAYS = {
    "lines without a code": b"X\r\n",
    "replies unasked": b"250 This is one of very many lines, all alike.\r\n",
    "continuation lines": b"250-This is one of very many lines, all alike.\r\n",
    "challenges": b"334 VXNlcm5hbWU6\r\n",
    "escapes, long lines": b"250-\x1b[2J\x00\xff\xe2\x80\xae" * 200 + b"\r\n",
    "letters between blanks": b"250-" + "é ".encode() * 500 + b"\r\n",
    "right to left": b"250-" + "\u05d0 1 \u202e".encode() * 150 + b"\r\n",
    "right to left, at the limit": b"250-" + "\u05d0\u05d1 ".encode() * 32 + b"\r\n",
    "octets of no UTF-8": b"250-" + b"\xff\xe9x" * 170 + b"\r\n",
    "NULs": b"\0" * BLOCK,
    "one line": b"X" * BLOCK,
}

PAUSE_BAR = 50
"""Milliseconds in which a key is obeyed, garbage collection and all."""

MEMORY_BAR = {1: 100, TOGETHER: 600}
"""Megabytes by which a process may grow for so many sessions."""


class Flooder:
    """A server in clear that answers the first line of each client by a flood of LINE."""

    def __init__(self, line: bytes, megabytes: int) -> None:
        self._block = line * max(1, BLOCK // len(line))
        self._times = megabytes * 1_000_000 // len(self._block)
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self.sent = 0
        self.ended = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._flood, args=(client,), daemon=True).start()

    def _flood(self, client: socket.socket) -> None:
        with client:
            try:
                client.sendall(b"220 hello\r\n")
                client.recv(4096)
                for _ in range(self._times):
                    client.sendall(self._block)
                    self.sent += len(self._block)
                self.ended += 1
                while client.recv(4096):
                    pass
            except OSError:
                return

    def close(self) -> None:
        """Take no more."""
        self._server.close()


class Flooded(NamedTuple):
    """Milliseconds and megabytes."""

    before: float
    """The most that a key took before the flood."""
    whole: float
    """The most that a key took from then on."""
    beside: float
    """The most that a key took in an Emacs that did nothing else, at that time."""
    key: float
    """As `whole`, less the garbage collection."""
    collected: float
    """The garbage collection that a key has waited for, the most."""
    quiet: float
    """What a garbage collection takes before the flood, the least of several."""
    full: float
    """What one takes after it, the least of several."""
    collection: float
    """What one took meanwhile, the most."""
    turn: float
    """The most processor time of Emacs between two looks at the keys, whoever else is at work."""
    own: float
    """The most that a filter or timer of ours took."""
    hung_up: float
    """From C-c C-c to the end of all sessions."""
    read: float
    """Megabytes that were read, or lay in the sockets."""
    emacs: float
    """By how many megabytes Emacs has grown at the most."""
    helper: float
    events: int
    """What the helper told, which is a line at most, before C-c C-c."""
    lines: int
    """The lines that the last session's buffer has kept."""
    keys: int


HEADS = (
    "before", "key", "beside", "less gc", "its gc", "gc quiet", "gc full", "gc most", "turn",
    "ours", "hang up", "MB read", "Emacs MB", "helperMB", "events", "lines", "keys",
)  # fmt: skip
"""What `Flooded` is called in a line."""


def memory(pid: int) -> float:
    """Return the most megabytes of memory that the process PID has had."""
    found = re.search(r"^VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.M)
    assert found is not None
    return int(found[1]) / 1024


def children(pid: int) -> list[int]:
    """Return the processes that PID has started."""
    told = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False)
    return [int(word) for word in told.stdout.split()]


Note = tuple[str, float, float]
"""A word that Emacs has noted, when, and the seconds of garbage collection up to then."""


def emacs_terminal(home: Path, *words: object, **environment: str) -> Terminal:
    """Return a terminal for an Emacs at HOME that notes keys; see `noted`."""
    home.mkdir()
    return Terminal(
        f"sh -c 'echo $$ > {home}/pid; exec emacs -Q -nw {' '.join(map(str, words))}'",
        {"HOME": str(home), "KEYS_LOG": f"{home}/log", "KEYS_FILE": os.devnull} | environment,
    )


def noted(terminal: Terminal, home: Path) -> list[Note]:
    """End the Emacs at HOME in TERMINAL; return what it has noted."""
    terminal.keys("C-c", "t")
    terminal.until("^status=0$")
    words = [line.split() for line in (home / "log").read_text().splitlines()]
    return [(word, float(moment), float(collected)) for word, moment, collected in words]


def waits(notes: list[Note], typed: list[float]) -> list[tuple[float, float, float]]:
    """Return of the keys TYPED: when, the time until obeyed, the garbage collection in that."""
    keys = [(moment, collected) for word, moment, collected in notes if word == "key"]
    if len(keys) != len(typed):
        raise RuntimeError(f"{len(typed)} keys were typed, and Emacs obeyed {len(keys)}")
    # What was collected by the time at which a key was sent: the note before tells.
    known = [(moment, collected) for word, moment, collected in notes
             if word in ("key", "go", "end")]  # fmt: skip
    return [
        (sent, moment - sent,
         collected - max((note for note in known if note[0] <= sent), default=(sent, 0.0))[1])
        for sent, (moment, collected) in zip(typed, keys, strict=True)
    ]  # fmt: skip


def type_on(typist: Typist, ended: threading.Event) -> None:
    """Type until ENDED."""
    while not ended.is_set():
        typist.type()


def flooded(
    directory: Path,
    elisp: Path,
    line: bytes,
    sessions: int,
    megabytes: int = MEGABYTES,
    seconds: float = SECONDS,
    screens: bool = False,
) -> Flooded:
    """Measure a flood of LINE, of so many MEGABYTES or SECONDS."""
    server = Flooder(line, megabytes)
    home = Path(tempfile.mkdtemp(dir=directory))
    python = Path(__file__).parents[2] / "python"
    (home / "init.el").write_text(
        f"""(require 'smtps)
(setq smtps-helper-command '("{sys.executable}" "-I" "{python}" "rpc"))"""
    )
    terminal = emacs_terminal(
        home / "emacs", "-L", elisp, "-l", home / "init.el", "-l", KEYS, "-l", FLOOD,
        FLOOD_PORTS=" ".join([str(server.port)] * sessions),
    )  # fmt: skip
    with terminal, emacs_terminal(home / "beside", "-l", KEYS) as idle:
        idle.until("typed")
        terminal.until("^recv> 220 hello")
        emacs = int((home / "emacs" / "pid").read_text())
        (helper,) = [
            child for child in children(emacs)
            if b"rpc" in Path(f"/proc/{child}/cmdline").read_bytes()
        ]  # fmt: skip
        was = memory(emacs), memory(helper)
        typist, beside = Typist(terminal), Typist(idle)
        for _ in range(BEFORE):
            typist.type()
        terminal.keys("C-c", "F6")
        over = threading.Event()
        thread = threading.Thread(target=type_on, args=(beside, over))
        thread.start()
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and server.ended < sessions:
            typist.type()
        over.set()
        thread.join()
        screen = terminal.screen()
        hung_up = time.time()
        terminal.keys("C-c", "F7")
        terminal.until("The session is closed")
        ended = time.time()
        for _ in range(AFTER):
            time.sleep(PAUSE)
        read = server.sent / 1e6
        grown = memory(emacs) - was[0], memory(helper) - was[1]
        last = terminal.screen()
        notes = noted(terminal, home / "emacs")
        theirs = waits(noted(idle, home / "beside"), beside.at)
    server.close()
    if screens:
        print(f"--- under way\n{screen}\n--- after\n{last}", flush=True)

    def most(word: str) -> float:
        return max((number for noun, number, _ in notes if noun == word), default=0.0)

    go = most("go")
    ours = waits(notes, typist.at)
    later = [(whole, garbage) for sent, whole, garbage in ours if sent >= go]
    figures = [
        max(whole for sent, whole, _ in ours if sent < go),
        max(whole for whole, _ in later),
        max(whole for _, whole, _ in theirs),
        max(whole - garbage for whole, garbage in later),
        max(garbage for _, garbage in later),
        most("quiet"),
        most("full"),
        most("collection"),
        most("turn"),
        most("own"),
        ended - hung_up,
    ]
    milliseconds = [1000 * figure for figure in figures]
    counted = int(most("events")), int(most("lines")), len(later)
    return Flooded._make([*milliseconds, read, *grown, *counted])


def holds(found: Flooded, sessions: int) -> bool:
    """Return True if what was FOUND for so many SESSIONS is within the bars."""
    most = MEMORY_BAR.get(sessions, MEMORY_BAR[TOGETHER])
    return found.turn <= PAUSE_BAR and max(found.emacs, found.helper) <= most


def main() -> None:
    """Print what was measured."""
    parser = argparse.ArgumentParser(prog="tests/bench/flood", description=__doc__)
    parser.add_argument("megabytes", type=int, nargs="?", default=MEGABYTES)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for one way, at most")
    parser.add_argument("--screens", action="store_true", help="print the screens, too")
    parser.add_argument("--way", choices=sorted(WAYS), action="append", help="only this one")
    parser.add_argument("--sessions", type=int, action="append", help="only so many at once")
    arguments = parser.parse_args()
    ways = arguments.way or list(WAYS)
    print(f"{'':<36}" + "".join(f"{name:>9}" for name in HEADS))
    held = True
    with tempfile.TemporaryDirectory() as name:
        elisp = lisp.compiled(Path(name))
        for sessions in arguments.sessions or (1, TOGETHER):
            for way in ways:
                found = flooded(
                    Path(name), elisp, WAYS[way], sessions,
                    arguments.megabytes, arguments.seconds, arguments.screens,
                )  # fmt: skip
                told = way + (f", {sessions} sessions" if sessions > 1 else "")
                good = holds(found, sessions)
                held = held and good
                print(
                    f"{told:<36}" + "".join(f"{figure:>9.4g}" for figure in found)
                    + ("" if good else "  MISSED"),
                    flush=True,
                )  # fmt: skip
    sys.exit(0 if held else 1)


if __name__ == "__main__":
    main()

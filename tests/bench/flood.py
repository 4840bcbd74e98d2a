"""Type into a real ``emacs -nw`` while servers flood its sessions.

``flood.py [MEGABYTES]``: a server sends so many MB, in each of several ways, for `SECONDS` at
the most, to one session, and in the end to ten at once.  Told are the time in which a key was
obeyed, what was read, the most memory that either process has come to, and what was kept.
``--screens`` prints what was on the screen.
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
from keys import AFTER, BEFORE, KEYS, PAUSE, Typist, without

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
    "one line": b"X" * BLOCK,
}


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
    """Milliseconds without garbage collection, which is told by itself, and megabytes."""

    before: float
    """The most that a key took before the flood."""
    key: float
    """The most that a key took from then on."""
    collected: float
    """The garbage collection that a key has waited for, the most."""
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


def memory(pid: int) -> float:
    """Return the most megabytes of memory that the process PID has had."""
    found = re.search(r"^VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.M)
    assert found is not None
    return int(found[1]) / 1024


def children(pid: int) -> list[int]:
    """Return the processes that PID has started."""
    told = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False)
    return [int(word) for word in told.stdout.split()]


def flooded(
    directory: Path, elisp: Path, line: bytes, megabytes: int, sessions: int, screens: bool
) -> Flooded:
    """Measure a flood of LINE."""
    server = Flooder(line, megabytes)
    home = Path(tempfile.mkdtemp(dir=directory))
    python = Path(__file__).parents[2] / "python"
    (home / "init.el").write_text(
        f"""(require 'smtps)
(setq smtps-helper-command '("{sys.executable}" "-I" "{python}" "rpc"))"""
    )
    log, pids = home / "log", home / "pid"
    terminal = Terminal(
        f"sh -c 'echo $$ > {pids}; exec emacs -Q -nw -L {elisp} -l {home}/init.el -l {KEYS}"
        f" -l {FLOOD}'",
        {"HOME": str(home), "KEYS_LOG": str(log), "KEYS_FILE": os.devnull,
         "FLOOD_PORTS": " ".join([str(server.port)] * sessions)},
    )  # fmt: skip
    with terminal:
        terminal.until("^recv> 220 hello")
        emacs = int(pids.read_text())
        (helper,) = [
            child for child in children(emacs)
            if b"rpc" in Path(f"/proc/{child}/cmdline").read_bytes()
        ]  # fmt: skip
        was = memory(emacs), memory(helper)
        typist = Typist(terminal)
        for _ in range(BEFORE):
            typist.type()
        terminal.keys("C-c", "F6")
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline and server.ended < sessions:
            typist.type()
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
        terminal.keys("C-c", "t")
        terminal.until("^status=0$")
    server.close()
    if screens:
        print(f"--- under way\n{screen}\n--- after\n{last}", flush=True)
    words = [line.split() for line in log.read_text().splitlines()]
    noted = [(word, float(moment), float(collected)) for word, moment, collected in words]
    keys = [(moment, collected) for word, moment, collected in noted if word == "key"]
    if len(keys) != len(typist.at):
        raise RuntimeError(f"{len(typist.at)} keys were typed, and Emacs obeyed {len(keys)}")
    (go,) = [moment for word, moment, _ in noted if word == "go"]
    moments = [
        (moment, collected) for word, moment, collected in noted if word in ("key", "go", "end")
    ]
    before, key, garbage = 0.0, 0.0, 0.0
    for sent, obeyed in zip(typist.at, keys, strict=True):
        known = max((note for note in moments if note[0] <= sent), default=(sent, 0.0))
        lag = without((sent, known[1]), obeyed)
        if sent < go:
            before = max(before, lag)
        else:
            key = max(key, lag)
            garbage = max(garbage, obeyed[1] - known[1])
    own = max((moment for word, moment, _ in noted if word == "own"), default=0.0)
    (lines,) = [int(moment) for word, moment, _ in noted if word == "lines"]
    (events,) = [int(moment) for word, moment, _ in noted if word == "events"]
    before, key, garbage, own = (1000 * n for n in (before, key, garbage, own))
    took = 1000 * (ended - hung_up)
    return Flooded(before, key, garbage, own, took, read, *grown, events, lines, len(keys))


def main() -> None:
    """Print what was measured."""
    parser = argparse.ArgumentParser(prog="tests/bench/flood", description=__doc__)
    parser.add_argument("megabytes", type=int, nargs="?", default=MEGABYTES)
    parser.add_argument("--screens", action="store_true", help="print the screens, too")
    parser.add_argument("--way", choices=sorted(WAYS), help="only this one")
    parser.add_argument("--sessions", type=int, default=TOGETHER)
    arguments = parser.parse_args()
    ways = [arguments.way] if arguments.way else list(WAYS)
    print(
        f"{'':<34}{'ms before':>10}{'key':>7}{'garbage':>9}{'ours':>7}{'hang up':>9}"
        f"{'MB read':>9}{'Emacs':>8}{'helper':>8}{'events':>8}{'lines':>7}{'keys':>6}"
    )
    with tempfile.TemporaryDirectory() as name:
        elisp = lisp.compiled(Path(name))
        for sessions in (1, arguments.sessions):
            for way in ways:
                found = flooded(
                    Path(name), elisp, WAYS[way], arguments.megabytes, sessions, arguments.screens
                )
                print(
                    f"{way + (f', {sessions} sessions' if sessions > 1 else ''):<34}"
                    f"{found.before:>10.1f}{found.key:>7.1f}{found.collected:>9.1f}"
                    f"{found.own:>7.1f}{found.hung_up:>9.0f}{found.read:>9.1f}"
                    f"{found.emacs:>8.1f}{found.helper:>8.1f}{found.events:>8}{found.lines:>7}{found.keys:>6}",
                    flush=True,
                )


if __name__ == "__main__":
    main()

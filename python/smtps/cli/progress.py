"""What a person at a terminal sees while something takes longer than a second."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import threading
import time
from collections.abc import Iterator

from smtps.cli.front import tell
from smtps.protocol.visible import visible

PATIENCE = 1.0
"""Seconds after which waiting is told: shorter, and nobody wonders."""

STEP = 0.2
"""Seconds between two looks."""

SHOWN = 60
"""Characters of it: one line of a terminal, which can be taken back."""


def wait_for_typing(what: str) -> bool:
    """Tell who sits at the terminal that is standard input that WHAT is to be typed there.

    Return True if that was told: nothing had been typed, or pasted, after `PATIENCE`.
    """
    if sys.stdin is None or not sys.stdin.isatty() or select.select([0], [], [], PATIENCE)[0]:
        return False
    # In the shells of Emacs the terminal is its buffer.
    end, stop = "Ctrl-D on a line of its own", "Ctrl-C"
    if "INSIDE_EMACS" in os.environ:
        end, stop = "C-c C-d", "C-c C-c"
    tell(f"Waiting for {what}. {end} ends it, and {stop} gives it up.", "warning")
    return True


class Progress:
    """One line on standard error, of what goes on; nothing where that is no terminal.

    Its own thread writes it, since whatever takes so long holds up all else.
    """

    def __init__(self) -> None:
        self._wanted = sys.stderr is not None and sys.stderr.isatty()
        self._wanted = self._wanted and os.environ.get("TERM", "dumb") != "dumb"
        self._what = ""
        self._since = time.monotonic()
        self._octets = self._total = 0
        self._shown = False
        self._lock = threading.Lock()
        self._ended = threading.Event()
        if self._wanted:
            threading.Thread(target=self._look_on, daemon=True).start()

    def doing(self, what: str) -> None:
        """From now on WHAT is being waited for."""
        with self._lock:
            self._what, self._since, self._total = what, time.monotonic(), 0

    def sending(self, octets: int, total: int) -> None:
        """OCTETS more of a message of TOTAL were written."""
        with self._lock:
            if not self._total:
                self._since, self._octets, self._total = time.monotonic(), 0, total
            self._octets += octets
            if self._octets >= total:
                self._total, self._since = 0, time.monotonic()
                self._what = "All of it has left; waiting for the answer"

    @contextlib.contextmanager
    def quiet(self) -> Iterator[None]:
        """Show nothing while others write, or ask."""
        with self._lock:
            self._erase()
            yield
            self._since = time.monotonic()

    def end(self) -> None:
        """Take back what is shown, and show no more."""
        self._ended.set()
        with self._lock:
            self._erase()

    def _look_on(self) -> None:
        while not self._ended.wait(STEP):
            with self._lock:
                waited = time.monotonic() - self._since
                if self._what and waited >= PATIENCE and not self._ended.is_set():
                    self._write(f"\r\x1b[K{self.line(waited)}")
                    self._shown = True
                elif self._shown:
                    self._erase()

    def line(self, waited: float) -> str:
        """Return what is to be shown, WAITED seconds after it began."""
        if self._total:
            percent = 100 * self._octets // self._total
            return f"{self._octets:,} of {self._total:,} octets have left, {percent} %"
        return f"{visible(self._what, SHOWN)}... {waited:.0f} s"

    def _erase(self) -> None:
        if self._shown:
            self._write("\r\x1b[K")
            self._shown = False

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(text)
            sys.stderr.flush()

"""The wire: standard input and output, each with a thread of its own.

asyncio's pipes fail on files and leave terminals non-blocking, and a reader that has
stopped must never hold up what is being sent.  The real standard output is the wire's
alone: whatever prints, prints to standard error.
"""

from __future__ import annotations

import asyncio
import os
import queue
import signal
import threading
from collections.abc import Callable

from smtps.errors import WireError
from smtps.rpc.framing import Lines

READ_SIZE = 65536

BACKLOG_LIMIT = 4 * 1024 * 1024
"""Octets that may wait for a reader who does not read; sessions stop far before."""


class Wire:
    """Standard input and output as lines."""

    def __init__(self) -> None:
        self._out = os.dup(1)
        os.dup2(2, 1)
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._backlog = 0
        self._broken = False
        self._writer = threading.Thread(target=self._write_lines, daemon=True)
        self._writer.start()

    def write(self, line: str) -> None:
        """Queue LINE.  Never blocks; what nobody reads for too long is dropped."""
        octets = line.encode() + b"\n"
        if self._broken or self._backlog > BACKLOG_LIMIT:
            self._broken = True
            return
        self._backlog += len(octets)
        self._lines.put(octets)

    def _write_lines(self) -> None:
        while (octets := self._lines.get()) is not None:
            view = memoryview(octets)
            while view and not self._broken:
                try:
                    view = view[os.write(self._out, view) :]
                except OSError:
                    self._broken = True
            self._backlog -= len(octets)

    def flush(self, seconds: float) -> None:
        """Wait until all is written, at most SECONDS."""
        self._lines.put(None)
        self._writer.join(seconds)

    def read(self, receive: Callable[[bytes | WireError], None], ended: Callable[[], None]) -> None:
        """Begin to read: RECEIVE gets each line in the running loop, then ENDED is called."""
        loop = asyncio.get_running_loop()

        def reading() -> None:
            lines = Lines()
            try:
                while data := os.read(0, READ_SIZE):
                    for line in lines.feed(data):
                        loop.call_soon_threadsafe(receive, line)
            except OSError:
                pass
            finally:
                try:
                    loop.call_soon_threadsafe(ended)
                except RuntimeError:
                    # The loop has closed before: nobody is left to be told.
                    return

        threading.Thread(target=reading, daemon=True).start()


def ignore_hangups() -> None:
    """Emacs's end is told by the end of standard input, not by signals (DECISIONS-core 16)."""
    for name in ("SIGHUP", "SIGINT", "SIGPIPE"):
        signal.signal(getattr(signal, name), signal.SIG_IGN)

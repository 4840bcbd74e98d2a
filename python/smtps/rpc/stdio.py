"""The wire: standard input and output, each with a thread of its own.

asyncio's pipes fail on files and leave terminals non-blocking, and a reader that has
stopped must never hold up what is being sent (DECISIONS-core 17).  The real standard
output is the wire's alone: whatever prints, prints to standard error; and what reads
standard input finds nothing there.  A helper in short::

    async def serve() -> None:
        wire = Wire()
        peer = Peer({"greet": greet}, {}, wire.write)
        ended = asyncio.Event()
        wire.read(peer.receive, ended.set)
        await ended.wait()
        peer.gone()
        wire.flush(1)

    ignore_hangups()
    asyncio.run(serve())
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import stat
import threading
from collections.abc import Callable

from smtps.errors import WireError
from smtps.rpc.framing import Lines

READ_SIZE = 65536
"""Octets that are read at once: all that a pipe holds."""

READS_LIMIT = 16
"""Reads that may wait for the loop, so that a loop that is held up does not pile up lines."""

HIGH_WATER = 256 * 1024
"""Octets not yet written at which `drain` begins to wait: many messages, little memory."""

BACKLOG_LIMIT = 4 * 1024 * 1024
"""Octets not yet written at which events are dropped; who awaits `drain` stops far before."""


class Wire:
    """Standard input and output as lines.  One for a process, made before anything prints."""

    def __init__(self) -> None:
        self._in, self._out = os.dup(0), os.dup(1)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        os.dup2(2, 1)
        self._pipe = stat.S_ISFIFO(os.fstat(self._out).st_mode)
        self._writable = select.poll()
        self._writable.register(self._out, select.POLLOUT)
        self._lines: dict[object, bytes] = {}
        self._backlog = 0
        self._changed = threading.Condition()
        self._broken = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._room: asyncio.Event | None = None
        self._ended: Callable[[], None] | None = None
        threading.Thread(target=self._write_lines, name="wire-out", daemon=True).start()

    # What goes out

    def write(self, line: str, /, *, event: bool = False, newest: str | None = None) -> bool:
        """Queue LINE, without LF, and return True; False if it was dropped.

        Never blocks and never raises, whatever has become of the reader.  An EVENT is
        dropped when `BACKLOG_LIMIT` octets wait; other lines are answers, as many as were
        asked for.  A line with the same NEWEST that still waits is replaced.
        """
        octets = line.encode() + b"\n"
        with self._changed:
            replaced = self._lines.pop(newest, b"") if newest is not None else b""
            self._backlog -= len(replaced)
            if self._broken or (event and self._backlog + len(octets) > BACKLOG_LIMIT):
                return False
            if not self._backlog and self._written_at_once(octets):
                return True
            self._lines[object() if newest is None else newest] = octets
            self._backlog += len(octets)
            self._changed.notify_all()
        return True

    def _written_at_once(self, octets: bytes) -> bool:
        """Write OCTETS and return True where that can't block: waking the thread costs more."""
        if not self._pipe or len(octets) > select.PIPE_BUF or not self._writable.poll(0):
            return False
        # So much is written as a whole, or, where nobody reads any more, left to the thread.
        with contextlib.suppress(OSError):
            return os.write(self._out, octets) == len(octets)
        return False

    async def drain(self) -> None:
        """Wait until less than `HIGH_WATER` octets wait to be written, or nobody reads any more."""
        self._loop = asyncio.get_running_loop()
        while True:
            with self._changed:
                if self._broken or self._backlog < HIGH_WATER:
                    return
                if self._room is None:
                    self._room = asyncio.Event()
                room = self._room
            await room.wait()

    def flush(self, seconds: float) -> None:
        """Block until all is written, at most SECONDS."""
        with self._changed:
            self._changed.wait_for(lambda: self._broken or not self._backlog, seconds)

    def _write_lines(self) -> None:
        while not self._broken:
            with self._changed:
                self._changed.wait_for(lambda: self._lines)
                octets = self._lines.pop(next(iter(self._lines)))
            try:
                self._write_all(octets)
            except OSError:
                self._broken = True
            with self._changed:
                self._backlog -= len(octets)
                if self._broken:
                    self._lines.clear()
                    self._backlog = 0
                if self._backlog < HIGH_WATER and self._room is not None:
                    self._tell(self._room.set)
                    self._room = None
                self._changed.notify_all()
        if self._ended is not None:
            self._tell(self._ended)

    def _write_all(self, octets: bytes) -> None:
        view = memoryview(octets)
        while view:
            try:
                view = view[os.write(self._out, view) :]
            except BlockingIOError:
                # Somebody who shares the pipe or terminal made it so.
                select.select([], [self._out], [])

    # What comes in

    def read(self, receive: Callable[[bytes | WireError], None], ended: Callable[[], None]) -> None:
        """Begin to read: RECEIVE gets each line in the running loop, then ENDED is called.

        ENDED is also called when standard output turns out to be closed; it may be called
        twice.
        """
        self._loop = asyncio.get_running_loop()
        self._ended = ended
        room = threading.Semaphore(READS_LIMIT)

        def received(lines: list[bytes | WireError]) -> None:
            try:
                for line in lines:
                    receive(line)
            finally:
                room.release()

        def reading() -> None:
            lines = Lines()
            while True:
                room.acquire()
                try:
                    data = os.read(self._in, READ_SIZE)
                except BlockingIOError:
                    room.release()
                    select.select([self._in], [], [])
                    continue
                except OSError:
                    data = b""
                if not data:
                    break
                if not self._tell(received, lines.feed(data)):
                    return
            self._tell(ended)

        threading.Thread(target=reading, name="wire-in", daemon=True).start()

    def _tell(self, function: Callable[..., None], *arguments: object) -> bool:
        """Have FUNCTION called in the loop; return False if nobody is left to be told."""
        if self._loop is None:
            return True
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:
            return False
        return True


def ignore_hangups() -> None:
    """Emacs's end is told by the end of standard input, not by signals (DECISIONS-core 16)."""
    for name in (signal.SIGHUP, signal.SIGINT):
        # Not SIG_IGN, which the programs that we start would inherit.
        signal.signal(name, lambda *_: None)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)

"""A drainer's log: commits and results of many mails in one file, so that they share flushes.

A commit is on the disk before the octets leave that could complete its mail; a result is
written at once and flushed with the next commit.  Whoever starts next reads the logs of the
dead before judging any entry.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import re
import socket
import threading
from collections.abc import Collection
from pathlib import Path

from smtps.errors import OutboxError, WireError
from smtps.outbox.forms import Record, records
from smtps.outbox.journal import RESERVED, flush_path
from smtps.outbox.spool import lock
from smtps.rpc.codec import plist

_ID = re.compile(rb':id "([a-zA-Z0-9-]+)"')


def named(line: str, name: str) -> str:
    """Return a LINE of the journal of the entry NAME as it stands in a log."""
    kind, _, rest = line.partition(" ")
    return f'{kind} :id "{name}" {rest}'


class Log:
    """The log of this process in DIRECTORY.  Raises OutboxError if it can't be made."""

    def __init__(self, directory: Path) -> None:
        host = re.sub(r"[^A-Za-z0-9.]", "-", socket.gethostname())[:60]
        self.path = directory / f"{host}-{os.getpid()}-{os.urandom(4).hex()}"
        self._end = 0
        self._flushed = 0
        self._room = 0
        self._flushing: asyncio.Future[None] | None = None
        self._flushes: queue.SimpleQueue[asyncio.Future[None] | None] = queue.SimpleQueue()
        self._kept = False
        try:
            self._descriptor = os.open(
                self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600
            )
            lock(self._descriptor)
            flush_path(directory)
        except OSError as error:
            raise OutboxError(
                f"The outbox {directory.parent} can't be written: {error.strerror}."
            ) from None
        threading.Thread(target=self._flush_each, name="flush", daemon=True).start()

    def note(self, *lines: str) -> None:
        """Write LINES; a kill loses nothing of them, and the next commit flushes them.

        Raises OutboxError; where a commit came before, there is room.
        """
        octets = "".join(lines).encode()
        try:
            os.pwrite(self._descriptor, octets, self._end)
        except OSError as error:
            raise self._full(error) from None
        self._end += len(octets)

    async def commit(self, line: str) -> None:
        """Write LINE and return when it, and room for its result, is on the disk.

        Raises OutboxError: then nothing may be sent.
        """
        needed = self._end + len(line) + RESERVED
        if needed > self._room:
            try:
                os.posix_fallocate(self._descriptor, self._end, len(line) + 4 * RESERVED)
            except OSError as error:
                raise self._full(error) from None
            self._room = self._end + len(line) + 4 * RESERVED
        self.note(line)
        await self.flush()

    async def flush(self) -> None:
        """Return when all that was written is on the disk.  Raises OutboxError."""
        target = self._end
        while self._flushed < target:
            if self._flushing is None or self._flushing.done():
                self._flushing = asyncio.get_running_loop().create_future()
                self._flushes.put(self._flushing)
            try:
                # One flush serves all who wait; none of them may end it for the others.
                await asyncio.shield(self._flushing)
            except OSError as error:
                raise self._full(error) from None

    def _flush_each(self) -> None:
        # A thread of the log's own: an executor's wakes up at twice the price, mail by mail.
        while (asked := self._flushes.get()) is not None:
            error = None
            try:
                self._flush()
            except OSError as raised:
                error = raised
            try:
                asked.get_loop().call_soon_threadsafe(_answer, asked, error)
            except RuntimeError:
                # The loop has ended: nobody waits.
                return

    def _flush(self) -> None:
        end = self._end
        os.fsync(self._descriptor)
        self._flushed = end

    def _full(self, error: OSError) -> OutboxError:
        return OutboxError(
            f"The outbox can't be written ({error.strerror}); nothing was sent, the mail is kept."
        )

    def keep(self) -> None:
        """Leave the log behind at the end: it tells what could be written nowhere else."""
        self._kept = True

    async def close(self, root: Path) -> None:
        """End the log; all that it tells of lies where it belongs in the outbox at ROOT."""
        if self._flushing is not None:
            await asyncio.wait((self._flushing,))
            # Whoever waited for it was told, or has been given up.
            self._flushing.exception()
        self._flushes.put(None)
        await asyncio.to_thread(self._close, root)

    def _close(self, root: Path) -> None:
        with contextlib.suppress(OSError):
            if not self._kept:
                settle(root)
                self.path.unlink()
        with contextlib.suppress(OSError):
            os.close(self._descriptor)


def _answer(asked: asyncio.Future[None], error: OSError | None) -> None:
    if error is None:
        asked.set_result(None)
    else:
        asked.set_exception(error)


def settle(root: Path) -> None:
    """Flush the renames of the outbox at ROOT.  Raises OSError."""
    for state in ("queue", "active", "sent", "failed"):
        flush_path(root / state)


class Dead:
    """The log of a process, of one that is no more mostly: ours until `forget` or `leave`."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self._data = os.pread(descriptor, os.fstat(descriptor).st_size, 0)

    def records(self) -> dict[str, list[Record]]:
        """Return what it tells of each entry.  Raises WireError for a damaged one."""
        found: dict[str, list[Record]] = {}
        for name, rest in records(self._data):
            found.setdefault(str(plist(rest).get("id")), []).append((name, rest))
        return found

    def named(self) -> set[str]:
        """Return the entries that it names somewhere, damaged as it may be."""
        return {match.decode() for match in _ID.findall(self._data)}

    def forget(self) -> None:
        """Delete it: all that it tells was written elsewhere."""
        with contextlib.suppress(OSError):
            self.path.unlink()
        os.close(self._descriptor)

    def leave(self) -> None:
        """Leave it where it is."""
        os.close(self._descriptor)


def _opened(path: Path) -> tuple[int, bool] | None:
    """Return a descriptor of the log at PATH and whether its owner is no more: then it is ours."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        lock(descriptor)
    except OSError:
        return descriptor, False
    with contextlib.suppress(OSError):
        if os.fstat(descriptor).st_ino == path.stat().st_ino:
            return descriptor, True
    os.close(descriptor)
    return None


def told(
    directory: Path, left: Collection[str]
) -> tuple[dict[str, list[Record]], set[str], list[Dead]]:
    """Return what the logs in DIRECTORY tell, by entry; what damaged ones name; and the dead ones.

    Those of the living tell of the entries LEFT in active/ alone, which have no owner any more:
    one that is just dying may have its log still, and one that could not move an entry, or not
    write into it, wrote here what became of that.
    """
    by_entry: dict[str, list[Record]] = {}
    doubtful: set[str] = set()
    logs = []
    for path in sorted(directory.iterdir()):
        opened = _opened(path)
        if opened is None:
            continue
        log = Dead(path, opened[0])
        dead = opened[1]
        if dead:
            logs.append(log)
        try:
            found = log.records() if dead or left else {}
        except WireError:
            doubtful |= log.named() if dead else log.named().intersection(left)
            found = {}
        if not dead:
            log.leave()
        for name, lines in found.items():
            if dead or name in left:
                by_entry.setdefault(name, []).extend(lines)
    return by_entry, doubtful, logs

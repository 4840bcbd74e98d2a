"""An entry's journal: what was tried and what came of it, a form a line, only ever appended to."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from smtps.errors import OutboxError, WireError
from smtps.outbox.entry import damaged
from smtps.outbox.forms import Record, form, records
from smtps.protocol.outcome import Outcome
from smtps.rpc import codec
from smtps.rpc.codec import Symbol

JOURNAL = "journal.sexp"
"""The file of an entry that its journal is."""

RESERVED = 64 * 1024
"""Octets set aside before a commit, so that the result fits on a disk that fills up."""

TRANSCRIPT_LIMIT = 32 * 1024
"""Characters of a masked transcript that are kept; a line of the outbox has 64 KB at most."""


def append(descriptor: int, lines: Iterable[str], reserve: bool, flush: bool) -> None:
    """Append LINES to the file DESCRIPTOR, behind its last whole line.

    What stands behind that was never finished, or is room that was set aside.  RESERVE room
    for what is to follow; FLUSH it to the disk.  Raises OSError.
    """
    size = os.fstat(descriptor).st_size
    data = os.pread(descriptor, size, 0) if size else b""
    end = data.rfind(b"\n") + 1
    octets = "".join(lines).encode()
    if reserve:
        os.posix_fallocate(descriptor, end, len(octets) + RESERVED)
    os.pwrite(descriptor, octets, end)
    if not reserve and size > end + len(octets):
        os.ftruncate(descriptor, end + len(octets))
    if flush:
        os.fsync(descriptor)


class Journal:
    """The journal of the entry in DIRECTORY; written by the entry's owner only."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / JOURNAL
        self._directory = directory

    def records(self) -> list[Record]:
        """Return the whole lines, in order.  Raises DamagedEntryError for a bad one."""
        try:
            # Most have none yet.
            data = self._path.read_bytes() if self._path.stat().st_size else b""
        except FileNotFoundError:
            return []
        try:
            return records(data)
        except WireError as error:
            raise damaged(self._directory, f"its journal: {error.text}") from None

    def append(self, *lines: str, reserve: bool = False, flush: bool = True) -> None:
        """Append LINES, and flush them if FLUSH; RESERVE room for the result first.

        Raises OutboxError where the disk does not take them.
        """
        try:
            new = not self._path.exists()
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                append(descriptor, lines, reserve, flush)
            finally:
                os.close(descriptor)
            if new and flush:
                flush_path(self._directory)
            # Who watches the outbox sees changes of directories only.
            os.utime(self._directory)
        except OSError as error:
            raise OutboxError(
                f"The outbox can't be written ({error.strerror}); the mail "
                f"{self._directory.name} is kept."
            ) from None


def flush_path(path: Path) -> None:
    """Have the file or directory at PATH written to the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def results(
    attempt: int,
    outcome: Outcome,
    next_time: int | None = None,
    indexes: Sequence[int] | None = None,
) -> list[str]:
    """Return the lines for the OUTCOME of an attempt: one a recipient, and one for all.

    INDEXES are its recipients' places in the envelope, all of them when None.
    """
    lines = []
    for place, fate in enumerate(outcome.fates):
        index = place if indexes is None else indexes[place]
        reply = fate.reply
        lines.append(
            form(
                "result",
                attempt=attempt,
                recipient=index,
                verdict=Symbol(fate.verdict.value),
                code=reply.code if reply else None,
                enhanced=str(reply.enhanced) if reply and reply.enhanced else None,
                text=reply.text if reply else None,
            )
        )
    lines.append(
        form(
            "outcome",
            attempt=attempt,
            verdict=Symbol(outcome.verdict.value),
            text=outcome.text,
            next=next_time,
        )
    )
    return lines


def transcript(attempt: int, lines: Sequence[str]) -> str:
    """Return the line that keeps the masked LINES of an attempt's dialogue."""
    text = "\n".join(lines)
    if len(text) > TRANSCRIPT_LIMIT:
        half = TRANSCRIPT_LIMIT // 2
        text = f"{text[:half]}\n...\n{text[-half:]}"
    return form("transcript", attempt=attempt, text=text)


def unanswered(found: Iterable[Record]) -> tuple[int, ...]:
    """Return the recipients (by index) that a commit names and no result answers."""
    open_: set[int] = set()
    for name, rest in found:
        if name == "commit":
            named = codec.plist(rest).get("recipients") or []
            open_ |= {i for i in named if isinstance(i, int)} if isinstance(named, list) else set()
        elif name == "result":
            index = codec.plist(rest).get("recipient")
            if isinstance(index, int):
                open_.discard(index)
    return tuple(sorted(open_))


def attempts(found: Iterable[Record]) -> int:
    """Return the number of the last attempt, 0 if there was none."""
    last = 0
    for name, rest in found:
        number = codec.plist(rest).get("number" if name == "attempt" else "attempt")
        if isinstance(number, int):
            last = max(last, number)
    return last

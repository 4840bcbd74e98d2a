"""The directories of the outbox, and how an entry gets from one to another.

Every change of owner is one rename; whoever loses it, stops.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from smtps import xdg
from smtps.client.account import Account
from smtps.errors import MessageUnreadableError, OutboxError
from smtps.outbox import entry
from smtps.outbox.entry import Entry
from smtps.outbox.forms import form
from smtps.outbox.journal import JOURNAL, Journal, flush_path
from smtps.protocol.envelope import Envelope

MAILS = ("queue", "held", "active", "sent", "failed")
"""The states of a mail, each a directory."""

STATES = ("tmp", *MAILS, "log")

LOOKS = 5
"""Looks at an entry that may be on its way from one state to another."""


ALONE_SECONDS = 5.0
"""What it may take others at most to see that a mail is not there yet, and to put it there."""


def default() -> Path:
    """Return the outbox of both doors: ``${XDG_DATA_HOME:-~/.local/share}/smtps/outbox``.

    Raises OutboxError where there is no home to look in.
    """
    found = xdg.data("outbox")
    if found is None:
        raise OutboxError("There is no home directory for the outbox; name one with --outbox.")
    return found


LOCKED = "envelope.sexp"
"""The file of an entry that its owner locks: every whole entry has it, and nobody replaces it."""


class Owned:
    """An entry that this process owns, by the lock on its envelope."""

    def __init__(self, spool: Spool, directory: Path, lock: int) -> None:
        self._spool = spool
        self._lock: int | None = lock
        self.directory = directory
        self.journal = Journal(directory)

    def activate(self) -> bool:
        """Move the entry to active/; give it up and return False if it was moved meanwhile.

        Raises OutboxError if it can't be moved.
        """
        target = self._spool.place("active", self.directory.name)
        try:
            self.directory.rename(target)
        except OSError as error:
            self.give_up()
            if isinstance(error, FileNotFoundError):
                return False
            raise OutboxError(
                f"The outbox {self._spool.root} can't be written: {error.strerror}."
            ) from None
        self.directory, self.journal = target, Journal(target)
        return True

    def give_up(self) -> None:
        """Let others have the entry, where it lies."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def finish(self, state: str) -> Path:
        """Move the entry to STATE, give it up, and return where it lies."""
        target = self._spool.place(state, self.directory.name)
        try:
            # No flush: what a power cut undoes here, journals and logs tell again.
            # The lock goes last: without it somebody could judge the entry before it is moved.
            self.directory.rename(target)
        except OSError as error:
            raise OutboxError(
                f"The mail {self.directory.name} can't be moved to {state}/ "
                f"({error.strerror}); it lies in {self.directory.parent.name}/."
            ) from None
        finally:
            self.give_up()
        return target


class Spool:
    """The outbox at ROOT.  Raises OutboxError if it can't be made or used."""

    def __init__(self, root: Path) -> None:
        self.root = root
        try:
            for state in STATES:
                (root / state).mkdir(mode=0o700, parents=True, exist_ok=True)
            # One that is read-only can be looked at.
            if stat.S_IMODE(root.stat().st_mode) != 0o700:
                root.chmod(0o700)
        except OSError as error:
            raise OutboxError(f"The outbox {root} can't be used: {error.strerror}.") from None

    def take_in(
        self,
        account: Account,
        envelope: Envelope,
        chunks: Callable[[], Iterable[bytes]],
        message_id: str,
        state: str,
        check: Callable[[], None] | None = None,
    ) -> Path:
        """Write a new entry and put it into STATE, flushed; return its directory.

        CHECK may raise before: meanwhile nobody who checks puts anything there.
        Raises OutboxError, and leaves nothing behind, if the disk does not take it.
        """
        with self._new(account, envelope, chunks, message_id) as making:
            return self._put(making, state, check)

    def begin(
        self,
        account: Account,
        envelope: Envelope,
        chunks: Callable[[], Iterable[bytes]],
        message_id: str,
        check: Callable[[], None] | None = None,
    ) -> Owned:
        """Write a new entry into active/, owned from its first moment there, for one attempt.

        CHECK is as for `take_in`.
        Should its owner be killed, whoever finds it leaves it to the user: they were not told
        that it was sent, and may have sent it by other means.
        """
        with self._new(account, envelope, chunks, message_id) as making:
            Journal(making).append(form("attempt", number=1, time=int(time.time()), once=True))
            lock = _locked(making / LOCKED)
            try:
                return Owned(self, self._put(making, "active", check), lock)
            except BaseException:
                os.close(lock)
                raise

    @contextlib.contextmanager
    def _new(
        self,
        account: Account,
        envelope: Envelope,
        chunks: Callable[[], Iterable[bytes]],
        message_id: str,
    ) -> Iterator[Path]:
        name = entry.new_id()
        making = self.root / "tmp" / name
        try:
            making.mkdir(mode=0o700)
            size = entry.write(making / entry.MESSAGE, chunks())
            lines = entry.envelope_lines(name, account, envelope, message_id, size)
            entry.write(making / "envelope.sexp", (line.encode() for line in lines))
            # Whoever sends it makes no file then: that costs more than all else that it writes.
            (making / JOURNAL).touch(0o600)
            yield making
        except OSError as error:
            _discard(making)
            raise OutboxError(
                f"The outbox {self.root} can't be written: {error.strerror}. Nothing was sent."
            ) from None
        except BaseException:
            # Interrupted, or the message can't be read: whoever hands it in still has it.
            _discard(making)
            raise

    def _put(self, making: Path, state: str, check: Callable[[], None] | None) -> Path:
        target = self.root / state / making.name
        flush_path(making)
        with self._alone() if check else contextlib.nullcontext():
            if check:
                check()
            making.rename(target)
        flush_path(target.parent)
        return target

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Let nobody else who does so put an entry into a state meanwhile."""
        lock = os.open(self.root / "tmp" / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            # Whoever holds it that long has been stopped, and holds up nobody.
            last = time.monotonic() + ALONE_SECONDS
            while time.monotonic() < last:
                with contextlib.suppress(BlockingIOError):
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                time.sleep(0.01)
            yield
        finally:
            os.close(lock)

    def own(self, directory: Path) -> Owned | None:
        """Lock the entry at DIRECTORY; None if it is not there or somebody else has it."""
        path = directory / LOCKED
        try:
            lock = _locked(path)
        except (FileNotFoundError, BlockingIOError):
            return None
        except OSError as error:
            raise OutboxError(
                f"The outbox {self.root} can't be written: {error.strerror}."
            ) from None
        try:
            if os.fstat(lock).st_ino != path.stat().st_ino:
                raise FileNotFoundError
        except OSError:
            os.close(lock)
            return None
        return Owned(self, directory, lock)

    def place(self, state: str, name: str) -> Path:
        """Return the directory of the entry NAME in STATE."""
        return self.root.joinpath(state, name)

    def take(self, name: str, state: str = "queue") -> Owned | None:
        """Take the entry NAME out of STATE; None if it is no longer there."""
        # Locked first: in active/ without an owner, what was held would be judged, and sent.
        owned = self.own(self.place(state, name))
        return owned if owned is not None and owned.activate() else None

    def names(self, state: str) -> list[str]:
        """Return the entries' names in STATE, oldest first."""
        try:
            with os.scandir(self.root / state) as found:
                return sorted(each.name for each in found if each.is_dir())
        except OSError as error:
            raise OutboxError(f"The outbox {self.root} can't be read: {error.strerror}.") from None

    def foreign(self, state: str) -> list[str]:
        """Return the names of the files in STATE, where only entries belong.

        Hidden ones are file managers' and file systems' own.
        """
        try:
            found = [p.name for p in (self.root / state).iterdir() if not p.is_dir()]
        except OSError as error:
            raise OutboxError(f"The outbox {self.root} can't be read: {error.strerror}.") from None
        return sorted(name for name in found if not name.startswith("."))

    def twice(self, name: str) -> bool:
        """Return True if the entry NAME lies in two states at once: then it is damaged."""
        # One that is being moved can be seen twice; so often in a row it can't well be.
        return all(
            # Paths made of text: this is asked of each mail, and objects cost ten times that.
            sum(os.path.exists(f"{self.root}/{state}/{name}") for state in MAILS) > 1  # noqa: PTH110
            for _ in range(LOOKS)
        )

    def entry(self, directory: Path) -> Entry:
        """Return the entry at DIRECTORY.  Raises DamagedEntryError."""
        if self.twice(directory.name):
            raise entry.damaged(directory, "it lies in two states at once.")
        return entry.read(directory)


def _locked(path: Path) -> int:
    """Return a descriptor of the file at PATH, locked.  Raises BlockingIOError if another is.

    Where it is missing it is made, empty: an entry that lacks it is owned by one, too.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        lock(descriptor)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def lock(descriptor: int) -> None:
    """Lock the file DESCRIPTOR.

    Raises BlockingIOError if somebody has, or another OSError where nothing can be locked.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError as error:
        raise OSError(
            error.errno,
            f"its file system gives no lock ({error.strerror}), and without one a mail could be "
            "sent twice",
        ) from None


def _discard(making: Path) -> None:
    """Delete the unfinished entry MAKING; where it got its place already, there is none."""
    with contextlib.suppress(OSError):
        for left in making.glob("*"):
            left.unlink(missing_ok=True)
        making.rmdir()


READ_SIZE = 64 * 1024


def octets(path: Path) -> Callable[[], Iterable[bytes]]:
    """Return a function that reads the file at PATH anew, in chunks."""

    def chunks() -> Iterable[bytes]:
        try:
            with path.open("rb") as file:
                while chunk := file.read(READ_SIZE):
                    yield chunk
        except OSError as error:
            raise MessageUnreadableError(
                f"The message {path} can't be read: {error.strerror}."
            ) from None

    return chunks

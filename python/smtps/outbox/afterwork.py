"""What is to happen once a mail was accepted: its copies, its parent's mark, its draft's end.

``afterwork.sexp`` in an entry has a form a line, data of closed kinds.  A form with ``:client``
is done by an Emacs that knows that client; the others are done here.  Whoever renames the file
does it.  After each form the file is written anew with what is left, and at the end what is left
goes back to ``afterwork.sexp``: a form that failed says why.

Here it is renamed to ``afterwork.locked``, and locked as an entry is: without a lock its owner
is dead.  Emacs can lock nothing, so there its name is ``afterwork.PID-STARTED.HOST``, and who
finds it judges by these whether that Emacs lives.

A kill between a form and the writing of what is left has it done again by the next process;
so each kind here ends the same, done once or twice.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from smtps.errors import AfterworkError, SmtpsError, WireError
from smtps.outbox.forms import Record, records
from smtps.outbox.spool import READ_SIZE, Spool, lock
from smtps.protocol.outcome import Verdict
from smtps.rpc.codec import Keyword, Symbol, Value, dumps, plist

NAME = "afterwork.sexp"

STATES = ("sent", "failed", "queue")
"""Where an entry can lie that somebody has accepted."""

LOOKS = 5
"""Looks for an entry that its owner may be moving meanwhile."""

REASON_LIMIT = 1000
"""Characters of a reason that are kept: a line of the outbox has 64 KB at most."""

NOTMUCH_SECONDS = 120
"""What notmuch may take: it waits for its lock while another indexes new mail."""

CLAIMED_SECONDS = 24 * 60 * 60
"""Age of an Emacs's claim after which it is over, though nothing tells that this Emacs is gone:
it was another machine's, or this one had another name."""

_CLAIMED = "afterwork.locked"

_EMACS = re.compile(r"afterwork\.([0-9]+)(?:-([0-9]+))?\.([A-Za-z0-9.-]+)\Z")


class Done(NamedTuple):
    """What became of it: sentences on what failed, and how many forms wait for an Emacs."""

    failed: tuple[str, ...]
    left: int


class Pending(NamedTuple):
    """Something that was not done yet, in words, and the reason if it failed."""

    what: str
    reason: str | None
    client: str | None


def host() -> str:
    """Return this machine's name, as it stands in file names."""
    return re.sub(r"[^A-Za-z0-9.]", "-", socket.gethostname())[:60]


def started(pid: int) -> int | None:
    """Return when the process PID was started, in ticks since the machine was, by proc(5).

    None where that can't be known.
    """
    try:
        told = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
        # What follows the program's name, which may have blanks and parentheses.
        return int(told.rpartition(")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return None


def accepted(state: str, found: Iterable[Record]) -> bool:
    """Return True if an entry in STATE, whose journal was FOUND, was accepted by somebody."""
    # In sent/ it was, whatever its journal lacks.
    return state == "sent" or any(
        name == "result" and str(plist(rest).get("verdict")) == Verdict.ACCEPTED.value
        for name, rest in found
    )


def pending(directory: Path) -> list[Pending]:
    """Return what is still to be done of the entry in DIRECTORY.

    What can't be read is told to be something.
    """
    with contextlib.suppress(OSError):
        for path in directory.glob("afterwork.*"):
            if path.name in (NAME, _CLAIMED) or _EMACS.match(path.name):
                try:
                    forms = _parsed(path.read_bytes()).forms
                except SmtpsError as error:
                    return [Pending("what was to follow", error.text, None)]
                return [_pending(form) for form in forms]
    return []


def _pending(form: Record) -> Pending:
    facts = _facts(form)
    return Pending(words(form), _text(facts, "failed"), _text(facts, "client"))


def words(form: Record) -> str:
    """Return in words what FORM asks for."""
    name, facts = form[0], _facts(form)
    match name:
        case "fcc":
            target = facts.get("path") or facts.get("group") or facts.get("folder") or "?"
            return f"the copy in {target}"
        case "replied":
            return "the mark of the mail that this one answers"
        case "tag":
            return f"the tags {' '.join(_texts(facts, 'tags'))}"
        case "draft":
            return "the end of the draft"
        case _:
            return str(facts.get("what") or name)


def due(spool: Spool) -> list[str]:
    """Return the names of accepted entries of which something can be done here."""
    found = []
    for state in STATES:
        for name in spool.names(state):
            with contextlib.suppress(OSError, SmtpsError):
                work = _Work.opened(spool.root / state / name, state)
                with work:
                    if work.accepted() and work.waits():
                        found.append(name)
    return found


def carry_out(spool: Spool, name: str, again: bool = False) -> Done | None:
    """Do what the entry NAME asks for and can be done here, if it was accepted.

    What failed before is tried only AGAIN.  Return None if there is nothing to do, or another
    process does it.
    """
    for _ in range(LOOKS):
        for state in STATES:
            try:
                work = _Work.opened(spool.root / state / name, state)
            except FileNotFoundError:
                continue
            except OSError:
                return None
            with work:
                return work.carry_out(again)
    return None


class _Parsed(NamedTuple):
    """The file: its head, the header in it that filed copies get back, and what is to do."""

    head: list[Record]
    bcc: str
    forms: list[Record]

    @property
    def message_id(self) -> str:
        """The mail's Message-ID, with what is around it."""
        return _text(_facts(self.head[0]), "message-id") or ""

    def resumed(self) -> _Parsed:
        """Return it with a note that who began it has died."""
        name, rest = self.head[0]
        if "resumed" in _facts(self.head[0]):
            return self
        return self._replace(head=[(name, [*rest, Keyword("resumed"), True]), *self.head[1:]])


def _parsed(data: bytes) -> _Parsed:
    found = records(data)
    if not found or found[0][0] != "afterwork" or plist(found[0][1]).get("version") != 1:
        raise AfterworkError("its afterwork.sexp is damaged or of another version.")
    # Where many are in it, a line does not hold it.
    head = [found[0], *(form for form in found[1:] if form[0] == "bcc" and form[1])]
    bcc = "".join(str(rest[0]) for _, rest in head[1:])
    return _Parsed(head, bcc, [form for form in found[1:] if form[0] != "bcc"])


class _Work:
    """The entry in the directory DESCRIPTOR: that stays the same wherever it is moved."""

    def __init__(self, descriptor: int, name: str, state: str) -> None:
        self._descriptor = descriptor
        self._name = name
        self._state = state
        self._lock: int | None = None

    @classmethod
    def opened(cls, directory: Path, state: str) -> _Work:
        """Open the entry at DIRECTORY in STATE.  Raises OSError."""
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        return cls(descriptor, directory.name, state)

    def __enter__(self) -> _Work:
        return self

    def __exit__(self, *_: object) -> None:
        self._lock_instead(None)
        os.close(self._descriptor)

    def accepted(self) -> bool:
        """Return True if somebody has accepted the mail."""
        return accepted(self._state, records(self._read("journal.sexp")))

    def waits(self) -> bool:
        """Return True if something can be done here that was not tried yet.

        Raises OSError if somebody does it.
        """
        name = self._unclaimed()
        if name == _CLAIMED:
            os.close(self._locked())
        return name is not None and any(
            _ours(form) and "failed" not in _facts(form) for form in _parsed(self._read(name)).forms
        )

    def carry_out(self, again: bool) -> Done | None:
        """Do what can be done here."""
        try:
            name = self._unclaimed()
            if name is None or not self.accepted():
                return None
            # Who loses one of these races, stops.
            if name != _CLAIMED:
                self._rename(name, _CLAIMED)
            self._lock_instead(self._locked())
        except (BlockingIOError, FileNotFoundError, SmtpsError):
            return None
        except OSError as error:
            return Done((f"What was to follow can't be done: {error.strerror}.",), 0)
        try:
            work = _parsed(self._read(_CLAIMED))
        except (OSError, SmtpsError) as error:
            self._release(True)
            return Done((f"What was to follow can't be read: {error}",), 0)
        try:
            if name != NAME:
                # Whoever does the rest has to know that a part of it may be done.
                work = work.resumed()
                self._write(work, work.forms)
            left = self._each(work, again)
        except (OSError, WireError) as error:
            # What failed can't be written down, or not why it did.
            self._release(True)
            why = error.text if isinstance(error, WireError) else f"{error.strerror}."
            return Done((f"What was to follow was given up: {why}",), 0)
        self._release(bool(left))
        failed = tuple(
            f"{what[0].upper()}{what[1:]} is missing: {reason}"
            for what, reason, client in map(_pending, left)
            if reason and client is None
        )
        return Done(failed, sum(not _ours(form) for form in left))

    def _each(self, work: _Parsed, again: bool) -> list[Record]:
        left = list(work.forms)
        for form in work.forms:
            facts = _facts(form)
            if not _ours(form) or ("failed" in facts and not again):
                continue
            try:
                self._do(form[0], facts, work)
            except (AfterworkError, OSError, ValueError) as error:
                reason = _reason(error)[:REASON_LIMIT]
                left[left.index(form)] = _failed(form, reason)
            else:
                left.remove(form)
            self._write(work, left)
        return left

    def _do(self, name: str, facts: dict[str, Value], work: _Parsed) -> None:
        kind = str(facts.get("kind"))
        if (name, kind) == ("fcc", "maildir"):
            self._into_maildir(Path(_needed(facts, "path")), work.bcc)
        elif (name, kind) == ("fcc", "file"):
            self._into_file(Path(_needed(facts, "path")), work.bcc)
        elif (name, kind) == ("fcc", "notmuch"):
            self._into_notmuch(_needed(facts, "folder"), facts, work.message_id, work.bcc)
        elif name == "tag":
            notmuch("tag", *_tags(facts), "--", f"id:{_quoted(_needed(facts, 'id'))}")
        else:
            raise AfterworkError("this version of smtps does not know how.")

    # The kinds

    def _into_maildir(self, maildir: Path, bcc: str) -> None:
        """Deliver the copy, read already, into MAILDIR (maildir(5))."""
        if not all((maildir / part).is_dir() for part in ("tmp", "new", "cur")):
            raise AfterworkError(f"{maildir} is no maildir.")
        # The same name each time: a copy delivered by who was killed then is found.
        unique = f"smtps-{self._name}.{host()}"
        for part in ("cur", "new"):
            if any(there.name.startswith(unique) for there in (maildir / part).iterdir()):
                return
        temporary = maildir / "tmp" / unique
        with _removed(temporary):
            self._copy(temporary, bcc)
            temporary.rename(maildir / "cur" / f"{unique}:2,S")
        _flush(maildir / "cur")

    def _into_file(self, path: Path, bcc: str) -> None:
        """Write the copy as the new file PATH."""
        if not path.parent.is_dir():
            raise AfterworkError(f"there is no directory {path.parent}.")
        temporary = path.parent / f".smtps-{self._name}"
        with _removed(temporary):
            self._copy(temporary, bcc)
            try:
                # Unlike a rename, this never replaces a file.
                os.link(temporary, path)
            except FileExistsError:
                if not (path.is_file() and _same(temporary, path)):
                    raise AfterworkError(f"there is another file {path} already.") from None
        _flush(path.parent)

    def _into_notmuch(
        self, folder: str, facts: dict[str, Value], message_id: str, bcc: str
    ) -> None:
        """Insert the copy into FOLDER of notmuch's database, with its tags."""
        tags = _tags(facts)
        mail = message_id.strip("<>")
        query = f"id:{_quoted(mail)} and folder:{_quoted(folder)}"
        if mail and notmuch("search", "--output=files", "--exclude=false", query).strip():
            if tags:
                notmuch("tag", *tags, "--", f"id:{_quoted(mail)}")
            return
        create = ["--create-folder"] if facts.get("create") is True else []
        notmuch("insert", f"--folder={folder}", *create, *tags, chunks=self._copied(bcc))

    def _copied(self, bcc: str) -> Iterator[bytes]:
        """Yield the mail with the header BCC put back."""
        yield bcc.encode() + (b"\n" if bcc and not bcc.endswith("\n") else b"")
        with self._open("message.eml") as file:
            while chunk := file.read(READ_SIZE):
                yield chunk

    def _copy(self, path: Path, bcc: str) -> None:
        """Write the mail with the header BCC put back to PATH, flushed."""
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            for chunk in self._copied(bcc):
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())

    # The file

    def _open(self, name: str) -> IO[bytes]:
        return os.fdopen(os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._descriptor), "rb")

    def _read(self, name: str) -> bytes:
        try:
            with self._open(name) as file:
                return file.read()
        except FileNotFoundError:
            return b""

    def _unclaimed(self) -> str | None:
        """Return the name of the file if no Emacs may be at it, else None."""
        with os.scandir(self._descriptor) as found:
            names = [file.name for file in found]
        for name in names:
            claim = _EMACS.match(name)
            if name in (NAME, _CLAIMED) or (claim and not self._alive(claim)):
                return name
        return None

    def _alive(self, claim: re.Match[str]) -> bool:
        """Return True if the Emacs whose CLAIM the file's name is may be at it."""
        if claim[3] == host():
            try:
                os.kill(int(claim[1]), 0)
            except ProcessLookupError:
                return False
            except (OSError, OverflowError):
                pass
            now = started(int(claim[1]))
            if now and claim[2]:
                # Else another has its number now.
                return now == int(claim[2])
        # Unlike its modification, its renaming is no older than the claim.
        renamed = os.stat(claim[0], dir_fd=self._descriptor).st_ctime
        return time.time() - renamed < CLAIMED_SECONDS

    def _locked(self) -> int:
        """Return a descriptor of the claimed file, locked: then it is ours.

        Raises OSError: BlockingIOError or FileNotFoundError if somebody else has it.
        """
        descriptor = os.open(_CLAIMED, os.O_RDWR | os.O_CLOEXEC, dir_fd=self._descriptor)
        try:
            lock(descriptor)
            there = os.stat(_CLAIMED, dir_fd=self._descriptor).st_ino
            if there != os.fstat(descriptor).st_ino:
                raise FileNotFoundError
        except OSError:
            os.close(descriptor)
            raise
        return descriptor

    def _lock_instead(self, descriptor: int | None) -> None:
        """Hold the lock on DESCRIPTOR, and the one that was held no longer."""
        if self._lock is not None:
            os.close(self._lock)
        self._lock = descriptor

    def _rename(self, name: str, new: str) -> None:
        os.rename(name, new, src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)

    def _write(self, work: _Parsed, left: Sequence[Record]) -> None:
        new = f".{_CLAIMED}"
        descriptor = os.open(
            new,
            os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC,
            0o600,
            dir_fd=self._descriptor,
        )
        try:
            # Before it is there: so the file of that name is locked at each moment.
            lock(descriptor)
            with open(descriptor, "wb", closefd=False) as file:
                for name, rest in (*work.head, *left):
                    file.write(f"{dumps([Symbol(name), *rest])}\n".encode())
                file.flush()
                os.fsync(descriptor)
            self._rename(new, _CLAIMED)
        except BaseException:
            os.close(descriptor)
            raise
        self._lock_instead(descriptor)

    def _release(self, left: bool) -> None:
        with contextlib.suppress(OSError):
            if left:
                self._rename(_CLAIMED, NAME)
            else:
                os.unlink(_CLAIMED, dir_fd=self._descriptor)


@contextlib.contextmanager
def _removed(path: Path) -> Iterator[None]:
    """Leave no file at PATH behind: on a full disk it would take the room that is lacking."""
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()


def notmuch(*arguments: str, chunks: Iterable[bytes] = ()) -> str:
    """Run notmuch with ARGUMENTS and CHUNKS as its input; return what it prints.

    Raises AfterworkError.
    """
    try:
        process = subprocess.Popen(
            ["notmuch", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
    except OSError as error:
        raise AfterworkError(f"notmuch can't be run: {error.strerror}.") from None
    assert process.stdin is not None
    try:
        # It reads all before it prints more than a pipe holds.
        with contextlib.suppress(BrokenPipeError):
            for chunk in chunks:
                process.stdin.write(chunk)
        printed = process.communicate(timeout=NOTMUCH_SECONDS)[0].decode("utf-8", "replace")
    except subprocess.TimeoutExpired:
        raise AfterworkError("notmuch takes too long.") from None
    finally:
        process.kill()
        process.wait()
    if process.returncode:
        said = printed.strip().splitlines()
        raise AfterworkError(f"notmuch says: {said[-1] if said else process.returncode}")
    return printed


def _facts(form: Record) -> dict[str, Value]:
    try:
        return plist(form[1])
    except SmtpsError:
        return {}


def _ours(form: Record) -> bool:
    return "client" not in _facts(form)


def _failed(form: Record, reason: str) -> Record:
    name, rest = form
    kept: list[Value] = []
    # What has no value is damage, and is not kept.
    for keyword, value in zip(rest[::2], rest[1::2], strict=False):
        if keyword != Keyword("failed"):
            kept += (keyword, value)
    return name, [*kept, Keyword("failed"), reason]


def _text(facts: dict[str, Value], name: str) -> str | None:
    value = facts.get(name)
    return str(value) if isinstance(value, str) and value else None


def _texts(facts: dict[str, Value], name: str) -> list[str]:
    value = facts.get(name)
    return [str(word) for word in value] if isinstance(value, list) else []


def _needed(facts: dict[str, Value], name: str) -> str:
    value = _text(facts, name)
    if value is None:
        raise AfterworkError(f"it lacks its :{name}.")
    return value


def _quoted(term: str) -> str:
    """Return TERM as it stands in a query of notmuch (notmuch-search-terms(7))."""
    doubled = term.replace('"', '""')
    return f'"{doubled}"'


def _tags(facts: dict[str, Value]) -> list[str]:
    tags = _texts(facts, "tags")
    if not all(re.match(r"[+-][^-\s]", tag) for tag in tags):
        raise AfterworkError("its tags are none.")
    return tags


def _reason(error: AfterworkError | OSError | ValueError) -> str:
    if isinstance(error, AfterworkError):
        return error.text
    if isinstance(error, ValueError):
        return "no file can have such a name."
    file = f"{error.filename}: " if isinstance(error.filename, str) else ""
    return f"{file}{error.strerror}."


def _same(one: Path, other: Path) -> bool:
    with one.open("rb") as first, other.open("rb") as second:
        while True:
            a, b = first.read(READ_SIZE), second.read(READ_SIZE)
            if a != b:
                return False
            if not a:
                return True


def _flush(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

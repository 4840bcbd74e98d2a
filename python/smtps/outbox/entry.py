"""One mail in the outbox: its envelope and its journal, a form of the wire's a line."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from smtps.client.account import Account
from smtps.errors import DamagedEntryError, OutboxError, SmtpsError, WireError
from smtps.protocol.envelope import Envelope
from smtps.protocol.outcome import Outcome
from smtps.protocol.parameters import NO_WISHES, Notices, Wishes
from smtps.rpc import codec
from smtps.rpc.codec import Keyword, Symbol, Value

VERSION = 1

MESSAGE = "message.eml"
"""The file in an entry that is sent."""

RESERVED = 64 * 1024
"""Octets set aside before the commit, so that the result fits on a disk that fills up."""


_LETTERS = "abcdefghijklmnopqrstuvwxyz012345"


def new_id() -> str:
    """Return a new entry's name: the time in UTC, and ten letters that nobody else has."""
    return time.strftime("%Y%m%dT%H%M%S-", time.gmtime()) + "".join(
        _LETTERS[octet % len(_LETTERS)] for octet in os.urandom(10)
    )


def form(name: str, /, *values: Value, **properties: Value) -> str:
    """Return the line ``(NAME VALUES... :PROPERTY VALUE...)`` with its LF."""
    words: list[Value] = [Symbol(name), *values]
    for key, value in properties.items():
        words += (Keyword(key.replace("_", "-")), value)
    return codec.dumps(words) + "\n"


def parsed(line: str) -> tuple[str, list[Value]]:
    """Return name and rest of a LINE.  Raises WireError."""
    value = codec.loads(line)
    if not isinstance(value, list) or not value or not isinstance(value[0], Symbol):
        raise WireError("A line of the outbox is not a form with a name.")
    return str(value[0]), value[1:]


def flush(path: Path) -> None:
    """Have the file or directory at PATH written to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write(path: Path, chunks: Iterable[bytes]) -> tuple[int, str]:
    """Write CHUNKS to a new private file at PATH, flushed; return its size and SHA-256."""
    digest = hashlib.sha256()
    size = 0
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        for chunk in chunks:
            file.write(chunk)
            digest.update(chunk)
            size += len(chunk)
        file.flush()
        os.fsync(file.fileno())
    return size, digest.hexdigest()


def envelope_lines(
    entry_id: str, account: Account, envelope: Envelope, message_id: str, size: int, sha256: str
) -> list[str]:
    """Return the lines of envelope.sexp."""
    frozen: Mapping[str, Value] = account._asdict() | {
        "tls": Symbol(account.tls),
        "mechanisms": [Symbol(name.lower()) for name in account.mechanisms],
    }
    return [
        form(
            "envelope",
            version=VERSION,
            id=entry_id,
            created=int(time.time()),
            message_id=message_id,
            size=size,
            sha256=sha256,
        ),
        form("account", **frozen),
        form("mail", envelope.sender, **_wishes(envelope.wishes)),
        *(
            form("rcpt", recipient, **_notices(envelope.notice(index)))
            for index, recipient in enumerate(envelope.recipients)
        ),
        form("end"),
    ]


def _wishes(wishes: Wishes) -> dict[str, Value]:
    """Return the properties of the form mail: what is asked for, under the names of `Wishes`."""
    facts: dict[str, Value] = {key: value for key, value in wishes._asdict().items() if value}
    if wishes.priority is not None:
        facts["priority"] = wishes.priority
    return facts


def _notices(notices: Notices) -> dict[str, Value]:
    """Return the properties of a form rcpt."""
    facts: dict[str, Value] = {}
    if notices.notify:
        facts["notify"] = [Symbol(word) for word in notices.notify]
    if notices.orcpt:
        facts["orcpt"] = notices.orcpt
    return facts


def _read_wishes(plist: dict[str, Value]) -> Wishes:
    def text(name: str) -> str | None:
        value = plist.get(name)
        return str(value) if isinstance(value, str) and value else None

    def number(name: str) -> int | None:
        value = plist.get(name)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    unknown = set(plist) - {name.replace("_", "-") for name in Wishes._fields}
    if unknown:
        raise WireError(f"its envelope asks for {', '.join(sorted(unknown))}, which is not known.")
    return Wishes(
        ret=text("ret"),
        envid=text("envid"),
        deliver_by=text("deliver-by"),
        hold_for=number("hold-for"),
        hold_until=text("hold-until"),
        priority=number("priority"),
        require_tls=plist.get("require-tls") is True,
    )


def _read_notices(plist: dict[str, Value]) -> Notices:
    notify = plist.get("notify") or []
    orcpt = plist.get("orcpt")
    if not isinstance(notify, list) or set(plist) - {"notify", "orcpt"}:
        raise WireError("a recipient has a parameter that is not known.")
    return Notices(
        tuple(str(word) for word in notify), str(orcpt) if isinstance(orcpt, str) else None
    )


class Entry(NamedTuple):
    """A mail as it lies in DIRECTORY."""

    directory: Path
    account: Account
    envelope: Envelope

    @property
    def id(self) -> str:
        """The entry's name."""
        return self.directory.name

    @property
    def message(self) -> Path:
        """The file that is sent."""
        return self.directory / MESSAGE


def read(directory: Path) -> Entry:
    """Return the entry in DIRECTORY.  Raises DamagedEntryError if it is not whole."""
    try:
        return _read(directory)
    except (OSError, SmtpsError, UnicodeDecodeError, TypeError, KeyError, ValueError) as error:
        raise DamagedEntryError(
            f"The mail {directory.name} in the outbox is damaged and was left alone: {error}"
        ) from None


def _read(directory: Path) -> Entry:
    account: Account | None = None
    sender: str | None = None
    wishes = NO_WISHES
    recipients: list[str] = []
    notices: list[Notices] = []
    head: dict[str, Value] = {}
    ended = False
    text = (directory / "envelope.sexp").read_text("utf-8")
    for line in text.splitlines():
        name, rest = parsed(line)
        match name:
            case "envelope":
                head = codec.plist(rest)
            case "account":
                account = _account(codec.plist(rest))
            case "mail":
                sender = str(rest[0])
                wishes = _read_wishes(codec.plist(rest[1:]))
            case "rcpt":
                recipients.append(str(rest[0]))
                notices.append(_read_notices(codec.plist(rest[1:])))
            case "end":
                ended = True
    if head.get("version") != VERSION or account is None or sender is None or not ended:
        raise WireError("its envelope is incomplete or of another version.")
    if (directory / MESSAGE).stat().st_size != head["size"]:
        raise WireError("its message has another size than its envelope says.")
    return Entry(directory, account, Envelope(sender, tuple(recipients), wishes, tuple(notices)))


def _account(plist: dict[str, Value]) -> Account:
    def text(name: str) -> str | None:
        value = plist.get(name)
        return str(value) if isinstance(value, str) else None

    mechanisms = plist.get("mechanisms") or []
    port = plist["port"]
    if not isinstance(port, int) or not isinstance(mechanisms, list):
        raise WireError("its account has a bad port or mechanisms.")
    return Account(
        host=text("host") or "",
        port=port,
        tls=text("tls") or "",
        user=text("user"),
        name=text("name"),
        mechanisms=tuple(str(m).upper() for m in mechanisms),
        ca_file=text("ca-file"),
        password_command=text("password-command"),
        client_certificate=text("client-certificate"),
        client_key=text("client-key"),
        send_in_clear=plist.get("send-in-clear") is True,
    )


class Journal:
    """The append-only record of what was tried; written by the entry's owner only."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "journal.sexp"
        self._directory = directory

    def records(self) -> list[tuple[str, list[Value]]]:
        """Return the whole lines, in order.  Raises DamagedEntryError for a bad one."""
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return []
        # A last line without LF was never finished: it does not exist.
        lines = data[: data.rfind(b"\n") + 1].decode("utf-8", "replace").splitlines()
        try:
            return [parsed(line) for line in lines]
        except WireError as error:
            raise DamagedEntryError(
                f"The journal of {self._directory.name} is damaged: {error.text}"
            ) from None

    def append(self, *lines: str, reserve: bool = False) -> None:
        """Append LINES and flush them; RESERVE room for the result first.

        Raises OutboxError where the disk does not take them.
        """
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                data = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
                end = data.rfind(b"\n") + 1
                if end < len(data):
                    os.ftruncate(descriptor, end)
                if reserve:
                    os.posix_fallocate(descriptor, 0, end + RESERVED)
                    os.ftruncate(descriptor, end)
                os.pwrite(descriptor, "".join(lines).encode(), end)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.utime(self._directory)
        except OSError as error:
            raise OutboxError(
                f"The outbox can't be written ({error.strerror}); the mail "
                f"{self._directory.name} was not sent and is kept."
            ) from None


def results(
    attempt: int,
    outcome: Outcome,
    next_time: int | None = None,
    indexes: Sequence[int] | None = None,
) -> list[str]:
    """Return the journal's lines for the OUTCOME of an attempt.

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


def unanswered(records: list[tuple[str, list[Value]]]) -> tuple[int, ...]:
    """Return the recipients (by index) that a commit names and no result answers."""
    open_: set[int] = set()
    for name, rest in records:
        if name == "commit":
            named = codec.plist(rest).get("recipients") or []
            open_ |= {i for i in named if isinstance(i, int)} if isinstance(named, list) else set()
        elif name == "result":
            index = codec.plist(rest).get("recipient")
            if isinstance(index, int):
                open_.discard(index)
    return tuple(sorted(open_))

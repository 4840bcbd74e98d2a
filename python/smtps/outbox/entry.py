"""One mail in the outbox: its message, and its envelope, a form of the wire's a line."""

from __future__ import annotations

import functools
import os
import re
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from smtps.client.account import Account
from smtps.errors import DamagedEntryError, SmtpsError, WireError
from smtps.outbox import forms
from smtps.outbox.forms import form
from smtps.protocol.envelope import Envelope
from smtps.protocol.parameters import NO_NOTICES, NO_WISHES, Notices, Wishes
from smtps.rpc import codec
from smtps.rpc.codec import Symbol, Value

VERSION = 1

HAND_OVER = 60
"""Seconds before its time in which a mail is no longer handed over to be held: clocks differ,
and a time that has passed may be refused."""

MESSAGE = "message.eml"
"""The file in an entry that is sent."""

_PLAIN = re.compile(r'\(rcpt "([ !#-\[\]-~]+)"\)')
"""A recipient who wishes nothing, as it stands there: to read thousands as forms takes long."""

_LETTERS = "abcdefghijklmnopqrstuvwxyz012345"


def new_id() -> str:
    """Return a new entry's name: the time in UTC, and ten letters that nobody else has."""
    return time.strftime("%Y%m%dT%H%M%S-", time.gmtime()) + "".join(
        _LETTERS[octet % len(_LETTERS)] for octet in os.urandom(10)
    )


def write(path: Path, chunks: Iterable[bytes]) -> int:
    """Write CHUNKS to a new private file at PATH, flushed; return its size."""
    size = 0
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        for chunk in chunks:
            file.write(chunk)
            size += len(chunk)
        file.flush()
        os.fsync(file.fileno())
    return size


def envelope_lines(
    entry_id: str, account: Account, envelope: Envelope, message_id: str, size: int
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
        all_or_none=plist.get("all-or-none") is True,
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
    """A mail as it lies in DIRECTORY, of SIZE octets, to be sent NOT_BEFORE that time."""

    directory: Path
    account: Account
    envelope: Envelope
    size: int
    not_before: int

    @property
    def id(self) -> str:
        """The entry's name."""
        return self.directory.name

    def handed_over(self, now: float) -> bool:
        """Return True if it may go to a server that holds it until its time, as it is NOW.

        One that has both a time and the wish HOLD_UNTIL goes there at once, or waits here.
        """
        return self.envelope.wishes.hold_until is not None and self.not_before > now + HAND_OVER

    @property
    def message(self) -> Path:
        """The file that is sent."""
        return self.directory / MESSAGE


def read(directory: Path) -> Entry:
    """Return the entry in DIRECTORY.  Raises DamagedEntryError if it is not whole."""
    try:
        return _read(directory)
    except (OSError, SmtpsError, UnicodeDecodeError, TypeError, KeyError, ValueError) as error:
        why = str(error)
        if isinstance(error, OSError):
            why = f"its {Path(str(error.filename)).name}: {error.strerror}."
        raise damaged(directory, why) from None


def damaged(directory: Path, why: str) -> DamagedEntryError:
    """Return the error that the entry in DIRECTORY is damaged, and WHY, in a sentence."""
    return DamagedEntryError(
        f"The mail {directory.name} in the outbox is damaged and was left alone: {why}"
    )


def _read(directory: Path) -> Entry:
    written = forms.whole_lines((directory / "envelope.sexp").read_bytes())
    accounts = [line for line in written if line.startswith("(account ")]
    account = _account(accounts[-1]) if accounts else None
    sender: str | None = None
    wishes = NO_WISHES
    recipients: list[str] = []
    notices: list[Notices] = []
    head: dict[str, Value] = {}
    ended = False
    mails = [line for line in written if line.startswith("(mail ")]
    if mails:
        sender, wishes = _mail(mails[-1])
    named = [line for line in written if line.startswith("(rcpt ")]
    plain = [match[1] for line in named if (match := _PLAIN.fullmatch(line))]
    if len(plain) == len(named):
        recipients, notices = plain, [NO_NOTICES] * len(plain)
    else:
        for _, rest in forms.read(named):
            recipients.append(str(rest[0]))
            notices.append(_read_notices(codec.plist(rest[1:])))
    read_before = {*accounts, *mails, *named}
    for name, rest in forms.read([line for line in written if line not in read_before]):
        match name:
            case "envelope":
                head = codec.plist(rest)
            case "end":
                ended = True
    if head.get("version") != VERSION or account is None or sender is None or not ended:
        raise WireError("its envelope is incomplete or of another version.")
    if head.get("id") != directory.name or not recipients:
        raise WireError("its envelope is another mail's, or names nobody.")
    if (directory / MESSAGE).stat().st_size != head["size"]:
        raise WireError("its message has another size than its envelope says.")
    if not (account.user or account.author):
        account = account._replace(author=sender or None)
    envelope = Envelope(sender, tuple(recipients), wishes, tuple(notices))
    not_before = head.get("not-before") or 0
    if not isinstance(not_before, int):
        raise WireError("its time to be sent is none.")
    return Entry(directory, account, envelope, int(str(head["size"])), not_before)


@functools.lru_cache(maxsize=16)
def _account(line: str) -> Account:
    """Return what LINE says, which is the same in mail after mail of a long queue."""
    return frozen(codec.plist(forms.parsed(line)[1]))


@functools.lru_cache(maxsize=16)
def _mail(line: str) -> tuple[str, Wishes]:
    """Return the sender and the wishes that LINE tells, the same in many mails too."""
    rest = forms.parsed(line)[1]
    return str(rest[0]), _read_wishes(codec.plist(rest[1:]))


def frozen(plist: dict[str, Value]) -> Account:
    """Return the account that PLIST tells of.  Raises SmtpsError or KeyError."""

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
        author=text("author"),
        client_certificate=text("client-certificate"),
        client_key=text("client-key"),
        send_in_clear=plist.get("send-in-clear") is True,
    )

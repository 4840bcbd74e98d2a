"""What lies in an outbox, told to people, and what they may do with it."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterable
from typing import NamedTuple

from smtps.errors import OutboxError, SmtpsError, UsageError
from smtps.outbox.afterwork import Pending, accepted, pending
from smtps.outbox.entry import Entry
from smtps.outbox.forms import Record, form, parsed
from smtps.outbox.journal import Journal, attempts
from smtps.outbox.judge import settled, state
from smtps.outbox.spool import Spool
from smtps.protocol.outcome import Verdict, most_important
from smtps.rpc.codec import Symbol, Value, dumps, plist

SHOWN = ("queue", "held", "active", "failed", "sent")
"""States whose entries are listed, in that order."""

UNSETTLED = ("queue", "held", "active", "failed")
"""States in which a mail may be, or may have been, on its way."""

WORDS = {
    "queue": "waits",
    "held": "is held",
    "active": "is being sent",
    "failed": "failed",
    "sent": "was sent",
}

UNSURE = Verdict.UNCERTAIN.value

MARKED = "It was marked as sent by hand."


class Listed(NamedTuple):
    """An entry: where it lies, what is known of it, and what came last."""

    name: str
    state: str
    mail: Entry | None
    records: list[Record]
    damage: str | None
    pending: list[Pending]

    @property
    def outcome(self) -> dict[str, Value]:
        """The properties of the last outcome."""
        found = [plist(rest) for name, rest in self.records if name == "outcome"]
        return found[-1] if found else {}

    @property
    def uncertain(self) -> bool:
        """True if nobody knows whether it has arrived, at one recipient at least."""
        if self.state != "failed" or self.mail is None:
            return False
        final = settled(self.records, self.mail.envelope)
        return UNSURE in final.values()

    @property
    def word(self) -> str:
        """What it does, in a word or three."""
        if self.damage:
            return "damaged"
        if self.uncertain:
            return "uncertain"
        return WORDS[self.state]

    @property
    def text(self) -> str:
        """What came last, in a sentence."""
        return self.damage or str(self.outcome.get("text") or "")


def listed(spool: Spool, briefly: bool = False) -> list[Listed]:
    """Return what lies in the outbox, the oldest first within each state.

    BRIEFLY, it is not read what became of those that were sent: they are thousands.
    """
    return [
        _one(spool, state, name, briefly and state == "sent")
        for state in SHOWN
        for name in spool.names(state) + spool.foreign(state)
    ]


def found(spool: Spool, name: str) -> Listed:
    """Return the entry NAME, or the one whose name ends so.  Raises UsageError."""
    matches = [
        (state, found)
        for state in SHOWN
        for found in spool.names(state) + spool.foreign(state)
        if found.endswith(name)
    ]
    if len({n for _, n in matches}) != 1:
        what = "no mail" if not matches else "more than one mail"
        raise UsageError(f"There is {what} {name!r} in the outbox {spool.root}.")
    if len(matches) > 1:
        raise OutboxError(f"The mail {matches[0][1]} lies in two states at once; it is damaged.")
    return _one(spool, *matches[0])


def twin(spool: Spool, message_id: str, recipients: Iterable[str]) -> Listed | None:
    """Return what lies in SPOOL of the mail MESSAGE_ID for one of RECIPIENTS, if it may arrive.

    That is what waits, is being sent, or is uncertain (for that recipient).
    """
    wanted, mark = set(recipients), dumps(message_id).encode()
    for state_, name in ((s, n) for s in UNSETTLED for n in spool.names(s)):
        try:
            # Most are other mails, and reading a form takes longer.
            if mark not in (spool.root / state_ / name / "envelope.sexp").read_bytes():
                continue
        except OSError:
            continue
        entry = _one(spool, state_, name)
        if entry.mail is None:
            continue
        fates = settled(entry.records, entry.mail.envelope)
        for index, address in enumerate(entry.mail.envelope.recipients):
            open_ = state_ != "failed" or fates.get(index) == Verdict.UNCERTAIN.value
            if address in wanted and open_:
                return entry
    return None


def _one(spool: Spool, state: str, name: str, briefly: bool = False) -> Listed:
    directory = spool.root / state / name
    if directory.is_file():
        return Listed(name, state, None, [], f"The file {directory} is no mail.", [])
    try:
        found = [] if briefly else Journal(directory).records()
        left = pending(directory) if accepted(state, found) else []
        return Listed(name, state, spool.entry(directory), found, None, left)
    except SmtpsError as error:
        return Listed(name, state, None, [], error.text, [])


def retry(
    spool: Spool,
    entry: Listed,
    others: bool = False,
    now: bool = True,
    uncertain: bool = False,
) -> None:
    """Put ENTRY into queue/ again for all who have not got it, due NOW or at its time.

    OTHERS leaves those out who were refused, and the others get it whatever becomes of the rest,
    although it was for all or none.  Whoever may have got it is left out, unless UNCERTAIN: to
    them it may come twice.  Raises UsageError or OutboxError.
    """
    early = now and entry.mail is not None and entry.mail.not_before > time.time()
    if entry.state == "queue" and not (others or early):
        return
    if entry.state not in ("failed", "held", "queue") or entry.mail is None:
        raise UsageError(f"The mail {entry.name} {entry.word}: it can't be tried again.")
    owned = spool.take(entry.name, entry.state)
    if owned is None:
        raise OutboxError(f"The mail {entry.name} was moved by somebody else meanwhile.")
    try:
        wish: dict[str, Value] = {"others": True} if others else {}
        wish |= {"now": True} if early else {}
        wish |= {"uncertain": True} if uncertain else {}
        line = form("retry", time=int(time.time()), **wish)
        final = settled([*owned.journal.records(), parsed(line.rstrip())], entry.mail.envelope)
        if len(final) == len(entry.mail.envelope.recipients) and UNSURE in final.values():
            # It may have become so a moment ago.
            raise UsageError(
                f"Nobody knows whether the mail {entry.name} has arrived: it is not sent again."
            )
        owned.journal.append(line)
    except BaseException:
        owned.finish(entry.state)
        raise
    owned.finish("queue")


def mark_sent(spool: Spool, entry: Listed) -> None:
    """Note that ENTRY has arrived, as its user has found out, or has sent it by hand.

    An uncertain one goes to sent/, or stays in failed/ for those who were refused; any other
    has then arrived at all.  Raises UsageError or OutboxError.
    """
    if entry.state not in ("failed", "held") or entry.mail is None:
        raise UsageError(f"The mail {entry.name} {entry.word}: it can't be marked as sent.")
    owned = spool.take(entry.name, entry.state)
    if owned is None:
        raise OutboxError(f"The mail {entry.name} was moved by somebody else meanwhile.")
    target = "failed"
    try:
        found = owned.journal.records()
        final = settled(found, entry.mail.envelope)
        by_hand = not entry.uncertain
        open_ = [
            i
            for i in range(len(entry.mail.envelope.recipients))
            if final.get(i) == Verdict.UNCERTAIN.value
            or (by_hand and final.get(i) != Verdict.ACCEPTED.value)
        ]
        left = {Verdict(verdict) for i, verdict in final.items() if i not in open_}
        attempt = max(1, attempts(found))
        owned.journal.append(
            # Refusals, too, are over.
            *([form("retry", time=int(time.time()))] if by_hand else []),
            *(
                form(
                    "result",
                    attempt=attempt,
                    recipient=index,
                    verdict=Symbol(Verdict.ACCEPTED.value),
                    text=MARKED,
                )
                for index in open_
            ),
            form(
                "outcome",
                attempt=attempt,
                verdict=Symbol(most_important(left | {Verdict.ACCEPTED}).value),
                text=MARKED,
            ),
        )
        target = state(owned.journal.records(), entry.mail.envelope)
    finally:
        owned.finish(target)


def drop(spool: Spool, entry: Listed) -> None:
    """Delete ENTRY, wherever it lies but in active/.  Raises UsageError or OutboxError."""
    if entry.state == "active":
        raise UsageError(f"The mail {entry.name} is being sent: it can't be dropped now.")
    # Not by way of active/: should we be killed there, it would be judged, and sent.
    owned = spool.own(spool.place(entry.state, entry.name))
    try:
        if owned is None:
            raise FileNotFoundError
        # Out of sight first: half deleted it would be damaged.
        gone = spool.root / "tmp" / entry.name
        owned.directory.rename(gone)
    except FileNotFoundError:
        raise OutboxError(f"The mail {entry.name} was moved by somebody else meanwhile.") from None
    except OSError as error:
        raise OutboxError(f"The mail {entry.name} can't be deleted: {error.strerror}.") from None
    finally:
        if owned is not None:
            owned.give_up()
    try:
        (gone / "envelope.sexp").unlink(missing_ok=True)
        # Who does what was to follow, may delete of it, too.
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(gone)
        shutil.rmtree(gone, ignore_errors=True)
    except OSError as error:
        raise OutboxError(f"The mail {entry.name} can't be deleted: {error.strerror}.") from None

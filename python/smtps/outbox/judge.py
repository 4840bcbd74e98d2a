"""Where an entry belongs by what was written down, above all when its owner has died."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from smtps.errors import OutboxError, SmtpsError
from smtps.outbox import log
from smtps.outbox.entry import Entry
from smtps.outbox.forms import Record
from smtps.outbox.journal import attempts, results, unanswered
from smtps.outbox.spool import MAILS, Owned, Spool
from smtps.protocol.envelope import Envelope
from smtps.protocol.outcome import RETRIED, Fate, Outcome, Verdict
from smtps.rpc.codec import Keyword, Symbol, Value, dumps, plist

AGAIN = frozenset(
    verdict.value
    for verdict in (
        *RETRIED,
        Verdict.LOGIN,
        Verdict.LATER,
        Verdict.CONFIGURATION,
        Verdict.NOT_YET,
        Verdict.HELD,
    )
)
"""Verdicts after which a recipient may be tried again."""


class Judged(NamedTuple):
    """An entry that went to failed/, and a sentence why."""

    name: str
    text: str
    verdict: Verdict


def settled(found: Sequence[Record], envelope: Envelope) -> dict[int, str]:
    """Return the recipients whose fate is final, by index: they are never sent to again."""
    final: dict[int, str] = {}
    for name, rest in found:
        if name == "retry":
            # Its user wants all to be tried again who have not got it, or only the others.
            wish = plist(rest)
            over = {Verdict.ACCEPTED.value}
            if wish.get("others"):
                over.add(Verdict.REFUSED.value)
            if not wish.get("uncertain"):
                over.add(Verdict.UNCERTAIN.value)
            final = {i: v for i, v in final.items() if v in over}
        elif name == "result":
            facts = plist(rest)
            index, verdict = facts.get("recipient"), str(facts.get("verdict"))
            if isinstance(index, int) and 0 <= index < len(envelope.recipients):
                if final.get(index) == Verdict.ACCEPTED.value:
                    # What a log tells late is of an earlier attempt.
                    continue
                if verdict in AGAIN:
                    final.pop(index, None)
                else:
                    final[index] = verdict
    return final


def undecided(found: Sequence[Record]) -> bool:
    """Return True if nobody was sent to in the last attempt, and its user has not decided."""
    last = False
    for name, rest in found:
        if name in ("attempt", "retry"):
            last = False
        elif name == "result":
            last = last or plist(rest).get("verdict") == Symbol(Verdict.HELD.value)
    return last


def released(found: Sequence[Record]) -> bool:
    """Return True if its user wants it sent before its time."""
    return any(name == "retry" and plist(rest).get("now") for name, rest in found)


def decided(found: Sequence[Record]) -> bool:
    """Return True if its user wants it sent to those whom the server takes."""
    return any(name == "retry" and plist(rest).get("others") for name, rest in found)


def state(found: Sequence[Record], envelope: Envelope) -> str:
    """Return where an entry belongs for which no commit is unanswered."""
    if undecided(found):
        return "held"
    final = settled(found, envelope)
    if len(final) == len(envelope.recipients):
        return "sent" if set(final.values()) == {Verdict.ACCEPTED.value} else "failed"
    tried = [plist(rest) for name, rest in found if name == "attempt"]
    # Who sends for one attempt was told that it failed, and may have sent it by other means.
    return "failed" if tried and tried[-1].get("once") else "queue"


def recover(spool: Spool) -> list[Judged]:
    """Judge what dead owners left in active/, and what only their logs tell.

    Return what its user has to know.  Raises OutboxError; what could not be judged is as it
    was.
    """
    judged: list[Judged] = []
    # Locked before the logs are read: an owner who dies in between has written its last there.
    left = {
        name: owned
        for name in spool.names("active")
        # In which state it is nobody can tell; it is shown, and left to its user.
        if not spool.twice(name) and (owned := spool.own(spool.place("active", name)))
    }
    logs: Sequence[log.Dead] = ()
    try:
        by_entry, doubtful, logs = log.told(spool.root / "log", left)
        for name in tuple(left):
            owned = left.pop(name)
            _judge(spool, owned, by_entry.pop(name, []), name in doubtful, judged)
        # A rename can be undone by a power cut, a log can't.
        known = True
        for name in {**by_entry, **dict.fromkeys(doubtful)}:
            told = by_entry.get(name, [])
            known = _tell(spool, name, told, name in doubtful, judged) and known
        if logs:
            log.settle(spool.root)
    except OSError as error:
        _leave(logs, left)
        raise OutboxError(f"The outbox can't be written: {error.strerror}.") from None
    except BaseException:
        _leave(logs, left)
        raise
    for dead in logs:
        if known:
            dead.forget()
        else:
            dead.leave()
    return judged


def _leave(logs: Sequence[log.Dead], left: Mapping[str, Owned]) -> None:
    for dead in logs:
        dead.leave()
    for owned in left.values():
        owned.give_up()


def _tell(
    spool: Spool, name: str, told: Sequence[Record], doubtful: bool, judged: list[Judged]
) -> bool:
    """Judge the entry NAME, which lies anywhere, by what a log TOLD of it.

    Return False if somebody else has it now: the log is needed still.
    """
    if spool.twice(name):
        return True
    if owned := spool.take(name):
        _judge(spool, owned, told, doubtful, judged)
        return True
    # By way of active/, what is held could be judged by others, and sent.
    for state in ("held", "failed"):
        if owned := spool.own(spool.place(state, name)):
            _judge(spool, owned, told, False, judged, state)
            return True
    # In sent/ it was accepted, whatever its journal lacks.
    return not any(spool.place(state, name).exists() for state in MAILS if state != "sent")


def _judge(
    spool: Spool,
    owned: Owned,
    told: Sequence[Record],
    doubtful: bool,
    judged: list[Judged],
    home: str | None = None,
) -> None:
    """Put the entry OWNED where it belongs by its journal and what a log TOLD.

    That is HOME, if nothing about it is uncertain.
    """
    name = owned.directory.name
    try:
        mail = spool.entry(owned.directory)
        found = owned.journal.records()
        missing = _missing(found, told)
        found += missing
        if missing:
            owned.journal.append(*map(_line, missing))
        open_ = unanswered(found)
        if doubtful:
            final = settled(found, mail.envelope)
            open_ = tuple(i for i in range(len(mail.envelope.recipients)) if i not in final)
        if not open_:
            owned.finish(home or state(found, mail.envelope))
            return
        outcome = _uncertain(mail, open_)
        owned.journal.append(*results(max(1, attempts(found)), outcome, None, open_))
    except SmtpsError as error:
        with contextlib.suppress(OutboxError):
            owned.finish("failed")
        judged.append(Judged(name, error.text, Verdict.UNCERTAIN))
        return
    owned.finish("failed")
    judged.append(Judged(name, outcome.text, Verdict.UNCERTAIN))


def _uncertain(mail: Entry, open_: Sequence[int]) -> Outcome:
    return Outcome(
        tuple(Fate(mail.envelope.recipients[i], Verdict.UNCERTAIN) for i in open_),
        f"It broke off after the whole message may have left for {mail.account.host}: "
        "whether it was delivered is uncertain, so it is not sent again by itself.",
    )


def _missing(found: Sequence[Record], told: Sequence[Record]) -> list[Record]:
    """Return what a log TOLD and is not in the journal that was FOUND, as it stands there."""
    without = [(name, _without_id(rest)) for name, rest in told]
    return [record for record in without if record not in found]


def _without_id(rest: list[Value]) -> list[Value]:
    kept: list[Value] = []
    for keyword, value in zip(rest[::2], rest[1::2], strict=True):
        if keyword != Keyword("id"):
            kept += (keyword, value)
    return kept


def _line(record: Record) -> str:
    name, rest = record
    return dumps([Symbol(name), *rest]) + "\n"

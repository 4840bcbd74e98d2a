"""What became of a mail: a verdict for each recipient, and the whole in one sentence."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import NamedTuple

from smtps.protocol.replies import Reply


class Verdict(enum.Enum):
    """The fate of a mail for one recipient; the value is its name on every wire."""

    ACCEPTED = "accepted"
    """2yz to the end of the data: the server is responsible (RFC 5321 4.2.5)."""
    REFUSED = "refused"
    """5yz to RCPT: for good."""
    REFUSED_WHOLE = "refused-whole"
    """5yz to the greeting, EHLO, MAIL, DATA or the body: for good, whoever the recipient."""
    DEFERRED = "deferred"
    """4yz: for now."""
    UNREACHED = "unreached"
    """No connection, or none any more, before anything was committed."""
    LOGIN = "login"
    """Our login, the server's identity or its TLS was refused."""
    LATER = "later"
    """A secret has to be asked for, and nobody can be asked now."""
    CONFIGURATION = "configuration"
    """The account, or a file that it needs, can't be used: nothing was sent."""
    PROTOCOL = "protocol"
    """The server broke the protocol before anything was committed."""
    UNSENDABLE = "unsendable"
    """This server can't take this message: too large, or an extension is missing."""
    NOT_YET = "not-yet"
    """This server can't take it before its time, and hold it till then: it waits here."""
    HELD = "held"
    """Not sent, since another recipient was refused: who wished that decides (all or none)."""
    UNCERTAIN = "uncertain"
    """The connection was lost, or became unintelligible, after the commit point."""

    def __str__(self) -> str:
        return self.value


STATUS = {
    Verdict.UNCERTAIN: 74,
    Verdict.LOGIN: 77,
    Verdict.LATER: 77,
    Verdict.CONFIGURATION: 78,
    Verdict.HELD: 67,
    Verdict.REFUSED: 67,
    Verdict.REFUSED_WHOLE: 65,
    Verdict.UNSENDABLE: 65,
    Verdict.PROTOCOL: 76,
    Verdict.NOT_YET: 75,
    Verdict.DEFERRED: 75,
    Verdict.UNREACHED: 69,
    Verdict.ACCEPTED: 0,
}
"""Exit status by verdict, the one that matters most first."""

RETRIED = frozenset({Verdict.DEFERRED, Verdict.UNREACHED, Verdict.PROTOCOL})
"""What is worth another try by itself."""


class Fate(NamedTuple):
    """One recipient's fate: ADDRESS, the verdict, and the reply that decided, if one did."""

    address: str
    verdict: Verdict
    reply: Reply | None = None


class Outcome(NamedTuple):
    """A transaction's end: a fate a recipient, in the envelope's order, and the reason."""

    fates: tuple[Fate, ...]
    text: str
    """One sentence for a person."""
    status_override: int | None = None
    """An exit status finer than the verdicts' (68: the host is unknown)."""
    refused_key: str | None = None
    """The pin of the server's key, where its certificate was refused and could be pinned."""
    distrusted: bool = False
    """True if the server's certificate was refused."""

    @property
    def verdict(self) -> Verdict:
        """The verdict that matters most."""
        return most_important(fate.verdict for fate in self.fates)

    @property
    def status(self) -> int:
        """The exit status of DESIGN section 10."""
        verdict = self.verdict
        if self.status_override is not None and verdict is Verdict.UNREACHED:
            return self.status_override
        return STATUS[verdict]


def most_important(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the verdict that decides the exit status among VERDICTS (at least one)."""
    order = list(STATUS)
    return min(verdicts, key=order.index)

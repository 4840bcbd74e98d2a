"""Mails of one account, each to its fate: over one connection while it serves, or a new one."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from functools import partial

from smtps.client.account import Account
from smtps.client.dialling import Ahead, Tell, quiet
from smtps.client.driver import OnCommit
from smtps.client.link import Link
from smtps.client.login import Ask, Credentials, choose, once
from smtps.client.trusting import Trust
from smtps.errors import CertificateError, HostUnknownError, SmtpsError
from smtps.net.streams import Way
from smtps.protocol import steps
from smtps.protocol.connection import Trace
from smtps.protocol.dialogue import Stop, as_stop
from smtps.protocol.envelope import Envelope, Message
from smtps.protocol.outcome import Fate, Outcome, Verdict, most_important
from smtps.protocol.replies import Reply
from smtps.protocol.steps import Chosen
from smtps.protocol.transaction import too_many


class Delivery:
    """Delivers mails to ACCOUNT's server, one after the other.

    WAY None blocks, so that no event loop is needed.  TIMEOUT None takes each phase's own.  The
    first connection is the one made AHEAD, if there is one.
    """

    def __init__(
        self,
        account: Account,
        way: Way | None = None,
        timeout: float | None = None,
        tell: Tell = quiet,
        trace: Trace | None = None,
        ahead: Ahead | None = None,
        trust: Trust | None = None,
    ) -> None:
        self.account = account
        self._ahead = ahead
        self._trust = trust or Trust()
        self._way = way
        self._timeout = timeout
        self._tell = tell
        self._trace = trace
        self.written: Callable[[int], None] | None = None
        """Called with the octets of a message whenever some have left."""
        self._link: Link | None = None
        self._salt = os.urandom(16)
        self._proven = b""
        """A digest of the secret that the server last took, so that it is not kept."""
        self._tried = b""
        self._refused = False
        """The login, or the server's identity, was refused, and no mail accepted since."""

    async def send(
        self,
        envelope: Envelope,
        message: Message,
        ask: Ask | None,
        commit: OnCommit,
        trace: Trace | None = None,
    ) -> Outcome:
        """Send one mail and return what became of it for each recipient.

        It takes more than one transaction where the server takes no more recipients in one.
        COMMIT gets indexes of ENVELOPE's recipients.  TRACE gets the masked dialogue, instead of
        the one for all mails.
        """
        self._trace = trace or self._trace
        fates: dict[int, Fate] = {}
        outcomes: list[Outcome] = []
        pending = list(range(len(envelope.recipients)))
        while pending:
            outcome, group = await self._transaction(envelope, pending, message, ask, commit)
            outcomes.append(outcome)
            fates |= dict(zip(group, outcome.fates, strict=True))
            self._refused = outcome.verdict is Verdict.LOGIN or (
                self._refused
                and all(fate.verdict is not Verdict.ACCEPTED for fate in outcome.fates)
            )
            pending = _again(pending, group, outcome)
        verdict, reply = _untried(outcomes[-1])
        return _together(
            tuple(
                fates.get(index, Fate(recipient, verdict, reply))
                for index, recipient in enumerate(envelope.recipients)
            ),
            outcomes,
        )

    async def connected(self, ask: Ask | None) -> tuple[Link | None, Outcome | None]:
        """Connect and log in without a mail; return the link, and what went wrong, if it did."""
        link = await self._linked("")
        if isinstance(link, Outcome):
            return None, link
        try:
            asked = once(ask)
            await link.login(lambda step: self._login(step, link, asked))
        except (Stop, SmtpsError) as error:
            stop = as_stop(error)
            text = self._told(stop.verdict, stop.text)
            return link, Outcome((Fate("", stop.verdict, stop.reply),), text)
        return link, None

    async def warm(self, ask: Ask | None) -> bool:
        """Connect and log in before there is a mail; return True if a mail can go at once.

        What is open is kept alive.  After a refused login nothing is done until a mail was
        accepted: accounts get locked by tries.
        """
        self._trace = None
        if self._refused:
            return False
        try:
            if self.idle and self._link is not None:
                await self._link.stay()
            else:
                link, outcome = await self.connected(ask)
                if link is not None:
                    link.ahead = True
                    self._note(link, outcome)
                self._refused = outcome is not None and outcome.verdict is Verdict.LOGIN
        except (Stop, SmtpsError):
            self.abort()
        except BaseException:
            self.abort()
            raise
        if self._refused:
            await self.close()
        return self.idle

    async def close(self) -> None:
        """Say goodbye to the server, if a connection is open."""
        link, self._link = self._link, None
        if link is not None:
            await link.close()

    def abort(self) -> None:
        """Drop the connection, if one is open, at once."""
        link, self._link = self._link, None
        if link is not None:
            link.abort()

    @property
    def idle(self) -> bool:
        """True if a connection is open over which another mail can go."""
        return self._link is not None and self._link.usable()

    async def _transaction(
        self,
        envelope: Envelope,
        pending: list[int],
        message: Message,
        ask: Ask | None,
        commit: OnCommit,
    ) -> tuple[Outcome, tuple[int, ...]]:
        """Send to as many of the recipients PENDING as one transaction takes."""
        while True:
            link = await self._linked(envelope.sender)
            if isinstance(link, Outcome):
                # Not reached: so it is for all that are left.
                fates = tuple(
                    Fate(envelope.recipients[i], link.fates[0].verdict, link.fates[0].reply)
                    for i in pending
                )
                return link._replace(fates=fates), tuple(pending)
            group = link.submission.next_group(envelope, pending)
            all_or_none = envelope.wishes.all_or_none and len(group) < len(pending)
            if not group or (all_or_none and link.mails):
                await self.close()
                continue
            if all_or_none:
                # The first would have it before the last are known to be taken.
                return _held(self.account.host, envelope.only(pending), len(group)), tuple(pending)

            async def commit_group(
                recipients: tuple[int, ...], group: tuple[int, ...] = group
            ) -> None:
                await commit(tuple(group[i] for i in recipients))

            reused = link.mails > 0 or link.ahead
            login = partial(self._login, link=link, ask=once(ask))
            try:
                outcome = await link.deliver(envelope.only(group), message, login, commit_group)
            except BaseException:
                self.abort()
                raise
            self._note(link, outcome)
            text = outcome.text
            if not link.authenticated and not reused:
                text = self._told(outcome.verdict, text)
            outcome = outcome._replace(text=" ".join([text, *link.warnings]))
            link.warnings = []
            if not link.submission.usable:
                await self.close()
            lost = outcome.verdict in (Verdict.UNREACHED, Verdict.PROTOCOL)
            # Where the message may have left it is uncertain, and not lost.
            if not (reused and lost):
                return outcome, group

    async def _linked(self, sender: str) -> Link | Outcome:
        """Return a greeted connection, or why there is none, as an outcome for one recipient."""
        if self._link is not None and self._link.usable():
            return self._link
        self.abort()
        link = Link(
            self.account, self._way, self._timeout, self._traced, self._trust, self._written
        )
        try:
            ahead, self._ahead = self._ahead, None
            await link.open(sender, self._tell, ahead)
        except (Stop, SmtpsError) as error:
            stop = as_stop(error)
            status = HostUnknownError.status if isinstance(error, HostUnknownError) else None
            text = self._told(stop.verdict, stop.text) if error is stop else stop.text
            key = error.details.get("key") if isinstance(error, CertificateError) else None
            return Outcome(
                (Fate("", stop.verdict, stop.reply),),
                " ".join([text, *link.warnings]),
                status,
                key if isinstance(key, str) else None,
                isinstance(error, CertificateError),
            )
        self._link = link
        return link

    def _told(self, verdict: Verdict, text: str) -> str:
        """Return TEXT, which tells the end of a dialogue before a login, with what it may mean.

        A client certificate that is not taken shows behind the handshake only, and some
        servers just close then.
        """
        if verdict is Verdict.UNREACHED and self.account.client_certificate is not None:
            return f"{text} It may be that it does not take the client certificate."
        return text

    def _written(self, step: steps.Send) -> None:
        if self.written is not None and step.phase is steps.Phase.BLOCK:
            self.written(len(step.data))

    def _traced(self, direction: str, text: str) -> None:
        if self._trace is not None:
            self._trace(direction, text)

    async def _login(self, step: steps.Login, link: Link, ask: Ask | None) -> Chosen | None:
        found = await choose(self.account, step, link.established, ask)
        if found is None:
            return None
        exchange, credentials = found
        self._tried = self._digest(credentials)
        return Chosen(exchange, self._tried == self._proven)

    def _digest(self, credentials: Credentials) -> bytes:
        secret = f"{credentials.user}\0{credentials.password}".encode()
        return hashlib.blake2b(secret, key=self._salt).digest()

    def _note(self, link: Link, outcome: Outcome | None) -> None:
        """Remember whether the secret was taken."""
        if link.authenticated:
            self._proven = self._tried
        elif outcome is not None and outcome.verdict is Verdict.LOGIN:
            self._proven = b""


def _held(host: str, envelope: Envelope, most: int) -> Outcome:
    """Return what ENVELOPE comes to at HOST, which takes MOST recipients at once: all or none."""
    return Outcome(
        tuple(Fate(recipient, Verdict.HELD) for recipient in envelope.recipients),
        f"{host} takes {most} of the {len(envelope.recipients)} recipients at once, so that some "
        "would get the mail before the others could be refused. Nothing was sent to anyone, since "
        "all were to get it or none.",
    )


def _again(pending: list[int], group: tuple[int, ...], outcome: Outcome) -> list[int]:
    """Return the recipients for another transaction: those not tried, and those too many.

    Only a server that judges recipients, and not the mail as a whole, is asked again.
    """
    verdicts = {fate.verdict for fate in outcome.fates}
    if outcome.verdict is Verdict.UNCERTAIN or not verdicts & {Verdict.ACCEPTED, Verdict.REFUSED}:
        return []
    again = {
        index
        for index, fate in zip(group, outcome.fates, strict=True)
        if Verdict.ACCEPTED in verdicts and fate.reply is not None and too_many(fate.reply)
    }
    done = set(group) - again
    return [index for index in pending if index not in done]


def _untried(last: Outcome) -> tuple[Verdict, Reply | None]:
    """Return the verdict, and the reply, for recipients that were not tried after LAST."""
    if last.verdict in (Verdict.UNCERTAIN, Verdict.ACCEPTED, Verdict.REFUSED):
        return Verdict.UNREACHED, None
    fate = next(fate for fate in last.fates if fate.verdict is last.verdict)
    return fate.verdict, fate.reply


def _together(fates: tuple[Fate, ...], outcomes: list[Outcome]) -> Outcome:
    """Return what OUTCOMES, one a transaction, come to."""
    if len(outcomes) == 1:
        return outcomes[0]._replace(fates=fates)
    verdict = most_important(fate.verdict for fate in fates)
    # The one that matters most tells why; the others went as the number says.
    telling = next((o for o in outcomes if o.verdict is verdict), outcomes[-1])
    accepted = sum(fate.verdict is Verdict.ACCEPTED for fate in fates)
    text = (
        f"In {len(outcomes)} transactions {accepted} of {len(fates)} recipients were accepted. "
        f"{telling.text}"
    )
    return Outcome(fates, text, telling.status_override)

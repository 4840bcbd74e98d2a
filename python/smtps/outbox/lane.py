"""The mails of one account: each for itself, over one connection, or some where many wait."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

from smtps.client.account import Account
from smtps.client.delivery import Delivery
from smtps.client.login import Ask as AskOne
from smtps.client.login import Credentials
from smtps.client.pool import Pool
from smtps.errors import OutboxError, SmtpsError
from smtps.outbox import judge
from smtps.outbox.entry import MESSAGE, Entry
from smtps.outbox.forms import form
from smtps.outbox.journal import attempts, results, transcript
from smtps.outbox.log import Log, named
from smtps.outbox.spool import Owned, Spool, octets
from smtps.protocol import body
from smtps.protocol.envelope import Envelope, Message
from smtps.protocol.outcome import RETRIED, Outcome, Verdict
from smtps.rpc.codec import Symbol, Value

CONNECTIONS = 3
"""At most to one server: what the strictest providers allow."""

BACKLOG = 10
"""Mails that wait before another connection is opened for them."""

STUCK = 2.0
"""Seconds after which a mail that is still under way holds up the others no longer."""

PAUSES = (60, 120, 300, 900, 1800, 3600)
"""Seconds between tries; RFC 5321 4.5.4.1 asks relays for 30 minutes, and a person who has
just pressed a key for less."""

SOON = 0.1
"""Seconds after which a mail that is under way is told to be."""

SMALL = 64 * 1024
"""Octets of a message that is read once, and at once: a thread takes longer to start."""

SECRET_REFUSED = frozenset({530, 535})
"""Replies after which another secret may serve (RFC 4954 section 6): none was given, or a wrong
one."""

Ask = Callable[[Account], Awaitable[tuple[str, str] | None]]
"""Fetches user and secret, None if nobody is to log in.  Raises CredentialsLaterError."""


def asking(ask: Ask, account: Account) -> AskOne:
    """Return what asks ASK about ACCOUNT."""

    async def asked() -> Credentials | None:
        secret = await ask(account)
        return Credentials(*secret) if secret else None

    return asked


class Report(Protocol):
    """Tells what happens to an entry: its name, its state, a sentence, and facts."""

    def __call__(self, name: str, state: str, text: str, /, **facts: Value) -> None: ...


class Wait(Protocol):
    """Has a mail wait: its name, seconds (None: for its user), and a time at which to go anyway."""

    def __call__(self, name: str, seconds: float | None, until: float | None = None, /) -> None: ...


class _Mail:
    """A mail under way."""

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self.id = entry.id
        self.began = time.monotonic()
        self.binding = False
        """What happens to it has to be written down: it is not given up."""
        self.early = False
        """It is handed to a server that is to hold it until its time."""
        self.lacking = False
        """Somebody did not get it in an earlier attempt, and is not tried again."""


class Lane:
    """Sends ACCOUNT's mails out of SPOOL.

    ACCEPTED is called with the directory of a mail that somebody has accepted.
    """

    def __init__(
        self,
        account: Account,
        spool: Spool,
        log: Log,
        pool: Pool,
        ask: Ask,
        report: Report,
        wait: Wait,
        accepted: Callable[[Path], None],
    ) -> None:
        self._account = account
        self._spool = spool
        self._log = log
        self._pool = pool
        self._ask = ask
        self._report = report
        self._wait = wait
        self._accepted = accepted
        self._waiting: deque[Entry] = deque()
        self._under_way: dict[asyncio.Task[None], _Mail | None] = {}
        self._most = CONNECTIONS
        self._looking: asyncio.TimerHandle | None = None
        """Whether what is under way is stuck by then."""
        self._stopping = False

    def add(self, mail: Entry) -> None:
        """Send MAIL, which lies in queue/, when it is its turn."""
        self._waiting.append(mail)
        self._staff()

    @property
    def busy(self) -> set[str]:
        """The mails that were added and are not done."""
        waiting = {mail.id for mail in self._waiting}
        return waiting.union(mail.id for mail in self._under_way.values() if mail)

    async def stop(self) -> None:
        """Take nothing new; give up what has not been committed, finish what has."""
        self._stopping = True
        self._waiting.clear()
        tasks = list(self._under_way)
        for task, mail in self._under_way.items():
            if mail is None or not mail.binding:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _staff(self) -> None:
        """Open another connection where that is worth it."""
        count = len(self._under_way)
        waiting = len(self._waiting)
        if not waiting or self._stopping or count >= self._most:
            return
        now = time.monotonic()
        stuck = all(mail and now - mail.began > STUCK for mail in self._under_way.values())
        if stuck or waiting > BACKLOG * count:
            task = asyncio.create_task(self._work(count == 0))
            self._under_way[task] = None
            task.add_done_callback(self._done)
        elif self._looking is None:
            self._looking = asyncio.get_running_loop().call_later(STUCK, self._look)

    def _look(self) -> None:
        self._looking = None
        self._staff()

    def _done(self, task: asyncio.Task[None]) -> None:
        del self._under_way[task]
        if not task.cancelled():
            # Errors were reported where they rose.
            task.exception()
        self._staff()

    async def _work(self, first: bool) -> None:
        """Send one mail after the other, as long as there are any."""
        task = asyncio.current_task()
        assert task is not None
        pool, account = self._pool, self._account
        delivery = await pool.take(account) if first else pool.another(account)
        sent = 0
        try:
            while self._waiting and not self._stopping:
                mail = self._under_way[task] = _Mail(self._waiting.popleft())
                # A server that takes no further connection says nothing about the mail.
                if not await self._one(mail, delivery, not first and not sent):
                    self._most = 1
                    self._waiting.appendleft(mail.entry)
                    return
                self._under_way[task] = None
                sent += 1
        finally:
            if first:
                pool.rest(account)
            else:
                await delivery.close()

    async def _one(self, mail: _Mail, delivery: Delivery, unproven: bool) -> bool:
        """Send MAIL and put it where its fate belongs; return False if it is to be tried again.

        That is so for what fails at an UNPROVEN connection beside others.
        """
        owned: Owned | None = None
        try:
            owned = self._spool.take(mail.id)
            return owned is None or await self._send(mail, owned, delivery, unproven)
        except asyncio.CancelledError:
            if mail.binding:
                # It stays in active/, and in the log, for the next drainer to judge.
                self._log.keep()
            elif owned is not None:
                owned.finish("queue")
            raise
        except Exception as error:
            text = (
                error.text
                if isinstance(error, SmtpsError)
                else f"An error of the helper's own: {type(error).__name__}."
            )
            self._keep(mail, owned, text, not isinstance(error, OutboxError))
            return True

    def _keep(self, mail: _Mail, owned: Owned | None, text: str, room: bool) -> None:
        """MAIL can't be sent or judged by reason TEXT: leave it to its user.

        Where it could not be taken, or no ROOM is for its commit, it is tried again.
        """
        self._wait(mail.id, None)
        if mail.binding:
            # What was committed stays in active/, and in the log, to be judged later.
            self._log.keep()
            self._report(mail.id, "active", text, verdict=Symbol("uncertain"))
            return
        try:
            if owned is not None and room:
                owned.finish("failed")
                state, text = "failed", f"{text} The mail is kept in the outbox as failed."
            else:
                if owned is not None:
                    owned.finish("queue")
                self._wait(mail.id, PAUSES[0])
                state, text = "queue", f"{text} Next try in {PAUSES[0]} seconds."
        except SmtpsError as error:
            state, text = "active", error.text
        self._report(mail.id, state, text, verdict=Symbol("unsendable"))

    async def _send(self, mail: _Mail, owned: Owned, delivery: Delivery, unproven: bool) -> bool:
        name, written = mail.id, mail.entry
        found = owned.journal.records()
        attempt = 1 + attempts(found)
        final = judge.settled(found, written.envelope)
        left = tuple(i for i in range(len(written.envelope.recipients)) if i not in final)
        mail.lacking = any(verdict != Verdict.ACCEPTED.value for verdict in final.values())
        if not left or judge.undecided(found):
            owned.finish(judge.state(found, written.envelope))
            return True
        envelope, wishes = written.envelope.only(left), written.envelope.wishes
        if judge.decided(found):
            wishes = wishes._replace(all_or_none=False)
        if written.not_before and not judge.released(found):
            now = time.time()
            mail.early = written.handed_over(now)
            if not mail.early and written.not_before > now:
                # The clock went back, or it was looked at too soon.
                owned.finish("queue")
                self._wait(name, written.not_before - now, written.not_before)
                return True
        if written.not_before and not mail.early:
            wishes = wishes._replace(hold_until=None)
        envelope = envelope._replace(wishes=wishes)
        account = written.account
        # Of what takes no time nobody needs to be told that it is under way.
        telling = asyncio.get_running_loop().call_later(
            SOON, self._report, name, "active", f"Sending to {account.host}..."
        )
        try:
            return await self._deliver(mail, owned, delivery, unproven, attempt, left, envelope)
        finally:
            telling.cancel()

    async def _deliver(
        self,
        mail: _Mail,
        owned: Owned,
        delivery: Delivery,
        unproven: bool,
        attempt: int,
        left: tuple[int, ...],
        envelope: Envelope,
    ) -> bool:
        name, written, account = mail.id, mail.entry, mail.entry.account
        began = int(time.time())
        content = octets(owned.directory / MESSAGE)
        if written.size <= SMALL:
            held = tuple(content())
            content = lambda: held  # noqa: E731
            shape = body.shape(held)
        else:
            shape = await asyncio.to_thread(lambda: body.shape(content()))
        commits: list[str] = []

        async def commit(recipients: tuple[int, ...]) -> None:
            indexes: list[Value] = [left[i] for i in recipients]
            line = form("commit", attempt=attempt, recipients=indexes)
            commits.append(line)
            await self._log.commit(named(line, name))
            mail.binding = True

        said: list[str] = []
        start = time.monotonic()

        def trace(direction: str, text: str) -> None:
            said.append(f"{(time.monotonic() - start) * 1000:.0f} {direction}> {text}")

        outcome = await delivery.send(
            envelope, Message(content, shape), asking(self._ask, account), commit, trace
        )
        if (
            unproven
            and not mail.binding
            and outcome.verdict in (Verdict.UNREACHED, Verdict.DEFERRED)
        ):
            owned.finish("queue")
            return False
        mail.binding = True
        if mail.early and outcome.verdict is Verdict.UNSENDABLE:
            fates = tuple(fate._replace(verdict=Verdict.NOT_YET) for fate in outcome.fates)
            outcome = outcome._replace(fates=fates)
        lines = [
            form("attempt", number=attempt, time=began),
            *commits,
            transcript(attempt, said),
        ]
        self._settle(mail, owned, outcome, attempt, left, lines)
        return True

    def _settle(
        self,
        mail: _Mail,
        owned: Owned,
        outcome: Outcome,
        attempt: int,
        left: tuple[int, ...],
        lines: list[str],
    ) -> None:
        """Write down what became of a mail, and put it where it belongs."""
        name, account = mail.id, mail.entry.account
        verdicts = {fate.verdict for fate in outcome.fates}
        waits = _waits_for(outcome)
        state = "sent"
        if Verdict.HELD in verdicts:
            state, waits = "held", "decision"
        elif waits or verdicts & RETRIED or Verdict.NOT_YET in verdicts:
            state = "queue"
        elif mail.lacking or verdicts != {Verdict.ACCEPTED}:
            state = "failed"
        pause = PAUSES[min(attempt, len(PAUSES)) - 1] if state == "queue" and not waits else None
        if mail.early and pause:
            # At its time it goes by itself, whatever this was.
            left_time = max(1, mail.entry.not_before - int(time.time()))
            pause = left_time if Verdict.NOT_YET in verdicts else min(pause, left_time)
        next_time = int(time.time()) + pause if pause else None
        until = mail.entry.not_before if mail.early else None
        text = outcome.text
        ends = results(attempt, outcome, next_time, left)
        with contextlib.suppress(OutboxError):
            # Each recipient's is enough there.
            self._log.note(*(named(line, name) for line in ends[:-1]))
        known = True
        try:
            # Who is not sent to again must be known after a power cut too.
            flush = state != "sent" and Verdict.ACCEPTED in verdicts
            owned.journal.append(*lines, *ends, flush=flush)
        except OutboxError as error:
            # In sent/ it was accepted, whatever its journal lacks (DECISIONS-core 9).  Elsewhere
            # it would be sent again to who has got it, or may have.
            self._log.keep()
            text += f" {error.text}"
            known = state == "sent" or not verdicts & {Verdict.ACCEPTED, Verdict.UNCERTAIN}
        lies: Path | None = None
        try:
            # What stays ours, is judged by its log when we are gone.
            lies = owned.finish(state) if known else None
        except OutboxError as error:
            # So is this one, as soon as somebody looks.
            self._log.keep()
            text += f" {error.text}"
        if lies is None:
            state, pause, waits = "active", None, None
        if state == "held":
            text += " The mail is held in the outbox until you decide."
        elif waits:
            self._wait(name, None)
            text += " The mail waits for you in the outbox."
        elif Verdict.NOT_YET in verdicts and pause is not None:
            self._wait(name, pause, until)
            text += " It waits in the outbox until its time."
        elif pause is not None:
            self._wait(name, pause, until)
            text += f" The mail is kept in the outbox; next try in {pause} seconds."
        elif state == "failed":
            text += f" The mail is kept as {name} in the outbox under failed."
        self._report(
            name,
            state,
            text,
            verdict=Symbol(outcome.verdict.value),
            next=next_time,
            waits=Symbol(waits) if waits else None,
            host=account.host,
            port=account.port,
            key=outcome.refused_key,
        )
        if lies is not None and Verdict.ACCEPTED in verdicts:
            self._accepted(lies)


def _waits_for(outcome: Outcome) -> str | None:
    """Return what a person has to give or to mend before a mail can go: None if that is no help.

    The rest of the account's mail would fail alike, and is no worse for it.
    """
    if outcome.refused_key:
        return "trust"
    if _wants_secret(outcome):
        return "secret"
    # A certificate that can't be trusted by its key, or a file that can't be used.
    unusable = outcome.distrusted or outcome.verdict is Verdict.CONFIGURATION
    return "setup" if unusable else None


def _wants_secret(outcome: Outcome) -> bool:
    """Return True if a person could help by giving another secret."""
    return outcome.verdict is Verdict.LATER or any(
        fate.verdict is Verdict.LOGIN and fate.reply and fate.reply.code in SECRET_REFUSED
        for fate in outcome.fates
    )

"""The mails of one account: each for itself, over one connection, or some where many wait."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Protocol

from smtps.client.account import Account
from smtps.client.delivery import Credentials, Delivery
from smtps.client.pool import Pool
from smtps.errors import OutboxError, SmtpsError
from smtps.outbox import judge
from smtps.outbox.entry import MESSAGE, Entry
from smtps.outbox.forms import form
from smtps.outbox.journal import attempts, results, transcript
from smtps.outbox.log import Log
from smtps.outbox.spool import Owned, Spool, octets
from smtps.protocol import body
from smtps.protocol.envelope import Message
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
"""Octets of a message that is measured at once: a thread takes longer to start."""

SECRET_REFUSED = frozenset({530, 535})
"""Replies after which another secret may serve (RFC 4954 section 6): none was given, or a wrong
one."""

Ask = Callable[[Account], Awaitable[tuple[str, str] | None]]
"""Fetches user and secret, None if nobody is to log in.  Raises CredentialsLaterError."""


class Report(Protocol):
    """Tells what happens to an entry: its name, its state, a sentence, and facts."""

    def __call__(self, name: str, state: str, text: str, /, **facts: Value) -> None: ...


class _Mail:
    """A mail under way."""

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self.id = entry.id
        self.began = time.monotonic()
        self.binding = False
        """What happens to it has to be written down: it is not given up."""


class Lane:
    """Sends ACCOUNT's mails out of SPOOL.

    WAIT is called with a mail's name and the seconds until it is due again, None when it
    waits for its user.
    """

    def __init__(
        self,
        account: Account,
        spool: Spool,
        log: Log,
        pool: Pool,
        ask: Ask,
        report: Report,
        wait: Callable[[str, float | None], None],
    ) -> None:
        self._account = account
        self._spool = spool
        self._log = log
        self._pool = pool
        self._ask = ask
        self._report = report
        self._wait = wait
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

        Where only ROOM for its commit is missing, it can be tried again.
        """
        self._wait(mail.id, None)
        if owned is None or mail.binding:
            # What was committed stays in active/, and in the log, to be judged later.
            self._log.keep()
            self._report(mail.id, "active", text, verdict=Symbol("uncertain"))
            return
        try:
            if room:
                owned.finish("failed")
                state, text = "failed", f"{text} The mail is kept in the outbox as failed."
            else:
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
        if not left:
            owned.finish(judge.state(found, written.envelope))
            return True
        account = written.account
        # Of what takes no time nobody needs to be told that it is under way.
        telling = asyncio.get_running_loop().call_later(
            SOON, self._report, name, "active", f"Sending to {account.host}..."
        )
        try:
            return await self._deliver(mail, owned, delivery, unproven, attempt, left)
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
    ) -> bool:
        name, written, account = mail.id, mail.entry, mail.entry.account
        began = int(time.time())
        content = octets(owned.directory / MESSAGE)
        if written.size <= SMALL:
            shape = body.shape(content())
        else:
            shape = await asyncio.to_thread(lambda: body.shape(content()))
        commits: list[str] = []

        async def commit(recipients: tuple[int, ...]) -> None:
            named: list[Value] = [left[i] for i in recipients]
            line = form("commit", attempt=attempt, recipients=named)
            commits.append(line)
            await self._log.commit(line.replace("(commit", f'(commit :id "{name}"', 1))
            mail.binding = True

        async def ask() -> Credentials | None:
            secret = await self._ask(account)
            return Credentials(*secret) if secret else None

        said: list[str] = []
        start = time.monotonic()

        def trace(direction: str, text: str) -> None:
            said.append(f"{(time.monotonic() - start) * 1000:.0f} {direction}> {text}")

        outcome = await delivery.send(
            written.envelope.only(left), Message(content, shape), ask, commit, trace
        )
        if (
            unproven
            and not mail.binding
            and outcome.verdict in (Verdict.UNREACHED, Verdict.DEFERRED)
        ):
            owned.finish("queue")
            return False
        mail.binding = True
        lines = [
            form("attempt", number=attempt, time=began),
            *commits,
            transcript(attempt, said),
        ]
        self._settle(owned, account, outcome, attempt, left, lines)
        return True

    def _settle(
        self,
        owned: Owned,
        account: Account,
        outcome: Outcome,
        attempt: int,
        left: tuple[int, ...],
        lines: list[str],
    ) -> None:
        """Write down what became of a mail, and put it where it belongs."""
        name = owned.directory.name
        verdicts = {fate.verdict for fate in outcome.fates}
        waits = "trust" if outcome.refused_key else "secret" if _wants_secret(outcome) else None
        state = "sent"
        if waits or verdicts & RETRIED:
            state = "queue"
        elif verdicts != {Verdict.ACCEPTED}:
            state = "failed"
        pause = PAUSES[min(attempt, len(PAUSES)) - 1] if state == "queue" and not waits else None
        next_time = int(time.time()) + pause if pause else None
        text = outcome.text
        try:
            self._log.note(*results(attempt, outcome, next_time, left, name))
            # Who is not sent to again must be known after a power cut too.
            flush = state != "sent" and Verdict.ACCEPTED in verdicts
            owned.journal.append(*lines, *results(attempt, outcome, next_time, left), flush=flush)
        except OutboxError as error:
            # In sent/ it was accepted, whatever its journal lacks (DECISIONS-core 9); what its
            # log tells is written to the others later.
            self._log.keep()
            text += f" {error.text}"
            if state == "queue" and Verdict.ACCEPTED in verdicts:
                state, pause = "failed", None
        try:
            owned.finish(state)
        except OutboxError as error:
            # What became of it is known; whoever judges the ownerless next, puts it there.
            self._log.keep()
            state, pause, waits = "active", None, None
            text += f" {error.text}"
        if waits:
            self._wait(name, None)
            text += " The mail waits for you in the outbox."
        elif pause is not None:
            self._wait(name, pause)
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


def _wants_secret(outcome: Outcome) -> bool:
    """Return True if a person could help by giving another secret."""
    return outcome.verdict is Verdict.LATER or any(
        fate.verdict is Verdict.LOGIN and fate.reply and fate.reply.code in SECRET_REFUSED
        for fate in outcome.fates
    )

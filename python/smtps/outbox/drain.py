"""Sends what is due in an outbox, one mail after the other, each for itself.

A mail that can't go now waits with growing pauses and holds up no other.  Found in
active/ without an owner and with a commit but no result, it is *uncertain*: it goes to
failed/ and is never sent again by itself.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from smtps.client.account import Account
from smtps.client.delivery import Credentials, Delivery
from smtps.client.pool import Pool
from smtps.client.trusting import Trust
from smtps.errors import OutboxError, SmtpsError
from smtps.net.loop import Loop
from smtps.outbox import entry
from smtps.outbox.spool import Owned, Spool, octets
from smtps.protocol import body
from smtps.protocol.envelope import Envelope, Message
from smtps.protocol.outcome import RETRIED, Fate, Outcome, Verdict
from smtps.rpc.codec import Symbol, Value, plist

PAUSES = (60, 120, 300, 900, 1800, 3600)
"""Seconds between tries; RFC 5321 4.5.4.1 asks relays for 30 minutes, and a person who has
just pressed a key for less."""

SECRET_REFUSED = frozenset({530, 535})
"""Replies after which another secret may serve (RFC 4954 section 6): none was given, or a wrong
one."""

Tell = Callable[[Mapping[str, Value]], None]
Ask = Callable[[Account], Awaitable[tuple[str, str] | None]]
"""Fetches user and password, None if nobody is to log in.  Raises CredentialsLaterError."""


class Drainer:
    """Drains the outbox at ROOT.  TELL hears each change; ASK fetches credentials."""

    def __init__(self, root: str, tell: Tell, ask: Ask, trust: Trust | None = None) -> None:
        self._spool = Spool(Path(root))
        self._root = root
        self._tell = tell
        self._ask = ask
        self._pool = Pool(lambda account: Delivery(account, Loop(), trust=trust))
        self._woken = asyncio.Event()
        self._due: dict[str, float] = {}
        self._binding = False
        """What happens to the mail under way has to be written down: it is not given up."""
        self._stopping = False
        self._current: asyncio.Task[None] | None = None
        self._task = asyncio.create_task(self._run())

    def wake(self) -> int:
        """Look at the queue again; return how many mails it holds.

        What waits for its next try goes on waiting; what waits for its user need not.
        """
        self._due = {name: due for name, due in self._due.items() if due != math.inf}
        if self._task.done():
            self._task = asyncio.create_task(self._run())
        self._woken.set()
        return len(self._spool.names("queue"))

    async def stop(self) -> None:
        """Take nothing new; give up what has not been committed, finish what has."""
        self._stopping = True
        self._woken.set()
        if self._current is not None and not self._binding:
            self._current.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._pool.close()

    async def _run(self) -> None:
        try:
            self._recover()
        except SmtpsError as error:
            self._event("", "damaged", error.text)
        while not self._stopping:
            self._woken.clear()
            pause = await self._round()
            if self._stopping:
                return
            try:
                async with asyncio.timeout(pause):
                    await self._woken.wait()
            except TimeoutError:
                continue

    async def _round(self) -> float | None:
        """Send all that is due; return the seconds to the next one, None if there is none."""
        try:
            names = self._spool.names("queue")
        except SmtpsError as error:
            self._event("", "damaged", error.text)
            return None
        for name in names:
            if self._stopping:
                return None
            if self._due.get(name, 0) > time.monotonic():
                continue
            self._current = asyncio.create_task(self._one(name))
            await asyncio.wait((self._current,))
            self._current = None
        waiting = [self._due[n] for n in self._spool.names("queue") if n in self._due]
        if any(n not in self._due for n in self._spool.names("queue")):
            return 0
        return max(0.0, min(waiting) - time.monotonic()) if waiting else None

    def _event(self, name: str, state: str, text: str, **more: Value) -> None:
        self._tell({"outbox": self._root, "id": name, "state": Symbol(state), "text": text, **more})

    async def _one(self, name: str) -> None:
        """Send the mail NAME and put it where its fate belongs."""
        owned: Owned | None = None
        try:
            owned = self._spool.take(name)
            if owned is None:
                return
            await self._send(owned)
        except asyncio.CancelledError:
            # Past its commit it stays in active/ for the next drainer to judge.
            if owned is not None and not self._binding:
                owned.finish("queue")
        except Exception as error:
            text = (
                error.text
                if isinstance(error, SmtpsError)
                else f"An error of the helper's own: {type(error).__name__}."
            )
            self._due[name] = time.monotonic() + PAUSES[-1]
            if owned is not None:
                self._keep(owned, name, text)
        finally:
            self._binding = False

    def _keep(self, owned: Owned, name: str, text: str) -> None:
        try:
            owned.finish("failed")
            self._event(
                name,
                "failed",
                f"{text} The mail is kept in the outbox as failed.",
                verdict=Symbol("unsendable"),
            )
        except SmtpsError as error:
            self._event(name, "active", error.text, verdict=Symbol("unsendable"))

    async def _send(self, owned: Owned) -> None:
        name = owned.directory.name
        mail = self._spool.entry(owned.directory)
        records = owned.journal.records()
        attempt = 1 + max(
            (int(str(plist(r).get("number") or 0)) for n, r in records if n == "attempt"), default=0
        )
        host = mail.account.host
        self._event(name, "active", f"Sending to {host}...", host=host)
        await asyncio.to_thread(
            owned.journal.append, entry.form("attempt", number=attempt, time=int(time.time()))
        )
        content = octets(mail.message)
        ready = Message(content, await asyncio.to_thread(lambda: body.shape(content())))

        async def commit(recipients: tuple[int, ...]) -> None:
            self._binding = True
            await asyncio.to_thread(
                owned.journal.append,
                entry.form("commit", attempt=attempt, recipients=[left[i] for i in recipients]),
                reserve=True,
            )

        async def ask() -> Credentials | None:
            found = await self._ask(mail.account)
            return Credentials(*found) if found else None

        settled = _settled(records, mail.envelope)
        left = tuple(i for i in range(len(mail.envelope.recipients)) if i not in settled)
        delivery = await self._pool.take(mail.account)
        try:
            outcome = await delivery.send(mail.envelope.only(left), ready, ask, commit)
            self._binding = True
        finally:
            self._pool.rest(mail.account)
        await self._settle(owned, mail.account, outcome, attempt, left)

    async def _settle(
        self,
        owned: Owned,
        account: Account,
        outcome: Outcome,
        attempt: int,
        left: tuple[int, ...],
    ) -> None:
        name = owned.directory.name
        waits = "trust" if outcome.refused_key else "secret" if _wants_secret(outcome) else None
        retried = waits or any(fate.verdict in RETRIED for fate in outcome.fates)
        failed = any(
            fate.verdict not in RETRIED and fate.verdict is not Verdict.ACCEPTED
            for fate in outcome.fates
        )
        state = "queue" if retried else "failed" if failed else "sent"
        pause = None
        if state == "queue":
            pause = PAUSES[min(attempt, len(PAUSES)) - 1]
            self._due[name] = time.monotonic() + pause
        next_time = int(time.time()) + pause if pause and not waits else None
        lines = entry.results(attempt, outcome, next_time, left)
        try:
            await asyncio.to_thread(owned.journal.append, *lines)
        except OutboxError as error:
            if state != "sent":
                raise
            # An entry in sent/ was accepted, whatever its journal lacks (DECISIONS-core 9).
            self._event(name, "sent", error.text)
        owned.finish(state)
        text = outcome.text
        if waits:
            self._due[name] = math.inf
            text += " The mail waits for you in the outbox."
        elif state == "queue":
            text += f" The mail is kept in the outbox; next try in {pause} seconds."
        elif state == "failed":
            text += f" The mail is kept as {name} in the outbox under failed."
        self._event(
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

    def _recover(self) -> None:
        """Judge what a dead owner left in active/."""
        for name in self._spool.names("active"):
            owned = self._spool.own(self._spool.root / "active" / name)
            if owned is None:
                continue
            try:
                mail = self._spool.entry(owned.directory)
                doubtful = entry.unanswered(owned.journal.records())
            except SmtpsError as error:
                owned.finish("failed")
                self._event(name, "failed", error.text)
                continue
            if not doubtful:
                owned.finish(_state(owned.journal.records(), mail.envelope))
                continue
            text = (
                f"It broke off after the whole message may have left for {mail.account.host}: "
                "whether it was delivered is uncertain, so it is not sent again by itself."
            )
            fates = tuple(Fate(mail.envelope.recipients[i], Verdict.UNCERTAIN) for i in doubtful)
            number = max(
                int(str(plist(r).get("attempt") or 1))
                for n, r in owned.journal.records()
                if n == "commit"
            )
            owned.journal.append(*entry.results(number, Outcome(fates, text), None, doubtful))
            owned.finish("failed")
            self._event(name, "failed", text, verdict=Symbol("uncertain"))


def _wants_secret(outcome: Outcome) -> bool:
    """Return True if a person could help by giving another secret."""
    return outcome.verdict is Verdict.LATER or any(
        fate.verdict is Verdict.LOGIN and fate.reply and fate.reply.code in SECRET_REFUSED
        for fate in outcome.fates
    )


def _state(records: list[tuple[str, list[Value]]], envelope: Envelope) -> str:
    """Return where an entry belongs whose owner died with no commit unanswered."""
    settled = _settled(records, envelope)
    if len(settled) == len(envelope.recipients):
        return "sent" if set(settled.values()) == {Verdict.ACCEPTED.value} else "failed"
    attempts = [plist(rest) for name, rest in records if name == "attempt"]
    return "failed" if attempts and attempts[-1].get("once") else "queue"


def _settled(records: list[tuple[str, list[Value]]], envelope: Envelope) -> dict[int, str]:
    """Return the recipients whose fate is final, by index: they are never sent to again."""
    final: dict[int, str] = {}
    again = {verdict.value for verdict in (*RETRIED, Verdict.LOGIN, Verdict.LATER)}
    for name, rest in records:
        if name == "result":
            facts = plist(rest)
            index, verdict = facts.get("recipient"), str(facts.get("verdict"))
            if isinstance(index, int) and 0 <= index < len(envelope.recipients):
                if verdict in again:
                    final.pop(index, None)
                else:
                    final[index] = verdict
    return final

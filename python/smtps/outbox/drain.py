"""Sends what is due in an outbox, each mail for itself.

A mail that can't go now waits with growing pauses and holds up no other.  Found in active/
without an owner and with a commit but no result, it is *uncertain*: it goes to failed/ and is
never sent again by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from smtps.client.account import Account
from smtps.client.delivery import Delivery
from smtps.client.pool import Pool
from smtps.client.trusting import Trust
from smtps.errors import SmtpsError
from smtps.net.loop import Loop
from smtps.outbox import judge
from smtps.outbox.journal import Journal
from smtps.outbox.lane import Ask, Lane
from smtps.outbox.log import Log
from smtps.outbox.spool import Spool
from smtps.rpc.codec import Symbol, Value

LOOK_SECONDS = 60.0
"""Between looks at the queue when nobody wakes us: others write to it, and others die."""

DRAINED_SECONDS = 0.05
"""Between two looks whether all is done."""

Tell = Callable[[Mapping[str, Value]], None]


class Drainer:
    """Drains the outbox at ROOT.  TELL hears each change; ASK fetches credentials.

    Raises OutboxError if it can't be written.
    """

    def __init__(self, root: str, tell: Tell, ask: Ask, trust: Trust | None = None) -> None:
        self._spool = Spool(Path(root))
        self._root = root
        self._tell = tell
        self._ask = ask
        self._pool = Pool(lambda account: Delivery(account, Loop(), trust=trust))
        self._log = Log(self._spool.root / "log")
        self._lanes: dict[Account, Lane] = {}
        self._woken = asyncio.Event()
        self._due: dict[str, float] = {}
        """When those in queue/ that are not due now are, by the monotonic clock."""
        self._damaged: set[str] = set()
        self._stopping = False
        self._looked = False
        self._task = asyncio.create_task(self._run())

    def wake(self) -> int:
        """Look at the queue again; return how many mails it holds.

        What waits for its next try goes on waiting; what waits for its user need not.
        """
        self._due = {name: due for name, due in self._due.items() if due != math.inf}
        self._woken.set()
        return len(self._spool.names("queue"))

    def hurry(self, name: str) -> None:
        """Try the mail NAME now, however long it was to wait."""
        self._due.pop(name, None)
        self._woken.set()

    async def stop(self) -> None:
        """Take nothing new; give up what has not been committed, finish what has."""
        self._stopping = True
        self._woken.set()
        await asyncio.gather(self._task, return_exceptions=True)
        await asyncio.gather(*(lane.stop() for lane in self._lanes.values()))
        await self._pool.close()
        await self._log.close(self._spool.root)

    async def drained(self) -> None:
        """Return when nothing is under way, and nothing due now."""
        while not self._settled or any(lane.busy for lane in self._lanes.values()):  # noqa: ASYNC110
            await asyncio.sleep(DRAINED_SECONDS)

    @property
    def _settled(self) -> bool:
        """True if all that is in queue/ was seen to be due later."""
        now = time.monotonic()
        return self._looked and all(
            self._due.get(name, 0) > now for name in self._spool.names("queue")
        )

    async def _run(self) -> None:
        looked = -math.inf
        while not self._stopping:
            self._woken.clear()
            try:
                if time.monotonic() - looked >= LOOK_SECONDS:
                    looked = time.monotonic()
                    for name, text, verdict in await asyncio.to_thread(judge.recover, self._spool):
                        self._report(name, "failed", text, verdict=Symbol(verdict.value))
                pause = self._dispatch()
                self._looked = True
            except SmtpsError as error:
                self._report("", "damaged", error.text)
                pause = LOOK_SECONDS
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._woken.wait()

    def _dispatch(self) -> float:
        """Give what is due to its account's lane; return the seconds until something is."""
        names = self._spool.names("queue")
        busy = {name for lane in self._lanes.values() for name in lane.busy}
        now = time.monotonic()
        for name in names:
            if not self._stopping and name not in busy and self._due.get(name, 0) <= now:
                self._give(name)
        present = busy.union(names)
        self._due = {name: due for name, due in self._due.items() if name in present}
        nearest = min(self._due.values(), default=math.inf)
        return max(0.0, min(LOOK_SECONDS, nearest - time.monotonic()))

    def _give(self, name: str) -> None:
        try:
            mail = self._spool.entry(self._spool.root / "queue" / name)
            # What it tells of is judged when it is sent; here, that it can be.
            Journal(mail.directory).records()
        except SmtpsError as error:
            self._due[name] = math.inf
            # Taken by another, it is not damaged.
            if name not in self._damaged and (self._spool.root / "queue" / name).is_dir():
                self._damaged.add(name)
                self._report(name, "damaged", error.text)
            return
        if mail.not_before > time.time():
            self._due[name] = time.monotonic() + mail.not_before - time.time()
            return
        self._due.pop(name, None)
        lane = self._lanes.get(mail.account)
        if lane is None:
            lane = self._lanes[mail.account] = Lane(
                mail.account,
                self._spool,
                self._log,
                self._pool,
                self._ask,
                self._report,
                self._wait,
            )
        lane.add(mail)

    def _wait(self, name: str, seconds: float | None) -> None:
        self._due[name] = math.inf if seconds is None else time.monotonic() + seconds
        self._woken.set()

    def _report(self, name: str, state: str, text: str, /, **facts: Value) -> None:
        self._tell(
            {"outbox": self._root, "id": name, "state": Symbol(state), "text": text, **facts}
        )

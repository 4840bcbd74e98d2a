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
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

from smtps.client.account import Account
from smtps.client.delivery import Delivery
from smtps.client.pool import Pool
from smtps.client.trusting import Trust
from smtps.errors import SmtpsError
from smtps.net.loop import Loop
from smtps.outbox import afterwork, judge
from smtps.outbox.entry import Entry
from smtps.outbox.journal import Journal
from smtps.outbox.lane import Ask, Lane, asking
from smtps.outbox.log import Log
from smtps.outbox.spool import Spool
from smtps.outbox.sweep import sweep
from smtps.rpc.codec import Symbol, Value

LOOK_SECONDS = 60.0
"""Between looks at the queue when nobody wakes us: others write to it, and others die."""

SWEEP_SECONDS = 24 * 60 * 60.0
"""Between looks for mails that were sent long ago."""

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""A clock that nobody sets, and that goes on while the machine sleeps."""

DRAINED_SECONDS = 0.05
"""Between two looks whether all is done."""

SAID = 3
"""Copies and the like that failed of which each is told; the outbox shows them all."""

Tell = Callable[[Mapping[str, Value]], None]


def _clock() -> float:
    return time.clock_gettime(_CLOCK)


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
        """When those in queue/ that are not due now are, by `_clock`."""
        self._times: dict[str, float] = {}
        """By when those of them that have a time are, by the clock that somebody may set."""
        self._damaged: set[str] = set()
        self._stopping = False
        self._looked = False
        self._accepted: deque[str] = deque()
        """Those of which something is to be done now that they were accepted."""
        self._following: asyncio.Task[None] | None = None
        self.keep_sent_days: int | None = None
        """Days for which what was sent is kept; None keeps all."""
        self._sweeping: asyncio.Task[None] | None = None
        self._swept = -math.inf
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

    async def warm(self, account: Account) -> bool:
        """Open the connection of ACCOUNT before there is a mail; return True if one is open."""
        return not self._stopping and await self._pool.warm(account, asking(self._ask, account))

    async def stop(self) -> None:
        """Take nothing new; give up what has not been committed, finish what has."""
        self._stopping = True
        self._woken.set()
        await asyncio.gather(self._task, return_exceptions=True)
        await asyncio.gather(*(lane.stop() for lane in self._lanes.values()))
        if self._following is not None:
            await self._following
        if self._sweeping is not None:
            await self._sweeping
        await self._pool.close()
        await self._log.close(self._spool.root)

    async def drained(self) -> None:
        """Return when nothing is under way, and nothing due now."""
        while (  # noqa: ASYNC110
            not self._settled
            or any(lane.busy for lane in self._lanes.values())
            or self._following is not None
        ):
            await asyncio.sleep(DRAINED_SECONDS)

    @property
    def _settled(self) -> bool:
        """True if all that is in queue/ was seen to be due later."""
        now = _clock()
        return self._looked and all(
            self._due.get(name, 0) > now for name in self._spool.names("queue")
        )

    async def _run(self) -> None:
        looked = -math.inf
        while not self._stopping:
            self._woken.clear()
            try:
                if _clock() - looked >= LOOK_SECONDS:
                    looked = _clock()
                    for name, text, verdict in await asyncio.to_thread(judge.recover, self._spool):
                        self._report(name, "failed", text, verdict=Symbol(verdict.value))
                    self._follow(*await asyncio.to_thread(afterwork.due, self._spool))
                pause = self._dispatch()
                self._looked = True
                self._sweep()
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
        now = _clock()
        for name in names:
            due = self._due.get(name, 0) <= now or self._times.get(name, math.inf) <= time.time()
            if due and not self._stopping and name not in busy:
                self._give(name)
        present = busy.union(names)
        self._due = {name: due for name, due in self._due.items() if name in present}
        self._times = {name: due for name, due in self._times.items() if name in present}
        nearest = min(self._due.values(), default=math.inf)
        return max(0.0, min(LOOK_SECONDS, nearest - _clock()))

    def _sweep(self) -> None:
        """Have deleted what was sent long ago, beside all else and rarely."""
        days = self.keep_sent_days
        if days is None or _clock() - self._swept < SWEEP_SECONDS:
            return
        self._swept = _clock()

        async def do(days: int) -> None:
            # What it can't do today is done another day: it keeps no mail from being sent.
            with contextlib.suppress(SmtpsError):
                await asyncio.to_thread(sweep, self._spool, days, lambda: self._stopping)

        self._sweeping = asyncio.create_task(do(days))

    def _give(self, name: str) -> None:
        try:
            mail = self._spool.entry(self._spool.place("queue", name))
            # What it tells of is judged when it is sent; here, that it can be.
            Journal(mail.directory).records()
        except SmtpsError as error:
            self._due[name] = math.inf
            # Taken by another, it is not damaged.
            if name not in self._damaged and (self._spool.root / "queue" / name).is_dir():
                self._damaged.add(name)
                self._report(name, "damaged", error.text)
            return
        now = time.time()
        if mail.not_before > now and not mail.handed_over(now) and not self._released(mail):
            # Somebody may set the clock meanwhile.
            self._due[name] = _clock() + min(mail.not_before - now, LOOK_SECONDS)
            return
        self._due.pop(name, None)
        self._times.pop(name, None)
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
                self._was_accepted,
            )
        lane.add(mail)

    def _released(self, mail: Entry) -> bool:
        try:
            return judge.released(Journal(mail.directory).records())
        except SmtpsError:
            # The lane says so when its time has come.
            return False

    def _was_accepted(self, directory: Path) -> None:
        if (directory / afterwork.NAME).exists():
            self._follow(directory.name)

    def _follow(self, *names: str) -> None:
        """Do what is to follow the acceptance of the mails NAMES, one after the other."""
        self._accepted.extend(name for name in names if name not in self._accepted)
        if self._accepted and self._following is None:
            self._following = asyncio.create_task(self._carry_out())

    async def _carry_out(self) -> None:
        try:
            while self._accepted:
                name = self._accepted.popleft()
                done = await asyncio.to_thread(afterwork.carry_out, self._spool, name)
                if done is not None:
                    self._tell({"outbox": self._root, "id": name, **told(done)})
        finally:
            self._following = None

    def _wait(self, name: str, seconds: float | None, until: float | None = None) -> None:
        self._due[name] = math.inf if seconds is None else _clock() + seconds
        if until is not None:
            self._times[name] = until
        self._woken.set()

    def _report(self, name: str, state: str, text: str, /, **facts: Value) -> None:
        self._tell(
            {"outbox": self._root, "id": name, "state": Symbol(state), "text": text, **facts}
        )


def told(done: afterwork.Done) -> dict[str, Value]:
    """Return what is told of an accepted mail's afterwork that is DONE as far as it goes here."""
    said = [sentence[: afterwork.REASON_LIMIT] for sentence in done.failed[:SAID]]
    more = len(done.failed) - len(said)
    if more:
        said.append(f"And so are {more} more.")
    return {
        "afterwork": Symbol("failed" if done.failed else "left" if done.left else "done"),
        "state": Symbol("sent"),
        "text": " ".join(said),
    }

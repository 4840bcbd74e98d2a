"""Connections kept open between mails, at most one an account."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable

from smtps.client.account import Account
from smtps.client.delivery import Delivery
from smtps.client.login import Ask

IDLE_SECONDS = 60.0
"""Servers must wait five minutes (RFC 5321 4.5.3.2.7) and many do not; a provider counts what
is open.  A minute is what it takes to write the next short mail."""

REOPEN_SECONDS = 60.0
"""Between two connections that are opened ahead: who closes them at once is left alone."""


class Pool:
    """Deliveries by account, made by MAKE; each closes its connection when it has rested."""

    def __init__(self, make: Callable[[Account], Delivery], idle: float = IDLE_SECONDS) -> None:
        self._make = make
        self._idle = idle
        self._held: dict[Account, Delivery] = {}
        self._resting: dict[Account, asyncio.Task[None]] = {}
        self._warming: dict[Account, asyncio.Task[bool]] = {}
        self._opened: dict[Account, float] = {}
        """When a connection was opened ahead, by the monotonic clock."""

    async def take(self, account: Account) -> Delivery:
        """Return ACCOUNT's delivery, for one mail at a time."""
        warming = self._warming.get(account)
        if warming is not None:
            await asyncio.wait((warming,))
        return await self._taken(account)

    async def _taken(self, account: Account) -> Delivery:
        task = self._resting.pop(account, None)
        if task is not None:
            task.cancel()
            await asyncio.wait((task,))
        if account not in self._held:
            self._held[account] = self._make(account)
        return self._held[account]

    async def warm(self, account: Account, ask: Ask | None) -> bool:
        """Open ACCOUNT's connection before there is a mail, or keep it alive.

        Return True if a mail can go over one.  It rests then as after a mail.
        """
        if account not in self._warming:
            if account in self._held and account not in self._resting:
                # A mail is on its way over it.
                return True
            task = self._warming[account] = asyncio.create_task(self._warmed(account, ask))
            task.add_done_callback(lambda _: self._warming.pop(account))
        return await self._warming[account]

    async def _warmed(self, account: Account, ask: Ask | None) -> bool:
        delivery = await self._taken(account)
        try:
            if not delivery.idle:
                now = time.monotonic()
                if now - self._opened.get(account, -math.inf) < REOPEN_SECONDS:
                    return False
                self._opened[account] = now
            return await delivery.warm(ask)
        finally:
            self.rest(account)

    def another(self, account: Account) -> Delivery:
        """Return one more delivery for ACCOUNT, which is not kept."""
        return self._make(account)

    def rest(self, account: Account) -> None:
        """Let ACCOUNT's connection stay open for a while."""
        self._resting[account] = asyncio.create_task(self._close_later(self._held[account]))

    async def _close_later(self, delivery: Delivery) -> None:
        await asyncio.sleep(self._idle)
        await delivery.close()

    async def close(self) -> None:
        """Say goodbye on all connections."""
        warming = list(self._warming.values())
        for opening in warming:
            opening.cancel()
        await asyncio.gather(*warming, return_exceptions=True)
        for task in self._resting.values():
            task.cancel()
        await asyncio.gather(
            *self._resting.values(),
            *(delivery.close() for delivery in self._held.values()),
            return_exceptions=True,
        )

"""Connections kept open between mails, at most one an account."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from smtps.client.account import Account
from smtps.client.delivery import Delivery

IDLE_SECONDS = 60.0
"""Servers must wait five minutes (RFC 5321 4.5.3.2.7) and many do not; a provider counts what
is open.  A minute is what it takes to write the next short mail."""


class Pool:
    """Deliveries by account, made by MAKE; each closes its connection when it has rested."""

    def __init__(self, make: Callable[[Account], Delivery], idle: float = IDLE_SECONDS) -> None:
        self._make = make
        self._idle = idle
        self._held: dict[Account, Delivery] = {}
        self._resting: dict[Account, asyncio.Task[None]] = {}

    async def take(self, account: Account) -> Delivery:
        """Return ACCOUNT's delivery, for one mail at a time."""
        task = self._resting.pop(account, None)
        if task is not None:
            task.cancel()
            await asyncio.wait((task,))
        if account not in self._held:
            self._held[account] = self._make(account)
        return self._held[account]

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
        for task in self._resting.values():
            task.cancel()
        await asyncio.gather(
            *self._resting.values(),
            *(delivery.close() for delivery in self._held.values()),
            return_exceptions=True,
        )

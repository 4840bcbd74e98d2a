"""Waiting in asyncio."""

from __future__ import annotations

import asyncio
import socket


class Loop:
    """Waits for sockets in the running event loop."""

    async def readable(self, connected: socket.socket, timeout: float) -> None:
        """Wait until CONNECTED can be read."""
        await self._wait(connected, True, timeout)

    async def writable(self, connected: socket.socket, timeout: float) -> None:
        """Wait until CONNECTED can be written."""
        await self._wait(connected, False, timeout)

    async def _wait(self, connected: socket.socket, read: bool, timeout: float) -> None:
        loop = asyncio.get_running_loop()
        ready = loop.create_future()
        number = connected.fileno()
        if number < 0:
            # Closed by another task: whoever waits shall find that out by reading.
            return
        (loop.add_reader if read else loop.add_writer)(number, _settle, ready)
        timer = loop.call_later(max(0.0, timeout), _expire, ready)
        try:
            await ready
        finally:
            timer.cancel()
            (loop.remove_reader if read else loop.remove_writer)(number)


def _settle(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


def _expire(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_exception(TimeoutError())

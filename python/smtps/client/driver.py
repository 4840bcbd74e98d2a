"""The engine's steps carried out over a stream."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

from smtps.client.account import Account
from smtps.client.dialling import Tell, handshake, quiet
from smtps.client.timeouts import seconds
from smtps.client.trusting import Trust
from smtps.errors import SmtpsError, TimedOutError
from smtps.net.streams import Stream, Way
from smtps.protocol import steps
from smtps.protocol.steps import Chosen, Steps

OnCommit = Callable[[tuple[int, ...]], Awaitable[None]]
"""Writes down, and flushes, that the recipients with these indexes may have the mail."""

OnLogin = Callable[[steps.Login], Awaitable[Chosen | None]]
"""Chooses a mechanism and fetches the secret; called once the server's identity is settled."""


class Driver:
    """Carries out steps over STREAM, a connection to ACCOUNT's server.

    WAY None blocks, so that no event loop is needed.  TIMEOUT None takes each phase's own.
    WRITTEN is called with each Send that was carried out, DRAIN is awaited before each read.
    """

    def __init__(
        self,
        stream: Stream,
        account: Account,
        way: Way | None,
        timeout: float | None,
        trust: Trust,
        written: Callable[[steps.Send], None] = lambda step: None,
        drain: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.stream = stream
        self._account = account
        self._way = way
        self._timeout = timeout
        self._trust = trust
        self._written = written
        self._drain = drain
        self._deadline = (-1, 0.0)
        self.heard = 0.0
        """When the server was heard last, by the monotonic clock."""

    async def drive(
        self,
        engine: Steps[Any],
        login: OnLogin | None = None,
        commit: OnCommit | None = None,
        tell: Tell = quiet,
    ) -> Any:
        """Carry out the steps of ENGINE and return its result."""
        answer: Any = None
        error: SmtpsError | None = None
        while True:
            try:
                step = engine.throw(error) if error is not None else engine.send(answer)
            except StopIteration as stop:
                return stop.value
            answer = error = None
            try:
                answer = await self._carry_out(step, login, commit, tell)
            except SmtpsError as raised:
                error = raised

    async def _carry_out(
        self, step: steps.Step, login: OnLogin | None, commit: OnCommit | None, tell: Tell
    ) -> Any:
        stream = self.stream
        match step:
            case steps.Send(data, phase):
                await stream.write(data, seconds(phase, self._timeout))
                self._written(step)
            case steps.Receive(phase, wait):
                return await self._receive(phase, wait)
            case steps.Peek():
                return stream.peek() or (None if stream.ended else b"")
            case steps.Handshake():
                await handshake(stream, self._account, self._timeout, tell, self._trust)
            case steps.Login():
                assert login is not None
                return await login(step)
            case steps.Commit(recipients):
                assert commit is not None
                await commit(recipients)
            case steps.Work(function):
                return await self._work(function)
        return None

    async def _work(self, function: Callable[[], Any]) -> Any:
        if self._way is None:
            return function()
        import asyncio

        return await asyncio.to_thread(function)

    async def _receive(self, phase: steps.Phase, wait: int) -> bytes:
        allowed = seconds(phase, self._timeout)
        now = time.monotonic()
        if self._deadline[0] != wait:
            self._deadline = (wait, now + allowed)
        left = self._deadline[1] - now
        if left <= 0:
            raise TimedOutError(
                f"{self._account.host} did not finish its answer within {allowed:g} seconds."
            )
        try:
            if self._drain is not None:
                await self._drain()
            data = await self.stream.read(left)
        except TimedOutError:
            raise TimedOutError(
                f"{self._account.host} did not answer within {allowed:g} seconds."
            ) from None
        self.heard = time.monotonic()
        return data

"""One connection to an account's server: the engine's steps carried out over a stream."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from smtps.client.account import Account
from smtps.client.dialling import Ahead, Tell, dialled, handshake, quiet
from smtps.client.timeouts import seconds
from smtps.client.trusting import Trust
from smtps.errors import SmtpsError, TimedOutError
from smtps.net.streams import Stream, Way
from smtps.protocol import steps
from smtps.protocol.connection import Trace
from smtps.protocol.envelope import Envelope, Message
from smtps.protocol.outcome import Outcome
from smtps.protocol.steps import Chosen, Steps
from smtps.protocol.submission import Submission

if TYPE_CHECKING:
    from smtps.net.tls import Established

RECENT = 15.0
"""Seconds since the server was last heard for which the connection is taken to be alive.  A
router that forgot it, after a suspended machine woke up, shows nothing."""

SILENT = 5.0
"""Seconds since the server was last heard after which it is asked whether it is there."""

ASKED_LIMIT = 20
"""How often it is: servers slow down who says NOOP too often without sending (Postfix: 100)."""

OnCommit = Callable[[tuple[int, ...]], Awaitable[None]]
"""Writes down, and flushes, that the recipients with these indexes may have the mail."""

OnLogin = Callable[[steps.Login], Awaitable[Chosen | None]]
"""Chooses a mechanism and fetches the secret; called once the server's identity is settled."""


class Link:
    """A connection to ACCOUNT's server, greeted, over which mails go one after the other.

    WAY None blocks, so that no event loop is needed.  TIMEOUT None takes each phase's own.
    """

    def __init__(
        self,
        account: Account,
        way: Way | None,
        timeout: float | None,
        trace: Trace | None,
        trust: Trust,
    ) -> None:
        self._account = account
        self._way = way
        self._timeout = timeout
        self._trust = trust
        self._deadline = (-1, 0.0)
        self._heard = 0.0
        self._stream: Stream | None = None
        self.submission = Submission(account.tls, account.host, trace)
        self.mails = 0
        """Mails that were begun on it."""
        self.ahead = False
        """It was opened before there was a mail."""
        self._asked = 0
        self.warnings: list[str] = []
        """What the server no longer offers."""

    async def open(self, sender: str, tell: Tell = quiet, ahead: Ahead | None = None) -> None:
        """Connect, or take what was connected AHEAD, and greet.

        Raises Stop or SmtpsError; it is closed then.
        """
        try:
            if ahead is not None:
                self._stream = ahead.take()
            else:
                self._stream = await dialled(
                    self._account, self._way, self._timeout, tell, self._trust
                )
            try:
                await self._drive(self.submission.open(sender), tell=tell)
            finally:
                self._note_offers()
        except BaseException:
            self.abort()
            raise

    def _note_offers(self) -> None:
        connection, stream = self.submission.connection, self._stream
        if not connection.hello_accepted or stream is None:
            return
        offered = {*connection.extensions, *connection.extensions.mechanisms}
        self.warnings += self._trust.noted(self._account, stream.protected, offered)
        if stream.protected and self._account.tls == "starttls":
            self._trust.noted(self._account, False, ["STARTTLS"])

    async def login(self, login: OnLogin) -> None:
        """Log in.  Raises Stop or SmtpsError."""
        await self._drive(self.submission.login(), login=login)

    async def stay(self) -> None:
        """See that the server is there, unless it was heard just now.

        Raises Stop or SmtpsError where it is not.
        """
        if time.monotonic() - self._heard >= SILENT and self._asked < ASKED_LIMIT:
            self._asked += 1
            await self._drive(self.submission.noop())

    async def deliver(
        self, envelope: Envelope, message: Message, login: OnLogin, commit: OnCommit
    ) -> Outcome:
        """Send one mail in one transaction and return what became of it."""
        recent = time.monotonic() - self._heard < RECENT
        self.mails += 1
        outcome: Outcome = await self._drive(
            self.submission.deliver(envelope, message, recent), login, commit
        )
        return outcome

    @property
    def established(self) -> Established | None:
        """What the TLS handshake came to, None in clear."""
        return self._stream.established if self._stream is not None else None

    @property
    def authenticated(self) -> bool:
        """True once the server took a login."""
        return self.submission.connection.authenticated

    def usable(self) -> bool:
        """Return True if another mail may go: nothing has arrived meanwhile, nor an end."""
        return self.submission.usable and self._stream is not None and not self._arrived()

    def _arrived(self) -> bool:
        assert self._stream is not None
        try:
            return bool(self._stream.peek()) or self._stream.ended
        except SmtpsError:
            return True

    async def close(self) -> None:
        """Say QUIT where that can be said, and close."""
        stream = self._stream
        if stream is None:
            return
        try:
            await self._drive(self.submission.quit())
            await stream.close()
        finally:
            self.abort()

    def abort(self) -> None:
        """Drop the connection at once."""
        if self._stream is not None:
            self._stream.abort()
            self._stream = None

    async def _drive(
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
        stream = self._stream
        assert stream is not None
        match step:
            case steps.Send(data, phase):
                await stream.write(data, seconds(phase, self._timeout))
            case steps.Receive(phase, wait):
                return await self._receive(stream, phase, wait)
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

    async def _receive(self, stream: Stream, phase: steps.Phase, wait: int) -> bytes:
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
            data = await stream.read(left)
        except TimedOutError:
            raise TimedOutError(
                f"{self._account.host} did not answer within {allowed:g} seconds."
            ) from None
        self._heard = time.monotonic()
        return data

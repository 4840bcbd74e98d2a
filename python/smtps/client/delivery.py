"""One envelope to one server: the engine's steps carried out over a stream."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from smtps.client.account import Account
from smtps.client.dialling import Tell, dialled, handshake, quiet
from smtps.client.timeouts import seconds
from smtps.errors import HostUnknownError, LoginError, SmtpsError, TimedOutError
from smtps.net.streams import Stream, Way
from smtps.protocol import steps
from smtps.protocol.connection import Trace
from smtps.protocol.envelope import Envelope, Message
from smtps.protocol.outcome import Fate, Outcome
from smtps.protocol.steps import Steps
from smtps.protocol.submission import Stop, Submission, as_stop


@dataclass(frozen=True)
class Credentials:
    """A user and the secret, which stays out of every repr."""

    user: str
    password: str = field(repr=False)


Ask = Callable[[], Awaitable[Credentials]]
"""Fetches the credentials; called once the server's identity is settled.  Raises LoginError."""

OnCommit = Callable[[tuple[int, ...]], Awaitable[None]]
"""Writes down, and flushes, that the recipients with these indexes may have the mail."""


class Delivery:
    """Delivers mails to ACCOUNT's server over one connection after the other.

    WAY None blocks, so that no event loop is needed.  TIMEOUT None takes each phase's own.
    """

    def __init__(
        self,
        account: Account,
        ask: Ask | None,
        way: Way | None = None,
        timeout: float | None = None,
        tell: Tell = quiet,
        trace: Trace | None = None,
    ) -> None:
        self.account = account
        self._ask = ask
        self._way = way
        self._timeout = timeout
        self._tell = tell
        self._trace = trace
        self._deadline = (-1, 0.0)

    async def send(self, envelope: Envelope, message: Message, commit: OnCommit) -> Outcome:
        """Send one mail over a connection of its own and return what became of it."""
        submission = Submission(self.account.tls, self.account.host, self._trace)
        stream: Stream | None = None
        try:
            try:
                stream = await dialled(self.account, self._way, self._timeout, self._tell)
                await self._drive(submission.open(envelope.sender), stream, commit)
                await self._drive(submission.login(), stream, commit)
            except (Stop, SmtpsError) as error:
                return _before(envelope, error)
            outcome: Outcome = await self._drive(
                submission.deliver(envelope, message), stream, commit
            )
            await self._drive(submission.quit(), stream, commit)
            return outcome
        finally:
            if stream is not None:
                await stream.close()

    async def _drive(self, engine: Steps[Any], stream: Stream, commit: OnCommit) -> Any:
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
                answer = await self._carry_out(step, stream, commit)
            except SmtpsError as raised:
                error = raised

    async def _carry_out(self, step: steps.Step, stream: Stream, commit: OnCommit) -> Any:
        match step:
            case steps.Send(data, phase):
                await stream.write(data, seconds(phase, self._timeout))
            case steps.Receive(phase, wait):
                return await self._receive(stream, phase, wait)
            case steps.Peek():
                return stream.peek()
            case steps.Handshake():
                await handshake(stream, self.account, self._timeout, self._tell)
            case steps.Login(extensions, failed):
                return await self._login(extensions.mechanisms, failed)
            case steps.Commit(recipients):
                await commit(recipients)
        return None

    async def _receive(self, stream: Stream, phase: steps.Phase, wait: int) -> bytes:
        allowed = seconds(phase, self._timeout)
        now = time.monotonic()
        if self._deadline[0] != wait:
            self._deadline = (wait, now + allowed)
        left = self._deadline[1] - now
        if left <= 0:
            raise TimedOutError(
                f"{self.account.host} did not finish its answer within {allowed:g} seconds."
            )
        try:
            return await stream.read(left)
        except TimedOutError:
            raise TimedOutError(
                f"{self.account.host} did not answer within {allowed:g} seconds."
            ) from None

    async def _login(self, offered: tuple[str, ...], failed: tuple[str, ...]) -> Any:
        account = self.account
        if account.user is None and not account.mechanisms:
            return None
        from smtps.sasl import mechanisms

        name = mechanisms.choose(offered, account.mechanisms, failed)
        if self._ask is None:
            raise LoginError(f"No password is known for the login at {account.host}.")
        credentials = await self._ask()
        return mechanisms.REGISTRY[name](credentials.user, credentials.password)


def _before(envelope: Envelope, error: Stop | SmtpsError) -> Outcome:
    """Return the outcome of a mail that never came to its transaction."""
    stop = as_stop(error)
    status = HostUnknownError.status if isinstance(error, HostUnknownError) else None
    fates = tuple(Fate(r, stop.verdict, stop.reply) for r in envelope.recipients)
    return Outcome(fates, stop.text, status)

"""One connection to an account's server, over which the engine leads."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from smtps.client.account import Account
from smtps.client.dialling import Ahead, Tell, dialled, quiet
from smtps.client.driver import Driver, OnCommit, OnLogin
from smtps.client.trusting import Trust
from smtps.errors import SmtpsError
from smtps.net.streams import Way
from smtps.protocol.connection import Connection, Trace
from smtps.protocol.dialogue import Dialogue
from smtps.protocol.envelope import Envelope, Message
from smtps.protocol.outcome import Outcome
from smtps.protocol.steps import Send
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


class Link:
    """A connection to ACCOUNT's server, greeted, over which mails go one after the other.

    WAY None blocks, so that no event loop is needed.  TIMEOUT None takes each phase's own.
    WRITTEN is called with each Send that was carried out.
    """

    def __init__(
        self,
        account: Account,
        way: Way | None,
        timeout: float | None,
        trace: Trace | None,
        trust: Trust,
        written: Callable[[Send], None] = lambda step: None,
    ) -> None:
        self._account = account
        self._written = written
        self._way = way
        self._timeout = timeout
        self._trust = trust
        self._driver: Driver | None = None
        self.submission = Submission(account.tls, Dialogue(account.host, Connection(trace=trace)))
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
                stream = ahead.take()
            else:
                stream = await dialled(self._account, self._way, self._timeout, tell, self._trust)
            driver = self._driver = Driver(
                stream, self._account, self._way, self._timeout, self._trust, self._written
            )
            try:
                await driver.drive(self.submission.open(sender), tell=tell)
            finally:
                self._note_offers()
        except BaseException:
            self.abort()
            raise

    def _note_offers(self) -> None:
        connection = self.submission.connection
        if not connection.hello_accepted:
            return
        protected = self._open.stream.protected
        offered = {*connection.extensions, *connection.extensions.mechanisms}
        self.warnings += self._trust.noted(self._account, protected, offered)
        if protected and self._account.tls == "starttls":
            self._trust.noted(self._account, False, ["STARTTLS"])

    async def login(self, login: OnLogin) -> None:
        """Log in.  Raises Stop or SmtpsError."""
        await self._open.drive(self.submission.login(), login=login)

    async def stay(self) -> None:
        """See that the server is there, unless it was heard just now.

        Raises Stop or SmtpsError where it is not.
        """
        driver = self._open
        if time.monotonic() - driver.heard >= SILENT and self._asked < ASKED_LIMIT:
            self._asked += 1
            await driver.drive(self.submission.noop())

    async def deliver(
        self, envelope: Envelope, message: Message, login: OnLogin, commit: OnCommit
    ) -> Outcome:
        """Send one mail in one transaction and return what became of it."""
        driver = self._open
        recent = time.monotonic() - driver.heard < RECENT
        self.mails += 1
        outcome: Outcome = await driver.drive(
            self.submission.deliver(envelope, message, recent), login, commit
        )
        return outcome

    @property
    def established(self) -> Established | None:
        """What the TLS handshake came to, None in clear."""
        return self._driver.stream.established if self._driver is not None else None

    @property
    def authenticated(self) -> bool:
        """True once the server took a login."""
        return self.submission.connection.authenticated

    def usable(self) -> bool:
        """Return True if another mail may go: nothing has arrived meanwhile, nor an end."""
        return self.submission.usable and self._driver is not None and not self._arrived()

    @property
    def _open(self) -> Driver:
        assert self._driver is not None
        return self._driver

    def _arrived(self) -> bool:
        stream = self._open.stream
        try:
            return bool(stream.peek()) or stream.ended
        except SmtpsError:
            return True

    async def close(self) -> None:
        """Say QUIT where that can be said, and close."""
        driver = self._driver
        if driver is None:
            return
        try:
            await driver.drive(self.submission.quit())
            await driver.stream.close()
        finally:
            self.abort()

    def abort(self) -> None:
        """Drop the connection at once."""
        if self._driver is not None:
            self._driver.stream.abort()
            self._driver = None

"""Which mechanism an account logs in by, and with what."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, NamedTuple

from smtps.client.account import Account
from smtps.errors import LoginError
from smtps.protocol import steps

if TYPE_CHECKING:
    from smtps.net.tls import Established


class Credentials(NamedTuple):
    """A user and the secret, which stays out of every repr."""

    user: str
    password: str

    def __repr__(self) -> str:
        return f"<the credentials of {self.user}>"


Ask = Callable[[], Awaitable[Credentials | None]]
"""Fetches the credentials, None if nobody is to log in; called once the server's identity is
settled, for an account without a user, too.  Raises LoginError or CredentialsLaterError."""


async def choose(
    account: Account, step: steps.Login, established: Established | None, ask: Ask | None
) -> tuple[steps.Exchange, Credentials] | None:
    """Return the exchange to log in to ACCOUNT's server by, and with what; None for no login.

    ESTABLISHED is what the TLS handshake came to.  Raises LoginError where none can serve,
    ConfigurationError, and what ASK raises.
    """
    wanted = account.mechanisms
    named = account.user is not None or wanted
    # Who is asked may know a user all the same; with none, a server may want none.
    if not named and (ask is None or not step.extensions.mechanisms or await ask() is None):
        return None
    from smtps.sasl import mechanisms

    server = mechanisms.Server(
        account.host,
        account.port,
        step.extensions.mechanisms,
        established.chain[0] if established and established.chain else None,
        account.client_certificate is not None,
    )
    name = mechanisms.choose(server, wanted, step.failed)
    credentials: Credentials | None = Credentials(account.user or "", "")
    if mechanisms.needs_secret(name):
        credentials = await ask() if ask is not None else None
    if credentials is None:
        raise LoginError(f"No password is known for the login at {account.host}.")
    exchange = mechanisms.begin(name, credentials.user, credentials.password, server, wanted)
    return exchange, credentials


def once(ask: Ask | None) -> Ask | None:
    """Return ASK so that it asks once: another mechanism takes the same secret."""
    if ask is None:
        return None
    known: Credentials | None = None

    async def asked() -> Credentials | None:
        nonlocal known
        if known is None:
            known = await ask()
        return known

    return asked

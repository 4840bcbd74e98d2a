"""From an account to a stream, telling on the way what happens and whom it reached."""

from __future__ import annotations

from collections.abc import Callable

from smtps.client.account import Account
from smtps.client.timeouts import seconds
from smtps.errors import CertificateError
from smtps.net import dial
from smtps.net.streams import Stream, Way, run
from smtps.protocol.steps import Phase
from smtps.protocol.visible import visible

Tell = Callable[[str], None]


async def dialled(account: Account, way: Way | None, timeout: float | None, tell: Tell) -> Stream:
    """Return a stream to ACCOUNT's server, TLS already made where it is implicit.

    WAY None blocks; TIMEOUT None takes each phase's own.  Raises NetworkError or
    IdentityError.
    """
    tell(f"Resolving '{account.address}'...")
    if way is None:
        addresses = dial.found(account.host, account.port)
    else:
        import asyncio

        addresses = await asyncio.to_thread(dial.found, account.host, account.port)
    stream = await dial.connected(
        account.host, account.port, addresses, way, seconds(Phase.CONNECT, timeout), tell
    )
    if account.tls == "implicit":
        try:
            await handshake(stream, account, timeout, tell)
        except BaseException:
            stream.abort()
            raise
    return stream


class Ahead:
    """A connection to ACCOUNT's server that is made in a thread while its user writes files."""

    def __init__(self, account: Account, timeout: float | None) -> None:
        import threading

        self._stream: Stream | None = None
        self._error: BaseException | None = None
        self._given_up = False
        self._thread = threading.Thread(target=self._make, args=(account, timeout), daemon=True)
        self._thread.start()

    def _make(self, account: Account, timeout: float | None) -> None:
        try:
            self._stream = run(dialled(account, None, timeout, quiet))
        except BaseException as error:
            self._error = error
        if self._given_up and self._stream is not None:
            self._stream.abort()

    def take(self) -> Stream:
        """Wait for it and return it.  Raises what `dialled` does."""
        self._thread.join()
        if self._stream is None:
            assert self._error is not None
            raise self._error
        return self._stream

    def give_up(self) -> None:
        """Drop it, now or when it is made."""
        self._given_up = True
        if self._stream is not None:
            self._stream.abort()


async def handshake(stream: Stream, account: Account, timeout: float | None, tell: Tell) -> None:
    """Make STREAM a verified TLS connection and tell what was found."""
    from smtps.net import tls

    made = tls.context(account.ca_file)
    try:
        found = await stream.start_tls(made, seconds(Phase.HANDSHAKE, timeout))
    except CertificateError as error:
        _tell_chain(error.chain, tell)
        tell(f"- Status: The certificate is NOT trusted: {error.details.get('reason')}.")
        raise
    _tell_chain(found.chain, tell)
    tell(f"- Status: The certificate is trusted, and it is for {account.host}.")
    tell(f"- TLS: {found.version}, {found.cipher}")
    tell("- Handshake was completed")


def _tell_chain(chain: tuple[bytes, ...], tell: Tell) -> None:
    if tell is quiet:
        return
    from smtps.trust import certificate

    for line in certificate.told(chain):
        tell(visible(line))


def quiet(line: str) -> None:
    """Tell nobody."""

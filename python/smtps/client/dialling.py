"""From an account to a stream, telling on the way what happens and whom it reached."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from smtps.client.account import Account, is_loopback
from smtps.client.timeouts import seconds
from smtps.client.trusting import Trust
from smtps.errors import CertificateError, ConfigurationError, PassphraseError
from smtps.net import dial
from smtps.net.streams import Stream, Way, run
from smtps.protocol.steps import Phase
from smtps.protocol.visible import visible

if TYPE_CHECKING:
    import ssl

Tell = Callable[[str], None]


async def dialled(
    account: Account, way: Way | None, timeout: float | None, tell: Tell, trust: Trust
) -> Stream:
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
    if account.this_machine_only:
        _check_addresses(account, addresses)
    stream = await dial.connected(
        account.host, account.port, addresses, way, seconds(Phase.CONNECT, timeout), tell
    )
    if account.tls == "implicit":
        await handshake(stream, account, timeout, tell, trust)
    return stream


def _check_addresses(account: Account, addresses: list[dial.Address]) -> None:
    """Raise ConfigurationError unless ADDRESSES are this machine's: a name may be anything's."""
    for _, address in addresses:
        if not is_loopback(str(address[0])):
            raise ConfigurationError(
                f"{account.host} is {dial.shown(address)}, which is not this machine: without TLS "
                "nothing is sent there. Use TLS, or name 127.0.0.1."
            )


class Ahead:
    """A connection to ACCOUNT's server that is made in a thread while its user writes files."""

    def __init__(self, account: Account, timeout: float | None, trust: Trust) -> None:
        import signal
        import threading

        self._stream: Stream | None = None
        self._error: BaseException | None = None
        self._given_up = False
        self._thread = threading.Thread(
            target=self._make, args=(account, timeout, trust), daemon=True
        )
        # A signal is for who waits for its result: here it would get by what that one holds back.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            self._thread.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _make(self, account: Account, timeout: float | None, trust: Trust) -> None:
        try:
            self._stream = run(dialled(account, None, timeout, quiet, trust))
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


async def handshake(
    stream: Stream, account: Account, timeout: float | None, tell: Tell, trust: Trust
) -> None:
    """Make STREAM a TLS connection, verified or to a pinned key, and tell what was found.

    Raises CertificateError, TlsError, PassphraseError, NetworkError or ConfigurationError; the
    stream is dropped then, so that nothing can be sent to whom it reached.
    """
    try:
        await _shaken(stream, account, timeout, tell, trust)
    except BaseException:
        stream.abort()
        raise


async def _shaken(
    stream: Stream, account: Account, timeout: float | None, tell: Tell, trust: Trust
) -> None:
    keys = trust.keys(account)
    made = await _context(account, trust, not keys)
    try:
        found = await stream.start_tls(made, seconds(Phase.HANDSHAKE, timeout))
    except CertificateError as error:
        _tell_chain(error.chain, tell)
        refused = _refused(account, error, trust)
        tell(f"- Status: The certificate is NOT trusted: {refused.details['reason']}.")
        raise refused from None
    _tell_chain(found.chain, tell)
    if keys:
        _check_key(account, found.chain, keys, trust, tell)
        taken = "is pinned to" if trust.pinned(account) else "was trusted with for this once"
        tell(f"- Status: The key is the one that {account.host} {taken}.")
    else:
        tell(f"- Status: The certificate is trusted, and it is for {account.host}.")
    tell(
        f"- TLS: {found.version}, {found.cipher} ({found.bits} bits), "
        f"key exchange {found.group or 'unknown'}"
    )
    tell("- Handshake was completed")


async def unlocked(account: Account, trust: Trust) -> None:
    """See that ACCOUNT's client key can be opened, and have its passphrase asked for.

    For who reads the terminal afterwards: of two readers either could get what is typed.
    Raises PassphraseError, LoginError or ConfigurationError.
    """
    if account.client_certificate is not None:
        await _context(account, trust, True)


async def _context(account: Account, trust: Trust, verify: bool) -> ssl.SSLContext:
    """Return the context for ACCOUNT's server; its client's key may want a passphrase."""
    from smtps.net import tls

    if account.client_certificate is None:
        return tls.context(account.ca_file, None, verify)
    # An impostor would be shown our certificate before the key can be compared.
    key = account.client_key or account.client_certificate
    while True:
        client = tls.ClientCertificate(
            account.client_certificate, account.client_key, trust.known(key)
        )
        try:
            return tls.context(account.ca_file, client)
        except PassphraseError as error:
            await trust.passphrase(account, error)


def _refused(account: Account, error: CertificateError, trust: Trust) -> CertificateError:
    """Return ERROR in words, with the line that would pin the server's key."""
    from smtps.trust import certificate, pins, verdict

    key = certificate.key(error.chain[0]) if error.chain else None
    offer = ""
    if account.client_certificate is not None:
        # See `_context`.
        key = None
        offer = (
            "Where a client certificate is shown, a pin does not do: name its authority, or the "
            "certificate itself if it is signed by itself, with --ca-file or :ca-file."
        )
    elif key and trust.pins is not None:
        offer = (
            "To trust its key all the same, compare it with what its administrator says, and "
            f"add the line “{pins.line(account.host, account.port, key)}” to {trust.pins}."
        )
    code = error.details.get("code")
    refused = verdict.refused(
        account.host,
        code if isinstance(code, int) else 0,
        str(error.details.get("message")),
        [visible(name, 100) for name in certificate.names(error.chain[0])] if error.chain else [],
        offer,
    )
    refused.chain = error.chain
    refused.details |= {"key": key, "port": account.port}
    return refused


def _check_key(
    account: Account, chain: tuple[bytes, ...], keys: tuple[str, ...], trust: Trust, tell: Tell
) -> None:
    """Raise CertificateError unless the server of CHAIN has one of the KEYS."""
    from smtps.trust import certificate, verdict

    shown = certificate.key(chain[0]) if chain else None
    if shown not in keys:
        pinned = trust.pinned(account)
        error = verdict.another_key(
            account.host, account.port, shown or "none", str(trust.pins) if pinned else None
        )
        if not pinned:
            trust.forget(account)
            error.details |= {"key": shown, "port": account.port}
        tell(f"- Status: The certificate is NOT trusted: {error.details['reason']}.")
        raise error


def _tell_chain(chain: tuple[bytes, ...], tell: Tell) -> None:
    if tell is quiet:
        return
    from smtps.trust import certificate

    for line in certificate.told(chain):
        tell(visible(line))


def quiet(line: str) -> None:
    """Tell nobody."""

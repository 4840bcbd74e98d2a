"""Whom to trust beside the authorities, and what we show of ourselves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from pathlib import Path

from smtps.client.account import Account
from smtps.errors import PassphraseError

Passphrase = Callable[[Account, str], Awaitable[str]]
"""Fetches the passphrase of an account's client key, whose file is named.  Raises LoginError."""


class Trust:
    """The pins in the file at PINS (None: none), and keys that were accepted for this once.

    OFFERS is the file in which is noted what servers offered last.
    """

    def __init__(
        self,
        pins: Path | None = None,
        passphrase: Passphrase | None = None,
        offers: Path | None = None,
    ) -> None:
        self.pins = pins
        self._offers = offers
        self._passphrase = passphrase
        self._once: dict[tuple[str, int], str] = {}
        self._passphrases: dict[str, str] = {}

    def once(self, host: str, port: int, key: str) -> None:
        """Take KEY, a pin, for HOST's at PORT as long as this process lives."""
        self._once[_server(host, port)] = key

    def forget(self, account: Account) -> None:
        """Forget the key that was accepted for this once: ACCOUNT's server has another one."""
        self._once.pop(_server(account.host, account.port), None)

    def keys(self, account: Account) -> tuple[str, ...]:
        """Return the keys of which ACCOUNT's server has to show one; none: authorities decide.

        Raises ConfigurationError.
        """
        once = self._once.get(_server(account.host, account.port))
        return self.pinned(account) or ((once,) if once else ())

    def pinned(self, account: Account) -> tuple[str, ...]:
        """Return the keys that ACCOUNT's server is pinned to.  Raises ConfigurationError."""
        if self.pins is None or not _is_there(self.pins):
            return ()
        from smtps.trust import pins

        return pins.of(self.pins, account.host, account.port)

    def noted(self, account: Account, protected: bool, offered: Collection[str]) -> list[str]:
        """Note what ACCOUNT's server OFFERED, in clear or PROTECTED; return warnings."""
        if self._offers is None:
            return []
        from smtps.trust import offers

        layer = "tls" if protected else "clear"
        server = f"{account.host.lower()} {account.port} {layer}"
        return [
            f"{account.host} offered {name} last time and no longer does: somebody may be in "
            "between, or the server was changed."
            for name in offers.noted(self._offers, server, offered)
        ]

    async def passphrase(self, account: Account, error: PassphraseError) -> str:
        """Return the passphrase of ACCOUNT's client key, for which ERROR asks; else raise it."""
        file = str(error.details["file"])
        if self._passphrase is None:
            raise error
        if file not in self._passphrases:
            self._passphrases[file] = await self._passphrase(account, file)
            return self._passphrases[file]
        # It was not the right one.
        del self._passphrases[file]
        raise error

    def known(self, file: str) -> str:
        """Return the passphrase that was given for FILE, "" if none was."""
        return self._passphrases.get(file, "")


def _server(host: str, port: int) -> tuple[str, int]:
    return host.lower().removesuffix("."), port


def _is_there(path: Path) -> bool:
    """Return False if there surely is no file at PATH: a pin may not be overlooked."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def of_user(passphrase: Passphrase | None = None) -> Trust:
    """Return the trust of whoever runs this: the pins in their home."""
    from smtps.trust import offers, pins

    return Trust(pins.default(), passphrase, offers.default())

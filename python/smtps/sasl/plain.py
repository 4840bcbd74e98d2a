"""PLAIN (RFC 4616)."""

from __future__ import annotations

from smtps.sasl.exchange import Exchange, readings


class Plain(Exchange):
    """One message: authorization identity (empty), NUL, user, NUL, password, in UTF-8.

    Nothing is prepared (SASLprep): that is for the server, which alone knows what it stored.
    """

    name = "PLAIN"
    single = True

    def __init__(self, user: str, password: str) -> None:
        self._user = user
        self._password = password

    def initial(self) -> bytes:
        """The credentials."""
        return f"\0{self._user}\0{self._password}".encode()

    @property
    def secrets(self) -> tuple[bytes, ...]:
        """The password."""
        return readings(self._password)

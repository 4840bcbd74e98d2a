"""LOGIN (draft-murchison-sasl-login): obsolete, and what many servers still ask for."""

from __future__ import annotations

from smtps.sasl.exchange import Exchange, readings


class Login(Exchange):
    """User name and password, each to a prompt.  Prompts are counted, not read."""

    name = "LOGIN"
    kinds = ("username", "password")

    def __init__(self, user: str, password: str) -> None:
        self._user = user
        self._password = password
        self._left = [password, user]

    def respond(self, challenge: bytes) -> bytes:
        """The user name to the first prompt, the password to the second."""
        if not self._left:
            return super().respond(challenge)
        return self._left.pop().encode()

    @property
    def secrets(self) -> tuple[bytes, ...]:
        """The password."""
        return readings(self._password)

"""LOGIN (draft-murchison-sasl-login): obsolete, and what many servers still ask for."""

from __future__ import annotations

import base64

from smtps.errors import LoginError


class Login:
    """User name and password, each to a prompt.  Prompts are counted, not read."""

    name = "LOGIN"
    single = False
    masks = ("<the-base64-username>", "<the-base64-password>")

    def __init__(self, user: str, password: str) -> None:
        self.user = user
        self.password = password
        self._answers = 0

    def initial(self) -> None:
        """The server speaks first."""
        return

    def respond(self, challenge: bytes) -> bytes:
        """The user name to the first prompt, the password to the second."""
        self._answers += 1
        if self._answers > 2:
            raise LoginError("The server asks for more than LOGIN has.")
        return (self.user if self._answers == 1 else self.password).encode()

    def succeeded(self, challenge: bytes | None) -> None:
        """LOGIN proves nothing about the server."""

    @property
    def secrets(self) -> tuple[bytes, ...]:
        """The password, in clear and in base64."""
        clear = self.password.encode()
        return (clear, base64.b64encode(clear))

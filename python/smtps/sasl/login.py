"""LOGIN (draft-murchison-sasl-login): obsolete, and what many servers still ask for."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field

from smtps.errors import LoginError


@dataclass
class Login:
    """User name and password, each to a prompt.  Prompts are counted, not read."""

    user: str
    password: str = field(repr=False)
    name: str = "LOGIN"
    single: bool = False
    masks: tuple[str, ...] = ("<the-base64-username>", "<the-base64-password>")
    _answers: int = 0

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

"""PLAIN (RFC 4616)."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field

from smtps.errors import LoginError


@dataclass(frozen=True)
class Plain:
    """One message: authorization identity (empty), NUL, user, NUL, password, in UTF-8."""

    user: str
    password: str = field(repr=False)
    name: str = "PLAIN"
    single: bool = True
    masks: tuple[str, ...] = ("<the-encoded-auth-credentials>",)

    def __post_init__(self) -> None:
        if "\0" in self.user + self.password:
            raise LoginError("A user name or password with a NUL in it can't be sent by PLAIN.")

    def initial(self) -> bytes:
        """The credentials."""
        return f"\0{self.user}\0{self.password}".encode()

    def respond(self, challenge: bytes) -> bytes:
        """There is nothing more to say."""
        raise LoginError("The server asks for more than PLAIN has.")

    def succeeded(self, challenge: bytes | None) -> None:
        """PLAIN proves nothing about the server."""

    @property
    def secrets(self) -> tuple[bytes, ...]:
        """The password, in clear and alone in base64."""
        clear = self.password.encode()
        return (clear, base64.b64encode(clear))

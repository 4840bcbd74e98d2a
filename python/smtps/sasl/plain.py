"""PLAIN (RFC 4616)."""

from __future__ import annotations

import base64

from smtps.errors import LoginError


class Plain:
    """One message: authorization identity (empty), NUL, user, NUL, password, in UTF-8."""

    name = "PLAIN"
    single = True
    masks = ("<the-encoded-auth-credentials>",)

    def __init__(self, user: str, password: str) -> None:
        if "\0" in user + password:
            raise LoginError("A user name or password with a NUL in it can't be sent by PLAIN.")
        self.user = user
        self.password = password

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

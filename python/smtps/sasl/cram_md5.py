"""CRAM-MD5 (RFC 2195)."""

from __future__ import annotations

import hashlib
import hmac
from functools import partial

from smtps.errors import ChallengeError
from smtps.sasl.exchange import Exchange, readings


class CramMd5(Exchange):
    """The user and a keyed digest of the server's challenge; the server proves nothing."""

    name = "CRAM-MD5"
    kinds = ("response",)

    def __init__(self, user: str, password: str) -> None:
        self._user = user
        self._password = password
        self._answered = False

    def respond(self, challenge: bytes) -> bytes:
        """User, space, digest."""
        if self._answered:
            return super().respond(challenge)
        if not challenge:
            raise ChallengeError("The server's challenge for CRAM-MD5 is empty.")
        self._answered = True
        md5 = partial(hashlib.md5, usedforsecurity=False)
        digest = hmac.new(self._password.encode(), challenge, md5).hexdigest()
        return f"{self._user} {digest}".encode()

    @property
    def secrets(self) -> tuple[bytes, ...]:
        """The password."""
        return readings(self._password)

"""SCRAM-SHA-1, -SHA-256 and -SHA-512 (RFC 5802, RFC 7677), with channel binding as -PLUS.

The messages and proofs are the library scramp's, which is handed one mechanism at a time: of
several it would take the weakest that has a binding.
"""

from __future__ import annotations

import re
from typing import Any

from smtps.errors import ChallengeError, LoginError
from smtps.sasl import binding
from smtps.sasl.exchange import CREDENTIALS, RESPONSE, Exchange, readings, text_of

PLUS = "-PLUS"

ITERATIONS_LEAST = 4096
"""RFC 5802 section 5.1, RFC 7677 section 4: with fewer the password could be guessed."""

ITERATIONS_MOST = 1_000_000
"""A second of work; with more a server could keep us busy for ever."""

_ITERATIONS = re.compile(r"(?:^|,)i=([0-9]+)(?:,|$)")


class Scram(Exchange):
    """A proof of the password without it, and the server's proof in turn.

    BOUND is the channel's binding: used where NAME ends in -PLUS; else it tells the server
    that we could have used it, had it been offered.  UNBOUND is the mechanism to try once
    where -PLUS is refused, None for none.
    """

    masks = (CREDENTIALS, RESPONSE)

    def __init__(
        self,
        name: str,
        user: str,
        password: str,
        bound: bytes | None = None,
        unbound: str | None = None,
        nonce: str | None = None,
    ) -> None:
        self.name = name
        self._user = user
        self._password = password
        self._bound = bound
        self._unbound = unbound
        self._nonce = nonce
        self._client: Any = None
        self._finished = False
        self._proven = False

    def initial(self) -> bytes:
        """The client's first message."""
        from scramp import ScramClient

        self._client = ScramClient(
            [self.name],
            _Raw.USER,
            "",
            None if self._bound is None else (binding.NAME, self._bound),
            self._nonce,
        )
        self._client.username = _Raw(self._user)
        self._client.password = _Raw(self._password)
        first: str = self._client.get_client_first()
        return first.encode()

    def respond(self, challenge: bytes) -> bytes:
        """The client's last message; then nothing, to the server's proof."""
        from scramp import ScramException

        if self._proven or self.told is not None:
            return super().respond(challenge)
        text = text_of(challenge, self.name)
        if text.startswith("e="):
            # RFC 5802 section 7: why it refuses.  The reply that does so comes then.
            self.told = text[2:]
            return b""
        try:
            return self._last(text) if self._finished else self._proof(text)
        except ScramException:
            raise ChallengeError(f"The server's challenge for {self.name} can't be used.") from None

    def _proof(self, text: str) -> bytes:
        found = _ITERATIONS.search(text)
        count = int(found[1][:9]) if found else None
        if count is not None and not ITERATIONS_LEAST <= count <= ITERATIONS_MOST:
            raise LoginError(
                f"The server asks for {count} rounds of {self.name}; fewer than "
                f"{ITERATIONS_LEAST} would give the password away, and more than "
                f"{ITERATIONS_MOST} take too long. Nothing of the password was sent."
            )
        self._client.set_server_first(text)
        last: str = self._client.get_client_final()
        self._finished = True
        return last.encode()

    def _last(self, text: str) -> bytes:
        from scramp import ScramException

        try:
            self._client.set_server_final(text)
        except ScramException:
            raise LoginError(
                f"The server could not prove that it knows the password ({self.name}'s signature "
                "is wrong), so it gets no mail."
            ) from None
        self._proven = True
        return b""

    def succeeded(self) -> None:
        """Raises LoginError if the server's proof did not come."""
        if not self._proven:
            raise LoginError(
                "The server took the login without a proof that it knows the password "
                f"({self.name}'s signature), so it gets no mail."
            )

    def again(self) -> Exchange | None:
        """The same without channel binding: a proxy that ends TLS may be in front."""
        if self._unbound is None:
            return None
        return Scram(self._unbound, self._user, self._password)

    @property
    def secrets(self) -> tuple[bytes, ...]:
        """The password, as given and as prepared."""
        return readings(self._password, str(_Raw(self._password)))


class _Raw:
    """User or password for scramp, prepared (RFC 4013) where that can be done.

    What SASLprep forbids, such as an emoji, is taken as it is: servers that took it as a
    password have not prepared it either.
    """

    USER = "user"

    def __init__(self, text: str) -> None:
        from scramp.utils import ScramException, saslprep

        try:
            self._text: str = saslprep(text)
        except ScramException:
            self._text = text

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return "<prepared>"

    def __bytes__(self) -> bytes:
        return self._text.encode()

    def escape(self) -> str:
        """The text as a saslname (RFC 5802 section 7)."""
        return self._text.replace("=", "=3D").replace(",", "=2C")

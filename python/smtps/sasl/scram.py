"""SCRAM-SHA-1, -SHA-256 and -SHA-512 (RFC 5802, RFC 7677), with channel binding as -PLUS.

The messages and proofs are the library scramp's, which is handed one mechanism at a time: of
several it would take the weakest that has a binding.
"""

from __future__ import annotations

import base64
import re
from typing import Any

from smtps.errors import ChallengeError, LoginError
from smtps.sasl import binding
from smtps.sasl.exchange import Exchange, readings, text_of

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
    where -PLUS is refused, None for none.  PREPARED tells to prepare user and password (RFC
    4013), which is right, and yet not what every server did to what it stored.
    """

    kinds = ("credentials", "response")

    def __init__(
        self,
        name: str,
        user: str,
        password: str,
        bound: bytes | None = None,
        unbound: str | None = None,
        nonce: str | None = None,
        prepared: bool = True,
    ) -> None:
        self.name = name
        self._user = user
        self._password = password
        self._bound = bound
        self._unbound = unbound
        self._nonce = nonce
        self._prepared = prepared
        self._client: Any = None
        self._finished = False
        self._proven = False

    def initial(self) -> bytes:
        """The client's first message."""
        from scramp import ScramClient

        self._client = ScramClient(
            [self.name],
            "user",
            "",
            None if self._bound is None else (binding.NAME, self._bound),
            self._nonce,
        )
        # scramp prepares all text itself, and takes none that can't be.
        self._client.username = _Text(self._text(self._user))
        self._client.password = _Text(self._text(self._password))
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
        """The same without channel binding, since a proxy that ends TLS may be in front; or
        without preparation."""
        if self._unbound is not None:
            return Scram(self._unbound, self._user, self._password)
        if self._prepared and any(self._text(t) != t for t in (self._user, self._password)):
            return Scram(self.name, self._user, self._password, self._bound, prepared=False)
        return None

    def _text(self, text: str) -> str:
        """Return TEXT prepared where it is to be and can be: SASLprep forbids an emoji."""
        from scramp.utils import ScramException, saslprep

        if not self._prepared:
            return text
        try:
            return str(saslprep(text))
        except ScramException:
            return text

    @property
    def secrets(self) -> tuple[bytes, ...]:
        """The password, as given and as prepared, and the server's proof of it.

        Whoever reads that beside the other challenges can try passwords until one fits.
        """
        proof = [base64.b64encode(self._client.server_signature)] if self._finished else []
        return (*readings(self._password, self._text(self._password)), *proof)


class _Text:
    """User or password as scramp's own classes have them."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __bytes__(self) -> bytes:
        return self._text.encode()

    def escape(self) -> str:
        """The text as a saslname (RFC 5802 section 7)."""
        return self._text.replace("=", "=3D").replace(",", "=2C")

"""OAUTHBEARER (RFC 7628) and XOAUTH2 (Google's): a token instead of a password."""

from __future__ import annotations

from smtps.errors import LoginError
from smtps.sasl.exchange import Exchange, readings

TOLD = ("status", "error", "error_description", "scope", "schemes", "openid-configuration")
"""What is told of the server's JSON (RFC 7628 3.2.2), in this order."""


class _Oauth(Exchange):
    """A token in one message.  On failure the server explains, and wants an answer to that."""

    advice = "Check the user name, and get a new token."
    acknowledged = b""
    """What is answered to the explanation."""

    def __init__(self, user: str, token: str, host: str, port: int) -> None:
        if not token or not all("!" <= character <= "~" for character in token):
            raise LoginError(
                f"What was given as the secret is no token for {self.name}: a token is one word "
                "of ASCII characters."
            )
        if "\1" in user:
            raise LoginError("A user name with a control character in it can't be sent.")
        self._user = user
        self._token = token
        self._host = host
        self._port = port

    def respond(self, challenge: bytes) -> bytes:
        """Acknowledge why the token is refused; the reply that refuses comes then."""
        if self.told is not None:
            return super().respond(challenge)
        self.told = _explained(challenge)
        return self.acknowledged

    def succeeded(self) -> None:
        """Raises LoginError if the server took what it had refused."""
        if self.told is not None:
            raise LoginError("The server refused the token, and then took it.")

    @property
    def secrets(self) -> tuple[bytes, ...]:
        """The token."""
        return readings(self._token)


class OauthBearer(_Oauth):
    """RFC 7628 section 3.1."""

    name = "OAUTHBEARER"
    acknowledged = b"\1"

    def initial(self) -> bytes:
        """GS2 header with the user, host, port, token."""
        user = self._user.replace("=", "=3D").replace(",", "=2C")
        header = f"n,a={user}," if user else "n,,"
        parts = (header, f"host={self._host}", f"port={self._port}", f"auth=Bearer {self._token}")
        return "".join(f"{part}\1" for part in (*parts, "")).encode()


class Xoauth2(_Oauth):
    """As Google documents it; Microsoft has the same."""

    name = "XOAUTH2"

    def initial(self) -> bytes:
        """User and token."""
        return f"user={self._user}\1auth=Bearer {self._token}\1\1".encode()


def _explained(challenge: bytes) -> str:
    """Return in words what the JSON in CHALLENGE says; it may be anything, or nothing.

    It is whole: of a token that was cut nobody could tell that it is one.
    """
    import json

    try:
        said = json.loads(challenge)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        return challenge.decode("utf-8", "replace").strip()
    parts = [
        f"{name}: {said[name]}"
        for name in TOLD
        if isinstance(said.get(name), str | int) and said[name] != ""
    ]
    return "; ".join(parts)

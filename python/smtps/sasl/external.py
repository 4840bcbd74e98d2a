"""EXTERNAL (RFC 4422 appendix A): TLS's client certificate has said who we are."""

from __future__ import annotations

from smtps.sasl.exchange import Exchange


class External(Exchange):
    """The user to act as; empty for the one that the certificate names."""

    name = "EXTERNAL"
    single = True
    secret = False
    advice = "Is the client certificate known there, and may it log in as this user?"

    def __init__(self, user: str) -> None:
        self._user = user

    def initial(self) -> bytes:
        """The authorization identity."""
        return self._user.encode()

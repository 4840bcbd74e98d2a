"""ANONYMOUS (RFC 4505)."""

from __future__ import annotations

from smtps.sasl.exchange import Exchange


class Anonymous(Exchange):
    """Nothing is said: a trace of who it is would be against the purpose."""

    name = "ANONYMOUS"
    single = True
    secret = False
    advice = "Log in in another way."

    def initial(self) -> bytes:
        """No trace information."""
        return b""

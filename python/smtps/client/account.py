"""Where mail is handed in: host, port, TLS, and who logs in."""

from __future__ import annotations

from typing import Any, NamedTuple, Self

from smtps.errors import ConfigurationError
from smtps.protocol.visible import visible

PORTS = {"implicit": 465, "starttls": 587, "none": 25}
"""The ports of RFC 8314 3.3 and RFC 6409 3.1; 25 for what is on this machine."""

TLS_BY_PORT = {465: "implicit", 587: "starttls", 25: "starttls"}


class _Account(NamedTuple):
    host: str
    port: int
    tls: str
    user: str | None = None
    name: str | None = None
    mechanisms: tuple[str, ...] = ()
    ca_file: str | None = None
    password_command: str | None = None
    client_certificate: str | None = None
    client_key: str | None = None
    send_in_clear: bool = False
    author: str | None = None


class Account(_Account):
    """A server and a login.  ``tls`` is implicit, starttls or none; ``user`` None for no login,
    or for that of ``author``, the address of who writes: each has a connection of their own.

    Raises ConfigurationError where the parts do not fit.
    """

    __slots__ = ()

    def __new__(cls, *args: Any, **properties: Any) -> Self:
        """Check that the parts fit."""
        made = super().__new__(cls, *args, **properties)
        host, port, tls = made.host, made.port, made.tls
        if not host or any(ord(c) <= 0x20 or ord(c) == 0x7F for c in host):
            raise ConfigurationError(f"{host!r} is not the name of a host.")
        _port(port)
        if tls not in PORTS:
            raise ConfigurationError(f"{tls!r} is no way of TLS; there are {', '.join(PORTS)}.")
        if made.this_machine_only and not is_loopback(host):
            raise ConfigurationError(
                f"Without TLS the mail and the password could be read on the way to {host}; "
                "“none” is for this machine itself only, unless --send-in-clear or "
                ":send-in-clear says that this may be."
            )
        return made

    @property
    def this_machine_only(self) -> bool:
        """True if nothing protects the connection, and nobody said that it may go further."""
        return self.tls == "none" and not self.send_in_clear

    @property
    def address(self) -> str:
        """Host and port as text."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def is_loopback(host: str) -> bool:
    """Return True if HOST can only be this machine."""
    if host.lower().rstrip(".") == "localhost" or host.lower().endswith(".localhost"):
        return True
    import ipaddress

    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def split_host(text: str) -> tuple[str, int | None]:
    """Split ``HOST``, ``HOST:PORT``, ``[V6]`` or ``[V6]:PORT``.  Raises ConfigurationError."""
    scheme, address, host = text.rpartition("://")
    if address:
        host = host.rstrip("/")
        raise ConfigurationError(
            f"A server is named HOST or HOST:PORT, without “{visible(scheme)}://”: "
            f"“{visible(host)}”, and how it does TLS follows from the port or --tls."
        )
    port = ""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ConfigurationError(f"{text!r} is not a host and a port.")
        port = rest[1:]
        if rest and not port:
            raise ConfigurationError(f"{text!r} has no port behind its colon.")
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
        if not port:
            raise ConfigurationError(f"{text!r} has no port behind its colon.")
    if not port:
        return host, None
    if not (port.isascii() and port.isdigit()):
        raise ConfigurationError(f"{port!r} is no port number.")
    return host, _port(int(port))


def _port(number: int) -> int:
    """Return NUMBER if it is a port.  Raises ConfigurationError."""
    if not 0 < number < 65536:
        raise ConfigurationError(f"{number} is not a port: ports go from 1 to 65535.")
    return number

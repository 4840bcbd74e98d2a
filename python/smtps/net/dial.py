"""From a host and a port to a connected socket."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable

from smtps.errors import HostUnknownError, TimedOutError, UnreachableError
from smtps.net.streams import Stream, Waiting, Way

NAME_LIMIT = 253
"""Characters of a host's name (RFC 1035 2.3.4, of which the root takes two octets)."""

Address = tuple[int, tuple[object, ...]]
"""Address family and socket address."""

Tell = Callable[[str], None]
"""Called with a line that says what is happening."""


def found(host: str, port: int) -> list[Address]:
    """Return the addresses of HOST.  Raises HostUnknownError."""
    if len(host) > NAME_LIMIT:
        raise HostUnknownError(
            f"“{host[:20]}…” is no host's name: it has {len(host)} characters, and a name has at "
            f"most {NAME_LIMIT}."
        )
    if f".{host.lower().rstrip('.')}".endswith(".localhost"):
        # Never asked of anybody: another's answer would lead elsewhere (RFC 6761 6.3).
        return [(socket.AF_INET, ("127.0.0.1", port)), (socket.AF_INET6, ("::1", port, 0, 0))]
    try:
        # What is ASCII needs none of Python's own IDNA, whose tables take long to load.
        name = host.encode("ascii") if host.isascii() else host
        return [
            (family, address)
            for family, _, _, _, address in socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
        ]
    except (socket.gaierror, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise HostUnknownError(f"No address was found for the host {host!r}: {reason}.") from None


def shown(address: tuple[object, ...]) -> str:
    """Return a socket ADDRESS as text."""
    host, port = address[0], address[1]
    return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"


async def connected(
    host: str, port: int, addresses: list[Address], way: Way | None, timeout: float, tell: Tell
) -> Stream:
    """Return a stream to the first of ADDRESSES that answers, each within TIMEOUT seconds.

    Raises UnreachableError or TimedOutError for the last one.
    """
    way = way or Waiting()
    last: Exception | None = None
    for family, address in addresses:
        tell(f"Connecting to '{shown(address)}'...")
        made = socket.socket(family, socket.SOCK_STREAM)
        made.setblocking(False)
        try:
            code = made.connect_ex(address)
            if code == errno.EINPROGRESS:
                await way.writable(made, timeout)
                code = made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code == 0:
                return Stream(made, host, way)
            last = UnreachableError(
                f"{host} can't be reached at {shown(address)}: {os.strerror(code).lower()}.",
                host=host,
            )
        except TimeoutError:
            last = TimedOutError(f"{host} did not answer at {shown(address)}.", host=host)
        except BaseException:
            made.close()
            raise
        made.close()
    raise last or HostUnknownError(f"No address was found for the host {host!r}.")

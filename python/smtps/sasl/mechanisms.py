"""The registry: which mechanisms there are, what each needs, and which one to take."""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from smtps.errors import ConfigurationError, LoginError
from smtps.sasl.anonymous import Anonymous
from smtps.sasl.binding import end_point
from smtps.sasl.cram_md5 import CramMd5
from smtps.sasl.digest_md5 import DigestMd5
from smtps.sasl.exchange import Exchange, checked
from smtps.sasl.external import External
from smtps.sasl.login import Login
from smtps.sasl.oauth import OauthBearer, Xoauth2
from smtps.sasl.plain import Plain
from smtps.sasl.scram import PLUS, Scram

NAMES_LIMIT = 20
"""Names of a server's list that an error repeats."""

_NAME = re.compile("[A-Z0-9_-]{1,20}")
"""RFC 4422 section 3.1; what is none may be anything, and is not repeated."""

FAST = "FAST"
"""The word among the mechanisms that prefers those without a further round trip."""


class Server(NamedTuple):
    """What a mechanism may have to know of the server and the connection to it."""

    host: str
    port: int
    offered: tuple[str, ...]
    """The mechanisms of its EHLO, in capitals."""
    certificate: bytes | None = None
    """In DER, once it is verified; None without TLS."""
    client_certificate: bool = False
    """True if it knows us by one."""


class Needs(enum.Enum):
    """What has to be there for a mechanism."""

    PASSWORD = "password"  # noqa: S105
    TOKEN = "token"  # noqa: S105
    CERTIFICATE = "client certificate"
    NOTHING = "nothing"


class Mechanism(NamedTuple):
    """How to begin one, with the user, the secret, and the names that may be used."""

    begin: Callable[[str, str, Server, Sequence[str]], Exchange]
    needs: Needs = Needs.PASSWORD
    single: bool = False
    """True if it costs one round trip, and can share that."""
    reveals: bool = False
    """True if the password itself is said."""
    unasked: bool = True
    """False: it is used where it is asked for by name only."""


def _scram(name: str) -> Mechanism:
    def begin(user: str, password: str, server: Server, usable: Sequence[str]) -> Exchange:
        if name.endswith(PLUS):
            unbound = name.removesuffix(PLUS)
            return Scram(
                name,
                user,
                password,
                end_point(server.certificate),
                unbound if unbound in usable else None,
            )
        # Where the server has it and it is not used, it may not be said that it could be.
        has_it = any(other.endswith(PLUS) for other in server.offered)
        return Scram(name, user, password, None if has_it else end_point(server.certificate))

    return Mechanism(begin)


REGISTRY: dict[str, Mechanism] = {
    "EXTERNAL": Mechanism(lambda u, p, s, n: External(u), Needs.CERTIFICATE, single=True),
    **{
        f"SCRAM-{digest}{plus}": _scram(f"SCRAM-{digest}{plus}")
        for plus in (PLUS, "")
        for digest in ("SHA-512", "SHA-256", "SHA-1")
    },
    "PLAIN": Mechanism(lambda u, p, s, n: Plain(u, p), single=True, reveals=True),
    "LOGIN": Mechanism(lambda u, p, s, n: Login(u, p), reveals=True),
    "DIGEST-MD5": Mechanism(lambda u, p, s, n: DigestMd5(u, p, s.host)),
    "CRAM-MD5": Mechanism(lambda u, p, s, n: CramMd5(u, p)),
    "OAUTHBEARER": Mechanism(
        lambda u, p, s, n: OauthBearer(u, p, s.host, s.port), Needs.TOKEN, unasked=False
    ),
    "XOAUTH2": Mechanism(
        lambda u, p, s, n: Xoauth2(u, p, s.host, s.port), Needs.TOKEN, unasked=False
    ),
    "ANONYMOUS": Mechanism(
        lambda u, p, s, n: Anonymous(), Needs.NOTHING, single=True, unasked=False
    ),
}
"""Mechanism by registered name, in the order of choice."""


def order(server: Server, wanted: Sequence[str]) -> list[str]:
    """Return the mechanisms that can be used, best first.

    WANTED is the user's list, empty for any.  Without TLS the password itself is said only where
    the user names such a mechanism, or nothing else is offered.  Raises ConfigurationError for an
    unknown one.
    """
    named = [name.upper() for name in wanted if name.upper() != FAST]
    unknown = [name for name in named if name not in REGISTRY]
    if unknown:
        raise ConfigurationError(
            f"{unknown[0]} is no mechanism that smtps has for a login; there are "
            f"{', '.join(REGISTRY)}."
        )
    names = named or [name for name, mechanism in REGISTRY.items() if mechanism.unasked]
    if len(named) < len(wanted) and server.certificate is not None:
        names.sort(key=lambda name: not REGISTRY[name].single)
    found = [name for name in names if name in server.offered and _possible(name, server)]
    if server.certificate is None and not named:
        return [name for name in found if not REGISTRY[name].reveals] or found
    return found


def _possible(name: str, server: Server) -> bool:
    if REGISTRY[name].needs is Needs.CERTIFICATE:
        return server.client_certificate and server.certificate is not None
    return not name.endswith(PLUS) or end_point(server.certificate) is not None


def choose(server: Server, wanted: Sequence[str], failed: Sequence[str]) -> str:
    """Return the mechanism to try next; nothing of the secret has to be known for that.

    WANTED is the user's list, empty for any, FAILED what the server has turned down.  Raises
    LoginError when none is left.
    """
    for name in order(server, wanted):
        if name not in failed:
            return name
    named = [name for name in server.offered if _NAME.fullmatch(name)]
    if not named:
        raise LoginError("The server offers no login (AUTH), and the account has a user name.")
    offered = ", ".join(named[:NAMES_LIMIT]) + (", …" if len(named) > NAMES_LIMIT else "")
    if wanted:
        names = ", ".join(name.upper() for name in wanted)
        text = f"The server offers {offered} for the login; {'no other' if failed else 'none'} "
        raise LoginError(f"{text}of {names} can be used.{_lacking(server, wanted)}")
    text = f"The server offers {offered} for the login; of these none "
    text += "other can be used." if failed else "can be used."
    revealing = [name for name in named if name in REGISTRY and REGISTRY[name].reveals]
    if server.certificate is None and revealing and not set(revealing) & set(failed):
        text += (
            f" {' and '.join(revealing)} would show the password to anybody on the way: that "
            "is done without TLS only where it is named (--auth, :mechanisms)."
        )
    tokens = [n for n in named if n in REGISTRY and REGISTRY[n].needs is Needs.TOKEN]
    if tokens and not failed:
        text += f" With {tokens[0]} named (--auth, :mechanisms) the secret is taken as a token."
    raise LoginError(text + _lacking(server, failed))


def _lacking(server: Server, named: Sequence[str]) -> str:
    """Return a sentence on what EXTERNAL lacks where it is among the NAMED, or the only one."""
    asked = "EXTERNAL" in map(str.upper, named) or server.offered == ("EXTERNAL",)
    if "EXTERNAL" in server.offered and asked and not _possible("EXTERNAL", server):
        return " EXTERNAL needs a client certificate: --client-certificate, :client-certificate."
    return ""


def needs_secret(name: str) -> bool:
    """Return True if the mechanism NAME needs a password or a token."""
    return REGISTRY[name].needs in (Needs.PASSWORD, Needs.TOKEN)


def begin(name: str, user: str, secret: str, server: Server, wanted: Sequence[str]) -> Exchange:
    """Return a run of the mechanism NAME with USER and SECRET.

    Raises LoginError if it can't be made with these.
    """
    checked(user, secret)
    if REGISTRY[name].needs is Needs.PASSWORD and not user:
        raise LoginError(f"No user name is known for the login at {server.host}.")
    return REGISTRY[name].begin(user, secret, server, order(server, wanted))

"""The server's side of a login: each mechanism as a generator of challenges.

A generator yields a challenge, gets the client's decoded response, and returns the user
that logged in, or None.  Another mechanism is another generator and a line in `MECHANISMS`.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass

from smtps.sasl.binding import NAME

Login = Generator[bytes, bytes, str | None]
Logins = Mapping[str, str]
"""Password by user."""

REALM = "localhost"

SCRAM = ("SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512")


def _same(one: str, other: str) -> bool:
    # compare_digest takes no text outside ASCII, and a client may send any.
    return hmac.compare_digest(one.encode(), other.encode())


def _right(logins: Logins, user: str, password: str) -> str | None:
    known = logins.get(user)
    return user if known is not None and _same(known, password) else None


def _text(octets: bytes) -> str:
    return octets.decode("utf-8", "replace")


def plain(logins: Logins) -> Login:
    """RFC 4616; the first challenge is empty.  Nobody may act for another."""
    parts = [_text(part) for part in (yield b"").split(b"\0")]
    if len(parts) != 3 or parts[0] not in ("", parts[1]):
        return None
    return _right(logins, parts[1], parts[2])


def login(logins: Logins) -> Login:
    """The prompts come for an unknown user too, as in the documented dialogue."""
    user = yield b"Username:"
    password = yield b"Password:"
    return _right(logins, _text(user), _text(password))


def cram_md5(logins: Logins) -> Login:
    """RFC 2195."""
    challenge = f"<{secrets.token_hex(8)}@{REALM}>".encode()
    response = yield challenge
    user, _, digest = _text(response).rpartition(" ")
    known = logins.get(user)
    if known is None:
        return None
    right = hmac.new(known.encode(), challenge, "md5").hexdigest()
    return user if _same(right, digest) else None


_FIELD = re.compile(r'\s*([a-z-]+)=(?:"((?:[^"\\]|\\.)*)"|([^",\s]*))\s*(?:,|$)', re.DOTALL)


def _md5(data: bytes) -> hashlib._Hash:
    return hashlib.md5(data, usedforsecurity=False)


def _octets(text: str) -> bytes:
    """RFC 2831 2.1.2.1: what fits ISO 8859-1 is hashed in it."""
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode()


def _fields(response: bytes) -> dict[str, str] | None:
    """Read a digest-response; None where it isn't one.  Source: RFC 2831 section 2.1.2."""
    # Without charset=utf-8 it is ISO 8859-1.
    utf8 = re.search(rb'(?:^|,)\s*charset="?utf-8"?\s*(?:,|$)', response) is not None
    text = response.decode("utf-8" if utf8 else "latin-1", "replace")
    fields: dict[str, str] = {}
    at = 0
    while at < len(text):
        match = _FIELD.match(text, at)
        if match is None or match[1] in fields:
            return None
        quoted = match[2]
        fields[match[1]] = match[3] if quoted is None else re.sub(r"(?s)\\(.)", r"\1", quoted)
        at = match.end()
    return fields


def digest_md5(logins: Logins) -> Login:
    """RFC 2831, quality of protection auth only; the server proves itself too."""
    nonce = secrets.token_hex(16)
    response = yield (
        f'realm="{REALM}",nonce="{nonce}",qop="auth",charset=utf-8,algorithm=md5-sess'.encode()
    )
    fields = _fields(response)
    if fields is None:
        return None
    user, uri, cnonce = (fields.get(name, "") for name in ("username", "digest-uri", "cnonce"))
    known = logins.get(user)
    fields.setdefault("qop", "auth")
    wanted = {"nonce": nonce, "nc": "00000001", "realm": REALM, "qop": "auth"}
    if (
        known is None
        or not cnonce
        or not uri.lower().startswith("smtp/")
        or fields.get("authzid", user) != user
        or any(fields.get(name) != value for name, value in wanted.items())
    ):
        return None
    secret = _md5(b":".join(map(_octets, (user, REALM, known)))).digest()
    a1 = secret + f":{nonce}:{cnonce}".encode()
    if "authzid" in fields:
        a1 += f":{user}".encode()

    def proof(verb: str) -> str:
        a2 = _md5(f"{verb}:{uri}".encode()).hexdigest()
        text = f"{_md5(a1).hexdigest()}:{nonce}:00000001:{cnonce}:auth:{a2}"
        return _md5(text.encode()).hexdigest()

    if not _same(proof("AUTHENTICATE"), fields.get("response", "")):
        return None
    yield f"rspauth={proof('')}".encode()
    return user


def scram(name: str, binding: bytes | None = None) -> Callable[[Logins], Login]:
    """RFC 5802 by the mechanism NAME; BINDING is the channel's, where -PLUS is offered."""

    def begin(logins: Logins) -> Login:
        from scramp import ScramException, ScramMechanism

        mechanism = ScramMechanism(name)
        user = ""

        def found(named: str) -> object:
            nonlocal user
            user = named
            return mechanism.make_auth_info(logins[user]) if user in logins else None

        server = mechanism.make_server(found, binding and (NAME, binding))
        try:
            server.set_client_first(_text((yield b"")))
            server.set_client_final(_text((yield server.get_server_first().encode())))
        except ScramException:
            return None
        yield server.get_server_final().encode()
        return user

    return begin


def _token(logins: Logins, user: str, fields: list[str]) -> Login:
    if f"auth=Bearer {logins.get(user)}" in fields and user in logins:
        return user
    yield b'{"status":"invalid_token","scope":"mail"}'
    return None


def oauthbearer(logins: Logins) -> Login:
    """RFC 7628; the user's token is its password."""
    header, *fields = _text((yield b"")).split("\1")
    user = header.removeprefix("n,a=").removesuffix(",").replace("=2C", ",").replace("=3D", "=")
    return (yield from _token(logins, user, fields))


def xoauth2(logins: Logins) -> Login:
    """Google's; the user's token is its password."""
    user, *fields = _text((yield b"")).split("\1")
    return (yield from _token(logins, user.removeprefix("user="), fields))


def anonymous(logins: Logins) -> Login:
    """RFC 4505."""
    yield b""
    return "anonymous"


@dataclass(frozen=True)
class Mechanism:
    """How a login goes; whether its first response may stand beside AUTH (RFC 4954 section 4)."""

    begin: Callable[[Logins], Login]
    client_first: bool


MECHANISMS: dict[str, Mechanism] = {
    # LOGIN's first prompt is answered beforehand by many clients, and by many servers taken so.
    "LOGIN": Mechanism(login, client_first=True),
    "PLAIN": Mechanism(plain, client_first=True),
    "CRAM-MD5": Mechanism(cram_md5, client_first=False),
    "DIGEST-MD5": Mechanism(digest_md5, client_first=False),
    **{name: Mechanism(scram(name), client_first=True) for name in SCRAM},
    "OAUTHBEARER": Mechanism(oauthbearer, client_first=True),
    "XOAUTH2": Mechanism(xoauth2, client_first=True),
    "ANONYMOUS": Mechanism(anonymous, client_first=True),
}

NAMES = (*MECHANISMS, *(f"{name}-PLUS" for name in SCRAM))
"""All that a sandbox can offer."""


def bound(binding: bytes) -> dict[str, Mechanism]:
    """Return the mechanisms that know the channel's BINDING (RFC 5802 section 6)."""
    return {
        f"{name}{plus}": Mechanism(scram(f"{name}{plus}", binding), client_first=True)
        for name in SCRAM
        for plus in ("", "-PLUS")
    }

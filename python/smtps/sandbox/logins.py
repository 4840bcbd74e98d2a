"""The server's side of a login: each mechanism as a generator of challenges.

A generator yields a challenge, gets the client's decoded response, and returns the user
that logged in, or None.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Generator, Mapping

Login = Generator[bytes, bytes, str | None]
Logins = Mapping[str, str]
"""Password by user."""

REALM = "localhost"


def _right(logins: Logins, user: str, password: str) -> str | None:
    known = logins.get(user)
    if known is None or not hmac.compare_digest(known.encode(), password.encode()):
        return None
    return user


def plain(logins: Logins) -> Login:
    """RFC 4616; the first challenge is empty."""
    parts = (yield b"").split(b"\0")
    if len(parts) != 3:
        return None
    return _right(logins, parts[1].decode("utf-8", "replace"), parts[2].decode("utf-8", "replace"))


def login(logins: Logins) -> Login:
    """The prompts come for an unknown user too, as in the documented dialogue."""
    user = yield b"Username:"
    password = yield b"Password:"
    return _right(logins, user.decode("utf-8", "replace"), password.decode("utf-8", "replace"))


def cram_md5(logins: Logins) -> Login:
    """RFC 2195."""
    challenge = f"<{secrets.token_hex(8)}@{REALM}>".encode()
    response = yield challenge
    user, _, digest = response.decode("utf-8", "replace").rpartition(" ")
    known = logins.get(user)
    if known is None:
        return None
    right = hmac.new(known.encode(), challenge, "md5").hexdigest()
    return user if hmac.compare_digest(right.encode(), digest.encode()) else None


_FIELD = re.compile(r'([a-z-]+)=(?:"((?:[^"\\]|\\.)*)"|([^,]*))(?:,|$)')


def _md5(data: bytes) -> hashlib._Hash:
    return hashlib.md5(data, usedforsecurity=False)


def _octets(text: str) -> bytes:
    """RFC 2831 2.1.2.1: what fits ISO 8859-1 is hashed in it."""
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode()


def digest_md5(logins: Logins) -> Login:
    """RFC 2831, quality of protection auth only."""
    nonce = secrets.token_hex(16)
    response = yield (
        f'realm="{REALM}",nonce="{nonce}",qop="auth",charset=utf-8,algorithm=md5-sess'.encode()
    )
    fields = {
        name: re.sub(r"\\(.)", r"\1", quoted) if quoted else bare
        for name, quoted, bare in _FIELD.findall(response.decode("utf-8", "replace"))
    }
    known = logins.get(fields.get("username", ""))
    if known is None or fields.get("nonce") != nonce or fields.get("nc") != "00000001":
        return None
    secret = _md5(
        b":".join(map(_octets, (fields["username"], fields.get("realm", ""), known)))
    ).digest()
    a1 = _md5(secret + f":{nonce}:{fields.get('cnonce', '')}".encode()).hexdigest()

    def expected(verb: str) -> str:
        a2 = _md5(f"{verb}:{fields.get('digest-uri', '')}".encode()).hexdigest()
        middle = f"{nonce}:00000001:{fields.get('cnonce', '')}:auth"
        return _md5(f"{a1}:{middle}:{a2}".encode()).hexdigest()

    if not hmac.compare_digest(expected("AUTHENTICATE"), fields.get("response", "")):
        return None
    yield f"rspauth={expected('')}".encode()
    return fields["username"]


MECHANISMS: dict[str, Callable[[Logins], Login]] = {
    "LOGIN": login,
    "PLAIN": plain,
    "CRAM-MD5": cram_md5,
    "DIGEST-MD5": digest_md5,
}

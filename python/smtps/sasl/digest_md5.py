"""DIGEST-MD5 (RFC 2831; historic by RFC 6331), quality of protection ``auth``."""

from __future__ import annotations

import hashlib
import hmac
import os
import re

from smtps.errors import ChallengeError, LoginError
from smtps.sasl.exchange import Exchange, readings, text_of

CHALLENGE_LIMIT = 2048
"""Octets of a challenge: RFC 2831 section 2.1.1."""

_FIELD = re.compile(
    r"""[\s,]*([a-zA-Z0-9_-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^",\s]*))\s*(?=,|$)""", re.DOTALL
)


class DigestMd5(Exchange):
    """A digest over the server's nonce and ours; the server proves that it knows the same.

    LATIN_1: text that fits ISO 8859-1 is hashed in it (RFC 2831 2.1.2.1), which not every
    server does.
    """

    name = "DIGEST-MD5"
    kinds = ("response",)

    def __init__(
        self,
        user: str,
        password: str,
        host: str,
        cnonce: str | None = None,
        latin_1: bool = True,
        service: str = "smtp",
    ) -> None:
        self._user = user
        self._password = password
        self._host = host
        self._cnonce = cnonce or os.urandom(16).hex()
        self._latin_1 = latin_1
        self._uri = f"{service}/{host}"
        self._proof: str | None = None
        """What the server has to answer."""
        self._proven = False

    def respond(self, challenge: bytes) -> bytes:
        """The digest-response; then nothing, to the server's proof."""
        if self._proof is None:
            return self._first(challenge)
        if self._proven:
            return super().respond(challenge)
        (answer,) = _fields(challenge).get("rspauth", [""])[:1]
        if not hmac.compare_digest(answer.encode(), self._proof.encode()):
            raise LoginError(
                "The server could not prove that it knows the password (DIGEST-MD5's rspauth is "
                "wrong), so it gets no mail."
            )
        self._proven = True
        return b""

    def _first(self, challenge: bytes) -> bytes:
        fields = _fields(challenge)
        nonces, realms = fields.get("nonce", []), fields.get("realm", [])
        qualities = re.split(r"[\s,]+", ",".join(fields.get("qop", ["auth"])))
        if len(nonces) != 1 or not nonces[0]:
            raise ChallengeError("The server's challenge for DIGEST-MD5 has no nonce.")
        if fields.get("algorithm") != ["md5-sess"] or "auth" not in qualities:
            raise ChallengeError("The server wants more of DIGEST-MD5 than a login.")
        charset = "utf-8" if fields.get("charset", [""])[0].lower() == "utf-8" else "latin-1"
        nonce = nonces[0]
        realm = realms[0] if realms else ""
        secret = _md5(b":".join(map(self._octets, (self._user, realm, self._password))))
        a1 = _md5(secret.digest() + f":{nonce}:{self._cnonce}".encode()).hexdigest()

        def proof(method: str) -> str:
            a2 = _md5(f"{method}:{self._uri}".encode()).hexdigest()
            return _md5(f"{a1}:{nonce}:00000001:{self._cnonce}:auth:{a2}".encode()).hexdigest()

        self._proof = proof("")
        said = [f"username={_quoted(self._user)}"]
        said += [f"realm={_quoted(realm)}"] if realms else []
        said += [f"nonce={_quoted(nonce)}", f"cnonce={_quoted(self._cnonce)}", "nc=00000001"]
        said += ["qop=auth", f"digest-uri={_quoted(self._uri)}"]
        said += [f"response={proof('AUTHENTICATE')}"]
        said += ["charset=utf-8"] if charset == "utf-8" else []
        try:
            return ",".join(said).encode(charset)
        except UnicodeEncodeError:
            raise ChallengeError(
                "The server takes no user names beyond ISO 8859-1 by DIGEST-MD5."
            ) from None

    def _octets(self, text: str) -> bytes:
        try:
            return text.encode("latin-1" if self._latin_1 else "utf-8")
        except UnicodeEncodeError:
            return text.encode()

    def succeeded(self) -> None:
        """Raises LoginError if the server's proof did not come."""
        if not self._proven:
            raise LoginError(
                "The server took the login without a proof that it knows the password "
                "(DIGEST-MD5's rspauth), so it gets no mail."
            )

    def again(self) -> Exchange | None:
        """The same hashed in UTF-8, where that makes a difference."""
        if not self._latin_1 or (self._user + self._password).isascii():
            return None
        return DigestMd5(self._user, self._password, self._host, latin_1=False)

    @property
    def secrets(self) -> tuple[bytes, ...]:
        """The password."""
        return readings(self._password)


def _md5(octets: bytes) -> hashlib._Hash:
    return hashlib.md5(octets, usedforsecurity=False)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _fields(challenge: bytes) -> dict[str, list[str]]:
    """Return the values by name, in lower case, of a CHALLENGE (RFC 2831 section 7.1)."""
    if len(challenge) > CHALLENGE_LIMIT:
        raise ChallengeError("The server's challenge for DIGEST-MD5 is too long.")
    text = text_of(challenge, "DIGEST-MD5")
    fields: dict[str, list[str]] = {}
    at = 0
    while text[at:].strip(", \t\r\n"):
        match = _FIELD.match(text, at)
        if match is None:
            raise ChallengeError("The server's challenge for DIGEST-MD5 can't be read.")
        quoted = match[2]
        value = match[3] if quoted is None else re.sub(r"(?s)\\(.)", r"\1", quoted)
        fields.setdefault(match[1].lower(), []).append(value)
        at = match.end()
    return fields

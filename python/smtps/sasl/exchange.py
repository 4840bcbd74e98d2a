"""What the mechanisms have in common: one run of one, and what must never be shown of it."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from contextlib import suppress

from smtps.errors import ChallengeError, LoginError

ALIGNED_LENGTH = 4
"""Characters of base64 that tell something: what is shorter is masked by chance only."""


class Exchange:
    """One run of a mechanism.  A subclass says what it does otherwise."""

    name = ""
    single = False
    """True if the initial response is all there is to say."""
    kinds: Sequence[str] = ("credentials",)
    """What the responses are, in order: username, password, credentials, or response, as are
    those after.  In a transcript it stands in their place."""
    told: str | None = None
    """Why the server refuses, where it said so in a challenge and not in its reply."""
    advice = "Check the user name and the password."
    """What to do about a refusal."""
    secret = True
    """True if a refusal is about a secret, which is then not tried by other mechanisms."""

    def initial(self) -> bytes | None:
        """The initial response, None if the server speaks first."""
        return None

    def respond(self, challenge: bytes) -> bytes:
        """The answer to a decoded CHALLENGE.

        Raises ChallengeError if it is none of this mechanism's, LoginError to end the login.
        """
        raise ChallengeError(f"The server asks for more than {self.name} has.")

    def succeeded(self) -> None:
        """The server took the login.  Raises LoginError if it did not prove itself."""

    def again(self) -> Exchange | None:
        """The same secret said in another way, to be tried once before it is blamed."""
        return None

    @property
    def secrets(self) -> tuple[bytes, ...]:
        """Octets that may never be shown."""
        return ()


def text_of(challenge: bytes, name: str) -> str:
    """Return CHALLENGE as text.  Raises ChallengeError."""
    try:
        return challenge.decode()
    except UnicodeDecodeError:
        raise ChallengeError(f"The server's challenge for {name} is not text.") from None


def checked(user: str, secret: str) -> None:
    """Raise LoginError if USER or SECRET can't be said by any mechanism."""
    for text, what in ((user, "user name"), (secret, "password")):
        if "\0" in text:
            raise LoginError(f"A {what} with a NUL in it can't be sent.")
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise LoginError(f"The {what} is not text in UTF-8, so it can't be sent.")


def readings(*secrets: str) -> tuple[bytes, ...]:
    """Return the ways in which a server could repeat SECRETS: clear, quoted, in JSON, in base64.

    Letters may come back in the other case.
    """
    found: dict[bytes, None] = {}
    for text in secrets:
        clear = text.encode()
        encoded = [clear]
        with suppress(UnicodeEncodeError):
            encoded.append(text.encode("latin-1"))
        for octets in encoded:
            found[octets] = None
            found[octets.replace(b"\\", b"\\\\").replace(b'"', b'\\"')] = None
            found[b"".join(_percent(octet) for octet in octets)] = None
            for before in range(3):
                found[_aligned(octets, before)] = None
        found[base64.b64encode(clear)] = None
        found["".join(map(_escaped, text)).encode()] = None
    return tuple(octets for octets in found if octets)


def _escaped(character: str) -> str:
    """Return CHARACTER as in a string of JSON that is all ASCII (RFC 8259 section 7)."""
    if character in '"\\':
        return "\\" + character
    if " " <= character <= "~":
        return character
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


def _percent(octet: int) -> bytes:
    character = bytes([octet])
    return character if character.isalnum() or character in b"-._~" else b"%%%02X" % octet


def _aligned(octets: bytes, before: int) -> bytes:
    """Return the base64 of OCTETS that stand BEFORE octets behind others, whatever those are."""
    whole = base64.b64encode(b"\0" * before + octets)
    # A character holds six bits: the first and the last may be shared with what is beside.
    inner = whole[(before * 8 + 5) // 6 : (before + len(octets)) * 8 // 6]
    return inner if len(inner) >= ALIGNED_LENGTH else b""

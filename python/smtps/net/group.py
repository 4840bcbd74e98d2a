"""The key exchange group of a TLS handshake, read from what the server says in clear.

Python's ssl does not tell it.  In TLS 1.3 it is in the ServerHello (RFC 8446 4.2.8), in TLS
1.2 in the ServerKeyExchange (RFC 8422 5.4).  Whatever the octets are, the worst is None.
"""

from __future__ import annotations

GROUPS = {
    23: "secp256r1",
    24: "secp384r1",
    25: "secp521r1",
    29: "x25519",
    30: "x448",
    256: "ffdhe2048",
    257: "ffdhe3072",
    258: "ffdhe4096",
    4587: "SecP256r1MLKEM768",
    4588: "X25519MLKEM768",
    4589: "SecP384r1MLKEM1024",
}
"""IANA's TLS Supported Groups, those in use."""

FIRST_OCTETS = 32768
"""Of the server's that are kept: its first messages, a chain of certificates among them."""

_HANDSHAKE = 22
_SERVER_HELLO = 2
_SERVER_KEY_EXCHANGE = 12
_KEY_SHARE = 0x0033
_NAMED_CURVE = 3


def group(octets: bytes) -> str | None:
    """Return the group that the server chose, by the OCTETS it sent first."""
    found = None
    try:
        for kind, message in _messages(octets):
            if kind == _SERVER_HELLO:
                # A second one follows where the first asked for another key.
                found = _of_hello(message) or found
            elif kind == _SERVER_KEY_EXCHANGE and message[0] == _NAMED_CURVE:
                found = int.from_bytes(message[1:3])
    except IndexError:
        pass
    return None if found is None else GROUPS.get(found, f"group {found:#06x}")


def _messages(octets: bytes) -> list[tuple[int, bytes]]:
    """Return the handshake messages that came in clear, kind and body."""
    stream = b""
    while len(octets) >= 5 and octets[0] == _HANDSHAKE:
        length = int.from_bytes(octets[3:5])
        stream += octets[5 : 5 + length]
        octets = octets[5 + length :]
    found = []
    while len(stream) >= 4:
        length = int.from_bytes(stream[1:4])
        found.append((stream[0], stream[4 : 4 + length]))
        stream = stream[4 + length :]
    return found


def _of_hello(message: bytes) -> int | None:
    # Version and random; the session's id; cipher suite and compression; extensions.
    position = 34
    position += 1 + message[position] + 3 + 2
    while position + 4 <= len(message):
        kind = int.from_bytes(message[position : position + 2])
        length = int.from_bytes(message[position + 2 : position + 4])
        if kind == _KEY_SHARE and length >= 2:
            return int.from_bytes(message[position + 4 : position + 6])
        position += 4 + length
    return None

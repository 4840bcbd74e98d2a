"""The message on the wire: CRLF line ends, dots stuffed (RFC 5321 2.3.8, 4.5.2).

Streaming: chunks in, chunks out, constant memory.  A bare CR or LF never comes out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

END_OF_DATA = b".\r\n"

LINE_LIMIT = 998
"""Octets of a text line without CRLF (RFC 5321 4.5.3.1.6)."""


def crlf(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield CHUNKS with every line end, CRLF, CR or LF, as CRLF, and one at the very end.

    An empty message stays empty.  No chunk that comes out ends between CR and LF.
    """
    held = b""
    ended = True
    for chunk in chunks:
        data = held + chunk
        held = b""
        if data.endswith(b"\r"):
            # Whether an LF follows decides if this is one line end or two.
            data, held = data[:-1], b"\r"
        if not data:
            continue
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
        ended = data.endswith(b"\r\n")
        yield data
    if held or not ended:
        yield b"\r\n"


def stuffed(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield CHUNKS, lines ended by CRLF as from `crlf`, with leading dots doubled."""
    at_line_start = True
    for chunk in chunks:
        if not chunk:
            continue
        data = chunk.replace(b"\r\n.", b"\r\n..")
        if at_line_start and data.startswith(b"."):
            data = b"." + data
        at_line_start = data.endswith(b"\r\n")
        yield data


@dataclass(frozen=True)
class Shape:
    """What a server must be able to take: octets with CRLF line ends, and what is in them."""

    octets: int
    eight_bit: bool
    nul: bool
    longest_line: int


def shape(chunks: Iterable[bytes]) -> Shape:
    """Measure the message in CHUNKS as it will be sent."""
    octets = line = longest = 0
    eight_bit = nul = False
    for chunk in crlf(chunks):
        octets += len(chunk)
        eight_bit = eight_bit or not chunk.isascii()
        nul = nul or b"\0" in chunk
        first, *others = chunk.split(b"\r\n")
        line += len(first)
        longest = max(longest, line)
        if others:
            longest = max(longest, max(map(len, others)))
            line = len(others[-1])
    return Shape(octets, eight_bit, nul, longest)

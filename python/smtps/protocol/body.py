"""The message on the wire: CRLF line ends, dots stuffed (RFC 5321 2.3.8, 4.5.2).

Streaming: chunks in, chunks out, constant memory.  A bare CR or LF never comes out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

END_OF_DATA = b".\r\n"

LINE_LIMIT = 998
"""Octets of a text line without CRLF (RFC 5321 4.5.3.1.6)."""


def crlf(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield CHUNKS with every line end, CRLF, CR or LF, as CRLF, and one at the very end.

    An empty message stays empty.  No chunk that comes out ends between CR and LF.
    """
    return (data for data, _ in _crlf(chunks))


def _crlf(chunks: Iterable[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Yield what `crlf` does, each with whether a line end was changed or added in it."""
    held = b""
    ended = True
    for chunk in chunks:
        data = held + chunk if held else chunk
        held = b""
        if data.endswith(b"\r"):
            # Whether an LF follows decides if this is one line end or two.
            data, held = data[:-1], b"\r"
        if not data:
            continue
        # Where each CR has its LF, this is what there was; it costs half of counting the pairs.
        changed = data.translate(None, b"\r").replace(b"\n", b"\r\n") != data
        if changed:
            if b"\r" in data:
                data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
            data = data.replace(b"\n", b"\r\n")
        ended = data.endswith(b"\r\n")
        yield data, changed
    if held or not ended:
        yield b"\r\n", True


def stuffed(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield CHUNKS, lines ended by CRLF as from `crlf`, with leading dots doubled."""
    at_line_start = True
    for chunk in chunks:
        if not chunk:
            continue
        # To find one octet takes a tenth of finding two.
        data = chunk.replace(b"\r\n.", b"\r\n..") if b"." in chunk else chunk
        if at_line_start and data.startswith(b"."):
            data = b"." + data
        at_line_start = data.endswith(b"\r\n")
        yield data


class Shape(NamedTuple):
    """What a server must be able to take: octets with CRLF line ends, and what is in them."""

    octets: int
    eight_bit: bool
    """An octet over 127."""
    nul: bool
    long_lines: bool
    """A line over `LINE_LIMIT`."""
    canonical: bool
    """Its line ends are CRLF already."""


class _Lines:
    """Finds whether a line is over the limit, looking at one octet in a thousand."""

    def __init__(self) -> None:
        self.over = False
        self._open = 0
        """Octets of the line that the last chunk did not end."""

    def take(self, chunk: bytes) -> None:
        if self.over:
            return
        # The line that is open may go on for so many octets, and its CRLF.
        position = chunk.find(b"\n", 0, LINE_LIMIT - self._open + 2)
        if position < 0:
            self._open += len(chunk)
            self.over = self._open > LINE_LIMIT
            return
        while position + LINE_LIMIT + 2 < len(chunk):
            following = chunk.rfind(b"\n", position + 1, position + LINE_LIMIT + 3)
            if following < 0:
                self.over = True
                return
            position = following
        last = chunk.rfind(b"\n", position)
        self._open = len(chunk) - last - 1


def shape(chunks: Iterable[bytes]) -> Shape:
    """Measure the message in CHUNKS as it will be sent."""
    octets = 0
    eight_bit = nul = False
    canonical = True
    lines = _Lines()
    for chunk, changed in _crlf(chunks):
        octets += len(chunk)
        canonical = canonical and not changed
        eight_bit = eight_bit or not chunk.isascii()
        nul = nul or b"\0" in chunk
        lines.take(chunk)
    return Shape(octets, eight_bit, nul, lines.over, canonical)


_COMMAND_LINE = (
    rb"^[ \t\0]*(?:MAIL|RCPT|DATA|BDAT|AUTH|STARTTLS|EHLO|HELO|LHLO|RSET|QUIT|NOOP|VRFY|EXPN|HELP"
    rb"|SEND|SOML|SAML|TURN|ETRN|ATRN|BURL|XCLIENT|XFORWARD)\b"
)


def reads_as_command(octets: bytes) -> bool:
    """Return True if a line of OCTETS, run by a server that did not swallow it, is a command.

    Whatever the case and the blanks before it.
    """
    return re.search(_COMMAND_LINE, octets, re.IGNORECASE | re.MULTILINE) is not None

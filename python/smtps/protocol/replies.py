"""Replies (RFC 5321 section 4.2): octets in, lines and replies out, within hard limits.

Rule for this file: whatever a server sends, memory stays bounded, and the only error is
`RemoteProtocolError`.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from smtps.errors import RemoteProtocolError
from smtps.protocol import enhanced
from smtps.protocol.visible import visible

LINE_LIMIT = 8192
"""Octets of a reply line.  RFC 5321 4.5.3.1.5 has 512; long SASL challenges are real."""

REPLY_LINES_LIMIT = 256
"""Lines of one reply.  The longest EHLO seen has some twenty."""

REPLY_LIMIT = 65536
"""Octets of one reply, all its lines together."""

_LINE = re.compile(rb"([2-5][0-9][0-9])(?:([ -])(.*))?", re.DOTALL)

EXCERPT = 60
"""Characters of a bad line that an error repeats."""

TEXT_LIMIT = 400
"""Characters of a reply's text that are repeated: some lines of a terminal."""


class Reply(NamedTuple):
    """A whole reply: its code, and the text of each line without code and separator."""

    code: int
    lines: tuple[bytes, ...]

    @property
    def category(self) -> int:
        """The first digit, which decides (RFC 5321 4.2.1)."""
        return self.code // 100

    @property
    def enhanced(self) -> enhanced.EnhancedCode | None:
        """The enhanced status code at the start of the text, if there is one."""
        return enhanced.parse(self.lines[0], self.code)

    @property
    def text(self) -> str:
        """The lines' text as one harmless line, without the enhanced code."""
        code = self.enhanced
        prefix = b"" if code is None else str(code).encode()
        parts = [
            line.removeprefix(prefix).strip() if prefix else line.strip() for line in self.lines
        ]
        return visible(b" ".join(part for part in parts if part), TEXT_LIMIT)

    def __str__(self) -> str:
        code = self.enhanced
        return " ".join(str(part) for part in (self.code, code, self.text) if part)


class LineReader:
    """Cuts a stream into lines; LF ends a line, CR before it belongs to the end.

    A bare LF is taken for a line end, as every client does; a bare CR is text.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0
        self._dropping = False
        """True until the end of a line that was over the limit."""
        self.bare = False
        """True if the last line ended with LF alone."""

    def __len__(self) -> int:
        """Octets received and not yet returned."""
        return len(self._buffer)

    @property
    def rest(self) -> bytes:
        """What was received and not yet returned."""
        return bytes(self._buffer)

    def feed(self, data: bytes) -> None:
        """Add DATA from the server."""
        if self._dropping:
            _, end, data = data.partition(b"\n")
            self._dropping = not end
        self._buffer += data

    def next_line(self) -> bytes | None:
        """Return the next line without its end, or None if none is complete.

        Raises RemoteProtocolError if a line is over the limit; the line is then dropped
        as far as it has come.
        """
        end = self._buffer.find(b"\n", self._searched, LINE_LIMIT + 1)
        if end < 0:
            self._searched = min(len(self._buffer), LINE_LIMIT)
            if len(self._buffer) > LINE_LIMIT:
                self.discard_line()
                raise RemoteProtocolError(
                    f"The server sent a line of more than {LINE_LIMIT} octets."
                )
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        self._searched = 0
        self.bare = not line.endswith(b"\r")
        return line.removesuffix(b"\r")

    def discard_line(self) -> None:
        """Drop what is buffered up to and including the next line end."""
        end = self._buffer.find(b"\n")
        self._dropping = end < 0
        del self._buffer[: end + 1 if end >= 0 else len(self._buffer)]
        self._searched = 0

    def clear(self) -> None:
        """Forget everything received."""
        self._dropping = False
        self._buffer.clear()
        self._searched = 0


class ReplyAssembler:
    """Puts lines together into replies."""

    def __init__(self) -> None:
        self._code = 0
        self._lines: list[bytes] = []
        self._octets = 0

    @property
    def open(self) -> bool:
        """True in the middle of a reply of several lines."""
        return bool(self._lines)

    def add(self, line: bytes, shown: bytes) -> Reply | None:
        """Take the next LINE; return the reply if it is the last line of one.

        SHOWN is LINE as it may be shown, where it is no line of a reply.

        Raises RemoteProtocolError for what is no reply line, for another code within a
        reply, and beyond the limits; the assembler is then empty again.
        """
        match = _LINE.fullmatch(line)
        if match is None:
            raise self._broken(
                f"The server sent “{visible(shown, EXCERPT)}”, which is no line of an SMTP reply."
            )
        code, separator, text = int(match[1]), match[2], match[3] or b""
        if self._lines and code != self._code:
            raise self._broken(
                f"The server changed the code of its reply from {self._code} "
                f"to {code} within the reply."
            )
        self._code = code
        self._lines.append(text)
        self._octets += len(text)
        if len(self._lines) > REPLY_LINES_LIMIT or self._octets > REPLY_LIMIT:
            raise self._broken(
                f"The server sent a reply of more than {REPLY_LINES_LIMIT} lines "
                f"or {REPLY_LIMIT} octets."
            )
        if separator == b"-":
            return None
        reply = Reply(code, tuple(self._lines))
        self.clear()
        return reply

    def _broken(self, text: str) -> RemoteProtocolError:
        self.clear()
        return RemoteProtocolError(text)

    def clear(self) -> None:
        """Forget a half-received reply."""
        self._lines = []
        self._octets = 0

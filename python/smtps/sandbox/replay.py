"""The server's side of a dialogue that was written down, played to whoever connects.

It says what the recorded server said, in the same order, to the lines that the recorded
client sent.  A client that says anything else is told so, and the connection is closed.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from smtps.protocol import transcript
from smtps.protocol.transcript import Exchange, Recording
from smtps.protocol.visible import visible

GREETING = Exchange(None, ("220 replay ESMTP",))
"""For a transcript whose beginning is missing."""

LINE_LIMIT = 16384
"""Octets that may come without a line's end: RFC 4954 section 4 has the longest, 12288."""

_CHUNK = re.compile(r"BDAT +([0-9]{1,12})(?: +LAST)?", re.IGNORECASE)


class Player:
    """One connection's server side, with the same octets in and out as `ServerMachine`.

    TELL gets a sentence for each thing the client did otherwise than the recorded one.
    """

    between_secrets = False
    """A recording has no hurry."""

    def __init__(self, recording: Recording, tell: Callable[[str], None]) -> None:
        self._left = list(recording.exchanges)
        if self._left[0].sent is not None:
            self._left.insert(0, GREETING)
        self._tell = tell
        self._input = bytearray()
        self._output = bytearray()
        self._in_message = False
        self._chunk_left = 0
        self.closed = False
        self.wants_tls = False
        self.faults: list[str] = []
        self._speak()

    def data_to_send(self) -> bytes:
        """Return the octets for the client, each once."""
        data = bytes(self._output)
        self._output.clear()
        return data

    def receive(self, data: bytes) -> None:
        """Take DATA from the client."""
        self._input += data
        while not (self.closed or self.wants_tls):
            if self._chunk_left:
                taken = min(self._chunk_left, len(self._input))
                del self._input[:taken]
                self._chunk_left -= taken
                if self._chunk_left:
                    return
                self._answer()
                continue
            end = self._input.find(b"\n")
            if end < 0:
                if len(self._input) > LINE_LIMIT:
                    self._overflow()
                return
            line = bytes(self._input[:end]).removesuffix(b"\r")
            del self._input[: end + 1]
            if not self._in_message:
                self._take(line.decode("utf-8", "surrogateescape"))
            elif line == b".":
                self._in_message = False
                self._answer()

    def _overflow(self) -> None:
        if self._in_message:
            # Whatever it says; but it is not the dot.
            self._input[:-1] = b"x"
        else:
            self._deviate("a line without an end")

    def tls_started(self) -> None:
        """The handshake was made."""
        self.wants_tls = False
        self._input.clear()

    def time_out(self) -> None:
        """Nothing waits here."""

    def hung_up(self) -> None:
        """The client closed the connection."""
        if not self.closed and self._left:
            self._deviate("nothing more, and closed the connection")

    def _take(self, said: str) -> None:
        if transcript.differs(self._left[0], said):
            self._deviate(f"“{visible(transcript.told(said))}”")
            return
        chunk = _CHUNK.fullmatch(said)
        self._chunk_left = int(chunk[1]) if chunk else 0
        if not self._chunk_left:
            self._answer()

    def _answer(self) -> None:
        exchange = self._left.pop(0)
        self._say(exchange)
        if exchange.verb == "STARTTLS" and exchange.code == 220:
            self.wants_tls = True
        self._in_message = bool(self._left) and self._left[0].sent == "."
        self._speak()

    def _speak(self) -> None:
        """Say what the server said by itself, and close behind the last of it."""
        while self._left and self._left[0].sent is None:
            self._say(self._left.pop(0))
        self.closed = not self._left

    def _say(self, exchange: Exchange) -> None:
        for line in exchange.reply:
            self._output += line.encode("utf-8", "surrogateescape") + b"\r\n"

    def _deviate(self, what: str) -> None:
        recorded = self._left[0].sent
        self._tell(f"The client said {what}; recorded is “{recorded}”.")
        self._say(Exchange(None, (f"554 5.5.0 The recording has “{recorded}” here",)))
        self._left.clear()
        self.closed = True

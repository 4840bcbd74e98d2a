"""Lines out of a stream of octets, bounded whatever comes."""

from __future__ import annotations

from smtps.errors import WireError
from smtps.rpc.codec import LINE_LIMIT


class Lines:
    """Cuts what is fed into lines; one that is too long is dropped up to its LF."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._dropping = False

    def feed(self, data: bytes) -> list[bytes | WireError]:
        """Return the lines that DATA completes, without LF, and an error for each too long."""
        found: list[bytes | WireError] = []
        *whole, rest = data.split(b"\n")
        for piece in whole:
            self._add(piece, found)
            if not self._dropping:
                found.append(bytes(self._buffer))
            self._buffer.clear()
            self._dropping = False
        self._add(rest, found)
        return found

    def _add(self, piece: bytes, found: list[bytes | WireError]) -> None:
        if self._dropping:
            return
        if len(self._buffer) + len(piece) >= LINE_LIMIT:
            self._dropping = True
            self._buffer.clear()
            found.append(WireError(f"A line is over the limit of {LINE_LIMIT} octets."))
        else:
            self._buffer += piece

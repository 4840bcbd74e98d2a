"""Who a mail is from and to, and with which parameters (RFC 5321 2.3.1)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from smtps.errors import MessageError
from smtps.protocol import address
from smtps.protocol.body import Shape

Content = Callable[[], Iterable[bytes]]
"""Opens the message anew each time: its octets in chunks, line ends as they are."""


@dataclass(frozen=True)
class Envelope:
    """``sender`` is the reverse-path, empty for the null one; ``recipients`` forward-paths.

    Raises MessageError or AddressError for what can't be sent to any server.
    """

    sender: str
    recipients: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.sender:
            address.check(self.sender)
        if not self.recipients:
            raise MessageError("The message has no recipients.")
        for recipient in self.recipients:
            address.check(recipient)

    @property
    def international(self) -> bool:
        """True if an address needs SMTPUTF8 (RFC 6531)."""
        return not (self.sender + "".join(self.recipients)).isascii()


@dataclass(frozen=True)
class Message:
    """What is sent: how to read it, and its shape."""

    content: Content
    shape: Shape

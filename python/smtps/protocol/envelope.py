"""Who a mail is from and to, and with which parameters (RFC 5321 2.3.1)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from smtps.errors import MessageError
from smtps.protocol import address
from smtps.protocol.body import Shape
from smtps.protocol.parameters import NO_NOTICES, NO_WISHES, Notices, Wishes

Content = Callable[[], Iterable[bytes]]
"""Opens the message anew each time: its octets in chunks, line ends as they are."""


@dataclass(frozen=True)
class Envelope:
    """``sender`` is the reverse-path, empty for the null one; ``recipients`` forward-paths.

    ``notices`` has something for each recipient, or is empty.  Raises MessageError or
    AddressError for what can't be sent to any server.
    """

    sender: str
    recipients: tuple[str, ...]
    wishes: Wishes = NO_WISHES
    notices: tuple[Notices, ...] = ()

    def __post_init__(self) -> None:
        if self.sender:
            address.check(self.sender)
        if not self.recipients:
            raise MessageError("The message has no recipients.")
        for recipient in self.recipients:
            address.check(recipient)
        if self.notices and len(self.notices) != len(self.recipients):
            raise MessageError("There are notices for another number of recipients.")

    @property
    def international(self) -> bool:
        """True if an address needs SMTPUTF8 (RFC 6531)."""
        return not (self.sender + "".join(self.recipients)).isascii()

    def notice(self, index: int) -> Notices:
        """Return what is to be told about the recipient INDEX."""
        return self.notices[index] if self.notices else NO_NOTICES

    def only(self, indexes: Iterable[int]) -> Envelope:
        """Return the envelope for the recipients INDEXES, in that order."""
        chosen = tuple(indexes)
        return replace(
            self,
            recipients=tuple(self.recipients[i] for i in chosen),
            notices=tuple(self.notices[i] for i in chosen) if self.notices else (),
        )


@dataclass(frozen=True)
class Message:
    """What is sent: how to read it, and its shape."""

    content: Content
    shape: Shape

"""Who a mail is from and to, and with which parameters (RFC 5321 2.3.1)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple, Self

from smtps.errors import MessageError
from smtps.protocol import address
from smtps.protocol.body import Shape
from smtps.protocol.parameters import NO_NOTICES, NO_WISHES, Notices, Wishes

Content = Callable[[], Iterable[bytes]]
"""Opens the message anew each time: its octets in chunks, line ends as they are."""


class _Envelope(NamedTuple):
    sender: str
    recipients: tuple[str, ...]
    wishes: Wishes = NO_WISHES
    notices: tuple[Notices, ...] = ()


class Envelope(_Envelope):
    """``sender`` is the reverse-path, empty for the null one; ``recipients`` forward-paths.

    ``notices`` has something for each recipient, or is empty.  Raises MessageError or
    AddressError for what can't be sent to any server.
    """

    __slots__ = ()

    def __new__(
        cls,
        sender: str,
        recipients: tuple[str, ...],
        wishes: Wishes = NO_WISHES,
        notices: tuple[Notices, ...] = (),
    ) -> Self:
        """Check the addresses, and that there is somebody to send to."""
        if sender:
            address.check(sender)
        if not recipients:
            raise MessageError("The message has no recipients.")
        for recipient in recipients:
            address.check(recipient)
        if notices and len(notices) != len(recipients):
            raise MessageError("There are notices for another number of recipients.")
        return super().__new__(cls, sender, recipients, wishes, notices)

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
        return self._replace(
            recipients=tuple(self.recipients[i] for i in chosen),
            notices=tuple(self.notices[i] for i in chosen) if self.notices else (),
        )


class Message(NamedTuple):
    """What is sent: how to read it, and its shape."""

    content: Content
    shape: Shape

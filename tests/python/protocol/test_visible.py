"""Text from the other side, and typed by hand, made harmless."""

from __future__ import annotations

import pytest

from smtps.protocol.connection import Connection
from smtps.protocol.visible import visible


@pytest.mark.parametrize(
    "octets", [b"noop \xff", b"\xe9t\xe9", b"\xc3", b"caf\xc3\xa9 \x1b\x7f\x80"]
)
def test_octets_that_are_no_text_look_the_same_received_and_typed(octets: bytes) -> None:
    assert visible(octets) == visible(octets.decode("utf-8", "surrogateescape"))


def test_an_octet_typed_by_hand_is_shown_as_what_it_is() -> None:
    typed = b"noop \xff".decode("utf-8", "surrogateescape")
    sent, command = Connection(by_hand=True).send_line(typed)
    assert (sent, command.shown) == (b"noop \xff\r\n", "noop \\xff")

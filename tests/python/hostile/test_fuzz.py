"""The fuzz target, briefly: `tests/bench/fuzz` runs it at length."""

from __future__ import annotations

import pytest

from hostile import fuzz
from smtps.protocol.connection import Connection
from smtps.protocol.replies import LINE_LIMIT

DIALOGUES = 400


@pytest.mark.parametrize("start", range(0, DIALOGUES, DIALOGUES // 4))
def test_whole_and_octet_by_octet_are_the_same(start: int) -> None:
    for seed in range(start, start + DIALOGUES // 4):
        fuzz.check(seed)


@pytest.mark.parametrize("by_hand", [False, True])
@pytest.mark.parametrize("over", range(-3, 4))
def test_a_line_about_as_long_as_allowed(by_hand: bool, over: int) -> None:
    text = b"220 " + b"x" * (LINE_LIMIT - 4 + over) + b"\r\n250 next\r\n"
    turns = [fuzz.Turn((), text)]
    assert fuzz.drive(turns, by_hand, 0) == fuzz.drive(turns, by_hand, 1)


@pytest.mark.parametrize("octets", [b"2" * 100_000, b"250-x\r\n" * 20_000, b"\n" * 50_000])
def test_a_flood_is_not_kept(octets: bytes) -> None:
    connection = Connection(by_hand=True)
    for _ in range(10):
        connection.receive(octets)
        while connection.next_event() is not None:
            pass
        assert connection.unread <= fuzz.KEPT_LIMIT

"""Offering more than the documented dialogues have: what stands in EHLO, and that it is taken."""

from __future__ import annotations

import pytest

from smtps.errors import UsageError
from smtps.sandbox.extensions import EXTENSIONS
from smtps.sandbox.logins import NAMES
from smtps.sandbox.machine import (
    DOCUMENTED_IMPLICIT,
    DOCUMENTED_STARTTLS,
    Offer,
    ServerMachine,
)

BARE = Offer(login_needed=False)
ENVELOPE = (b"MAIL FROM:<a@b>", b"RCPT TO:<c@d>")


def codes(machine: ServerMachine, *pieces: bytes) -> list[int]:
    """Return the code said last to each of PIECES, lines but for what follows a BDAT."""
    found = []
    for piece in pieces:
        machine.data_to_send()
        machine.receive(piece + b"\r\n")
        found.append(int(machine.data_to_send().splitlines()[-1][:3]))
    return found


TAKEN: dict[str, tuple[list[str], list[bytes], list[int], list[int]]] = {
    "8BITMIME": ([], [b"MAIL FROM:<a@b> BODY=8BITMIME"], [250], [555]),
    "AUTH": ([], [b"AUTH SCRAM-SHA-512", b"*", b"AUTH LOGIN"], [334, 501, 334], [504, 500, 504]),
    "AUTH plain  xoauth2": ([], [b"AUTH LOGIN", b"AUTH XOAUTH2"], [504, 334], [504, 504]),
    "BINARYMIME": (["CHUNKING"], [b"MAIL FROM:<a@b> BODY=BINARYMIME"], [250], [555]),
    "CHUNKING": ([], [*ENVELOPE, b"BDAT 3 LAST\r\nx"], [250, 250, 250], [250, 250, 501]),
    "DELIVERBY": ([], [b"MAIL FROM:<a@b> BY=60;R"], [250], [555]),
    "DELIVERBY 300": (
        [], [b"MAIL FROM:<a@b> BY=299;R", b"MAIL FROM:<a@b> BY=299;N"], [501, 250], [555, 555],
    ),
    "DSN": (
        [], [b"MAIL FROM:<a@b> RET=HDRS ENVID=x", b"RCPT TO:<c@d> NOTIFY=NEVER"],
        [250, 250], [555, 503],
    ),
    "ENHANCEDSTATUSCODES": ([], [b"NOOP"], [250], [250]),
    "FUTURERELEASE": ([], [b"MAIL FROM:<a@b> HOLDFOR=604800"], [250], [555]),
    "FUTURERELEASE 60 2026-01-01T00:00:00Z": (
        [],
        [
            b"MAIL FROM:<a@b> HOLDFOR=61",
            b"MAIL FROM:<a@b> HOLDUNTIL=2026-01-01T00:00:01Z",
            b"MAIL FROM:<a@b> HOLDUNTIL=2026-01-01T01:00:00+01:00",
        ],
        [501, 501, 250],
        [555, 555, 555],
    ),
    "LIMITS": ([], [*ENVELOPE] + [b"RCPT TO:<c@d>"] * 100, [250] * 101 + [452], [250] * 102),
    "MT-PRIORITY": ([], [b"MAIL FROM:<a@b> MT-PRIORITY=9"], [250], [555]),
    "PIPELINING": ([], [b"\r\n".join(ENVELOPE)], [250], [503]),
    "REQUIRETLS": ([], [b"MAIL FROM:<a@b> REQUIRETLS"], [250], [555]),
    "SIZE": ([], [b"MAIL FROM:<a@b> SIZE=9"], [250], [555]),
    "SIZE 8": (
        [],
        [b"MAIL FROM:<a@b> SIZE=9", *ENVELOPE, b"DATA", b"123456789\r\n."],
        [552, 250, 250, 354, 552],
        [555, 250, 250, 354, 250],
    ),
    "SMTPUTF8": (
        ["8BITMIME"], ["MAIL FROM:<é@b> SMTPUTF8".encode(), "RCPT TO:<ü@d>".encode()],
        [250, 250], [555, 503],
    ),
}  # fmt: skip
"""What is offered: what with; what is said; the codes heard; those without the offer."""


def test_each_extension_is_tested() -> None:
    assert {text.split(" ")[0] for text in TAKEN} == set(EXTENSIONS)


@pytest.mark.parametrize("text", TAKEN)
def test_what_is_offered_is_taken(text: str) -> None:
    beside, said, expected, without = TAKEN[text]
    assert codes(ServerMachine(BARE.with_more([*beside, text])), b"EHLO x", *said)[1:] == expected
    assert codes(ServerMachine(BARE.with_more(beside)), b"EHLO x", *said)[1:] == without


def test_enhanced_codes() -> None:
    machine = ServerMachine(BARE.with_more(["enhancedstatuscodes"]))
    codes(machine, b"EHLO x", b"NOOP")
    machine.receive(b"nonsense\r\n")
    assert machine.data_to_send().startswith(b"500 5.5.2 ")


def test_nothing_more_is_the_documented_offer() -> None:
    assert DOCUMENTED_IMPLICIT.with_more([]) == DOCUMENTED_IMPLICIT
    assert DOCUMENTED_STARTTLS.with_more([]) == DOCUMENTED_STARTTLS


def test_more_comes_behind_the_documented_offer() -> None:
    offer = DOCUMENTED_IMPLICIT.with_more(["chunking", "size 100", " Limits  RCPTMAX=2 "])
    assert offer.secure == (
        *DOCUMENTED_IMPLICIT.secure[:-1], "SIZE 100", "CHUNKING", "LIMITS RCPTMAX=2",
    )  # fmt: skip


def test_the_mechanisms_take_the_place_of_the_documented_ones() -> None:
    offer = DOCUMENTED_IMPLICIT.with_more(["AUTH SCRAM-SHA-1"])
    assert offer.keywords(tls=True)["AUTH"] == ["SCRAM-SHA-1"]
    assert not any(line.startswith("AUTH=") for line in offer.secure)
    offer = DOCUMENTED_STARTTLS.with_more(["AUTH"])
    assert "AUTH" not in offer.keywords(tls=False)
    assert offer.keywords(tls=True)["AUTH"] == [*NAMES]


def test_what_only_tls_allows_is_not_offered_in_clear() -> None:
    offer = DOCUMENTED_STARTTLS.with_more(["REQUIRETLS", "CHUNKING"])
    assert offer.clear == (*DOCUMENTED_STARTTLS.clear, "CHUNKING")
    assert offer.secure == (*DOCUMENTED_STARTTLS.secure, "REQUIRETLS", "CHUNKING")


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["BURL"], "can't offer BURL. It can: 8BITMIME, "),
        ([""], "can't offer nothing"),
        (["AUTH GSSAPI"], "'GSSAPI' behind it; alone it is AUTH LOGIN PLAIN "),
        (["AUTH LOGIN,PLAIN"], "'LOGIN,PLAIN' behind it"),
        (["SIZE ²"], "'²' behind it"),
        (["SIZE x"], "'X' behind it"),
        (["CHUNKING x"], "'X' behind it"),
        (["LIMITS RCPTMAX=0"], "'RCPTMAX=0' behind it"),
        (["FUTURERELEASE 60"], "'60' behind it"),
        (["DSN\r\n250 X"], "can't offer"),
        (["BINARYMIME"], "BINARYMIME can't be offered without CHUNKING"),
        (["SMTPUTF8"], "SMTPUTF8 can't be offered without 8BITMIME"),
    ],
)
def test_what_can_not_be_offered(more: list[str], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        BARE.with_more(more)

"""Transcripts: the golden one, which Emacs reads as well, and what else may come."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtps.errors import MessageError
from smtps.protocol import transcript
from smtps.protocol.transcript import Exchange, differs, is_masked, read
from smtps.protocol.visible import visible
from smtps.rpc import codec

WIRE = Path(__file__).parents[2] / "wire"
GOLDEN = (WIRE / "dialogue.transcript").read_text("utf-8")


def exchanges(text: str) -> list[dict[str, object]]:
    return [
        {
            "sent": [] if e.sent is None else e.sent,
            "reply": list(e.reply),
            "message": list(e.message),
        }
        for e in read(text).exchanges
    ]


def test_the_golden_one_is_read() -> None:
    told = (WIRE / "dialogue.sexp").read_text("utf-8").splitlines()
    assert exchanges(GOLDEN) == [codec.plist(codec.loads(line)) for line in told]
    assert read(GOLDEN).facts == {
        "host": "localhost", "port": "587", "tls": "starttls", "date": "2026-11-24 09:42:18 UTC",
    }  # fmt: skip


def test_the_golden_one_is_written() -> None:
    written = transcript.head("localhost", 587, "starttls", "2026-11-24 09:42:18 UTC")
    for line in GOLDEN.removeprefix(written).splitlines():
        number, text = line[:6].strip(), line[7:]
        written += transcript.line(text, int(number) if number else None) + "\n"
    assert written == GOLDEN


def test_a_copy_of_a_session_is_read() -> None:
    body = GOLDEN[GOLDEN.index("\n\n") + 2 :]
    copied = re.sub("^.{7}", "", body, flags=re.M)
    assert copied.startswith("Resolving")
    assert exchanges(copied) == exchanges(GOLDEN)
    assert exchanges(copied.replace("\n", "\r\n")) == exchanges(GOLDEN)


def test_a_report_is_read() -> None:
    """Versions come first in it."""
    report = f"Helper: 0.1.0\nTLS: OpenSSL 3\n\n{GOLDEN}"
    assert transcript.read(report) == transcript.read(GOLDEN)


def test_a_message_that_was_not_written_down() -> None:
    found = read("recv> 220 x\nsend> DATA\nrecv> 354 go\nrecv> 250 ok\nsend> QUIT\n").exchanges
    assert found[1:] == (
        Exchange("DATA", ("354 go",)), Exchange(".", ("250 ok",)), Exchange("QUIT"),
    )  # fmt: skip


def test_a_chunk_is_no_command() -> None:
    text = "recv> 220 x\nsend> BDAT 10 LAST\nsend> RSET\nsend> ab\nrecv> 250 ok\nsend> QUIT\n"
    assert [e.sent for e in read(text).exchanges] == [None, "BDAT 10 LAST", "QUIT"]


def test_what_the_server_says_by_itself() -> None:
    found = read("recv> 220 x\nsend> NOOP\nrecv> 250 ok\nrecv> 421 bye\n").exchanges
    assert found[-1] == Exchange(None, ("421 bye",))


@pytest.mark.parametrize("text", ["", "From: a@b.c\n\nText\n", transcript.FIRST + "\n\n"])
def test_what_is_none(text: str) -> None:
    with pytest.raises(MessageError):
        read(text)


@pytest.mark.parametrize(
    ("recorded", "said", "other"),
    [
        ("ehlo x", "EHLO y", False), ("EHLO x", "HELO x", True), ("EHLO x", "", True),
        ("mail from:<a@b.c> SIZE=9", "MAIL FROM:<a@b.c>  SIZE=1234", False),
        ("mail from:<a@b.c>", "MAIL FROM:<b@b.c>", True),
        ("auth plain <the-encoded-auth-credentials>", "AUTH PLAIN AGEAYg==", False),
        ("auth plain <the-encoded-auth-credentials>", "AUTH LOGIN", True),
        ("auth plain <the-encoded-auth-credentials>", "QUIT", True),
        ("<the-base64-password>", "c2VjcmV0", False),
        ("QUIT", "quit", False), ("QUIT", "RSET", True),
    ],
)  # fmt: skip
def test_what_may_differ(recorded: str, said: str, other: bool) -> None:
    assert differs(Exchange(recorded), said) is other


def test_masks() -> None:
    assert is_masked("AUTH login <the-base64-username>")
    assert is_masked("<typed as the password, which was no longer asked for>")
    assert not is_masked("AUTH PLAIN")
    assert not is_masked("MAIL FROM:<a@b.c> <the-base64-password>")


SAID = st.text(max_size=40).map(visible).map(lambda text: text.rstrip(" "))


@given(st.lists(st.tuples(SAID, st.integers(200, 553), SAID), max_size=9))
def test_what_is_written_is_read(dialogue: list[tuple[str, int, str]]) -> None:
    lines, expected = ["recv> 220 x"], [Exchange(None, ("220 x",))]
    for sent, code, text in dialogue:
        sent = f"NOOP {sent}".rstrip(" ")
        lines += [f"send> {sent}", f"recv> {code} {text}"]
        expected.append(Exchange(sent, (f"{code} {text}",)))
    written = transcript.head("h", 25, None, "now")
    written += "".join(transcript.line(line, 7) + "\n" for line in lines)
    assert list(read(written).exchanges) == expected


@given(st.text())
def test_anything_is_read_or_refused(text: str) -> None:
    with suppress(MessageError):
        assert read(text).exchanges

"""Messages of every shape: what arrives is one message with its content intact, or none.

Nothing of it is on the wire that a server could take for an end of data or a second
command.  A server that can't take a text as it is gets it in another encoding.
"""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from email import message_from_bytes
from email.message import Message

import pytest

from hostile.sending import MESSAGE, Sent, check, check_words, in_crlf, run
from hostile.server import Script

HEAD = (
    b"From: a@example.org\nTo: b@example.org\nDate: Tue, 24 Nov 2026 10:00:00 +0000\n"
    b"Message-ID: <four@example.org>\nSubject: =?utf-8?q?=C3=BC?=\n"
)
TEXT = HEAD + b"MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n"
LATIN = HEAD + b"MIME-Version: 1.0\nContent-Type: text/plain; charset=iso-8859-1\n"
PARTS = HEAD + b"MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=cut\n\n--cut\n"

LINE_LIMIT = 998
"""Octets of a line without its CRLF (RFC 5321 4.5.3.1.6)."""

CHUNK = 65536

SERVERS = {
    "DATA": (),
    "DATA, 8BITMIME": ("PIPELINING", "8BITMIME"),
    "BDAT": ("PIPELINING", "CHUNKING", "8BITMIME"),
    "BDAT, 7 bits": ("PIPELINING", "CHUNKING"),
}


def filled(end: bytes, size: int = CHUNK) -> bytes:
    """A message whose last octets before END reach exactly up to SIZE."""
    start = HEAD + b"\n"
    lines = (b"A line of forty octets, to fill the block.\n" * (size // 43))[
        : size - len(start) - 9
    ]
    return start + lines[:-1] + b"\n" + b"x" * 9 + end


MESSAGES = {
    "LF": MESSAGE,
    "CRLF": in_crlf(MESSAGE),
    "CR": MESSAGE.replace(b"\n", b"\r"),
    "mixed": HEAD + b"\nOne\r\nTwo\rThree\nFour\n\rFive\r\n\r\nSix\r\r\nSeven\n",
    "no final newline": MESSAGE + b"The end.",
    "a final CR": MESSAGE + b"The end.\r",
    "many final newlines": MESSAGE + b"\n" * 50,
    "leading dots": HEAD + b"\n.\n..\n...\n.x\n..x\n .\n. \n",
    "a dot alone": HEAD + b"\n.",
    "a dot and CRLF": HEAD + b"\n.\r\n",
    "a dot in LF": HEAD + b"\nOne\n.\nMAIL FROM:<evil@example.net>\n",
    "a dot in CR": HEAD + b"\nOne\r.\rMAIL FROM:<evil@example.net>\r",
    "LF . CRLF": HEAD + b"\nOne\n.\r\nMAIL FROM:<evil@example.net>\r\n",
    "CRLF . LF": HEAD + b"\nOne\r\n.\nMAIL FROM:<evil@example.net>\n",
    "CRLF . CR": HEAD + b"\nOne\r\n.\rMAIL FROM:<evil@example.net>\r",
    "CR . CRLF": HEAD + b"\nOne\r.\r\nMAIL FROM:<evil@example.net>\r\n",
    "CR LF . CR LF": HEAD + b"\nOne\r\n.\r\nMAIL FROM:<evil@example.net>\r\nDATA\r\n",
    "CR CR LF . CR CR LF": HEAD + b"\nOne\r\r\n.\r\r\nMAIL FROM:<evil@example.net>\r\r\n",
    "dot at the very end": HEAD + b"\nOne\r\n.",
    "dot and CR at the very end": HEAD + b"\nOne\r\n.\r",
    "commands": HEAD + b"\nMAIL FROM:<evil@example.net>\nRCPT TO:<b@example.org>\nDATA\nQUIT\n",
    "a chunk in it": HEAD + b"\nBDAT 5 LAST\nabcdeRSET\n",
    "a dot in the header": HEAD + b".\n.X: y\n\nText.\n",
    "a folded header": HEAD + b"X-Long: one\n two\n\tthree\n\nText.\n",
    "header only": HEAD,
    "header only, no newline": HEAD[:-1],
    "header and an empty line": HEAD + b"\n",
    "no header": b"Just a text.\nOf two lines.\n",
    "no header, a dot": b".\nText\n.\n",
    "a newline alone": b"\n",
    "a space alone": b" ",
    "UTF-8": TEXT + "\nZw\u00f6lf Gr\u00fc\u00dfe \u20ac.\n".encode(),
    "UTF-8 and dots": TEXT + "\n.\u00e4\n.\n..\n\u00fc\n".encode(),
    "Latin-1": LATIN + b"\nZw\xf6lf Gr\xfc\xdfe.\n",
    "8-bit, no MIME": HEAD + b"\nZw\xf6lf.\n",
    "8-bit in a part": PARTS
    + "Content-Type: text/plain; charset=utf-8\n"
    "Content-Transfer-Encoding: 8bit\n\nGr\u00fc\u00dfe.\n.\n--cut\nContent-Type: text/plain\n\n"
    "ASCII.\n--cut--\n".encode(),
    "a long line": TEXT + b"\n" + b"x" * 2000 + b"\n",
    "a line of 998": TEXT + b"\n" + b"x" * 998 + b"\n",
    "a line of 999": TEXT + b"\n" + b"x" * 999 + b"\n",
    "a dot and 998": TEXT + b"\n." + b"x" * 997 + b"\n",
    "a line of 300 KB": TEXT + b"\n" + b"word " * 60_000 + b"\n",
    "a long line of dots": TEXT + b"\n" + b"." * 3000 + b"\n.\n",
    "a long line in UTF-8": TEXT + b"\n" + "\u00fc".encode() * 1500 + b"\n",
    "NUL": TEXT + b"\nOne\0two\0\n.\0\n",
    "all octets": LATIN + b"\n" + bytes(set(range(256)) - {10, 13}) + b"\n",
    "controls": TEXT + b"\n\x01\x02\x1a\x04\x1b[2J\x7f\n\x1a\n",
    "CR at a block's end": filled(b"\r") + b"\n.\r\nEnd.\n",
    "CR at a block's end, no LF": filled(b"\r") + b".\r\nEnd.\n",
    "CRLF at a block's end": filled(b"\r\n", CHUNK - 1) + b".\r\nEnd.\n",
    "LF at a block's end": filled(b"\n") + b".\nEnd.\n",
    "a dot at a block's end": filled(b"\n.") + b"\nEnd.\n",
    "a block and no newline": filled(b""),
    "1 MB": MESSAGE + b".A line of the many that make a message large.\r\n" * 22_000,
    "an mbox line": b"From a@example.org Tue Nov 24 10:00:00 2026\n" + MESSAGE,
}


CHANGED = [
    name
    for name, text in MESSAGES.items()
    if not text.isascii() or b"\0" in text or max(map(len, re.split(rb"[\r\n]", text))) > LINE_LIMIT
]
"""What not every server can take."""

CASES = [(how, name) for how in ("DATA", "BDAT") for name in MESSAGES]
CASES += [(how, name) for how in ("DATA, 8BITMIME", "BDAT, 7 bits") for name in CHANGED]


def lines(text: bytes) -> bytes:
    """TEXT with LF, and one at its end: what is the same is the same after this."""
    return re.sub(rb"\r\n|\r|\n", b"\n", text).removesuffix(b"\n")


def leaves(message: Message) -> list[bytes]:
    """The content of each part, decoded."""
    found = []
    for part in message.walk():
        if not part.is_multipart():
            payload = part.get_payload(decode=True)
            assert isinstance(payload, bytes)
            found.append(lines(payload))
    return found


def same(given: bytes, arrived: bytes) -> None:
    """The content is what it was: octet by octet but for line ends, or decoded."""
    if given.startswith(b"From "):
        given = given.partition(b"\n")[2]
    if lines(arrived).endswith(lines(given)):
        return
    before, after = message_from_bytes(lines(given)), message_from_bytes(lines(arrived))
    assert leaves(after) == leaves(before)
    for name in ("From", "To", "Date", "Message-ID", "Subject", "X-Long"):
        assert after[name] == before[name] or before[name] is None


@pytest.fixture(scope="module")
def sendings(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Sent]:
    """Every message to every kind of server."""
    root = tmp_path_factory.mktemp("messages")
    with ThreadPoolExecutor(4) as pool:
        runs = [
            pool.submit(run, Script({}, SERVERS[how]), root / str(i), message=MESSAGES[name])
            for i, (how, name) in enumerate(CASES)
        ]
        return {case: future.result() for case, future in zip(CASES, runs, strict=True)}


@pytest.mark.parametrize(("how", "name"), CASES)
def test_one_message_arrives_intact(
    how: str, name: str, sendings: dict[tuple[str, str], Sent]
) -> None:
    sent = sendings[how, name]
    assert sent.status in (0, 65), f"{sent.status}: {sent.stderr}"
    if sent.status == 65:
        check_words(sent)
        assert sent.messages == []
        # What was here when it could have been sent must not be refused.
        assert name in REFUSABLE, sent.stderr
        return
    check(sent)
    [wire] = [text for record in sent.records for text in record.texts]
    [arrived] = sent.messages
    assert all(not record.unfinished for record in sent.records)
    for record in sent.records:
        assert record.verbs()[0] == "EHLO"
        assert set(record.verbs()) <= {"EHLO", "MAIL", "RCPT", "DATA", "BDAT", "QUIT"}
        assert record.verbs().count("MAIL") == 1
        assert record.verbs()[-1] == "QUIT"
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n", wire), "a bare CR or LF is on the wire"
    assert wire.endswith(b"\r\n")
    if how.startswith("DATA"):
        assert not re.search(rb"(\A|\r\n)\.\r\n", wire)
    assert max(map(len, arrived.split(b"\r\n"))) <= LINE_LIMIT
    assert b"\0" not in arrived
    if "8BITMIME" not in SERVERS[how]:
        assert arrived.isascii()
        assert not any(b"BODY=8BITMIME" in command for command in sent.commands)
    elif not arrived.isascii():
        assert any(b"BODY=8BITMIME" in command for command in sent.commands)
    same(MESSAGES[name], arrived)


REFUSABLE = {
    "a space alone", "a newline alone", "a dot in the header", "8-bit, no MIME", "NUL",
    "all octets", "controls",
}  # fmt: skip
"""Messages that nobody can send on as they are without a guess."""


def test_an_empty_message_is_refused(tmp_path_factory: pytest.TempPathFactory) -> None:
    sent = run(Script(), tmp_path_factory.mktemp("empty"), message=b"")
    assert sent.status == 65
    check_words(sent)
    assert sent.messages == []

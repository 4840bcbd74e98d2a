"""Addresses that would add a command or change the recipient: refused, and nothing is sent."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hostile.sending import MESSAGE, RECIPIENT, SENDER, Sent, check_words, run
from hostile.server import Script

SCRIPT = Script({}, ("PIPELINING", "CHUNKING", "8BITMIME", "SMTPUTF8", "DSN"))

BAD = {
    "CRLF and a command": "b@example.org>\r\nRCPT TO:<evil@example.net",
    "CRLF": "b@example.org\r\n",
    "LF and a command": "b@example.org\nDATA",
    "LF": "b@example.org\n",
    "CR": "b@example.org\rQUIT",
    "a parameter": "b@example.org> NOTIFY=NEVER",
    "a parameter and a bracket": "b@example.org> ORCPT=rfc822;<evil@example.net>",
    "a parameter without bracket": "b@example.org SIZE=1",
    "a bracket within": "b@exam>ple.org",
    "two brackets behind": "b@example.org>>",
    "a bracket in the local part": "b<evil@example.org",
    "another path": "b@example.org>,<evil@example.net",
    "a blank": "b c@example.org",
    "a blank in the domain": "b@example .org",
    "a tab": "b@example.org\tX",
    "DEL": "b\x7f@example.org",
    "an escape": "\x1b[2Jb@example.org",
    "a control": "b\x01@example.org",
    "C1": "b\u0085@example.org",
    "a line separator": "b\u2028@example.org",
    "bidi": "\u202eb@example.org",
    "an invisible blank": "b\u200b@example.org",
    "a byte order mark": "\ufeffb@example.org",
    "not UTF-8": "b\udcff@example.org",
    "two at signs": "b@c@example.org",
    "a source route": "@example.net:b@example.org",
    "no domain behind": "b@",
    "no local part": "@example.org",
    "an open quote": '"b@example.org',
    "a quote within": 'b"c@example.org',
    "LF in quotes": '"b\nc"@example.org',
    "an open literal": "b@[127.0.0.1",
    "CRLF in a literal": "b@[127.0.0.1\r\nQUIT]",
    "too long": "b" * 300 + "@example.org",
    "much too long": "b@" + "x." * 50_000 + "org",
    "a backslash": "b\\@example.org",
    "a comma": "b@example.org,@example.net",
    "a semicolon": "b@example.org;c",
    "parentheses": "b@example.org (evil)",
    "a display name": "Bob <b@example.org>",
}


def check_refused(sent: Sent) -> None:
    """Nothing was sent, and the reason is told."""
    assert sent.status in (64, 65), f"{sent.status}: {sent.stderr}"
    check_words(sent)
    for record in sent.records:
        assert not {"MAIL", "RCPT", "DATA", "BDAT"} & set(record.verbs()), record.commands
    assert sent.messages == []
    assert sent.entries("sent") == []


CASES = [("alone", name) for name in BAD]
CASES += [(where, name) for where in ("second", "sender") for name in list(BAD)[::4]]


@pytest.fixture(scope="module")
def refusals(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Sent]:
    """Every bad address, alone, second, and as the sender."""
    root = tmp_path_factory.mktemp("addresses")

    def one(number: int, where: str, address: str) -> Sent:
        home = root / str(number)
        if where == "sender":
            return run(SCRIPT, home, sender=address)
        others = (RECIPIENT,) if where == "second" else ()
        return run(SCRIPT, home, recipients=(*others, address))

    with ThreadPoolExecutor(4) as pool:
        runs = [pool.submit(one, i, w, BAD[name]) for i, (w, name) in enumerate(CASES)]
        return {case: future.result() for case, future in zip(CASES, runs, strict=True)}


@pytest.mark.parametrize(("where", "name"), CASES)
def test_a_bad_address_is_refused(
    where: str, name: str, refusals: dict[tuple[str, str], Sent]
) -> None:
    check_refused(refusals[where, name])


@pytest.mark.parametrize(
    "header",
    [
        b"To: b\0@example.org",
        b"To: b@example.org\0",
        b'To: "b\r\n DATA"@example.org\0',
        b"To: b@exa\x7fmple.org",
        b"Cc: \xff\xfe@example.org",
    ],
)
def test_a_bad_address_in_the_header_is_refused(tmp_path: Path, header: bytes) -> None:
    message = header + b"\nFrom: a@example.org\nSubject: x\n\nText.\n"
    check_refused(run(SCRIPT, tmp_path, recipients=(), options=("-t",), message=message))


def test_what_stands_behind_an_address_in_the_header_goes_nowhere(tmp_path: Path) -> None:
    message = b"To: <b@example.org> NOTIFY=NEVER\nFrom: a@example.org\nSubject: x\n\nText.\n"
    sent = run(SCRIPT, tmp_path, recipients=(), options=("-t",), message=message)
    if sent.status:
        check_refused(sent)
    rcpt = [command for command in sent.commands if command.startswith(b"RCPT")]
    assert rcpt == ([] if sent.status else [b"RCPT TO:<b@example.org>"])


@pytest.mark.parametrize(
    ("recipient", "sender"),
    [
        (RECIPIENT, ""),
        (RECIPIENT, "<>"),
        ("<b@example.org>", SENDER),
        ('"b c"@example.org', SENDER),
        ("b@[127.0.0.1]", SENDER),
        ("b+c=d/e{f}|g~!#$%&'*?^`@example.org", SENDER),
        ("postmaster", SENDER),
        ("\u00fcber@b\u00fccher.example", SENDER),
    ],
)
def test_an_odd_but_good_address_arrives_as_it_is(
    tmp_path: Path, recipient: str, sender: str
) -> None:
    sent = run(SCRIPT, tmp_path, recipients=(recipient,), sender=sender, message=MESSAGE)
    assert sent.status == 0, sent.stderr
    bare = recipient.removeprefix("<").removesuffix(">").encode()
    assert b"RCPT TO:<" + bare + b">" in [c.split(b" NOTIFY")[0] for c in sent.commands]
    path = sender.removeprefix("<").removesuffix(">").encode()
    assert any(command.startswith(b"MAIL FROM:<" + path + b">") for command in sent.commands)

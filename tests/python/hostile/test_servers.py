"""`smtps send` against every row: the right status and verdict, and what always has to hold."""

from __future__ import annotations

import pytest

from hostile.conftest import Fetch
from hostile.rows import ROWS, Row
from hostile.sending import VERDICTS, check, in_crlf

VERBS = {"EHLO", "HELO", "STARTTLS", "AUTH", "MAIL", "RCPT", "DATA", "BDAT", "RSET", "QUIT"}
"""What may come where a command is due: nothing of a message, and no password."""


def test_every_row_has_a_name_of_its_own() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_hostile_server(row: Row, fetch: Fetch) -> None:
    sent = fetch(row)
    told = f"{sent.status}: {sent.stderr}"
    whole = bool(sent.messages)
    assert sent.status in row.allowed(whole), f"not {row.allowed(whole)} but {told}"
    if row.reached:
        assert row.reached in sent.played, f"{row.reached} was not reached: {told}"
    if row.verdicts:
        assert tuple(sent.verdicts) == row.verdicts
    elif len(row.recipients) == 1:
        assert set(sent.verdicts) <= VERDICTS[sent.status]
    check(sent, row.recipients, row.messages)
    assert row.says in sent.stderr
    for word in row.silent:
        for command in sent.commands:
            assert word.encode() not in command.upper(), command
    if row.script.tls == "starttls":
        clear = [record.clear.split(b"\x16", 1)[0].upper() for record in sent.records]
        for verb in (b"AUTH", b"MAIL", b"RCPT", b"DATA", b"BDAT"):
            assert not any(verb in text for text in clear)
    if sent.status == 0:
        assert sent.messages == [in_crlf(row.message)] * row.messages
    if row.script.swallows:
        for record in sent.records:
            assert set(record.verbs()) <= VERBS, record.commands

"""Kills at random moments, and two drainers at once, by real processes.  The long form is
tests/bench/crash."""

from __future__ import annotations

import random
import time
from pathlib import Path

import crash

from smtps.client.account import Account
from smtps.outbox.spool import Spool
from smtps.protocol.envelope import Envelope


def test_kills_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    found = crash.run(tmp_path, 20, 1)
    assert (found.lost, found.doubled, found.lied) == (0, 0, 0)
    assert found.accepted > 20


def test_two_drainers_at_once_send_each_mail_once(tmp_path: Path) -> None:
    server = crash.Server(random.Random(0), reliable=True)  # noqa: S311
    box = Spool(tmp_path / "box")
    account = Account("127.0.0.1", server.port, "none")
    names = [f"m{number}@crash.test" for number in range(200)]
    for name in names:
        envelope = Envelope("a@crash.test", (name,))
        box.take_in(account, envelope, lambda: [b"Subject: x\r\n\r\nx\r\n"], "<x@y>", "queue")
    lives = [crash.Life(box.root) for _ in range(2)]
    deadline = time.monotonic() + crash.END_SECONDS
    while box.names("queue") or box.names("active"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    for life in lives:
        life.end(None)
    server.close()
    assert server.accepted == dict.fromkeys(names, 1)
    assert len(box.names("sent")) == 200
    assert not list((box.root / "log").iterdir())

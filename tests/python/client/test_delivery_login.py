"""How a delivery logs in at the sandbox: what is asked, how often, and where the work is done."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from smtps.client.account import Account
from smtps.client.delivery import Delivery
from smtps.client.login import Ask, Credentials
from smtps.errors import LoginError
from smtps.net.loop import Loop
from smtps.net.streams import run
from smtps.protocol import body
from smtps.protocol.envelope import Envelope, Message
from smtps.protocol.outcome import Outcome, Verdict
from smtps.sandbox.machine import Offer, Override
from smtps.sandbox.server import PASSWORD, USER, Sandbox
from smtps.sasl.scram import Scram

TEXT = b"Subject: x\r\n\r\nText\r\n"


class Asked:
    """Gives the credentials, and counts."""

    def __init__(self, password: str = PASSWORD) -> None:
        self.times = 0
        self._password = password

    async def __call__(self) -> Credentials:
        self.times += 1
        return Credentials(USER, self._password)


async def commit(recipients: tuple[int, ...]) -> None:
    return


def sandbox(directory: Path, *mechanisms: str, override: Override | None = None) -> Sandbox:
    offer = Offer(secure=("PIPELINING", "CHUNKING", f"AUTH {' '.join(mechanisms)}"))
    return Sandbox(directory, implicit=offer, override=override)


def account(running: Sandbox, *wanted: str, user: str | None = USER) -> Account:
    return Account(
        "localhost", running.port, "implicit", user=user, mechanisms=wanted,
        ca_file=str(running.ca_file),
    )  # fmt: skip


async def sent(delivery: Delivery, ask: Ask | None) -> Outcome:
    message = Message(lambda: [TEXT], body.shape([TEXT]))
    try:
        return await delivery.send(Envelope("me@x", ("b@x.it",)), message, ask, commit)
    finally:
        await delivery.close()


def test_other_mechanisms_take_the_same_secret(tmp_path: Path) -> None:
    def down(verb: str, line: str) -> str | None:
        is_down = verb == "AUTH" and "CRAM-MD5" not in line
        return "504 5.5.4 not so\r\n" if is_down else None

    asked = Asked()
    with sandbox(tmp_path, "SCRAM-SHA-256", "PLAIN", "CRAM-MD5", override=down) as running:
        outcome = run(sent(Delivery(account(running)), asked))
    assert outcome.verdict is Verdict.ACCEPTED
    assert asked.times == 1


def test_nothing_is_asked_where_nothing_can_be_used(tmp_path: Path) -> None:
    asked = Asked()
    with sandbox(tmp_path, "XOAUTH2", "X-NEW") as running:
        outcome = run(sent(Delivery(account(running)), asked))
    assert outcome.verdict is Verdict.LOGIN
    assert "With XOAUTH2 named" in outcome.text
    assert asked.times == 0


def test_anonymous_asks_nothing(tmp_path: Path) -> None:
    with sandbox(tmp_path, "ANONYMOUS") as running:
        outcome = run(sent(Delivery(account(running, "ANONYMOUS", user=None)), None))
        assert outcome.verdict is Verdict.ACCEPTED
        assert running.accepted[0].user == "anonymous"


@pytest.mark.parametrize("password", [PASSWORD, "wrong"])
def test_scram_plus_on_a_real_connection(tmp_path: Path, password: str) -> None:
    with sandbox(tmp_path, "SCRAM-SHA-256-PLUS", "PLAIN") as running:
        trace: list[str] = []
        delivery = Delivery(account(running), trace=lambda _, line: trace.append(line))
        outcome = run(sent(delivery, Asked(password)))
    good = password == PASSWORD
    # With the server's proof the password could be guessed from a transcript.
    assert ("334 <masked>" in trace) is good
    assert outcome.verdict is (Verdict.ACCEPTED if good else Verdict.LOGIN)
    assert good or "SCRAM-SHA-256-PLUS" in outcome.text


def test_the_work_holds_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []
    respond = Scram.respond

    def watched(self: Scram, challenge: bytes) -> bytes:
        threads.append(threading.current_thread())
        return respond(self, challenge)

    monkeypatch.setattr(Scram, "respond", watched)
    with sandbox(tmp_path, "SCRAM-SHA-512") as running:
        outcome = asyncio.run(sent(Delivery(account(running), Loop()), Asked()))
    assert outcome.verdict is Verdict.ACCEPTED
    assert threads
    assert threading.main_thread() not in threads


def test_an_error_of_who_is_asked(tmp_path: Path) -> None:
    async def ask() -> Credentials:
        raise LoginError("No password is there.")

    with sandbox(tmp_path, "PLAIN") as running:
        outcome = run(sent(Delivery(account(running)), ask))
    assert outcome.verdict is Verdict.LOGIN
    assert outcome.text == "No password is there."

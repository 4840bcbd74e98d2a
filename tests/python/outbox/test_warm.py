"""A connection that is opened while a mail is composed, and what is left alone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from delayproxy import Proxy

from smtps.client.account import Account
from smtps.errors import LoginError
from smtps.outbox.drain import Drainer
from smtps.outbox.spool import Spool
from smtps.protocol.envelope import Envelope
from smtps.sandbox.server import PASSWORD, USER, Sandbox

TEXT = b"Subject: x\r\n\r\nHello.\r\n"

DELAY = 0.05


def account(sandbox: Sandbox, port: int | None = None) -> Account:
    """Return an account at the sandbox, or at what leads there at PORT."""
    return Account(
        "localhost", port or sandbox.port, "implicit", user=USER, ca_file=str(sandbox.ca_file)
    )


def drained(
    directory: Path,
    do: Callable[[Drainer, Spool], Awaitable[None]],
    password: str = PASSWORD,
) -> None:
    """Have DO do something with a drainer, whose user has PASSWORD, and its outbox."""
    box = Spool(directory / "box")

    async def ask(account: Account) -> tuple[str, str]:
        if not password:
            raise LoginError("There is none.")
        return USER, password

    async def drain() -> None:
        running = Drainer(str(box.root), lambda event: None, ask)
        async with asyncio.timeout(20):
            await do(running, box)
        await running.stop()

    asyncio.run(drain())


async def sent(drainer: Drainer, box: Spool, to: Account) -> None:
    """Send a mail, and wait until it was accepted."""
    before = len(box.names("sent"))
    box.take_in(to, Envelope("me@x", ("a@x",)), lambda: [TEXT], "<1@x>", "queue")
    drainer.wake()
    while len(box.names("sent")) == before:  # noqa: ASYNC110
        await asyncio.sleep(0.005)


class Heard(list[str]):
    """The verbs that a sandbox heard; RESPONSES are what it says instead of its own."""

    def __init__(self, **responses: str) -> None:
        super().__init__()
        self.responses = responses

    def override(self, verb: str, line: str) -> str | None:
        """Be what a sandbox overrides."""
        self.append(verb)
        return self.responses.get(verb)


def test_what_was_opened_ahead_leaves_one_round_trip(tmp_path: Path) -> None:
    more = ["CHUNKING", "PIPELINING"]
    with Sandbox(tmp_path / "sandbox", more=more) as sandbox, Proxy(sandbox.port, DELAY) as proxy:
        to = account(sandbox, proxy.port)

        async def do(drainer: Drainer, box: Spool) -> None:
            assert await drainer.warm(to)
            (connection,) = proxy.open()
            before, began = connection.flights, time.monotonic()
            await sent(drainer, box, to)
            took = time.monotonic() - began
            assert proxy.open() == [connection]
            assert connection.flights - before == 1
            print(f"{before} flights ahead; then 1, in {took * 1000:.0f} ms of {2000 * DELAY:.0f}")

        drained(tmp_path, do)
        assert [mail.recipients for mail in sandbox.accepted] == [("a@x",)]


def test_it_is_kept_alive_while_somebody_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = Heard()
    with Sandbox(tmp_path / "sandbox", override=heard.override) as sandbox:

        async def do(drainer: Drainer, box: Spool) -> None:
            for _ in range(3):
                assert await drainer.warm(account(sandbox))
            assert heard.count("NOOP") == 0
            monkeypatch.setattr("smtps.client.link.SILENT", 0)
            for _ in range(3):
                assert await drainer.warm(account(sandbox))
            assert heard.count("NOOP") == 3
            monkeypatch.setattr("smtps.client.link.ASKED_LIMIT", 3)
            assert await drainer.warm(account(sandbox))
            assert heard.count("NOOP") == 3
            assert heard.count("EHLO") == heard.count("AUTH") == 1

        drained(tmp_path, do)


def test_a_mail_that_comes_meanwhile_takes_the_same_connection(tmp_path: Path) -> None:
    heard = Heard()
    with (
        Sandbox(tmp_path / "sandbox", override=heard.override) as sandbox,
        Proxy(sandbox.port, DELAY) as proxy,
    ):
        to = account(sandbox, proxy.port)

        async def do(drainer: Drainer, box: Spool) -> None:
            warming = asyncio.create_task(drainer.warm(to))
            await asyncio.sleep(0)
            await sent(drainer, box, to)
            assert await warming
            # Nor does a mail under way have another opened beside it.
            sending = asyncio.create_task(sent(drainer, box, to))
            while not heard.count("MAIL") > 1:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
            assert await drainer.warm(to)
            await sending

        drained(tmp_path, do)
        assert heard.count("EHLO") == 1


@pytest.mark.parametrize("when", ["idle", "MAIL"])
def test_what_died_is_replaced_before_the_mail_leaves(tmp_path: Path, when: str) -> None:
    """That is so even when it shows only where the answer to MAIL should come."""
    heard = Heard()

    def hang_up() -> None:
        for connected in list(sandbox._open):
            connected.shutdown(2)

    def override(verb: str, line: str) -> str | None:
        heard.override(verb, line)
        if verb == when == "MAIL" and heard.count("MAIL") == 1:
            hang_up()
        return None

    with Sandbox(tmp_path / "sandbox", override=override) as sandbox:

        async def do(drainer: Drainer, box: Spool) -> None:
            assert await drainer.warm(account(sandbox))
            if when == "idle":
                hang_up()
            await sent(drainer, box, account(sandbox))

        drained(tmp_path, do)
        assert heard.count("EHLO") == 2
        assert len(sandbox.accepted) == 1


def test_a_refused_login_is_not_repeated_before_a_mail_was_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("smtps.client.pool.REOPEN_SECONDS", 0)
    heard = Heard(AUTH="535 5.7.8 no\r\n")
    with Sandbox(tmp_path / "sandbox", override=heard.override) as sandbox:

        async def do(drainer: Drainer, box: Spool) -> None:
            for _ in range(3):
                assert not await drainer.warm(account(sandbox))
            assert heard.count("EHLO") == heard.count("AUTH") == 1
            heard.responses.clear()
            assert not await drainer.warm(account(sandbox))
            assert heard.count("EHLO") == 1
            await sent(drainer, box, account(sandbox))
            assert await drainer.warm(account(sandbox))

        drained(tmp_path, do)


def test_so_it_is_when_a_mail_met_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smtps.client.pool.REOPEN_SECONDS", 0)
    heard = Heard(AUTH="535 5.7.8 no\r\n")
    with Sandbox(tmp_path / "sandbox", override=heard.override) as sandbox:

        async def do(drainer: Drainer, box: Spool) -> None:
            to = account(sandbox)
            box.take_in(to, Envelope("me@x", ("a@x",)), lambda: [TEXT], "<1@x>", "queue")
            drainer.wake()
            await drainer.drained()
            assert not await drainer.warm(to)
            assert heard.count("EHLO") == 1

        drained(tmp_path, do)


def test_without_a_password_nobody_is_asked_again(tmp_path: Path) -> None:
    heard = Heard()
    with Sandbox(tmp_path / "sandbox", override=heard.override) as sandbox:

        async def do(drainer: Drainer, box: Spool) -> None:
            assert not await drainer.warm(account(sandbox))
            assert not await drainer.warm(account(sandbox))

        drained(tmp_path, do, "")
        assert heard.count("EHLO") == 1
        assert "AUTH" not in heard


def test_in_an_hour_it_is_opened_at_most_once_a_minute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever closes at once, and however often a buffer that is written in asks."""
    heard = Heard(EHLO="421 4.3.2 going\r\n")
    now = 0.0

    class Clock:
        @staticmethod
        def monotonic() -> float:
            return now

    monkeypatch.setattr("smtps.client.pool.time", Clock)
    with Sandbox(tmp_path / "sandbox", override=heard.override) as sandbox:

        async def do(drainer: Drainer, box: Spool) -> None:
            nonlocal now
            for _ in range(3600 // 5):
                assert not await drainer.warm(account(sandbox))
                now += 5

        drained(tmp_path, do)
        assert heard.count("EHLO") == 60

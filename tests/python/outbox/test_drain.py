"""A drainer against the sandbox, stopped at the worst moments."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

from smtps.client.account import Account
from smtps.outbox.drain import Drainer
from smtps.outbox.entry import Journal
from smtps.outbox.spool import Spool
from smtps.protocol.envelope import Envelope
from smtps.rpc.codec import Value
from smtps.sandbox.server import PASSWORD, USER, Sandbox

TEXT = b"Subject: x\r\n\r\nx\r\n"


class Moment:
    """Holds the writing of a journal's line that begins with BEGINNING, until told to go on."""

    def __init__(self, beginning: str, patch: pytest.MonkeyPatch) -> None:
        self._reached, self._go_on = threading.Event(), threading.Event()
        append = Journal.append

        def held(journal: Journal, *lines: str, reserve: bool = False) -> None:
            if lines[0].startswith(beginning):
                self._reached.set()
                assert self._go_on.wait(10)
            append(journal, *lines, reserve=reserve)

        patch.setattr(Journal, "append", held)

    async def reached(self) -> None:
        """Wait for it."""
        assert await asyncio.to_thread(self._reached.wait, 10)

    def go_on(self) -> None:
        """Let it go on."""
        self._go_on.set()


def drainer(sandbox: Sandbox, box: Spool) -> Drainer:
    """Return a drainer that sends a mail to the sandbox."""
    account = Account(
        "localhost", sandbox.port, "implicit", user=USER, ca_file=str(sandbox.ca_file)
    )
    box.take_in(account, Envelope("me@x", ("a@x",)), lambda: [TEXT], "<1@x>", "queue")

    def tell(event: Mapping[str, Value]) -> None:
        return None

    async def ask(account: Account) -> tuple[str, str]:
        return USER, PASSWORD

    return Drainer(str(box.root), tell, ask)


def states(box: Spool) -> list[str]:
    """Return where the mails lie."""
    return [
        state for state in ("queue", "held", "active", "sent", "failed") for _ in box.names(state)
    ]


def test_stopped_while_the_result_is_written_it_keeps_an_accepted_mail_as_sent(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = Spool(tmp_path / "box")
    moment = Moment("(result", monkeypatch)

    async def drain() -> None:
        running = drainer(sandbox, box)
        await moment.reached()
        stopping = asyncio.create_task(running.stop())
        # Long enough for it to have been given up.
        await asyncio.wait((stopping,), timeout=0.2)
        moment.go_on()
        await stopping

    asyncio.run(drain())
    assert states(box) == ["sent"]
    assert len(sandbox.accepted) == 1


def test_cancelled_past_the_commit_a_mail_is_not_due_again(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = Spool(tmp_path / "box")
    moment = Moment("(commit", monkeypatch)

    async def drain() -> None:
        running = drainer(sandbox, box)
        await moment.reached()
        # As the end of the process does, when it has waited long enough.
        assert running._current is not None
        running._current.cancel()
        moment.go_on()
        await running.stop()

    asyncio.run(drain())
    assert states(box) == ["active"]

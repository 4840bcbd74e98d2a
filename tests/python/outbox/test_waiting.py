"""What the drainer leaves in queue/ until a person has answered."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

from smtps.client.account import Account
from smtps.outbox.drain import Drainer
from smtps.outbox.spool import Spool
from smtps.protocol.envelope import Envelope
from smtps.rpc.codec import Value
from smtps.sandbox.server import PASSWORD, USER, Sandbox


def test_a_refused_password_waits_for_another(tmp_path: Path) -> None:
    with Sandbox(tmp_path / "sandbox") as sandbox:
        events = asyncio.run(_drained(tmp_path, sandbox, ["wrong", PASSWORD]))
        first, second = events
        assert first["verdict"] == "login"
        assert "535" in str(first["text"])
        assert (first["state"], first["waits"], first["next"]) == ("queue", "secret", None)
        assert (first["host"], first["port"]) == ("localhost", sandbox.port)
        assert (second["state"], second["waits"]) == ("sent", None)
        assert len(sandbox.accepted) == 1


def test_who_is_asked_may_know_the_user(tmp_path: Path) -> None:
    with Sandbox(tmp_path / "sandbox") as sandbox:
        wanted, sent = asyncio.run(_drained(tmp_path, sandbox, [None, PASSWORD]))
        assert (wanted["state"], wanted["waits"]) == ("queue", "secret")
        assert sent["state"] == "sent"


def test_a_server_that_wants_a_login_waits_for_one(tmp_path: Path) -> None:
    with Sandbox(tmp_path / "sandbox") as sandbox:
        (event,) = asyncio.run(_drained(tmp_path, sandbox, [None]))
        assert (event["state"], event["waits"]) == ("queue", "secret")


async def _drained(
    directory: Path, sandbox: Sandbox, passwords: list[str | None]
) -> list[Mapping[str, Value]]:
    """Return an event for each of PASSWORDS, which are given one after the other; None: no user."""
    user = USER if passwords[0] else None
    ca_file = str(sandbox.ca_file)
    account = Account("localhost", sandbox.port, "implicit", user=user, ca_file=ca_file)
    box = Spool(directory / "box")
    owned = box.begin(
        account, Envelope(USER, ("a@x.example",)), lambda: [b"Subject: x\r\n\r\nx\r\n"], "<1@x>"
    )
    owned.finish("queue")
    events: asyncio.Queue[Mapping[str, Value]] = asyncio.Queue()

    def tell(event: Mapping[str, Value]) -> None:
        if event["state"] != "active":
            events.put_nowait(event)

    async def ask(account: Account) -> tuple[str, str] | None:
        password = passwords[len(heard)]
        return (USER, password) if password else None

    heard: list[Mapping[str, Value]] = []
    drainer = Drainer(str(box.root), tell, ask)
    async with asyncio.timeout(20):
        while len(heard) < len(passwords):
            drainer.wake()
            heard.append(await events.get())
    await drainer.stop()
    return heard

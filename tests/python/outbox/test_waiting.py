"""What the drainer leaves in queue/ until a person has answered."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest
from authority import Authority, Kind

from smtps.client.account import Account
from smtps.client.trusting import Trust
from smtps.outbox.drain import Drainer
from smtps.outbox.spool import Spool
from smtps.protocol.envelope import Envelope
from smtps.rpc.codec import Value
from smtps.sandbox.server import PASSWORD, USER, Sandbox

GOOD = Kind()


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


FAULTS = {
    "pins": "is no pin: HOST PORT sha256//KEY was expected",
    "CA file": "there is no certificate in it",
    "mechanism": "X-NEW is no mechanism that smtps has",
    "no authority": "a pin does not do",
}
"""What is wrong with the set-up, and what is told of it."""


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_the_set_up_burns_no_queue(fault: str, tmp_path: Path) -> None:
    pins, ca_file = tmp_path / "pins", tmp_path / "ca.pem"
    ours = Authority(tmp_path).issue(GOOD, "ours.pem")
    with Sandbox(tmp_path / "sandbox") as sandbox:
        good = sandbox.ca_file.read_bytes()
        bad = {"CA file": b"none", "no authority": ours.read_bytes()}.get(fault, good)
        ca_file.write_bytes(bad)
        pins.write_text("mx 465\n" if fault == "pins" else "")
        account = Account(
            "localhost", sandbox.port, "implicit", user=USER, ca_file=str(ca_file),
            client_certificate=str(ours) if fault == "no authority" else None,
            mechanisms=("X-NEW",) if fault == "mechanism" else (),
        )  # fmt: skip
        box = Spool(tmp_path / "box")
        for number in range(3):
            envelope = Envelope(USER, ("a@x.example",))
            box.take_in(account, envelope, lambda: [b"S: x\r\n\r\nx\r\n"], f"<{number}@x>", "queue")
        events: list[Mapping[str, Value]] = []
        asyncio.run(_flushed(box, Trust(pins), events))
        assert len(events) == 3
        for event in events:
            assert (event["state"], event["waits"], event["next"]) == ("queue", "setup", None)
            assert FAULTS[fault] in str(event["text"])
            assert "The mail waits for you in the outbox." in str(event["text"])
        assert len(box.names("queue")) == 3
        assert not sandbox.accepted
        if fault == "mechanism":
            # It is frozen with the mail: nothing beside it can be mended.
            return
        pins.write_text("")
        ca_file.write_bytes(good)
        asyncio.run(_flushed(box, Trust(pins), events))
        assert len(box.names("sent")) == len(sandbox.accepted) == 3


async def _flushed(box: Spool, trust: Trust, events: list[Mapping[str, Value]]) -> None:
    """Send what is due, or is said to be; EVENTS get what is told of it."""

    async def ask(account: Account) -> tuple[str, str]:
        return USER, PASSWORD

    drainer = Drainer(str(box.root), events.append, ask, trust)
    async with asyncio.timeout(20):
        await drainer.drained()
    await drainer.stop()


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

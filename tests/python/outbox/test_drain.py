"""A drainer against the sandbox: stopped at the worst moments, and what it waits for."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from smtps.client.account import Account
from smtps.outbox.drain import Drainer
from smtps.outbox.journal import Journal
from smtps.outbox.log import Log
from smtps.outbox.spool import Spool
from smtps.protocol.envelope import Envelope
from smtps.rpc.codec import Value, plist
from smtps.sandbox.server import LOGINS, PASSWORD, USER, Sandbox

TEXT = b"Subject: x\r\n\r\nx\r\n"

Event = Mapping[str, Value]


class Moment:
    """A moment at which somebody in another thread waits until told to go on."""

    def __init__(self) -> None:
        self._reached, self._go_on = threading.Event(), threading.Event()

    def here(self) -> None:
        """Say that it is reached, and wait."""
        self._reached.set()
        assert self._go_on.wait(10)

    async def reached(self) -> None:
        """Wait for it."""
        assert await asyncio.to_thread(self._reached.wait, 10)

    def go_on(self) -> None:
        """Let it go on."""
        self._go_on.set()


def queued(sandbox: Sandbox, box: Spool, port: int | None = None) -> str:
    """Put a mail for the sandbox, or for what is at PORT, into the queue; return its name."""
    account = Account(
        "localhost", port or sandbox.port, "implicit", user=USER, ca_file=str(sandbox.ca_file)
    )
    return box.take_in(account, Envelope("me@x", ("a@x",)), lambda: [TEXT], "<1@x>", "queue").name


def drainer(box: Spool, tell: Callable[[Event], None] = lambda event: None) -> Drainer:
    """Return a drainer that knows the sandbox's password."""

    async def ask(account: Account) -> tuple[str, str]:
        return USER, PASSWORD

    return Drainer(str(box.root), tell, ask)


def states(box: Spool) -> list[str]:
    """Return where the mails lie."""
    return [
        state for state in ("queue", "held", "active", "sent", "failed") for _ in box.names(state)
    ]


def test_stopped_before_the_commit_is_on_the_disk_nothing_was_sent(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = Spool(tmp_path / "box")
    queued(sandbox, box)
    moment = Moment()
    flush = Log._flush

    def held(log: Log) -> None:
        moment.here()
        flush(log)

    monkeypatch.setattr(Log, "_flush", held)

    async def drain() -> None:
        running = drainer(box)
        await moment.reached()
        stopping = asyncio.create_task(running.stop())
        await asyncio.wait((stopping,), timeout=0.2)
        moment.go_on()
        await stopping

    asyncio.run(drain())
    assert states(box) == ["queue"]
    assert not sandbox.accepted
    monkeypatch.undo()

    async def again() -> None:
        running = drainer(box)
        async with asyncio.timeout(10):
            await running.drained()
        await running.stop()

    asyncio.run(again())
    assert states(box) == ["sent"]
    assert len(sandbox.accepted) == 1


def test_stopped_past_the_commit_it_waits_for_the_last_reply(tmp_path: Path) -> None:
    box = Spool(tmp_path / "box")
    moment = Moment()

    def override(verb: str, line: str) -> str | None:
        if verb == "BDAT":
            moment.here()
        return None

    async def drain() -> None:
        running = drainer(box)
        await moment.reached()
        stopping = asyncio.create_task(running.stop())
        done, _ = await asyncio.wait((stopping,), timeout=0.2)
        assert not done
        moment.go_on()
        await stopping

    with Sandbox(tmp_path / "sandbox", more=["CHUNKING"], override=override) as sandbox:
        queued(sandbox, box)
        asyncio.run(drain())
        assert states(box) == ["sent"]
        assert len(sandbox.accepted) == 1


def test_a_server_that_hangs_holds_up_no_other(sandbox: Sandbox, tmp_path: Path) -> None:
    import socket

    box = Spool(tmp_path / "box")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hanging = queued(sandbox, box, silent.getsockname()[1])
        names = [queued(sandbox, box) for _ in range(3)]
        told: list[Event] = []

        async def drain() -> None:
            running = drainer(box, told.append)
            async with asyncio.timeout(20):
                while len(box.names("sent")) < 3 or len(told) < 4:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            assert box.names("active") == [hanging]
            await running.stop()

        asyncio.run(drain())
    assert box.names("sent") == sorted(names)
    assert box.names("queue") == [hanging]
    # What takes no time is not told to be under way; what takes longer is.
    assert [str(e["id"]) for e in told if e["state"] == "active"] == [hanging]


def test_a_mail_that_always_fails_waits_longer_each_time_and_holds_up_none(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    box = Spool(tmp_path / "box")
    bad = queued(sandbox, box, 1)
    told: list[Event] = []

    async def drain() -> None:
        running = drainer(box, told.append)
        async with asyncio.timeout(20):
            await running.drained()
            running.hurry(bad)
            while len(told) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
            queued(sandbox, box)
            running.wake()
            while not box.names("sent"):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        await running.stop()

    asyncio.run(drain())
    assert ["next try in 60 s" in str(told[0]["text"]), "in 120 s" in str(told[1]["text"])] == [
        True,
        True,
    ]
    assert states(box) == ["queue", "sent"]
    kinds = [name for name, _ in Journal(box.root / "queue" / bad).records()]
    assert kinds == ["attempt", "transcript", "result", "outcome"] * 2


def test_a_mail_is_not_sent_before_its_time(sandbox: Sandbox, tmp_path: Path) -> None:
    box = Spool(tmp_path / "box")
    name = queued(sandbox, box)
    file = box.root / "queue" / name / "envelope.sexp"
    when = int(time.time()) + 3600
    file.write_text(file.read_text().replace(" :size", f" :not-before {when} :size", 1))

    async def drain() -> None:
        running = drainer(box)
        async with asyncio.timeout(10):
            await running.drained()
        await running.stop()

    asyncio.run(drain())
    assert states(box) == ["queue"]
    assert not sandbox.accepted


def test_a_damaged_entry_is_told_once_and_left_alone(sandbox: Sandbox, tmp_path: Path) -> None:
    box = Spool(tmp_path / "box")
    name = queued(sandbox, box)
    queued(sandbox, box)
    (box.root / "queue" / name / "message.eml").write_bytes(b"short")
    told: list[Event] = []

    async def drain() -> None:
        running = drainer(box, told.append)
        async with asyncio.timeout(10):
            await running.drained()
            running.wake()
            await running.drained()
        await running.stop()

    asyncio.run(drain())
    assert [str(e["id"]) for e in told if e["state"] == "damaged"] == [name]
    assert sorted(states(box)) == ["queue", "sent"]


def test_the_masked_dialogue_is_kept(sandbox: Sandbox, tmp_path: Path) -> None:
    box = Spool(tmp_path / "box")
    name = queued(sandbox, box)

    async def drain() -> None:
        running = drainer(box)
        async with asyncio.timeout(10):
            await running.drained()
        await running.stop()

    asyncio.run(drain())
    text = (box.root / "sent" / name / "journal.sexp").read_text()
    assert "send> AUTH PLAIN <the-encoded-auth-credentials>" in text
    assert PASSWORD not in text
    told = [plist(rest) for kind, rest in Journal(box.root / "sent" / name).records()]
    assert told[-1]["verdict"] == "accepted"


def test_each_sender_of_an_account_without_a_user_logs_in_as_themselves(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    """Where no author was frozen, as by the command, it is the envelope's sender."""
    box = Spool(tmp_path / "box")
    account = Account("localhost", sandbox.port, "implicit", ca_file=str(sandbox.ca_file))
    accented = "accented@poste.it"
    for number, (author, sender) in enumerate(
        [(USER, "bounces@x"), (None, accented), (None, USER), (accented, "bounces@x")]
    ):
        box.take_in(
            account._replace(author=author), Envelope(sender, ("a@x",)), lambda: [TEXT],
            f"<{number}@x>", "queue",
        )  # fmt: skip

    async def ask(asked: Account) -> tuple[str, str]:
        assert asked.author is not None
        return asked.author, LOGINS[asked.author]

    async def drain() -> None:
        running = Drainer(str(box.root), lambda event: None, ask)
        async with asyncio.timeout(10):
            await running.drained()
        await running.stop()

    asyncio.run(drain())
    assert sorted((mail.user or "", mail.mail_from) for mail in sandbox.accepted) == [
        (accented, accented),
        (accented, "bounces@x"),
        (USER, "bounces@x"),
        (USER, USER),
    ]


def test_without_room_for_its_commit_nothing_is_sent_and_the_mail_waits(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = Spool(tmp_path / "box")
    queued(sandbox, box)
    told: list[Event] = []

    def full(descriptor: int, offset: int, size: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)

    async def drain() -> None:
        running = drainer(box, told.append)
        async with asyncio.timeout(10):
            await running.drained()
        await running.stop()

    asyncio.run(drain())
    assert states(box) == ["queue"]
    assert not sandbox.accepted
    assert "No space left on device" in str(told[-1]["text"])
    assert "Next try in 60 seconds" in str(told[-1]["text"])

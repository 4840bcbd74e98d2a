"""What a dead owner left in active/ is judged by what its journal says."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from smtps.client.account import Account
from smtps.errors import MessageUnreadableError
from smtps.outbox import entry
from smtps.outbox.drain import Drainer
from smtps.outbox.spool import Owned, Spool
from smtps.protocol.envelope import Envelope
from smtps.rpc.codec import Symbol, Value

ACCOUNT = Account("localhost", 1, "implicit")
TO = Envelope("me@x", ("a@x", "b@x"))


def begun(box: Spool) -> Owned:
    """Return an entry that a command has begun to send."""
    return box.begin(ACCOUNT, TO, lambda: [b"Subject: x\r\n\r\nx\r\n"], "<1@x>")


def die(owned: Owned) -> None:
    """Give the lock up, as the system does for a process that was killed."""
    os.close(owned._lock)


def recovered(box: Spool) -> str:
    """Return the state of the one entry, after a drainer has looked at what the dead left."""

    async def look() -> None:
        def tell(event: Mapping[str, Value]) -> None:
            seen.append(event)

        async def ask(account: Account) -> None:
            return None

        seen: list[Mapping[str, Value]] = []
        drainer = Drainer(str(box.root), tell, ask)
        # It takes nothing new once it is stopped: what is in queue/ stays there.
        drainer._stopping = True
        await drainer.stop()

    asyncio.run(look())
    found = [
        (state, n) for state in ("queue", "active", "sent", "failed") for n in box.names(state)
    ]
    assert len(found) == 1
    return found[0][0]


def result(index: int, verdict: str) -> str:
    return entry.form("result", attempt=1, recipient=index, verdict=Symbol(verdict))


@pytest.mark.parametrize(
    ("lines", "state"),
    [
        ([], "failed"),
        ([entry.form("commit", attempt=1, recipients=[0, 1])], "failed"),
        ([result(0, "accepted"), result(1, "accepted")], "sent"),
        ([result(0, "accepted"), result(1, "refused")], "failed"),
        ([entry.form("attempt", number=2, time=1)], "queue"),
        ([entry.form("attempt", number=2, time=1), result(0, "accepted")], "queue"),
        (
            [entry.form("attempt", number=2), entry.form("commit", attempt=2, recipients=[1])],
            "failed",
        ),
    ],
    ids=[
        "a command killed before its commit",
        "and after it",
        "killed when all were accepted",
        "killed when one was refused",
        "a drainer killed",
        "with one recipient left",
        "and after its commit",
    ],
)
def test_recovery(tmp_path: Path, lines: list[str], state: str) -> None:
    box = Spool(tmp_path / "box")
    owned = begun(box)
    if lines:
        owned.journal.append(*lines)
    die(owned)
    assert recovered(box) == state


def test_what_is_owned_is_left_alone(tmp_path: Path) -> None:
    box = Spool(tmp_path / "box")
    owned = begun(box)
    assert recovered(box) == "active"
    assert box.own(owned.directory) is None


def test_what_cannot_be_read_leaves_nothing_behind(tmp_path: Path) -> None:
    box = Spool(tmp_path / "box")

    def torn() -> list[bytes]:
        raise MessageUnreadableError("The message can't be read.")

    with pytest.raises(MessageUnreadableError):
        box.begin(ACCOUNT, TO, torn, "<1@x>")
    assert not any(box.names(state) for state in ("tmp", "queue", "active", "failed"))


def test_a_torn_line_hides_nothing_that_is_written_after_it(tmp_path: Path) -> None:
    box = Spool(tmp_path / "box")
    owned = begun(box)
    with (owned.directory / "journal.sexp").open("ab") as file:
        file.write(b"(attempt :number 2 :note " + b"x" * 500)
    owned.journal.append(entry.form("commit", attempt=2, recipients=[0, 1]))
    owned.journal.append(result(0, "accepted"))
    assert [name for name, _ in owned.journal.records()] == ["attempt", "commit", "result"]
    assert entry.unanswered(owned.journal.records()) == (1,)

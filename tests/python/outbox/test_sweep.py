"""Mails that were sent long ago are deleted, and only those."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest
from servers import Run

from smtps.client.account import Account
from smtps.errors import UsageError
from smtps.outbox import overview
from smtps.outbox.afterwork import NAME
from smtps.outbox.drain import Drainer
from smtps.outbox.spool import Spool
from smtps.outbox.sweep import DAY_SECONDS, sweep
from smtps.protocol.envelope import Envelope


@pytest.fixture
def box(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "box")


def sent(box: Spool, written: float, done: float | None = None, state: str = "sent") -> str:
    """Have a mail WRITTEN so many days ago, and DONE with (default: then); return its name."""
    account = Account("localhost", 1, "none")
    made = box.take_in(account, Envelope("f@x", ("t@x",)), lambda: [b"\n"], "1", state)
    then = time.time() - written * DAY_SECONDS
    name = time.strftime("%Y%m%dT%H%M%S", time.gmtime(then)) + made.name[15:]
    place = made.with_name(name)
    envelope = (made / "envelope.sexp").read_text().replace(made.name, name)
    (made / "envelope.sexp").write_text(envelope)
    made.rename(place)
    touched = time.time() - (written if done is None else done) * DAY_SECONDS
    os.utime(place, (touched, touched))
    return name


def left(box: Spool) -> set[str]:
    return {name for state in ("queue", "failed", "sent", "held") for name in box.names(state)}


def test_what_is_swept(box: Spool) -> None:
    old = [sent(box, 40), sent(box, 31)]
    owed = sent(box, 40)
    (box.place("sent", owed) / NAME).write_text("(afterwork :version 1)\n(fcc :kind maildir)\n")
    os.utime(box.place("sent", owed), (0, 0))
    claimed = sent(box, 40)
    owner = box.own(box.place("sent", claimed))
    assert owner is not None
    kept = {
        owed,
        claimed,
        sent(box, 29),
        # Written long before it went.
        sent(box, 40, done=1),
        *(sent(box, 40, state=state) for state in ("queue", "held", "failed")),
    }
    assert sweep(box, 30, lambda: True) == 0
    assert sweep(box, 30) == len(old)
    assert left(box) == kept
    assert not list((box.root / "tmp").iterdir())
    owner.give_up()
    assert sweep(box, 0) == 3
    assert owed in left(box)


def test_the_drainer_sweeps_beside_sending(box: Spool) -> None:
    old, new = sent(box, 40), sent(box, 1)

    async def drain(days: int | None) -> None:
        async def ask(account: Account) -> tuple[str, str]:
            raise AssertionError

        drainer = Drainer(str(box.root), lambda event: None, ask)
        await drainer.drained()
        drainer.keep_sent_days = days
        drainer.wake()
        async with asyncio.timeout(20):
            while days is not None and old in left(box):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        await drainer.stop()

    asyncio.run(drain(None))
    assert left(box) == {old, new}
    asyncio.run(drain(30))
    assert left(box) == {new}


def test_by_the_command_line(smtps: Run, box: Spool) -> None:
    new = sent(box, 1)
    sent(box, 40)
    words = ("--outbox", str(box.root))
    assert smtps("outbox", "list", "--keep-sent", "30", *words).returncode == 64
    assert smtps("outbox", "flush", "--keep-sent", "-1", *words).returncode == 64
    assert len(left(box)) == 2
    done = smtps("outbox", "flush", "--keep-sent", "30", *words)
    assert done.stdout == "1 mail sent more than 30 days ago: deleted.\n", done
    assert left(box) == {new}


def test_a_list_reads_no_journals_of_what_was_sent(box: Spool) -> None:
    name = sent(box, 1)
    (box.place("sent", name) / "journal.sexp").write_text("nonsense\n")
    assert [one.word for one in overview.listed(box, briefly=True)] == ["was sent"]
    assert [one.word for one in overview.listed(box)] == ["damaged"]
    with pytest.raises(UsageError):
        overview.found(box, "nothing")

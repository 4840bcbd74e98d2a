"""What a dead owner left in active/ is judged by what its journal says."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from smtps.client.account import Account
from smtps.errors import MessageUnreadableError
from smtps.outbox import journal, judge, log
from smtps.outbox.forms import form
from smtps.outbox.spool import Owned, Spool
from smtps.protocol.envelope import Envelope
from smtps.rpc.codec import Symbol

ACCOUNT = Account("localhost", 1, "implicit")
TO = Envelope("me@x", ("a@x", "b@x"))


def begun(box: Spool) -> Owned:
    """Return an entry that a command has begun to send."""
    return box.begin(ACCOUNT, TO, lambda: [b"Subject: x\r\n\r\nx\r\n"], "<1@x>")


def die(owned: Owned) -> None:
    """Give the lock up, as the system does for a process that was killed."""
    assert owned._lock is not None
    os.close(owned._lock)


def recovered(box: Spool) -> str:
    """Return the state of the one entry, after what the dead left was judged."""
    judge.recover(box)
    found = [
        (state, n)
        for state in ("queue", "held", "active", "sent", "failed")
        for n in box.names(state)
    ]
    assert len(found) == 1
    return found[0][0]


def result(index: int, verdict: str) -> str:
    return form("result", attempt=1, recipient=index, verdict=Symbol(verdict))


@pytest.mark.parametrize(
    ("lines", "state"),
    [
        ([], "failed"),
        ([form("commit", attempt=1, recipients=[0, 1])], "failed"),
        ([result(0, "accepted"), result(1, "accepted")], "sent"),
        ([result(0, "accepted"), result(1, "refused")], "failed"),
        ([result(0, "held"), result(1, "refused")], "held"),
        ([form("attempt", number=2, time=1)], "queue"),
        ([form("attempt", number=2, time=1), result(0, "accepted")], "queue"),
        (
            [form("attempt", number=2), form("commit", attempt=2, recipients=[1])],
            "failed",
        ),
    ],
    ids=[
        "a command killed before its commit",
        "and after it",
        "killed when all were accepted",
        "killed when one was refused",
        "and who wished that was to decide",
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


def left_log(box: Spool, *lines: str) -> None:
    """Leave the log of a drainer that was killed."""
    (box.root / "log" / "host-1-x").write_text("".join(lines) + "\0" * 100)


@pytest.mark.parametrize(
    ("before", "lines", "state"),
    [
        ("active", ["commit"], "failed"),
        ("active", ["commit", "accepted"], "sent"),
        ("active", ["commit", "deferred"], "queue"),
        ("active", ["commit", "refused"], "failed"),
        ("queue", ["commit"], "failed"),
        ("queue", ["commit", "accepted"], "sent"),
        ("queue", [], "queue"),
        ("active", ["damage"], "failed"),
        ("queue", ["damage"], "failed"),
    ],
)
def test_what_only_the_log_tells_counts(
    tmp_path: Path, before: str, lines: list[str], state: str
) -> None:
    box = Spool(tmp_path / "box")
    directory = box.take_in(ACCOUNT, TO, lambda: [b"Subject: x\r\n\r\nx\r\n"], "<1@x>", before)
    name = directory.name
    written = []
    for word in lines:
        if word == "commit":
            written.append(form("commit", id=name, attempt=1, recipients=[0, 1]))
        elif word == "damage":
            written += [f'(commit :id "{name}" :attempt\n', form("x")]
        else:
            written += [
                form("result", id=name, attempt=1, recipient=i, verdict=Symbol(word))
                for i in range(2)
            ]
    left_log(box, *written)
    assert recovered(box) == state
    # It is told in the journal, and nowhere else any more.
    assert not list((box.root / "log").iterdir())
    assert recovered(box) == state
    if lines:
        assert "(result :attempt 1" in next(box.root.glob("*/*/journal.sexp")).read_text()


def test_the_log_of_the_living_is_left_alone(tmp_path: Path) -> None:
    box = Spool(tmp_path / "box")
    owned = begun(box)
    living = log.Log(box.root / "log")
    living.note(form("commit", id=owned.directory.name, attempt=1, recipients=[0, 1]))
    assert judge.recover(box) == []
    assert living.path.exists()
    asyncio.run(living.close(box.root))
    assert not living.path.exists()


def test_an_owner_who_dies_while_others_look_is_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = Spool(tmp_path / "box")
    directory = box.take_in(ACCOUNT, TO, lambda: [b"Subject: x\r\n\r\nx\r\n"], "<1@x>", "queue")
    owned = box.take(directory.name)
    assert owned is not None
    living = log.Log(box.root / "log")
    living.note(form("commit", id=directory.name, attempt=1, recipients=[0, 1]))
    whole = Spool.names

    def names(self: Spool, state: str) -> list[str]:
        """Die when the entries are listed, with the log not yet unlocked."""
        if state == "active" and owned._lock is not None:
            owned.give_up()
        return whole(self, state)

    monkeypatch.setattr(Spool, "names", names)
    assert recovered(box) == "failed"
    assert living.path.exists()
    asyncio.run(living.close(box.root))


def test_what_the_living_could_not_write_into_its_entry_counts(tmp_path: Path) -> None:
    box = Spool(tmp_path / "box")
    owned = begun(box)
    name = owned.directory.name
    living = log.Log(box.root / "log")
    living.note(
        form("commit", id=name, attempt=1, recipients=[0, 1]),
        *(
            form("result", id=name, attempt=1, recipient=i, verdict=Symbol("accepted"))
            for i in range(2)
        ),
    )
    # Its disk was read-only when it was to be moved.
    owned.give_up()
    assert recovered(box) == "sent"
    asyncio.run(living.close(box.root))


@pytest.mark.parametrize("state", ["held", "failed"])
def test_what_is_kept_stays_where_it_is_and_hears_of_it(tmp_path: Path, state: str) -> None:
    box = Spool(tmp_path / "box")
    directory = box.take_in(ACCOUNT, TO, lambda: [b"Subject: x\r\n\r\nx\r\n"], "<1@x>", state)
    accepted = form("result", id=directory.name, attempt=1, recipient=0, verdict=Symbol("accepted"))
    left_log(box, accepted)
    assert recovered(box) == state
    assert "accepted" in (directory / "journal.sexp").read_text()
    assert not list((box.root / "log").iterdir())


def test_whoever_was_accepted_once_stays_so(tmp_path: Path) -> None:
    box = Spool(tmp_path / "box")
    owned = begun(box)
    owned.journal.append(
        form("attempt", number=2, time=1),
        result(0, "accepted"),
        result(0, "deferred"),
        result(1, "deferred"),
    )
    assert judge.settled(owned.journal.records(), TO) == {0: "accepted"}


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
    owned.journal.append(form("commit", attempt=2, recipients=[0, 1]))
    owned.journal.append(result(0, "accepted"))
    assert [name for name, _ in owned.journal.records()] == ["attempt", "commit", "result"]
    assert journal.unanswered(owned.journal.records()) == (1,)

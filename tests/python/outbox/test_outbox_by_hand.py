"""What a person does with a mail in the outbox, as Emacs asks the helper for it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest

from smtps.app import App
from smtps.client.account import Account
from smtps.errors import UsageError
from smtps.outbox import judge, overview
from smtps.outbox.journal import Journal, results
from smtps.outbox.spool import Spool
from smtps.protocol.envelope import Envelope
from smtps.protocol.outcome import Fate, Outcome, Verdict
from smtps.rpc import codec
from smtps.rpc.codec import Keyword, Symbol, Value, dumps, loads, plist
from smtps.rpc.stdio import Wire

RECIPIENTS = ("a@x.example", "b@x.example", "c@x.example")


def kept(box: Spool, state: str, *verdicts: Verdict) -> str:
    """Put a mail into STATE whose recipients met with VERDICTS; return its name."""
    account = Account("localhost", 1, "none")
    lines: list[bytes] = [b"Subject: x\n\nx\n"]
    directory = box.take_in(account, Envelope("f@x.example", RECIPIENTS), lambda: lines, "1", state)
    if verdicts:
        fates = tuple(map(Fate, RECIPIENTS, verdicts))
        Journal(directory).append(*results(1, Outcome(fates, "It is so.")))
    return directory.name


class Nobody:
    """An Emacs that does not listen."""

    def write(self, line: str, /, *, event: bool = False, newest: str | None = None) -> bool:
        """Take LINE."""
        return True


def ask(
    method: str,
    box: Spool,
    name: str,
    until: Callable[[], bool] = lambda: True,
    **wishes: Value,
) -> None:
    """Have the helper do METHOD with the mail NAME as the WISHES say, and wait UNTIL."""

    async def asked() -> None:
        app = App(cast(Wire, Nobody()))
        await getattr(app, method)({"outbox": str(box.root), "id": name, **wishes})
        async with asyncio.timeout(20):
            while not until():  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        await app.close()

    asyncio.run(asked())


@pytest.mark.parametrize("odd", ["", '"o\\ d"@x.example', "ü@x.example"])
def test_many_recipients_are_read_fast_and_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, odd: str
) -> None:
    box = Spool(tmp_path / "box")
    many = Envelope(
        "f@x.example", (*(f"a{n}@x.example" for n in range(2000)), *filter(None, [odd]))
    )
    directory = box.take_in(Account("localhost", 1, "none"), many, lambda: [b"x"], "1", "queue")
    taken = []

    def counted(text: str) -> Value:
        taken.append(len(text))
        return loads(text)

    monkeypatch.setattr(codec, "loads", counted)
    assert overview.found(box, directory.name).mail == box.entry(directory)
    assert box.entry(directory).envelope.recipients == many.recipients
    assert odd or sum(taken) < 3000


def test_a_dropped_mail_leaves_nothing(tmp_path: Path) -> None:
    box = Spool(tmp_path / "box")
    for state in ("queue", "held", "failed", "sent"):
        ask("outbox_drop", box, kept(box, state))
    assert not [path for path in box.root.rglob("*") if path.is_file()]


def test_what_is_being_sent_is_not_dropped(tmp_path: Path) -> None:
    box = Spool(tmp_path / "box")
    name = kept(box, "active")
    with pytest.raises(UsageError, match="is being sent"):
        ask("outbox_drop", box, name)
    assert box.names("active") == [name]


def test_an_uncertain_mail_is_marked_as_sent(tmp_path: Path) -> None:
    box = Spool(tmp_path / "box")
    name = kept(box, "failed", Verdict.ACCEPTED, Verdict.UNCERTAIN, Verdict.UNCERTAIN)
    ask("outbox_mark_sent", box, name)
    entry = overview.found(box, name)
    assert (entry.state, entry.word, entry.text) == ("sent", "was sent", overview.MARKED)


def test_who_was_refused_is_so_beside_what_is_marked(tmp_path: Path) -> None:
    box = Spool(tmp_path / "box")
    name = kept(box, "failed", Verdict.UNCERTAIN, Verdict.REFUSED, Verdict.UNCERTAIN)
    ask("outbox_mark_sent", box, name)
    entry = overview.found(box, name)
    assert (entry.state, entry.word) == ("failed", "failed")
    assert str(entry.outcome["verdict"]) == "refused"


@pytest.mark.parametrize("state", ["failed", "held"])
def test_what_was_delivered_by_hand_is_marked(tmp_path: Path, state: str) -> None:
    box = Spool(tmp_path / "box")
    name = kept(box, state, Verdict.REFUSED, Verdict.ACCEPTED, Verdict.REFUSED)
    ask("outbox_mark_sent", box, name)
    entry = overview.found(box, name)
    assert (entry.state, entry.word, entry.text) == ("sent", "was sent", overview.MARKED)


def test_what_may_be_sent_meanwhile_is_not_marked(tmp_path: Path) -> None:
    box = Spool(tmp_path / "box")
    name = kept(box, "queue")
    with pytest.raises(UsageError, match="can't be marked as sent"):
        ask("outbox_mark_sent", box, name)
    assert box.names("queue") == [name]


def test_a_failed_mail_goes_to_those_who_have_not_got_it(tmp_path: Path) -> None:
    box = Spool(tmp_path / "box")
    name = kept(box, "failed", Verdict.ACCEPTED, Verdict.REFUSED, Verdict.REFUSED)
    ask("outbox_retry", box, name, lambda: tried(box, name) == {1, 2})
    assert overview.found(box, name).state == "queue"


def test_who_may_have_got_a_mail_gets_it_again_only_when_its_user_says_so(tmp_path: Path) -> None:
    box = Spool(tmp_path / "box")
    name = kept(box, "failed", Verdict.UNCERTAIN, Verdict.REFUSED, Verdict.ACCEPTED)
    assert overview.found(box, name).uncertain
    # It was another attempt that ended like that.
    Journal(box.root / "failed" / name).append(
        *results(2, Outcome((Fate(RECIPIENTS[2], Verdict.ACCEPTED),), "All is well."), None, [2])
    )
    assert overview.found(box, name).word == "uncertain"
    ask("outbox_retry", box, name, lambda: tried(box, name, 3) == {1})
    with pytest.raises(UsageError, match="be marked as sent"):
        overview.mark_sent(box, overview.found(box, name))
    other = kept(box, "failed", Verdict.UNCERTAIN, Verdict.ACCEPTED, Verdict.ACCEPTED)
    with pytest.raises(UsageError, match="Nobody knows"):
        ask("outbox_retry", box, other)
    assert overview.found(box, other).word == "uncertain"
    ask("outbox_retry", box, other, lambda: tried(box, other) == {0}, uncertain=True)


def test_a_drop_that_is_cut_short_sends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = Spool(tmp_path / "box")
    name = kept(box, "held")
    rename = Path.rename
    ways: list[str] = []

    def watched(self: Path, target: Path) -> Path:
        ways.append(target.parent.name)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", watched)
    overview.drop(box, overview.found(box, name))
    # In active/ it would be judged after a kill, and sent.
    assert ways == ["tmp"]


def test_a_drop_does_not_mind_who_deletes_there_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = Spool(tmp_path / "box")
    name = kept(box, "sent")
    (box.root / "sent" / name / "afterwork.sexp").touch()
    unlink = os.unlink

    def twice(path: str, *, dir_fd: int | None = None) -> None:
        unlink(path, dir_fd=dir_fd)
        if "afterwork" in str(path):
            unlink(path, dir_fd=dir_fd)

    monkeypatch.setattr(os, "unlink", twice)
    overview.drop(box, overview.found(box, name))
    assert not box.names("tmp")


def test_what_is_taken_is_locked_before_it_is_in_active(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = Spool(tmp_path / "box")
    name = kept(box, "held")
    rename = Path.rename

    def judged_at_once(self: Path, target: Path) -> Path:
        moved = rename(self, target)
        if target.parent.name == "active":
            judge.recover(box)
        return moved

    monkeypatch.setattr(Path, "rename", judged_at_once)
    overview.retry(box, overview.found(box, name))
    assert box.names("queue") == [name]


def tried(box: Spool, name: str, attempt: int = 2) -> set[object]:
    """Return the recipients of the ATTEMPT on the mail NAME."""
    records = next((one.records for one in overview.listed(box) if one.name == name), [])
    told = [plist(rest) for kind, rest in records if kind == "result"]
    return {result["recipient"] for result in told if result["attempt"] == attempt}


FORMS = (Path(__file__).parents[2] / "wire" / "entry.txt").read_text("utf-8").splitlines()
"""An entry, envelope and journal, in which no field is missing."""

KINDS: dict[str, Value] = {
    "number": -1,
    "text": "x",
    "name": Symbol("x"),
    "flag": True,
    "list": [1, "a", Symbol("x")],
}


def kind(value: Value) -> str:
    """Return which of KINDS VALUE is of, or keyword."""
    if isinstance(value, Keyword):
        return "keyword"
    if isinstance(value, list):
        return "list"
    if value is True:
        return "flag"
    return "number" if isinstance(value, int) else "name" if isinstance(value, Symbol) else "text"


def spoilt() -> Iterator[list[str]]:
    """Yield FORMS with one value of another type, in each such way."""
    for place, line in enumerate(FORMS):
        form = loads(line)
        assert isinstance(form, list)
        for i in range(1, len(form)):
            for other, wrong in KINDS.items():
                if other != kind(form[i]) and (kind(form[i]) != "keyword" or other == "number"):
                    new = dumps([*form[:i], wrong, *form[i + 1 :]])
                    yield [*FORMS[:place], new, *FORMS[place + 1 :]]


def test_a_field_of_a_wrong_type_is_damage(tmp_path: Path) -> None:
    """Such a mail is told to be damaged, and nothing is done with it; others are listed."""
    box = Spool(tmp_path)
    kept(box, "failed", Verdict.REFUSED, Verdict.REFUSED, Verdict.REFUSED)
    name = kept(box, "failed")
    directory = box.place("failed", name)
    (directory / "message.eml").write_bytes(b"x\n\n")
    end = FORMS.index("(end)") + 1
    count = 0
    for lines in [FORMS, *spoilt()]:
        lines = [line.replace('"ID"', f'"{name}"') for line in lines]
        for file, part in (("envelope.sexp", lines[:end]), ("journal.sexp", lines[end:])):
            (directory / file).write_text("".join(line + "\n" for line in part))
        found = {one.name: one for one in overview.listed(box)}
        assert len(found) == 2
        assert (found[name].damage is None) == (count == 0), lines
        if count:
            with pytest.raises(UsageError):
                overview.retry(box, found[name])
        count += 1
    assert count > 200

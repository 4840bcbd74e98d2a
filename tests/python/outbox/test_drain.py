"""A drainer against the sandbox: stopped at the worst moments, and what it waits for."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from smtps.client.account import Account
from smtps.errors import OutboxError, UsageError
from smtps.outbox import judge, overview
from smtps.outbox.drain import Drainer
from smtps.outbox.journal import Journal
from smtps.outbox.log import Log
from smtps.outbox.spool import Owned, Spool
from smtps.protocol.envelope import Envelope
from smtps.protocol.parameters import Wishes
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


def queued(
    sandbox: Sandbox,
    box: Spool,
    port: int | None = None,
    envelope: Envelope | None = None,
) -> str:
    """Put a mail for the sandbox, or for what is at PORT, into the queue; return its name."""
    sent = envelope or Envelope("me@x", ("a@x",))
    account = Account(
        "localhost", port or sandbox.port, "implicit", user=USER, ca_file=str(sandbox.ca_file)
    )
    return box.take_in(account, sent, lambda: [TEXT], "<1@x>", "queue").name


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


def drained(box: Spool, tell: Callable[[Event], None] = lambda event: None) -> None:
    """Drain BOX until nothing is due."""

    async def drain() -> None:
        running = drainer(box, tell)
        async with asyncio.timeout(10):
            await running.drained()
        await running.stop()

    asyncio.run(drain())


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


@pytest.mark.parametrize("early", [False, True])
def test_when_the_clock_is_set_what_is_due_then_goes(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, early: bool
) -> None:
    """So does what was to be held by its server, which can't, and waits here."""
    box = Spool(tmp_path / "box")
    if early:
        scheduled(sandbox, box, 3600)
    else:
        name = queued(sandbox, box)
        file = box.root / "queue" / name / "envelope.sexp"
        when = int(time.time()) + 3600
        file.write_text(file.read_text().replace(" :size", f" :not-before {when} :size", 1))
    monkeypatch.setattr("smtps.outbox.drain.LOOK_SECONDS", 0.1)
    clock = time.time
    told: list[Event] = []
    looks: list[float] = []
    dispatch = Drainer._dispatch

    def looked(running: Drainer) -> float:
        looks.append(clock())
        return dispatch(running)

    monkeypatch.setattr(Drainer, "_dispatch", looked)

    async def drain() -> None:
        running = drainer(box, told.append)
        async with asyncio.timeout(10):
            await running.drained()
            # Back, nothing goes, and nothing is asked of the server again and again.
            monkeypatch.setattr(time, "time", lambda: clock() - 86400)
            looks.clear()
            while len(looks) < 3:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
            assert states(box) == ["queue"]
            assert sum(event.get("verdict") is not None for event in told) == early
            monkeypatch.setattr(time, "time", lambda: clock() + 86400)
            while not box.names("sent"):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        await running.stop()

    asyncio.run(drain())
    assert len(sandbox.accepted) == 1


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


def test_to_send_makes_no_file(sandbox: Sandbox, tmp_path: Path) -> None:
    box = Spool(tmp_path / "box")
    queued(sandbox, box)

    def files() -> dict[str, int]:
        return {path.name: path.stat().st_ino for path in box.root.glob("*/*/*")}

    async def drain() -> None:
        running = drainer(box)
        async with asyncio.timeout(10):
            await running.drained()
        await running.stop()

    before = files()
    asyncio.run(drain())
    assert states(box) == ["sent"]
    assert files() == before


def test_who_owns_a_mail_keeps_others_from_it(sandbox: Sandbox, tmp_path: Path) -> None:
    box = Spool(tmp_path / "box")
    name = queued(sandbox, box)
    owned = box.take(name)
    assert owned is not None
    assert box.own(owned.directory) is None
    owned.finish("held")
    # One that lacks its envelope is owned by one, too.
    (box.root / "held" / name / "envelope.sexp").unlink()
    damaged = box.take(name, "held")
    assert damaged is not None
    assert box.own(damaged.directory) is None
    damaged.finish("failed")


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


def test_all_or_none_is_held_and_goes_to_the_others_when_its_user_says_so(
    tmp_path: Path,
) -> None:
    box = Spool(tmp_path / "box")
    told: list[Event] = []

    def override(verb: str, line: str) -> str | None:
        return "550 5.1.1 no such user\r\n" if verb == "RCPT" and "b@x" in line else None

    wish = Envelope("me@x", ("a@x", "b@x", "c@x"), Wishes(all_or_none=True))
    with Sandbox(tmp_path / "sandbox", override=override) as sandbox:
        name = queued(sandbox, box, envelope=wish)
        drained(box, told.append)
        assert states(box) == ["held"]
        assert not sandbox.accepted
        last = told[-1]
        assert (last["state"], last["verdict"], last["next"]) == ("held", "held", None)
        assert "refused b@x (“550 5.1.1 no such user”). Nothing was sent" in str(last["text"])
        # Moved by hand, it is still undecided.
        (box.root / "held" / name).rename(box.root / "queue" / name)
        drained(box)
        assert states(box) == ["held"]
        # Tried again, it is for all once more.
        overview.retry(box, overview.found(box, name))
        drained(box)
        assert states(box) == ["held"]
        assert not sandbox.accepted
        overview.retry(box, overview.found(box, name), others=True)
        drained(box)
        assert states(box) == ["failed"]
        assert [mail.recipients for mail in sandbox.accepted] == [("a@x", "c@x")]


def test_all_or_none_refused_for_now_is_tried_again_by_itself(tmp_path: Path) -> None:
    box = Spool(tmp_path / "box")
    told: list[Event] = []

    def override(verb: str, line: str) -> str | None:
        return "450 4.2.1 later\r\n" if verb == "RCPT" and "b@x" in line else None

    wish = Envelope("me@x", ("a@x", "b@x"), Wishes(all_or_none=True))
    with Sandbox(tmp_path / "sandbox", override=override) as sandbox:
        name = queued(sandbox, box, envelope=wish)
        drained(box, told.append)
        assert states(box) == ["queue"]
        assert told[-1]["next"]
        assert not sandbox.accepted
        # Its user need not wait for that.
        overview.retry(box, overview.found(box, name), others=True)
        drained(box)
        assert states(box) == ["queue"]
        assert [mail.recipients for mail in sandbox.accepted] == [("a@x",)]


def scheduled(
    sandbox: Sandbox,
    box: Spool,
    seconds: int,
    wishes: Wishes | None = None,
    port: int | None = None,
) -> str:
    """Put a mail into the queue that is not to be sent for SECONDS; return its name."""
    when = int(time.time()) + seconds
    until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(when))
    asked = (wishes or Wishes())._replace(hold_until=until)
    name = queued(sandbox, box, port, Envelope("me@x", ("a@x", "b@x"), asked))
    file = box.root / "queue" / name / "envelope.sexp"
    file.write_text(file.read_text().replace(" :size", f" :not-before {when} :size", 1))
    return name


def parameters(sandbox: Sandbox) -> str:
    """Return the parameters of MAIL of the one mail that was accepted."""
    (mail,) = sandbox.accepted
    return " ".join(mail.parameters)


@pytest.mark.parametrize(
    ("more", "seconds", "handed_over"),
    [
        (["FUTURERELEASE"], 3600, True),
        (["FUTURERELEASE 604800 2020-01-01T00:00:00Z"], 3600, False),
        ([], 3600, False),
        # So near, the clocks may not agree.
        (["FUTURERELEASE"], 30, False),
    ],
)
def test_a_mail_for_later_goes_to_a_server_that_can_hold_it(
    tmp_path: Path, more: list[str], seconds: int, handed_over: bool
) -> None:
    box = Spool(tmp_path / "box")
    told: list[Event] = []
    with Sandbox(tmp_path / "sandbox", more=more) as sandbox:
        scheduled(sandbox, box, seconds)
        for _ in range(2):
            drained(box, told.append)
        assert states(box) == (["sent"] if handed_over else ["queue"])
        assert len(sandbox.accepted) == handed_over
        if handed_over:
            assert "HOLDUNTIL=20" in parameters(sandbox)
            assert "It holds the message until 20" in str(told[-1]["text"])
        elif seconds > 60:
            assert str(told[-1]["text"]).endswith("It waits in the outbox until its time.")
            assert told[-1]["verdict"] == "not-yet"


def test_who_was_to_hold_a_mail_and_was_not_there_does_not_make_it_late(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("smtps.outbox.lane.PAUSES", (3600,))
    box = Spool(tmp_path / "box")
    told: list[Event] = []
    scheduled(sandbox, box, 600, port=1)
    drained(box, told.append)
    assert told[-1]["verdict"] == "unreached"
    assert int(str(told[-1]["next"])) <= time.time() + 600


def test_what_no_server_held_goes_without_being_held_when_it_is_time(tmp_path: Path) -> None:
    box = Spool(tmp_path / "box")
    with Sandbox(tmp_path / "sandbox", more=["FUTURERELEASE"]) as sandbox:
        scheduled(sandbox, box, -1)
        drained(box)
        assert states(box) == ["sent"]
        assert "HOLD" not in parameters(sandbox)


@pytest.mark.parametrize("more", [["FUTURERELEASE"], []])
def test_a_mail_for_later_is_sent_before_its_time_when_its_user_says_so(
    tmp_path: Path, more: list[str]
) -> None:
    box = Spool(tmp_path / "box")
    with Sandbox(tmp_path / "sandbox", more=more) as sandbox:
        name = scheduled(sandbox, box, 3600)
        overview.retry(box, overview.found(box, name))
        drained(box)
        assert states(box) == ["sent"]
        assert "HOLD" not in parameters(sandbox)


def test_that_the_others_are_to_have_it_sends_nothing_before_its_time(tmp_path: Path) -> None:
    box = Spool(tmp_path / "box")

    def override(verb: str, line: str) -> str | None:
        return "550 5.1.1 no such user\r\n" if verb == "RCPT" and "b@x" in line else None

    with Sandbox(tmp_path / "sandbox", more=["FUTURERELEASE"], override=override) as sandbox:
        name = scheduled(sandbox, box, 3600, Wishes(all_or_none=True))
        drained(box)
        assert states(box) == ["held"]
        overview.retry(box, overview.found(box, name), others=True, now=False)
        drained(box)
        assert [mail.recipients for mail in sandbox.accepted] == [("a@x",)]
        assert "HOLDUNTIL=20" in parameters(sandbox)


def test_who_has_got_a_mail_does_not_get_it_again_though_it_can_be_written_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = Spool(tmp_path / "box")
    told: list[Event] = []
    append = Journal.append
    full = [True]

    def no_room(self: Journal, *lines: str, reserve: bool = False, flush: bool = True) -> None:
        if full[0] and any(line.startswith("(outcome") for line in lines):
            raise OutboxError("The outbox can't be written (No space left on device).")
        append(self, *lines, reserve=reserve, flush=flush)

    def override(verb: str, line: str) -> str | None:
        return "550 5.1.1 no such user\r\n" if verb == "RCPT" and "b@x" in line else None

    monkeypatch.setattr(Journal, "append", no_room)
    owners: list[Owned] = []
    activate = Owned.activate

    def remembered(self: Owned) -> bool:
        owners.append(self)
        return activate(self)

    monkeypatch.setattr(Owned, "activate", remembered)

    async def drain() -> None:
        running = drainer(box, told.append)
        async with asyncio.timeout(10):
            await running.drained()
        if full[0]:
            entry = overview.found(box, name)
            assert entry.state == "active"
            with pytest.raises(UsageError):
                overview.retry(box, entry)
            # Nor does anybody else who looks take it.
            assert judge.recover(box) == []
        await running.stop()

    with Sandbox(tmp_path / "sandbox", override=override) as sandbox:
        name = queued(sandbox, box, envelope=Envelope("me@x", ("a@x", "b@x")))
        asyncio.run(drain())
        assert "No space left" in str(told[-1]["text"])
        full[0] = False
        # The death of its owner.
        owners[0].give_up()
        assert judge.recover(box) == []
        entry = overview.found(box, name)
        assert entry.mail is not None
        assert judge.settled(entry.records, entry.mail.envelope) == {0: "accepted", 1: "refused"}
        assert entry.state == "failed"


def test_a_mail_that_was_accepted_and_cannot_be_moved_is_told_to_be_both(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = Spool(tmp_path / "box")
    queued(sandbox, box)
    told: list[Event] = []
    rename = Path.rename

    def stuck(path: Path, target: Path) -> Path:
        if target.parent.name == "sent":
            raise OSError(30, "Read-only file system")
        return rename(path, target)

    async def drain() -> None:
        running = drainer(box, told.append)
        async with asyncio.timeout(10):
            await running.drained()
        await running.stop()

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", stuck)
        asyncio.run(drain())
    assert str(told[-1]["verdict"]) == "accepted"
    assert "accepted the message" in str(told[-1]["text"])
    assert "can't be moved to sent/ (Read-only file system)" in str(told[-1]["text"])
    assert states(box) == ["active"]
    asyncio.run(drain())
    assert states(box) == ["sent"]
    assert len(sandbox.accepted) == 1

"""What follows an acceptance: done once, whoever is killed; told where it fails."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from servers import Run

from smtps.client.account import Account
from smtps.errors import SmtpsError
from smtps.outbox import afterwork, overview
from smtps.outbox.drain import Drainer
from smtps.outbox.forms import form
from smtps.outbox.journal import Journal
from smtps.outbox.spool import Spool, lock
from smtps.protocol.envelope import Envelope
from smtps.rpc.codec import LINE_LIMIT, Symbol, Value, dumps
from smtps.sandbox.server import PASSWORD, USER, Sandbox

TEXT = b"Subject: x\nMessage-ID: <1@x>\n\nx\n"

BCC = "Bcc: b@x\n"

HEAD = form("afterwork", version=1, message_id="<1@x>")

NOBODY = 2**22 + 1
"""No process has this number: it is beyond Linux's last."""


def fcc(kind: str, **facts: Value) -> str:
    """Return the form for a copy of KIND."""
    return form("fcc", kind=Symbol(kind), **facts)


def maildir(path: Path) -> Path:
    """Make PATH a maildir."""
    for part in ("cur", "new", "tmp"):
        (path / part).mkdir(parents=True)
    return path


def copies(path: Path) -> list[Path]:
    """Return what lies in the maildir at PATH, unfinished deliveries included."""
    return [file for part in ("cur", "new", "tmp") for file in (path / part).iterdir()]


def entry(box: Spool, *forms: str, state: str = "sent", account: Account | None = None) -> Path:
    """Put a mail into STATE that is to be followed by FORMS; return its directory."""
    there = box.take_in(
        account or Account("localhost", 25, "none"),
        Envelope("me@x", ("a@x", "c@x")),
        lambda: [TEXT],
        "<1@x>",
        "held",
    )
    if forms:
        (there / afterwork.NAME).write_text("".join((HEAD, form("bcc", BCC), *forms)))
    return there.rename(box.root / state / there.name)


def left(directory: Path) -> list[tuple[str, str | None]]:
    """Return what is left to be done of the entry in DIRECTORY, and the reasons."""
    return [(one.what, one.reason) for one in afterwork.pending(directory)]


@pytest.fixture
def box(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "box")


def test_a_copy_in_a_maildir(box: Spool, tmp_path: Path) -> None:
    target = maildir(tmp_path / "Sent")
    there = entry(box, fcc("maildir", path=str(target)))
    assert afterwork.carry_out(box, there.name) == afterwork.Done((), 0)
    (copy,) = copies(target)
    assert copy.parent.name == "cur"
    assert copy.name.endswith(":2,S")
    assert copy.read_bytes() == BCC.encode() + TEXT
    assert copy.stat().st_mode & 0o777 == 0o600
    assert not list(there.glob("*afterwork*"))
    assert afterwork.carry_out(box, there.name) is None


def test_a_copy_as_a_file(box: Spool, tmp_path: Path) -> None:
    target = tmp_path / "copy"
    there = entry(box, fcc("file", path=str(target)))
    saved = (there / afterwork.NAME).read_bytes()
    assert afterwork.carry_out(box, there.name) == afterwork.Done((), 0)
    assert target.read_bytes() == BCC.encode() + TEXT
    # Killed before that was written down.
    (there / afterwork.NAME).write_bytes(saved)
    assert afterwork.carry_out(box, there.name) == afterwork.Done((), 0)
    target.write_bytes(b"another")
    (there / afterwork.NAME).write_bytes(saved)
    done = afterwork.carry_out(box, there.name)
    assert done is not None
    assert "there is another file" in done.failed[0]
    assert target.read_bytes() == b"another"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["box", "copy"]


def test_what_is_for_an_emacs_is_left(box: Spool, tmp_path: Path) -> None:
    target = maildir(tmp_path / "Sent")
    mark = form("replied", client=Symbol("gnus"), group="inbox", articles=[1])
    there = entry(box, fcc("maildir", path=str(target)), mark)
    assert afterwork.due(box) == [there.name]
    assert afterwork.carry_out(box, there.name) == afterwork.Done((), 1)
    assert (there / afterwork.NAME).read_text() == HEAD + form("bcc", BCC) + mark
    assert afterwork.due(box) == []


@pytest.mark.parametrize("state", ["queue", "failed", "held", "active"])
def test_nothing_follows_what_nobody_accepted(box: Spool, tmp_path: Path, state: str) -> None:
    target = maildir(tmp_path / "Sent")
    there = entry(box, fcc("maildir", path=str(target)), state=state)
    refused = form("result", attempt=1, recipient=0, verdict=Symbol("refused"))
    Journal(there).append(refused)
    assert afterwork.due(box) == []
    assert afterwork.carry_out(box, there.name, again=True) is None
    assert not copies(target)


@pytest.mark.parametrize("state", ["queue", "failed"])
def test_the_first_acceptance_is_enough(box: Spool, tmp_path: Path, state: str) -> None:
    target = maildir(tmp_path / "Sent")
    there = entry(box, fcc("maildir", path=str(target)), state=state)
    accepted = form("result", attempt=1, recipient=1, verdict=Symbol("accepted"))
    Journal(there).append(accepted)
    assert afterwork.due(box) == [there.name]
    assert afterwork.carry_out(box, there.name) == afterwork.Done((), 0)
    assert len(copies(target)) == 1


def test_a_failure_is_told_once_and_tried_again_when_asked(box: Spool, tmp_path: Path) -> None:
    target = tmp_path / "Sent"
    there = entry(box, fcc("maildir", path=str(target)), fcc("file", path=str(tmp_path / "copy")))
    done = afterwork.carry_out(box, there.name)
    assert done == afterwork.Done((f"The copy in {target} is missing: {target} is no maildir.",), 0)
    assert (tmp_path / "copy").exists()
    assert left(there) == [(f"the copy in {target}", f"{target} is no maildir.")]
    assert not target.exists()
    assert afterwork.due(box) == []
    maildir(target)
    afterwork.carry_out(box, there.name)
    assert not copies(target)
    assert afterwork.carry_out(box, there.name, again=True) == afterwork.Done((), 0)
    assert len(copies(target)) == 1


@pytest.mark.parametrize(
    "line",
    [
        fcc("nonesuch", path="/x"),
        fcc("maildir"),
        "(fcc :kind)\n",
        form("tag", tags=["--output=x"], id="1@x"),
        form("draft", file="/etc/passwd"),
        "(fcc :kind maildir :path)\n",
        "(fcc x)\n",
        fcc("maildir", path="/\0x"),
        fcc("notmuch", folder="\0x"),
        form("tag", tags=["+a\0b"], id="1@x"),
    ],
)
def test_what_is_not_known_is_not_done(box: Spool, line: str) -> None:
    there = entry(box, line)
    done = afterwork.carry_out(box, there.name)
    assert done is not None
    assert len(done.failed) == 1
    assert left(there)[0][1]


def test_a_damaged_file_is_left(box: Spool) -> None:
    there = entry(box, fcc("maildir", path="/x"))
    (there / afterwork.NAME).write_text("(((\n")
    assert afterwork.due(box) == []
    done = afterwork.carry_out(box, there.name)
    assert done is not None
    assert "can't be read" in done.failed[0]
    assert left(there)[0][0] == "what was to follow"
    assert (there / afterwork.NAME).read_text() == "(((\n"


# One owner


@pytest.fixture
def claimed(box: Spool, tmp_path: Path) -> Path:
    """A mail whose copy an Emacs was to make that had the number 1 before another."""
    there = entry(box, fcc("maildir", path=str(maildir(tmp_path / "Sent"))))
    return (there / afterwork.NAME).rename(there / f"afterwork.1-1.{afterwork.host()}")


HERE = afterwork.host()


@pytest.mark.parametrize(
    ("name", "seconds", "lives"),
    [
        (f"{os.getpid()}-{afterwork.started(os.getpid())}.{HERE}", 0, True),
        (f"{os.getpid()}.{HERE}", 60, True),
        (f"{NOBODY}-1.elsewhere.example", 60, True),
        (f"{NOBODY}.{HERE}", 60, False),
        (f"{10**30}.{HERE}", 0, False),
        # Another has its number now, by what is known or by the time that has passed.
        (f"1-1.{HERE}", 60, False),
        (f"{os.getpid()}.{HERE}", 0, False),
        # It was here, when this machine had another name.
        (f"{os.getpid()}-1.elsewhere.example", 0, False),
    ],
    # The same in each run.
    ids=range(8),
)
def test_an_emacs_that_may_live_is_left_alone_a_dead_one_succeeded(
    box: Spool,
    claimed: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    seconds: int,
    lives: bool,
) -> None:
    monkeypatch.setattr(afterwork, "CLAIMED_SECONDS", seconds)
    there = claimed.parent
    claimed.rename(there / f"afterwork.{name}")
    assert len(left(there)) == 1
    assert afterwork.due(box) == ([] if lives else [there.name])
    assert afterwork.carry_out(box, there.name) == (None if lives else afterwork.Done((), 0))
    assert len(left(there)) == int(lives)


@pytest.mark.parametrize("name", [f"afterwork.1-1.{HERE}", "afterwork.locked"])
def test_who_goes_on_says_that_another_began(box: Spool, claimed: Path, name: str) -> None:
    """An Emacs looks for a copy only if there may be one (its part is left to it)."""
    there = claimed.parent
    claimed.write_text(claimed.read_text() + fcc("mbox", path="/mbox", client=Symbol("message")))
    claimed.rename(there / name)
    assert afterwork.carry_out(box, there.name) == afterwork.Done((), 1)
    head = (there / afterwork.NAME).read_text().splitlines()[0]
    assert head.endswith(" :resumed t)")
    assert afterwork.carry_out(box, there.name) == afterwork.Done((), 1)
    assert (there / afterwork.NAME).read_text().count(":resumed") == 1


def test_what_is_locked_is_left_alone(box: Spool, claimed: Path) -> None:
    there = claimed.parent
    file = claimed.rename(there / "afterwork.locked")
    with file.open("rb+") as held:
        lock(held.fileno())
        assert afterwork.due(box) == []
        assert afterwork.carry_out(box, there.name) is None
        assert len(left(there)) == 1
    assert afterwork.due(box) == [there.name]
    assert afterwork.carry_out(box, there.name) == afterwork.Done((), 0)


def test_many_at_once_make_one_copy(box: Spool, tmp_path: Path) -> None:
    target = maildir(tmp_path / "Sent")
    names = [entry(box, fcc("maildir", path=str(target))).name for _ in range(20)]
    program = (
        "import sys; from pathlib import Path\n"
        "from smtps.outbox import afterwork; from smtps.outbox.spool import Spool\n"
        "box = Spool(Path(sys.argv[1])); print('ready', flush=True); sys.stdin.readline()\n"
        "print(sum(afterwork.carry_out(box, n) is not None for n in sys.argv[2:]))"
    )
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(box.root), *names],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(Path(afterwork.__file__).parents[2])},
        )
        for _ in range(3)
    ]
    for run in runs:
        assert run.stdout is not None
        assert run.stdout.readline() == "ready\n"
    did = [int(run.communicate("\n")[0]) for run in runs]
    assert sum(did) == len(names)
    assert len(copies(target)) == len(names)


STEPS = ("_copy", "_write", "_release", "rename")


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("step", STEPS)
def test_killed_at_any_step_another_goes_on(
    box: Spool, tmp_path: Path, step: str, after: bool
) -> None:
    """A real process is killed before or after each step; the next one files once."""
    target = maildir(tmp_path / "Sent")
    copy = tmp_path / "copy"
    there = entry(box, fcc("maildir", path=str(target)), fcc("file", path=str(copy)))
    program = (
        "import os, signal, sys; from pathlib import Path\n"
        "from smtps.outbox import afterwork; from smtps.outbox.spool import Spool\n"
        f"owner = os if {step!r} == 'rename' else afterwork._Work\n"
        f"real = getattr(owner, {step!r})\n"
        "def cut(*a, **k):\n"
        f"    if not {after}: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    real(*a, **k); os.kill(os.getpid(), signal.SIGKILL)\n"
        f"setattr(owner, {step!r}, cut)\n"
        "afterwork.carry_out(Spool(Path(sys.argv[1])), sys.argv[2])"
    )
    killed = subprocess.run(
        [sys.executable, "-c", program, str(box.root), there.name],
        env=os.environ | {"PYTHONPATH": str(Path(afterwork.__file__).parents[2])},
        check=False,
    )
    assert killed.returncode == -9
    for name in afterwork.due(box):
        afterwork.carry_out(box, name)
    assert len(copies(target)) == 1
    assert copy.read_bytes() == BCC.encode() + TEXT
    assert not [p for p in tmp_path.iterdir() if p.name not in {"box", "copy", "Sent"}]
    assert left(there) == []


def test_a_copy_whose_flags_were_changed_is_found(box: Spool, tmp_path: Path) -> None:
    target = maildir(tmp_path / "Sent")
    there = entry(box, fcc("maildir", path=str(target)))
    saved = (there / afterwork.NAME).read_bytes()
    afterwork.carry_out(box, there.name)
    (copy,) = copies(target)
    copy.rename(copy.with_name(copy.name.replace(":2,S", ",U=7:2,RS")))
    (there / afterwork.NAME).write_bytes(saved)
    afterwork.carry_out(box, there.name)
    assert len(copies(target)) == 1


def test_moved_and_dropped_meanwhile(
    box: Spool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The entry can be moved while its copy is made: it is the same one."""
    target = maildir(tmp_path / "Sent")
    there = entry(box, fcc("maildir", path=str(target)), state="failed")
    Journal(there).append(form("result", attempt=1, recipient=1, verdict=Symbol("accepted")))
    real = afterwork._Work._copy

    def moving(work: afterwork._Work, path: Path, bcc: str) -> None:
        real(work, path, bcc)
        there.rename(box.root / "queue" / there.name)

    monkeypatch.setattr(afterwork._Work, "_copy", moving)
    assert afterwork.carry_out(box, there.name) == afterwork.Done((), 0)
    assert len(copies(target)) == 1
    assert not list((box.root / "queue" / there.name).glob("*afterwork*"))


def test_two_threads_of_one_process(
    box: Spool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = maildir(tmp_path / "Sent")
    there = entry(box, fcc("maildir", path=str(target)))
    real = afterwork._Work._copy
    inside, go_on = threading.Event(), threading.Event()

    def waiting(work: afterwork._Work, path: Path, bcc: str) -> None:
        inside.set()
        assert go_on.wait(10)
        real(work, path, bcc)

    monkeypatch.setattr(afterwork._Work, "_copy", waiting)
    first = threading.Thread(target=afterwork.carry_out, args=(box, there.name))
    first.start()
    assert inside.wait(10)
    assert afterwork.carry_out(box, there.name) is None
    assert afterwork.due(box) == []
    go_on.set()
    first.join(10)
    assert len(copies(target)) == 1


# notmuch


@pytest.fixture
def mail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A notmuch database of its own."""
    root = tmp_path / "mail"
    root.mkdir()
    config = tmp_path / "notmuch-config"
    config.write_text(f"[database]\npath={root}\n[new]\ntags=new\n")
    monkeypatch.setenv("NOTMUCH_CONFIG", str(config))
    monkeypatch.setenv("HOME", str(tmp_path))
    afterwork.notmuch("new")
    return root


def test_a_copy_in_notmuch(box: Spool, mail: Path) -> None:
    (mail / "sent" / "cur").mkdir(parents=True)
    for part in ("new", "tmp"):
        (mail / "sent" / part).mkdir()
    there = entry(box, fcc("notmuch", folder="sent", tags=["+sent", "-new"]))
    saved = (there / afterwork.NAME).read_bytes()
    for _ in range(2):
        assert afterwork.carry_out(box, there.name) == afterwork.Done((), 0)
        (copy,) = copies(mail / "sent")
        assert copy.read_bytes() == BCC.encode() + TEXT
        assert afterwork.notmuch("search", "--output=tags", "id:1@x").split() == ["sent"]
        # Killed before that was written down.
        (there / afterwork.NAME).write_bytes(saved)


def test_tags_in_notmuch(box: Spool, mail: Path) -> None:
    (mail / "parent").write_bytes(TEXT)
    afterwork.notmuch("new")
    there = entry(box, form("tag", tags=["+replied"], id="1@x"))
    assert afterwork.carry_out(box, there.name) == afterwork.Done((), 0)
    assert "replied" in afterwork.notmuch("search", "--output=tags", "id:1@x").split()


def test_a_message_id_is_no_query(box: Spool, mail: Path) -> None:
    (mail / "parent").write_bytes(TEXT)
    afterwork.notmuch("new")
    there = entry(box, form("tag", tags=["+replied"], id="2@x or id:1@x"))
    assert afterwork.carry_out(box, there.name) == afterwork.Done((), 0)
    assert "replied" not in afterwork.notmuch("search", "--output=tags", "*").split()


def test_notmuch_without_its_folder(box: Spool, mail: Path) -> None:
    there = entry(box, fcc("notmuch", folder="none", tags=[]))
    done = afterwork.carry_out(box, there.name)
    assert done is not None
    assert "The copy in none is missing: notmuch says: " in done.failed[0]
    assert not (mail / "none").exists()


def test_no_notmuch(box: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    there = entry(box, fcc("notmuch", folder="none"))
    done = afterwork.carry_out(box, there.name)
    assert done is not None
    assert "notmuch can't be run" in done.failed[0]


# The drainer and the command line

Event = Mapping[str, Value]


def account(sandbox: Sandbox) -> Account:
    """Return the sandbox's account."""
    return Account("localhost", sandbox.port, "implicit", user=USER, ca_file=str(sandbox.ca_file))


def drain(box: Spool) -> list[Event]:
    """Drain BOX; return the events."""
    told: list[Event] = []

    async def ask(account: Account) -> tuple[str, str]:
        return USER, PASSWORD

    async def run() -> None:
        drainer = Drainer(str(box.root), told.append, ask)
        await drainer.drained()
        await drainer.stop()

    asyncio.run(asyncio.wait_for(run(), 30))
    return told


def test_the_drainer_files_what_was_accepted(sandbox: Sandbox, box: Spool, tmp_path: Path) -> None:
    target = maildir(tmp_path / "Sent")
    mark = form("replied", client=Symbol("gnus"), group="inbox", articles=[1])
    there = entry(
        box, fcc("maildir", path=str(target)), mark, state="queue", account=account(sandbox)
    )
    told = drain(box)
    assert len(copies(target)) == 1
    # That it is under way is told only where it takes long.
    ends = [event for event in told if str(event["state"]) != "active"]
    assert [str(event.get("afterwork")) for event in ends] == ["None", "left"]
    assert left(box.root / "sent" / there.name) == [
        ("the mark of the mail that this one answers", None)
    ]


@pytest.mark.parametrize(
    ("reply", "state"), [("550 5.1.1 nobody\r\n", "failed"), ("450 4.2.1 full\r\n", "queue")]
)
def test_one_of_two_is_refused_and_gets_it_later(
    box: Spool, tmp_path: Path, reply: str, state: str
) -> None:
    """What follows comes with the first acceptance, and with no later one."""
    target = maildir(tmp_path / "Sent")
    refusing = [reply]

    def override(verb: str, line: str) -> str | None:
        return refusing[0] if refusing and verb == "RCPT" and "c@x" in line else None

    with Sandbox(tmp_path / "sandbox", override=override) as sandbox:
        there = entry(
            box, fcc("maildir", path=str(target)), state="queue", account=account(sandbox)
        )
        told = drain(box)
        assert box.names(state) == [there.name]
        assert str(told[-1]["afterwork"]) == "done"
        assert len(copies(target)) == 1
        assert left(box.root / state / there.name) == []
        refusing.clear()
        overview.retry(box, overview.found(box, there.name))
        told = drain(box)
        assert box.names("sent") == [there.name]
        assert [mail.recipients for mail in sandbox.accepted] == [("a@x",), ("c@x",)]
    assert len(copies(target)) == 1
    assert not [event for event in told if event.get("afterwork")]


def test_however_much_fails_the_others_are_told_and_done(box: Spool, tmp_path: Path) -> None:
    target = maildir(tmp_path / "Sent")
    long = tmp_path / ("x" * 200) / ("y" * 200) / ("z" * 200)
    entry(box, *(fcc("maildir", path=f"{long}{n}") for n in range(300)))
    # No room is in its line for why it failed.
    entry(box, fcc("maildir", path="/" + "x" * (LINE_LIMIT - 100)))
    entry(box, fcc("maildir", path=str(target)))
    told = sorted(drain(box), key=lambda event: str(event["text"]))
    assert len(copies(target)) == 1
    assert [str(event["afterwork"]) for event in told] == ["done", "failed", "failed"]
    assert str(told[1]["text"]).endswith("And so are 297 more.")
    assert "given up" in str(told[2]["text"])
    for event in told:
        dumps(list(event.values()))


def test_the_drainer_goes_on_where_another_was_killed(box: Spool, tmp_path: Path) -> None:
    target = maildir(tmp_path / "Sent")
    there = entry(box, fcc("maildir", path=str(target)))
    (there / afterwork.NAME).rename(there / "afterwork.locked")
    drain(box)
    assert len(copies(target)) == 1


def test_marked_as_sent_by_hand(box: Spool, tmp_path: Path) -> None:
    target = maildir(tmp_path / "Sent")
    there = entry(box, fcc("maildir", path=str(target)), state="failed")
    uncertain = [
        form("result", attempt=1, recipient=i, verdict=Symbol("uncertain")) for i in (0, 1)
    ]
    Journal(there).append(*uncertain, form("outcome", attempt=1, verdict=Symbol("uncertain")))
    assert afterwork.due(box) == []
    overview.mark_sent(box, overview.found(box, there.name))
    assert afterwork.due(box) == [there.name]


@pytest.fixture
def outbox(smtps: Run, box: Spool) -> Callable[..., subprocess.CompletedProcess[str]]:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return smtps("outbox", *words, "--outbox", str(box.root))

    return run


def test_the_command_line_shows_it_and_does_it(
    outbox: Callable[..., subprocess.CompletedProcess[str]], box: Spool, tmp_path: Path
) -> None:
    target = tmp_path / "Sent"
    mark = form("replied", client=Symbol("gnus"), group="inbox", articles=[1])
    there = entry(box, fcc("maildir", path=str(target)), mark)
    afterwork.carry_out(box, there.name)
    assert f"was sent      a@x and 1 more; not done yet: the copy in {target}" in (
        outbox("list").stdout
    )
    shown = outbox("show", there.name).stdout
    assert f"Not done yet: the copy in {target}: {target} is no maildir.\n" in shown
    assert (
        "Not done yet: the mark of the mail that this one answers (an Emacs with gnus does it)\n"
        in shown
    )
    assert '"reason"' in outbox("show", there.name, "--report", "json").stdout
    # The one who has it sent without an Emacs is told how to go on.
    (there / afterwork.NAME).write_text(HEAD + fcc("maildir", path=str(target)) + mark)
    flushed = outbox("flush")
    assert f"is no maildir. The mail itself was sent; “smtps outbox file {there.name}” tries" in (
        flushed.stdout
    )
    maildir(target)
    done = outbox("file", there.name)
    assert done.returncode == 75
    assert "the mark of the mail" in done.stderr
    assert "the copy in" not in done.stderr
    assert len(copies(target)) == 1
    (there / afterwork.NAME).unlink()
    assert outbox("file", there.name).returncode == 0


def test_errors_are_in_the_tree() -> None:
    with pytest.raises(SmtpsError):
        afterwork._parsed(b"(nonsense)\n")

"""A disk that is full before the commit, and one that fills up behind it: real ones, small."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from servers import Run

from smtps.client.account import Account
from smtps.outbox import afterwork
from smtps.outbox.drain import Drainer
from smtps.outbox.forms import form
from smtps.outbox.journal import Journal
from smtps.outbox.spool import Spool
from smtps.protocol.envelope import Envelope
from smtps.rpc.codec import Symbol, Value
from smtps.sandbox.server import PASSWORD, USER, Sandbox

MESSAGE = "From: a@x.org\nSubject: x\n\nText.\n"


class Disk:
    """A file system of one megabyte."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def fill(self, left: int = 0) -> None:
        """Fill it but for LEFT octets."""
        with (self.path / "filler").open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                file.truncate(max(0, file.tell() - left))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    path = tmp_path / "disk"
    path.mkdir()
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(path)], check=True)
    yield Disk(path)
    subprocess.run(["umount", str(path)], check=True)


def words(sandbox: Sandbox, disk: Disk, recipients: int = 1) -> list[str]:
    return [
        "send", "-f", "a@x.org", *(f"b{n}@x.org" for n in range(recipients)),
        "--host", "localhost", "--port", str(sandbox.port), "--tls", "implicit",
        "--ca-file", str(sandbox.ca_file), "--user", USER,
        "--password-command", f"printf %s '{PASSWORD}'", "--outbox", str(disk.path / "box"),
    ]  # fmt: skip


def drained(box: Spool) -> list[Mapping[str, Value]]:
    """Drain BOX; return what was told."""
    told: list[Mapping[str, Value]] = []

    async def ask(account: Account) -> tuple[str, str]:
        return USER, PASSWORD

    async def drain() -> None:
        drainer = Drainer(str(box.root), told.append, ask)
        async with asyncio.timeout(20):
            await drainer.drained()
        await drainer.stop()

    asyncio.run(drain())
    return told


@pytest.mark.parametrize("left", [0, 16 * 1024, 40 * 1024])
def test_without_room_nothing_is_sent(sandbox: Sandbox, smtps: Run, disk: Disk, left: int) -> None:
    Spool(disk.path / "box")
    disk.fill(left)
    done = smtps(*words(sandbox, disk), text=MESSAGE)
    assert done.returncode == 73, done.stderr
    assert "No space left" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not sandbox.accepted


def test_a_disk_that_fills_up_behind_the_commit_has_room_for_the_result(
    tmp_path: Path, smtps: Run, disk: Disk
) -> None:
    def override(verb: str, line: str) -> str | None:
        if verb == "BDAT":
            disk.fill()
        return None

    with Sandbox(tmp_path / "sandbox", more=["CHUNKING"], override=override) as sandbox:
        # So many that what is to be written about them needs more than a page.
        done = smtps(*words(sandbox, disk, 90), text=MESSAGE)
        assert done.returncode == 0, done.stderr
        (sent,) = (disk.path / "box" / "sent").iterdir()
        assert [name for name, _ in Journal(sent).records()][-2:] == ["result", "outcome"]


def test_a_drainer_on_a_disk_that_fills_up_tells_what_was_accepted(
    tmp_path: Path, disk: Disk
) -> None:
    def override(verb: str, line: str) -> str | None:
        if verb == "BDAT":
            disk.fill()
        return None

    with Sandbox(tmp_path / "sandbox", more=["CHUNKING"], override=override) as sandbox:
        box = Spool(disk.path / "box")
        account = Account(
            "localhost", sandbox.port, "implicit", user=USER, ca_file=str(sandbox.ca_file)
        )
        for number in range(3):
            box.take_in(
                account,
                Envelope("a@x", (f"b{number}@x",)),
                lambda: [b"S: x\r\n\r\n"],
                "<x@y>",
                "queue",
            )
        drained(box)
        assert len(sandbox.accepted) == len(box.names("sent")) >= 1
        assert len(box.names("sent")) + len(box.names("queue")) == 3
        (disk.path / "filler").unlink()
        drained(box)
        assert len(sandbox.accepted) == len({mail.recipients for mail in sandbox.accepted})


def remount(disk: Disk, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(disk.path)], check=True)


@pytest.mark.parametrize("kind", ["maildir", "file"])
@pytest.mark.parametrize("fault", ["full", "read-only", "gone"])
def test_a_copy_that_a_disk_does_not_take_is_owed(
    sandbox: Sandbox, tmp_path: Path, disk: Disk, kind: str, fault: str
) -> None:
    """The disk is another one than the outbox's."""
    home = disk.path / "home"
    target = home / "copy"
    box = Spool(tmp_path / "box")
    account = Account(
        "localhost", sandbox.port, "implicit", user=USER, ca_file=str(sandbox.ca_file)
    )
    mail = box.take_in(
        account, Envelope("a@x", ("b@x",)), lambda: [b"S: x\r\n\r\n", b"x" * 20000], "<x@y>", "held"
    )
    (mail / afterwork.NAME).write_text(
        form("afterwork", version=1, message_id="<x@y>")
        + form("fcc", kind=Symbol(kind), path=str(target))
    )
    mail.rename(box.root / "queue" / mail.name)

    def make() -> None:
        for part in ("cur", "new", "tmp"):
            (target / part if kind == "maildir" else home).mkdir(parents=True, exist_ok=True)

    make()
    match fault:
        case "full":
            disk.fill(8192)
        case "read-only":
            remount(disk, "ro")
        case "gone":
            shutil.rmtree(home)

    def files() -> list[Path]:
        return [path for path in home.rglob("*") if path.is_file()]

    told = drained(box)
    assert str(told[-1]["afterwork"]) == "failed"
    assert f"The copy in {target} is missing: " in str(told[-1]["text"])
    assert len(sandbox.accepted) == 1
    assert box.names("sent") == [mail.name]
    # What was begun does not take the room that is lacking.
    assert not files()
    # By itself nothing is tried again, and nothing is told again.
    assert not [event for event in drained(box) if event.get("afterwork")]
    if fault == "read-only":
        remount(disk, "rw")
    (disk.path / "filler").unlink(missing_ok=True)
    make()
    assert afterwork.carry_out(box, mail.name, again=True) == afterwork.Done((), 0)
    (copy,) = files()
    assert copy.stat().st_size == 20008
    drained(box)
    assert len(sandbox.accepted) == 1

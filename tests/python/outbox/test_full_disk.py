"""A disk that is full before the commit, and one that fills up behind it: real ones, small."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from servers import Run

from smtps.client.account import Account
from smtps.outbox.drain import Drainer
from smtps.outbox.journal import Journal
from smtps.outbox.spool import Spool
from smtps.protocol.envelope import Envelope
from smtps.rpc.codec import Value
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
    told: list[Mapping[str, Value]] = []

    def override(verb: str, line: str) -> str | None:
        if verb == "BDAT":
            disk.fill()
        return None

    async def ask(account: Account) -> tuple[str, str]:
        return USER, PASSWORD

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

        async def drain() -> None:
            drainer = Drainer(str(box.root), told.append, ask)
            async with asyncio.timeout(20):
                await drainer.drained()
            await drainer.stop()

        asyncio.run(drain())
        assert len(sandbox.accepted) == len(box.names("sent")) >= 1
        assert len(box.names("sent")) + len(box.names("queue")) == 3
        (disk.path / "filler").unlink()
        asyncio.run(drain())
        assert len(sandbox.accepted) == len({mail.recipients for mail in sandbox.accepted})

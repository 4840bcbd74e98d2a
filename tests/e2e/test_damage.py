"""What is damaged is shown to be, and touched no further; a read-only outbox is told."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from servers import ELISP, Run

from smtps.client.account import Account
from smtps.outbox.spool import Spool
from smtps.protocol.envelope import Envelope
from smtps.sandbox.server import PASSWORD, USER, Sandbox


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    with Sandbox(tmp_path / "sandbox") as running:
        yield running


def put(box: Spool, sandbox: Sandbox, address: str) -> Path:
    """Put a mail for ADDRESS into the queue and return where it lies."""
    account = Account(
        "localhost",
        sandbox.port,
        "implicit",
        user=USER,
        ca_file=str(sandbox.ca_file),
        password_command=f"printf %s {PASSWORD}",
    )
    text = f"From: a@x.org\r\nTo: {address}\r\nSubject: x\r\n\r\nText.\r\n".encode()
    envelope = Envelope("a@x.org", (address,))
    return box.take_in(account, envelope, lambda: [text], f"<{address}>", "queue")


def bad_line(mail: Path) -> None:
    (mail / "journal.sexp").write_text("(attempt :number 1\n(retry :time 1)\n")


def without_message(mail: Path) -> None:
    (mail / "message.eml").unlink()


def short_message(mail: Path) -> None:
    (mail / "message.eml").write_text("short")


def without_envelope(mail: Path) -> None:
    (mail / "envelope.sexp").unlink()


def torn_envelope(mail: Path) -> None:
    envelope = mail / "envelope.sexp"
    envelope.write_bytes(envelope.read_bytes()[:-5])


def another_version(mail: Path) -> None:
    envelope = mail / "envelope.sexp"
    envelope.write_text(envelope.read_text().replace(":version 1 ", ":version 2 "))


def anothers_envelope(mail: Path) -> None:
    envelope = mail / "envelope.sexp"
    envelope.write_text(envelope.read_text().replace(mail.name, "20000101T000000-another000"))


def two_states(mail: Path) -> None:
    shutil.copytree(mail, mail.parents[1] / "sent" / mail.name)


def two_states_without_owner(mail: Path) -> None:
    shutil.copytree(mail, mail.parents[1] / "failed" / mail.name)
    mail.rename(mail.parents[1] / "active" / mail.name)


def foreign_file(mail: Path) -> None:
    shutil.rmtree(mail)
    mail.write_text("(envelope :version 1)\n")


def foreign_directory(mail: Path) -> None:
    shutil.rmtree(mail)
    (mail / "in it").mkdir(parents=True)


DAMAGES: dict[Callable[[Path], None], str] = {
    bad_line: "its journal.sexp is damaged",
    without_message: "its message.eml is missing, or was changed",
    short_message: "its message.eml is missing, or was changed",
    without_envelope: "its envelope.sexp is missing",
    torn_envelope: "its envelope.sexp is damaged",
    another_version: "its envelope.sexp is damaged",
    anothers_envelope: "its envelope.sexp is damaged",
    two_states: "it lies in two states at once",
    two_states_without_owner: "it lies in two states at once",
    foreign_file: "is no mail",
    foreign_directory: "its envelope.sexp is missing",
}
"""How an entry is damaged, and what Emacs says then."""


def in_emacs(tmp_path: Path, form: str) -> subprocess.CompletedProcess[str]:
    """Evaluate FORM in an Emacs whose outbox is ``box`` below TMP_PATH."""
    told = f'(condition-case e {form} (error (message "%s" (error-message-string e))))'
    world = {name: value for name, value in os.environ.items() if not name.startswith("XDG_")}
    return subprocess.run(
        ["emacs", "-Q", "--batch", "-L", str(ELISP), "-l", "smtps-outbox-ui", "--eval",
         f'(setq smtps-outbox-directory "{tmp_path}/box" auth-sources nil)', "--eval",
         told],
        capture_output=True, encoding="utf-8", timeout=60, check=False,
        env=world | {"HOME": str(tmp_path)},
    )  # fmt: skip


SHOW = "(progn (smtps-outbox) (princ (buffer-string)))"

SEND = """(let ((noninteractive nil) (inhibit-message t))
  (smtps-send-queued)
  (with-timeout (20) (while (cl-some #'smtps-send--due-p (smtps-outbox-entries '(queue active)))
    (accept-process-output nil 0.05)))
  (smtps-helper-stop))"""


def tree(root: Path) -> dict[str, object]:
    """Return all that lies below ROOT, with its content and the time of its last change."""
    return {
        str(path.relative_to(root)): (
            path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else None
        )
        for path in sorted(root.rglob("*"))
    }  # fmt: skip


@pytest.mark.parametrize("door", ["smtps outbox flush", "Emacs"])
def test_damage_is_shown_and_touched_no_further(
    tmp_path: Path, sandbox: Sandbox, smtps: Run, door: str
) -> None:
    box = Spool(tmp_path / "box")
    mails = {}
    for number, damage in enumerate(DAMAGES):
        mails[damage] = put(box, sandbox, f"damaged{number}@x.org")
        damage(mails[damage])
    whole, torn = put(box, sandbox, "whole@x.org"), put(box, sandbox, "torn@x.org")
    # An ordinary crash: that line was never finished.
    (torn / "journal.sexp").write_text("(attempt :number 1 :time 1)\n(commit :attempt 1 :reci")

    def damaged() -> dict[str, object]:
        here = tree(box.root)
        names = {mail.name for mail in mails.values()}
        return {path: seen for path, seen in here.items() if names & set(Path(path).parts)}

    before = damaged()
    if door == "Emacs":
        done = in_emacs(tmp_path, SEND)
        assert done.returncode == 0, done.stderr
    else:
        done = smtps("outbox", "flush", "--outbox", str(box.root))
        assert "Traceback" not in done.stderr
        for damage, mail in mails.items():
            # Of what is no entry in the queue nothing can be sent, nor told.
            if mail.is_dir():
                assert f"{mail.name}: The mail {mail.name} in the outbox is" in done.stdout, damage
    recipients = sorted(mail.recipients for mail in sandbox.accepted)
    assert recipients == [("torn@x.org",), ("whole@x.org",)], done
    assert {whole.name, torn.name} <= set(box.names("sent"))
    assert damaged() == before

    listed = smtps("outbox", "list", "--outbox", str(box.root)).stdout
    for damage, mail in mails.items():
        lines = [line for line in listed.splitlines() if line.startswith(mail.name)]
        assert lines, damage
        assert all("  damaged " in line for line in lines), damage
    shown = in_emacs(tmp_path, SHOW).stdout.splitlines()
    said = [line for line in shown if line.startswith(" damaged ")]
    assert len(said) == len(DAMAGES)
    for sentence in DAMAGES.values():
        count = list(DAMAGES.values()).count(sentence)
        assert sum(sentence in line for line in said) == count, sentence
    assert damaged() == before


@pytest.fixture
def read_only(tmp_path: Path, sandbox: Sandbox) -> Iterator[Spool]:
    """An outbox with one mail in it, on a disk that takes nothing any more."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    root = tmp_path / "box"
    root.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(root)], check=True)
    try:
        box = Spool(root)
        put(box, sandbox, "kept@x.org")
        subprocess.run(["mount", "-o", "remount,ro", str(root)], check=True)
        yield box
    finally:
        subprocess.run(["umount", str(root)], check=True)


def test_a_read_only_outbox_is_told_and_can_be_looked_at(
    read_only: Spool, sandbox: Sandbox, smtps: Run
) -> None:
    (name,) = read_only.names("queue")
    where = ["--outbox", str(read_only.root)]
    for words in (
        ["send", "b@x.org", "--host", "localhost", "--port", str(sandbox.port)],
        ["outbox", "flush"],
        ["outbox", "drop", name],
    ):
        done = smtps(*words, *where, text="From: a@x.org\nSubject: x\n\nText.\n")
        assert done.returncode == 73, done
        assert str(read_only.root) in done.stderr
        assert "can't be written: Read-only file system." in done.stderr
        assert done.stderr.count("\n") == 1
    assert f"{name}  waits " in smtps("outbox", *where).stdout
    assert "kept@x.org" in smtps("outbox", "show", name, *where).stdout
    assert not sandbox.accepted


def test_a_read_only_outbox_is_told_in_emacs(
    read_only: Spool, sandbox: Sandbox, tmp_path: Path
) -> None:
    send = f"""(progn
      (setq smtps-accounts '(("x" :host "localhost" :port {sandbox.port}))
            user-mail-address "a@x.org" message-send-mail-function #'smtps-send-it)
      (message-mail "b@x.org" "x")
      (message-send))"""
    for form, words in (
        (send, "Nothing was sent or kept"),
        (
            "(progn (smtps-outbox) (smtps-outbox-hold))",
            "\nThe mail can’t be moved from queue to held: read-only",
        ),
        (SEND.replace("(inhibit-message t)", ""), "can't be written: Read-only file system."),
    ):
        done = in_emacs(tmp_path, form)
        assert str(read_only.root) in done.stderr, done
        assert words in done.stderr, done
    shown = in_emacs(
        tmp_path, "(progn (smtps-outbox) (princ (buffer-string)) (princ mode-line-process))"
    )
    assert "kept@x.org" in shown.stdout
    assert " can't be written: 1 waits" in shown.stdout
    assert "can’t be used: it is not writable.  What lies there is shown." in shown.stderr
    assert not sandbox.accepted

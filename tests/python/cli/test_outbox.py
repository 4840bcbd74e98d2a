"""smtps outbox: what is kept is listed and shown, tried again, and dropped."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import pytest
from hostile.server import Script, Server
from servers import PYTHON, Run
from terminal import Terminal
from test_statuses import GO, OK, server

from smtps.client.account import Account
from smtps.outbox.forms import form
from smtps.outbox.journal import Journal
from smtps.outbox.spool import MAILS, Spool
from smtps.protocol.envelope import Envelope
from smtps.rpc.codec import Symbol, Value, plist
from smtps.sandbox.server import PASSWORD, USER, Sandbox

MESSAGE = "From: a@x.org\nSubject: x\n\nText.\n"


def kept(smtps: Run, port: int, *more: str) -> str:
    """Send a mail that fails, and return its id."""
    done = smtps(
        "send", "-f", "a@x.org", "b@x.org", "c@x.org", "--host", "localhost",
        "--port", str(port), "--tls", "implicit", "--report", "json", *more, text=MESSAGE,
    )  # fmt: skip
    assert done.returncode in (69, 77, 78), done.stderr
    return str(json.loads(done.stdout)["id"])


def test_an_empty_outbox_is_told(smtps: Run) -> None:
    done = smtps("outbox")
    assert done.returncode == 0
    assert "is empty" in done.stdout


def test_a_mail_that_failed_is_shown_and_dropped(smtps: Run, tmp_path: Path) -> None:
    name = kept(smtps, 1)
    listed = smtps("outbox", "list").stdout
    assert name in listed
    assert "failed        b@x.org and 1 more" in listed
    shown = smtps("outbox", "show", name[-6:]).stdout
    assert f"{name} failed" in shown
    assert "To: c@x.org  unreached" in shown
    assert "Attempt 1 at " in shown
    report = json.loads(smtps("outbox", "show", name, "--report", "json").stdout)
    assert report["recipients"][0] == {
        "address": "b@x.org", "verdict": "unreached", "code": None, "enhanced": None, "text": None,
    }  # fmt: skip
    assert smtps("outbox", "drop", name).returncode == 0
    assert not [p for p in (tmp_path / "data").rglob("*") if p.is_file()]


@pytest.mark.parametrize("action", ["show", "retry", "drop", "file"])
def test_an_empty_id_names_no_mail(smtps: Run, action: str) -> None:
    name = kept(smtps, 1)
    done = smtps("outbox", action, "")
    assert done.returncode == 64
    assert "ID" in done.stderr
    assert f"{name}  failed" in smtps("outbox").stdout


def test_what_a_refusal_means_is_shown_once(smtps: Run) -> None:
    said = b"550 5.1.1 <x>: Recipient address rejected: User unknown\r\n"
    with Server(Script(steps={"rcpt2": said, "rcpt3": said})) as server:
        done = smtps(
            "send", "-f", "a@x.org", "b@x.org", "c@x.org", "d@x.org", "--host", "127.0.0.1",
            "--port", str(server.port), "--tls", "none", "--report", "json", text=MESSAGE,
        )  # fmt: skip
    assert done.returncode == 67
    # One line says why, as ever.
    assert len(done.stderr.splitlines()) == 1
    shown = smtps("outbox", "show", json.loads(done.stdout)["id"]).stdout.splitlines()
    at = next(i for i, line in enumerate(shown) if line.startswith("To: c@x.org  refused 550"))
    assert shown[at + 1] == (
        "    550 5.1.1: The mailbox does not exist on this server. "
        "You or the recipient's side can mend it."
    )
    assert shown[at + 2].startswith("    Next: Look at the spelling of the address;")
    assert shown[at + 3].startswith("To: d@x.org  refused 550")
    assert not shown[at + 4].startswith("    ")
    assert shown[at - 1].startswith("To: b@x.org  accepted")


def test_a_mail_that_failed_is_tried_again(smtps: Run, sandbox: Sandbox) -> None:
    more = ["--ca-file", str(sandbox.ca_file), "--user", USER]
    name = kept(smtps, sandbox.port, *more, "--password-command", "printf wrong")
    assert smtps("outbox", "retry", name).returncode == 0
    assert "waits" in smtps("outbox").stdout
    # The account is frozen with the mail, its password command too: it is wrong again.
    done = smtps("outbox", "flush")
    assert done.returncode == 77, done.stderr
    assert "refused the login" in done.stdout
    assert "1 mail waits in the outbox" in done.stderr
    assert not sandbox.accepted


def test_what_waits_is_flushed(smtps: Run, sandbox: Sandbox, tmp_path: Path) -> None:
    command = tmp_path / "password"
    command.write_text("wrong")
    more = ["--ca-file", str(sandbox.ca_file), "--user", USER]
    name = kept(smtps, sandbox.port, *more, "--password-command", f"cat {command}")
    command.write_text(PASSWORD)
    smtps("outbox", "retry", name)
    done = smtps("outbox", "flush")
    assert done.returncode == 0
    assert "accepted the message for 2 recipients" in done.stdout
    assert [mail.recipients for mail in sandbox.accepted] == [("b@x.org", "c@x.org")]
    assert "was sent" in smtps("outbox").stdout
    shown = smtps("outbox", "show", name).stdout
    assert "send> MAIL FROM:<a@x.org>" in shown
    assert PASSWORD not in shown
    # Nothing is left to do: it is not sent again.
    assert smtps("outbox", "flush").returncode == 0
    assert len(sandbox.accepted) == 1
    assert smtps("outbox", "retry", name).returncode == 64


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["show"], 64),
        (["list", "x"], 64),
        (["show", "nosuch"], 64),
        (["frobnicate"], 64),
        (["list", "--outbox", "/proc/nowhere"], 73),
    ],
)
def test_bad_words(smtps: Run, words: list[str], status: int) -> None:
    done = smtps("outbox", *words)
    assert done.returncode == status
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr
    assert status == 64 or "The outbox /proc/nowhere can't be used: No such file" in done.stderr
    assert "Nothing was sent" not in done.stderr


@pytest.mark.parametrize(
    ("words", "since", "status", "then"),
    [
        (("outbox", "flush"), 1, 73, ""),
        # The drainer's log was locked, and the mail can't be.
        (("outbox", "flush"), 2, 75, "Next try in 60 seconds."),
        (("outbox", "retry"), 1, 73, ""),
        (("outbox", "drop"), 1, 73, ""),
        (("outbox", "file"), 1, 75, "Not done yet: the copy in /nowhere"),
        (("send", "-f", "a@x.org", "c@x.org", "--host", "localhost"), 1, 73, "Nothing was sent."),
    ],
)
def test_where_nothing_can_be_locked_nothing_is_sent_or_moved(
    smtps: Run,
    sandbox: Sandbox,
    tmp_path: Path,
    words: tuple[str, ...],
    since: int,
    status: int,
    then: str,
) -> None:
    """As on a network's file system whose server has no locks, or has lost them."""
    box = Spool(tmp_path / "data" / "smtps" / "outbox")
    account = Account("localhost", sandbox.port, "implicit", ca_file=str(sandbox.ca_file))
    home = {"flush": "queue", "file": "sent"}.get(words[1], "failed")
    mail = box.take_in(
        account, Envelope("a@x.org", ("b@x.org",)), lambda: [b"Subject: x\r\n\r\n"], "<x>", home
    )
    after = form("afterwork", version=1) + form("fcc", kind=Symbol("maildir"), path="/nowhere")
    (mail / "afterwork.sexp").write_text(after)
    if words[0] == "outbox" and words[1] != "flush":
        words = (*words, mail.name)
    strace = ("strace", "-f", "--seccomp-bpf", "-qq", "-o/dev/null", "-etrace=flock")
    inject = f"-einject=flock:error=ENOLCK:when={since}+"
    done = smtps(*words, text=MESSAGE, under=(*strace, inject))
    assert done.returncode == status
    assert "its file system gives no lock" in done.stdout + done.stderr
    assert then in done.stdout + done.stderr
    assert not sandbox.accepted
    assert [path for state in MAILS for path in (box.root / state).iterdir()] == [mail]


def test_a_flush_ends_with_what_matters_most(smtps: Run, sandbox: Sandbox) -> None:
    assert smtps("outbox", "flush").returncode == 0
    # Not reached it waits, and is tried again.
    assert smtps("outbox", "retry", kept(smtps, 1)).returncode == 0
    assert smtps("outbox", "flush").returncode == 75
    more = ["--ca-file", str(sandbox.ca_file), "--user", USER]
    name = kept(smtps, sandbox.port, *more, "--password-command", "printf wrong")
    smtps("outbox", "retry", name)
    assert smtps("outbox", "flush").returncode == 77
    smtps("outbox", "drop", name)
    with Server(Script(steps={"rcpt1": b"550 5.1.1 no\r\n"})) as server:
        smtps(
            "send", "--queue", "-f", "a@x.org", "b@x.org", "--host", "127.0.0.1",
            "--port", str(server.port), "--tls", "none", text=MESSAGE,
        )  # fmt: skip
        assert smtps("outbox", "flush").returncode == 67


def test_what_may_have_arrived_is_not_sent_again_unasked(smtps: Run, tmp_path: Path) -> None:
    begin: list[bytes | None] = [b"220 hi\r\n", OK, OK, OK, b"450 later\r\n", GO, None]
    box = Spool(tmp_path / "data" / "smtps" / "outbox")

    def wish() -> dict[str, Value]:
        (mail,) = box.names("queue")
        (*_, (name, rest)) = Journal(box.place("queue", mail)).records()
        assert name == "retry"
        assert smtps("outbox", "drop", mail).returncode == 0
        return plist(rest)

    def uncertain() -> str:
        with server(begin[:4] + begin[5:]) as port:
            done = smtps(
                "send", "--queue", "-f", "a@x.org", "b@x.org", "--host", "127.0.0.1",
                "--port", str(port), "--tls", "none", "--report", "json", text=MESSAGE,
            )  # fmt: skip
            assert smtps("outbox", "flush").returncode == 74
        return str(json.loads(done.stdout)["id"])

    name = uncertain()
    for more in ([], ["--others"]):
        done = smtps("outbox", "retry", name, *more)
        assert (done.returncode, done.stdout) == (64, "")
        assert f"Nobody knows whether the mail {name} has arrived" in done.stderr
        assert ("--uncertain" in done.stderr) == (not more)
    assert smtps("outbox", "retry", name, "--uncertain").returncode == 0
    assert wish()["uncertain"] is True
    name = uncertain()
    command = shlex.join([sys.executable, "-I", str(PYTHON), "outbox", "retry", name])
    place = {"HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path / "data")}
    asks = r"it may\s+come\s+twice\.\s+Send it\? \(y or n\) *$"
    with Terminal(command, place) as terminal:
        terminal.until(asks)
        terminal.enter("n", "^status=64$")
    assert box.names("failed") == [name]
    with Terminal(command, place) as terminal:
        terminal.until(asks)
        terminal.enter("y", "^status=0$")
    assert wish()["uncertain"] is True


def test_a_flush_asks_a_password_command_for_accounts_without(smtps: Run, sandbox: Sandbox) -> None:
    words = ["send", "--queue", "-f", "a@x.org", "--host", "localhost", "--port", str(sandbox.port),
             "--tls", "implicit", "--ca-file", str(sandbox.ca_file), "--user", USER]  # fmt: skip
    for address, more in (("b@x.org", []), ("c@x.org", ["--password-command", "printf wrong"])):
        assert smtps(*words, *more, address, text=MESSAGE).returncode == 0
    done = smtps("outbox", "flush", "--password-command", f"printf {PASSWORD}")
    # That of the other account is its own.
    assert done.returncode == 77, done.stderr
    assert [mail.recipients for mail in sandbox.accepted] == [("b@x.org",)]


def test_without_a_user_nobody_has_to_log_in(smtps: Run) -> None:
    with Server(Script(offers=("AUTH PLAIN",))) as server:
        words = ["send", "--queue", "-f", "a@x.org", "b@x.org", "--host", "127.0.0.1",
                 "--port", str(server.port), "--tls", "none"]  # fmt: skip
        assert smtps(*words, text=MESSAGE).returncode == 0
        done = smtps("outbox", "flush")
    assert (done.returncode, "accepted the message" in done.stdout) == (0, True), done.stdout


def test_a_fault_of_the_set_up_is_told_once(smtps: Run, sandbox: Sandbox, tmp_path: Path) -> None:
    pins = tmp_path / ".config" / "smtps" / "pins"
    pins.parent.mkdir(parents=True)
    pins.write_text("localhost 465\n")
    more = ["--ca-file", str(sandbox.ca_file), "--user", USER]
    names = [
        kept(smtps, sandbox.port, *more, "--password-command", f"printf {PASSWORD}")
        for _ in range(2)
    ]
    for name in names:
        assert smtps("outbox", "retry", name).returncode == 0
    done = smtps("outbox", "flush")
    assert done.returncode == 78
    assert done.stdout.count("is no pin") == 1
    assert "2 mails wait in the outbox" in done.stderr
    pins.unlink()
    assert smtps("outbox", "flush").returncode == 0
    assert len(sandbox.accepted) == 2


def test_all_or_none_is_held_until_the_others_are_to_have_it(smtps: Run, tmp_path: Path) -> None:
    def override(verb: str, line: str) -> str | None:
        return "550 5.1.1 no such user\r\n" if verb == "RCPT" and "b@x" in line else None

    with Sandbox(tmp_path / "sandbox", override=override) as sandbox:
        done = smtps(
            "send", "--all-or-none", "-f", "a@x.org", "b@x.org", "c@x.org",
            "--host", "localhost", "--port", str(sandbox.port), "--user", USER, "--tls", "implicit",
            "--password-command", f"printf {PASSWORD}", "--ca-file", str(sandbox.ca_file),
            "--report", "json", text=MESSAGE,
        )  # fmt: skip
        assert done.returncode == 67
        assert "refused b@x.org (“550 5.1.1 no such user”). Nothing was sent" in done.stderr
        report = json.loads(done.stdout)
        assert [fate["verdict"] for fate in report["recipients"]] == ["refused", "held"]
        name = report["id"]
        assert f"smtps outbox retry {name} --others" in done.stderr
        assert "is held" in smtps("outbox").stdout
        assert not sandbox.accepted
        assert smtps("outbox", "retry", name, "--others").returncode == 0
        assert smtps("outbox", "flush").returncode == 0
        assert [mail.recipients for mail in sandbox.accepted] == [("c@x.org",)]


def test_a_mail_for_a_later_time_is_tried_now(smtps: Run, sandbox: Sandbox, tmp_path: Path) -> None:
    account = Account(
        "localhost", sandbox.port, "implicit", user=USER, ca_file=str(sandbox.ca_file),
        password_command=f"printf {PASSWORD}",
    )  # fmt: skip
    box = Spool(tmp_path / "data" / "smtps" / "outbox")
    envelope = Envelope("a@x.org", ("b@x.org",))
    directory = box.take_in(account, envelope, lambda: [MESSAGE.encode()], "<1@x>", "queue")
    file = directory / "envelope.sexp"
    file.write_text(file.read_text().replace(" :size", f" :not-before {2**37} :size", 1))
    assert smtps("outbox", "flush").returncode == 75
    assert not sandbox.accepted
    assert smtps("outbox", "retry", directory.name).returncode == 0
    assert smtps("outbox", "flush").returncode == 0
    assert len(sandbox.accepted) == 1

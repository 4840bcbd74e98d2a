"""As a sendmail: git send-email, mutt, Emacs's own senders and what cron does, all real."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from email import message_from_bytes, policy
from pathlib import Path

import pytest
from hostile.server import Script, Server
from servers import PYTHON

from smtps.sandbox.machine import Accepted
from smtps.sandbox.server import Sandbox

SECONDS = 60

TEXT = ".\n..two dots\nFrom é to ü\n.\nlast\n"
"""A body that a bad sendmail cuts short, or alters."""


@dataclass(frozen=True)
class Home:
    """A home whose account is a sandbox, and a directory on the path with the command."""

    path: Path
    sandbox: Sandbox

    def run(
        self, words: Sequence[str], text: str = "", status: int = 0
    ) -> subprocess.CompletedProcess[str]:
        """Run WORDS at home with TEXT as its input; see that it exits with STATUS."""
        kept = {n: v for n, v in os.environ.items() if not n.startswith(("XDG_", "GIT_", "EMAIL"))}
        done = subprocess.run(
            words,
            input=text, capture_output=True, encoding="utf-8", timeout=SECONDS, check=False,
            cwd=self.path,
            env=kept | {
                "HOME": str(self.path), "PATH": f"{self.path}/bin:{os.environ['PATH']}",
                "LC_ALL": "C.UTF-8", "GIT_CONFIG_NOSYSTEM": "1",
            },
        )  # fmt: skip
        assert done.returncode == status, done.stdout + done.stderr
        return done

    def arrived(self) -> Accepted:
        """Return the one mail that arrived."""
        (mail,) = self.sandbox.accepted
        assert mail.user == self.sandbox.user
        return mail

    def account(self, *lines: str) -> None:
        """Have LINES as the account."""
        file = self.path / ".config/smtps/accounts.toml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join(["[work]", *lines, ""]))


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """A home with its sandbox, git's set-up, and the command as pip makes it."""
    path = tmp_path / "home"
    (path / "bin").mkdir(parents=True)
    command = path / "bin/smtps"
    command.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(PYTHON)!r})\n"
        "from smtps.cli import main\nsys.exit(main())\n"
    )
    command.chmod(0o700)
    (path / "bin/sendmail").symlink_to("smtps")
    with Sandbox(tmp_path / "sandbox", more=("DSN",)) as sandbox:
        made = Home(path, sandbox)
        made.account(
            'host = "localhost"', f"port = {sandbox.port}", 'tls = "implicit"',
            f'ca-file = "{sandbox.ca_file}"', f'user = "{sandbox.user}"',
        )  # fmt: skip
        authinfo = path / ".authinfo"
        authinfo.write_text(f"machine localhost login {sandbox.user} password {sandbox.password}\n")
        authinfo.chmod(0o600)
        yield made


@pytest.fixture
def repository(home: Home) -> Home:
    """The home with a repository of two commits in it."""
    for words in (
        "init -q -b main", "config user.name 'Ann Érable'", "config user.email ann@x.org",
        "config sendemail.confirm never", "config sendemail.suppressCc all",
        "config format.signOff false",
    ):  # fmt: skip
        home.run(["git", *shlex.split(words)])
    for number in (1, 2):
        (home.path / "file").write_text(f"{TEXT}{number}\n")
        home.run(["git", "add", "file"])
        home.run(["git", "commit", "-q", "-m", f"Change é {number}\n\n{TEXT}"])
    return home


GIT_WAYS = {
    "command": ["-c", "sendemail.sendmailCmd=smtps send"],
    "link": ["-c", "sendemail.smtpServer={home}/bin/sendmail"],
}
"""How git is told: a command, or the name of a file."""


@pytest.mark.parametrize("way", GIT_WAYS)
def test_git_send_email(repository: Home, way: str) -> None:
    told = [word.format(home=repository.path) for word in GIT_WAYS[way]]
    repository.run(
        ["git", *told, "send-email", "--to=to@x.org", "--cc=cc@x.org", "--bcc=bcc@x.org",
         "--envelope-sender=bounces@x.org", "-1"],
    )  # fmt: skip
    mail = repository.arrived()
    assert mail.mail_from == "bounces@x.org"
    assert set(mail.recipients) == {"to@x.org", "cc@x.org", "bcc@x.org"}
    assert b"bcc@x.org" not in mail.octets
    assert b"\r\nX-Mailer: git-send-email " in mail.octets
    assert f"\n\n{TEXT}---\n" in mail.octets.decode().replace("\r\n", "\n")


@pytest.mark.parametrize("way", GIT_WAYS)
def test_git_stops_at_what_is_refused(repository: Home, way: str) -> None:
    told = [word.format(home=repository.path) for word in GIT_WAYS[way]]
    with Server(Script(steps={"rcpt": b"550 5.1.1 Nobody of that name\r\n"})) as server:
        repository.account('host = "127.0.0.1"', f"port = {server.port}", 'tls = "none"')
        # The status is handed on.
        done = repository.run(["git", *told, "send-email", "--to=to@x.org", "-2"], status=67)
    assert "smtps: " in done.stderr
    assert "Nobody of that name" in done.stderr
    assert len(server.records) == 1
    failed = list((repository.path / ".local/share/smtps/outbox/failed").iterdir())
    assert [entry.name in done.stderr for entry in failed] == [True]


def mutt(home: Home, *more: str) -> list[str]:
    """Return the command line that sends by mutt, with MORE settings."""
    settings = [
        'set sendmail="smtps send"', "set from=ann@x.org", "unset record", "set use_envelope_from",
        *more,
    ]  # fmt: skip
    (home.path / ".muttrc").write_text("\n".join(settings) + "\n")
    return ["mutt", "-s", "Grüße", "-b", "bcc@x.org", "-c", "cc@x.org", "--", "to@x.org"]


def test_mutt(home: Home) -> None:
    home.run(mutt(home, "set use_8bitmime", 'set dsn_notify="failure,delay"', "set dsn_return=hdrs",
                  "set envelope_from_address=bounces@x.org", "set allow_8bit",
                  "set send_charset=utf-8"), TEXT)  # fmt: skip
    mail = home.arrived()
    assert mail.mail_from == "bounces@x.org"
    assert set(mail.recipients) == {"to@x.org", "cc@x.org", "bcc@x.org"}
    assert b"bcc@x.org" not in mail.octets
    assert "RET=HDRS" in mail.parameters
    assert all("NOTIFY=FAILURE,DELAY" in told for told in mail.recipient_parameters)
    assert mail.octets.decode().replace("\r\n", "\n").endswith(f"\n\n{TEXT}")


def test_mutt_tells_what_is_refused(home: Home) -> None:
    with Server(Script(steps={"rcpt": b"550 5.1.1 Nobody of that name\r\n"})) as server:
        home.account('host = "127.0.0.1"', f"port = {server.port}", 'tls = "none"')
        done = home.run(mutt(home), TEXT, status=1)
    assert "Nobody of that name" in done.stderr
    assert "child exited 67 (" in done.stderr


@pytest.mark.parametrize(
    "words", [["smtps", "send", "-oi", "-t"], ["sendmail", "-oi", "-t"],
              ["sendmail", "-FCronDaemon", "-i", "-B8BITMIME", "-oem", "to@x.org", "bcc@x.org"]],
    ids=["smtps", "link", "cron"],
)  # fmt: skip
def test_what_cron_does(home: Home, words: list[str]) -> None:
    home.run(words, f"From: ann@x.org\nTo: to@x.org\nBcc: bcc@x.org\nSubject: x\n\n{TEXT}")
    mail = home.arrived()
    assert mail.mail_from == "ann@x.org"
    assert mail.recipients == ("to@x.org", "bcc@x.org")
    assert b"Bcc" not in mail.octets
    assert b"\r\nMessage-ID: <" in b"\r\n" + mail.octets
    assert mail.octets.decode().replace("\r\n", "\n").endswith(f"\n\n{TEXT}")


EMACS = """(progn
  (setq sendmail-program (expand-file-name "~/bin/sendmail")
        user-mail-address "ann@x.org" mail-specify-envelope-from t
        mail-envelope-from "bounces@x.org" message-signature nil mail-signature nil
        send-mail-function 'sendmail-send-it
        message-send-mail-function 'message-send-mail-with-sendmail)
  (prefer-coding-system 'utf-8)
  {compose}
  (goto-char (point-max))
  (insert {text}))"""

COMPOSE = {
    "message": """(progn (message-mail "to@x.org" "Grüße" '((Bcc . "bcc@x.org"))))""",
    "mail": """(progn (require 'sendmail) (mail nil "to@x.org" "Grüße")
                 (mail-bcc) (insert "bcc@x.org"))""",
}


def lisp(text: str) -> str:
    """Return TEXT as a string of Lisp."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


@pytest.mark.parametrize("mode", COMPOSE)
def test_emacs_by_its_own_functions(home: Home, mode: str) -> None:
    form = EMACS.format(compose=COMPOSE[mode], text=lisp(TEXT))
    send = "(message-send-and-exit)" if mode == "message" else "(mail-send)"
    home.run(["emacs", "-Q", "--batch", "--eval", form, "--eval", send])
    mail = home.arrived()
    assert mail.mail_from == "bounces@x.org"
    assert set(mail.recipients) == {"to@x.org", "bcc@x.org"}
    assert b"bcc@x.org" not in mail.octets
    read = message_from_bytes(mail.octets, policy=policy.default)
    assert read["Subject"] == "Grüße"
    assert read.get_content().replace("\r\n", "\n") == TEXT
    with Server(Script(steps={"rcpt": b"550 5.1.1 Nobody of that name\r\n"})) as server:
        home.account('host = "127.0.0.1"', f"port = {server.port}", 'tls = "none"')
        done = home.run(["emacs", "-Q", "--batch", "--eval", form, "--eval", send], status=255)
    assert "Sending...failed" in done.stderr

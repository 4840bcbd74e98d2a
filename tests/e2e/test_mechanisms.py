"""Every mechanism that Dovecot has, behind Postfix, with passwords of two kinds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from servers import UNPREPARED, USERS, Postfix, Run, token

from smtps.protocol import transcript

PASSWORDS = ("SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN", "LOGIN", "DIGEST-MD5", "CRAM-MD5")
TOKENS = ("OAUTHBEARER", "XOAUTH2")
MAIL = "From: a@poste.it\nTo: b@other-host.it\nSubject: x\n\nText\n"


class Sender:
    """Sends a mail with a secret, by `smtps send`."""

    def __init__(self, postfix: Postfix, smtps: Run, directory: Path) -> None:
        self.postfix = postfix
        self._smtps = smtps
        self._secret = directory / "secret"
        self._transcript = directory / "transcript"
        self.stderr = ""

    def send(self, user: str, secret: str, *more: str) -> int:
        """Send, and return the exit status."""
        self._secret.write_text(secret + "\n", "utf-8")
        done = self._smtps(
            "send", "-t", "--host", "localhost", "--port", str(self.postfix.port),
            "--tls", "implicit", "--ca-file", str(self.postfix.ca_file), "--user", user,
            "--password-command", f"cat '{self._secret}'",
            "--transcript", str(self._transcript), "--report", "json", *more, text=MAIL,
        )  # fmt: skip
        self.stderr = done.stderr
        self.report = json.loads(done.stdout) if done.stdout else {}
        return done.returncode

    @property
    def tried(self) -> list[str]:
        """The mechanisms of the last try."""
        found = transcript.read(self._transcript.read_text("utf-8"))
        return [
            said.sent.split()[1] for said in found.exchanges if said.sent and said.verb == "AUTH"
        ]


@pytest.fixture
def sender(postfix: Postfix, smtps: Run, tmp_path: Path) -> Sender:
    """A sender to the running server."""
    return Sender(postfix, smtps, tmp_path)


@pytest.mark.parametrize("mechanism", PASSWORDS)
@pytest.mark.parametrize("user", USERS)
def test_the_right_password(sender: Sender, mechanism: str, user: str) -> None:
    assert sender.send(user, USERS[user], "--auth", mechanism) == 0, sender.stderr
    assert sender.tried[0] == mechanism
    assert len(sender.postfix.mails(1)) == 1


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "PLAIN", "DIGEST-MD5"])
@pytest.mark.parametrize("user", UNPREPARED)
def test_a_password_that_the_server_did_not_prepare(
    sender: Sender, mechanism: str, user: str
) -> None:
    assert sender.send(user, UNPREPARED[user], "--auth", mechanism) == 0, sender.stderr


def test_a_password_beyond_ascii_in_either_way_of_digest_md5(sender: Sender) -> None:
    # RFC 2831 hashes it in ISO 8859-1, Dovecot as it is.
    assert sender.send("accented", USERS["accented"], "--auth", "DIGEST-MD5") == 0
    assert sender.tried == ["DIGEST-MD5", "DIGEST-MD5"]


@pytest.mark.parametrize(
    ("words", "tried"),
    [
        ((), ["SCRAM-SHA-256"]),
        (("--auth", "fast"), ["PLAIN"]),
        (("--auth", "fast,login,plain"), ["PLAIN"]),
        (("--auth", "scram-sha-512,login,plain"), ["LOGIN"]),
    ],
    ids=str,
)
def test_the_choice(sender: Sender, words: tuple[str, ...], tried: list[str]) -> None:
    assert sender.send("tester", "secret", *words) == 0, sender.stderr
    assert sender.tried == tried
    assert sender.send("tester", "wrong", *words) == 77
    assert sender.tried == tried


@pytest.mark.parametrize("mechanism", PASSWORDS)
@pytest.mark.parametrize("user", USERS)
def test_a_wrong_password(sender: Sender, mechanism: str, user: str) -> None:
    assert sender.send(user, USERS[user] + "x", "--auth", mechanism) == 77
    assert "535" in sender.stderr
    assert not sender.postfix.maildir.exists()


@pytest.mark.parametrize("mechanism", TOKENS)
def test_a_token(sender: Sender, mechanism: str) -> None:
    assert sender.send("tester", token("tester"), "--auth", mechanism) == 0, sender.stderr
    assert sender.tried == [mechanism]
    assert len(sender.postfix.mails(1)) == 1


@pytest.mark.parametrize("mechanism", TOKENS)
@pytest.mark.parametrize(
    "bad",
    [token("tester", key=b"another"), token("tester", expires=-5), token("accented"), "nonsense"],
    ids=["signature", "expired", "another's", "no token"],
)
def test_a_token_that_is_refused(sender: Sender, mechanism: str, bad: str) -> None:
    assert sender.send("tester", bad, "--auth", mechanism) == 77
    assert "535" in sender.stderr
    assert "Its reason: status: " in sender.stderr
    assert bad not in sender.stderr
    assert not sender.postfix.maildir.exists()

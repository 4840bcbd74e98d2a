"""The documented dialogues, a sent message and a sent buffer, on Postfix."""

from __future__ import annotations

import base64
import os
import subprocess
from pathlib import Path

import pytest
from servers import ELISP, USERS, Postfix, Run


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize("user", USERS)
def test_the_documented_dialogue(postfix: Postfix, smtps: Run, user: str) -> None:
    done = smtps(
        f"localhost:{postfix.port}", "--tls", "implicit", "--ca-file", str(postfix.ca_file),
        text=f"ehlo localhost.localdomain\nauth login\n{b64(user)}\n{b64(USERS[user])}\n"
        "mail from:<from-address@poste.it>\nrcpt to:<to-address@other-host.it>\ndata\n"
        "From: <from-address@poste.it>\nTo: <to-address@other-host.it>\n"
        "Subject: interactive attempt\n\nText for interactive attempt.\n--\nMarco\n.\nquit\n",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "recv> 235 " in done.stdout
    assert b64(USERS[user]) not in done.stdout
    assert b"\n\nText for interactive attempt.\n--\nMarco\n" in postfix.mails(1)[0]


def test_the_dialogue_with_starttls(postfix: Postfix, smtps: Run) -> None:
    plain = b64(f"\0tester\0{USERS['tester']}")
    done = smtps(
        "session", f"localhost:{postfix.starttls_port}", "--tls", "starttls",
        "--ca-file", str(postfix.ca_file),
        text=f"ehlo x\nstarttls\nehlo x\nauth plain {plain}\nmail from:<a@poste.it>\n"
        "rcpt to:<b@other-host.it>\ndata\nSubject: demo\n\ndemo\n.\nquit\n",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "- Handshake was completed" in done.stdout
    assert b"\n\ndemo\n" in postfix.mails(1)[0]


@pytest.mark.parametrize("tls", ["implicit", "starttls"])
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
@pytest.mark.parametrize("user", USERS)
def test_send(postfix: Postfix, smtps: Run, tls: str, mechanism: str, user: str) -> None:
    port = postfix.port if tls == "implicit" else postfix.starttls_port
    done = smtps(
        "send", "-t", "--host", "localhost", "--port", str(port), "--tls", tls,
        "--ca-file", str(postfix.ca_file), "--user", user, "--auth", mechanism,
        "--password-command", f"printf '%s' '{USERS[user]}'", "--report", "json",
        text="From: a@poste.it\nTo: b@other-host.it\nSubject: x\n\n.\n..\nText\n",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert postfix.mails(1)[0].endswith(b"\n\n.\n..\nText\n")


def test_what_postfix_offers_is_used(postfix: Postfix, smtps: Run, tmp_path: Path) -> None:
    transcript = tmp_path / "transcript"
    done = smtps(
        "send", "-N", "success,failure", "-R", "hdrs", "-V", "id 1", "-f", "a@poste.it",
        "--host", "localhost", "--port", str(postfix.port), "--tls", "implicit",
        "--ca-file", str(postfix.ca_file), "--user", "tester", "--auth", "PLAIN",
        "--password-command", "printf secret", "--transcript", str(transcript),
        "bücher@other-host.it",
        text="From: a@poste.it\nSubject: x\n\nGrüße\n.\n",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = transcript.read_text("utf-8")
    for words in (
        " BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=id+201",
        "RCPT TO:<bücher@other-host.it> NOTIFY=SUCCESS,FAILURE",
        "send> BDAT ",
        " SIZE=",
    ):
        assert words in said
    # The envelope left together: no reply stands between its commands.
    assert said.index("send> RCPT") < said.index("recv> 235")
    assert postfix.mails(1)[0].endswith("\n\nGrüße\n.\n".encode())


def test_a_wrong_password_is_told(postfix: Postfix, smtps: Run) -> None:
    done = smtps(
        "send", "-t", "--host", "localhost", "--port", str(postfix.port), "--tls", "implicit",
        "--ca-file", str(postfix.ca_file), "--user", "tester", "--password-command", "echo no",
        text="From: a@poste.it\nTo: b@other-host.it\n\nText\n",
    )  # fmt: skip
    assert done.returncode == 77
    assert "535" in done.stderr


def test_a_buffer_is_sent(postfix: Postfix, tmp_path: Path) -> None:
    authinfo = tmp_path / ".authinfo"
    authinfo.write_text(f"machine localhost port {postfix.port} login tester password secret\n")
    account = (
        f'(("test" :host "localhost" :port {postfix.port} :tls implicit :user "tester"'
        f' :ca-file "{postfix.ca_file}"))'
    )
    program = f"""
      (progn
        (setq user-mail-address "a@poste.it" user-full-name "A"
              auth-sources '("{authinfo}") smtps-accounts '{account})
        (smtps-mode 1)
        (compose-mail "b@other-host.it" "Grüße")
        (message-goto-body)
        (insert "Ein Gruß\\n.\\nEnde\\n")
        (message-send-and-exit)
        (kill-emacs (if (smtps-outbox-wait 30) 0 1)))"""
    done = subprocess.run(
        ["emacs", "-Q", "--batch", "-L", str(ELISP), "-l", "smtps", "--eval", program],
        capture_output=True, encoding="utf-8", timeout=60, check=False,
        env=os.environ | {"HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path / "data")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    mail = postfix.mails(1)[0]
    assert b"To: b@other-host.it" in mail
    sent = list((tmp_path / "data/smtps/outbox/sent").iterdir())
    assert len(sent) == 1
    assert "secret" not in "".join(p.read_text("utf-8") for p in sent[0].iterdir())

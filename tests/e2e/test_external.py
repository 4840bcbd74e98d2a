"""EXTERNAL at Dovecot's submission service, which knows who we are by our certificate."""

from __future__ import annotations

import os
import pwd
import shlex
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from authority import DAY, NOW, Authority, Kind
from cryptography.x509.oid import ExtendedKeyUsageOID
from servers import PYTHON, START_SECONDS, Postfix, Run, answers, free_port
from terminal import Terminal

DOVECOT_CONF = """\
base_dir = {root}/dovecot
state_dir = {root}/state
log_path = {root}/dovecot.log
protocols = submission
listen = 127.0.0.1
hostname = mx.test
ssl = required
ssl_cert = <{postfix}/chain.pem
ssl_key = <{postfix}/key.pem
ssl_ca = <{ca_file}
ssl_require_crl = no
ssl_verify_client_cert = yes
ssl_cert_username_field = commonName
auth_ssl_require_client_cert = yes
auth_ssl_username_from_cert = yes
auth_mechanisms = external plain
auth_failure_delay = 0
first_valid_uid = 1
mail_location = maildir:{root}/mail
submission_relay_host = 127.0.0.1
submission_relay_port = {relay_port}
# EXTERNAL needs no password, PLAIN does.
passdb {{
  driver = passwd-file
  mechanisms = external
  args = scheme=plain username_format=%u {root}/known
}}
passdb {{
  driver = passwd-file
  mechanisms = plain
  args = scheme=plain username_format=%u {root}/users
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={root}/mail
}}
service anvil {{
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service submission-login {{
  inet_listener submission {{
    port = {starttls_port}
  }}
  inet_listener submissions {{
    port = {port}
    ssl = yes
  }}
}}
"""

MAIL = "From: a@poste.it\nTo: b@other-host.it\nSubject: x\n\nText\n"


class Submission(NamedTuple):
    """Where the running service is, and who is known to it."""

    port: int
    starttls_port: int
    log: Path
    authority: Authority

    def certificate(self, name: str, file: str, passphrase: bytes | None = None) -> Path:
        """Return a new FILE with the certificate of the user NAME and its key."""
        kind = Kind(common_name=name, purpose=ExtendedKeyUsageOID.CLIENT_AUTH)
        return self.authority.issue(kind, file, passphrase)


@pytest.fixture(scope="module")
def submission(postfix_server: Postfix) -> Iterator[Submission]:
    """Start Dovecot's submission service in front of Postfix; stop it."""
    owner = pwd.getpwnam("postfix")
    with tempfile.TemporaryDirectory(prefix="smtps-dovecot-", dir="/tmp") as directory:
        root = Path(directory)
        root.chmod(0o755)
        for name in ("dovecot", "state", "mail", "certificates"):
            (root / name).mkdir()
        os.chown(root / "mail", owner.pw_uid, owner.pw_gid)
        authority = Authority(root / "certificates", "Authority of the users")
        (root / "known").write_text("tester:::::::nopassword=y\n")
        (root / "users").write_text("tester:{PLAIN}secret\n")
        found = Submission(free_port(), free_port(), root / "dovecot.log", authority)
        (root / "dovecot.conf").write_text(
            DOVECOT_CONF.format(
                root=root,
                postfix=postfix_server.root,
                ca_file=authority.ca_file,
                relay_port=postfix_server.relay_port,
                uid=owner.pw_uid,
                gid=owner.pw_gid,
                port=found.port,
                starttls_port=found.starttls_port,
            )
        )
        dovecot = subprocess.Popen(
            ["dovecot", "-F", "-c", str(root / "dovecot.conf")],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            context = ssl.create_default_context(cafile=str(postfix_server.ca_file))
            end = time.monotonic() + START_SECONDS
            while not (answers(found.port, context) and answers(found.starttls_port, None)):
                assert time.monotonic() < end, found.log.read_text("utf-8", "replace")[-2000:]
                time.sleep(0.1)
            yield found
        finally:
            dovecot.terminate()
            dovecot.wait(START_SECONDS)


def words(postfix: Postfix, submission: Submission, tls: str, *more: str) -> list[str]:
    """Return the options that lead to SUBMISSION by TLS."""
    port = submission.port if tls == "implicit" else submission.starttls_port
    return [
        "--host", "localhost", "--port", str(port), "--tls", tls,
        "--ca-file", str(postfix.ca_file), *more,
    ]  # fmt: skip


@pytest.mark.parametrize("tls", ["implicit", "starttls"])
@pytest.mark.parametrize("user", [(), ("--user", "tester")], ids=["", "user"])
def test_a_mail_is_sent(
    postfix: Postfix,
    submission: Submission,
    smtps: Run,
    tmp_path: Path,
    tls: str,
    user: tuple[str, ...],
) -> None:
    ours = submission.certificate("tester", "tester.pem")
    transcript = tmp_path / "transcript"
    done = smtps(
        "send", "-t", *words(postfix, submission, tls, "--client-certificate", str(ours)),
        "--auth", "EXTERNAL", *user, "--transcript", str(transcript), text=MAIL,
    )  # fmt: skip
    log = submission.log.read_text("utf-8", "replace")
    assert done.returncode == 0, done.stderr + transcript.read_text() + log
    assert "send> AUTH EXTERNAL" in transcript.read_text("utf-8")
    assert "method=EXTERNAL" in log
    assert len(postfix.mails(1)) == 1


def test_a_key_with_a_passphrase(postfix: Postfix, submission: Submission, tmp_path: Path) -> None:
    ours = submission.certificate("tester", "locked.pem", b"open sesame")
    more = ("--client-certificate", str(ours), "--auth", "EXTERNAL")
    (tmp_path / "mail").write_text(MAIL)
    run = shlex.join([sys.executable, "-I", str(PYTHON)])
    options = shlex.join(words(postfix, submission, "implicit", *more))
    home = {"HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path / "data")}
    for given, status in (("open sesame", 0), ("a wrong one", 77)):
        with Terminal(f"{run} send -t {options} < {tmp_path}/mail", os.environ | home) as terminal:
            terminal.until("Passphrase for ")
            screen = terminal.enter(given, "status=")
        assert f"status={status}" in screen
        assert given not in screen
    assert "wants another passphrase" in " ".join(screen.split())
    assert len(postfix.mails(1)) == 1


def test_check_tells_the_login(postfix: Postfix, submission: Submission, smtps: Run) -> None:
    ours = submission.certificate("tester", "check.pem")
    done = smtps(
        "check", *words(postfix, submission, "implicit", "--client-certificate", str(ours)),
        "--user", "tester",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    # Of what is offered it comes first.
    assert "✓ Login: tester was accepted by EXTERNAL." in done.stdout


@pytest.mark.parametrize(
    "response", ["auth external =", "auth external\n", "auth external dGVzdGVy"]
)
def test_typed_by_hand(postfix: Postfix, submission: Submission, smtps: Run, response: str) -> None:
    ours = submission.certificate("tester", "by-hand.pem")
    done = smtps(
        "session", *words(postfix, submission, "starttls", "--client-certificate", str(ours)),
        text=f"ehlo x\nstarttls\nehlo x\n{response}\nmail from:<a@poste.it>\n"
        "rcpt to:<b@other-host.it>\ndata\nSubject: x\n\nText\n.\nquit\n",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "recv> 235 " in done.stdout
    assert len(postfix.mails(1)) == 1


@pytest.fixture(scope="module")
def bad(submission: Submission, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Certificates that do not log in as tester."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    purpose = ExtendedKeyUsageOID.CLIENT_AUTH
    ours = Kind(common_name="tester", purpose=purpose)
    forger = Authority(elsewhere, "Authority of the users")
    old = Kind(common_name="tester", purpose=purpose, begins=NOW - 9 * DAY, ends=NOW - DAY)
    return {
        "of an unknown user": submission.certificate("nobody", "nobody.pem"),
        "of an unknown authority": Authority(elsewhere, "Other").issue(ours, "stranger.pem"),
        "expired": submission.authority.issue(old, "expired.pem"),
        "forged": forger.issue(ours, "forged.pem"),
    }


WHY = {
    None: "EXTERNAL needs a client certificate: --client-certificate, :client-certificate.",
    "of an unknown user": "EXTERNAL (“535 5.7.8 Authentication failed.”. Is the client certificate",
    "of an unknown authority": "“535 5.7.8 Client didn't present valid SSL certificate”. Is the",
    "expired": "“535 5.7.8 Client didn't present valid SSL certificate”. Is the client certificate",
    # Dovecot closes, and says nothing: it can't be told from a network that fails.
    "forged": "It may be that it does not take the client certificate.",
}
"""What is told, by the certificate that was shown."""


@pytest.mark.parametrize("tls", ["implicit", "starttls"])
@pytest.mark.parametrize("verb", ["send", "check"])
@pytest.mark.parametrize("shown", WHY)
def test_a_certificate_that_does_not_log_in(
    postfix: Postfix,
    submission: Submission,
    smtps: Run,
    bad: dict[str, Path],
    tls: str,
    verb: str,
    shown: str | None,
) -> None:
    more = ("--client-certificate", str(bad[shown])) if shown else ()
    done = smtps(
        verb, *(["-t"] if verb == "send" else []), *words(postfix, submission, tls, *more),
        "--user", "tester", "--auth", "EXTERNAL", text=MAIL,
    )  # fmt: skip
    assert done.returncode == (69 if shown == "forged" else 77)
    assert WHY[shown] in done.stderr
    assert not postfix.maildir.exists()

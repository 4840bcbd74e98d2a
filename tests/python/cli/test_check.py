"""smtps check: what it says, its status, and that it sends nothing."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hostile.server import Script, Server
from servers import Run

from smtps.cli import check
from smtps.rpc import codec
from smtps.sandbox.server import PASSWORD, USER, Sandbox


def words(sandbox: Sandbox, *more: str) -> list[str]:
    return [
        "check", f"localhost:{sandbox.port}", "--tls", "implicit",
        "--ca-file", str(sandbox.ca_file), *more,
    ]  # fmt: skip


def test_what_works_is_said(sandbox: Sandbox, smtps: Run) -> None:
    done = smtps(*words(sandbox, "--user", USER, "--password-command", f"printf %s '{PASSWORD}'"))
    assert done.returncode == 0, done.stderr
    for line in (
        "- Status: The certificate is trusted, and it is for localhost.",
        "- Offers PIPELINING: takes several commands in one flight (RFC 2920)",
        f"✓ Connection: to localhost:{sandbox.port}.",
        "✓ TLS: TLSv1.3, and the server is trusted.",
        f"✓ Login: {USER} was accepted by PLAIN.",
    ):
        assert line in done.stdout
    assert PASSWORD not in done.stdout + done.stderr
    assert "- Next: " not in done.stdout
    assert not sandbox.accepted


class Terminal(io.TextIOWrapper):
    def isatty(self) -> bool:
        return True


def test_marks_as_the_output_can_show_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    for made, encoding, shown in (
        (io.TextIOWrapper, "utf-8", ("✓ a", "✗ b", "- ✓")),
        (io.TextIOWrapper, "ascii", ("ok a", "NO b", "- ✓")),
        (Terminal, "utf-8", ("\x1b[32m✓\x1b[0m a", "\x1b[31m✗\x1b[0m b", "- ✓")),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(sys, "stdout", made(io.BytesIO(), encoding))
            assert tuple(map(check.marked, ("✓ a", "✗ b", "- ✓"))) == shown
            patched.setenv("NO_COLOR", "1")
            assert "\x1b" not in check.marked("✓ a")


@pytest.mark.parametrize("form", ["json", "sexp"])
def test_a_report_for_programs(sandbox: Sandbox, smtps: Run, form: str) -> None:
    done = smtps(*words(sandbox, "--report", form))
    text = done.stdout.strip()
    found: dict[str, Any] = (
        json.loads(text) if form == "json" else dict(codec.plist(codec.loads(text)))
    )
    assert found["status"] == 0
    assert found["tls"] == "TLSv1.3"
    assert "PIPELINING" in found["offers"]


def test_a_refused_login_is_77_and_told(sandbox: Sandbox, smtps: Run, tmp_path: Path) -> None:
    transcript = tmp_path / "transcript"
    done = smtps(
        *words(sandbox, "--user", USER, "--password-command", "printf wrongword"),
        "--transcript", str(transcript),
    )  # fmt: skip
    assert done.returncode == 77
    assert "refused the login" in done.stderr
    assert "\n✗ Login: localhost refused the login" in done.stdout
    assert "- Next: Look at user and password; many providers want an app password" in done.stdout
    assert "AUTH PLAIN <the-encoded-auth-credentials>" in transcript.read_text()
    assert "wrongword" not in transcript.read_text() + done.stdout + done.stderr


def test_where_there_is_no_starttls_it_tells_what_to_try(smtps: Run) -> None:
    with Server(Script()) as server:
        done = smtps(
            "check", "--host", "localhost", "--port", str(server.port), "--tls", "starttls"
        )
    assert done.returncode == 77
    assert "\n✗ TLS: localhost does not offer STARTTLS" in done.stdout
    assert "At 465 TLS begins at once." in done.stdout


@pytest.mark.parametrize(
    ("step", "reply", "then"),
    [
        ("auth", b"535-5.7.8 Username and Password not accepted.\r\n535 5.7.8 x - gsmtp\r\n",
         "Turn on 2-Step Verification, make one at myaccount.google.com/apppasswords"),
        ("auth", b"454 4.7.0 Temporary failure\r\n", "Wait, then try again"),
        ("greeting", b"554 5.7.1 You are on a list\r\n", "Log in, send from your own address"),
    ],
)  # fmt: skip
def test_what_to_do_next_is_told_once(smtps: Run, step: str, reply: bytes, then: str) -> None:
    with Server(Script(steps={step: reply}, offers=("AUTH PLAIN",))) as server:
        done = smtps(
            "check", f"127.0.0.1:{server.port}", "--tls", "none", "--user", "me",
            "--password-command", "printf secret",
        )  # fmt: skip
    assert done.returncode != 0
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("- Next: "))
    assert line.startswith(f"- Next: {then}")
    assert len(done.stderr.splitlines()) == 1


def test_where_nobody_answers_the_next_step_is_told_too(smtps: Run) -> None:
    done = smtps("check", "127.0.0.1:1", "--tls", "none")
    assert done.returncode == 69
    assert "- Next: See that host and port are right" in done.stdout
    assert (
        "- Next: " not in smtps("check", "127.0.0.1:1", "--tls", "none", "--report", "json").stdout
    )


def test_a_server_that_offers_less_than_last_time_is_told(smtps: Run) -> None:
    with Server(Script(offers=("AUTH SCRAM-SHA-256 PLAIN",))) as first:
        port = first.port
        # By hand too, it is noted.
        done = smtps("session", f"127.0.0.1:{port}", "--tls", "none", text="ehlo x\nquit\n")
        assert "last time" not in done.stdout
    with Server(Script(offers=("AUTH PLAIN",)), port=port):
        done = smtps("check", f"127.0.0.1:{port}", "--tls", "none")
        assert "! 127.0.0.1 offered SCRAM last time and no longer does" in done.stdout

"""smtps check: what it says, its status, and that it sends nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hostile.server import Script, Server
from servers import Run

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
        f"- Login: {USER} was accepted by PLAIN.",
    ):
        assert line in done.stdout
    assert PASSWORD not in done.stdout + done.stderr
    assert not sandbox.accepted


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
    assert "- Login: it failed." in done.stdout
    assert "AUTH PLAIN <the-encoded-auth-credentials>" in transcript.read_text()
    assert "wrongword" not in transcript.read_text() + done.stdout + done.stderr


def test_a_server_that_offers_less_than_last_time_is_told(smtps: Run) -> None:
    with Server(Script(offers=("AUTH SCRAM-SHA-256 PLAIN",))) as first:
        port = first.port
        # By hand too, it is noted.
        done = smtps("session", f"127.0.0.1:{port}", "--tls", "none", text="ehlo x\nquit\n")
        assert "last time" not in done.stdout
    with Server(Script(offers=("AUTH PLAIN",)), port=port):
        done = smtps("check", f"127.0.0.1:{port}", "--tls", "none")
        assert "! 127.0.0.1 offered SCRAM last time and no longer does" in done.stdout

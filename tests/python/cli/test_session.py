"""The dialogue on a pipe and on a terminal: what is told, and the exit status."""

from __future__ import annotations

import base64
import json
import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from authority import Authority, Kind, context
from cryptography.x509.oid import ExtendedKeyUsageOID
from hostile.server import Script, Server
from servers import PYTHON, Run
from test_statuses import GO, OK, server

from smtps.sandbox.server import PASSWORD, USER, Sandbox

Done = subprocess.CompletedProcess[str]

HI = b"220 hi\r\n"
MAIL = "ehlo x\nmail from:<a@b.c>\nrcpt to:<d@e.f>\ndata\nSubject: x\n\nText\n.\nquit\n"

CASES: dict[str, tuple[str, list[bytes | None], int, str]] = {
    "all is well": (MAIL, [HI, OK, OK, OK, GO, OK, b"221 bye\r\n", None], 0, ""),
    "a refusal is no error": ("foo\nquit\n", [HI, b"500 what\r\n", b"221 bye\r\n", None], 0, ""),
    "no reply to quit": ("quit\n", [HI, None], 0, ""),
    "lines behind quit": ("quit\nnoop\n", [HI, b"221 bye\r\n", None], 0, ""),
    "end of input": ("ehlo x\n", [HI, OK], 0, ""),
    "no greeting": (MAIL, [None], 69, "before it said anything"),
    "closes in mid-dialogue": (MAIL, [HI, OK, OK, None], 69, "answered “rcpt to:<d@e.f>”"),
    "leaves with 421": ("ehlo x\n" * 9, [HI, b"421 bye\r\n", None], 69, "closed the connection"),
    "lost after the dot": (MAIL, [HI, OK, OK, OK, GO, None], 74, "is uncertain"),
    "silent after the dot": (MAIL, [HI, OK, OK, OK, GO], 74, "is uncertain"),
    "input ends in data": (MAIL[:-8], [HI, OK, OK, OK, GO], 65, "the message was not sent"),
    "garbage": (MAIL, [b"HTTP/1.1 400 Bad\r\n"], 76, "no line of an SMTP reply"),
    "an answer too many": (MAIL, [HI + OK, OK, OK, OK, GO, OK, OK], 76, "when nothing was asked"),
}


@pytest.mark.parametrize(("text", "replies", "status", "told"), CASES.values(), ids=CASES)
def test_status(smtps: Run, text: str, replies: list[bytes | None], status: int, told: str) -> None:
    with server(replies) as port:
        done = smtps(f"127.0.0.1:{port}", "--tls", "none", "--timeout", "1", text=text)
    assert (done.returncode, done.stderr == "") == (status, status == 0), done.stderr
    assert told in done.stderr


def test_who_closed_is_told(smtps: Run) -> None:
    with server([HI, OK]) as port:
        done = smtps(f"127.0.0.1:{port}", "--tls", "none", text="noop\n")
    assert done.stdout.endswith("recv> 250 ok\n- The session was closed\n")


def typed(words: Sequence[str], script: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Hold a session on a plain terminal of its own; return all that was seen there.

    Of each pair of SCRIPT the second is typed once the first was seen.
    """
    main, terminal = pty.openpty()
    process = subprocess.Popen(
        ["setsid", "--ctty", sys.executable, "-I", str(PYTHON), *words],
        stdin=terminal, stdout=terminal, stderr=terminal,
        env={n: v for n, v in os.environ.items() if n != "INSIDE_EMACS"} | {"TERM": "dumb"},
    )  # fmt: skip
    os.close(terminal)
    watchdog = threading.Timer(20, process.kill)
    watchdog.start()
    seen = b""
    try:
        for mark, line in script:
            start = len(seen)
            while mark not in seen[start:]:
                seen += os.read(main, 1)
            os.write(main, line + b"\n")
        while process.poll() is None:
            seen += os.read(main, 1)
    except OSError:
        pass
    finally:
        watchdog.cancel()
        process.kill()
        process.wait()
        os.close(main)
    return seen


def test_a_password_is_not_echoed_however_soon_it_is_typed(sandbox: Sandbox) -> None:
    login = [base64.b64encode(text.encode()) for text in (USER, PASSWORD)]
    seen = typed(
        [f"localhost:{sandbox.port}", "--tls", "implicit", "--ca-file", str(sandbox.ca_file)],
        [
            (b"send> ", b"ehlo x"),
            (b"250 SIZE\r\n", b"auth login"),
            (b"recv> 334", login[0]),
            # Before the 334, before the prompt: as soon as the user name has left.
            (b"<the-base64-username>", login[1]),
            (b"recv> 235", b"auth plain"),
            (b"recv> 503", b"quit"),
        ],
    )
    assert b"221" in seen
    # The user's name is not either: the password may be pasted behind it.
    assert not any(secret in seen for secret in login)


def test_a_passphrase_is_no_line_of_the_dialogue(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    kind = Kind(purpose=ExtendedKeyUsageOID.CLIENT_AUTH)
    ours = authority.issue(kind, "ours.pem", b"open sesame")
    with Server(Script(tls="implicit"), context(authority.issue(Kind(), "its.pem"))) as server:
        seen = typed(
            [f"localhost:{server.port}", "--tls", "implicit", "--ca-file", str(authority.ca_file),
             "--client-certificate", str(ours)],
            [(b"Passphrase for", b"open sesame"), (b"send> ", b"quit")],
        )  # fmt: skip
    assert b"221" in seen
    assert b"sesame" not in seen
    assert [record.commands for record in server.records] == [[b"quit"]]


def by_itself(smtps: Run, sandbox: Sandbox, password: str, *more: str, text: str = "") -> Done:
    """Hold a session that begins with a login as the sandbox's user, by PASSWORD."""
    return smtps(
        f"localhost:{sandbox.starttls_port}", "--tls", "starttls",
        "--ca-file", str(sandbox.ca_file), "--user", USER,
        "--password-command", f"echo {password}", *more, text=text,
    )  # fmt: skip


def test_with_a_user_it_greets_starts_tls_and_logs_in(smtps: Run, sandbox: Sandbox) -> None:
    done = by_itself(smtps, sandbox, PASSWORD, text="mail from:<a@b.c>\nquit\n")
    said = [line for line in done.stdout.splitlines() if line.startswith("send>")]
    assert said == [
        "send> EHLO [127.0.0.1]", "send> STARTTLS", "send> EHLO [127.0.0.1]",
        "send> AUTH PLAIN <the-encoded-auth-credentials>", "send> mail from:<a@b.c>", "send> quit",
    ]  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_without_its_login_a_script_is_not_begun(smtps: Run, sandbox: Sandbox) -> None:
    done = by_itself(smtps, sandbox, "wrong", text="mail from:<a@b.c>\nquit\n")
    assert done.returncode == 77
    assert "mail from" not in done.stdout
    assert "wrong" not in done.stdout + done.stderr


def test_a_report_is_the_dialogue_for_a_program(smtps: Run, sandbox: Sandbox) -> None:
    done = by_itself(smtps, sandbox, PASSWORD, "--report", "json", text="quit\n")
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert {"kind": "send", "text": "quit", "verb": "quit", "led": False} in [
        {key: value for key, value in one.items() if key != "at"} for one in told
    ]
    assert [one["code"] for one in told if one["kind"] == "recv"][-1] == 221
    times = [one["at"] for one in told if "at" in one]
    assert all(type(at) is int for at in times)
    assert times == sorted(times)
    assert told[-1] == {
        "kind": "closed",
        "text": "- Peer has closed the TLS connection",
        "status": 0,
    }
    assert PASSWORD not in done.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize(("text", "mark", "status"), [("", "220", 130), (MAIL, "send> .", 74)])
def test_a_signal_ends_it_and_the_status_tells(
    text: str, mark: str, status: int, number: signal.Signals
) -> None:
    with server([HI, OK, OK, OK, GO]) as port:
        running = subprocess.Popen(
            [sys.executable, "-I", str(PYTHON), f"127.0.0.1:{port}", "--tls", "none"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert running.stdin is not None
        assert running.stdout is not None
        running.stdin.write(text)
        running.stdin.flush()
        while mark not in running.stdout.readline():
            assert running.poll() is None
        running.send_signal(number)
        _, stderr = running.communicate(timeout=10)
    assert running.returncode == status
    assert "Traceback" not in stderr
    assert ("uncertain" in stderr) == (status == 74)


@pytest.mark.parametrize("redirection", [">&-", ">/dev/full", "--transcript /dev/full"])
def test_what_cant_be_written_does_not_change_the_status(redirection: str) -> None:
    with server([HI, OK, OK, OK, GO, OK, b"221 bye\r\n", None]) as port:
        done = subprocess.run(
            ["sh", "-c", f'exec "$@" {redirection}', "sh", sys.executable, "-I", str(PYTHON),
             f"127.0.0.1:{port}", "--tls", "none"],
            input=MAIL, capture_output=True, text=True, timeout=20, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert ("No space left" in done.stderr) == ("full" in redirection)
    assert done.stderr.count("\n") == ("full" in redirection)

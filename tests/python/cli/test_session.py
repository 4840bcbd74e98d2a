"""The dialogue on a pipe and on a terminal: what is told, and the exit status."""

from __future__ import annotations

import base64
import os
import pty
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
    """Hold a session on a terminal of its own; return all that was seen there.

    Of each pair of SCRIPT the second is typed once the first was seen.
    """
    main, terminal = pty.openpty()
    process = subprocess.Popen(
        ["setsid", "--ctty", sys.executable, "-I", str(PYTHON), *words],
        stdin=terminal, stdout=terminal, stderr=terminal,
        env={name: value for name, value in os.environ.items() if name != "INSIDE_EMACS"},
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
    assert login[0] in seen
    assert login[1] not in seen


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

"""AUTH PLAIN's string on the command line, where there is no terminal to ask on."""

from __future__ import annotations

import base64
import subprocess
import sys

import pytest
from servers import PYTHON


def auth_plain(user: str, text: str | None) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-I", str(PYTHON), "base64", "--auth-plain", user]
    if text is None:
        words = ["sh", "-c", '"$@" <&-', "sh", *words]
    return subprocess.run(
        words, input=text, capture_output=True, encoding="utf-8", start_new_session=True, timeout=20
    )


def test_the_password_is_read_from_standard_input() -> None:
    done = auth_plain("tèster", "pässword\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert base64.b64decode(done.stdout).decode() == "\0tèster\0pässword"


@pytest.mark.parametrize(
    ("user", "text"), [("", "x\n"), ("x", "\n"), ("x", ""), ("x", "a\0b\n"), ("x", None)]
)
def test_what_can_be_no_login_is_refused(user: str, text: str | None) -> None:
    done = auth_plain(user, text)
    assert (done.returncode, done.stdout) == (64, "")
    assert done.stderr.startswith("smtps: ")
    assert done.stderr.count("\n") == 1

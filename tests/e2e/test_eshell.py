"""smtps in Eshell, typed into Emacs in a terminal, and what is then on the screen."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from servers import ELISP
from terminal import Terminal
from test_screen import (
    ENVELOPE_AND_MAIL,
    LOGIN,
    assert_in_order,
    type_envelope_and_mail,
)

from smtps.sandbox.server import PASSWORD, USER, Sandbox

HOST = "relay.poste.it"

PROMPT = r"^.* [#$]$"


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    """A running sandbox."""
    with Sandbox(tmp_path / "sandbox") as running:
        yield running


@contextmanager
def eshell(home: Path, sandbox: Sandbox) -> Iterator[Terminal]:
    """Emacs in a terminal, with an Eshell before it and an account; its home is HOME."""
    home.mkdir()
    (home / "mail").write_text("From: me@poste.it\nTo: you@other.it\n\nText\n")
    init = home / "init.el"
    init.write_text(
        f"""(setq smtps-accounts '(("work" :host "localhost" :port {sandbox.port}
                                  :user "{USER}" :ca-file "{sandbox.ca_file}"))
              eshell-banner-message "" inhibit-startup-screen t)
            (require 'smtps)
            (eshell)"""
    )
    command = f"cd {home} && emacs -Q -nw -L {ELISP} -l {init} -f delete-other-windows"
    environment = {"HOME": str(home), "XDG_CONFIG_HOME": "", "XDG_DATA_HOME": ""}
    with Terminal(command, environment, size=(110, 70)) as terminal:
        terminal.until(PROMPT)
        yield terminal


def test_the_dialogue(sandbox: Sandbox, tmp_path: Path) -> None:
    with eshell(tmp_path / "home", sandbox) as terminal:
        screen = terminal.enter("smtps localhost", r"^recv> 220 .* Service .*\nsend>$")
        # TLS comes first, trusted by the account's file.
        assert_in_order(
            screen,
            ["- Status: The certificate is trusted, and it is for localhost.", "- TLS: TLSv1.3.*",
             "- Handshake was completed", "recv> 220 .*", "send>"],
        )  # fmt: skip
        terminal.enter("ehlo localhost.localdomain", r"^recv> 250 SIZE.*\nsend>$")
        terminal.enter("auth login", r"^recv> 334 VXNlcm5hbWU6\n")
        terminal.enter(encoded(USER), r"^Password in base64: *$(?s:.*)^Password in base64: *$")
        screen = terminal.enter(encoded(PASSWORD), r"^recv> 235 .*\nsend>$")
        assert encoded(PASSWORD) not in screen
        terminal.enter("noop", r"^recv> 250 .*\nsend>$")
        # What the shell's terminal shows of the login: the user was typed in the buffer.
        lines = [line for line in LOGIN if "username" not in line and "password" not in line]
        for line in lines:
            assert re.search(f"^{line}$", screen, re.M), line
        assert "send> <the-base64-password>" in screen
        screen = type_envelope_and_mail(terminal)
        assert_in_order(screen, ENVELOPE_AND_MAIL)
        terminal.enter(
            "quit", r"^recv> 221 .*\nrecv> - Peer has closed the TLS connection\n.* [#$]$"
        )
        terminal.enter("echo $?", r"^0\n")
        # Nothing of the password is among the keys.
        terminal.keys("M-x")
        screen = terminal.enter("view-lossage", "lossage|echo area|commands")
        assert " ".join(encoded(PASSWORD)[:6]) not in screen
    (mail,) = sandbox.accepted
    assert mail.octets.endswith(b"\r\nMarco\r\n")


def test_send_asks_in_the_minibuffer_and_completes(sandbox: Sandbox, tmp_path: Path) -> None:
    with eshell(tmp_path / "home", sandbox) as terminal:
        terminal.type("smtps sen")
        terminal.keys("Tab")
        terminal.until("[#$] smtps send$")
        terminal.type("-t mai")
        terminal.keys("Tab")
        terminal.until(r"smtps send -t mail$")
        terminal.keys("Enter")
        terminal.until(f"^Password of {re.escape(USER)} at localhost:")
        terminal.enter(PASSWORD, r"^smtps: localhost accepted the message.*\n.* [#$]$")
        terminal.enter("echo $?", r"^0\n")
        terminal.enter(
            "*cat mail | smtps send x@y.z", r"x@y\.z\n.* accepted the message.*\n.* [#$]$"
        )
        screen = terminal.enter("smtps outbox | *wc -l", r"wc -l\n *2\n")
        assert PASSWORD not in screen
    assert [mail.recipients for mail in sandbox.accepted] == [("you@other.it",), ("x@y.z",)]


def test_it_is_stopped(sandbox: Sandbox, tmp_path: Path) -> None:
    with eshell(tmp_path / "home", sandbox) as terminal:
        terminal.enter("smtps localhost", r"^recv> 220 .*\nsend>$")
        terminal.keys("C-c", "C-c")
        terminal.until(r"^send>\n- The session was closed\n.* [#$]$")
        screen = terminal.enter("echo $?", r"echo \$\?\n[0-9]+\n")
        assert not re.search(r"echo \$\?\n0\n", screen)
        assert "Traceback" not in screen
        # At the minibuffer, too: nothing was given, and nothing sent.
        terminal.enter("smtps send -t mail", "^Password of ")
        terminal.keys("C-g")
        terminal.until(r"^smtps: The password command failed with status 1(?s:.*)\n.* [#$]$")
        terminal.enter("echo $?", r"echo \$\?\n78\n")
    assert not sandbox.accepted

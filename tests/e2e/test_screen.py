"""The documented dialogues, typed into Emacs in a terminal, and what is then on the screen."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from servers import ELISP, USERS, Postfix
from terminal import Terminal

from smtps.sandbox.server import PASSWORD, USER

MAIL = (
    "From: <from-address@poste.it>",
    "To: <to-address@other-host.it>",
    "Subject: interactive attempt",
    "",
    "Text for interactive attempt.",
    "--",
    "Marco",
)
"""The mail of the documented dialogue."""

STARS = r"send> \*+$"


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def type_envelope_and_mail(terminal: Terminal) -> str:
    """Type the part that is the same wherever it is typed."""
    terminal.enter("mail from:<from-address@poste.it>", r"mail from.*\nrecv> 250 .*\nsend>$")
    terminal.enter("rcpt to:<to-address@other-host.it>", r"rcpt to.*\nrecv> 250 .*\nsend>$")
    terminal.enter("data", r"^send> data\nrecv> 354 .*\nsend>$")
    for line in MAIL:
        terminal.enter(line, f"^{re.escape(f'send> {line}'.rstrip())}\nsend>$")
    return terminal.enter(".", r"^send> \.\nrecv> 250 .*\nsend>$")


def assert_in_order(screen: str, lines: Sequence[str]) -> None:
    """See that LINES, regexps, stand in SCREEN one below the other."""
    assert re.search("^" + "\n".join(lines) + "$", screen, re.MULTILINE), screen


LOGIN = (
    "send> auth login",
    "recv> 334 VXNlcm5hbWU6",
    "send> <the-base64-username>",
    "recv> 334 UGFzc3dvcmQ6",
    "send> <the-base64-password>",
    "recv> 235 .*",
)
ENVELOPE_AND_MAIL = (
    "send> mail from:<from-address@poste.it>",
    "recv> 250 .*",
    "send> rcpt to:<to-address@other-host.it>",
    "recv> 250 .*",
    "send> data",
    "recv> 354 .*",
    *(re.escape(f"send> {line}".rstrip()) for line in MAIL),
    r"send> \.",
    "recv> 250 .*",
)
END = (
    "send> quit",
    "recv> 221 .*",
    "recv> - Peer has closed the TLS connection",
    "- The session is closed; g connects again",
)


def test_try(tmp_path: Path) -> None:
    """As the page of the sandbox tells: the dialogue by hand, and a mail by C-x m."""
    with Terminal("./elisp/try", {"HOME": str(tmp_path), "TMPDIR": str(tmp_path)}) as terminal:
        told = terminal.until(r"^recv> 220 .* ESMTP Service .*\nsend>$")
        assert f"{b64(USER)}      is the user {USER}" in told
        maildir = re.search(r"^ +(/\S+/Maildir/new)$", told, re.MULTILINE)
        assert maildir is not None, told
        terminal.enter("ehlo localhost.localdomain", r"^recv> 250 SIZE\nsend>$")
        terminal.enter("auth login", r"^recv> 334 VXNlcm5hbWU6\nsend>$")
        terminal.enter(b64(USER), r"^recv> 334 UGFzc3dvcmQ6\nsend>$")
        terminal.type(b64(PASSWORD))
        hidden = terminal.until(STARS)
        assert hidden.count(b64(PASSWORD)) == 1, "only where it is told to be typed"
        terminal.enter("", r"^recv> 235 login authentication successful\nsend>$")
        screen = type_envelope_and_mail(terminal)
        assert_in_order(screen, (*LOGIN, *ENVELOPE_AND_MAIL))
        assert screen.count(b64(PASSWORD)) == 1
        (first,) = Path(maildir[1]).iterdir()
        assert "\n".join(MAIL) in first.read_text()
        screen = terminal.enter("quit", re.escape(END[-1]))
        assert_in_order(screen, (*ENVELOPE_AND_MAIL[-4:], *END))

        terminal.keys("C-x", "m")
        terminal.until("^To: *$")
        terminal.type("to-address@other-host.it")
        terminal.keys("C-c", "C-f", "C-s")
        terminal.type("Composed")
        terminal.keys("C-c", "C-b")
        terminal.type("In a buffer.")
        terminal.keys("C-c", "C-c")
        terminal.until("localhost accepted the message for 1 recipient")
        assert len(list(Path(maildir[1]).iterdir())) == 2

        terminal.keys("C-x", "C-c")
        terminal.until("^status=0$")
    # The sandbox has ended with its Emacs.
    assert not Path(maildir[1]).exists()


def assert_delivered(postfix: Postfix) -> None:
    """See that the mail has come; Postfix adds a date at the end of its header."""
    (mail,) = postfix.mails(1)
    head, _, body = mail.decode().partition("\n\n")
    assert "\n".join(MAIL[:3]) in head
    assert body == "\n".join(MAIL[4:]) + "\n"


@contextmanager
def emacs(postfix: Postfix, home: Path, port: int, tls: str) -> Iterator[Terminal]:
    """Emacs on a session with POSTFIX at PORT, whose account names what can't be guessed."""
    (home / "init.el").write_text(
        f'(setq smtps-accounts \'(("test" :host "localhost" :port {port} :tls {tls}'
        f' :user "tester" :ca-file "{postfix.ca_file}")))'
    )
    command = f"emacs -Q -nw -L {ELISP} -l smtps -l {home}/init.el"
    with Terminal(command, {"HOME": str(home)}) as terminal:
        terminal.until("GNU Emacs")
        terminal.keys("M-x")
        terminal.enter("smtps-session", "^Host ")
        terminal.enter(f"localhost:{port}", r"^recv> 220 .*\nsend>$")
        yield terminal
        terminal.keys("C-x", "C-c")
        terminal.until("^status=0$")


@pytest.mark.parametrize("by_key", [False, True], ids=["typed", "C-c C-b"])
def test_postfix_with_tls_at_once(postfix: Postfix, tmp_path: Path, by_key: bool) -> None:
    with emacs(postfix, tmp_path, postfix.port, "implicit") as terminal:
        screen = terminal.enter("ehlo localhost.localdomain", r"^recv> 250 .*\nsend>$")
        assert_in_order(
            screen,
            (
                "- Status: The certificate is trusted, and it is for localhost.",
                "- TLS: TLSv1.3, .*",
                "- Handshake was completed",
                "recv> 220 mx.test ESMTP Postfix.*",
                "send> ehlo localhost.localdomain",
                "recv> 250-mx.test",
            ),
        )
        terminal.enter("auth login", r"^recv> 334 VXNlcm5hbWU6\nsend>$")
        for text, prompt, after in (
            ("tester", r"^User \(default .*\):", r"^recv> 334 UGFzc3dvcmQ6\nsend>$"),
            (USERS["tester"], "^Password:", r"^recv> 235 .*\nsend>$"),
        ):
            if by_key:
                terminal.keys("C-c", "C-b")
                terminal.until(prompt)
                terminal.enter(text, after)
            else:
                terminal.enter(b64(text), after)
            assert b64(USERS["tester"]) not in terminal.screen()
        # Emacs remembers the last keys, but not what was read as a password.
        terminal.keys("C-h", "l")
        assert by_key != ("self-insert-command" in terminal.until(";; view-lossage$"))
        terminal.keys("C-x", "1")
        terminal.until("SMTP ready")
        screen = type_envelope_and_mail(terminal)
        assert_in_order(screen, (*LOGIN, *ENVELOPE_AND_MAIL))
        screen = terminal.enter("quit", re.escape(END[-1]))
        assert_in_order(screen, END)
    assert_delivered(postfix)


@pytest.mark.parametrize("by_key", [False, True], ids=["typed", "C-c C-b"])
def test_postfix_with_starttls(postfix: Postfix, tmp_path: Path, by_key: bool) -> None:
    with emacs(postfix, tmp_path, postfix.starttls_port, "starttls") as terminal:
        terminal.enter("ehlo localhost.localdomain", r"^recv> 250-STARTTLS\n[^$]*\nsend>$")
        screen = terminal.enter("starttls", r"^- Handshake was completed\nsend>$")
        assert_in_order(
            screen, ("send> starttls", "recv> 220 2.0.0 Ready to start TLS", "- Got .*")
        )
        screen = terminal.enter("ehlo localhost.localdomain", r"^recv> 250-AUTH [^$]*\nsend>$")
        assert "\nrecv> 250-AUTH PLAIN LOGIN" in screen
        plain = b64(f"\0tester\0{USERS['tester']}")
        if by_key:
            terminal.enter("auth plain", r"^recv> 334 *\nsend>$")
            terminal.keys("C-c", "C-b")
            terminal.until(r"^User \(default .*\):")
            terminal.enter("tester", "^Password:")
            screen = terminal.enter(USERS["tester"], r"^recv> 235 2.7.0 .*\nsend>$")
            sent = ["send> auth plain", "recv> 334", "send> <the-encoded-auth-credentials>"]
        else:
            screen = terminal.enter(f"auth plain {plain}", r"^recv> 235 2.7.0 .*\nsend>$")
            sent = ["send> auth plain <the-encoded-auth-credentials>"]
        assert_in_order(screen, [*sent, "recv> 235 2.7.0 .*"])
        assert plain not in screen
        screen = type_envelope_and_mail(terminal)
        assert_in_order(screen, ENVELOPE_AND_MAIL)
        screen = terminal.enter("quit", re.escape(END[-1]))
        assert_in_order(screen, END)
    assert_delivered(postfix)

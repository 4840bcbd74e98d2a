"""Typing on a terminal: lines are edited and kept, what arrives leaves them alone."""

from __future__ import annotations

import base64
import os
import shlex
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from servers import PYTHON, Run
from terminal import Terminal
from test_statuses import server

from smtps.cli import colours
from smtps.cli.progress import Progress
from smtps.sandbox.server import PASSWORD, USER, Sandbox

LOGIN = [base64.b64encode(text.encode()).decode() for text in (USER, PASSWORD)]


def opened(home: Path, *words: str, **environment: str) -> Terminal:
    """Return a terminal in which the session of WORDS begins."""
    kept = {n: os.environ[n] for n in os.environ if not n.startswith(("XDG_", "INSIDE_", "NO_"))}
    return Terminal(
        # The shell of the terminal outlives C-c.
        f"trap : INT; {shlex.join([sys.executable, '-I', str(PYTHON), *words])}",
        kept | {"HOME": str(home), "LC_ALL": "C.UTF-8"} | environment,
    )


def on(sandbox: Sandbox) -> tuple[str, ...]:
    """Return the words for a session with SANDBOX."""
    return f"localhost:{sandbox.port}", "--tls", "implicit", "--ca-file", str(sandbox.ca_file)


@contextmanager
def talking() -> Iterator[tuple[int, threading.Event]]:
    """Run a server that says something unasked when the event is set; yield its port, too."""
    listener = socket.create_server(("127.0.0.1", 0))
    now = threading.Event()

    def play() -> None:
        with suppress(OSError), listener, listener.accept()[0] as connected:
            connected.sendall(b"220 hi\r\n")
            now.wait(20)
            connected.sendall(b"250 surprise\r\n")
            connected.recv(4096)

    thread = threading.Thread(target=play, daemon=True)
    thread.start()
    yield listener.getsockname()[1], now
    thread.join(10)


def test_what_arrives_leaves_the_half_typed_line_alone(tmp_path: Path) -> None:
    with (
        talking() as (port, now),
        opened(tmp_path, f"127.0.0.1:{port}", "--tls", "none") as terminal,
    ):
        terminal.until("^send>$")
        terminal.type("noop abc")
        terminal.keys("Left", "Left")
        terminal.until("^send> noop abc$")
        now.set()
        screen = terminal.until("^recv> 250 surprise\n(!.*\n)?send> noop abc$")
        assert screen.count("send>") == 1
        # Where the cursor was, it is.
        terminal.enter("X", "^send> noop aXbc$")
        terminal.until("^status=69$")


def test_a_paste_is_lines_and_its_secrets_are_not_seen(sandbox: Sandbox, tmp_path: Path) -> None:
    with opened(tmp_path, *on(sandbox)) as terminal:
        terminal.until("^send>$")
        terminal.enter("ehlo x", "^recv> 250 SIZE\nsend>$")
        terminal.type("\n".join(["auth login", *LOGIN, "mail from:<a@b.c>", "rcpt to:<d@e.f>"]))
        screen = terminal.enter("", "^recv> 250 RCPT.*\nsend>$")
        assert LOGIN[1] not in screen
        terminal.type("data\nSubject: x\n\nBody\n.")
        screen = terminal.enter("", "Mail accepted\nsend>$")
        assert "\nsend> Subject: x\nsend>\nsend> Body\nsend> .\nrecv> 250 " in screen
        # The first line of the history, edited.
        terminal.keys("Up", "Up", "Up", "Up", "Up", "Up")
        terminal.until("^send> ehlo x$")
        terminal.keys("C-u")
        terminal.enter("quit", "^status=0$")
    history = tmp_path / ".local/state/smtps/history"
    assert history.read_text().splitlines() == [
        "ehlo x", "auth login", "mail from:<a@b.c>", "rcpt to:<d@e.f>", "data", "quit",
    ]  # fmt: skip
    assert history.stat().st_mode & 0o777 == 0o600


def test_a_login_in_one_line_is_not_kept(sandbox: Sandbox, tmp_path: Path) -> None:
    secret = base64.b64encode(f"\0{USER}\0{PASSWORD}".encode()).decode()
    with opened(tmp_path, *on(sandbox)) as terminal:
        terminal.until("^send>$")
        terminal.enter("ehlo x", "^recv> 250 SIZE\nsend>$")
        terminal.enter(f"auth plain {secret}", "^recv> 235 .*\nsend>$")
        terminal.keys("Up")
        terminal.until("^send> ehlo x$")
        terminal.keys("C-c")
        terminal.until("^- The session was closed\nsend> ehlo x\nstatus=130$")
    assert secret not in (tmp_path / ".local/state/smtps/history").read_text()


def test_the_terminal_is_left_as_it_was(sandbox: Sandbox, tmp_path: Path) -> None:
    program = shlex.join([sys.executable, "-I", str(PYTHON), *on(sandbox)])
    command = (
        f"trap : INT; stty -g >before; {program}; stty -g >after; cmp before after && echo same"
    )
    with Terminal(f"cd {tmp_path}; {command}", os.environ | {"HOME": str(tmp_path)}) as terminal:
        terminal.until("^send>")
        terminal.keys("C-c")
        terminal.until("^same$")


def test_a_plain_terminal_has_no_history_and_no_colours(sandbox: Sandbox, tmp_path: Path) -> None:
    with opened(tmp_path, *on(sandbox)) as terminal:
        terminal.until("^send>$")
        assert "\x1b[36mrecv>" in terminal.coloured()
        terminal.keys("C-c")
        terminal.until("^- The session was closed\nstatus=130$")
    with opened(tmp_path, *on(sandbox), NO_COLOR="1") as terminal:
        terminal.until("^send>$")
        assert "\x1b" not in terminal.coloured()
    (tmp_path / ".local/state/smtps/history").unlink()
    command = shlex.join([sys.executable, "-I", str(PYTHON), *on(sandbox)])
    with Terminal(f"TERM=dumb {command}", os.environ | {"HOME": str(tmp_path)}) as terminal:
        terminal.until("^send>$")
        assert "\x1b" not in terminal.coloured()
        # The user's name is unseen, too: the password may be pasted together with it.
        terminal.enter("ehlo x", "^recv> 250 SIZE\nsend>$")
        terminal.enter("auth login", "^recv> 334 .*\n(.*\n)?send>$")
        screen = terminal.enter("\n".join(LOGIN), "^recv> 235 .*\nsend>$")
        assert "send> <the-base64-username>" in screen
        assert not any(secret in screen for secret in LOGIN)
        terminal.enter("quit", "^status=0$")
    assert not (tmp_path / ".local/state/smtps/history").exists()


def test_with_a_user_the_first_prompt_stands_behind_the_login(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    with opened(tmp_path, *on(sandbox), "--user", USER) as terminal:
        terminal.until("^Password for .*:$")
        screen = terminal.enter(PASSWORD, "^- Logged in by PLAIN.\nsend>$")
        assert PASSWORD not in screen
        assert "\nsend> AUTH PLAIN <the-encoded-auth-credentials>\nrecv> 235 " in screen
        terminal.enter("quit", "^status=0$")
    with opened(tmp_path, *on(sandbox), "--user", USER) as terminal:
        terminal.until("^Password for .*:$")
        # Whoever looks on can go on by hand.
        terminal.enter("wrong", "^! .*\n(.*\n)?send>$")
        terminal.enter("quit", "^status=0$")
    with opened(tmp_path, *on(sandbox), "--user", USER) as terminal:
        terminal.until("^Password for .*:$")
        terminal.keys("C-c")
        terminal.until("^Password for .*: *\n(.*\n)*status=130$")


def test_a_flush_can_be_interrupted_while_it_asks(sandbox: Sandbox, tmp_path: Path) -> None:
    program = shlex.join([sys.executable, "-I", str(PYTHON)])
    host, *words = on(sandbox)
    queue = shlex.join(["send", "--queue", "--host", host, *words, "--user", USER, "d@e.f"])
    command = (
        f"trap : INT; stty -g >before; printf 'From: a@b.c\\n\\nText\\n' | {program} {queue}; "
        f"{program} outbox flush; echo status=$?; stty -g >after; cmp before after && echo same"
    )
    with Terminal(f"cd {tmp_path}; {command}", os.environ | {"HOME": str(tmp_path)}) as terminal:
        terminal.until("^Password for .*:$")
        terminal.keys("C-c")
        terminal.until("status=130\nsame$")


MAIL = "From: a@b.c\\nTo: d@e.f\\n\\nText\\n"


def test_who_is_waited_for_is_told(tmp_path: Path) -> None:
    with opened(tmp_path, "base64") as terminal:
        terminal.until("^smtps: Waiting for the text. Ctrl-D on a line of its own ends it")
        terminal.enter("hi", "^hi$")
        terminal.keys("C-d")
        terminal.until("^aGk=\nstatus=0$")
    (tmp_path / "draft").write_text("From: a@b.c\n")
    with opened(tmp_path, "send", str(tmp_path / "draft"), "--host", "localhost") as terminal:
        terminal.until("^smtps: Waiting for the message: ")
        terminal.until("^smtps: “/.*draft” is who gets it;(?s:.*)-t FILE” sends a file.$")
        terminal.keys("C-c")
        terminal.until(
            r"^\^C\nsmtps: Interrupted before all of the message was read: nothing was sent or "
            r"kept.\nstatus=130$"
        )
    with opened(tmp_path, "send", "-t", "--queue", "--host", "localhost") as terminal:
        terminal.until("^smtps: Waiting for the message: ")
        for line in MAIL.removesuffix("\\n").split("\\n"):
            terminal.enter(line, f"^{line}$")
        terminal.keys("C-d")
        terminal.until("^smtps: The mail waits as (?s:.*)^status=0$")
    # What is pasted, or piped, needs no such words.
    with opened(tmp_path, "base64") as terminal:
        terminal.enter("x", "^x$")
        terminal.keys("C-d")
        assert "Waiting" not in terminal.until("^status=0$")


def test_how_a_mail_fared_is_told_in_its_colour(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "mail").write_text(MAIL.replace("\\n", "\n"))
    host, *words = on(sandbox)
    send = ["send", "-t", str(tmp_path / "mail"), "--host", host, *words, "--user", USER]
    with opened(tmp_path, *send) as terminal:
        terminal.until("^Password for .*:$")
        terminal.enter(PASSWORD, "^smtps: localhost accepted .*\n(.*\n)?status=0$")
        assert "\x1b[32msmtps:" in terminal.coloured()
    with opened(tmp_path, *send) as terminal:
        terminal.until("^Password for .*:$")
        terminal.keys("C-c")
        terminal.until("^Password for .*: *\nsmtps: Interrupted before the message was sent.")
        terminal.until("^status=130$")
        assert "\x1b[31msmtps:" in terminal.coloured()


def test_a_terminal_is_told_once_why_a_check_failed(tmp_path: Path) -> None:
    with opened(tmp_path, "check", "127.0.0.1:1", "--tls", "none") as terminal:
        assert terminal.until("^status=69$").count("connection refused") == 1


@pytest.mark.parametrize("line", ["send>", "recv> 250 ok", "recv> 550 no", "! what", "- TLS: x"])
def test_a_colour_changes_no_letter(line: str) -> None:
    shown = colours.painted(line)
    assert shown != line
    stripped = subprocess.run(
        ["sed", "s/\x1b\\[[0-9]*m//g"], input=shown, capture_output=True, text=True, check=True
    ).stdout
    assert stripped == line


@pytest.mark.parametrize("verb", [["send", "-f", "a@b.c", "d@e.f", "--host"], ["check"]])
def test_what_takes_longer_is_told_on_a_terminal(
    smtps: Run, tmp_path: Path, verb: list[str]
) -> None:
    message = tmp_path / "mail"
    message.write_text("From: a@b.c\n\nText\n")
    with server([b"220 hi\r\n"]) as port:
        words = [*verb, f"127.0.0.1:{port}", "--tls", "none", "--timeout", "2"]
        command = shlex.join([sys.executable, "-I", str(PYTHON), *words])
        with Terminal(f"{command} <{message}", os.environ | {"HOME": str(tmp_path)}) as terminal:
            terminal.until(r"^Waiting for 127\.0\.0\.1.*\.\.\. 1 s$")
            # What is told in the end takes its place.
            assert "Waiting" not in terminal.until("^status=69$")
    with server([b"220 hi\r\n"]) as port:
        words = [*verb, f"127.0.0.1:{port}", "--tls", "none", "--timeout", "1.5"]
        done = smtps(*words, text=message.read_text())
        assert "Waiting" not in done.stdout + done.stderr
        assert "\x1b" not in done.stdout + done.stderr


def test_a_large_mail_is_told_by_octets(tmp_path: Path) -> None:
    progress = Progress()
    progress.sending(250, 1000)
    progress.sending(250, 1000)
    assert progress.line(2.0) == "500 of 1,000 octets have left, 50 %"
    progress.sending(500, 1000)
    assert progress.line(2.0) == "All of it has left; waiting for the answer... 2 s"
    progress.doing("Waiting for \x1b[31m")
    assert progress.line(2.0) == "Waiting for ^[[31m... 2 s"

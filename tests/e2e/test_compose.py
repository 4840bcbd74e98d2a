"""A person's first mails with `smtps-mode`, by keys, on a terminal of the usual size."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from servers import ELISP
from terminal import Terminal

from smtps.sandbox.server import PASSWORD, USER, Sandbox

SIZE = (80, 24)


@contextmanager
def emacs(sandbox: Sandbox, home: Path, more: str = "") -> Iterator[Terminal]:
    """Emacs with the accounts work, which is SANDBOX, and home; then MORE is its init file."""
    (home / ".authinfo").write_text(
        f"machine localhost port {sandbox.port} login {USER} password {PASSWORD}\n"
    )
    (home / "init.el").write_text(
        f"""(require 'smtps)
            (setq user-mail-address "{USER}" user-full-name "Ann"
                  auth-sources '("~/.authinfo") inhibit-startup-screen t
                  smtps-accounts
                  '(("work" :host "localhost" :port {sandbox.port} :user "{USER}"
                     :from "{USER}" :ca-file "{sandbox.ca_file}")
                    ("home" :host "smtp.home.example" :from "@home.example")))
            (smtps-mode 1)
            {more}"""
    )
    command = f"emacs -Q -nw -L {ELISP} -l {home}/init.el"
    with Terminal(command, {"HOME": str(home)}, SIZE) as terminal:
        terminal.until("scratch")
        yield terminal


def test_account_is_shown_before_sending(tmp_path: Path) -> None:
    with Sandbox(tmp_path / "sandbox") as sandbox, emacs(sandbox, tmp_path) as terminal:
        terminal.keys("C-x", "m")
        screen = terminal.until(f"^Goes by account work: localhost, as {USER}$")
        # Nothing in the set-up is for Emacs to warn of.
        assert "Warning" not in screen
        terminal.type("to@other-host.it")
        terminal.keys("C-n", "C-n", "C-a", "C-k")
        terminal.type("From: ann@home.example")
        terminal.until("^Goes by account home: smtp.home.example$")
        terminal.keys("C-a", "C-k")
        terminal.type("From: ann@else.example")
        terminal.until("^None of the accounts is for mail from ann@else.example")
        terminal.keys("C-a", "C-k")
        terminal.type(f"From: {USER}")
        terminal.until("^Goes by account work")
        terminal.keys("C-c", "C-s")
        terminal.until("localhost accepted the message for 1 recipient")


def test_the_next_start_goes_on(tmp_path: Path) -> None:
    """Who quits with mail in flight leaves it to the next Emacs, which needs no answer for it.

    What follows the acceptance needs message.el, which that Emacs has no other use for.
    """
    copies = tmp_path / "copies"
    copies.touch()
    with Sandbox(tmp_path / "sandbox") as sandbox:
        more = r'(setq smtps-send-delay 5 message-default-headers "Fcc: ~/copies\n")'
        with emacs(sandbox, tmp_path, more) as terminal:
            terminal.keys("C-x", "m")
            terminal.until("^To:")
            terminal.type("to@other-host.it")
            terminal.keys("C-c", "C-c")
            terminal.until(r"^It goes to localhost in \d seconds; C-c _ takes it back$")
            terminal.keys("C-x", "C-c")
            terminal.until(r"A mail is not sent yet\.")
            terminal.keys("l")
            terminal.until("^status=0$")
        assert not sandbox.accepted
        with emacs(sandbox, tmp_path) as terminal:
            screen = terminal.until("localhost accepted the message for 1 recipient")
            assert "smtps-answer" not in screen
            terminal.until("Appended to .*/copies")
        assert len(sandbox.accepted) == 1
        assert copies.read_text().count("\nTo: to@other-host.it\n") == 1


def test_what_a_killed_emacs_could_not_tell(tmp_path: Path) -> None:
    """Its mail was sent all the same: the next Emacs tells, and the one after it does not."""
    last_breath = """(advice-add 'smtps-send--event :before
                       (lambda (event)
                         (when (eq (plist-get event :state) 'sent)
                           (signal-process (emacs-pid) 'KILL))))"""
    told = "“Hi”: localhost accepted the message for 1 recipient"
    with Sandbox(tmp_path / "sandbox") as sandbox:
        with emacs(sandbox, tmp_path, f"(require 'smtps-send) {last_breath}") as terminal:
            terminal.keys("C-x", "m")
            terminal.until("^To:")
            terminal.type("to@other-host.it")
            terminal.keys("C-n", "C-e")
            terminal.type("Hi")
            terminal.keys("C-c", "C-c")
            terminal.until("status=137$")
        assert len(sandbox.accepted) == 1
        now = "(require 'smtps-untold) (setq smtps-untold--pause 0)"
        with emacs(sandbox, tmp_path, now) as terminal:
            terminal.until(told)
        with emacs(
            sandbox, tmp_path, f'{now} (run-with-idle-timer 1.5 nil #\'message "Idle")'
        ) as terminal:
            assert told not in terminal.until("^Idle$")

"""What a person at a terminal is asked about a certificate and a password, and where it stays."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from servers import ELISP
from terminal import Terminal

from smtps.sandbox.server import LOGINS, Sandbox

USER = "accented@poste.it"
PASSWORD = LOGINS[USER]


@contextmanager
def emacs(sandbox: Sandbox, home: Path) -> Iterator[Terminal]:
    """Emacs with SANDBOX as its account; its certificate is not trusted."""
    (home / "init.el").write_text(
        f"""(setq smtps-accounts '(("test" :host "localhost" :port {sandbox.port}
                                    :user "{USER}"))
                  auth-sources '("~/.authinfo")
                  user-mail-address "{USER}")
            (let ((noninteractive t)) (smtps-mode 1)) ; nothing is taken up when idle
            (message-mail "to@other-host.it" "Composed")
            (message-goto-body)"""
    )
    command = f"emacs -Q -nw -L {ELISP} -l smtps -l {home}/init.el"
    with Terminal(command, {"HOME": str(home)}, (200, 50)) as terminal:
        terminal.until("^Subject: Composed")
        yield terminal


def answer(terminal: Terminal, question: str) -> str:
    terminal.keys("M-x")
    return terminal.enter("smtps-answer", question)


def evaluate(terminal: Terminal, form: str, answer: str) -> str:
    terminal.keys("M-:")
    terminal.until("^Eval:")
    return terminal.enter(form, answer)


def test_certificate_and_password(tmp_path: Path) -> None:
    with Sandbox(tmp_path / "sandbox") as sandbox, emacs(sandbox, tmp_path) as terminal:
        terminal.keys("C-c", "C-c")
        terminal.until(f"^Password of {USER} at localhost:")
        terminal.type(PASSWORD)
        terminal.enter("", r"The mail waits in the outbox: M-x smtps-answer")

        screen = answer(terminal, r"^Trust localhost at port \d+\?")
        assert "has an issuer that is not known to this machine" in re.sub(r"\s+", " ", screen)
        assert re.search(r"^reject +send nothing", screen, re.MULTILINE), screen
        terminal.enter("", "^Rejected: nothing is sent to localhost")
        assert not sandbox.accepted

        answer(terminal, "^Trust localhost")
        terminal.enter("once", "localhost accepted the message for 1 recipient")
        assert len(sandbox.accepted) == 1
        assert not (tmp_path / ".config/smtps/pins").exists()

        answer(terminal, "^Save auth info to file")
        terminal.keys("y")
        terminal.until("^Saved new authentication information")
        assert f"login {USER} " in (tmp_path / ".authinfo").read_text()

        evaluate(
            terminal,
            '(with-temp-file "~/keys" (insert (concat (seq-filter (quote characterp) '
            "(recent-keys)))))",
            "^Wrote|nil",
        )
        keys = (tmp_path / "keys").read_text()
        assert "smtps-answer" in keys
        assert "100%" not in keys
        terminal.keys("C-x", "C-c")
        terminal.until("^status=0$")


def test_nothing_is_pinned_by_a_macro(tmp_path: Path) -> None:
    with Sandbox(tmp_path / "sandbox") as sandbox, emacs(sandbox, tmp_path) as terminal:
        terminal.keys("C-c", "C-c")
        terminal.until("^Password of")
        terminal.type(PASSWORD)
        terminal.enter("", "The mail waits in the outbox: M-x smtps-answer")
        evaluate(
            terminal,
            '(execute-kbd-macro (kbd "M-x smtps-answer RET pin RET"))',
            "^Nobody can be asked now whether to trust localhost",
        )
        assert not (tmp_path / ".config/smtps/pins").exists()
        assert not sandbox.accepted

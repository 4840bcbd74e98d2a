"""The dialogue by hand, on standard input and output."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import threading

from smtps.cli import options
from smtps.cli.front import complain
from smtps.cli.secrets import passphrase
from smtps.client import session, trusting
from smtps.client.account import Account
from smtps.client.dialling import unlocked
from smtps.client.session import Closed, Received, Sent, Session, Stands, Told
from smtps.errors import SmtpsError, UsageError

HELP = "type the SMTP dialogue by hand over TLS"
USAGE = "[OPTION...] HOST[:PORT]"
EXAMPLE = "smtps session relay.example.org:587"

PROMPT = "send> "

SECRET_PROMPTS = {
    "password": "Password in base64: ",
    "credentials": "Password with user in base64: ",
    "response": "Password response in base64: ",
}
"""Prompts by which Emacs's shells know that they are to read in the minibuffer, unseen: what
is typed in their buffers is kept in a history, even on disk."""

READ_SIZE = 65536
"""Octets of standard input that are read at once: all that a pipe holds."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's words."""
    parser.add_argument("where", nargs="?", help=argparse.SUPPRESS)
    options.add_connection(parser)
    parser.add_argument("--transcript", metavar="FILE", help="write the masked dialogue there")


def run(arguments: argparse.Namespace) -> int:
    """Hold the dialogue and return its exit status."""
    if arguments.where and arguments.host:
        raise UsageError("The host is given twice.")
    among = options.known(arguments, arguments.where)
    account = options.account(arguments, among, arguments.where)
    if sys.stdin is None:
        raise UsageError("There is nothing to type on: standard input is closed.")
    try:
        return asyncio.run(_Terminal(arguments.timeout, arguments.transcript).hold(account))
    except KeyboardInterrupt:
        return 130


class _Terminal:
    """Shows a session's events as lines, and hands over what is typed."""

    def __init__(self, timeout: float | None, transcript: str | None) -> None:
        self._timeout = timeout
        # On a terminal and under Emacs the typed line already stands behind the prompt.
        self._prompts = sys.stdin.isatty() or "INSIDE_EMACS" in os.environ
        self._at_prompt = False
        self._echo_off = False
        self._unseen = False
        try:
            self._transcript = open(transcript, "w", encoding="utf-8") if transcript else None  # noqa: SIM115, PTH123
        except OSError as error:
            raise UsageError(f"{transcript} can't be written: {error.strerror}.") from None
        self._session: Session | None = None

    async def hold(self, account: Account) -> int:
        trust = trusting.of_user(passphrase)
        await unlocked(account, trust)
        held = Session(
            account,
            self._show,
            self._timeout,
            wait_for_replies=not self._prompts,
            trust=trust,
        )
        self._session = held
        loop = asyncio.get_running_loop()
        # A daemon thread: nothing else can stop a read of standard input.
        threading.Thread(target=self._read_input, args=(loop, held), daemon=True).start()
        error: SmtpsError | None = None
        try:
            error = await held.run()
        finally:
            self._echo(True)
            if self._transcript:
                self._transcript.close()
        if error is not None:
            complain(error.text)
            return error.status
        return 0

    def _read_input(self, loop: asyncio.AbstractEventLoop, held: Session) -> None:
        # Not by sys.stdin: Python aborts at its exit if a thread is reading that.
        rest = b""
        try:
            while octets := os.read(0, READ_SIZE):
                *lines, rest = (rest + octets).split(b"\n")
                for line in lines:
                    self._hand_over(loop, held, line)
            if rest:
                self._hand_over(loop, held, rest)
            loop.call_soon_threadsafe(held.end_of_input)
        except (RuntimeError, OSError, ValueError):
            # The loop, or standard input, was closed under us: the session has ended.
            return

    def _hand_over(self, loop: asyncio.AbstractEventLoop, held: Session, line: bytes) -> None:
        text = line.decode("utf-8", "surrogateescape").rstrip("\r")
        loop.call_soon_threadsafe(self._take, held, text)

    def _take(self, held: Session, text: str) -> None:
        self._at_prompt = False
        if self._unseen:
            self._write("\n")
            self._unseen = False
        words = text.lower().split()
        begins = words[:1] == ["auth"] and words != ["auth", "login"]
        if (held.next_secret or begins) and not held.connection.taking_message:
            # What comes next may be a password, typed before the server has asked for it.
            self._echo(False)
        held.send(text)

    def _show(self, event: session.Event) -> None:
        match event:
            case Told(text):
                self._line(text)
            case Received(text, _, decoded):
                self._line(f"recv> {text}")
                if decoded and self._prompts:
                    self._line(f"- {text[4:]} is {decoded!r}")
            case Sent(text, secret):
                if self._prompts and not secret:
                    self._record(f"send> {text}" if text else "send>")
                else:
                    self._line(f"send> {text}" if text else "send>")
                if text != ".":
                    self._prompt_for_data()
            case Stands():
                self._stand(event)
            case Closed(text, None, here):
                self._line(text if here else f"recv> {text}")
            case Closed():
                self._leave_prompt()

    def _prompt_for_data(self) -> None:
        """Prompt for another line of a message: the session stands as it stood."""
        held = self._session
        if self._prompts and not self._at_prompt and held and held.connection.taking_message:
            self._write(PROMPT)
            self._at_prompt = True

    def _stand(self, stands: Stands) -> None:
        ready = stands.owed == 0 and stands.state not in ("closed", "closing", "handshake")
        if not self._prompts or not ready:
            return
        secret_prompt = SECRET_PROMPTS.get(stands.secret or "")
        self._unseen = secret_prompt is not None
        self._echo(not self._unseen)
        if not self._at_prompt:
            self._write((secret_prompt if "INSIDE_EMACS" in os.environ else None) or PROMPT)
            self._at_prompt = True

    def _echo(self, wanted: bool) -> None:
        if wanted != self._echo_off or not sys.stdin.isatty():
            return
        import termios

        try:
            modes = termios.tcgetattr(0)
            if not wanted and not modes[3] & termios.ECHO:
                # So it is under Emacs, and is to stay so.
                return
            modes[3] = modes[3] | termios.ECHO if wanted else modes[3] & ~termios.ECHO
            termios.tcsetattr(0, termios.TCSADRAIN, modes)
            self._echo_off = not wanted
        except termios.error:
            return

    def _leave_prompt(self) -> None:
        if self._at_prompt:
            self._write("\n")
            self._at_prompt = False

    def _line(self, text: str) -> None:
        self._leave_prompt()
        self._write(text + "\n")
        self._record(text)

    def _record(self, text: str) -> None:
        if self._transcript:
            self._transcript.write(text + "\n")

    def _write(self, text: str) -> None:
        sys.stdout.buffer.write(text.encode("utf-8", "backslashreplace"))
        sys.stdout.buffer.flush()

"""The dialogue by hand, on standard input and output."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from smtps.cli import INTERRUPTED, colours, editing, options, output
from smtps.cli.front import Aside, break_line, complain
from smtps.cli.secrets import credentials, passphrase
from smtps.client import session, trusting
from smtps.client.account import Account
from smtps.client.dialling import unlocked
from smtps.client.login import Ask, Credentials
from smtps.client.session import PATIENCE, Closed, Received, Sent, Session, Stands, Told
from smtps.errors import OutputError, SmtpsError, UncertainError, UsageError
from smtps.protocol import by_hand
from smtps.protocol.commands import Verb
from smtps.protocol.dialogue import Stop
from smtps.protocol.outcome import STATUS

if TYPE_CHECKING:
    from smtps.protocol.by_hand import Part

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

INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's words."""
    parser.add_argument("where", nargs="?", metavar="HOST[:PORT]", help=Aside("the server"))
    options.add_connection(parser)
    options.add_login(parser, "who logs in before you type; --auth MECH[,MECH]")
    parser.add_argument("--transcript", metavar="FILE", help="write the masked dialogue there")
    parser.add_argument("--report", choices=("sexp", "json"), help="tell it for a program")


def run(arguments: argparse.Namespace) -> int:
    """Hold the dialogue and return its exit status."""
    if arguments.where and arguments.host:
        raise UsageError("The host is given twice.")
    among = options.known(arguments, arguments.where)
    account = options.account(arguments, among, arguments.where)
    if sys.stdin is None:
        raise UsageError("There is nothing to type on: standard input is closed.")
    try:
        return asyncio.run(_Terminal(arguments).hold(account))
    except KeyboardInterrupt:
        return INTERRUPTED


def facts(event: session.Event) -> dict[str, Any] | None:
    """Return the report of EVENT: documented, stable fields; None if there is none."""
    match event:
        case Told(text):
            return {"kind": "info", "text": text}
        case Received(text, code, verb=verb, at=at):
            return {"kind": "recv", "text": text, "code": code, "verb": _name(verb), "at": at}
        case Sent(text, _, verb, led, at):
            return {"kind": "send", "text": text, "verb": _name(verb), "led": led, "at": at}
        case Closed(text, error):
            status = error.status if error else 0
            return {"kind": "closed", "text": text, "status": status}
    return None


def _name(verb: Verb | None) -> str | None:
    return verb.name.lower().replace("_", "-") if verb else None


class _Terminal:
    """Shows a session's events as lines, and hands over what is typed."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._arguments = arguments
        # On a terminal and under Emacs the typed line already stands behind the prompt.
        self._prompts = not arguments.report and (
            sys.stdin.isatty() or "INSIDE_EMACS" in os.environ
        )
        self._colours = self._prompts and colours.wanted(sys.stdout)
        self._at_prompt = False
        self._echo_off = False
        self._unseen = False
        self._begun = False
        """True once what the engine does by itself at first is done."""
        self._stands: Stands | None = None
        self._pending: asyncio.TimerHandle | None = None
        """Set while a typed line has not left, and nothing is asked for."""
        self._editor: editing.Editor | None = None
        self._transcript = output.Transcript(arguments.transcript) if arguments.transcript else None

    async def hold(self, account: Account) -> int:
        if self._transcript is not None:
            self._transcript.begin(account)
        trust = trusting.of_user(passphrase)
        with _interruptible():
            await unlocked(account, trust)
        held = Session(
            account,
            self._show,
            self._arguments.timeout,
            wait_for_replies=not self._prompts,
            trust=trust,
        )
        running = asyncio.create_task(held.run())
        loop = asyncio.get_running_loop()
        for number in INTERRUPTS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                loop.add_signal_handler(number, running.cancel)
        beginning = asyncio.create_task(self._begin(held, account, running))
        error: SmtpsError | Stop | None = None
        try:
            error = await running
            # What failed at first is why nothing was read, and the session ended.
            error = error or await beginning
        except asyncio.CancelledError:
            if held.in_doubt:
                error = UncertainError(
                    "Interrupted when the message had left: whether it arrives is uncertain."
                )
            else:
                return INTERRUPTED
        finally:
            beginning.cancel()
            self._end()
        if error is None:
            return 0
        complain(error.text)
        return STATUS[error.verdict] if isinstance(error, Stop) else error.status

    async def _begin(
        self, held: Session, account: Account, running: asyncio.Task[SmtpsError | None]
    ) -> SmtpsError | Stop | None:
        """Greet and log in where that was asked for, then let lines be typed.

        Return why that could not be done, where nobody is there to go on by hand.
        """
        for part in self._parts(account):
            led = held.lead(part, _ask(account))
            either: set[asyncio.Future[Any]] = {led, running}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not led.done() or led.cancelled():
                return None
            error = led.result()
            if error is not None:
                if self._prompts:
                    break
                held.end_of_input()
                return error
        self._begun = True
        self._read(held)
        return None

    def _parts(self, account: Account) -> tuple[Part, ...]:
        given = self._arguments
        if given.user is None and given.auth is None and given.password_command is None:
            return ()
        return by_hand.greet(account.tls), by_hand.log_in

    def _read(self, held: Session) -> None:
        """Begin to read what is typed."""
        if self._prompts and editing.possible():
            # Python may have been built without readline; lines can be typed all the same.
            with contextlib.suppress(ImportError, AttributeError):
                self._editor = editing.Editor(lambda line: self._edited(held, line))
        if self._stands is not None:
            self._stand(self._stands)
        if self._editor is not None:
            self._prompt()
            return
        loop = asyncio.get_running_loop()
        # A daemon thread: nothing else can stop a read of standard input.
        threading.Thread(target=self._read_input, args=(loop, held), daemon=True).start()

    def _end(self) -> None:
        if self._pending is not None:
            self._pending.cancel()
        if self._editor is not None:
            self._editor.stop()
            self._editor = None
        self._echo(True)
        if self._transcript is not None:
            self._transcript.close()

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
        if self._may_be_followed_by_secret(held, text) or _asks_for_user(text):
            # What comes next may be a password, typed before the server has asked for it.
            self._echo(False)
        held.send(text)

    def _may_be_followed_by_secret(self, held: Session, text: str) -> bool:
        # What follows “auth login” alone is a user's name.
        begins = text.lower().split()[:1] == ["auth"] and not _asks_for_user(text)
        return bool(held.next_secret or begins) and not held.connection.taking_message

    def _edited(self, held: Session, line: str | None) -> None:
        """Take LINE from the editor, None at the end of input."""
        if line is None:
            held.end_of_input()
            return
        self._unseen = self._may_be_followed_by_secret(held, line)
        # A server that stays silent must not keep anybody from typing on.
        self._pending = asyncio.get_running_loop().call_later(PATIENCE, self._ask_all_the_same)
        held.send(line)

    def _ask_all_the_same(self) -> None:
        self._pending = None
        if self._editor is not None and not self._editor.asking:
            self._ask(self._unseen)

    def _prompt(self) -> None:
        """Let the editor ask for the next line, where there is one to be typed."""
        stands = self._stands
        if self._editor is None or self._editor.asking or self._pending or stands is None:
            return
        if _ready(stands):
            self._ask(stands.secret in SECRET_PROMPTS)

    def _ask(self, unseen: bool) -> None:
        assert self._editor is not None
        prompt = colours.painted(PROMPT, editing.UNPRINTED) if self._colours else PROMPT
        self._editor.ask(prompt, unseen)

    def _show(self, event: session.Event) -> None:
        if self._arguments.report:
            self._report(event)
            return
        match event:
            case Told(text):
                self._line(text)
            case Received(text=text, decoded=decoded, at=at):
                self._line(f"recv> {text}", at)
                if decoded and self._prompts:
                    self._line(f"- {text[4:]} is {decoded!r}")
            case Sent(text, secret, _, led, at):
                shown = f"send> {text}" if text else "send>"
                if self._prompts and not secret and not led:
                    self._record(shown, at)
                    inside = self._stands is not None and self._stands.data
                    if self._editor is not None and not inside:
                        self._editor.remember(text)
                else:
                    self._line(shown, at)
                if text != ".":
                    self._prompt_for_data()
            case Stands():
                self._stands = event
                if self._begun:
                    self._stand(event)
            case Closed(text, None, here):
                self._line(text if here else f"recv> {text}")
            case Closed(text):
                self._leave_prompt()
                self._record(f"! {text}")
        if self._editor is not None:
            if isinstance(event, Told | Sent) and self._pending is not None:
                self._pending.cancel()
                self._pending = None
            # What else is told of the same moment comes first.
            asyncio.get_running_loop().call_soon(self._prompt)

    def _report(self, event: session.Event) -> None:
        told = facts(event)
        if told is not None:
            output.report(self._arguments.report, told)
        match event:
            case Received(text=text, at=at) | Sent(text=text, at=at):
                self._record(f"{told['kind']}> {text}".rstrip() if told else text, at)
            case Told(text):
                self._record(text)

    def _prompt_for_data(self) -> None:
        """Prompt for another line of a message: the session stands as it stood."""
        inside = self._stands is not None and self._stands.data
        if self._prompts and inside and not self._at_prompt and self._editor is None:
            self._write(PROMPT)
            self._at_prompt = True

    def _stand(self, stands: Stands) -> None:
        if not self._prompts or not _ready(stands) or self._editor is not None:
            return
        inside_emacs = "INSIDE_EMACS" in os.environ
        secret_prompt = SECRET_PROMPTS.get(stands.secret or "")
        # A terminal echoes a paste as it comes: the user's name, and the password behind it.
        self._unseen = (stands.secret if not inside_emacs else secret_prompt) is not None
        self._echo(not self._unseen)
        if not self._at_prompt:
            self._write((secret_prompt if inside_emacs else None) or self._painted(PROMPT))
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

    def _line(self, text: str, at: int | None = None) -> None:
        self._leave_prompt()
        self._write(self._painted(text) + "\n")
        self._record(text, at)

    def _painted(self, text: str) -> str:
        return colours.painted(text) if self._colours else text

    def _record(self, text: str, at: int | None = None) -> None:
        if self._transcript is not None:
            self._transcript.line(text, at)

    def _write(self, text: str) -> None:
        if self._editor is not None:
            self._editor.above(text)
            return
        try:
            output.write(text)
        except OutputError as error:
            # What becomes of the dialogue is told by the status all the same.
            complain(error.text)


def _asks_for_user(text: str) -> bool:
    """Return True if a user's name is to follow TEXT, and then a password."""
    return text.lower().split() == ["auth", "login"]


def _ready(stands: Stands) -> bool:
    return stands.owed == 0 and stands.state not in ("closed", "closing", "handshake")


def _ask(account: Account) -> Ask:
    """Return what asks for ACCOUNT's credentials, and can be interrupted while it does."""

    async def ask() -> Credentials:
        with _interruptible():
            return credentials(account)

    return ask


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Let signals end what holds up the loop; the loop itself would wait for its end."""
    before = {number: signal.getsignal(number) for number in INTERRUPTS}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        break_line()
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

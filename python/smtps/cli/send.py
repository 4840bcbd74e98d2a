"""Send one message, and tell its fate by one line and the exit status."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import stat
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from smtps.cli import INTERRUPTED, message, options, output
from smtps.cli.front import complain
from smtps.client import trusting
from smtps.client.dialling import Ahead
from smtps.errors import (
    MessageError,
    MessageUnreadableError,
    OutboxError,
    SmtpsError,
    UsageError,
)
from smtps.net.streams import run as run_blocking
from smtps.protocol.envelope import Envelope, Message
from smtps.protocol.outcome import Fate, Outcome, Verdict

if TYPE_CHECKING:
    from smtps.client.account import Account
    from smtps.client.delivery import Delivery
    from smtps.outbox import spool

INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

HELP = "send a message from standard input, as sendmail does"
USAGE = "[OPTION...] [-t] [RECIPIENT...] < MESSAGE"
EXAMPLE = "smtps send -t --host relay.example.org --user me < mail"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's words."""
    parser.add_argument("recipients", nargs="*", help=argparse.SUPPRESS)
    parser.add_argument(
        "-t",
        dest="from_header",
        action="store_true",
        help="recipients of To, Cc and Bcc; -f FROM: the sender",
    )
    parser.add_argument(
        "-i",
        "-oi",
        dest="dots",
        action="store_true",
        help=argparse.SUPPRESS,
    )
    parser.add_argument("-f", "-r", dest="sender", metavar="FROM", help=argparse.SUPPRESS)
    parser.add_argument(
        "-F",
        "-B",
        "-e",
        "-o",
        dest="ignored",
        metavar="X",
        action="append",
        help=argparse.SUPPRESS,
    )
    parser.add_argument("-b", dest="mode", metavar="m", choices=("m",), help=argparse.SUPPRESS)
    options.add_connection(parser)
    options.add_login(parser)
    options.add_wishes(parser)
    parser.add_argument(
        "--transcript", metavar="FILE", help="the masked dialogue; --report json|sexp: fates"
    )
    parser.add_argument("--report", choices=("sexp", "json"), help=argparse.SUPPRESS)
    parser.add_argument("--outbox", metavar="DIR", type=Path, help="the outbox to keep it in")


class _Sending:
    """What one run of the command holds.  The connection is made while the mail is written to
    the disk, but not before all of it has come: a server does not wait for a slow pipe."""

    def __init__(self, arguments: argparse.Namespace, account: Account) -> None:
        self.arguments = arguments
        self.account = account
        self.transcript = output.Transcript(account) if arguments.transcript else None
        self.began = time.monotonic()
        self.said: list[str] = []
        """The masked dialogue as the journal keeps it, each line with its milliseconds."""
        self.trust = trusting.of_user(_passphrase)
        self.ahead: Ahead | None = None

    def connect(self) -> None:
        """Begin to connect, if that was not done, and nobody has to be asked before."""
        if self.ahead is None and self.account.client_certificate is None:
            self.ahead = Ahead(self.account, self.arguments.timeout, self.trust)

    def give_up(self) -> None:
        """Drop the connection that is being made."""
        if self.ahead is not None:
            self.ahead.give_up()


def run(arguments: argparse.Namespace) -> int:
    """Send the message and return the exit status."""
    for number in INTERRUPTS:
        # What nohup, or a shell for what runs in the background, has ignored stays so.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)
    arguments.recipients = _file_after_t(arguments)
    among = options.known(arguments)
    # Where no sender decides, what is wrong with the account is told before anything is typed.
    account = options.account(arguments, among) if len(among) < 2 else None
    with contextlib.closing(_open(arguments)) as file, _readable():
        header = message.read_header(file)
        envelope = _envelope(arguments, header)
        account = account or options.account(arguments, among, sender=envelope.sender)
        sending = _Sending(arguments, account)
        owned = _put_away(sending, file, header, envelope)
    return _send(sending, envelope, owned)


@contextlib.contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise MessageUnreadableError(f"The message can't be read: {error.strerror}.") from None


def _put_away(
    sending: _Sending, file: BinaryIO, header: message.Header, envelope: Envelope
) -> spool.Owned:
    """Put the message into the outbox, as ours, while the connection is being made."""
    try:
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            sending.connect()
        # Behind the connect: what writes the outbox takes its time to load.
        from smtps.outbox import spool

        def read() -> None:
            sending.connect()
            _hold_signals()

        chunks, identity = message.finished(header, _rest(file, read), envelope.sender)
        box = spool.Spool(sending.arguments.outbox or spool.default())
        return box.begin(sending.account, envelope, chunks, identity)
    except BaseException:
        sending.give_up()
        raise


def _file_after_t(arguments: argparse.Namespace) -> list[str]:
    """With -t, one word that names a file is the message: ``smtps send -t FILE``."""
    words: list[str] = arguments.recipients
    arguments.file = None
    if arguments.from_header and len(words) == 1 and "@" not in words[0]:
        arguments.file = Path(words[0])
        return []
    return words


def _open(arguments: argparse.Namespace) -> BinaryIO:
    if arguments.file is not None:
        path: Path = arguments.file
        try:
            return path.open("rb")
        except OSError as error:
            raise MessageUnreadableError(
                f"The message {path} can't be read: {error.strerror}."
            ) from None
    if sys.stdin is None:
        raise MessageUnreadableError("There is no message: standard input is closed.")
    return sys.stdin.buffer


def _rest(file: BinaryIO, at_end: Callable[[], None]) -> Callable[[], Iterator[bytes]]:
    def chunks() -> Iterator[bytes]:
        while chunk := file.read(message.READ_SIZE):
            yield chunk
        at_end()

    return chunks


def _envelope(arguments: argparse.Namespace, header: message.Header) -> Envelope:
    recipients = [word.removeprefix("<").removesuffix(">") for word in arguments.recipients]
    if arguments.from_header:
        recipients += message.recipients(header)
    if not recipients:
        raise UsageError("No recipient is given: name one, or use -t to take them from the header.")
    sender = arguments.sender
    if sender is None:
        sender = message.sender(header)
        if sender is None:
            raise MessageError("The message has no From, and no sender is given with -f.")
    sender = sender.removeprefix("<").removesuffix(">")
    recipients = list(dict.fromkeys(recipients))
    wishes, notices = options.wishes(arguments)
    return Envelope(sender, tuple(recipients), wishes, (notices,) * len(recipients))


async def _passphrase(account: Account, file: str) -> str:
    from smtps.cli.secrets import passphrase

    return await passphrase(account, file)


def _send(sending: _Sending, envelope: Envelope, owned: spool.Owned) -> int:
    arguments = sending.arguments
    try:
        delivery = _delivery(sending)
        status = _carried_out(sending, delivery, envelope, owned)
        # A server that does not answer QUIT holds up nothing, nor does who interrupts it.
        with contextlib.suppress(KeyboardInterrupt):
            _let_signals_in()
            run_blocking(delivery.close())
        _hold_signals()
        return status
    finally:
        if sending.transcript:
            sending.transcript.write(arguments.transcript)


def _carried_out(
    sending: _Sending, delivery: Delivery, envelope: Envelope, owned: spool.Owned
) -> int:
    try:
        _let_signals_in()
        outcome = _deliver(delivery, envelope, owned)
        _hold_signals()
    except SmtpsError as error:
        kept = owned.finish("failed")
        complain(f"{error.text} {_kept(kept)}")
        return error.status
    except KeyboardInterrupt:
        _hold_signals()
        return _interrupted(envelope, owned)
    return _settle(sending, owned, outcome)


def _hold_signals() -> None:
    """Let no signal in: where the mail is, and what became of it, is being written down."""
    signal.pthread_sigmask(signal.SIG_BLOCK, INTERRUPTS)


def _let_signals_in() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, INTERRUPTS)


def _interrupted(envelope: Envelope, owned: spool.Owned) -> int:
    """Keep the mail that a signal interrupted, as what it is, and return the status."""
    from smtps.outbox import journal

    doubtful = journal.unanswered(owned.journal.records())
    if not doubtful:
        kept = owned.finish("failed")
        complain(f"Interrupted before the message was sent. {_kept(kept)}")
        return INTERRUPTED
    outcome = Outcome(
        tuple(Fate(envelope.recipients[index], Verdict.UNCERTAIN) for index in doubtful),
        "Interrupted when the message may have left already: whether it arrives is uncertain.",
    )
    owned.journal.append(*journal.results(1, outcome, None, doubtful))
    complain(f"{outcome.text} {_kept(owned.finish('failed'), outcome)}")
    return outcome.status


def _delivery(sending: _Sending) -> Delivery:
    from smtps.client.delivery import Delivery

    def trace(direction: str, text: str) -> None:
        if sending.transcript:
            sending.transcript.trace(direction, text)
        sending.said.append(f"{(time.monotonic() - sending.began) * 1000:.0f} {direction}> {text}")

    return Delivery(
        sending.account,
        timeout=sending.arguments.timeout,
        trace=trace,
        ahead=sending.ahead,
        trust=sending.trust,
    )


def _deliver(delivery: Delivery, envelope: Envelope, owned: spool.Owned) -> Outcome:
    from smtps.client.login import Credentials
    from smtps.outbox import entry, spool
    from smtps.outbox.forms import form
    from smtps.protocol import body

    account = delivery.account
    content = spool.octets(owned.directory / entry.MESSAGE)
    ready = Message(content, body.shape(content()))

    async def commit(recipients: tuple[int, ...]) -> None:
        owned.journal.append(form("commit", attempt=1, recipients=list(recipients)), reserve=True)

    named = account.user or account.mechanisms or account.password_command

    async def ask() -> Credentials:
        from smtps.cli.secrets import credentials

        return credentials(account, envelope.sender)

    return run_blocking(delivery.send(envelope, ready, ask if named else None, commit))


def _settle(sending: _Sending, owned: spool.Owned, outcome: Outcome) -> int:
    from smtps.outbox import journal

    arguments = sending.arguments
    state = "sent" if outcome.status == 0 else "failed"
    try:
        owned.journal.append(journal.transcript(1, sending.said), *journal.results(1, outcome))
    except OutboxError as error:
        complain(error.text.replace("was not sent and is kept", "has its result only here"))
    kept = owned.finish(state)
    if arguments.report:
        output.report(arguments.report, facts(kept.name, outcome))
    if outcome.status:
        complain(f"{outcome.text} {_kept(kept, outcome)}")
    elif sys.stderr is not None and sys.stderr.isatty():
        complain(outcome.text)
    return outcome.status


def _kept(directory: Path, outcome: Outcome | None = None) -> str:
    text = f"The mail is kept as {directory.name} in {directory.parent}."
    if outcome is not None and outcome.verdict is Verdict.UNCERTAIN:
        text += " Find out whether it arrived before you send it again."
    return text


def facts(name: str, outcome: Outcome) -> dict[str, Any]:
    """Return the report: documented, stable fields."""
    return {
        "id": name,
        "status": outcome.status,
        "verdict": outcome.verdict.value,
        "text": outcome.text,
        "recipients": [
            {
                "address": fate.address,
                "verdict": fate.verdict.value,
                "code": fate.reply.code if fate.reply else None,
                "enhanced": str(fate.reply.enhanced)
                if fate.reply and fate.reply.enhanced
                else None,
                "text": fate.reply.text if fate.reply else None,
            }
            for fate in outcome.fates
        ],
    }

"""Send one message, and tell its fate by one line and the exit status."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import signal
import stat
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from smtps.cli import INTERRUPTED, message, options, output, sendmail
from smtps.cli.front import Aside, break_line, complain, tell
from smtps.cli.progress import Progress, wait_for_typing
from smtps.client import trusting
from smtps.client.dialling import Ahead
from smtps.errors import (
    AddressError,
    AgainError,
    MessageError,
    MessageUnreadableError,
    OutboxError,
    SmtpsError,
    UsageError,
)
from smtps.net.streams import run as run_blocking
from smtps.protocol.envelope import Envelope, Message
from smtps.protocol.outcome import Fate, Outcome, Verdict
from smtps.protocol.visible import visible

if TYPE_CHECKING:
    from smtps.client.account import Account
    from smtps.client.accounts import Named
    from smtps.client.delivery import Delivery
    from smtps.outbox import spool

INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

HELP = "send a message from standard input, as sendmail does"
USAGE = "[OPTION...] [-t] [RECIPIENT...] < MESSAGE"
EXAMPLE = "smtps send -t --host relay.example.org --user me < mail"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's words."""
    parser.add_argument(
        "recipients",
        nargs="*",
        metavar="RECIPIENT",
        help=Aside("who gets it; with -t, the message's file"),
    )
    parser.add_argument(
        "-t",
        dest="from_header",
        action="store_true",
        help="To, Cc and Bcc get it; -f, --from FROM; -F NAME",
    )
    parser.add_argument(
        "-f", "-r", "--from", dest="sender", metavar="FROM", help=Aside("the sender")
    )
    parser.add_argument(
        "-F", dest="name", metavar="NAME", help=Aside("the sender's, where From is missing")
    )
    parser.add_argument(
        "--to", metavar="ADDRESS", action="append", default=[], help=Aside("who gets it")
    )
    parser.add_argument(
        "--queue",
        action="store_true",
        help="to the outbox, and go; --again: though it's there",
    )
    parser.add_argument(
        "--again", action="store_true", help=Aside("even what may be on its way already")
    )
    parser.add_argument(
        "--test-message", action="store_true", help="one that is made up, --to ADDRESS"
    )
    sendmail.add_arguments(parser)
    options.add_connection(parser)
    options.add_login(parser)
    options.add_wishes(parser)
    parser.add_argument(
        "--transcript", metavar="FILE", help="masked dialogue; --report json|sexp; --outbox DIR"
    )
    parser.add_argument(
        "--report", choices=("sexp", "json"), help=Aside("tell each fate for a program")
    )
    parser.add_argument(
        "--outbox", metavar="DIR", type=options.outbox, help=Aside("the outbox, if not yours")
    )


class _Sending:
    """What one run of the command holds.  The connection is made while the mail is written to
    the disk, but not before all of it has come: a server does not wait for a slow pipe."""

    def __init__(
        self,
        arguments: argparse.Namespace,
        account: Account,
        transcript: output.Transcript | None,
    ) -> None:
        self.arguments = arguments
        self.account = account
        self.transcript = transcript
        if transcript:
            transcript.begin(account)
        self.began = time.monotonic()
        self.said: list[str] = []
        """The masked dialogue as the journal keeps it, each line with its milliseconds."""
        self.trust = trusting.of_user(self._passphrase)
        self.ahead: Ahead | None = None
        self.progress = Progress()

    async def _passphrase(self, account: Account, file: str) -> str:
        from smtps.cli.secrets import passphrase

        with self.progress.quiet():
            return await passphrase(account, file)

    def connect(self) -> None:
        """Begin to connect, if that was not done, and nobody has to be asked before."""
        self.progress.doing(f"Connecting to {self.account.address}")
        if self.ahead is None and self.account.client_certificate is None:
            self.ahead = Ahead(self.account, self.arguments.timeout, self.trust)

    def give_up(self) -> None:
        """Drop the connection that is being made."""
        self.progress.end()
        if self.ahead is not None:
            self.ahead.give_up()


def run(arguments: argparse.Namespace) -> int:
    """Send the message and return the exit status."""
    for number in INTERRUPTS:
        # What nohup, or a shell for what runs in the background, has ignored stays so.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)
    _assert_fitting(arguments)
    among = options.known(arguments)
    # Where no sender decides, what is wrong with the account is told before anything is typed.
    account = options.account(arguments, among) if len(among) < 2 else None
    if arguments.test_message:
        arguments.sender = arguments.sender or _user(account)
    try:
        with contextlib.closing(_open(arguments)) as file, _readable():
            transcript = _transcript(arguments.transcript, file)
            if file is getattr(sys.stdin, "buffer", None):
                _wait_for_typing(arguments.recipients)
            header = message.read_header(file)
            author = _author(arguments, among)
            envelope = _envelope(arguments, header, author)
            header = message.from_whom(header, envelope.sender or author, arguments.name)
            account = account or options.account(arguments, among, sender=envelope.sender)
            if arguments.queue:
                return _queue(arguments, account, file, header, envelope)
            sending = _Sending(arguments, account, transcript)
            owned = _put_away(sending, file, header, envelope)
    except KeyboardInterrupt:
        break_line()
        complain("Interrupted before all of the message was read: nothing was sent or kept.")
        return INTERRUPTED
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
        if _at_hand(file):
            sending.connect()

        def read() -> None:
            sending.connect()
            _hold_signals()

        chunks, identity = message.finished(header, _rest(file, header, read), envelope.sender)
        # Behind the connect: what writes the outbox takes its time to load.
        box, check = _box(sending.arguments, header, envelope)
        return box.begin(sending.account, envelope, chunks, identity, check)
    except BaseException:
        sending.give_up()
        raise


def _at_hand(file: BinaryIO) -> bool:
    """Return True if nobody has to be waited for to read FILE."""
    return isinstance(file, io.BytesIO) or stat.S_ISREG(os.fstat(file.fileno()).st_mode)


def _box(
    arguments: argparse.Namespace, header: message.Header, envelope: Envelope
) -> tuple[spool.Spool, Callable[[], None] | None]:
    """Return the outbox, and what checks once more, when the mail is put there, that it is new.

    Raises AgainError where it has this mail already.
    """
    from smtps.outbox import overview, spool

    try:
        box = spool.Spool(arguments.outbox or spool.default())
    except OutboxError as error:
        raise OutboxError(f"{error.text} Nothing was sent.") from None
    identity = message.message_id(header)
    if identity is None or arguments.again:
        return box, None

    def check() -> None:
        twin = overview.twin(box, identity, envelope.recipients)
        if twin is not None:
            became = "it is uncertain whether that arrived" if twin.uncertain else twin.word
            raise AgainError(
                f"This mail, {visible(identity)}, was handed in before for one of its recipients, "
                f"and {became}: it is {twin.name} in {twin.state}/ of the outbox. Nothing was "
                "sent; --again sends it all the same."
            )

    check()
    return box, check


def _queue(
    arguments: argparse.Namespace,
    account: Account,
    file: BinaryIO,
    header: message.Header,
    envelope: Envelope,
) -> int:
    """Put the message into the outbox for whoever sends what waits there."""
    box, check = _box(arguments, header, envelope)
    chunks, identity = message.finished(header, _rest(file, header, _hold_signals), envelope.sender)
    kept = box.take_in(account, envelope, chunks, identity, "queue", check)
    text = f"The mail waits as {kept.name}: “smtps outbox flush” or your Emacs sends it."
    if arguments.report:
        told = {"address": None, "verdict": None, "code": None, "enhanced": None, "text": None}
        recipients = [told | {"address": address} for address in envelope.recipients]
        output.report(
            arguments.report,
            {"id": kept.name, "status": 0, "verdict": "queued", "text": text,
             "recipients": recipients},
        )  # fmt: skip
    tell(text)
    return 0


def _assert_fitting(arguments: argparse.Namespace) -> None:
    """Sort out the words.  Raises UsageError where they do not go together."""
    words: list[str] = arguments.recipients
    arguments.file = None
    if arguments.from_header and len(words) == 1 and "@" not in words[0]:
        # smtps send -t FILE
        arguments.file, words = Path(words[0]), []
        if os.sep not in str(arguments.file) and not _exists(arguments.file):
            raise UsageError(
                f"{visible(str(arguments.file))!r} is no file here, and no address, which has an @."
            )
    arguments.recipients = words + arguments.to
    if arguments.test_message and (arguments.from_header or arguments.file):
        raise UsageError("--test-message makes up the message: it goes to --to ADDRESS, not by -t.")
    if arguments.queue and arguments.transcript:
        raise UsageError("--queue sends nothing now, so there is no --transcript.")


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        # Too long to be one's name, say.
        return False


def _user(account: Account | None) -> str:
    if account is None or "@" not in (account.user or ""):
        raise UsageError("From whom is the test message? Name a sender with --from.")
    return str(account.user)


def _open(arguments: argparse.Namespace) -> BinaryIO:
    if arguments.test_message:
        return io.BytesIO(message.test(arguments.sender, arguments.recipients))
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


def _transcript(name: str | None, file: BinaryIO) -> output.Transcript | None:
    """Return the transcript called NAME, if there is one.  Raises UsageError if that is FILE."""
    if name is None:
        return None
    if not isinstance(file, io.BytesIO):
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(file.fileno()), os.stat(name)):  # noqa: PTH116
                raise UsageError(f"The transcript would overwrite the message {name}.")
    return output.Transcript(name)


def _wait_for_typing(recipients: Sequence[str]) -> None:
    """Tell who may not know it that the message for RECIPIENTS is to be typed."""
    if wait_for_typing("the message: its header, an empty line, and its text"):
        for word in recipients:
            if "@" not in word and Path(word).is_file():
                tell(
                    f"“{visible(word)}” is who gets it; “smtps send -t FILE” sends a file.",
                    "warning",
                )


def _rest(
    file: BinaryIO, header: message.Header, at_end: Callable[[], None]
) -> Callable[[], Iterator[bytes]]:
    def chunks() -> Iterator[bytes]:
        ended = header.whole
        while not ended:
            chunk = file.read(message.READ_SIZE)
            ended = len(chunk) < message.READ_SIZE
            yield chunk
        at_end()

    return chunks


def _author(arguments: argparse.Namespace, among: Sequence[Named]) -> str | None:
    """Return who writes what has no From: the given sender, or the account's only one."""
    given = _address(arguments.sender) if arguments.sender else None
    senders = among[0].senders if len(among) == 1 else ()
    only = senders[0] if len(senders) == 1 and not senders[0].startswith("@") else None
    return given or only


def _envelope(
    arguments: argparse.Namespace, header: message.Header, author: str | None
) -> Envelope:
    recipients = [_address(one) for word in arguments.recipients for one in _parts(word)]
    if arguments.from_header:
        recipients += message.recipients(header)
    if not recipients:
        raise UsageError("No recipient is given: name one, or use -t to take them from the header.")
    if arguments.sender is None:
        sender = message.sender(header)
        sender = author if sender is None else sender
    else:
        sender = _address(arguments.sender)
    if sender is None:
        raise MessageError(
            "The message has no From, and no sender is given with -f; an account with one address "
            "as its “from” gives it, too."
        )
    recipients = list(dict.fromkeys(recipients))
    wishes, notices = options.wishes(arguments)
    return Envelope(sender, tuple(recipients), wishes, (notices,) * len(recipients))


def _parts(word: str) -> list[str]:
    """Return the addresses in WORD, between commas that no quotation marks enclose."""
    parts = re.findall(r'(?:"(?:[^"\\]|\\.)*"|[^,])+', word)
    # Blanks only: a line break is no mistake that is mended here.
    return [bare for part in parts if (bare := part.strip(" "))] or [word]


def _address(word: str) -> str:
    """Return the address that is WORD, or stands in its angle brackets.

    Raises AddressError if a name stands before them: it would not be sent.
    """
    match = re.fullmatch(r"(.*?)\s*<([^<>]*)>", word)
    if match is None:
        return word
    if match[1]:
        raise AddressError(
            f"“{visible(word)}” has a name in it: give {visible(match[2])} alone. Names stand in "
            "the header of the message."
        )
    return match[2]


def _send(sending: _Sending, envelope: Envelope, owned: spool.Owned) -> int:
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
        sending.progress.end()
        if sending.transcript:
            sending.transcript.close()


def _carried_out(
    sending: _Sending, delivery: Delivery, envelope: Envelope, owned: spool.Owned
) -> int:
    try:
        _let_signals_in()
        outcome = _deliver(sending, delivery, envelope, owned)
        _hold_signals()
    except SmtpsError as error:
        sending.progress.end()
        complain(f"{error.text} {_kept(_put(owned, 'failed'))}")
        return error.status
    except KeyboardInterrupt:
        _hold_signals()
        sending.progress.end()
        return _interrupted(envelope, owned)
    sending.progress.end()
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
    break_line()
    if not doubtful:
        complain(f"Interrupted before the message was sent. {_kept(_put(owned, 'failed'))}")
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

    host = sending.account.host

    def trace(direction: str, text: str) -> None:
        if direction == "send":
            sending.progress.doing(f"Waiting for {host} to answer {text.partition(' ')[0]}")
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


def _deliver(
    sending: _Sending, delivery: Delivery, envelope: Envelope, owned: spool.Owned
) -> Outcome:
    from smtps.client.login import Credentials
    from smtps.outbox import entry, spool
    from smtps.outbox.forms import form
    from smtps.protocol import body

    account = delivery.account
    content = spool.octets(owned.directory / entry.MESSAGE)
    ready = Message(content, body.shape(content()))
    delivery.written = lambda octets: sending.progress.sending(octets, ready.shape.octets)

    async def commit(recipients: tuple[int, ...]) -> None:
        owned.journal.append(form("commit", attempt=1, recipients=list(recipients)), reserve=True)

    async def ask() -> Credentials:
        from smtps.cli.secrets import credentials

        with sending.progress.quiet():
            return credentials(account, envelope.sender)

    return run_blocking(
        delivery.send(envelope, ready, ask if options.logs_in(account) else None, commit)
    )


def _settle(sending: _Sending, owned: spool.Owned, outcome: Outcome) -> int:
    from smtps.outbox import journal

    arguments = sending.arguments
    state = "sent" if outcome.status == 0 else "failed"
    if outcome.verdict is Verdict.HELD:
        state = "held"
    try:
        owned.journal.append(journal.transcript(1, sending.said), *journal.results(1, outcome))
    except OutboxError as error:
        complain(error.text.replace("was not sent and is kept", "has its result only here"))
    kept = _put(owned, state)
    if arguments.report:
        output.report(arguments.report, facts(kept.name, outcome))
    if outcome.status:
        complain(f"{outcome.text} {_kept(kept, outcome)}")
    else:
        tell(outcome.text)
    return outcome.status


def _put(owned: spool.Owned, state: str) -> Path:
    """Put the mail into STATE and return where it lies now: what became of it is certain."""
    try:
        return owned.finish(state)
    except OutboxError as error:
        complain(error.text)
        return owned.directory


def _kept(directory: Path, outcome: Outcome | None = None) -> str:
    text = f"The mail is kept as {directory.name} in {directory.parent}."
    if outcome is not None and outcome.verdict is Verdict.UNCERTAIN:
        text += " Find out whether it arrived before you send it again."
    if outcome is not None and outcome.verdict is Verdict.HELD:
        text += f" “smtps outbox retry {directory.name} --others” lets the others have it."
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

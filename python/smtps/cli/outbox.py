"""List, show, retry, drop and flush what lies in the outbox."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from smtps.cli import options, output
from smtps.cli.front import complain, confirmed
from smtps.client import trusting
from smtps.client.account import Account
from smtps.client.login import Credentials
from smtps.errors import UsageError
from smtps.outbox import afterwork, overview, spool
from smtps.outbox.afterwork import Pending
from smtps.outbox.drain import Drainer
from smtps.outbox.overview import Listed
from smtps.protocol.outcome import STATUS, Verdict, most_important
from smtps.protocol.visible import visible
from smtps.rpc.codec import Value, plist

if TYPE_CHECKING:
    from smtps.explain.replies import Explanation

HELP = "list, show, retry, drop, file or flush kept mails"
USAGE = "[OPTION...] [list | flush | {show,retry,drop,file} ID]"
EXAMPLE = "smtps outbox show ab12cd"

NEEDS_ID = ("show", "retry", "drop", "file")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's words."""
    parser.add_argument(
        "action",
        nargs="?",
        default="list",
        metavar="ACTION",
        help="list, or this; flush ends as send does, or by 75",
        choices=("list", "show", "retry", "drop", "file", "flush"),
    )
    parser.add_argument("id", nargs="?", metavar="ID", help="a mail's name, or how it ends")
    parser.add_argument(
        "--others", action="store_true", help="retry: not to those who were refused"
    )
    parser.add_argument(
        "--uncertain", action="store_true", help="retry: also to whom it may have arrived"
    )
    parser.add_argument(
        "--password-command", metavar="COMMAND", help="flush: for accounts that have none"
    )
    parser.add_argument(
        "--keep-sent", metavar="DAYS", type=int, help="flush: delete what was sent before that"
    )
    parser.add_argument(
        "--outbox", metavar="DIR", type=options.outbox, help="the outbox, if not yours"
    )
    parser.add_argument("--report", choices=("sexp", "json"), help="tell it for a program")


def run(arguments: argparse.Namespace) -> int:
    """Do it and return the exit status."""
    if (arguments.action in NEEDS_ID) != bool(arguments.id):
        wants = "needs a mail's ID" if arguments.action in NEEDS_ID else "takes no ID"
        raise UsageError(f"smtps outbox {arguments.action} {wants}.")
    if arguments.keep_sent is not None and (arguments.action != "flush" or arguments.keep_sent < 0):
        raise UsageError("--keep-sent takes a number of days, and goes with smtps outbox flush.")
    box = spool.Spool(arguments.outbox or spool.default())
    if arguments.action == "list":
        return _list(arguments, box)
    if arguments.action == "flush":
        with _terminal_kept():
            status = asyncio.run(_flush(box, arguments.password_command))
        if arguments.keep_sent is not None:
            _sweep(box, arguments.keep_sent)
        return status
    entry = overview.found(box, arguments.id)
    if arguments.action == "show":
        _show(arguments, entry)
    elif arguments.action == "retry":
        overview.retry(box, entry, arguments.others, not arguments.others, _again(arguments, entry))
        output.line(f"{entry.name} waits to be sent: “smtps outbox flush” or your Emacs does it.")
    elif arguments.action == "drop":
        overview.drop(box, entry)
        output.line(f"{entry.name} was dropped.")
    else:
        return _file(box, entry)
    return 0


def _again(arguments: argparse.Namespace, entry: Listed) -> bool:
    """Return True if those, too, are to be sent ENTRY to whom it may have arrived.

    Where nothing that was given says so, a terminal is asked.  Raises UsageError.
    """
    if arguments.uncertain or arguments.others or not entry.uncertain:
        return bool(arguments.uncertain)
    known = f"Nobody knows whether the mail {entry.name} has arrived"
    if confirmed(f"{known}; sent again, it may come twice. Send it? (y or n) "):
        return True
    raise UsageError(
        f"{known}: it is not sent again. Find out; --uncertain sends it all the same, and it may "
        "come twice."
    )


def facts(entry: Listed) -> dict[str, Any]:
    """Return the report on ENTRY: documented, stable fields."""
    mail = entry.mail
    fates: dict[int, dict[str, Any]] = {}
    for name, rest in entry.records:
        if name == "result":
            told = plist(rest)
            index = told.get("recipient")
            if isinstance(index, int):
                # The wire has one word for nothing and for an empty list.
                fates[index] = {
                    key: told.get(key) or None for key in ("verdict", "code", "enhanced", "text")
                }
    return {
        "id": entry.name,
        "state": entry.state,
        "what": entry.word,
        "text": entry.text,
        "host": mail.account.host if mail else None,
        "from": mail.envelope.sender if mail else None,
        "recipients": [
            {"address": address} | fates.get(index, {})
            for index, address in enumerate(mail.envelope.recipients if mail else ())
        ],
        "left": [{"what": one.what, "reason": one.reason} for one in entry.pending],
    }


def _file(box: spool.Spool, entry: Listed) -> int:
    """Do what was to follow the acceptance of ENTRY; return 75 if something is left, else 0."""
    done = afterwork.carry_out(box, entry.name, again=True)
    left = overview.found(box, entry.name).pending
    if not left:
        output.line(f"Nothing is left to be done of {entry.name}.")
    elif done and done.failed and not any(one.reason for one in left):
        # None of it was come to.
        complain(visible(done.failed[0], 2000))
    for one in left:
        complain(visible(_pending(one), 2000))
    return 75 if left else 0


def _pending(one: Pending) -> str:
    """Return a sentence that ONE was not done, and why."""
    if one.reason:
        return f"Not done yet: {one.what}: {one.reason}"
    return f"Not done yet: {one.what}" + (
        f" (an Emacs with {one.client} does it)" if one.client else ""
    )


def _list(arguments: argparse.Namespace, box: spool.Spool) -> int:
    entries = overview.listed(box, briefly=not arguments.report)
    if arguments.report:
        for entry in entries:
            output.report(arguments.report, facts(entry))
        return 0
    if not entries:
        output.line(f"The outbox {box.root} is empty.")
    for entry in entries:
        to = entry.mail.envelope.recipients if entry.mail else ()
        others = f" and {len(to) - 1} more" if len(to) > 1 else ""
        left = f"; not done yet: {visible(entry.pending[0].what, 200)}" if entry.pending else ""
        who = visible(to[0], 60) if to else "?"
        output.line(f"{entry.name}  {entry.word:<13} {who}{others}{left}")
    return 0


def _show(arguments: argparse.Namespace, entry: Listed) -> None:
    known = facts(entry)
    if arguments.report:
        output.report(arguments.report, known)
        return
    output.line(f"{entry.name} {entry.word}")
    if entry.text:
        output.line(visible(entry.text, 2000))
    if entry.mail is not None:
        output.line(f"Server: {entry.mail.account.address}")
        output.line(f"From: {visible(entry.mail.envelope.sender)}")
        output.line(f"Message: {entry.mail.message}")
    last = None
    for fate in known["recipients"]:
        words = [fate.get("verdict"), fate.get("code"), fate.get("enhanced"), fate.get("text")]
        fate_text = " ".join(str(word) for word in words if word)
        output.line(f"To: {visible(fate['address'])}  {visible(fate_text)}")
        meaning = _explained(fate, known["host"])
        if meaning and meaning != last:
            output.line(f"    {meaning.short}\n    Next: {meaning.next}")
        last = meaning
    for one in entry.pending:
        output.line(visible(_pending(one), 2000))
    for name, rest in entry.records:
        told = plist(rest)
        if name == "attempt":
            when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(int(str(told["time"]))))
            output.line(f"Attempt {told['number']} at {when}:")
        elif name == "transcript":
            for line in str(told["text"]).split("\n"):
                output.line(f"  {visible(line)}")


def _explained(fate: Mapping[str, Any], host: str) -> Explanation | None:
    """Return what the reply that refused means, for a recipient's FATE at HOST."""
    if fate.get("verdict") in (None, "accepted") or not fate.get("code"):
        return None
    from smtps.explain.replies import explained

    words = (fate["code"], fate["enhanced"], fate["text"])
    verb = "rcpt" if fate["verdict"] == Verdict.REFUSED.value else None
    return explained(" ".join(str(word) for word in words if word), verb, host)


@contextlib.contextmanager
def _terminal_kept() -> Iterator[None]:
    """Leave the terminal as it was, should a password be asked for that nobody waits for."""
    import termios

    try:
        modes = termios.tcgetattr(2)
    except (OSError, termios.error):
        yield
        return
    try:
        yield
    finally:
        with contextlib.suppress(termios.error):
            termios.tcsetattr(2, termios.TCSADRAIN, modes)


async def _asked(account: Account) -> Credentials | None:
    """Return the credentials for ACCOUNT, None for none, while other mails go on.

    Where nothing says that somebody is to log in, a file may know all the same.  By a thread
    that is not waited for at the end: whoever is asked may interrupt instead.
    """
    from smtps.cli.secrets import credentials, written

    loop = asyncio.get_running_loop()
    answer: asyncio.Future[Credentials | None] = loop.create_future()

    def settle(found: Credentials | Exception | None) -> None:
        if answer.done():
            return
        if isinstance(found, Exception):
            answer.set_exception(found)
        else:
            answer.set_result(found)

    def ask() -> None:
        found: Credentials | Exception | None
        try:
            find = credentials if options.logs_in(account) else written
            found = find(account, account.author or "")
        except Exception as error:
            found = error
        # The loop may have ended meanwhile.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, found)

    threading.Thread(target=ask, daemon=True).start()
    return await answer


def _sweep(box: spool.Spool, days: int) -> None:
    from smtps.outbox.sweep import sweep

    count = sweep(box, days)
    if count:
        output.line(f"{count} mail{'s' * (count != 1)} sent more than {days} days ago: deleted.")


async def _flush(box: spool.Spool, password_command: str | None) -> int:
    """Send what is due; return what matters most of what became of it, as of a mail's fates.

    That is 75 if some only wait.  PASSWORD_COMMAND is asked for accounts that have none.
    """

    mended: set[str] = set()
    verdicts: set[Verdict] = set()

    def tell(told: Mapping[str, Value]) -> None:
        # What can't be kept, and not for itself, only waits.
        unkept = (str(told["state"]), str(told.get("verdict"))) == ("queue", "unsendable")
        if told.get("verdict") and not unkept:
            verdicts.add(Verdict(str(told["verdict"])))
        text = visible(str(told["text"]), 2000)
        # That one is being sent has no verdict; that one is stuck there has.
        under_way = str(told["state"]) == "active" and not told.get("verdict")
        # What is to be mended is so for all of them, and told once.
        if not text or under_way or text in mended:
            return
        if str(told.get("waits")) == "setup":
            mended.add(text)
        if str(told.get("afterwork")) == "failed":
            text += f" The mail itself was sent; “smtps outbox file {told['id']}” tries again."
        name = f"{told['id']}: " if told["id"] else ""
        output.tell(f"{name}{text}")

    async def ask(account: Account) -> tuple[str, str] | None:
        if password_command and not account.password_command and options.logs_in(account):
            account = account._replace(password_command=password_command)
        found = await _asked(account)
        return (found.user, found.password) if found else None

    from smtps.cli.secrets import passphrase

    drainer = Drainer(str(box.root), tell, ask, trusting.of_user(passphrase))
    try:
        await drainer.drained()
    finally:
        await drainer.stop()
    waiting = len(box.names("queue"))
    if waiting:
        complain(f"{waiting} mail{'s wait' if waiting > 1 else ' waits'} in the outbox.")
        verdicts.add(Verdict.DEFERRED)
    return STATUS[most_important(verdicts)] if verdicts else 0

"""List, show, retry, drop and flush what lies in the outbox."""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smtps.cli import output
from smtps.cli.front import complain
from smtps.client import trusting
from smtps.client.account import Account
from smtps.errors import UsageError
from smtps.outbox import afterwork, overview, spool
from smtps.outbox.afterwork import Pending
from smtps.outbox.drain import Drainer
from smtps.outbox.overview import Listed
from smtps.protocol.outcome import Verdict
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
        help=argparse.SUPPRESS,
        choices=("list", "show", "retry", "drop", "file", "flush"),
    )
    parser.add_argument("id", nargs="?", metavar="ID", help="a mail's name, or how it ends")
    parser.add_argument(
        "--others", action="store_true", help="retry: not to those who were refused"
    )
    parser.add_argument("--outbox", metavar="DIR", type=Path, help="the outbox, if not yours")
    parser.add_argument("--report", choices=("sexp", "json"), help="tell it for a program")


def run(arguments: argparse.Namespace) -> int:
    """Do it and return the exit status."""
    if (arguments.action in NEEDS_ID) != (arguments.id is not None):
        wants = "needs a mail's ID" if arguments.action in NEEDS_ID else "takes no ID"
        raise UsageError(f"smtps outbox {arguments.action} {wants}.")
    box = spool.Spool(arguments.outbox or spool.default())
    if arguments.action == "list":
        return _list(arguments, box)
    if arguments.action == "flush":
        return asyncio.run(_flush(box))
    entry = overview.found(box, arguments.id)
    if arguments.action == "show":
        _show(arguments, entry)
    elif arguments.action == "retry":
        overview.retry(box, entry, arguments.others, not arguments.others, entry.uncertain)
        print(f"{entry.name} waits to be sent: “smtps outbox flush” or your Emacs does it.")
    elif arguments.action == "drop":
        overview.drop(box, entry)
        print(f"{entry.name} was dropped.")
    else:
        return _file(box, entry)
    return 0


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
    afterwork.carry_out(box, entry.name, again=True)
    left = overview.found(box, entry.name).pending
    if not left:
        print(f"Nothing is left to be done of {entry.name}.")
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
    entries = overview.listed(box)
    if arguments.report:
        for entry in entries:
            output.report(arguments.report, facts(entry))
        return 0
    if not entries:
        print(f"The outbox {box.root} is empty.")
    for entry in entries:
        to = entry.mail.envelope.recipients if entry.mail else ()
        others = f" and {len(to) - 1} more" if len(to) > 1 else ""
        left = f"; not done yet: {visible(entry.pending[0].what, 200)}" if entry.pending else ""
        print(f"{entry.name}  {entry.word:<13} {visible(to[0], 60) if to else '?'}{others}{left}")
    return 0


def _show(arguments: argparse.Namespace, entry: Listed) -> None:
    known = facts(entry)
    if arguments.report:
        output.report(arguments.report, known)
        return
    print(f"{entry.name} {entry.word}")
    if entry.text:
        print(visible(entry.text, 2000))
    if entry.mail is not None:
        print(f"Server: {entry.mail.account.address}")
        print(f"From: {visible(entry.mail.envelope.sender)}")
        print(f"Message: {entry.mail.message}")
    last = None
    for fate in known["recipients"]:
        words = [fate.get("verdict"), fate.get("code"), fate.get("enhanced"), fate.get("text")]
        fate_text = " ".join(str(word) for word in words if word)
        print(f"To: {visible(fate['address'])}  {visible(fate_text)}")
        meaning = _explained(fate, known["host"])
        if meaning and meaning != last:
            print(f"    {meaning.short}\n    Next: {meaning.next}")
        last = meaning
    for one in entry.pending:
        print(visible(_pending(one), 2000))
    for name, rest in entry.records:
        told = plist(rest)
        if name == "attempt":
            when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(int(str(told["time"]))))
            print(f"Attempt {told['number']} at {when}:")
        elif name == "transcript":
            for line in str(told["text"]).split("\n"):
                print(f"  {visible(line)}")


def _explained(fate: Mapping[str, Any], host: str) -> Explanation | None:
    """Return what the reply that refused means, for a recipient's FATE at HOST."""
    if fate.get("verdict") in (None, "accepted") or not fate.get("code"):
        return None
    from smtps.explain.replies import explained

    words = (fate["code"], fate["enhanced"], fate["text"])
    verb = "rcpt" if fate["verdict"] == Verdict.REFUSED.value else None
    return explained(" ".join(str(word) for word in words if word), verb, host)


async def _flush(box: spool.Spool) -> int:
    """Send what is due; return 75 if something still waits, else 0."""

    mended: set[str] = set()

    def tell(told: Mapping[str, Value]) -> None:
        text = visible(str(told["text"]), 2000)
        # That one is being sent has no verdict; that one is stuck there has.
        under_way = str(told["state"]) == "active" and not told.get("verdict")
        # What is to be mended is so for all of them, and told once.
        if not text or under_way or text in mended:
            return
        if str(told.get("waits")) == "setup":
            mended.add(text)
        name = f"{told['id']}: " if told["id"] else ""
        print(f"{name}{text}", flush=True)

    async def ask(account: Account) -> tuple[str, str]:
        from smtps.cli.secrets import credentials

        found = await asyncio.to_thread(credentials, account)
        return found.user, found.password

    from smtps.cli.secrets import passphrase

    drainer = Drainer(str(box.root), tell, ask, trusting.of_user(passphrase))
    try:
        await drainer.drained()
    finally:
        await drainer.stop()
    waiting = len(box.names("queue"))
    if waiting:
        complain(f"{waiting} mail{'s wait' if waiting > 1 else ' waits'} in the outbox.")
    return 75 if waiting else 0

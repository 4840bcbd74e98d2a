"""Say whether a server can be reached, trusted, greeted and logged in to; send nothing."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from smtps.cli import options, output
from smtps.cli.front import complain
from smtps.client import trusting
from smtps.client.check import FAILS, WORKS, Checked, check
from smtps.client.delivery import Delivery
from smtps.client.login import Credentials
from smtps.net.streams import run as run_blocking

HELP = "say what works with a server; sends nothing"
USAGE = "[OPTION...] HOST[:PORT]"
EXAMPLE = "smtps check relay.example.org --user me@example.org"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's words."""
    parser.add_argument("where", nargs="?", help=argparse.SUPPRESS)
    options.add_connection(parser)
    options.add_login(parser)
    parser.add_argument("--transcript", metavar="FILE", help="write the masked dialogue there")
    parser.add_argument("--report", choices=("sexp", "json"), help="tell it for a program")


def run(arguments: argparse.Namespace) -> int:
    """Check, and return the exit status."""
    among = options.known(arguments, arguments.where)
    account = options.account(arguments, among, arguments.where)
    trace: list[str] = []

    named = account.user or account.mechanisms or account.password_command

    async def ask() -> Credentials:
        from smtps.cli.secrets import credentials

        return credentials(account)

    def tell(line: str) -> None:
        if not arguments.report:
            print(marked(line), flush=True)

    from smtps.cli.secrets import passphrase

    delivery = Delivery(
        account,
        timeout=arguments.timeout,
        tell=tell,
        trace=lambda direction, text: trace.append(f"{direction}> {text}\n"),
        trust=trusting.of_user(passphrase),
    )

    async def checked() -> Checked:
        try:
            return await check(delivery, ask if named else None, tell)
        finally:
            await delivery.close()

    try:
        found = run_blocking(checked())
    finally:
        if arguments.transcript:
            output.write_transcript(Path(arguments.transcript), trace)
    if arguments.report:
        output.report(arguments.report, facts(account.host, account.port, found))
    if found.outcome is None:
        return 0
    complain(found.outcome.text)
    return found.outcome.status


MARKS = {WORKS: ("ok", "32"), FAILS: ("NO", "31")}
"""What stands for a mark where it can't be shown, and its colour on a terminal (ECMA-48)."""


def marked(line: str) -> str:
    """Return LINE with its mark as standard output can show it."""
    plain, colour = MARKS.get(line[:1], ("", ""))
    if not plain:
        return line
    mark = line[:1]
    try:
        mark.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        mark = plain
    words = os.environ
    if sys.stdout.isatty() and words.get("TERM", "dumb") != "dumb" and "NO_COLOR" not in words:
        mark = f"\x1b[{colour}m{mark}\x1b[m"
    return mark + line[1:]


def facts(host: str, port: int, found: Checked) -> dict[str, Any]:
    """Return the report: documented, stable fields."""
    tls = found.tls
    return {
        "host": host,
        "port": port,
        "status": found.outcome.status if found.outcome else 0,
        "text": found.outcome.text if found.outcome else None,
        "tls": tls.version if tls else None,
        "cipher": tls.cipher if tls else None,
        "group": tls.group if tls else None,
        "offers": [" ".join([keyword, *words]) for keyword, words in found.offered.items()],
        "login": found.login,
    }

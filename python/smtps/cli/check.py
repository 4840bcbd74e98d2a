"""Say whether a server can be reached, trusted, greeted and logged in to; send nothing."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from smtps.cli import colours, options, output
from smtps.cli.front import Aside, complain
from smtps.cli.progress import Progress
from smtps.client import trusting
from smtps.client.account import Account
from smtps.client.check import FAILS, WORKS, Checked, check
from smtps.client.delivery import Delivery
from smtps.client.login import Credentials
from smtps.net.streams import run as run_blocking

HELP = "say what works with a server; sends nothing"
USAGE = "[OPTION...] HOST[:PORT]"
EXAMPLE = "smtps check relay.example.org --user me@example.org"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's words."""
    parser.add_argument("where", nargs="?", metavar="HOST[:PORT]", help=Aside("the server"))
    options.add_connection(parser)
    options.add_login(parser)
    parser.add_argument("--transcript", metavar="FILE", help="write the masked dialogue there")
    parser.add_argument("--report", choices=("sexp", "json"), help="tell it for a program")


def run(arguments: argparse.Namespace) -> int:
    """Check, and return the exit status."""
    among = options.known(arguments, arguments.where)
    account = options.account(arguments, among, arguments.where)
    transcript = output.Transcript(arguments.transcript) if arguments.transcript else None
    if transcript:
        transcript.begin(account)
    progress = Progress()
    progress.doing(f"Connecting to {account.address}")

    async def ask() -> Credentials:
        from smtps.cli.secrets import credentials

        with progress.quiet():
            return credentials(account)

    async def ask_passphrase(account: Account, file: str) -> str:
        from smtps.cli.secrets import passphrase

        with progress.quiet():
            return await passphrase(account, file)

    def tell(line: str) -> None:
        if not arguments.report:
            with progress.quiet():
                output.tell(marked(line))

    def note(direction: str, text: str) -> None:
        if transcript:
            transcript.trace(direction, text)
        progress.doing(f"Waiting for {account.host}")

    delivery = Delivery(
        account,
        timeout=arguments.timeout,
        tell=tell,
        trace=note,
        trust=trusting.of_user(ask_passphrase),
    )

    async def checked() -> Checked:
        try:
            return await check(delivery, ask if options.logs_in(account) else None, tell)
        finally:
            await delivery.close()

    try:
        found = run_blocking(checked())
    finally:
        progress.end()
        if transcript:
            transcript.close()
    if arguments.report:
        output.report(arguments.report, facts(account.host, account.port, found))
    if found.outcome is None:
        return 0
    if arguments.report or not _seen_together():
        complain(found.outcome.text)
    return found.outcome.status


def _seen_together() -> bool:
    """Return True if one terminal shows standard output, which tells it all, and errors."""
    return all(stream is not None and stream.isatty() for stream in (sys.stdout, sys.stderr))


PLAIN = {WORKS: "ok", FAILS: "NO"}
"""What stands for a mark where it can't be shown."""


def marked(line: str) -> str:
    """Return LINE with its mark as standard output can show it."""
    mark = line[:1]
    if mark in PLAIN:
        try:
            mark.encode(sys.stdout.encoding or "ascii")
        except UnicodeEncodeError:
            line = PLAIN[mark] + line[1:]
    return colours.painted(line) if colours.wanted(sys.stdout) else line


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

"""What is made from the options of all verbs: completion for shells, and the man page.

Libraries make them, which nothing else needs.
"""

from __future__ import annotations

import argparse
import importlib
from functools import partial

from smtps import VERSION
from smtps.cli import VERBS, front, output
from smtps.client import accounts
from smtps.errors import ConfigurationError

HELP = "completion for bash, zsh and fish, and the man page"
USAGE = "bash | zsh | fish | man | accounts"
EXAMPLE = "smtps generate fish"

SHELLS = ("bash", "zsh", "fish")

ABOUT = "send mail, and type SMTP by hand over TLS"

NAMES = "smtps generate accounts 2>/dev/null"
"""The command that tells a shell the accounts there are."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's words."""
    parser.add_argument(
        "what", choices=(*SHELLS, "man", "accounts"), metavar="WHAT", help="what to print"
    )


def run(arguments: argparse.Namespace) -> int:
    """Print it and return the exit status."""
    if arguments.what == "accounts":
        for account in accounts.read(accounts.default()):
            output.line(str(account.name))
        return 0
    try:
        text = _man() if arguments.what == "man" else _completion(arguments.what)
    except ImportError as error:
        raise ConfigurationError(
            f"For this the library {error.name} is needed: pip install 'smtps[generate]'."
        ) from None
    output.write(text.rstrip("\n") + "\n")
    return 0


def whole() -> argparse.ArgumentParser:
    """Return what parses a verb and its words; a host without its verb is not in it."""
    made = front.Parser(prog="smtps", usage="smtps VERB [OPTION...]", add_help=False)
    verbs = made.add_subparsers(title="verbs", metavar="VERB", parser_class=front.Parser)
    for verb in VERBS:
        if verb != "rpc":
            told = importlib.import_module(f"smtps.cli.{verb}").HELP
            front.parser(verb, partial(verbs.add_parser, verb, help=told))
    return made


def _completion(shell: str) -> str:
    import shtab

    values = {"FILE": shtab.FILE, "DIR": shtab.DIRECTORY, "NAME": shtab.cmd(NAMES)}
    parser = whole()
    for verb in _verbs(parser):
        for action in verb._actions:
            if action.metavar in values:
                action.complete = values[action.metavar]  # type: ignore[attr-defined]
    return str(shtab.complete(parser, shell))


def _man() -> str:
    from argparse_manpage.manpage import Manpage

    facts = {
        "project_name": "smtps",
        "version": VERSION,
        "description": ABOUT,
        "manual_title": "smtps",
        "manual_section": 1,
    }
    return str(Manpage(whole(), facts))


def _verbs(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    return [
        verb
        for action in parser._actions
        if isinstance(action, argparse._SubParsersAction)
        for verb in action.choices.values()
    ]

"""From words to a verb: parse the arguments, run it, and turn errors into one line."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import re
import sys
from collections.abc import Callable
from typing import NoReturn

from smtps import VERSION
from smtps.cli import VERBS, colours
from smtps.errors import HostUnknownError, SmtpsError, UsageError
from smtps.protocol.visible import visible

WIDTH = 80
"""Columns of --help where COLUMNS says nothing."""

ALIKE = 0.7
"""How near a word has to be to a verb to be taken for it: two letters changed of five."""

HELP_COLUMN = 30
"""Where the explanation of an option begins."""


class Aside(str):
    """Help that --help leaves out, for it tells the option beside another: what else is made
    of the options has it."""

    __slots__ = ()


class _Help(argparse.HelpFormatter):
    """Knows its width beforehand: to find it out costs an import for every option."""

    def __init__(self, prog: str) -> None:
        columns = os.environ.get("COLUMNS", "")
        width = (int(columns) if columns.isdecimal() else WIDTH) - 1
        super().__init__(prog, max_help_position=HELP_COLUMN, width=width)

    def add_argument(self, action: argparse.Action) -> None:
        if not isinstance(action.help, Aside):
            super().add_argument(action)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        # What an option takes is told once, not behind each of its names.
        if not action.option_strings or action.nargs == 0:
            return super()._format_action_invocation(action)
        takes = self._format_args(action, self._get_default_metavar_for_optional(action))
        return f"{', '.join(action.option_strings)} {takes}"


class Parser(argparse.ArgumentParser):
    def format_help(self) -> str:
        # Without empty lines and plain headings, the help of each verb fits a screen.
        return re.sub(r"\n+((options|positional arguments):\n)?", "\n", super().format_help())

    def _print_message(self, message: str, file: object = None) -> None:
        from smtps.cli import output

        output.write(message)

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}. “{self.prog} --help” tells the options.")


def _overview() -> str:
    lines = ["usage: smtps [session] HOST[:PORT] [OPTION...]"]
    for verb in VERBS:
        module = importlib.import_module(f"smtps.cli.{verb}")
        lines.append(f"       smtps {verb:<9} {module.HELP}")
    lines += [
        "",
        "“smtps VERB --help” tells a verb's options.",
        "example: smtps session relay.example.org:465",
    ]
    return "\n".join(lines)


def run(words: list[str]) -> int:
    """Run the verb that WORDS name and return its exit status."""
    try:
        return _run(words)
    except SmtpsError as error:
        complain(error.text)
        return error.status
    except Exception as error:
        if os.environ.get("SMTPS_DEBUG"):
            raise
        complain(
            f"An error of our own ({type(error).__name__}); a mail that was taken in is kept in "
            "the outbox. Run it again with SMTPS_DEBUG=1 in the environment and report that."
        )
        return SmtpsError.status


def _run(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        from smtps.cli import output

        if words[:1] == ["help"] and words[1:2] and words[1] in VERBS:
            parser(words[1]).print_help()
            return 0
        output.line(_overview())
        return 0 if words else 64
    if words[0] == "--version":
        from smtps.cli import output

        output.line(f"smtps {VERSION}")
        return 0
    verb = words[0]
    if verb in VERBS:
        words = words[1:]
    else:
        _assert_host(verb)
        verb = "session"
    module = importlib.import_module(f"smtps.cli.{verb}")
    made = parser(verb)
    # Options may stand between other words, as getopt has it; argparse can't do that with “--”.
    parse = made.parse_args if "--" in words else made.parse_intermixed_args
    arguments = parse(words)
    status: int = module.run(arguments)
    if status == HostUnknownError.status and getattr(arguments, "where", None):
        _hint(arguments.where)
    return status


def _hint(word: str) -> None:
    """Say how WORD, which is no host, is used if it is an account's name."""
    from smtps.client import accounts

    with contextlib.suppress(SmtpsError):
        if word in [account.name for account in accounts.read(accounts.default())]:
            complain(f"“{word}” is an account: --account {word} goes to its host.")


def _assert_host(word: str) -> None:
    """Raise UsageError if WORD, which stands in a host's place, is a verb written wrongly."""
    if not word.isalnum() or word == "localhost":
        return
    import difflib

    for near in difflib.get_close_matches(word, VERBS, 1, ALIKE):
        raise UsageError(
            f"There is no verb “{word}”; did you mean “{near}”? "
            f"A host of that name is “smtps session {word}”."
        )


def parser(verb: str, make: Callable[..., Parser] = Parser) -> Parser:
    """Return what parses the words behind VERB, and tells of them, as MAKE makes it."""
    module = importlib.import_module(f"smtps.cli.{verb}")
    made = make(
        prog=f"smtps {verb}",
        usage=f"smtps {verb} {module.USAGE}".rstrip(),
        description=module.HELP,
        epilog=f"example: {module.EXAMPLE}",
        allow_abbrev=False,
        add_help=False,
        formatter_class=_Help,
    )
    # In send, -h is sendmail's, which has to decide.
    short = () if verb == "send" else ("-h",)
    made.add_argument(*short, "--help", action="help", help=argparse.SUPPRESS)
    module.add_arguments(made)
    return made


def complain(text: str) -> None:
    """Write one line of what is wrong for a person to standard error, if there is one."""
    _say(text, "bad")


def tell(text: str, what: str = "works") -> None:
    """Write one line of what is well to whoever sits there, in the colour of WHAT."""
    if sys.stderr is not None and sys.stderr.isatty():
        _say(text, what)


def confirmed(question: str) -> bool:
    """Ask QUESTION of whoever sits at the terminal; return False where nobody does."""
    if any(stream is None or not stream.isatty() for stream in (sys.stdin, sys.stderr)):
        return False
    print(visible(question, 2000), end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def break_line() -> None:
    """End the line in which a terminal shows what was typed, or asked, and then interrupted."""
    if sys.stderr is not None and sys.stderr.isatty():
        with contextlib.suppress(OSError, ValueError):
            print(file=sys.stderr, flush=True)


def _say(text: str, what: str) -> None:
    if sys.stderr is None:
        # print() would take standard output instead, which is a program's.
        return
    name = colours.coloured("smtps:", what) if colours.wanted(sys.stderr) else "smtps:"
    with contextlib.suppress(OSError, ValueError):
        print(f"{name} {visible(text, 2000)}", file=sys.stderr, flush=True)

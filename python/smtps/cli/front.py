"""From words to a verb: parse the arguments, run it, and turn errors into one line."""

from __future__ import annotations

import argparse
import importlib
import os
import re
import sys
from typing import NoReturn

from smtps import VERSION
from smtps.cli import VERBS, colours
from smtps.errors import SmtpsError, UsageError
from smtps.protocol.visible import visible

WIDTH = 80
"""Columns of --help where COLUMNS says nothing."""

HELP_COLUMN = 30
"""Where the explanation of an option begins."""


class _Help(argparse.HelpFormatter):
    """Knows its width beforehand: to find it out costs an import for every option."""

    def __init__(self, prog: str) -> None:
        columns = os.environ.get("COLUMNS", "")
        width = (int(columns) if columns.isdecimal() else WIDTH) - 1
        super().__init__(prog, max_help_position=HELP_COLUMN, width=width)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        # What an option takes is told once, not behind each of its names.
        if not action.option_strings or action.nargs == 0:
            return super()._format_action_invocation(action)
        takes = self._format_args(action, self._get_default_metavar_for_optional(action))
        return f"{', '.join(action.option_strings)} {takes}"


class _Parser(argparse.ArgumentParser):
    def format_help(self) -> str:
        # Without empty lines and plain headings, the help of each verb fits a screen.
        return re.sub(r"\n+((options|positional arguments):\n)?", "\n", super().format_help())

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
    except BrokenPipeError:
        # Whoever read our output has gone, and wants no more.
        return 0
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

        output.line(_overview())
        return 0 if words else 64
    if words[0] == "--version":
        print(f"smtps {VERSION}")
        return 0
    verb = words[0]
    if verb in VERBS:
        words = words[1:]
    else:
        verb = "session"
    module = importlib.import_module(f"smtps.cli.{verb}")
    status: int = module.run(parser(verb).parse_args(words))
    return status


def parser(verb: str) -> argparse.ArgumentParser:
    """Return what parses the words behind VERB, and tells of them."""
    module = importlib.import_module(f"smtps.cli.{verb}")
    made = _Parser(
        prog=f"smtps {verb}",
        usage=f"smtps {verb} {module.USAGE}".rstrip(),
        description=module.HELP,
        epilog=f"example: {module.EXAMPLE}",
        allow_abbrev=False,
        add_help=False,
        formatter_class=_Help,
    )
    made.add_argument("-h", "--help", action="help", help=argparse.SUPPRESS)
    module.add_arguments(made)
    return made


def complain(text: str) -> None:
    """Write one line for a person to standard error, if there is one."""
    if sys.stderr is None:
        # print() would take standard output instead, which is a program's.
        return
    try:
        line = f"smtps: {visible(text, 2000)}"
        print(
            colours.painted(line) if colours.wanted(sys.stderr) else line,
            file=sys.stderr,
            flush=True,
        )
    except (OSError, ValueError):
        return

"""From words to a verb: parse the arguments, run it, and turn errors into one line."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from typing import NoReturn

from smtps import VERSION
from smtps.cli import VERBS
from smtps.errors import SmtpsError, UsageError
from smtps.protocol.visible import visible

WIDTH = 80
"""Columns of --help where COLUMNS says nothing."""


class _Help(argparse.HelpFormatter):
    """Knows its width beforehand: to find it out costs an import for every option."""

    def __init__(self, prog: str) -> None:
        columns = os.environ.get("COLUMNS", "")
        super().__init__(prog, width=(int(columns) if columns.isdecimal() else WIDTH) - 2)


class _Parser(argparse.ArgumentParser):
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
        # Whoever read our output has gone; Python would complain once more at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
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
        print(_overview())
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
    parser = _Parser(
        prog=f"smtps {verb}",
        description=module.HELP,
        allow_abbrev=False,
        formatter_class=_Help,
    )
    module.add_arguments(parser)
    status: int = module.run(parser.parse_args(words))
    return status


def complain(text: str) -> None:
    """Write one line for a person to standard error, if there is one."""
    if sys.stderr is None:
        # print() would take standard output instead, which is a program's.
        return
    try:
        print(f"smtps: {visible(text, 2000)}", file=sys.stderr, flush=True)
    except (OSError, ValueError):
        return

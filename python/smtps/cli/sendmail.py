"""The options of sendmail that mail programs, git and cron pass, and what becomes of them.

Some are smtps's own; some change nothing here; others ask for what another program or verb
does, and whoever says them is told so.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

FLAGS = ("-i", "-oi", "-m", "-n", "-U", "-G", "-v")
"""What says nothing here: a dot alone is always text, and each is told of its own mail."""

VALUES = ("-B", "-e", "-o", "-O", "-L", "-p", "-A")
"""The same, with a word: the kind of body, how errors are told, and the like."""

ELSEWHERE = {
    "-bp": "“smtps outbox list” tells what waits",
    "-q": "“smtps outbox flush” sends what waits",
    "-bs": "“smtps HOST” speaks SMTP by hand; there is no server here that does",
    "-bd": "smtps is no server",
    "-bv": "“smtps check HOST” tells what works with a server; addresses it can't verify",
    "-bi": "there are no aliases",
    "-bt": "there are no rules to test",
    "-C": "accounts are in accounts.toml; --account NAME chooses one",
    "-X": "--transcript FILE writes the dialogue down",
    "-d": "--transcript FILE writes the dialogue down",
}
"""What sendmail does, and smtps send does not."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    hidden = argparse.SUPPRESS
    parser.add_argument(*FLAGS, dest="ignored", action="store_true", help=hidden)
    parser.add_argument(*VALUES, dest="ignored", metavar="X", action=_Ignored, help=hidden)
    parser.add_argument("-h", dest="ignored", nargs="?", metavar="N", action=_Hops, help=hidden)
    parser.add_argument("-b", dest="ignored", metavar="m", action=_Mode, help=hidden)
    for option in ELSEWHERE:
        if len(option) == 2:
            parser.add_argument(
                option, dest="ignored", nargs="?", metavar="X", action=_Elsewhere, help=hidden
            )


class _Ignored(argparse.Action):
    def __call__(self, *_: Any, **__: Any) -> None:
        """Do nothing with it."""


class _Hops(argparse.Action):
    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Any = None) -> None:
        """Take how often the mail was handed on, which says nothing here; help without that."""
        if values is None:
            parser.print_help()
            parser.exit()
        if not values.isdecimal():
            parser.error("-h is sendmail's count of hops, a number; alone it tells the options")


class _Elsewhere(argparse.Action):
    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Say where what was asked for is to be had."""
        parser.error(f"{option_string} is sendmail's, and not done here: {self.told(values)}")

    def told(self, values: str | Sequence[Any] | None) -> str:
        """Return the sentence about the option with VALUES."""
        return ELSEWHERE[self.option_strings[0]]


class _Mode(_Elsewhere):
    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Any = None) -> None:
        """Take -bm, which is what smtps send does, and no other mode."""
        if values != "m":
            super().__call__(parser, namespace, values, f"{option_string}{values}")

    def told(self, values: str | Sequence[Any] | None) -> str:
        """Return the sentence about the mode VALUES."""
        return ELSEWHERE.get(f"-b{values}", "it takes a message and sends it, which is -bm")

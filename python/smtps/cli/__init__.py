"""The command line: one file a verb, and no logic of their own.

A verb's module has ``HELP`` and ``EXAMPLE`` (a line each), ``USAGE`` (the words behind the
verb), ``add_arguments(parser)`` and ``run(arguments) -> int`` (the exit status).  Only the
verb that was asked for is imported.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from smtps import VERSION

INTERRUPTED = 130
"""What shells report for SIGINT."""

SENDMAIL = "sendmail"
"""A link of this name is ``smtps send``, for programs that take the name of a file only."""

VERBS = ("session", "send", "check", "base64", "outbox", "sandbox", "generate", "rpc")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the verb in ARGV (``sys.argv[1:]`` when None) and return its exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    if argv is None and sys.argv[0].rpartition("/")[2] == SENDMAIL:
        words.insert(0, "send")
    try:
        if words == ["--version"]:
            print(f"smtps {VERSION}", flush=True)
            return 0
    except OSError:
        # What follows says what is wrong with standard output.
        pass
    try:
        from smtps.cli.front import run

        return run(words)
    except KeyboardInterrupt:
        from smtps.cli.front import break_line

        break_line()
        return INTERRUPTED

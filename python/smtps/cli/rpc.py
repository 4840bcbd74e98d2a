"""The helper that Emacs talks to."""

from __future__ import annotations

import argparse
import sys

from smtps.errors import UsageError

HELP = "speak s-expressions on standard input, for Emacs"
USAGE = ""
EXAMPLE = "echo '(call 1 hello (:version \"0.1.0\" :wire 1))' | smtps rpc"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The helper takes no words."""


def run(arguments: argparse.Namespace) -> int:
    """Serve until standard input ends."""
    if sys.stdin is None or sys.stdout is None:
        raise UsageError("Standard input or output is closed: there is nobody to speak with.")
    from smtps.app import run as serve

    return serve()

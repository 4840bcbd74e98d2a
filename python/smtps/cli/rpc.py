"""The helper that Emacs talks to."""

from __future__ import annotations

import argparse

HELP = "speak s-expression RPC on standard input and output, for Emacs"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The helper takes no words."""


def run(arguments: argparse.Namespace) -> int:
    """Serve until standard input ends."""
    from smtps.app import run as serve

    return serve()

"""base64 as SMTP wants it: UTF-8, and no line breaks ever."""

from __future__ import annotations

import argparse
import base64
import binascii
import os
import sys

from smtps.cli import output
from smtps.cli.progress import wait_for_typing
from smtps.errors import MessageError, UsageError

HELP = "TEXT to base64 and back, without line breaks"
USAGE = "[OPTION...] [TEXT]"
EXAMPLE = "smtps base64 me@example.org"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's words."""
    parser.add_argument(
        "text", nargs="?", metavar="TEXT", help="the text; without it, standard input"
    )
    parser.add_argument("-d", "--decode", action="store_true", help="from base64 to text")
    parser.add_argument(
        "--auth-plain", metavar="USER", help="AUTH PLAIN's string for USER; asks for the password"
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the encoded or decoded text."""
    if arguments.auth_plain is not None:
        if arguments.text is not None or arguments.decode:
            raise UsageError("--auth-plain takes no text: the password is asked for.")
        output.line(_auth_plain(arguments.auth_plain))
        return 0
    octets = _input(arguments.text)
    if not arguments.decode:
        output.line(_encode(octets))
        return 0
    try:
        decoded = base64.b64decode(b"".join(octets.split()), validate=True)
    except (binascii.Error, ValueError):
        raise MessageError(
            "This is not base64: letters, digits, + and /, with = at the end "
            "to make a multiple of four."
        ) from None
    if sys.stdout is not None and sys.stdout.isatty():
        from smtps.protocol.visible import visible

        output.line(visible(decoded, len(decoded)))
    else:
        output.write(decoded + b"\n")
    return 0


def _auth_plain(user: str) -> str:
    password = _ask(f"Password for {user}: ")
    if not user or not password:
        raise UsageError("AUTH PLAIN needs a user and a password; one of them is empty.")
    if "\0" in password:
        raise UsageError("A password can't have a NUL in AUTH PLAIN.")
    return _encode(f"\0{user}\0{password}".encode("utf-8", "surrogateescape"))


def _ask(prompt: str) -> str:
    """Read a line unseen; where there is no terminal, from standard input."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR))
    except OSError:
        return _input(None).decode("utf-8", "surrogateescape")
    import getpass

    try:
        return getpass.getpass(prompt)
    except EOFError:
        return ""


def _input(text: str | None) -> bytes:
    if text is not None:
        return text.encode("utf-8", "surrogateescape")
    if sys.stdin is None:
        raise UsageError("There is no text and no standard input.")
    wait_for_typing("the text")
    return sys.stdin.buffer.read().removesuffix(b"\n").removesuffix(b"\r")


def _encode(octets: bytes) -> str:
    return base64.b64encode(octets).decode("ascii")

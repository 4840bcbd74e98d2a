"""Colours, for people who look on: none in a pipe, a file, or where they are not wanted."""

from __future__ import annotations

import os
import re
from typing import IO

_CODES = {"good": "36", "send": "32", "works": "32", "bad": "31", "warning": "33", "tls": "34"}
"""What is said, and the colour in which (ECMA-48 8.3.117): of the sixteen that a person's own
terminal defines, so that they can be read there."""

_LINES = (
    (re.compile(r"recv> (?=[45]\d\d)"), "bad"),
    (re.compile(r"recv> "), "good"),
    (re.compile(r"send>"), "send"),
    (re.compile(r"! "), "warning"),
    (re.compile(r"- (Status|TLS|Login):"), "tls"),
    (re.compile(r"✓|ok(?= )"), "works"),
    (re.compile(r"✗|NO(?= )"), "bad"),
)
"""How a line begins, which is what gets the colour."""


def wanted(stream: IO[str] | None) -> bool:
    """Return True if STREAM is a terminal that has colours, and NO_COLOR does not forbid them."""
    return (
        stream is not None
        and stream.isatty()
        and not os.environ.get("NO_COLOR")
        and os.environ.get("TERM", "dumb") != "dumb"
    )


def painted(line: str, unprinted: tuple[str, str] = ("", "")) -> str:
    """Return LINE with its beginning in colour; UNPRINTED stands around what takes no column."""
    for pattern, what in _LINES:
        if match := pattern.match(line):
            return coloured(match[0], what, unprinted) + line[match.end() :]
    return line


def coloured(text: str, what: str, unprinted: tuple[str, str] = ("", "")) -> str:
    """Return TEXT in the colour of WHAT; UNPRINTED as in `painted`."""
    before, after = unprinted
    begin, end = (f"{before}\x1b[{code}m{after}" for code in (_CODES[what], "0"))
    return f"{begin}{text}{end}"

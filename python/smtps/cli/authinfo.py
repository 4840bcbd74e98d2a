"""Reads ~/.authinfo and ~/.netrc the way Emacs's auth-source does: by host, port and user.

The standard library's netrc refuses a file with the word port in it, which Emacs writes, and
keeps but one login a host.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

SERVICES = {25: ("smtp",), 465: ("smtps", "submissions", "urd"), 587: ("submission", "smtp")}
"""By port, the names under which such files know it."""

_WORD = re.compile(r"""'([^']*)'|"((?:[^"\\]|\\.)*)"|([^ \t\r\n]+)""", re.DOTALL)
_BLANK = re.compile(r"[ \t\r\n]*")
_COMMENT = re.compile(r"#[^\n]*")
_MACRO = re.compile(r".*?(?:\n[ \t\r]*\n|\Z)", re.DOTALL)

_NAMES = {
    "machine": "host",
    "host": "host",
    "login": "user",
    "user": "user",
    "account": "user",
    "port": "port",
    "protocol": "port",
    "password": "password",
}


def find(text: str, host: str, port: int, user: str) -> str | None:
    """Return the password of USER at HOST and PORT in TEXT, the first one, or None.

    An entry without a port, or without a login, serves for any.
    """
    for entry in _entries(text):
        if (
            "password" in entry
            and entry.get("host", host).lower() == host.lower()
            and entry.get("user", user) == user
            and entry.get("port", str(port)) in (str(port), *SERVICES.get(port, ()))
        ):
            return entry["password"]
    return None


def _entries(text: str) -> Iterator[dict[str, str]]:
    entry: dict[str, str] | None = None
    at = 0
    while True:
        at = _blank(text, at)
        while comment := _COMMENT.match(text, at):
            at = _blank(text, comment.end())
        word = _WORD.match(text, at)
        if word is None:
            break
        at = word.end()
        name = word[0]
        if name in ("machine", "host", "default"):
            if entry is not None:
                yield entry
            entry = {}
        if name == "default":
            continue
        if name == "macdef":
            macro = _MACRO.match(text, at)
            at = macro.end() if macro else at
            continue
        value = _WORD.match(text, _blank(text, at))
        if value is None:
            break
        at = value.end()
        if entry is not None and name in _NAMES:
            entry.setdefault(_NAMES[name], _value(value))
    if entry is not None:
        yield entry


def _blank(text: str, at: int) -> int:
    blank = _BLANK.match(text, at)
    return blank.end() if blank else at


def _value(word: re.Match[str]) -> str:
    if word[2] is not None:
        return re.sub(r"\\(.)", r"\1", word[2], flags=re.DOTALL)
    return word[1] if word[1] is not None else word[3]

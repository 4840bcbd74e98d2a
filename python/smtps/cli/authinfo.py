"""Password files as Emacs and ftp know them: the lines of ~/.authinfo and ~/.netrc.

Tolerant where people's files are: values in quotes of either kind, unknown words, macros.
No error repeats anything of what stands in a file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from smtps.errors import ConfigurationError

SERVICES = {
    25: ("smtp",),
    465: ("smtps", "submissions", "urd"),
    587: ("submission", "smtp"),
}
"""By port, the names under which the files know it; the same as in Emacs."""

ANY_SERVICE = ("smtp", "smtps", "submission", "submissions")
"""The names that a port of another number may have."""

_FIELDS = {
    "login": "user",
    "user": "user",
    "password": "password",
    "secret": "password",
    "port": "port",
    "protocol": "port",
}
"""What each word of a file is to us; others are passed over with their values."""

_WORD = re.compile(r"""'([^']*)'|"((?:[^"\\\n]|\\.)*)"|([^\s"'][^\s]*)""", re.DOTALL)
_ESCAPED = re.compile(r"""\\(["\\])""")


class Entry(NamedTuple):
    """One login of a file; ``host`` None is the ``default``."""

    host: str | None
    user: str | None = None
    password: str | None = None
    port: str | None = None

    def __repr__(self) -> str:
        return f"<an entry for {self.host}>"


def read(text: str, name: str) -> list[Entry]:
    """Return the entries of TEXT.  Raises ConfigurationError that tells NAME and the line."""
    entries: list[Entry] = []
    words = _words(text, name)
    for line, word in words:
        if word in ("machine", "host"):
            entries.append(Entry(_value(words, name, line)))
        elif word == "default":
            entries.append(Entry(None))
        elif not entries:
            raise ConfigurationError(f"{name}, line {line}: this is no line of a password file.")
        else:
            value = _value(words, name, line)
            field = _FIELDS.get(word)
            if field is not None:
                entries[-1] = entries[-1]._replace(**{field: value})
    return entries


def _value(words: Iterator[tuple[int, str]], name: str, line: int) -> str:
    _, value = next(words, (line, None))
    if value is None:
        raise ConfigurationError(f"{name}, line {line}: a word has no value behind it.")
    return value


def _words(text: str, name: str) -> Iterator[tuple[int, str]]:
    """Yield the words of TEXT, each with its line's number, without comments and macros."""
    in_macro = False
    for number, line in enumerate(text.split("\n"), 1):
        line = line.rstrip("\r")
        if in_macro:
            # A macro goes on to an empty line.
            in_macro = bool(line.strip())
            continue
        at = 0
        while rest := line[at:].lstrip():
            at = len(line) - len(rest)
            if rest.startswith("#") and not line[:at].strip():
                break
            match = _WORD.match(line, at)
            if match is None:
                raise ConfigurationError(f"{name}, line {number}: a quote is not closed.")
            at = match.end()
            single, double, bare = match.groups()
            if bare == "macdef":
                in_macro = True
                break
            yield (
                number,
                single
                if single is not None
                else _ESCAPED.sub(r"\1", double)
                if double is not None
                else bare,
            )


def find(
    entries: Sequence[Entry], host: str, port: int, users: Sequence[str | None]
) -> Entry | None:
    """Return the entry for HOST and PORT of the first of USERS that has one.

    The user None stands for whoever is alone there.  The entry whose port says most comes
    first; one for another port is none of ours.
    """
    fitting = [
        (rank, entry)
        for entry in entries
        if entry.password and (rank := _rank(entry, host, port)) is not None
    ]
    fitting.sort(key=lambda ranked: ranked[0])
    for user in users:
        if user is not None:
            found = [entry for _, entry in fitting if entry.user == user]
        else:
            best = [entry for _, entry in fitting if entry.user]
            found = best if len({entry.user for entry in best}) == 1 else []
        if found:
            return found[0]
    return None


def _rank(entry: Entry, host: str, port: int) -> tuple[int, int] | None:
    if entry.host is not None and entry.host.lower().rstrip(".") != host.lower().rstrip("."):
        return None
    anywhere = int(entry.host is None)
    if entry.port is None:
        return anywhere, 2
    if entry.port == str(port):
        return anywhere, 0
    return (anywhere, 1) if entry.port.lower() in SERVICES.get(port, ANY_SERVICE) else None

"""The files of the outbox: a form of the wire's a line, readable by Emacs and by people."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from smtps.errors import WireError
from smtps.outbox.fields import assert_fitting
from smtps.rpc import codec
from smtps.rpc.codec import Keyword, Symbol, Value

AT_ONCE = 32 * 1024
"""Characters of lines that are read together; the codec takes 64 KB."""

Record = tuple[str, list[Value]]
"""A form: its name, and what follows."""


def form(name: str, /, *values: Value, **properties: Value) -> str:
    """Return the line ``(NAME VALUES... :PROPERTY VALUE...)`` with its LF."""
    words: list[Value] = [Symbol(name), *values]
    for key, value in properties.items():
        words += (Keyword(key.replace("_", "-")), value)
    return codec.dumps(words) + "\n"


def parsed(line: str) -> Record:
    """Return name and rest of a LINE.  Raises WireError, also for a field of a wrong type."""
    return _named(codec.loads(line))


def _named(value: Value) -> Record:
    if not isinstance(value, list) or not value or not isinstance(value[0], Symbol):
        raise WireError("A line of the outbox is not a form with a name.")
    name, rest = str(value[0]), value[1:]
    assert_fitting(name, rest)
    return name, rest


def whole_lines(data: bytes) -> list[str]:
    """Return the whole lines in DATA, without their LF.

    A last line without LF was never finished: it does not exist.
    """
    return data[: data.rfind(b"\n") + 1].decode("utf-8", "replace").split("\n")[:-1]


def records(data: bytes) -> list[Record]:
    """Return the forms in DATA, a whole line each.  Raises WireError for one that is no form."""
    return read(whole_lines(data))


def read(lines: Sequence[str]) -> list[Record]:
    """Return the forms in LINES.  Raises WireError for one that is no form."""
    if sum(map(len, lines)) <= AT_ONCE:
        # To read them together takes half the time; what is not as it should be is found below.
        with contextlib.suppress(WireError):
            forms = codec.loads(f"({' '.join(lines)})")
            if isinstance(forms, list) and len(forms) == len(lines):
                return [_named(value) for value in forms]
    return [parsed(line) for line in lines]

"""The files of the outbox: a form of the wire's a line, readable by Emacs and by people."""

from __future__ import annotations

from smtps.errors import WireError
from smtps.rpc import codec
from smtps.rpc.codec import Keyword, Symbol, Value

Record = tuple[str, list[Value]]
"""A form: its name, and what follows."""


def form(name: str, /, *values: Value, **properties: Value) -> str:
    """Return the line ``(NAME VALUES... :PROPERTY VALUE...)`` with its LF."""
    words: list[Value] = [Symbol(name), *values]
    for key, value in properties.items():
        words += (Keyword(key.replace("_", "-")), value)
    return codec.dumps(words) + "\n"


def parsed(line: str) -> Record:
    """Return name and rest of a LINE.  Raises WireError."""
    value = codec.loads(line)
    if not isinstance(value, list) or not value or not isinstance(value[0], Symbol):
        raise WireError("A line of the outbox is not a form with a name.")
    return str(value[0]), value[1:]


def records(data: bytes) -> list[Record]:
    """Return the whole lines in DATA.  Raises WireError for one that is no form.

    A last line without LF was never finished: it does not exist.
    """
    text = data[: data.rfind(b"\n") + 1].decode("utf-8", "replace")
    return [parsed(line) for line in text.split("\n")[:-1]]

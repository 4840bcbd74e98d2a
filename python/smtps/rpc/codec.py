"""Values to and from one line of text: a closed grammar, the same at both ends.

Lists, strings, integers of Emacs's fixnum range, ``t`` and ``nil``, symbols and keywords
of ``[a-z][a-z0-9-]*``.  A string escapes every control character (``\\n`` and its like, or
``\\u00XX``) and has one way only of being written, so that a line is always one whole form
and harmless on a terminal.  One expression checks the text before sexpdata reads it, since
sexpdata lets much through.

Python's None, False and the empty list are all ``nil``, which reads back as ``[]``.  The
names ``nan``, ``inf`` and ``infinity`` are no symbols: sexpdata takes them for numbers.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from smtps.errors import WireError

LINE_LIMIT = 65536
"""Octets of a line with its LF: what a pipe takes without making Emacs wait."""

DEPTH_LIMIT = 16
"""Lists within lists; both readers survive far more, and no message of ours needs more."""

FIXNUM_MAX = 2**61 - 1
FIXNUM_MIN = -(2**61)
"""What an integer of Emacs holds without becoming a bignum."""


class Symbol(str):
    """A symbol; equal to a string of the same letters, told apart by its type."""

    __slots__ = ()


class Keyword(str):
    """A keyword, without its colon."""

    __slots__ = ()


Value: TypeAlias = (
    "str | int | bool | Symbol | Keyword | Sequence[Value] | Mapping[str, Value] | None"
)

_NOT_NAMES = frozenset({"t", "nil", "nan", "inf", "infinity"})
_NAME = re.compile(r"[a-z][a-z0-9-]*")
_CONTROL = r"\x00-\x1f\x7f-\x9f"
_UNICODE_ESCAPE = r"u00(?:0[0-7bef]|1[0-9a-f]|7f|[89][0-9a-f])"
_TOKEN = re.compile(
    r"(?P<space> +)|(?P<open>\()|(?P<close>\))"
    r"|(?:"
    rf'(?P<string>"[^"\\{_CONTROL}]*(?:\\(?:["\\nrtbf]|{_UNICODE_ESCAPE})[^"\\{_CONTROL}]*)*")'
    r"|(?P<atom>(?!(?:nan|inf|infinity)(?![a-z0-9-])):?[a-z][a-z0-9-]*"
    r"|0|-?[1-9][0-9]{0,18})"
    r")(?=[ ()]|\Z)"
)
_ESCAPED = re.compile(r"\\(?:u00([0-9a-f]{2})|.)")
_SPECIAL = re.compile(rf'["\\{_CONTROL}]')
_SHORT = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f"}


def _string(text: str) -> str:
    return (
        '"'
        + _SPECIAL.sub(lambda match: _SHORT.get(match[0]) or f"\\u{ord(match[0]):04x}", text)
        + '"'
    )


def dumps(value: Value) -> str:
    """Return VALUE as text of one line, without LF.  Raises WireError."""
    text = _dump(value, 0)
    _octets(text)
    return text


@functools.lru_cache(maxsize=512)
def _name(value: str, keyword: bool) -> str:
    if not _NAME.fullmatch(value) or (not keyword and value in _NOT_NAMES):
        raise WireError(f"{str(value)!r} can't be a symbol.")
    return f"{':' * keyword}{value}"


def _octets(text: str) -> None:
    try:
        octets = len(text) if text.isascii() else len(text.encode())
    except UnicodeEncodeError:
        raise WireError("A string is not Unicode text.") from None
    if octets >= LINE_LIMIT:
        raise WireError(f"A message of {octets} octets is over the limit of {LINE_LIMIT}.")


def _dump(value: Value, depth: int) -> str:
    # Of all that is written most is text.
    if type(value) is str:
        return _string(value)
    if isinstance(value, Keyword):
        return _name(value, True)
    if isinstance(value, Symbol):
        return _name(value, False)
    if value is None or value is False:
        return "nil"
    if value is True:
        return "t"
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, int):
        if not FIXNUM_MIN <= value <= FIXNUM_MAX:
            raise WireError(f"{value} is beyond Emacs's integers.")
        return str(value)
    if not value and isinstance(value, list | tuple | dict):
        return "nil"
    if depth >= DEPTH_LIMIT:
        raise WireError(f"Lists are nested deeper than {DEPTH_LIMIT}.")
    if isinstance(value, Mapping):
        pairs: list[Value] = []
        for name, inner in value.items():
            if not isinstance(name, str):
                raise WireError(f"A key of the type {type(name).__name__} can't be sent.")
            pairs += (Keyword(name.replace("_", "-")), inner)
        value = pairs
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return "(" + " ".join([_dump(inner, depth + 1) for inner in value]) + ")"
    raise WireError(f"A value of the type {type(value).__name__} can't be sent.")


def loads(text: str) -> Value:
    """Return the one value in TEXT.  Raises WireError for anything outside the grammar."""
    _octets(text)
    _check(text)
    import sexpdata

    plain = _ESCAPED.sub(lambda match: chr(int(match[1], 16)) if match[1] else match[0], text)
    try:
        return _read(sexpdata.loads(plain, nil="nil", true="t"))
    except (
        sexpdata.ExpectClosingBracket,
        sexpdata.ExpectNothing,
        sexpdata.ExpectSExp,
        AssertionError,
        AttributeError,
        IndexError,
        RecursionError,
        ValueError,
    ) as error:
        raise WireError(f"A message can't be read: {type(error).__name__}.") from None


def _check(text: str) -> None:
    position = depth = forms = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise WireError(f"A message is outside the grammar at character {position}.")
        position = match.end()
        kind = match.lastgroup
        if kind == "space":
            continue
        if kind == "close":
            depth -= 1
        elif depth == 0:
            forms += 1
        if kind == "open":
            depth += 1
        if depth < 0 or depth > DEPTH_LIMIT or forms > 1:
            raise WireError("A message is not one list or atom, or is nested too deeply.")
    if depth or forms != 1:
        raise WireError("A message is not one whole form.")


def _read(value: object) -> Value:
    import sexpdata

    if isinstance(value, list):
        return [_read(inner) for inner in value]
    if isinstance(value, sexpdata.Symbol):
        name = str(value.value())
        return Keyword(name[1:]) if name.startswith(":") else Symbol(name)
    if isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        if not FIXNUM_MIN <= value <= FIXNUM_MAX:
            raise WireError("An integer is beyond Emacs's integers.")
        return value
    if isinstance(value, float):
        raise WireError("A message has a number that is no integer.")
    raise WireError(f"A message has a {type(value).__name__} in it.")


def plist(value: Value) -> dict[str, Value]:
    """Return the property list VALUE as a dictionary.  Raises WireError."""
    if not isinstance(value, list) or len(value) % 2:
        raise WireError("A property list was expected.")
    read: dict[str, Value] = {}
    for name, inner in zip(value[::2], value[1::2], strict=True):
        if not isinstance(name, Keyword) or str(name) in read:
            raise WireError("A property list has a bad or repeated keyword.")
        read[str(name)] = inner
    return read

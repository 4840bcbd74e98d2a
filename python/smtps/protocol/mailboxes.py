"""Address lists as they stand in header fields (RFC 5322 section 3.4).

`email.utils.getaddresses` makes two addresses of ``<ann@example.org> NOTIFY=NEVER``; who is
to get a mail is not for guessing, so what is no list of mailboxes and groups is refused.
"""

from __future__ import annotations

import re
from typing import NoReturn

from smtps.errors import AddressError
from smtps.protocol.visible import visible

_TOKEN = re.compile(
    r"""(?P<quoted>"(?:[^"\\]|\\.)*")
      | <(?P<angle>(?:"(?:[^"\\]|\\.)*"|[^<>"])*)>
      | (?P<literal>\[[^\[\]]*\])
      | (?P<separator>[,;])
      | (?P<group>:)
      | (?P<blank>\s+)
      | (?P<text>[^\s",;:<>\[\]()]+)""",
    re.VERBOSE | re.DOTALL,
)


def addresses(text: str, field: str) -> list[str]:
    """Return the addresses in TEXT, the body of FIELD, unfolded; names and comments left out.

    Raises AddressError where TEXT is no address list.  The addresses themselves are not
    checked here.
    """
    reader = _List(text, field)
    position = 0
    while position < len(text):
        if text[position] == "(":
            position = _behind_comment(text, position)
            if position < 0:
                reader.refuse("has a parenthesis that is not closed")
            reader.gap()
            continue
        match = _TOKEN.match(text, position)
        if match is None:
            reader.refuse("can't be understood")
        reader.take(str(match.lastgroup), match[str(match.lastgroup)])
        position = match.end()
    reader.finish()
    return reader.found


class _List:
    """What was read of the list so far, and of its present element."""

    def __init__(self, text: str, field: str) -> None:
        self.found: list[str] = []
        self._text = text
        self._field = field
        self._words: list[str] = []
        """Of the present element, cut at blanks and comments."""
        self._joined = False
        self._angle: str | None = None

    def take(self, kind: str, value: str) -> None:
        if kind == "separator":
            self.finish()
        elif kind == "group":
            # What came before was the group's name.
            self._words, self._angle, self._joined = [], None, False
        elif kind == "blank":
            self.gap()
        elif self._angle is not None:
            self.refuse(f"has no comma behind <{visible(self._angle, 60)}>")
        elif kind == "angle":
            self._angle = value
        elif self._joined:
            self._words[-1] += value
        else:
            self._words.append(value)
            self._joined = True

    def gap(self) -> None:
        """Two words that stand apart are not one."""
        self._joined = False

    def finish(self) -> None:
        """The element is over: note its address."""
        if self._angle is not None:
            self.found.append(self._angle.strip())
        elif len(self._words) > 1:
            self.refuse("has no comma between its addresses, or no < and > around one")
        else:
            self.found += self._words
        self._words, self._angle, self._joined = [], None, False

    def refuse(self, what: str) -> NoReturn:
        """Raise AddressError."""
        raise AddressError(f"{self._field} {what}: “{visible(self._text.strip(), 100)}”.")


def _behind_comment(text: str, position: int) -> int:
    """Return where the comment that opens at POSITION ends, -1 if it does not."""
    depth = 0
    while position < len(text):
        match text[position]:
            case "\\":
                position += 1
            case "(":
                depth += 1
            case ")":
                depth -= 1
                if depth == 0:
                    return position + 1
        position += 1
    return -1

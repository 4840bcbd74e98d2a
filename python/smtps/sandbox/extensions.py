"""The extensions that the sandbox can offer beyond those of the documented dialogues.

Whatever is offered is also taken, and held to: see `parameters` and `machine`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from smtps.errors import UsageError
from smtps.sandbox.logins import NAMES

_DATE_TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z"


@dataclass(frozen=True)
class Extension:
    """How one stands in EHLO.

    WORDS is the pattern of what follows the keyword; DEFAULT is what follows where nothing was
    given.  Where SECURE it is offered only under TLS.  NEEDS is another that it can't be without.
    """

    words: str = ""
    default: str = ""
    secure: bool = False
    needs: str | None = None


EXTENSIONS: Mapping[str, Extension] = {
    "8BITMIME": Extension(),  # RFC 6152
    # RFC 4954: the mechanisms, all that there are where none is named.
    "AUTH": Extension(f"(?:(?:{'|'.join(NAMES)})(?: |$))+", " ".join(NAMES), secure=True),
    "BINARYMIME": Extension(needs="CHUNKING"),  # RFC 3030
    "CHUNKING": Extension(),  # RFC 3030
    "DELIVERBY": Extension("(?:[1-9][0-9]{0,8})?"),  # RFC 2852
    "DSN": Extension(),  # RFC 3461
    "ENHANCEDSTATUSCODES": Extension(),  # RFC 2034
    # RFC 4865: the seconds, and the time, that a mail is held at most.
    "FUTURERELEASE": Extension(f"[1-9][0-9]{{0,8}} {_DATE_TIME}", "604800 2099-12-31T23:59:59Z"),
    # RFC 9422
    "LIMITS": Extension("(?:(?:MAIL|RCPT|RCPTDOMAIN)MAX=[1-9][0-9]{0,5}(?: |$))+", "RCPTMAX=100"),
    "MT-PRIORITY": Extension("(?:MIXER|STANAG4406|NSEP)?"),  # RFC 6710
    "PIPELINING": Extension(),  # RFC 2920
    "REQUIRETLS": Extension(secure=True),  # RFC 8689
    "SIZE": Extension("[0-9]{0,20}"),  # RFC 1870
    "SMTPUTF8": Extension(needs="8BITMIME"),  # RFC 6531
}
"""Keyword to how it stands in EHLO."""


def line(text: str) -> str:
    """Return EHLO's line for TEXT, a keyword and perhaps what follows it.

    Raises UsageError where the sandbox can't offer that.
    """
    keyword, _, rest = text.strip().upper().partition(" ")
    extension = EXTENSIONS.get(keyword)
    if extension is None:
        raise UsageError(
            f"The sandbox can't offer {keyword or 'nothing'}. It can: {', '.join(EXTENSIONS)}."
        )
    words = " ".join(rest.split()) or extension.default
    if not re.fullmatch(extension.words, words):
        alone = f"; alone it is {keyword} {extension.default}" if extension.default else ""
        raise UsageError(f"{keyword} can't be offered with {words!r} behind it{alone}.")
    return f"{keyword} {words}".strip()


def added(lines: Sequence[str], more: Sequence[str], secure: bool) -> tuple[str, ...]:
    """Return EHLO's LINES with MORE of `line`, each in the place of one with its keyword.

    SECURE tells whether they are said under TLS.  Raises UsageError where one needs another.
    """
    by_keyword = {said.split(" ")[0]: said for said in lines}
    for said in more:
        keyword = said.split(" ")[0]
        if secure or not EXTENSIONS[keyword].secure:
            by_keyword[keyword] = said
            # How AUTH was written before it was standardised: it would offer what is not meant.
            by_keyword.pop(f"{keyword}=LOGIN", None)
    for keyword in by_keyword:
        needed = EXTENSIONS[keyword].needs if keyword in EXTENSIONS else None
        if needed is not None and needed not in by_keyword:
            raise UsageError(f"{keyword} can't be offered without {needed}.")
    return tuple(by_keyword.values())

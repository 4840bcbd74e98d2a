"""The parameters of MAIL and RCPT: which extension brings each, and what its value may be."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Parameter:
    """The keywords of EHLO any of which offers it, and the pattern of its value (None: has none).

    WITHIN, given the value and the words of the keyword in EHLO, both in capitals, tells whether
    the value keeps to what they say.  ALONE is another parameter that can't stand beside it.
    """

    keywords: str
    value: str | None = None
    within: Callable[[str, Sequence[str]], bool] = lambda value, words: True
    alone: str | None = None


# RFC 3461 section 4: printable ASCII but "+" and "=", these and the rest as "+" and two digits,
# which are capitals.
_XTEXT = r"(?:[!-*,-<>-~]|\+(?-i:[0-9A-F]{2}))"
# RFC 6533 section 3; what is not ASCII is for SMTPUTF8 only.
_UTF8 = r"(?:[!-*,-<>-\[\]-~\x80-\U0010ffff]|\\x\{(?-i:[0-9A-F]{2,6})\})"
_EVENT = "(?:SUCCESS|FAILURE|DELAY)"
# RFC 3339 section 5.6, as an erratum of RFC 4865 has it.
_DATE_TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}(?:\.[0-9]+)?(?:Z|[+-][0-9]{2}:[0-9]{2})"


def _in_time(value: str, words: Sequence[str]) -> bool:
    """RFC 2852: EHLO may name the shortest time after which a mail can be returned."""
    seconds, _, mode = value.partition(";")
    return not (mode.startswith("R") and words and int(seconds) < int(words[0]))


def _held_so_long(value: str, words: Sequence[str]) -> bool:
    return not words or int(value) <= int(words[0])


def _held_until(value: str, words: Sequence[str]) -> bool:
    try:
        until = datetime.fromisoformat(value)
        return len(words) < 2 or until <= datetime.fromisoformat(words[1])
    except ValueError:
        return False


def _each_once(value: str, words: Sequence[str]) -> bool:
    events = value.split(",")
    return len(events) == len(set(events))


MAIL: Mapping[str, Parameter] = {
    "SIZE": Parameter("SIZE", "[0-9]{1,20}"),  # RFC 1870
    "BODY": Parameter("8BITMIME BINARYMIME", "7BIT|8BITMIME|BINARYMIME"),  # RFC 6152, 3030
    "SMTPUTF8": Parameter("SMTPUTF8"),  # RFC 6531
    "RET": Parameter("DSN", "FULL|HDRS"),  # RFC 3461
    "ENVID": Parameter("DSN", f"{_XTEXT}{{1,100}}"),
    "AUTH": Parameter("AUTH", f"<>|{_XTEXT}{{1,500}}"),  # RFC 4954
    # RFC 2852: what is to come back when late must have a time that is still to come.
    "BY": Parameter("DELIVERBY", r"\+?0*[1-9][0-9]{0,8};RT?|[+-]?[0-9]{1,9};NT?", _in_time),
    # RFC 4865
    "HOLDFOR": Parameter("FUTURERELEASE", "[1-9][0-9]{0,8}", _held_so_long, alone="HOLDUNTIL"),
    "HOLDUNTIL": Parameter("FUTURERELEASE", _DATE_TIME, _held_until, alone="HOLDFOR"),
    "MT-PRIORITY": Parameter("MT-PRIORITY", "-?[1-9]|0"),  # RFC 6710
    "REQUIRETLS": Parameter("REQUIRETLS"),  # RFC 8689
}

RCPT: Mapping[str, Parameter] = {
    "NOTIFY": Parameter("DSN", f"NEVER|{_EVENT}(?:,{_EVENT}){{0,2}}", _each_once),
    "ORCPT": Parameter("DSN", f"UTF-8;{_UTF8}{{1,500}}|(?!UTF-8;)[A-Z0-9-]+;{_XTEXT}{{1,500}}"),
}


@dataclass(frozen=True)
class Refused:
    """What a wrong parameter is answered with."""

    code: int
    enhanced: str
    text: str


def refusal(
    words: Sequence[str], known: Mapping[str, Parameter], offered: Mapping[str, Sequence[str]]
) -> Refused | None:
    """Return why WORDS, parameters as sent, are refused; None where all are right.

    KNOWN is `MAIL` or `RCPT`; OFFERED maps EHLO's keywords to their words.  Source: RFC 5321
    sections 4.1.1.11 and 4.1.2.
    """
    seen: set[str] = set()
    for word in words:
        name, equals, value = word.partition("=")
        # Signs that are not ASCII can have capitals that are.
        name = name.upper() if name.isascii() else ""
        parameter = known.get(name)
        keywords = [] if parameter is None else parameter.keywords.split()
        keyword = next((keyword for keyword in keywords if keyword in offered), None)
        if parameter is None or keyword is None:
            return Refused(555, "5.5.4", "parameter not recognised")
        if parameter.value is None:
            right = not equals
        else:
            right = re.fullmatch(parameter.value, value, re.IGNORECASE | re.ASCII) is not None
        value = value.upper()
        if not right or name in seen or not parameter.within(value, offered[keyword]):
            return Refused(501, "5.5.4", f"{name} is not so written")
        if parameter.alone in seen:
            return Refused(501, "5.5.4", f"{name} can't stand beside {parameter.alone}")
        if name == "BODY" and value not in ("7BIT", *offered):
            return Refused(555, "5.5.4", f"{value} is not offered")
        seen.add(name)
    return None

"""The parameters of MAIL and RCPT: which extension brings each, and what its value may be."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Parameter:
    """The keyword of EHLO that offers it; the pattern of its value, None where it has none."""

    keyword: str
    value: str | None = None


# RFC 3461 section 4: printable ASCII but "+" and "=", these and the rest as "+" and two digits.
_XTEXT = r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})"
_EVENT = "(?:SUCCESS|FAILURE|DELAY)"

MAIL: Mapping[str, Parameter] = {
    "SIZE": Parameter("SIZE", "[0-9]{1,20}"),  # RFC 1870
    "BODY": Parameter("8BITMIME", "7BIT|8BITMIME|BINARYMIME"),  # RFC 6152, 3030
    "SMTPUTF8": Parameter("SMTPUTF8"),  # RFC 6531
    "RET": Parameter("DSN", "FULL|HDRS"),  # RFC 3461
    "ENVID": Parameter("DSN", f"{_XTEXT}{{1,100}}"),
    "AUTH": Parameter("AUTH", f"<>|{_XTEXT}{{1,500}}"),  # RFC 4954
    # RFC 2852: what is to come back when late must have a time that is still to come.
    "BY": Parameter("DELIVERBY", r"\+?0*[1-9][0-9]{0,8};RT?|[+-]?[0-9]{1,9};NT?"),
    "HOLDFOR": Parameter("FUTURERELEASE", "[1-9][0-9]{0,8}"),  # RFC 4865
    "HOLDUNTIL": Parameter("FUTURERELEASE", "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{8,12}[Z0-9:+-]+"),
    "MT-PRIORITY": Parameter("MT-PRIORITY", "-?[0-9]"),  # RFC 6710
    "REQUIRETLS": Parameter("REQUIRETLS"),  # RFC 8689
}

RCPT: Mapping[str, Parameter] = {
    "NOTIFY": Parameter("DSN", f"NEVER|{_EVENT}(?:,{_EVENT}){{0,2}}"),
    "ORCPT": Parameter("DSN", f"[A-Z0-9-]+;{_XTEXT}{{1,500}}"),
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
    seen = set()
    for word in words:
        name, equals, value = word.partition("=")
        name = name.upper()
        parameter = known.get(name)
        if parameter is None or parameter.keyword not in offered:
            return Refused(555, "5.5.4", "parameter not recognised")
        right = (
            not equals
            if parameter.value is None
            else re.fullmatch(parameter.value, value, re.IGNORECASE) is not None
        )
        if not right or name in seen:
            return Refused(501, "5.5.4", f"{name} is not so written")
        if name == "BODY" and value.upper() == "BINARYMIME" and "BINARYMIME" not in offered:
            return Refused(555, "5.5.4", "BINARYMIME is not offered")
        seen.add(name)
    return None

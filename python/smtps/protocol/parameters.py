"""What a sender may ask of MAIL and RCPT, and how it is written for a server.

Each parameter goes out only where its extension was offered.  What can be left out without
doing anything but what was asked (a notice, a priority) is left out and told; what would
change what happens to the mail (when it goes, how it is protected) is `Unmet`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple, Self

from smtps.errors import AddressError, MessageError
from smtps.protocol.ehlo import Extensions
from smtps.protocol.visible import visible

ENVID_LIMIT = 100
"""Characters of an ENVID before it is encoded (RFC 3461 section 4.4)."""

ORCPT_LIMIT = 500
"""Characters of an ORCPT (RFC 3461 section 4.2)."""

NOTIFY = ("never", "success", "failure", "delay")
RET = ("full", "hdrs")

_DELIVER_BY = re.compile(r"(-?[0-9]{1,9})(?:;([nNrR])?([tT])?)?")
_DATE_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:Z|[+-][0-9]{2}:[0-9]{2})"
)
_ORCPT = re.compile(r"(?P<type>[A-Za-z0-9][A-Za-z0-9-]*);(?P<address>.+)", re.DOTALL)


class Unmet(MessageError):  # noqa: N818 - it says that a wish can't be met
    """The server does not offer what the mail asks for."""

    kind = "not-offered"


def xtext(text: str) -> str:
    """Return TEXT, ASCII, as xtext (RFC 3461 section 4)."""
    return "".join(c if "!" <= c <= "~" and c not in "+=" else f"+{ord(c):02X}" for c in text)


def utf8_xtext(text: str) -> str:
    r"""Return TEXT as utf-8-addr-xtext: what is not ASCII as ``\x{HEX}`` (RFC 6533 section 3)."""
    return "".join(
        c if "!" <= c <= "~" and c not in "+=\\" else f"\\x{{{ord(c):02X}}}" for c in text
    )


def _one_line(text: str, what: str, limit: int) -> None:
    if not text or any(ord(c) < 0x20 or ord(c) == 0x7F for c in text) or len(text) > limit:
        raise MessageError(
            f"“{visible(text, 60)}” can't be {what}: 1 to {limit} characters without line breaks."
        )


class _Wishes(NamedTuple):
    ret: str | None = None
    envid: str | None = None
    deliver_by: str | None = None
    hold_for: int | None = None
    hold_until: str | None = None
    priority: int | None = None
    require_tls: bool = False
    all_or_none: bool = False


class Wishes(_Wishes):
    """What is asked for a mail as a whole: parameters of MAIL, and what is asked of us.

    RET full or hdrs and ENVID (RFC 3461); DELIVER_BY seconds and a mode, as ``120;R`` (RFC
    2852); HOLD_FOR seconds or HOLD_UNTIL a date-time (RFC 4865); PRIORITY -9 to 9 (RFC
    6710); REQUIRE_TLS (RFC 8689).  ALL_OR_NONE is ours: nobody gets the mail as long as the
    server refuses anybody.  Raises MessageError for what can't be asked.
    """

    __slots__ = ()

    def __new__(cls, *args: Any, **properties: Any) -> Self:
        """Check each wish by itself, and those that exclude each other."""
        made = super().__new__(cls, *args, **properties)
        if made.ret is not None and made.ret not in RET:
            raise MessageError(f"RET is {' or '.join(RET)}, not “{visible(made.ret, 60)}”.")
        if made.envid is not None:
            _one_line(made.envid, "an envelope identifier (ENVID)", ENVID_LIMIT)
            if not made.envid.isascii():
                raise MessageError("An envelope identifier (ENVID) is ASCII.")
        if made.deliver_by is not None and not _DELIVER_BY.fullmatch(made.deliver_by):
            raise MessageError(
                f"“{visible(made.deliver_by, 60)}” is no time to deliver by: write seconds, and "
                "behind them ;R to have the mail back or ;N to be notified."
            )
        if made.hold_for is not None and not 0 < made.hold_for < 10**9:
            raise MessageError("The seconds to hold a mail for go from 1 to 999999999.")
        if made.hold_until is not None and not _DATE_TIME.fullmatch(made.hold_until):
            raise MessageError(
                f"“{visible(made.hold_until, 60)}” is no date and time to hold a mail until: "
                "write it as 2027-01-31T09:00:00+01:00."
            )
        if made.hold_for is not None and made.hold_until is not None:
            raise MessageError("A mail is held for a time or until a time, not both.")
        if made.priority is not None and not -9 <= made.priority <= 9:
            raise MessageError("A priority goes from -9 to 9.")
        return made


NO_WISHES = Wishes()


class _Notices(NamedTuple):
    notify: tuple[str, ...] = ()
    orcpt: str | None = None


class Notices(_Notices):
    """What is to be told about one recipient: parameters of RCPT (RFC 3461 4.1 and 4.2).

    NOTIFY is ``("never",)`` or some of success, failure, delay; ORCPT is ``TYPE;ADDRESS``,
    TYPE mostly rfc822.  Raises MessageError or AddressError.
    """

    __slots__ = ()

    def __new__(cls, notify: tuple[str, ...] = (), orcpt: str | None = None) -> Self:
        """Check the words."""
        if any(word not in NOTIFY for word in notify) or ("never" in notify and len(notify) > 1):
            raise MessageError("NOTIFY is never, alone, or some of success, failure and delay.")
        if orcpt is not None:
            _one_line(orcpt, "an original recipient (ORCPT)", ORCPT_LIMIT)
            if not _ORCPT.fullmatch(orcpt):
                raise AddressError(
                    f"“{visible(orcpt, 60)}” is no original recipient: write rfc822;ADDRESS."
                )
        return super().__new__(cls, notify, orcpt)


NO_NOTICES = Notices()


def of_mail(wishes: Wishes, offered: Extensions) -> tuple[list[str], list[str]]:
    """Return MAIL's parameters for WISHES, and the keywords that were left out.

    Raises Unmet where the server, which OFFERED these, can't do what was asked.
    """
    parameters: list[str] = []
    left_out: list[str] = []
    if wishes.ret or wishes.envid:
        if "DSN" in offered:
            parameters += [f"RET={wishes.ret.upper()}"] if wishes.ret else []
            parameters += [f"ENVID={xtext(wishes.envid)}"] if wishes.envid else []
        else:
            left_out.append("DSN")
    if wishes.deliver_by:
        parameters.append(_deliver_by(wishes.deliver_by, offered))
    if wishes.hold_for is not None or wishes.hold_until:
        parameters.append(_hold(wishes, offered))
    if wishes.priority is not None:
        if "MT-PRIORITY" in offered:
            parameters.append(f"MT-PRIORITY={wishes.priority}")
        else:
            left_out.append("MT-PRIORITY")
    if wishes.require_tls:
        if "REQUIRETLS" not in offered:
            raise Unmet("it does not promise TLS on the whole way (REQUIRETLS)")
        parameters.append("REQUIRETLS")
    return parameters, left_out


def _deliver_by(asked: str, offered: Extensions) -> str:
    match = _DELIVER_BY.fullmatch(asked)
    assert match is not None
    seconds, mode, trace = int(match[1]), (match[2] or "N").upper(), (match[3] or "").upper()
    if "DELIVERBY" not in offered:
        raise Unmet("it takes no time to deliver by (DELIVERBY)")
    least = max(1, offered.number("DELIVERBY") or 1)
    # Only what is to come back has a least time (RFC 2852 section 4).
    if mode == "R" and seconds < least:
        raise Unmet(f"the shortest time to deliver by that it takes is {least} s")
    return f"BY={seconds};{mode}{trace}"


def _hold(wishes: Wishes, offered: Extensions) -> str:
    if "FUTURERELEASE" not in offered:
        raise Unmet("it holds no mail for a later time (FUTURERELEASE)")
    most = offered.number("FUTURERELEASE")
    if wishes.hold_until is not None:
        last = (*offered["FUTURERELEASE"], "", "")[1]
        if _DATE_TIME.fullmatch(last) and _later(wishes.hold_until, last):
            raise Unmet(f"it holds a mail until {last} at most")
        return f"HOLDUNTIL={wishes.hold_until}"
    assert wishes.hold_for is not None
    if most is not None and wishes.hold_for > most:
        raise Unmet(f"it holds a mail for {most} s at most")
    return f"HOLDFOR={wishes.hold_for}"


def _later(one: str, other: str) -> bool:
    """Return True if the date-time ONE is later than OTHER; OTHER may be none, being a server's."""
    from datetime import datetime

    try:
        return datetime.fromisoformat(one) > datetime.fromisoformat(other)
    except ValueError:
        return False


def of_rcpt(notices: Notices, offered: Extensions) -> tuple[str, ...]:
    """Return RCPT's parameters for NOTICES; none where DSN was not offered."""
    if "DSN" not in offered:
        return ()
    parameters = []
    if notices.notify:
        parameters.append(f"NOTIFY={','.join(notices.notify).upper()}")
    if notices.orcpt:
        match = _ORCPT.fullmatch(notices.orcpt)
        assert match is not None
        address = match["address"]
        if address.isascii():
            parameters.append(f"ORCPT={match['type']};{xtext(address)}")
        else:
            parameters.append(f"ORCPT=utf-8;{utf8_xtext(address)}")
    return tuple(parameters)


def without(host: str, keywords: Sequence[str]) -> str:
    """Return a sentence that HOST offers none of KEYWORDS, "" where there are none."""
    if not keywords:
        return ""
    return f" {host} does not offer {' and '.join(dict.fromkeys(keywords))}: it went without."

"""Mailboxes as they stand in MAIL and RCPT (RFC 5321 4.1.2; RFC 6531 3.3).

An address goes out exactly as it was given, or is refused: never rewritten.
"""

from __future__ import annotations

import re

from smtps.errors import AddressError
from smtps.protocol.visible import visible

PATH_LIMIT = 256
"""Octets of a path with its angle brackets (RFC 5321 4.5.3.1.3)."""

# What is not ASCII is in each negated class: a range to the end of Unicode takes milliseconds
# to compile.
_ATOM = r'[^\x00- "(),:;<>@\[\\\]\x7f]+'
_QUOTED = r'"(?:[^\x00-\x1f"\\\x7f]|\\[ -~])*"'
_LABEL = r"[^\x00-,./:-@\[-^`{-\x7f]+"
_LABELS = rf"{_LABEL}(?:\.{_LABEL})*"
_LITERAL = r"\[[!-Z^-~]+\]"
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_MAILBOX = re.compile(f"(?P<local>{_ATOM}|{_QUOTED})(?:@(?P<domain>{_LABELS}|{_LITERAL}))?")


def check(address: str) -> str:
    """Return ADDRESS if it can stand between the angle brackets of MAIL or RCPT.

    A mailbox without a domain is taken, since local servers do.  Raises AddressError with
    the reason otherwise.
    """
    shown = visible(address, 100)
    if not address:
        raise AddressError("The address is empty.")
    if _CONTROL.search(address):
        raise AddressError(
            f"The address “{shown}” has a control character or a line break in it.",
            address=shown,
        )
    match = _MAILBOX.fullmatch(address)
    # C1 controls and invisible characters make an address look like another.
    if match is None or (not address.isascii() and visible(address, len(address)) != address):
        raise AddressError(f"“{shown}” is not a mail address that SMTP can carry.", address=shown)
    try:
        octets = len(address.encode())
    except UnicodeEncodeError:
        raise AddressError(f"“{shown}” is not Unicode text.", address=shown) from None
    if octets > PATH_LIMIT - 2:
        raise AddressError(
            f"The address “{shown}” is longer than the {PATH_LIMIT - 2} octets that SMTP allows.",
            address=shown,
        )
    return address


def domain(address: str) -> str:
    """Return the domain of ADDRESS in lower case, "" if it has none."""
    match = _MAILBOX.fullmatch(address)
    return (match["domain"] or "").lower() if match else ""

"""Enhanced mail system status codes (RFC 3463; in SMTP replies RFC 2034)."""

from __future__ import annotations

import re
from typing import NamedTuple

_ENHANCED = re.compile(rb"([245])\.([0-9]{1,3})\.([0-9]{1,3})(?= |$)")


class EnhancedCode(NamedTuple):
    """Class, subject and detail, each a number (RFC 3463 section 2)."""

    category: int
    subject: int
    detail: int

    def __str__(self) -> str:
        return f"{self.category}.{self.subject}.{self.detail}"


def parse(text: bytes, code: int) -> EnhancedCode | None:
    """Return the enhanced code at the start of a reply's TEXT, or None.

    Its class must be the first digit of the reply's CODE (RFC 2034 section 4).
    """
    match = _ENHANCED.match(text)
    if match is None or int(match[1]) != code // 100:
        return None
    return EnhancedCode(int(match[1]), int(match[2]), int(match[3]))

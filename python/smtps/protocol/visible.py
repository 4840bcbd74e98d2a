"""Text from the other side, made harmless and still recognisable.

Control characters, escape sequences, bidirectional and invisible format characters are
shown, never obeyed; octets that are not UTF-8 appear as ``\\xNN``.
"""

from __future__ import annotations

import re
import unicodedata

SHOWN_LIMIT = 1000
"""Characters of one line that are shown: a reply line is at most 512 octets (RFC 5321
4.5.3.1.5); what is longer helps nobody who reads it."""

_ORDINARY = re.compile(r"[ -~\u00a1-\u00ac\u00ae-\u02ff]*")


def _show(character: str) -> str:
    code = ord(character)
    if code < 0x20:
        return "^" + chr(code + 0x40)
    if code == 0x7F:
        return "^?"
    if "\udc80" <= character <= "\udcff":
        # An octet that was none of UTF-8's, in text (PEP 383).
        return f"\\x{code - 0xDC00:02x}"
    if unicodedata.category(character) in ("Cc", "Cf", "Zl", "Zp", "Cs", "Co", "Cn"):
        return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
    return character


def visible(octets: bytes | str, limit: int = SHOWN_LIMIT) -> str:
    """Return OCTETS (UTF-8, or text) as one harmless line of at most about LIMIT characters."""
    cut = octets[: limit + 1]
    text = cut.decode("utf-8", "backslashreplace") if isinstance(cut, bytes) else cut
    if not _ORDINARY.fullmatch(text):
        text = "".join(map(_show, text))
    return text if len(octets) <= limit else text[:limit] + "…"

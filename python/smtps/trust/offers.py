"""What a server offered last time, so that it is seen when it offers less.

A file that smtps keeps, a line a server and layer: HOST PORT, clear or tls, and what protects
of what it offered there.  It holds no secret, and can be deleted.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Collection
from pathlib import Path

from smtps import xdg

PROTECTS = {
    "STARTTLS": "STARTTLS",
    "SCRAM-.*-PLUS": "SCRAM with channel binding",
    "SCRAM-.*": "SCRAM",
}
"""Patterns of the words of an offer that protect, and what to call them."""

SERVERS_LIMIT = 500
"""Lines that are kept, the newest: nobody has more servers."""


def default() -> Path | None:
    """Return ``${XDG_STATE_HOME:-~/.local/state}/smtps/offers``, None where there is no home."""
    return xdg.state("offers")


def missing(before: Collection[str], now: Collection[str]) -> list[str]:
    """Return by name what protects and is in BEFORE, but no longer in NOW."""

    def has(words: Collection[str], pattern: str) -> bool:
        return any(re.fullmatch(pattern, word) for word in words)

    return [
        name for pattern, name in PROTECTS.items() if has(before, pattern) and not has(now, pattern)
    ]


def noted(path: Path | None, server: str, offered: Collection[str]) -> list[str]:
    """Note in the file at PATH what SERVER has OFFERED; return what is missing, by name.

    What can't be read or written is no reason not to send a mail.
    """
    if path is None:
        return []
    protecting = sorted(
        word for word in offered if any(re.fullmatch(pattern, word) for pattern in PROTECTS)
    )
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        lines = []
    before = next((line for line in lines if line.startswith(server + ":")), "")
    line = " ".join([server + ":", *protecting])
    if line != before and (protecting or before):
        kept = [text for text in lines if not text.startswith(server + ":")]
        _write(path, [*kept[1 - SERVERS_LIMIT :], line])
    return missing(before.split()[3:], protecting)


def _write(path: Path, lines: list[str]) -> None:
    with contextlib.suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix="offers-")
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
        Path(name).replace(path)

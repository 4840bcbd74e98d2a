"""Where a user's own files lie (XDG Base Directory Specification): in one place, by one rule.

A directory that is named in the environment counts if it is absolute; `~` is none there.
"""

from __future__ import annotations

import os
from pathlib import Path


def config(name: str) -> Path | None:
    """Return ``${XDG_CONFIG_HOME:-~/.config}/smtps/NAME``, None where there is no home."""
    return _below("XDG_CONFIG_HOME", ".config", name)


def data(name: str) -> Path | None:
    """Return ``${XDG_DATA_HOME:-~/.local/share}/smtps/NAME``, None where there is no home."""
    return _below("XDG_DATA_HOME", ".local/share", name)


def state(name: str) -> Path | None:
    """Return ``${XDG_STATE_HOME:-~/.local/state}/smtps/NAME``, None where there is no home."""
    return _below("XDG_STATE_HOME", ".local/state", name)


def _below(variable: str, usual: str, name: str) -> Path | None:
    base = Path(os.environ.get(variable, ""))
    try:
        root = base if base.is_absolute() else Path.home() / usual
    except RuntimeError:
        return None
    return root / "smtps" / name

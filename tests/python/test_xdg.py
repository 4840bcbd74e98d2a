"""Where a user's own files lie."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from smtps import xdg
from smtps.client import accounts
from smtps.errors import OutboxError
from smtps.outbox import spool
from smtps.trust import offers, pins

PLACES: dict[str, tuple[Callable[[], Path | None], str, str]] = {
    "pins": (pins.default, "XDG_CONFIG_HOME", ".config"),
    "accounts.toml": (accounts.default, "XDG_CONFIG_HOME", ".config"),
    "outbox": (spool.default, "XDG_DATA_HOME", ".local/share"),
    "offers": (offers.default, "XDG_STATE_HOME", ".local/state"),
}


@pytest.mark.parametrize("name", PLACES)
@pytest.mark.parametrize("base", [None, "", "relative", "~/x", "/x"])
def test_what_is_absolute_counts(
    name: str, base: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    default, variable, usual = PLACES[name]
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv(variable, raising=False)
    if base is not None:
        monkeypatch.setenv(variable, base)
    root = Path("/x") if base == "/x" else tmp_path / usual
    assert default() == root / "smtps" / name


def test_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError

    for _, variable, _ in PLACES.values():
        monkeypatch.delenv(variable, raising=False)
    # Whose user has no entry in the system's list.
    monkeypatch.setattr(Path, "home", homeless)
    assert xdg.config("pins") is None
    assert offers.default() is None
    with pytest.raises(OutboxError, match="no home directory"):
        spool.default()

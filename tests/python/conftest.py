"""What several rooms' tests share: a sandbox."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from smtps.sandbox.server import Sandbox


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    """A running sandbox."""
    with Sandbox(tmp_path / "sandbox") as running:
        yield running

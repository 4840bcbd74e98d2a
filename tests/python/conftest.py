"""What several rooms' tests share: a sandbox, and the command line as a process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from smtps.sandbox.server import Sandbox

PYTHON = Path(__file__).parents[2] / "python"

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    """A running sandbox."""
    with Sandbox(tmp_path / "sandbox", login_seconds=1) as running:
        yield running


@pytest.fixture
def smtps(tmp_path: Path) -> Run:
    """Run `smtps` with words and input, in a home of its own."""

    def run(*words: str, text: str = "", seconds: float = 30) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-I", str(PYTHON), *words],
            input=text,
            capture_output=True,
            encoding="utf-8",
            timeout=seconds,
            check=False,
            env=os.environ | {"HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path / "data")},
        )

    return run

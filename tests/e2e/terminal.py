"""A terminal that tests type into and look at: a tmux of their own."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import pytest

SECONDS = 30
"""What an answer on the screen may take; it takes a tenth of one."""


class Terminal:
    """Run COMMAND in a terminal with ENVIRONMENT on top of ours, as a context manager.

    It has SIZE, columns and rows.
    The screen stays when the command has ended; its last line then tells the exit status.
    """

    def __init__(
        self, command: str, environment: Mapping[str, str], size: tuple[int, int] = (100, 50)
    ) -> None:
        # The path of a socket may have about 100 octets.
        self._directory = tempfile.TemporaryDirectory(prefix="smtps-tmux-", dir="/tmp")
        self._tmux = ["tmux", "-u", "-f", "/dev/null", "-S", str(Path(self._directory.name, "s"))]
        # To read from it might not be allowed any more, after a kill.
        self._command = f"{command}; echo status=$?; exec sleep 600"
        # Which kind of terminal it is, tmux tells.
        self._environment = {n: v for n, v in environment.items() if n not in ("TERM", "TMUX")}
        self._size = [str(number) for number in size]

    def __enter__(self) -> Terminal:
        if shutil.which("tmux") is None:
            pytest.skip("tmux is not installed: tests/run installs it as root.")
        sets = [f"{name}={value}" for name, value in self._environment.items()]
        command = f"exec env {shlex.join(sets)} sh -c {shlex.quote(self._command)}"
        columns, rows = self._size
        self._do("new-session", "-d", "-x", columns, "-y", rows, command)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._do("kill-server")
        self._directory.cleanup()

    def _do(self, *words: str) -> str:
        return subprocess.run(
            [*self._tmux, *words],
            capture_output=True,
            encoding="utf-8",
            check=True,
            timeout=SECONDS,
            env=os.environ | {"LC_ALL": "C.UTF-8"},
        ).stdout

    def screen(self) -> str:
        """Return what is seen, without blanks at the ends of lines."""
        lines = self._do("capture-pane", "-p").split("\n")
        return "\n".join(line.rstrip() for line in lines).rstrip("\n") + "\n"

    def coloured(self) -> str:
        """Return what is seen, with the escape sequences of its colours."""
        return self._do("capture-pane", "-p", "-e")

    def keys(self, *keys: str) -> None:
        """Press KEYS, as tmux names them: ``C-x`` or ``Enter``."""
        self._do("send-keys", *keys)

    def type(self, text: str) -> None:
        """Type TEXT."""
        if text:
            self._do("send-keys", "-l", "--", text)

    def until(self, pattern: str) -> str:
        """Wait until PATTERN, a regexp of lines, is on the screen; return the screen."""
        end = time.monotonic() + SECONDS
        while not re.search(pattern, screen := self.screen(), re.MULTILINE):
            assert time.monotonic() < end, f"{pattern} did not appear:\n{screen}"
            time.sleep(0.02)
        return screen

    def enter(self, line: str, pattern: str) -> str:
        """Type LINE and RET, and wait as `until` does."""
        self.type(line)
        self.keys("Enter")
        return self.until(pattern)

"""What verbs write beside their lines: reports for programs, transcripts."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smtps.cli.front import complain
from smtps.errors import OutputError

if TYPE_CHECKING:
    from smtps.client.account import Account


def report(form: str, facts: dict[str, Any]) -> None:
    """Write FACTS to standard output as one line of FORM, json or sexp."""
    if form == "json":
        import json

        text = json.dumps(facts)
    else:
        from smtps.rpc import codec

        text = codec.dumps(facts)
    # The fate is told by the status all the same.
    with contextlib.suppress(OutputError, BrokenPipeError):
        line(text)


def line(text: str) -> None:
    """Write the lines TEXT as `write` does."""
    write(text + "\n")


def write(text: str | bytes) -> None:
    """Write TEXT to standard output at once, if there is one, whatever the locale.

    Raises OutputError, or BrokenPipeError, the first time that this can't be done.
    """
    if sys.stdout is None:
        return
    try:
        sys.stdout.buffer.write(
            text if isinstance(text, bytes) else text.encode("utf-8", "backslashreplace")
        )
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        give_up()
        raise
    except OSError as error:
        give_up()
        raise OutputError(f"Standard output can't be written: {error.strerror}.") from None


def give_up() -> None:
    """Write nothing more to standard output: Python would complain once more at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


class Transcript:
    """The masked dialogue with ACCOUNT's server, and when each line of it came or left."""

    def __init__(self, account: Account) -> None:
        from smtps.protocol import transcript

        self._line = transcript.line
        self._began = time.monotonic()
        date = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
        self.head = transcript.head(account.host, account.port, account.tls, date)
        self._lines = [self.head]

    def line(self, text: str, at: int | None = None) -> str:
        """Return the line for TEXT, AT milliseconds, with its line break."""
        return self._line(text, at) + "\n"

    def trace(self, direction: str, text: str) -> None:
        """Take TEXT, which went in DIRECTION, ``recv`` or ``send``, just now."""
        at = round((time.monotonic() - self._began) * 1000)
        self._lines.append(self.line(f"{direction}> {text}".rstrip(" "), at))

    def write(self, file: str) -> None:
        """Write the file named FILE; complain if that can't be done."""
        try:
            Path(file).write_text("".join(self._lines), "utf-8")
        except OSError as error:
            complain(f"The transcript {file} can't be written: {error.strerror}.")

"""What verbs write beside their lines: reports for programs, transcripts."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import Any

from smtps.cli.front import complain
from smtps.errors import OutputError


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


def write_transcript(path: Path, trace: list[str]) -> None:
    """Write the lines of TRACE to the file at PATH; complain if that can't be done."""
    try:
        path.write_text("".join(trace), "utf-8")
    except OSError as error:
        complain(f"The transcript {path} can't be written: {error.strerror}.")

"""What verbs write beside their lines: reports for programs, transcripts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from smtps.cli.front import complain


def report(form: str, facts: dict[str, Any]) -> None:
    """Write FACTS to standard output as one line of FORM, json or sexp."""
    if form == "json":
        import json

        text = json.dumps(facts)
    else:
        from smtps.rpc import codec

        text = codec.dumps(facts)
    try:
        print(text, flush=True)
    except OSError:
        # The fate is told by the status all the same.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def write_transcript(path: Path, trace: list[str]) -> None:
    """Write the lines of TRACE to the file at PATH; complain if that can't be done."""
    try:
        path.write_text("".join(trace), "utf-8")
    except OSError as error:
        complain(f"The transcript {path} can't be written: {error.strerror}.")

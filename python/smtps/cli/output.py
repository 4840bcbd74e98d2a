"""What verbs write beside their lines: reports for programs, transcripts."""

from __future__ import annotations

import os
import sys
import time
from typing import IO, TYPE_CHECKING, Any

from smtps.cli.front import complain
from smtps.errors import OutputError, UsageError

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
    tell(text)


def tell(text: str) -> None:
    """Write the lines TEXT, and go on where that can't be done: the status tells the fate."""
    try:
        line(text)
    except OutputError as error:
        complain(error.text)


def line(text: str) -> None:
    """Write the lines TEXT as `write` does."""
    write(text + "\n")


def write(text: str | bytes) -> None:
    """Write TEXT to standard output at once, if there is one, whatever the locale.

    Where whoever read it has gone, nobody wants more.  Raises OutputError the first time that
    it can't be done for another reason.
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
    except OSError as error:
        give_up()
        raise OutputError(f"Standard output can't be written: {error.strerror}.") from None


def give_up() -> None:
    """Write nothing more to standard output: Python would complain once more at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


class Transcript:
    """The file NAME with a masked dialogue, and when each line of it came or left.

    Raises UsageError if it can't be written: before anything is sent.
    """

    def __init__(self, name: str) -> None:
        from smtps.protocol import transcript

        self._form = transcript
        self._name = name
        self._began = time.monotonic()
        self._file: IO[str] | None
        try:
            self._file = open(name, "w", encoding="utf-8")  # noqa: SIM115, PTH123
        except OSError as error:
            raise UsageError(f"The transcript {name} can't be written: {error.strerror}.") from None

    def begin(self, account: Account) -> None:
        """Note that the dialogue with ACCOUNT's server begins."""
        self._began = time.monotonic()
        date = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
        self._keep(self._form.head(account.host, account.port, account.tls, date))

    def line(self, text: str, at: int | None = None) -> None:
        """Note the line TEXT, AT milliseconds."""
        self._keep(self._form.line(text, at) + "\n")

    def trace(self, direction: str, text: str) -> None:
        """Note TEXT, which went in DIRECTION, ``recv`` or ``send``, just now."""
        at = round((time.monotonic() - self._began) * 1000)
        self.line(f"{direction}> {text}".rstrip(" "), at)

    def close(self) -> None:
        """Finish the file."""
        self._keep("", last=True)

    def _keep(self, text: str, last: bool = False) -> None:
        """Write TEXT; complain once if that can't be done."""
        if self._file is None:
            return
        try:
            self._file.write(text)
            if last:
                self._file.close()
        except OSError as error:
            complain(f"The transcript {self._name} is incomplete: {error.strerror}.")
            self._file = None

"""Lines typed on a terminal, edited by GNU readline and kept in a history.

What Python's readline module offers holds up the program until the line is there; here what
arrives is shown meanwhile.  So the library behind that module is called as it is meant to be
where a program waits for several things, by its "alternate interface" (readline(3)).

Between two lines the terminal does not echo: what is typed ahead, or pasted, appears when it
is asked for, and not at all where it turns out to be a secret.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
import termios
from collections.abc import Callable
from pathlib import Path

from smtps import xdg
from smtps.cli import output

HISTORY_LINES = 1000
"""Lines of the history that are kept."""

UNPRINTED = ("\x01", "\x02")
"""What stands around characters of a prompt that take no column."""

_Taken = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


def possible() -> bool:
    """Return True if lines can be edited here: a terminal that can move its cursor."""
    return (
        sys.stdin.isatty()
        and sys.stdout.isatty()
        and "INSIDE_EMACS" not in os.environ
        and os.environ.get("TERM", "dumb") != "dumb"
    )


class Editor:
    """Reads lines on the terminal in a running loop; TAKE gets each, None at the end of input.

    Raises ImportError or AttributeError where Python was built without GNU readline.
    """

    def __init__(self, take: Callable[[str | None], None]) -> None:
        import readline

        self._readline = readline
        self._library = ctypes.PyDLL(readline.__file__)
        self._library.free.argtypes = self._library.fflush.argtypes = [ctypes.c_void_p]
        self._take = take
        self._callback = _Taken(self._taken)
        self._loop = asyncio.get_running_loop()
        self._modes = termios.tcgetattr(0)
        self._prompt: str | None = None
        self._unseen = False
        # A paste of several lines is several lines, and of each its own state tells whether it
        # may be seen.
        readline.parse_and_bind("set enable-bracketed-paste off")
        self._history = xdg.state("history")
        self._read_history()
        self._echo(False)
        for number, then in (
            (signal.SIGWINCH, self._library.rl_resize_terminal),
            (signal.SIGCONT, self._resume),
        ):
            self._loop.add_signal_handler(number, then)

    @property
    def asking(self) -> bool:
        """True while a line is being typed."""
        return self._prompt is not None

    def ask(self, prompt: str, unseen: bool) -> None:
        """Let a line be typed behind PROMPT, UNSEEN if it is a secret."""
        self._prompt, self._unseen = prompt, unseen
        # Whether it shows what is typed, readline learns from the terminal.
        self._echo(not unseen)
        self._library.rl_callback_handler_install(prompt.encode(), self._callback)
        self._loop.add_reader(0, self._library.rl_callback_read_char)

    def above(self, text: str) -> None:
        """Write TEXT, whole lines, above what is being typed."""
        if self.asking:
            self._leave_line()
        output.write(text)
        if self.asking:
            self._redraw()

    def remember(self, line: str) -> None:
        """Add LINE to the history, in memory and on disk."""
        length = self._readline.get_current_history_length()
        if not line or (length and self._readline.get_history_item(length) == line):
            return
        self._readline.add_history(line)
        if self._history is not None:
            with contextlib.suppress(OSError):
                self._readline.append_history_file(1, self._history)

    def stop(self) -> None:
        """Leave the terminal as it was found."""
        if self.asking:
            # What was half typed stays to be read; a prompt alone asks for nothing any more.
            half = self._readline.get_line_buffer() and not self._unseen
            if not half:
                self._leave_line()
            self._remove()
            if half:
                output.write("\n")
        for number in (signal.SIGWINCH, signal.SIGCONT):
            self._loop.remove_signal_handler(number)
        with contextlib.suppress(termios.error):
            termios.tcsetattr(0, termios.TCSADRAIN, self._modes)

    def _taken(self, pointer: int | None) -> None:
        line = None
        if pointer is not None:
            line = ctypes.string_at(pointer).decode("utf-8", "surrogateescape")
            self._library.free(pointer)
        unseen = self._unseen
        self._remove()
        if unseen or line is None:
            # Else readline has written it.
            output.write("\n" if line is None else "\r\x1b[K")
        self._loop.call_soon(self._take, line)

    def _remove(self) -> None:
        self._prompt = None
        self._loop.remove_reader(0)
        self._library.rl_callback_handler_remove()
        self._echo(False)

    def _leave_line(self) -> None:
        if self._unseen:
            output.write("\r\x1b[K")
        else:
            self._library.rl_clear_visible_line()
            self._library.fflush(None)

    def _redraw(self) -> None:
        if self._unseen and self._prompt:
            # Where readline shows nothing, it does not show the prompt again.
            output.write(self._prompt.translate(dict.fromkeys(map(ord, UNPRINTED))))
        else:
            self._library.rl_forced_update_display()

    def _resume(self) -> None:
        """In the foreground again, where the shell has set up the terminal for itself."""
        if self._prompt is not None:
            self._library.rl_deprep_terminal()
            self._echo(not self._unseen)
            self._library.rl_prep_terminal(1)
            self._redraw()
        else:
            self._echo(False)

    def _echo(self, wanted: bool) -> None:
        with contextlib.suppress(termios.error):
            modes = termios.tcgetattr(0)
            modes[3] = modes[3] | termios.ECHO if wanted else modes[3] & ~termios.ECHO
            termios.tcsetattr(0, termios.TCSADRAIN, modes)

    def _read_history(self) -> None:
        if self._history is None:
            return
        try:
            _make_private(self._history)
            self._readline.read_history_file(self._history)
        except OSError:
            # Without a place for it there is none but in memory.
            self._history = None
            return
        self._readline.set_history_length(HISTORY_LINES)


def _make_private(path: Path) -> None:
    """Have the file at PATH, which nobody else can read."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        os.fchmod(file, 0o600)
    finally:
        os.close(file)

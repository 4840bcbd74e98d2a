"""The sandbox on the command line."""

from __future__ import annotations

import argparse
import os
import signal
import stat
import sys
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from smtps.cli import options, output
from smtps.cli.front import complain
from smtps.errors import MessageError, MessageUnreadableError, RemoteProtocolError

if TYPE_CHECKING:
    from smtps.protocol.transcript import Recording
    from smtps.sandbox.server import Sandbox

WAKE_SECONDS = 0.5
"""How late a signal may be obeyed."""

HELP = "a mail server for trying things out, on this machine"
USAGE = "[OPTION...]"
EXAMPLE = "smtps sandbox --directory /tmp/sandbox"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's words."""
    parser.add_argument(
        "--port", type=options.port, default=0, metavar="N", help="with TLS at once"
    )
    parser.add_argument(
        "--starttls-port", type=options.port, default=0, metavar="N", help="with STARTTLS"
    )
    parser.add_argument(
        "--directory",
        type=Path,
        metavar="DIR",
        help="keep certificate and mails there, not in /tmp",
    )
    parser.add_argument(
        "--login-seconds",
        type=options.timeout,
        default=10.0,
        metavar="SECONDS",
        help="until a login without its password is reset (10)",
    )
    parser.add_argument(
        "--offer",
        action="append",
        default=[],
        metavar="KEYWORD[,KEYWORD]",
        help="take these, too: CHUNKING, say, or 'SIZE 1000'",
    )
    parser.add_argument(
        "--auth", metavar="MECH[,MECH]", help="let users log in by these: SCRAM-SHA-256, say"
    )
    parser.add_argument(
        "--replay",
        type=Path,
        metavar="FILE",
        help="play the server of this transcript; exit with 76 if a client strays from it",
    )
    parser.add_argument("--report", choices=("sexp",), help="tell where it listens in one form")


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM, SIGINT, SIGHUP, or the end of a pipe that is standard input."""
    from smtps.sandbox.server import Sandbox

    recording = _recording(arguments.replay) if arguments.replay else None
    strayed: list[str] = []

    def tell(sentence: str) -> None:
        strayed.append(sentence)
        complain(sentence)

    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: ended.set())
    if _is_pipe(0):
        # Who started it holds the other end, and may die without a word.
        threading.Thread(target=_until_its_end, args=(0, ended), daemon=True).start()
    more = [keyword for words in arguments.offer for keyword in words.split(",")]
    if arguments.auth is not None:
        more.append("AUTH " + arguments.auth.replace(",", " "))
    with tempfile.TemporaryDirectory(prefix="smtps-sandbox-") as temporary:
        directory = (arguments.directory or Path(temporary)).absolute()
        with Sandbox(
            directory,
            arguments.port,
            arguments.starttls_port,
            arguments.login_seconds,
            more=more,
            recording=recording,
            tell=tell,
        ) as box:
            output.line(_form(box) if arguments.report else _words(box))
            # A signal that came while it was stopped may reach another thread than this one,
            # which alone runs what is to follow, and only when it wakes up.
            while not ended.wait(WAKE_SECONDS):
                pass
    sys.stdout.flush()
    return RemoteProtocolError.status if strayed else 0


def _recording(path: Path) -> Recording:
    from smtps.protocol import transcript

    try:
        return transcript.read(path.read_text("utf-8", "backslashreplace"))
    except OSError as error:
        raise MessageUnreadableError(f"{path} can't be read: {error.strerror}.") from None
    except MessageError as error:
        raise MessageError(f"{path} is no transcript. {error.text}") from None


def _is_pipe(number: int) -> bool:
    try:
        mode = os.fstat(number).st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def _until_its_end(number: int, ended: threading.Event) -> None:
    with suppress(OSError):
        while os.read(number, 4096):
            pass
    ended.set()


def _form(box: Sandbox) -> str:
    from smtps.rpc import codec
    from smtps.rpc.codec import Symbol, Value

    facts: dict[str, Value] = {
        "host": box.host,
        "port": box.port,
        "starttls-port": box.starttls_port,
        "ca-file": str(box.ca_file),
        "user": box.user,
        "password": box.password,
        "maildir": str(box.maildir),
        "pid": os.getpid(),
    }
    words: list[Value] = [Symbol("sandbox")]
    for name, value in facts.items():
        words += (codec.Keyword(name), value)
    return codec.dumps(words)


def _words(box: Sandbox) -> str:
    return "\n".join(
        (
            "smtps sandbox: a mail server on this machine only; it delivers nothing anywhere.",
            f"  TLS at once  {box.host}:{box.port}",
            f"  STARTTLS     {box.host}:{box.starttls_port}",
            f"  CA file      {box.ca_file}",
            f"  user         {box.user}",
            f"  password     {box.password}",
            f"  mail         {box.maildir}",
            f"Try: smtps {box.host}:{box.port} --ca-file {box.ca_file}",
        )
    )

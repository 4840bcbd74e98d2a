"""The sandbox on the command line."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import threading
from pathlib import Path

from smtps.cli import options

HELP = "run a mail server for trying things out, on this machine only"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's words."""
    parser.add_argument("--port", type=options.port, default=0, help="with TLS at once")
    parser.add_argument("--starttls-port", type=options.port, default=0, help="with STARTTLS")
    parser.add_argument(
        "--directory",
        type=Path,
        metavar="DIR",
        help="keep certificate and mails there (else in a temporary one)",
    )
    parser.add_argument("--report", choices=("sexp",), help="tell where it listens in one form")


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT."""
    from smtps.sandbox.server import Sandbox

    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: ended.set())
    with tempfile.TemporaryDirectory(prefix="smtps-sandbox-") as temporary:
        directory = (arguments.directory or Path(temporary)).absolute()
        with Sandbox(directory, arguments.port, arguments.starttls_port) as box:
            print(_form(box) if arguments.report else _words(box), flush=True)
            ended.wait()
    sys.stdout.flush()
    return 0


def _form(box: object) -> str:
    from smtps.rpc import codec
    from smtps.rpc.codec import Symbol, Value
    from smtps.sandbox.server import Sandbox

    assert isinstance(box, Sandbox)
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


def _words(box: object) -> str:
    from smtps.sandbox.server import Sandbox

    assert isinstance(box, Sandbox)
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

"""The wire of a real helper, whose reader pauses."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from pathlib import Path

from smtps.rpc import codec
from smtps.rpc.codec import Symbol, Value

PYTHON = Path(__file__).parents[3] / "python"

SECONDS = 20
"""Far more than it takes to read what is written here."""

MANY = 40
"""Answers to (methods), of some KB each: more than a pipe takes."""

LARGE = 60
"""Calls of 50 KB: more than a helper that does not read its input takes in."""


def test_a_reader_that_pauses_holds_up_nothing() -> None:
    """It is read on, and the reader then has each answer once, a whole line."""
    hello: Value = [Symbol("call"), 1, Symbol("alive"), None]
    asked: list[Value] = [[Symbol("methods"), uid] for uid in range(2, 2 + MANY)]
    large: list[Value] = [
        [Symbol("call"), uid, Symbol("alive"), {"text": "x" * 50_000}]
        for uid in range(2 + MANY, 2 + MANY + LARGE)
    ]
    octets = b"".join(codec.dumps(form).encode() + b"\n" for form in [hello, *asked, *large])
    with subprocess.Popen(
        [sys.executable, "-I", str(PYTHON), "rpc"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            os.set_blocking(process.stdin.fileno(), False)
            view = memoryview(octets)
            deadline = time.monotonic() + SECONDS
            while view:
                left = max(0.0, deadline - time.monotonic())
                assert select.select([], [process.stdin], [], left)[1], "it is not read"
                view = view[os.write(process.stdin.fileno(), view) :]
            process.stdin.close()
            answers = process.stdout.read().splitlines()
        finally:
            process.kill()
    found = [codec.loads(line.decode()) for line in answers]
    uids = [form[1] for form in found if isinstance(form, list)]
    assert sorted(map(str, uids)) == sorted(map(str, range(1, 2 + MANY + LARGE)))

"""How long a queue of small mails takes, beside smtplib, which has no outbox at all.

``drain.py [MAILS [RUNS]]`` prints milliseconds a mail, from the connection to the last reply:
the helper's, with an outbox and every flush in place, and smtplib's over one connection; at a
sink that throws mail away, and at Postfix, which flushes each mail as a real server does.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import messages
import sink
from helper import Helper

E2E = Path(__file__).parents[1] / "e2e"

MAILS = 1000
RUNS = 3

LINES = 23
"""Of 78 octets, which with the header make 2 KB."""

SECONDS = 300


class Server(NamedTuple):
    """Where mails go, and the login there."""

    port: int
    ca_file: Path
    user: str
    password: str


class Pace(NamedTuple):
    """Seconds a mail."""

    ours: float
    theirs: float


SINK = """\
import pathlib, sys, sink
with sink.Sink(pathlib.Path(sys.argv[1])) as made:
    print(made.port, made.ca_file, flush=True)
    sys.stdin.read()
"""


@contextmanager
def served_by_sink(directory: Path) -> Iterator[Server]:
    """Serve from a process of its own, which takes nothing from the bench's."""
    with subprocess.Popen(
        [sys.executable, "-c", SINK, str(directory)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parent)},
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        port, ca_file = process.stdout.readline().split()
        yield Server(int(port), Path(ca_file), sink.USER, sink.PASSWORD)
        process.stdin.close()


@contextmanager
def served_by_postfix() -> Iterator[Server]:
    """Serve from the Postfix of the end-to-end tests, which root alone can start."""
    sys.path.append(str(E2E))
    import servers

    with servers.started() as running:
        yield Server(running.port, running.ca_file, "tester", servers.USERS["tester"])


def small(directory: Path) -> Path:
    """Write a mail of 2 KB below DIRECTORY."""
    path = directory / "queued.eml"
    path.write_bytes(messages.HEADER + messages.LINE * LINES)
    return path


def paces(directory: Path, server: Server, mails: int, runs: int) -> Iterator[Pace]:
    """Have MAILS mails sent by the helper and by smtplib in turn, RUNS times."""
    queued = small(directory)
    wire = messages.wire(directory / "queued-wire.eml", queued)
    for run in range(runs):
        with Helper(directory / f"queue-{server.port}-{run}", *server) as helper:
            helper.ready()
            names = [helper.queue(queued) for _ in range(mails)]
            begun = time.perf_counter()
            helper.drain(*names)
            ours = time.perf_counter() - begun
        yield Pace(ours / mails, smtplib(server, wire, mails) / mails)


def smtplib(server: Server, wire: Path, mails: int) -> float:
    """Have smtplib send WIRE so many times; return the seconds from its connection on."""
    program = Path(__file__).with_name("peer.py")
    done = subprocess.run(
        [sys.executable, str(program), *map(str, server), *[f"{wire}:1"] * mails],
        stdout=subprocess.PIPE,
        check=True,
        timeout=SECONDS,
    )
    return float(done.stdout.split()[-1])


def best(found: Sequence[Pace]) -> Pace:
    """Return the least of each: what others on the machine take comes on top."""
    return Pace(min(pace.ours for pace in found), min(pace.theirs for pace in found))


def main() -> None:
    """Measure at both servers."""
    mails = int(sys.argv[1]) if len(sys.argv) > 1 else MAILS
    runs = int(sys.argv[2]) if len(sys.argv) > 2 else RUNS
    print(f"{'ms a mail':<12}{'helper':>8}{'smtplib':>9}{'ratio':>7}")
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        for told, served in (
            ("sink", served_by_sink(directory)),
            ("Postfix", served_by_postfix()),
        ):
            with served as server:
                for pace in (found := list(paces(directory, server, mails, runs))):
                    _tell(told, pace)
            _tell(f"{told}, best", best(found))


def _tell(name: str, pace: Pace) -> None:
    ratio = pace.ours / pace.theirs
    print(f"{name:<12}{pace.ours * 1000:>8.2f}{pace.theirs * 1000:>9.2f}{ratio:>7.2f}", flush=True)


if __name__ == "__main__":
    main()

"""What a mail costs, beside what may be and what smtplib takes in the same run.

Round trips are counted by a proxy that delays each direction by 25 ms, against a server with
TLS 1.3, AUTH PLAIN, PIPELINING and CHUNKING; all else is a median, and where the machine
matters, a ratio to something that was measured in turn with it.
"""

from __future__ import annotations

import argparse
import base64
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cost
import drain
import flood
import hello
import keys
import lisp
import messages
from delayproxy import Proxy
from helper import Helper, command
from sink import HOST, PASSWORD, USER, Sink, Taken

SECONDS = 120

PYTHON = Path(__file__).parents[2] / "python"
SEND_IT = Path(__file__).parent / "send-it.el"

SPAWNS = 15
CONNECT = "import smtplib, sys; smtplib.SMTP_SSL(sys.argv[1], int(sys.argv[2]))"
"""What a script that uses smtplib does up to its first octet."""

IDLE_SECONDS = 0.1
"""After this the server hangs up, where a reconnect is wanted."""

LARGE = 25
LARGER = 100
"""MB (10^6 octets) on the wire."""

PAUSE_BAR = 40
"""Milliseconds: twice what is wanted on a quiet machine, so that a busy one does not fail."""

SAME_RSS = 1.0
"""MB by which the peak may differ between a large and a larger mail and be called the same."""


@dataclass(frozen=True)
class Row:
    """A figure, the most that it may be, and a peer's; UNIT is what all three are in."""

    name: str
    measured: float
    bar: float | None
    """None where the figure only helps to judge another."""
    peer: float | None = None
    unit: str = ""
    note: str = ""

    @property
    def holds(self) -> bool:
        """True if the figure is within its bar."""
        return self.bar is None or self.measured <= self.bar

    def __str__(self) -> str:
        def shown(value: float | None) -> str:
            return "" if value is None else f"{value:.3g}"

        return (
            f"{self.name:<52}{shown(self.measured):>9} {self.unit:<4}| {shown(self.bar):>5} "
            f"| {shown(self.peer):>7}  {'' if self.holds else 'MISSED  '}{self.note}"
        ).rstrip()


class Rounds:
    """A sink behind a proxy, and the round trips that each mail took."""

    def __init__(self, directory: Path, chunking: bool) -> None:
        self.sink = Sink(directory, chunking, taken=self._taken)
        self.proxy = Proxy(self.sink.port)
        self._marks: list[tuple[int, int]] = []
        self._impossible = ""

    def _taken(self, mail: Taken) -> None:
        """Mark the flights that a mail came with; its reply has not left yet."""
        connection = self.proxy.connection(mail.port)
        passed = time.monotonic() - connection.opened
        least = (2 * connection.flights - 1) * self.proxy.delay
        if passed < least:
            # Not raised here, in the sink's thread, where nobody would hear it.
            self._impossible = f"{connection.flights} flights can't be in {passed:.3f} s"
        self._marks.append((mail.port, connection.flights))

    @contextmanager
    def running(self) -> Iterator[Rounds]:
        """Serve within a with statement."""
        with self.sink, self.proxy:
            yield self

    def taken(self) -> list[int]:
        """Return the round trips of each mail since the last call, from connect or mail to 250."""
        if self._impossible:
            raise RuntimeError(self._impossible)
        found = []
        port, before = 0, 0
        for mark in self._marks:
            found.append(mark[1] - (before if mark[0] == port else 0))
            port, before = mark
        self._marks.clear()
        return found


# Processes


def program(name: str, *words: object) -> list[float]:
    """Run a peer, the program NAME beside this file, and return the figures that it prints."""
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name(name)), *map(str, words)],
        stdout=subprocess.PIPE,
        check=True,
        timeout=SECONDS,
    )
    return [float(word) for word in done.stdout.split()]


def smtplib(port: int, ca_file: Path, *mails: tuple[Path, int]) -> tuple[float, float]:
    """Have smtplib send MAILS (file as on the wire, recipients) over one connection.

    Return the CPU seconds of the last one, and the peak RSS in MB.
    """
    words = [f"{path}:{count}" for path, count in mails]
    spent, peak, _ = program("peer.py", port, ca_file, USER, PASSWORD, *words)
    return spent, peak


def raw(way: str, port: int, ca_file: Path, message: Path) -> float:
    """Have a raw ``ssl`` socket write MESSAGE; return the CPU seconds from MAIL to the end."""
    login = base64.b64encode(f"\0{USER}\0{PASSWORD}".encode()).decode()
    (spent,) = program("raw.py", way, port, ca_file, login, message)
    return spent


def send_words(directory: Path, port: int, ca_file: Path, count: int) -> list[str]:
    """Return the command line of ``smtps send`` to COUNT recipients."""
    return command(
        *("send", "--host", HOST, "--port", str(port), "--tls", "implicit"),
        *("--ca-file", str(ca_file), "--user", USER, "--password-command", f"echo {PASSWORD}"),
        *("--outbox", str(directory / "outbox"), "-f", messages.SENDER),
        *messages.recipients(count),
    )


def send(directory: Path, port: int, ca_file: Path, message: Path, count: int) -> None:
    """Send MESSAGE with ``smtps send``."""
    with message.open("rb") as file:
        subprocess.run(
            send_words(directory, port, ca_file, count), stdin=file, check=True, timeout=SECONDS
        )


# Rows


def round_trips(directory: Path, chunking: bool) -> Iterator[Row]:
    """Count the round trips, with or without CHUNKING."""
    cold, known, warm = (6, 5, 1) if chunking else (6, 6, 2)
    named = "" if chunking else ", no CHUNKING"
    small = messages.local(directory / "small.eml", 0)
    wire = messages.wire(directory / "wire.eml", small)
    with Rounds(directory, chunking).running() as counted:
        port, ca_file = counted.proxy.port, counted.sink.ca_file
        theirs = {}
        for count in (1, 10):
            send(directory, port, ca_file, small, count)
            (ours,) = counted.taken()
            smtplib(port, ca_file, (wire, count), (wire, count))
            theirs[count] = counted.taken()
            yield Row(f"round trips, cold, {count} rcpt{named}", ours, cold, theirs[count][0])

        with Helper(directory / "known", port, ca_file) as helper:
            counted.sink.idle = IDLE_SECONDS
            helper.send(small)
            counted.sink.wait_closed(SECONDS)
            counted.sink.idle = None
            helper.send(small)
            first, again = counted.taken()
        yield Row(f"round trips, cold, a helper's first{named}", first, cold, theirs[1][0])
        yield Row(f"round trips, cold, secret known to work{named}", again, known, theirs[1][0])

        with Helper(directory / "warm", port, ca_file) as helper:
            helper.send(small)
            helper.send(small)
            helper.drain(*(helper.queue(small) for _ in range(10)))
            _, following, *_, tenth = counted.taken()
        yield Row(f"round trips, next mail{named}", following, warm, theirs[1][1])
        yield Row(f"round trips, tenth in a row{named}", tenth, warm, theirs[1][1])


def body_cpu(directory: Path, chunking: bool, runs: int) -> Iterator[Row]:
    """Measure the CPU that a helper, which has sent a mail before, spends on a large body.

    It is judged against what a program costs that writes the same octets to a raw socket,
    and smtplib's program too.  The second row is sterner: from MAIL to the last reply, in
    each of them, without their starts and logins.
    """
    bar, way = (2, "BDAT") if chunking else (3, "DATA")
    small = messages.local(directory / "small.eml", 0)
    large = messages.local(directory / "large.eml", LARGE)
    wire = messages.wire(directory / "wire.eml", large)
    ours, raw_whole, raw_alone, their_whole, their_alone = [], [], [], [], []
    with (
        Sink(directory, chunking) as sink,
        Helper(directory / f"cpu-{way}", sink.port, sink.ca_file) as helper,
    ):
        helper.send(small)
        for _ in range(runs):
            before = cost.cpu(helper.pid)
            helper.send(large)
            ours.append(cost.cpu(helper.pid) - before)

            before = cost.children()
            raw_alone.append(raw(way, sink.port, sink.ca_file, wire))
            raw_whole.append(cost.children() - before)

            before = cost.children()
            their_alone.append(smtplib(sink.port, sink.ca_file, (wire, 1))[0])
            their_whole.append(cost.children() - before)
        arrived = {mail.octets for mail in sink.mails[1:]}
        if arrived != {wire.stat().st_size}:
            raise RuntimeError(f"{wire.stat().st_size} octets were sent, and {arrived} arrived")

    mine = statistics.median(ours)
    for named, floors, theirs, most in (
        ("", raw_whole, their_whole, bar),
        (", mail alone", raw_alone, their_alone, None),
    ):
        floor = statistics.median(floors)
        yield Row(
            f"{LARGE} MB body, {way}, CPU to a raw socket's{named}",
            mine / floor,
            most,
            statistics.median(theirs) / floor,
            "x",
            f"{mine:.3f} s to {floor:.3f} s",
        )


def memory(directory: Path, chunking: bool) -> Iterator[Row]:
    """Measure the helper's peak RSS for a large and a larger body."""
    named = "BDAT" if chunking else "DATA"
    peaks = []
    with Sink(directory, chunking) as sink:
        for megabytes in (LARGE, LARGER):
            mail = messages.local(directory / "mail.eml", megabytes)
            with Helper(directory / f"rss-{named}-{megabytes}", sink.port, sink.ca_file) as helper:
                helper.send(mail)
                peaks.append(cost.peak_rss(helper.pid))
            wire = messages.wire(directory / "wire.eml", mail)
            _, theirs = smtplib(sink.port, sink.ca_file, (wire, 1))
            yield Row(
                f"{megabytes} MB body, {named}, helper's peak RSS", peaks[-1], 45, theirs, "MB"
            )
    yield Row(
        f"peak RSS, {LARGER} MB above {LARGE} MB, {named}",
        peaks[1] - peaks[0],
        SAME_RSS,
        None,
        "MB",
    )


def first_byte(directory: Path, runs: int) -> Row:
    """Measure the time from spawn to the connection, against ``import ssl``."""
    small = messages.local(directory / "small.eml", 0)
    ours, base, theirs = [], [], []
    with socket.create_server((HOST, 0)) as listening:
        port = listening.getsockname()[1]
        words = send_words(directory, port, Sink(directory).ca_file, 1)
        for _ in range(runs):
            ours.append(_until_connected(listening, words, small))
            begun = time.perf_counter()
            subprocess.run([sys.executable, "-I", "-c", "import ssl"], check=True)
            base.append(time.perf_counter() - begun)
            script = [sys.executable, "-I", "-c", CONNECT, HOST, str(port)]
            theirs.append(_until_connected(listening, script, small))
    ssl_seconds = statistics.median(base)
    mine = statistics.median(ours)
    return Row(
        "smtps send, spawn to first byte, to import ssl",
        mine / ssl_seconds,
        2.5,
        statistics.median(theirs) / ssl_seconds,
        "x",
        f"{mine * 1000:.0f} ms to {ssl_seconds * 1000:.0f} ms",
    )


def _until_connected(listening: socket.socket, words: list[str], message: Path) -> float:
    """Return the seconds from spawning WORDS to its connection."""
    listening.settimeout(SECONDS)
    with message.open("rb") as file:
        begun = time.perf_counter()
        with subprocess.Popen(
            words, stdin=file, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ):
            connected, _ = listening.accept()
            taken = time.perf_counter() - begun
            # It fails at that, as it should, and ends.
            connected.close()
    return taken


def version_row(runs: int) -> Row:
    """Measure what ``smtps --version`` takes of the CPU, against a Python that does nothing."""
    ours: list[float] = []
    base: list[float] = []
    for _ in range(runs):
        for words, taken in (([str(PYTHON), "--version"], ours), (["-c", "pass"], base)):
            before = cost.children()
            subprocess.run([sys.executable, "-I", *words], check=True, stdout=subprocess.DEVNULL)
            taken.append(cost.children() - before)
    ratio = statistics.median(ours) / statistics.median(base)
    return Row("smtps --version, CPU, to python3 -c pass", ratio, 2.0, None, "x")


def hello_row(runs: int) -> Row:
    """Measure the helper's hello, beside a Python that does nothing."""
    ours = statistics.median(hello.hello() for _ in range(runs))
    theirs = statistics.median(hello.nothing() for _ in range(runs))
    return Row("hello, from spawn (peer: python3 -c pass)", ours, hello.BAR, theirs, "s")


def send_it(directory: Path, runs: int) -> Iterator[Row]:
    """Measure how long `smtps-send-it` keeps Emacs, without flushes and garbage collection."""
    emacs = ["emacs", "-Q", "--batch", "-L", str(lisp.compiled(directory))]
    for megabytes in (0, 10, LARGE):
        done = subprocess.run(
            [*emacs, "-l", str(SEND_IT), str(megabytes), str(runs)],
            check=True, stdout=subprocess.PIPE, env=os.environ | {"HOME": str(directory)},
        )  # fmt: skip
        ours, disk, collected = map(float, done.stdout.split())
        yield Row(
            f"smtps-send-it, {megabytes} MB",
            ours,
            5 + megabytes,
            None,
            "ms",
            f"writing and flushing {disk:.1f} ms, garbage {collected:.1f} ms",
        )


def typing_on(directory: Path, full: bool) -> Iterator[Row]:
    """Type into Emacs while it sends a mail, and while a queue is sent that it shows."""
    megabytes, mails = (LARGE, drain.MAILS) if full else (2, 200)
    elisp = lisp.compiled(directory)
    ours = keys.one_large(directory, elisp, megabytes, False)
    theirs = keys.one_large(directory, elisp, megabytes, True)
    queue = keys.many_small(directory, elisp, mails)
    what = f"{megabytes} MB to a server 200 ms away"
    note = "peer: smtpmail.el"
    yield Row(f"{what}, the send function", ours.function, None, theirs.function, "ms", note)
    yield Row(
        f"{what}, a key's wait",
        ours.key, None, theirs.key, "ms",
        f"{note}; garbage apart, {ours.collected:.0f} ms; the whole command {ours.command:.0f} ms",
    )  # fmt: skip
    yield Row(
        f"{what}, a key's wait later",
        ours.later, None, theirs.later, "ms",
        f"{ours.quiet:.0f} ms before, with what the terminal takes",
    )  # fmt: skip
    yield Row(f"{what}, our filters and timers", ours.own, PAUSE_BAR, None, "ms")
    yield Row(f"the outbox shown, {mails} mails sent, a key's wait", queue.later, None, None, "ms")
    yield Row(
        f"the outbox shown, {mails} mails sent, our own share", queue.own, PAUSE_BAR, None, "ms"
    )


def floods(directory: Path, full: bool) -> Iterator[Row]:
    """Flood ten sessions in an Emacs that is typed into."""
    elisp = lisp.compiled(directory)
    for way in flood.WAYS if full else ("escapes, long lines",):
        found = flood.flooded(
            directory, elisp, flood.WAYS[way], flood.TOGETHER, seconds=flood.SECONDS if full else 4
        )
        what = f"{flood.TOGETHER} floods of {way}"
        told = f"a key {found.whole:.0f} ms, {found.beside:.0f} in an idle Emacs"
        yield Row(f"{what}: CPU between keys", found.turn, flood.PAUSE_BAR, None, "ms", told)
        most = flood.MEMORY_BAR[flood.TOGETHER]
        yield Row(f"{what}: Emacs grows", found.emacs, most, None, "MB")
        yield Row(f"{what}: helper grows", found.helper, most, None, "MB")


def queues(directory: Path, full: bool) -> Iterator[Row]:
    """Drain a queue of small mails, beside smtplib over one connection with no outbox."""
    mails = drain.MAILS if full else 300
    served = [("a sink", drain.served_by_sink(directory))]
    if full and os.geteuid() == 0:
        served.append(("Postfix", drain.served_by_postfix()))
    for named, serving in served:
        with serving as server:
            best = drain.best(list(drain.paces(directory, server, mails, 3)))
        yield Row(
            f"{mails} mails of 2 KB to {named}, each",
            best.ours * 1000, None, best.theirs * 1000, "ms",
            f"{best.ours / best.theirs:.2f} x smtplib's",
        )  # fmt: skip


def rows(directory: Path, full: bool) -> Iterator[Row]:
    """Measure all, each as soon as it is asked for."""
    for chunking in (True, False):
        yield from round_trips(directory, chunking)
    for chunking in (True, False):
        yield from body_cpu(directory, chunking, 11 if full else 3)
    for chunking in (True, False) if full else (True,):
        yield from memory(directory, chunking)
    yield first_byte(directory, 41 if full else SPAWNS)
    yield version_row(41 if full else SPAWNS)
    yield hello_row(41 if full else SPAWNS)
    yield from send_it(directory, 20)
    yield from typing_on(directory, full)
    yield from floods(directory, full)
    yield from queues(directory, full)


def main() -> int:
    """Print the table; return 1 if a bar does not hold."""
    parser = argparse.ArgumentParser(prog="tests/bench/run", description="What a mail costs.")
    parser.add_argument("--full", action="store_true", help="repeat more")
    full: bool = parser.parse_args().full
    print(f"{'figure':<52}{'measured':>9} {'':<4}| {'bar':>5} | {'smtplib':>7}")
    missed = 0
    with tempfile.TemporaryDirectory() as directory:
        for row in rows(Path(directory), full):
            print(row, flush=True)
            missed += not row.holds
    if missed:
        print(f"{missed} missed.")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())

"""A kill, or a write that fails, at every step of a process: strace does it at the system call.

A process is killed when it enters a call, before anything is done: that is before that step,
and after the one that came before it.
"""

from __future__ import annotations

import random
import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from crash.counting import (
    HELPER,
    Counts,
    Server,
    addresses,
    count,
    environment,
    flush,
    queue,
    text,
    total,
)
from crash.kills import WITH_EMACS, emacs, told
from smtps.outbox.spool import Spool

WRITES = ("write", "pwrite64", "fallocate", "ftruncate", "mkdir")
FLUSHES = ("fsync", "fdatasync")
MOVES = ("rename", "renameat", "renameat2", "unlink", "unlinkat", "rmdir")
NETWORK = ("connect", "sendto", "sendmsg", "recvfrom", "shutdown")
OTHERS = ("flock", "utimensat", "chmod", "fchmod", "fchmodat")

CALLS = (*WRITES, *FLUSHES, *MOVES, *NETWORK, *OTHERS)

TOO_LONG = 45
"""Seconds after which a trial has hung; drainers look again after 60."""

MAILS = 2
"""In each trial: the second goes over a connection that stands."""

LINE = re.compile(r"^(\d+) +(\w+)\((.*)$")


class Step(NamedTuple):
    """The NUMBERth CALL of a thread, counted from 1, and whether it is one of the outbox."""

    call: str
    number: int
    in_outbox: bool


class World:
    """An outbox of its own for one run of a process, and the mails that are sent by it."""

    def __init__(self, root: Path, server: Server) -> None:
        self.root = root
        self.server = server
        self.box = Spool(root / "box")
        self.promised_file = root / "promised"
        self.denied_file = root / "denied"
        self.mails = addresses(MAILS)
        (root / "mail").write_bytes(text(self.mails[0]))

    def queue(self) -> None:
        """Put the mails into the outbox."""
        for address in self.mails:
            queue(self.box, self.server.account, [address])


class Process(NamedTuple):
    """A process whose steps are tried: its name and COMMAND, which is traced if it is not given
    as the helper of an Emacs.

    QUEUED tells that its mails lie in the outbox before; FOLLOWED that its threads are its own,
    and not those of what it starts.
    """

    kind: str
    queued: bool
    followed: bool
    command: Callable[[World, list[str]], list[str]]
    """Takes the words of strace that stand before what it is to trace."""


def _flush(world: World, traced: list[str]) -> list[str]:
    return [*traced, *HELPER, "outbox", "flush", "--outbox", str(world.box.root)]


def _send(world: World, traced: list[str]) -> list[str]:
    return [
        *traced, *HELPER, "send", "-t", str(world.root / "mail"), "--host", "127.0.0.1",
        "--port", str(world.server.port), "--tls", "none", "--outbox", str(world.box.root),
    ]  # fmt: skip


def _emacs(world: World, helper: Sequence[str]) -> list[str]:
    # Whose helper has died waits for nothing.
    return emacs(world.box, world.server.port, world.root, world.mails, helper, seconds=2)


PROCESSES = {
    process.kind: process
    for process in (
        Process("outbox flush", True, True, _flush),
        Process("send", False, True, _send),
        Process(
            "Emacs", False, False, lambda world, traced: [*traced, *_emacs(world, [*HELPER, "rpc"])]
        ),
        Process(
            "both",
            False,
            False,
            lambda world, traced: [*traced, *_emacs(world, [*WITH_EMACS, *HELPER, "rpc"])],
        ),
        Process(
            "helper",
            False,
            True,
            lambda world, traced: _emacs(world, [*traced, *HELPER, "rpc"]),
        ),
    )
}


def _traced(process: Process, *options: str) -> list[str]:
    # The filter --seccomp-bpf would save time, but lets no signal in.
    following = ["-f"] if process.followed else []
    return ["strace", *following, "--quiet=attach,personality", *options]


def _run(process: Process, world: World, traced: list[str]) -> subprocess.CompletedProcess[str]:
    if process.queued:
        world.queue()
    return subprocess.run(
        process.command(world, traced), stdin=subprocess.DEVNULL, capture_output=True, text=True,
        env=environment(world.root) | {"PYTHONDONTWRITEBYTECODE": "1"},
        timeout=TOO_LONG, check=False,
    )  # fmt: skip


def steps(process: Process, server: Server) -> list[Step]:
    """Run PROCESS undisturbed and return its steps: calls on the outbox, pipes and connections."""
    with tempfile.TemporaryDirectory() as directory:
        world = World(Path(directory), server)
        log = world.root / "log"
        traced = _traced(process, "-yy", "-o", str(log), "-e", f"trace={','.join(CALLS)}")
        done = _run(process, world, traced)
        assert done.returncode == 0, done.stderr
        return _steps(log.read_text("utf-8", "replace"), str(world.root))


def _steps(log: str, root: str) -> list[Step]:
    numbers: Counter[tuple[str, str]] = Counter()
    found: dict[tuple[str, int], Step] = {}
    for line in log.splitlines():
        # Without -f there are no thread's numbers.
        match = LINE.match(line) or LINE.match(f"0 {line}")
        if match is None:
            continue
        thread, call, rest = match.groups()
        numbers[thread, call] += 1
        number = numbers[thread, call]
        if " = -1 " in rest and "EINPROGRESS" not in rest:
            continue
        # Pipes lead from Emacs to its helper, and to the terminal.
        in_outbox = root in rest
        if in_outbox or "<TCP:" in rest or "<pipe:" in rest:
            found.setdefault((call, number), Step(call, number, in_outbox))
    return list(found.values())


def kill(process: Process, step: Step, server: Server) -> Counts:
    """Kill PROCESS at STEP, then start all again, and return what came of it."""
    return _disturbed(process, step, "signal=SIGKILL", str(step.number), server)


def refuse(process: Process, step: Step, server: Server) -> Counts:
    """Have STEP of PROCESS fail, as on a disk that is full or broken; then mend the disk.

    What is told then is no traceback.
    """
    # A full disk stays so; but what is told goes through write, too.
    more = "+" if step.call in ("pwrite64", "fallocate") else ""
    error = "ENOSPC" if step.call in WRITES else "EIO" if step.call in FLUSHES else "EROFS"
    return _disturbed(process, step, f"error={error}", f"{step.number}{more}", server)


def _disturbed(process: Process, step: Step, what: str, when: str, server: Server) -> Counts:
    with tempfile.TemporaryDirectory() as directory:
        world = World(Path(directory), server)
        log = world.root / "log"
        inject = f"inject={step.call}:{what}:when={when}"
        done = _run(
            process,
            world,
            _traced(process, "-o", str(log), "-e", f"trace={step.call}", "-e", inject),
        )
        said = log.read_text("utf-8", "replace")
        assert "Traceback" not in done.stderr, done.stderr
        flush(world.box)
        promised: Collection[str] = world.mails if process.queued else told(world.promised_file)
        denied: Collection[str] = told(world.denied_file)
        if process.kind == "send":
            promised, denied = ([], world.mails[:1]) if done.returncode else (world.mails[:1], [])
            if done.returncode < 0:
                denied = []
            assert done.returncode <= 0 or done.stderr.startswith("smtps: "), done.stderr
        return count(
            process.kind,
            "killed by SIGKILL" in said or "INJECTED" in said,
            world.box,
            world.mails,
            promised,
            server.accepted,
            denied,
        )


Trial = Callable[[Process, Step, Server], Counts]


def each(process: Process, trial: Trial, every: int = 1) -> tuple[Counts, list[Step]]:
    """Do TRIAL at each step of PROCESS, or at one in EVERY; return also those that were bad.

    Only what is on the disk can be refused.
    """
    with Server(random.Random(0), reliable=True) as server:  # noqa: S311
        found = [
            step
            for step in steps(process, server)
            if trial is kill or (step.in_outbox and step.call in (*WRITES, *FLUSHES, *MOVES))
        ]
        counted = [(step, trial(process, step, server)) for step in found[::every]]
    what = "a kill" if trial is kill else "an error"
    return (
        total(f"{process.kind}, {what} at each step", (counts for _, counts in counted)),
        [step for step, counts in counted if not counts.clean],
    )

"""The other side in the tests of smtps-rpc.el: well-behaved, or in one way not."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "python"))

from smtps.errors import UsageError
from smtps.rpc.codec import Symbol, Value
from smtps.rpc.peer import Peer
from smtps.rpc.stdio import Wire, ignore_hangups

VERSION = "0.1.0"


class Partner:
    """A peer with methods for each thing that the tests look at."""

    def __init__(self) -> None:
        self.wire = Wire()
        self.heard: list[Value] = []
        self.cancelled = 0
        names = [name for name in dir(self) if name.startswith("do_")]
        methods = {name[3:].replace("_", "-"): getattr(self, name) for name in names}
        self.peer = Peer(methods, {"note": lambda plist: self.heard.append(plist)}, self.wire.write)

    async def do_hello(self, args: dict[str, Value]) -> Value:
        return {"name": "smtps", "version": VERSION, "wire": 1, "python": "3", "openssl": "x"}

    async def do_echo(self, args: dict[str, Value]) -> Value:
        """Return the value.

        In whatever form.
        """
        return args.get("value")

    async def do_fail(self, args: dict[str, Value]) -> Value:
        raise UsageError("It was put together wrongly.", where="here", count=3)

    async def do_crash(self, args: dict[str, Value]) -> Value:
        raise ValueError("hunter2")

    async def do_wait(self, args: dict[str, Value]) -> Value:
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return None

    async def do_how_many_cancelled(self, args: dict[str, Value]) -> Value:
        return self.cancelled

    async def do_heard(self, args: dict[str, Value]) -> Value:
        return list(self.heard)

    async def do_call_back(self, args: dict[str, Value]) -> Value:
        value = await self.peer.call(str(args["method"]), {"value": args.get("value")}, 5)
        return ["called", value]

    async def do_flood(self, args: dict[str, Value]) -> Value:
        count = args["count"]
        assert isinstance(count, int)
        for number in range(count):
            self.peer.event("flood", {"number": number, "text": args["text"]})
            await self.wire.drain()
        return Symbol("done")

    async def do_say(self, args: dict[str, Value]) -> Value:
        self.wire.write(str(args["line"]))
        return None

    async def do_complain(self, args: dict[str, Value]) -> Value:
        print(str(args["text"]), file=sys.stderr, flush=True)
        return None

    async def do_exit(self, args: dict[str, Value]) -> Value:
        os._exit(int(str(args.get("status", 0))))

    async def do_stop(self, args: dict[str, Value]) -> Value:
        os.kill(os.getpid(), signal.SIGSTOP)
        return None

    async def do_pid(self, args: dict[str, Value]) -> Value:
        return os.getpid()

    async def do_directory(self, args: dict[str, Value]) -> Value:
        return str(Path.cwd())

    async def serve(self) -> None:
        ended = asyncio.Event()
        self.wire.read(self.peer.receive, ended.set)
        await ended.wait()
        self.peer.gone()
        self.peer.event("farewell", {})
        self.wire.flush(1)


def serve() -> None:
    ignore_hangups()
    asyncio.run(Partner().serve())


def deaf() -> None:
    """Answer one line, then read nothing before SIGUSR1."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    line = b""
    while not line.endswith(b"\n"):
        line += os.read(0, 1)
    os.write(1, b"(return 1 nil)\n")
    signal.sigwait({signal.SIGUSR1})
    serve()


def old() -> None:
    global VERSION
    VERSION = "0.0.1"
    serve()


def garbage() -> None:
    print("Welcome to \x1b[1mnothing\x1b[0m that you know", flush=True)
    silent()


def endless() -> None:
    while True:
        os.write(1, b"y" * 10000)


def silent() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        time.sleep(600)


def lacking() -> None:
    print("a warning\nsmtps: The library sexpdata is not installed.", file=sys.stderr)
    sys.exit(78)


def dying() -> None:
    sys.stdin.readline()
    print("smtps: it is all over", file=sys.stderr)
    sys.exit(3)


WAYS: dict[str, Callable[[], None]] = {
    function.__name__: function
    for function in (serve, deaf, old, garbage, endless, silent, lacking, dying)
}

if __name__ == "__main__":
    WAYS[sys.argv[1]]()

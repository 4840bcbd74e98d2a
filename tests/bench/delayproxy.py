"""A TCP proxy on loopback that delays each direction and counts the client's flights.

A flight is what the client sends once it has heard the server's answer to its last one; the
connect is the first.  So the flights up to a moment are the round trips up to it, and each
takes at least twice the delay, whatever else the machine does.  Bandwidth is not limited.

As a command, it tells each connection's flights at its end, and those of the open ones
whenever a line comes in on standard input: that is the mark, since under TLS nobody but the
two ends knows which flight carried what.  In a process, `Proxy.connection` is asked instead.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import threading
from collections.abc import Callable
from contextlib import suppress

HOST = "127.0.0.1"
DELAY = 0.025
"""Seconds of each direction: 50 ms there and back, as across a continent."""

READ_SIZE = 64 * 1024

STOP_SECONDS = 10
"""What starting and stopping may take; it takes milliseconds."""


class Connection:
    """One client's flights, and who has heard what of them.

    Data carries the number of the newest flight that its sender knew of, so that an answer
    to an older flight which is still on its way is not taken for one to the newest.
    """

    def __init__(self, opened: float) -> None:
        self.opened = opened
        self.flights = 1
        self.reached = 1
        """The newest flight that has come to the server."""
        self.heard = 1
        """The newest flight whose answer has come to the client."""

    def client_sent(self) -> int:
        """Count what the client has just sent; return the number of its flight."""
        if self.heard >= self.flights:
            self.flights += 1
        return self.flights

    def server_sent(self) -> int:
        """Return the flight that what the server has just sent can be an answer to."""
        if self.flights == 1:
            # It speaks first: to the ACK of the client, which carries no data.
            self.flights = self.reached = 2
        return self.reached


class Proxy:
    """Listens on a free port of loopback (PORT 0) and passes all on to TARGET's port.

    DELAY is in seconds, each way.  ENDED is told each connection at its end.
    """

    def __init__(
        self,
        target: int,
        delay: float = DELAY,
        port: int = 0,
        ended: Callable[[Connection], None] = lambda connection: None,
    ) -> None:
        self.delay = delay
        self.port = port
        self._target = target
        self._ended = ended
        self._connections: dict[int, Connection] = {}
        self._handlers: set[asyncio.Task[None]] = set()
        self._stop: Callable[[], object] = lambda: None

    def connection(self, port: int) -> Connection:
        """Return the connection that comes to the target from PORT."""
        return self._connections[port]

    def open(self) -> list[Connection]:
        """Return the connections that are open."""
        return list(self._connections.values())

    # In a thread, for a process that does other things meanwhile

    def __enter__(self) -> Proxy:
        ready = threading.Event()

        async def serve() -> None:
            stopped = asyncio.Event()
            loop = asyncio.get_running_loop()
            self._stop = lambda: loop.call_soon_threadsafe(stopped.set)
            async with await self.listen():
                ready.set()
                await stopped.wait()
                for handler in self._handlers:
                    handler.cancel()

        self._thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
        self._thread.start()
        if not ready.wait(STOP_SECONDS):
            raise RuntimeError("the proxy does not start")
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()
        self._thread.join(STOP_SECONDS)

    # In a loop

    async def listen(self) -> asyncio.Server:
        """Begin to take connections, in the running loop."""
        server = await asyncio.start_server(self._serve, HOST, self.port, limit=READ_SIZE)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._handlers.add(task)
        task.add_done_callback(self._handlers.discard)
        with suppress(OSError, asyncio.CancelledError):
            await self._carry(reader, writer)
        writer.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        now = asyncio.get_running_loop().time()
        connection = Connection(now)
        await asyncio.sleep(self.delay)
        there_reader, there_writer = await asyncio.open_connection(HOST, self._target)
        port = there_writer.get_extra_info("sockname")[1]
        self._connections[port] = connection

        def reached(flight: int) -> None:
            connection.reached = flight

        def heard(flight: int) -> None:
            connection.heard = max(connection.heard, flight)

        directions = [
            asyncio.create_task(
                # The connect takes there and back before the client can send,
                self._direction(
                    reader, there_writer, now + 2 * self.delay, connection.client_sent, reached
                )
            ),
            asyncio.create_task(
                # and there once more before the server sees that it stands.
                self._direction(
                    there_reader, writer, now + 3 * self.delay, connection.server_sent, heard
                )
            ),
        ]
        try:
            await asyncio.gather(*directions)
        finally:
            for direction in directions:
                direction.cancel()
            there_writer.close()
            self._ended(self._connections.pop(port))

    async def _direction(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        earliest: float,
        sent: Callable[[], int],
        came: Callable[[int], None],
    ) -> None:
        """Carry one direction to its end.

        Nothing leaves before EARLIEST; SENT numbers what leaves, CAME hears that it came.
        """
        loop = asyncio.get_running_loop()
        on_the_way: asyncio.Queue[tuple[float, int, bytes]] = asyncio.Queue()

        async def arrive() -> None:
            while True:
                due, flight, data = await on_the_way.get()
                await asyncio.sleep(due - loop.time())
                if not data:
                    break
                came(flight)
                writer.write(data)
                await writer.drain()
            if writer.can_write_eof():
                writer.write_eof()

        arriving = asyncio.create_task(arrive())
        try:
            data = b"begin"
            while data:
                data = await reader.read(READ_SIZE)
                due = max(loop.time(), earliest) + self.delay
                on_the_way.put_nowait((due, sent() if data else 0, data))
            await arriving
        finally:
            arriving.cancel()


async def _main(arguments: argparse.Namespace) -> None:
    def tell(word: str, connection: Connection) -> None:
        print(f"{word} {connection.flights} flights", flush=True)

    def marked() -> None:
        if not sys.stdin.readline():
            loop.remove_reader(sys.stdin)
        for connection in proxy.open():
            tell("so far", connection)

    loop = asyncio.get_running_loop()
    proxy = Proxy(
        arguments.target, arguments.delay / 1000, arguments.port, lambda c: tell("ended", c)
    )
    server = await proxy.listen()
    print(f"listening on {HOST}:{proxy.port}", flush=True)
    with suppress(OSError, ValueError):
        loop.add_reader(sys.stdin, marked)
    async with server:
        await server.serve_forever()


def main() -> None:
    """Read the command line and serve until interrupted."""
    parser = argparse.ArgumentParser(
        prog="delayproxy", description="Delay TCP, and count the client's round trips."
    )
    parser.add_argument("target", type=int, help="the server's port on this machine")
    parser.add_argument("--port", type=int, default=0, help="the proxy's own (a free one)")
    parser.add_argument(
        "--delay", type=float, default=DELAY * 1000, help="milliseconds each way (%(default)g)"
    )
    with suppress(KeyboardInterrupt):
        asyncio.run(_main(parser.parse_args()))


if __name__ == "__main__":
    main()

"""One open connection, in clear or under TLS.

`Stream` is written once, over two ways of waiting: `Waiting` blocks (for a command that
does one thing; it never suspends, so `run` needs no event loop), and `net.loop` waits in
asyncio.  Errors of sockets and of ssl become ours here and nowhere else.
"""

from __future__ import annotations

import socket
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from smtps.errors import ConnectionLostError, SmtpsError, TimedOutError

if TYPE_CHECKING:
    import ssl

    from smtps.net.tls import Established, Layer

READ_SIZE = 65536

T = TypeVar("T")


class Way(Protocol):
    """How to wait for a non-blocking socket; both raise TimeoutError."""

    async def readable(self, connected: socket.socket, timeout: float) -> None:
        """Wait until CONNECTED can be read."""

    async def writable(self, connected: socket.socket, timeout: float) -> None:
        """Wait until CONNECTED can be written."""


class Waiting:
    """Waits by blocking."""

    async def readable(self, connected: socket.socket, timeout: float) -> None:
        """Wait until CONNECTED can be read."""
        self._poll(connected, True, timeout)

    async def writable(self, connected: socket.socket, timeout: float) -> None:
        """Wait until CONNECTED can be written."""
        self._poll(connected, False, timeout)

    def _poll(self, connected: socket.socket, read: bool, timeout: float) -> None:
        import select

        poll = select.poll()
        poll.register(connected, select.POLLIN if read else select.POLLOUT)
        if not poll.poll(max(0.0, timeout) * 1000):
            raise TimeoutError


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a COROUTINE that waits only through `Waiting`, without an event loop."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    coroutine.close()
    raise RuntimeError("a coroutine that should block was suspended")


class Stream:
    """A connected socket; HOST is what the user wrote, for the error texts."""

    def __init__(self, connected: socket.socket, host: str, way: Way) -> None:
        connected.setblocking(False)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = connected
        self._host = host
        self._way = way
        self._tls: Layer | None = None
        self.established: Established | None = None
        self._clear = b""
        self._ended = False

    @property
    def protected(self) -> bool:
        """True under TLS."""
        return self._tls is not None

    async def start_tls(self, made: ssl.SSLContext, timeout: float) -> Established:
        """Make the TLS handshake, verified as the context MADE says, within TIMEOUT seconds."""
        import time

        from smtps.net.tls import Layer

        layer = Layer(made, self._host)
        deadline = time.monotonic() + timeout
        data: bytes | None = None
        while True:
            try:
                out, done = layer.handshake(data)
            except SmtpsError:
                await self._farewell(layer.farewell())
                raise
            if out:
                await self._send(out, deadline - time.monotonic())
            if done:
                break
            data = await self._receive(
                deadline - time.monotonic(), f"{self._host} did not finish the TLS handshake"
            )
        self._tls = layer
        # Under TLS 1.2 the server may speak in the segment that ends the handshake.
        self._clear, _, self._ended = layer.decrypt(None)
        self.established = layer.established
        return self.established

    async def _farewell(self, alert: bytes) -> None:
        if alert:
            try:
                self._socket.send(alert)
            except OSError:
                return

    async def read(self, timeout: float) -> bytes:
        """Return some octets, ``b""`` at the end of the connection.

        Raises TimedOutError after TIMEOUT seconds, ConnectionLostError.
        """
        import time

        deadline = time.monotonic() + timeout
        while True:
            got = self.peek()
            if got or self._ended:
                return got
            try:
                await self._way.readable(self._socket, deadline - time.monotonic())
            except TimeoutError:
                raise self._silent(f"{self._host} did not answer", timeout) from None

    def peek(self) -> bytes:
        """Return what has arrived, without waiting."""
        if self._clear:
            clear, self._clear = self._clear, b""
            return clear
        if self._ended:
            return b""
        try:
            data = self._socket.recv(READ_SIZE)
        except (BlockingIOError, InterruptedError):
            return b""
        except OSError as error:
            self._ended = True
            raise self._lost(error) from None
        if self._tls is None:
            self._ended = not data
            return data
        clear, out, ended = self._tls.decrypt(data)
        self._ended = ended
        if out and not ended:
            try:
                self._socket.send(out)
            except OSError:
                self._ended = True
        return clear

    @property
    def ended(self) -> bool:
        """True once the other side has closed."""
        return self._ended

    @property
    def dropped(self) -> bool:
        """True once we have closed."""
        return self._socket.fileno() < 0

    async def write(self, data: bytes, timeout: float) -> None:
        """Write all of DATA; TIMEOUT seconds may pass without any progress."""
        await self._send(self._tls.encrypt(data) if self._tls else data, timeout)

    async def _send(self, data: bytes, timeout: float) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[self._socket.send(view) :]
            except (BlockingIOError, InterruptedError):
                try:
                    await self._way.writable(self._socket, timeout)
                except TimeoutError:
                    raise self._silent(f"{self._host} stopped taking data", timeout) from None
            except OSError as error:
                raise self._lost(error) from None

    async def _receive(self, timeout: float, what: str) -> bytes:
        while True:
            try:
                return self._socket.recv(READ_SIZE)
            except (BlockingIOError, InterruptedError):
                try:
                    await self._way.readable(self._socket, timeout)
                except TimeoutError:
                    raise self._silent(what, timeout) from None
            except OSError as error:
                raise self._lost(error) from None

    def _silent(self, what: str, timeout: float) -> TimedOutError:
        return TimedOutError(f"{what} within the time allowed.", host=self._host)

    def _lost(self, error: OSError) -> ConnectionLostError:
        return ConnectionLostError(
            f"The connection to {self._host} broke: {(error.strerror or str(error)).lower()}.",
            host=self._host,
        )

    async def close(self) -> None:
        """End the connection, with TLS's own close where there is TLS."""
        try:
            if self._tls is not None and not self._ended:
                self._socket.send(self._tls.close())
        except (OSError, SmtpsError):
            pass
        self.abort()

    def abort(self) -> None:
        """Drop the connection at once."""
        self._ended = True
        self._socket.close()

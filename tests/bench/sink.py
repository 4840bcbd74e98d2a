"""A submission server that takes mails as fast as they come and throws them away.

TLS 1.3 at once, AUTH PLAIN, PIPELINING and, if wanted, CHUNKING.  It answers what came
together in one write (RFC 2920 3.2), and checks the order of the commands, so that a client
which is quick because it leaves something out is found out.
"""

from __future__ import annotations

import base64
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

HOST = "127.0.0.1"
USER = "bench@example.org"
PASSWORD = "secret"
SIZE = 10**9
READ_SIZE = 256 * 1024
LINE_LIMIT = 64 * 1024
END_OF_DATA = b"\r\n.\r\n"


@dataclass(frozen=True)
class Taken:
    """A mail that was accepted: its octets as sent, its recipients, and where it came from."""

    octets: int
    recipients: int
    port: int
    """The client's (the proxy's, where there is one): one connection has one."""


class Gone(Exception):  # noqa: N818 - the client's right
    """The client has closed the connection."""


@dataclass
class Sink:
    """A server on a free port, as a context manager; its CA is written below DIRECTORY.

    IDLE is the seconds after a mail at which the connection is closed with a 421; None for
    never.  TAKEN is called with each mail before its reply leaves.
    """

    directory: Path
    chunking: bool = True
    idle: float | None = None
    taken: Callable[[Taken], None] = lambda mail: None
    mails: list[Taken] = field(default_factory=list)

    def __post_init__(self) -> None:
        import trustme

        self.ca_file = self.directory / "ca.pem"
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self.ca_file)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_3
        authority.issue_cert(HOST).configure_cert(self.context)
        self.changed = threading.Condition()
        self.connections = 0
        """Those that are open."""
        self._listening = socket.create_server((HOST, 0))
        self.port: int = self._listening.getsockname()[1]

    def __enter__(self) -> Sink:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        # Closing alone leaves the thread in accept.
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def wait_closed(self, seconds: float) -> None:
        """Wait until no connection is open."""
        with self.changed:
            if not self.changed.wait_for(lambda: not self.connections, seconds):
                raise TimeoutError("a connection to the sink stays open")

    def _count(self, change: int) -> None:
        with self.changed:
            self.connections += change
            self.changed.notify_all()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connected, address = self._listening.accept()
                self._count(1)
                threading.Thread(
                    target=self._serve, args=(connected, address[1]), daemon=True
                ).start()

    def _serve(self, connected: socket.socket, port: int) -> None:
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            with self.context.wrap_socket(connected, server_side=True) as made:
                _Dialogue(self, made, port).run()
        except OSError:
            connected.close()
        finally:
            self._count(-1)


class _Dialogue:
    """One connection."""

    def __init__(self, sink: Sink, made: ssl.SSLSocket, port: int) -> None:
        self._sink = sink
        self._socket = made
        self._port = port
        self._in = b""
        self._out: list[bytes] = [b"220 sink.example.org ESMTP"]
        self._logged_in = False
        self._reset()

    def _reset(self) -> None:
        self._sender = False
        self._recipients = 0
        self._octets = 0

    def run(self) -> None:
        """Serve until the client goes or has been idle for too long."""
        try:
            while (command := self._line()) is not None:
                answers = self._answer(*_words(command))
                self._out += answers
                if answers[-1].startswith(b"221"):
                    break
        except TimeoutError:
            self._out = [b"421 4.4.2 sink.example.org idle for too long"]
        except Gone:
            return
        self._flush()
        with suppress(OSError):
            self._socket.unwrap()

    # Octets

    def _flush(self) -> None:
        if self._out:
            self._socket.sendall(b"\r\n".join(self._out) + b"\r\n")
            self._out = []

    def _more(self) -> bytes:
        self._flush()
        data = self._socket.recv(READ_SIZE)
        if not data:
            raise Gone
        return data

    def _line(self) -> bytes:
        while b"\n" not in self._in:
            if len(self._in) > LINE_LIMIT:
                raise Gone
            self._in += self._more()
        line, _, self._in = self._in.partition(b"\n")
        return line.rstrip(b"\r")

    def _chunk(self, octets: int) -> None:
        """Swallow a chunk of OCTETS."""
        while len(self._in) < octets:
            octets -= len(self._in)
            self._in = self._more()
        self._in = self._in[octets:]

    def _data(self) -> int:
        """Swallow a message up to its dot; return its octets, the dot's line left out."""
        octets = 0
        # The dot may stand at the very beginning.
        data = b"\r\n" + self._in
        self._in = b""
        while (end := data.find(END_OF_DATA)) < 0:
            kept = data[-len(END_OF_DATA) + 1 :]
            octets += len(data) - len(kept)
            data = kept + self._more()
        self._in = data[end + len(END_OF_DATA) :]
        return octets + end

    # Commands

    def _answer(self, verb: bytes, rest: bytes) -> list[bytes]:
        match verb:
            case b"EHLO":
                offered = [b"PIPELINING", b"8BITMIME", b"ENHANCEDSTATUSCODES"]
                offered += [b"SIZE %d" % SIZE, b"AUTH PLAIN"]
                if self._sink.chunking:
                    offered.append(b"CHUNKING")
                return [
                    b"250-sink.example.org",
                    *(b"250-" + line for line in offered[:-1]),
                    b"250 " + offered[-1],
                ]
            case b"AUTH":
                return [self._login(rest)]
            case b"MAIL" if not self._logged_in:
                return [b"530 5.7.0 log in first"]
            case b"MAIL" if not self._sender and rest.upper().startswith(b"FROM:<"):
                self._sender = True
                return [b"250 2.1.0 sender ok"]
            case b"RCPT" if self._sender and rest.upper().startswith(b"TO:<"):
                self._recipients += 1
                return [b"250 2.1.5 recipient ok"]
            case b"DATA" if self._recipients:
                self._out.append(b"354 go on")
                self._octets = self._data()
                return [self._accept()]
            case b"BDAT" if self._sink.chunking:
                return [self._bdat(rest.split())]
            case b"RSET":
                self._reset()
                return [b"250 2.0.0 ok"]
            case b"NOOP":
                return [b"250 2.0.0 ok"]
            case b"QUIT":
                return [b"221 2.0.0 bye"]
            case b"MAIL" | b"RCPT" | b"DATA":
                return [b"503 5.5.1 out of order"]
        return [b"500 5.5.2 not known"]

    def _login(self, rest: bytes) -> bytes:
        mechanism, _, response = rest.partition(b" ")
        if mechanism.upper() != b"PLAIN":
            return b"504 5.5.4 not known"
        if not response:
            self._out.append(b"334 ")
            response = self._line()
        self._logged_in = base64.b64decode(response) == f"\0{USER}\0{PASSWORD}".encode()
        return b"235 2.7.0 welcome" if self._logged_in else b"535 5.7.8 refused"

    def _bdat(self, words: list[bytes]) -> bytes:
        octets = int(words[0])
        self._chunk(octets)
        if not self._recipients:
            return b"503 5.5.1 out of order"
        self._octets += octets
        if words[1:] and words[1].upper() == b"LAST":
            return self._accept()
        return b"250 2.0.0 %d octets" % octets

    def _accept(self) -> bytes:
        mail = Taken(self._octets, self._recipients, self._port)
        self._reset()
        self._socket.settimeout(self._sink.idle)
        self._sink.taken(mail)
        self._sink.mails.append(mail)
        return b"250 2.0.0 accepted"


def _words(command: bytes) -> tuple[bytes, bytes]:
    verb, _, rest = command.partition(b" ")
    return verb.upper(), rest

"""A server that does as a script says: real sockets, real TLS, and a record of all it heard.

A script names steps (`greeting`, `ehlo`, `ehlo2` for the second one, `handshake`, `auth`,
`response`, `mail`, `rcpt`, `rcpt2`, `data`, `body`, `bdat`, `end`, `quit`, `junk`...) and
gives for each what to do: octets to send, or a tuple of actions.  Steps that it does not
name go well.  Commands are read as a server must read them: in groups, chunks by their
octet count, and a message up to its dot.
"""

from __future__ import annotations

import re
import socket
import ssl
import struct
import threading
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

PATIENCE = 20
"""Seconds after which a connection is dropped, whatever the script says."""

LINGER = 0.1
"""Seconds in which what the client still had under way is read before a close."""

EARLY = 65536
"""Octets of a message after which the step `body` comes."""


@dataclass(frozen=True)
class Say:
    """Send OCTETS; SINGLE octet by octet, with PAUSE seconds after each."""

    octets: bytes
    single: bool = False
    pause: float = 0.0


@dataclass(frozen=True)
class Echo:
    """Send OCTETS with ``%LINE%`` in them replaced by the last word that the client sent."""

    octets: bytes


@dataclass(frozen=True)
class Pause:
    """Send what is due, and wait."""

    seconds: float


@dataclass(frozen=True)
class Close:
    """Go away: ``orderly``, by ``reset``, or ``cut`` (under TLS without close_notify).

    What is under way is read first, but for ``abruptly``, which is a reset.
    """

    how: str = "orderly"


@dataclass(frozen=True)
class Stall:
    """Say no more, but stay and listen."""


@dataclass(frozen=True)
class Flood:
    """Send BLOCK again and again, TIMES times in all."""

    block: bytes
    times: int


Action = Say | Echo | Pause | Close | Stall | Flood
Doing = bytes | tuple[Action, ...]
Steps = Mapping[str, Doing]


class Gone(Exception):  # noqa: N818 - an end, not an error
    """This connection is over."""


@dataclass
class Record:
    """What came over one connection."""

    commands: list[bytes] = field(default_factory=list)
    """Command lines without CRLF."""
    responses: list[bytes] = field(default_factory=list)
    """Answers to a 334."""
    messages: list[bytes] = field(default_factory=list)
    """Whole messages, as a server would store them: CRLF line ends, dots unstuffed."""
    texts: list[bytes] = field(default_factory=list)
    """What of each message was on the wire: the octets before the dot, or of the chunks."""
    clear: bytes = b""
    """All that came before TLS."""
    played: list[str] = field(default_factory=list)
    """The steps that were reached."""
    verdicts: list[bytes] = field(default_factory=list)
    """What was said to each whole message."""
    unfinished: bytes = b""
    """What was left when the connection ended: half a line, or half a message."""

    def verbs(self) -> list[str]:
        """The commands' first words in capitals."""
        words = (command.split(b" ")[0] for command in self.commands)
        return [word.decode("ascii", "backslashreplace").upper() for word in words]


@dataclass(frozen=True)
class Script:
    """How the server behaves."""

    steps: Steps = field(default_factory=dict)
    offers: tuple[str, ...] = ()
    tls: str = "none"
    single: bool = False
    """Every reply goes out octet by octet."""
    swallows: bool = True
    """A chunk of a refused transaction is read over; otherwise it is taken for commands."""


class _Dialogue:
    """One connection."""

    def __init__(
        self, connected: socket.socket, script: Script, context: ssl.SSLContext | None
    ) -> None:
        connected.settimeout(PATIENCE)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = connected
        self._script = script
        self._context = context
        self._protected = False
        self._opaque = False
        """What comes is TLS, and nobody here reads it."""
        self._buffer = b""
        self._due = b""
        self._said = b""
        self._last = b""
        self._count: Counter[str] = Counter()
        self._mail = False
        self._accepted = 0
        self._challenged = False
        self._prompts = 0
        self._in_data = False
        self._text = bytearray()
        self._chunks = b""
        self._wanted: tuple[int, bool] | None = None
        """Octets of a chunk under way, and whether it is the last."""
        self.record = Record()

    # Octets

    def _flush(self) -> None:
        due, self._due = self._due, b""
        if due:
            self._socket.sendall(due)

    def _fill(self) -> None:
        """Send what is due and read some more.  Raises Gone at the end."""
        self._flush()
        data = self._socket.recv(65536)
        if not data:
            raise Gone
        if not self._protected:
            self.record.clear += data
        self._buffer += data

    def _line(self) -> bytes:
        while b"\n" not in self._buffer:
            self._fill()
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.removesuffix(b"\r")

    def _body_came(self, octets: int) -> None:
        if octets >= EARLY and "body" in self._script.steps and not self._count["body"]:
            self.play("body")

    def _message(self) -> None:
        """Read a message up to its dot."""
        text = self._text
        while True:
            seen = len(text)
            text += self._buffer
            self._buffer = b""
            end = 0 if text.startswith(b".\r\n") else text.find(b"\r\n.\r\n", max(0, seen - 4)) + 2
            if end != 1:
                break
            self._body_came(len(text))
            self._fill()
        wire, self._buffer = bytes(text[:end]), bytes(text[end + 3 :])
        text.clear()
        self._in_data = False
        self.record.texts.append(wire)
        self.record.messages.append(re.sub(rb"(\A|\r\n)\.", rb"\1", wire))

    def _chunk(self) -> str:
        """Read the chunk that was announced."""
        assert self._wanted is not None
        octets, last = self._wanted
        while len(self._buffer) < octets:
            self._body_came(len(self._buffer))
            self._fill()
        self._wanted = None
        self._chunks += self._buffer[:octets]
        self._buffer = self._buffer[octets:]
        if not last:
            return "bdat"
        self.record.texts.append(self._chunks)
        self.record.messages.append(self._chunks)
        self._chunks = b""
        return "end"

    # The dialogue

    def run(self) -> None:
        """Play the script to its end."""
        try:
            if self._script.tls == "implicit":
                self._handshake()
            self.play("greeting")
            while True:
                self.play(self._take())
        except Gone:
            pass
        except (OSError, ValueError):
            # The client went away while we were talking: what did it say before?
            self._due = b""
            self._listen()
        finally:
            self.record.unfinished = bytes(self._text) + self._chunks + self._buffer
            with suppress(OSError):
                self._socket.close()

    def _handshake(self) -> None:
        if "handshake" in self._script.steps:
            self._opaque = True
            self.play("handshake")
            self._stall()
        assert self._context is not None
        self._socket = self._context.wrap_socket(self._socket, server_side=True)
        self._protected = True
        self._mail, self._accepted = False, 0

    def _take(self) -> str:
        """Read the next thing the client says, and return which step it is."""
        if self._in_data:
            self._message()
            return "end"
        if self._wanted is not None:
            return self._chunk()
        line = self._last = self._line()
        if self._challenged:
            self._challenged = False
            self.record.responses.append(line)
            return "response"
        self.record.commands.append(line)
        verb = line.split(b" ")[0].upper()
        if verb == b"BDAT":
            match = re.fullmatch(rb"BDAT ([0-9]+)( LAST)?", line, re.IGNORECASE)
            if match is None:
                return "junk"
            if self._script.swallows or self._accepted:
                self._wanted = int(match[1]), match[2] is not None
                return self._chunk()
            return "end" if match[2] else "bdat"
        name = verb.decode("ascii", "replace").lower()
        return name if name in _GOOD or name in ("ehlo", "auth", "data") else "junk"

    def play(self, step: str) -> None:
        """Do what the script has for STEP."""
        self._count[step] += 1
        steps = self._script.steps
        numbered = f"{step}{self._count[step]}"
        name = numbered if numbered in steps else step
        self.record.played.append(name)
        self._said = b""
        doing = steps[name] if name in steps else self._good(step)
        actions = (Say(doing),) if isinstance(doing, bytes) else doing
        for action in actions:
            if isinstance(action, Close | Stall):
                self._notice(step)
            self._do(action)
        self._notice(step)
        if step == "starttls" and self._said.startswith(b"2"):
            self._flush()
            self._handshake()
        elif step == "quit":
            self._close("orderly")

    def _notice(self, step: str) -> None:
        """Remember what was said: what comes next depends on it."""
        said = self._said[:3]
        if step == "end":
            self.record.verdicts.append(self._said)
        if step == "mail":
            self._mail, self._accepted = said[:1] == b"2", 0
        elif step == "rcpt" and said[:1] == b"2":
            self._accepted += 1
        elif step in ("end", "rset", "ehlo", "helo"):
            self._mail, self._accepted = False, 0
        elif step == "data" and said == b"354":
            self._in_data = True
        elif step in ("auth", "response") and said == b"334":
            self._challenged = True

    def _good(self, step: str) -> bytes:
        """What a good server says now."""
        if step == "ehlo":
            offers = [offer for offer in self._script.offers if offer != "STARTTLS"]
            if self._script.tls == "starttls" and not self._protected:
                offers.append("STARTTLS")
            lines = ["mx.test", *offers]
            text = "".join(f"250-{line}\r\n" for line in lines[:-1]) + f"250 {lines[-1]}\r\n"
            return text.encode()
        if step in ("auth", "response"):
            words = self._last.split(b" ")
            if step == "auth":
                self._prompts = 2 if words[1].upper() == b"LOGIN" else int(len(words) == 2)
            if self._prompts:
                self._prompts -= 1
                return b"334 VXNlcm5hbWU6\r\n" if self._prompts else b"334 UGFzc3dvcmQ6\r\n"
            return b"235 2.7.0 Welcome\r\n"
        if step in ("rcpt", "data", "bdat", "end") and not self._mail:
            return b"503 5.5.1 MAIL first\r\n"
        if step in ("data", "bdat", "end") and not self._accepted:
            return b"554 5.5.1 No valid recipients\r\n"
        if step == "data":
            return b"354 Go ahead\r\n"
        return _GOOD.get(step, b"500 5.5.2 What?\r\n")

    def _do(self, action: Action) -> None:
        match action:
            case Say(octets, single, pause):
                self._said += octets
                if single or self._script.single:
                    self._flush()
                    for place in range(len(octets)):
                        self._socket.sendall(octets[place : place + 1])
                        time.sleep(pause)
                else:
                    self._due += octets
            case Echo(octets):
                word = self._last.split(b" ")[-1]
                self._do(Say(octets.replace(b"%LINE%", word)))
            case Pause(seconds):
                self._flush()
                time.sleep(seconds)
            case Flood(block, times):
                self._flush()
                for _ in range(times):
                    self._socket.sendall(block)
            case Stall():
                self._stall()
            case Close(how):
                self._close(how)

    def _listen(self) -> None:
        """Read, and answer nothing, until there is no more."""
        with suppress(OSError, ValueError, Gone):
            while True:
                if self._opaque:
                    self._fill()
                else:
                    self._take()

    def _stall(self) -> None:
        self._flush()
        self._listen()
        raise Gone

    def _close(self, how: str) -> None:
        self._flush()
        if how != "abruptly":
            self._socket.settimeout(LINGER)
            self._listen()
        self._socket.settimeout(1)
        with suppress(OSError):
            if how in ("reset", "abruptly"):
                self._socket.setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                )
            elif how == "orderly" and isinstance(self._socket, ssl.SSLSocket):
                self._socket.unwrap()
        self._socket.close()
        raise Gone


_GOOD = {
    "greeting": b"220 mx.test ESMTP\r\n",
    "helo": b"250 mx.test\r\n",
    "starttls": b"220 2.0.0 Ready to start TLS\r\n",
    "mail": b"250 2.1.0 Sender ok\r\n",
    "rcpt": b"250 2.1.5 Recipient ok\r\n",
    "bdat": b"250 2.0.0 Chunk ok\r\n",
    "end": b"250 2.0.0 Ok: queued as 4Xyz\r\n",
    "rset": b"250 2.0.0 Ok\r\n",
    "noop": b"250 2.0.0 Ok\r\n",
    "quit": b"221 2.0.0 Bye\r\n",
}


class Server:
    """Plays SCRIPT to everybody who connects, until it is left."""

    def __init__(
        self, script: Script, context: ssl.SSLContext | None = None, port: int = 0
    ) -> None:
        self._script = script
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", port))
        # Or a large message disappears in the kernel, and has "left" although nobody read it.
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 128 * 1024)
        self.port = int(self._listener.getsockname()[1])
        self.records: list[Record] = []
        self._threads: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)

    def _accept(self) -> None:
        while True:
            try:
                connected, _ = self._listener.accept()
            except OSError:
                return
            dialogue = _Dialogue(connected, self._script, self._context)
            self.records.append(dialogue.record)
            thread = threading.Thread(target=dialogue.run, daemon=True)
            self._threads.append(thread)
            thread.start()

    def __enter__(self) -> Self:
        self._accepting.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # accept() does not end by close() alone.
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join(PATIENCE)
        for thread in self._threads:
            thread.join(PATIENCE)

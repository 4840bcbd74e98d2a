"""A dialogue by hand: a person leads, and this only carries lines and tells what happens.

Lines typed while a reply is owed wait for it, so that each goes out in the state it was
meant for and is masked as what it is; after `PATIENCE` they go out all the same, but for
those behind STARTTLS, which are meant for TLS: without it they do not leave.  Every line goes
out as typed, but for a login in clear to another machine, which has to be typed twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from smtps.client.account import Account, is_loopback
from smtps.client.dialling import dialled, handshake
from smtps.client.timeouts import seconds
from smtps.client.trusting import Trust
from smtps.errors import (
    ConnectionLostError,
    MessageError,
    NetworkError,
    RemoteProtocolError,
    SmtpsError,
    TimedOutError,
    TlsError,
    UncertainError,
)
from smtps.net.loop import Loop
from smtps.net.streams import Stream
from smtps.protocol.commands import Command, Verb
from smtps.protocol.connection import (
    Connection,
    Ended,
    LineReceived,
    ReplyReceived,
    Violation,
)
from smtps.protocol.states import State
from smtps.protocol.steps import Phase
from smtps.protocol.visible import visible
from smtps.sasl.exchange import readings

PATIENCE = 10.0
"""Seconds that a typed line waits for the reply owed to the one before."""

CLOSED_ORDERLY = "- Peer has closed the TLS connection"
CLOSED_CLEAR = "- Peer has closed the connection"
CLOSED_HERE = "- The session was closed"


@dataclass(frozen=True)
class Told:
    """A line of info about the connection.

    If ``unsent``, nothing will be sent of what was typed and has not left.
    """

    text: str
    unsent: bool = False


@dataclass(frozen=True)
class Received:
    """A line from the server, harmless; ``decoded`` is a 334's text."""

    text: str
    code: int | None
    decoded: str | None


@dataclass(frozen=True)
class Sent:
    """A line that left, masked."""

    text: str
    secret: bool


@dataclass(frozen=True)
class Stands:
    """Where the dialogue stands: the state, what a typed line would be, replies owed."""

    state: str
    secret: str | None
    data: bool
    owed: int


@dataclass(frozen=True)
class Closed:
    """The session's last event; ``error`` is None if it ended in order, by us if ``here``."""

    text: str
    error: SmtpsError | None = None
    here: bool = False


Event = Told | Received | Sent | Stands | Closed


class Session:
    """One dialogue.  EMIT gets each event in order; `Closed` is the last.

    WAIT_FOR_REPLIES is what a script wants: every line waits for its predecessor's reply as
    long as the phase's time-out allows, none is sent once the server has broken the protocol,
    and it is an error if the server closes before QUIT.
    """

    def __init__(
        self,
        account: Account,
        emit: Callable[[Event], None],
        timeout: float | None = None,
        wait_for_replies: bool = False,
        drain: Callable[[], asyncio.Future[None] | None] = lambda: None,
        trust: Trust | None = None,
    ) -> None:
        self.account = account
        self.connection = Connection(by_hand=True, forms=readings)
        self._emit = emit
        self._timeout = timeout
        self._patient = wait_for_replies
        self._drain = drain
        self._trust = trust or Trust()
        self._lines: asyncio.Queue[str | None] = asyncio.Queue()
        self._settled = asyncio.Event()
        self._stream: Stream | None = None
        self._last_stands: Stands | None = None
        self._at_end = False
        self._said_quit = False
        self._shaking = False
        """True while the handshake behind STARTTLS is made."""
        self._in_hand = False
        """True while the first of the typed lines waits for its turn."""
        self._withheld: int | None = None
        """The hash of the line that was not sent, as long as none was typed behind it."""

    def send(self, line: str) -> None:
        """Queue a typed LINE."""
        self._lines.put_nowait(line)

    def end_of_input(self) -> None:
        """No more lines will come: when all is answered, the session ends."""
        self._lines.put_nowait(None)

    @property
    def next_secret(self) -> str | None:
        """What a line typed now would be: username, password, credentials, response or None."""
        return self.connection.next_secret

    async def run(self) -> SmtpsError | None:
        """Hold the session until it ends; return the error that ended it, if one did."""
        error: SmtpsError | None = None
        try:
            await self._hold()
        except SmtpsError as caught:
            error = caught
        except asyncio.CancelledError:
            self._emit(Closed(CLOSED_HERE, here=True))
            raise
        finally:
            if self._stream is not None:
                await self._stream.close()
        under_tls = self._stream is not None and self._stream.protected
        self.connection.close()
        self._stand()
        if isinstance(error, NetworkError) and self._in_doubt():
            error = UncertainError(f"{error.text} Whether it took the message is uncertain.")
        if error is not None:
            self._emit(Closed(error.text, error))
        elif self._at_end and not self._said_quit:
            self._emit(Closed(CLOSED_HERE, here=True))
        else:
            self._emit(Closed(CLOSED_ORDERLY if under_tls else CLOSED_CLEAR))
        return error

    def _in_doubt(self) -> bool:
        return any(command.verb in (Verb.BODY, Verb.BDAT_LAST) for command in self.connection.owed)

    async def _hold(self) -> None:
        self._stand()
        self._stream = await dialled(self.account, Loop(), self._timeout, self._told, self._trust)
        reading = asyncio.create_task(self._read())
        writing = asyncio.create_task(self._write())
        try:
            done, _ = await asyncio.wait((reading, writing), return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (reading, writing):
                task.cancel()
            await asyncio.gather(reading, writing, return_exceptions=True)

    def _told(self, text: str) -> None:
        self._emit(Told(text))

    def _stand(self) -> None:
        connection = self.connection
        stands = Stands(
            connection.state.value,
            None if connection.taking_message else connection.next_secret,
            connection.taking_message,
            len(connection.owed),
        )
        if stands != self._last_stands:
            self._last_stands = stands
            self._emit(stands)

    async def _read(self) -> None:
        stream, connection = self._stream, self.connection
        assert stream is not None
        while True:
            event = connection.next_event()
            if event is None:
                self._stand()
                self._settle()
                waiting = self._drain()
                if waiting is not None:
                    await waiting
                connection.receive(await self._octets(stream))
                continue
            match event:
                case LineReceived():
                    self._emit(Received(event.text, event.code, event.decoded))
                case ReplyReceived():
                    await self._answered(stream, event)
                case Violation():
                    if self._patient:
                        raise RemoteProtocolError(event.text)
                    self._emit(Told(f"! {event.text}"))
                    self._settle()
                case Ended():
                    self._assert_finished()
                    return

    def _assert_finished(self) -> None:
        """Raise ConnectionLostError if the server closed the connection before its time."""
        owed = self.connection.owed
        if self._said_quit and all(command.verb is not Verb.QUIT for command in owed):
            # Answered; what was typed behind it is nobody's.
            return
        if owed and owed[0].verb is not Verb.QUIT:
            what = f"answered “{owed[0].shown}”" if owed[0].shown else "said anything"
            if owed[0].verb is Verb.BODY:
                what = "answered the message"
            raise ConnectionLostError(f"The server closed the connection before it {what}.")
        if self._last_stands is not None and self._last_stands.data:
            raise ConnectionLostError(
                "The server closed the connection while DATA was open: the message was not sent."
            )
        if self._patient and not (self._said_quit or self._at_end):
            raise ConnectionLostError("The server closed the connection before QUIT was said.")

    async def _octets(self, stream: Stream) -> bytes:
        """Read on; an idle server is no fault, a server that owes a reply may be one."""
        while True:
            verb = self.connection.owed[0].verb if self.connection.owed else None
            phase = {Verb.GREETING: Phase.GREETING, Verb.BODY: Phase.END_OF_DATA}.get(
                verb or Verb.OTHER, Phase.COMMAND
            )
            try:
                return await stream.read(seconds(phase, self._timeout))
            except TimedOutError:
                if verb is not None:
                    raise

    async def _answered(self, stream: Stream, event: ReplyReceived) -> None:
        command, reply = event.command, event.reply
        refused = command is not None and reply.category in (4, 5)
        if refused and command is not None and command.verb in (Verb.AUTH, Verb.RESPONSE):
            self._drop_typed_ahead()
        if refused and command is not None and command.verb is Verb.STARTTLS:
            self._stay_quiet(event)
        if command is not None and command.verb is Verb.EHLO and reply.category == 2:
            extensions = self.connection.extensions
            offered = {*extensions, *extensions.mechanisms}
            for warning in self._trust.noted(self.account, stream.protected, offered):
                self._told(f"! {warning}")
        if self.connection.state is State.HANDSHAKE:
            if stream.protected:
                raise RemoteProtocolError(
                    f"{self.account.host} agreed to STARTTLS inside TLS, which can't be begun "
                    "twice: what it reads next can't be known, so the connection was ended."
                )
            self._shaking = True
            self.connection.tls_started()
            await handshake(stream, self.account, self._timeout, self._told, self._trust)
            self._shaking = False
            self._stand()

    def _stay_quiet(self, event: ReplyReceived) -> None:
        """STARTTLS was refused: what was meant for TLS is not sent in clear.

        Raises TlsError where nobody is there to think again.
        """
        if self._patient:
            raise TlsError(
                f"{self.account.host} refused STARTTLS: “{event.reply}”. "
                "Nothing more was sent: in clear anybody on the way could read it."
            )
        self._drop_typed_ahead("STARTTLS")

    def _drop_typed_ahead(self, what: str = "The login") -> None:
        """After WHAT was refused: what was typed ahead may be its secrets, so it is not sent."""
        if self._patient:
            return
        dropped = self._drop()
        if dropped:
            lines = (
                "a line typed ahead was" if dropped == 1 else f"{dropped} lines typed ahead were"
            )
            self._emit(Told(f"! {what} was refused: {lines} not sent.", unsent=True))

    def _drop(self) -> int:
        """Drop what was typed ahead, and return how many lines that was."""
        dropped = int(self._in_hand)
        self._in_hand = False
        while not self._lines.empty():
            if self._lines.get_nowait() is None:
                self._lines.put_nowait(None)
                break
            dropped += 1
        return dropped

    def _withhold(self, line: str) -> bool:
        """Return True, and tell it, if LINE is not sent since it begins a login in clear.

        Typed once more it is.  Raises TlsError where nobody is there to think again.
        """
        assert self._stream is not None
        account, again = self.account, self._withheld == hash(line)
        self._withheld = None
        if self._stream.protected or account.send_in_clear or is_loopback(account.host) or again:
            return False
        if not self.connection.begins_login(line):
            return False
        text = f"not sent: without TLS anybody on the way to {account.host} could read the password"
        if self._patient:
            raise TlsError(f"The login was {text}. Say starttls before, or use --send-in-clear.")
        self._withheld = hash(line)
        self.connection.login_withheld()
        self._drop()
        self._emit(
            Told(f"! This was {text}. Type starttls first; the same line again is sent.", True)
        )
        # Whoever shows it has to ask for the next line.
        self._last_stands = None
        self._stand()
        return True

    @property
    def _before_tls(self) -> bool:
        """True from STARTTLS to the end of the handshake."""
        return self._shaking or any(c.verb is Verb.STARTTLS for c in self.connection.owed)

    def _settle(self) -> None:
        if self.connection.owed or self._shaking:
            self._settled.clear()
        else:
            self._settled.set()

    async def _write(self) -> None:
        stream, connection = self._stream, self.connection
        assert stream is not None
        while True:
            line = await self._lines.get()
            self._in_hand = line is not None
            await self._reply_or_patience(forever=line is None)
            if line is not None and not self._in_hand:
                continue
            self._in_hand = False
            if line is None:
                self._at_end = True
                if connection.taking_message:
                    raise MessageError(
                        "The input ended without a line with only a dot: the message was not sent."
                    )
                return
            if "\n" in line or "\r" in line:
                self._emit(Told("! A line with a line break in it was not sent."))
                continue
            if self._withhold(line):
                continue
            octets, command = connection.send_line(line)
            self._said_quit = self._said_quit or command.verb is Verb.QUIT
            self._settle()
            self._emit(Sent(command.shown, _masked(command, line)))
            self._stand()
            try:
                await stream.write(octets, seconds(Phase.BLOCK, self._timeout))
            except ConnectionLostError:
                # What the server said before it closed is still being read.
                await asyncio.sleep(1)
                raise

    async def _reply_or_patience(self, forever: bool) -> None:
        if self._settled.is_set():
            return
        if self._patient or forever or self._before_tls:
            await self._settled.wait()
            return
        try:
            async with asyncio.timeout(PATIENCE):
                await self._settled.wait()
        except TimeoutError:
            self._emit(Told(f"! No reply for {PATIENCE:g} seconds; what was typed goes out now."))


def _masked(command: Command, line: str) -> bool:
    return command.shown != visible(line)

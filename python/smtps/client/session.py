"""A dialogue by hand: a person leads, and this only carries lines and tells what happens.

Lines typed while a reply is owed wait for it, so that each goes out in the state it was
meant for and is masked as what it is; after `PATIENCE` they go out all the same, but for
those behind STARTTLS, which are meant for TLS: without it they do not leave.  Every line goes
out as typed, but for a login in clear to another machine, which has to be typed twice.

Between two lines the engine may lead for a while (`Session.lead`), over the same connection.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NamedTuple

from smtps.client.account import Account, is_loopback
from smtps.client.dialling import dialled, handshake
from smtps.client.driver import Driver
from smtps.client.login import Ask, choose, once
from smtps.client.timeouts import seconds
from smtps.client.trusting import Trust
from smtps.errors import (
    ConnectionLostError,
    LoginError,
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
from smtps.protocol import connection
from smtps.protocol.by_hand import Part
from smtps.protocol.commands import Command, Verb
from smtps.protocol.connection import (
    Connection,
    Ended,
    LineReceived,
    ReplyReceived,
    Violation,
)
from smtps.protocol.dialogue import Dialogue, Stop
from smtps.protocol.states import State
from smtps.protocol.steps import Chosen, Login, Phase, Send
from smtps.protocol.visible import visible
from smtps.sasl.exchange import readings

PATIENCE = 10.0
"""Seconds that a typed line waits for the reply owed to the one before."""

SHOWN_LINES = 200
"""Lines of a message that are shown when the engine sends it; of the others, how many."""


async def _at_once() -> None:
    """Wait for nobody."""


CLOSED_ORDERLY = "- Peer has closed the TLS connection"
CLOSED_CLEAR = "- Peer has closed the connection"
CLOSED_HERE = "- The session was closed"
DOUBTFUL = (
    "The session was closed before the server had answered the message. Whether it took it is "
    "uncertain."
)


@dataclass(frozen=True)
class Told:
    """A line of info about the connection.

    If ``unsent``, nothing will be sent of what was typed and has not left.
    """

    text: str
    unsent: bool = False


@dataclass(frozen=True)
class Received:
    """A line from the server, harmless; ``decoded`` is a 334's text, ``verb`` what it answers.

    ``bare`` tells that LF alone ended it, ``led`` that the engine leads, and no person.
    """

    text: str
    code: int | None
    decoded: str | None
    verb: Verb | None
    bare: bool = False
    at: int = 0
    """Milliseconds since the session began."""
    led: bool = False


@dataclass(frozen=True)
class Sent:
    """A line that left, masked; ``verb`` is what it was taken for.

    By a person, unless ``led``.
    """

    text: str
    secret: bool
    verb: Verb
    led: bool = False
    at: int = 0
    """Milliseconds since the session began."""


@dataclass(frozen=True)
class Offered:
    """What the server offers from now on, as its EHLO has it; nothing anew under TLS."""

    offers: tuple[str, ...]


@dataclass(frozen=True)
class Stands:
    """Where the dialogue stands: the state, what a typed line would be, replies owed; the
    version of TLS, and the mechanism by which somebody is logged in."""

    state: str
    secret: str | None
    data: bool
    owed: int
    tls: str | None = None
    mechanism: str | None = None


@dataclass(frozen=True)
class Closed:
    """The session's last event; ``error`` is None if it ended in order, by us if ``here``."""

    text: str
    error: SmtpsError | None = None
    here: bool = False


Event = Told | Received | Sent | Offered | Stands | Closed


class _Led(NamedTuple):
    """What the engine is to do, and who waits for it."""

    part: Part
    ask: Ask | None
    for_tls: bool
    result: asyncio.Future[Stop | SmtpsError | None]

    def settle(self, why: Stop | SmtpsError | None) -> None:
        """Tell that it was done, or WHY not."""
        if not self.result.done():
            self.result.set_result(why)


class Session:
    """One dialogue.  EMIT gets each event in order; `Closed` is the last.

    DRAIN is awaited behind each line of the server's, and before the engine reads: it returns
    when there is room for more, so that a server that floods is not read faster than it is shown.

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
        drain: Callable[[], Awaitable[None]] = _at_once,
        trust: Trust | None = None,
    ) -> None:
        self.account = account
        self.connection = Connection(by_hand=True, trace=self._traced, forms=readings)
        self._emit = emit
        self._began = time.monotonic()
        self._timeout = timeout
        self._patient = wait_for_replies
        self._drain = drain
        self._trust = trust or Trust()
        self._lines: asyncio.Queue[str | _Led | None] = asyncio.Queue()
        self._settled = asyncio.Event()
        self._stream: Stream | None = None
        self._last_stands: Stands | None = None
        self._at_end = False
        self._said_quit = False
        self._shaking = False
        """True while the handshake behind STARTTLS is made."""
        self._in_hand = False
        """True while the first of the typed lines waits for its turn."""
        self._leading = False
        self._message_lines = 0
        """Lines sent of a message that the engine is sending."""
        self._noted = self.connection.extensions
        """Of which EHLO the offers were noted."""
        self._ended: asyncio.Future[asyncio.Task[None]] | None = None
        self._reading: asyncio.Task[None] | None = None
        self._withheld: int | None = None
        """The hash of the line that was not sent, as long as none was typed behind it."""

    def send(self, line: str) -> None:
        """Queue a typed LINE."""
        self._lines.put_nowait(line)

    def lead(
        self, part: Part, ask: Ask | None = None, for_tls: bool = False
    ) -> asyncio.Future[Stop | SmtpsError | None]:
        """Let the engine carry out PART when all that was typed before is answered.

        ASK is called if it logs in, once that may be.  FOR_TLS tells that it is to start TLS:
        what is typed behind it does not leave without.  What comes of it is told by events;
        the result says why it could not be done, None if it was.  It is cancelled where PART is
        not begun.
        """
        result: asyncio.Future[Stop | SmtpsError | None]
        result = asyncio.get_running_loop().create_future()
        self._lines.put_nowait(_Led(part, ask, for_tls, result))
        return result

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
            doubt = self.in_doubt
            self._emit(
                Closed(DOUBTFUL, UncertainError(DOUBTFUL), here=True)
                if doubt
                else Closed(CLOSED_HERE, here=True)
            )
            raise
        finally:
            self._cancel_led()
            if self._stream is not None:
                await self._stream.close()
        under_tls = self._stream is not None and self._stream.protected
        self.connection.close()
        self._stand()
        if isinstance(error, NetworkError) and self.in_doubt:
            error = UncertainError(f"{error.text} Whether it took the message is uncertain.")
        if error is not None:
            self._emit(Closed(error.text, error))
        elif self._at_end and not self._said_quit:
            self._emit(Closed(CLOSED_HERE, here=True))
        else:
            self._emit(Closed(CLOSED_ORDERLY if under_tls else CLOSED_CLEAR))
        return error

    def _cancel_led(self) -> None:
        while not self._lines.empty():
            line = self._lines.get_nowait()
            if isinstance(line, _Led):
                line.result.cancel()

    @property
    def in_doubt(self) -> bool:
        """True while a message has left, and nobody knows whether it was taken."""
        owed = list(self.connection.owed)
        if self.connection.inside_chunk:
            # Of the last one octets are missing: without them it is no message.
            owed.pop()
        return any(command.verb in (Verb.BODY, Verb.BDAT_LAST) for command in owed)

    async def _hold(self) -> None:
        self._stand()
        self._stream = await dialled(self.account, Loop(), self._timeout, self._told, self._trust)
        self._ended = asyncio.get_running_loop().create_future()
        self._begin_reading()
        writing = self._ends(asyncio.create_task(self._write()))
        try:
            (await self._ended).result()
        finally:
            tasks = [task for task in (self._reading, writing) if task is not None]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _begin_reading(self) -> None:
        self._reading = self._ends(asyncio.create_task(self._read()))

    def _ends(self, task: asyncio.Task[None]) -> asyncio.Task[None]:
        """Have the session end when TASK does, unless it was cancelled."""

        def done(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and self._ended is not None and not self._ended.done():
                self._ended.set_result(task)

        task.add_done_callback(done)
        return task

    def _told(self, text: str) -> None:
        self._emit(Told(text))

    def _received(self, line: LineReceived) -> None:
        self._emit(Received(*line, self._now, self._leading))

    @property
    def _now(self) -> int:
        return round((time.monotonic() - self._began) * 1000)

    def _stand(self) -> None:
        connection = self.connection
        # What a typed line would be: it waits until the engine is done.
        data = connection.taking_message and not self._leading
        last = self._last_stands
        stands = Stands(
            last.state if self._leading and last else connection.state.value,
            None if data or self._leading else connection.next_secret,
            data,
            len(connection.owed),
            self._stream.established.version
            if self._stream is not None and self._stream.established
            else None,
            connection.mechanism if connection.authenticated else None,
        )
        if stands != self._last_stands:
            self._last_stands = stands
            self._emit(stands)

    async def _read(self) -> None:
        stream, connection = self._stream, self.connection
        assert stream is not None
        while True:
            # Before, since whoever lets the engine lead ends this wait: nothing is lost then.
            await self._drain()
            event = connection.next_event()
            if event is None:
                self._stand()
                self._settle()
                # What has arrived is read without waiting: the others are to have their turn.
                await asyncio.sleep(0)
                connection.receive(await self._octets(stream))
                continue
            match event:
                case LineReceived():
                    self._received(event)
                case ReplyReceived():
                    await self._answered(stream, event)
                case Violation():
                    if self._patient:
                        raise RemoteProtocolError(event.text)
                    self._emit(Told(f"! {event.text}"))
                    self._settle()
                case Ended():
                    if connection.unread:
                        self._told(f"! The server's last line has no end: {connection.cut_line}.")
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
        self._note_offers(stream)
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
            self._note_offers(stream)
            self._stand()

    def _note_offers(self, stream: Stream) -> None:
        """Tell what the server no longer offers, once an EHLO."""
        extensions = self.connection.extensions
        if extensions is self._noted:
            return
        self._noted = extensions
        self._emit(Offered(tuple(" ".join((key, *words)) for key, words in extensions.items())))
        if not extensions:
            return
        offered = {*extensions, *extensions.mechanisms}
        for warning in self._trust.noted(self.account, stream.protected, offered):
            self._told(f"! {warning}")

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
            line = self._lines.get_nowait()
            if line is None:
                self._lines.put_nowait(None)
                break
            if isinstance(line, _Led):
                line.result.cancel()
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
            await self._reply_or_patience(forever=not isinstance(line, str))
            if line is not None and not self._in_hand:
                continue
            self._in_hand = False
            if isinstance(line, _Led):
                await self._lead(stream, line)
                continue
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
            self._emit(Sent(command.shown, _masked(command, line), command.verb, at=self._now))
            self._stand()
            try:
                await stream.write(octets, seconds(Phase.BLOCK, self._timeout))
            except ConnectionLostError:
                # What the server said before it closed is still being read.
                await asyncio.sleep(1)
                raise

    # The engine leads

    async def _lead(self, stream: Stream, led: _Led) -> None:
        """Let LED have the connection, and tell what came of it.

        Raises SmtpsError where the connection is at its end.
        """
        assert self._reading is not None
        # A read that is cancelled has taken nothing from the socket.
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        driver = Driver(
            stream, self.account, Loop(), self._timeout, self._trust, self._written, self._drain
        )
        asked = once(led.ask)

        async def login(step: Login) -> Chosen | None:
            self._assert_may_log_in(stream)
            found = await choose(self.account, step, stream.established, asked)
            return Chosen(found[0]) if found else None

        async def commit(recipients: tuple[int, ...]) -> None:
            # Nothing is kept: whether the message arrived is told to whoever looks on.
            return

        dialogue = Dialogue(self.account.host, self.connection, self._observed)
        self._leading = True
        try:
            self._told(f"- {await driver.drive(led.part(dialogue), login, commit, self._told)}")
            led.settle(None)
        except NetworkError as error:
            led.settle(error)
            raise
        except asyncio.CancelledError:
            # It was begun: that it was not done would be too much to say.
            led.settle(ConnectionLostError(CLOSED_HERE))
            raise
        except (Stop, SmtpsError) as error:
            led.settle(error)
            self._assert_usable(stream, error)
            self._told(f"! {error.text}")
            if led.for_tls and not stream.protected:
                self._drop_typed_ahead("STARTTLS")
        finally:
            led.result.cancel()
            self._leading = False
            self._message_lines = 0
        self._note_offers(stream)
        self._stand()
        if self.connection.state is State.CLOSED:
            raise ConnectionLostError("The server closed the connection.")
        self._settle()
        self._begin_reading()

    def _assert_usable(self, stream: Stream, error: Stop | SmtpsError) -> None:
        """Raise what ERROR says unless the dialogue can go on: TLS was begun, and came to nothing.

        Whom STREAM reached gets nothing more, from whoever leads.
        """
        if self.connection.state is State.HANDSHAKE:
            raise RemoteProtocolError(error.text)
        if stream.dropped and isinstance(error, SmtpsError):
            raise error

    def _assert_may_log_in(self, stream: Stream) -> None:
        """Raise LoginError where a password could be read on its way."""
        account = self.account
        if stream.protected or account.send_in_clear or is_loopback(account.host):
            return
        raise LoginError(
            f"Without TLS the password could be read on the way to {account.host}; STARTTLS "
            "comes first. No password was sent."
        )

    def _observed(self, event: connection.Event) -> None:
        """Show what arrives while the engine leads."""
        match event:
            case LineReceived():
                self._received(event)
            case ReplyReceived():
                self._stand()
            case Violation():
                raise RemoteProtocolError(event.text)

    def _traced(self, direction: str, text: str) -> None:
        if self._leading and direction == "send":
            command = self.connection.owed[-1]
            line = command.line.removesuffix(b"\r\n").decode("utf-8", "surrogateescape")
            masked = _masked(command, line)
            self._emit(Sent(text, masked, command.verb, led=True, at=self._now))
            self._stand()

    def _written(self, step: Send) -> None:
        """Show the lines of a message."""
        if step.phase is not Phase.BLOCK:
            return
        lines = step.data.splitlines()
        for line in lines[: max(0, SHOWN_LINES - self._message_lines)]:
            self._emit(Sent(visible(line), False, Verb.OTHER, led=True, at=self._now))
        self._message_lines += len(lines)
        if self.connection.owed:
            # That was its end.
            more = self._message_lines - SHOWN_LINES
            if more > 0:
                self._told(f"- {more} more lines of the message were sent.")
            self._message_lines = 0
            self._stand()

    async def _reply_or_patience(self, forever: bool) -> None:
        if self._settled.is_set() or self.connection.inside_chunk:
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

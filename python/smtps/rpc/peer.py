"""One end of the RPC: calls in and out, events, cancelling.

The vocabulary is EPC's, with ``cancel`` and ``event`` (DESIGN section 3).  Whatever comes
in, a peer goes on: what can't be read gets an ``epc-error``.  There is no I/O here: lines
come in by ``receive`` and go out by the function that was handed in.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import select
import traceback
from collections.abc import Awaitable, Callable, Mapping
from pathlib import PurePath
from typing import Protocol

from smtps.errors import (
    CallRefusedError,
    CallTimedOutError,
    Detail,
    PeerGoneError,
    SmtpsError,
    UnknownMethodError,
    WireError,
)
from smtps.rpc import codec
from smtps.rpc.codec import Keyword, Symbol, Value

Method = Callable[[dict[str, Value]], Awaitable[Value]]
OnEvent = Callable[[dict[str, Value]], None]

CALL_SECONDS = 60.0
"""A call that is not answered by then is given up."""

ALIVE = "alive"
"""The method that every peer has: its answer, nil, tells that all before it was read."""

LOG_SIZE = 2000
"""Characters of one entry of the log: less than the octets a pipe takes without blocking."""


class Write(Protocol):
    """What a peer writes with: one line without LF; it never blocks and never raises."""

    def __call__(self, line: str, /, *, event: bool = False, newest: str | None = None) -> bool:
        """Queue LINE and return True; False if it was dropped.

        An EVENT may be dropped when the other side has long stopped reading.  A line with
        the same NEWEST that still waits is replaced.
        """
        ...


def log(text: str) -> None:
    """Write TEXT to standard error, for people, unless that would block or fails."""
    try:
        if select.select([], [2], [], 0)[1]:
            os.write(2, f"smtps: {text[:LOG_SIZE]}\n".encode("utf-8", "backslashreplace"))
    except (OSError, ValueError):
        return


class Peer:
    """Serves METHODS (name to coroutine function of one dictionary) and hears EVENTS.

    A method's docstring, and its attribute ``arguments`` if it has one, are what
    ``(methods)`` answers.  A method that raises an SmtpsError is answered with its kind,
    text and details; any other error with ``internal``, and a traceback goes to the log
    (without the error's own text, which may hold a secret).  A call that is cancelled is
    answered ``cancelled``, unless its method goes on past the cancellation: then it is
    answered with what that comes to.
    """

    def __init__(
        self,
        methods: Mapping[str, Method],
        events: Mapping[str, OnEvent],
        write: Write,
    ) -> None:
        self._methods = {ALIVE: _alive, **methods}
        self._events = events
        self._write = write
        self._running: dict[int, asyncio.Task[None]] = {}
        self._waiting: dict[int, asyncio.Future[Value]] = {}
        self._uid = 0
        self._gone = False

    # What goes out

    async def call(
        self, method: str, args: Mapping[str, Value], timeout: float | None = CALL_SECONDS
    ) -> Value:
        """Call METHOD on the other side and return its value.

        Raises CallRefusedError (details: ``refusal``, the error's kind), CallTimedOutError
        after TIMEOUT seconds, PeerGoneError, and WireError for what can't be sent or what
        the other side could not read.  When the caller is cancelled, so is the call.
        """
        if self._gone:
            raise PeerGoneError("Emacs has gone.")
        self._uid += 1
        uid = self._uid
        line = codec.dumps([Symbol("call"), uid, Symbol(method), args])
        answer: asyncio.Future[Value] = asyncio.get_running_loop().create_future()
        self._waiting[uid] = answer
        try:
            self._write(line)
            async with asyncio.timeout(timeout):
                return await answer
        except TimeoutError:
            self._send([Symbol("cancel"), uid])
            raise CallTimedOutError(
                f"Emacs did not answer the call “{method}” within {timeout:g} seconds."
            ) from None
        except asyncio.CancelledError:
            self._send([Symbol("cancel"), uid])
            raise
        finally:
            del self._waiting[uid]

    def event(self, topic: str, plist: Mapping[str, Value], newest: str | None = None) -> None:
        """Tell the other side of TOPIC.

        With NEWEST, an event of this TOPIC with the same NEWEST that was not written yet is
        replaced.  When the other side has not read for very long, events are dropped: who
        tells much awaits `Wire.drain`.  Raises WireError for what can't be sent.
        """
        words: list[Value] = [Symbol("event"), Symbol(topic)]
        for name, value in plist.items():
            words += (Keyword(name.replace("_", "-")), value)
        key = None if newest is None else f"{topic} {newest}"
        self._write(codec.dumps(words), event=True, newest=key)

    def _send(self, form: list[Value]) -> None:
        self._write(codec.dumps(form))

    # What comes in

    def receive(self, line: bytes | WireError) -> None:
        """Take one LINE from the other side; it never raises for what stands in it."""
        if isinstance(line, WireError):
            self._send([Symbol("epc-error"), None, line.text])
            return
        if not line.strip():
            return
        uid: Value = None
        try:
            form = codec.loads(line.decode("utf-8"))
            if not isinstance(form, list) or not form or not isinstance(form[0], Symbol):
                raise WireError("A message is a list that begins with a symbol.")
            # An answer's or event's number is the other direction's.
            if form[0] in ("call", "methods") and len(form) > 1 and type(form[1]) is int:
                uid = form[1]
            self._dispatch(str(form[0]), form[1:])
        except UnicodeDecodeError:
            self._send([Symbol("epc-error"), None, "A message is not UTF-8."])
        except WireError as error:
            self._send([Symbol("epc-error"), uid, error.text])

    def _dispatch(self, kind: str, rest: list[Value]) -> None:
        match kind, rest:
            case "call", [int(uid), Symbol() as method]:
                self._called(uid, str(method), {})
            case "call", [int(uid), Symbol() as method, args]:
                self._called(uid, str(method), codec.plist(args))
            case "methods", [int(uid)]:
                self._send([Symbol("return"), uid, self._described()])
            case "cancel", [int(uid)]:
                if uid in self._running:
                    self._running[uid].cancel()
            case "event", [Symbol() as topic, *plist]:
                self._heard(str(topic), codec.plist(plist))
            case "return", [int(uid), value]:
                self._answered(uid, value, None)
            case "return-error", [int(uid), [Symbol() as name, str(text), *_]]:
                self._answered(uid, None, CallRefusedError(text, refusal=str(name)))
            case "epc-error", [uid, str(text)]:
                # Never answered with another, which would go on for ever.
                if isinstance(uid, int) and uid in self._waiting:
                    self._answered(uid, None, WireError(text))
                else:
                    log(f"the other side could not read a message: {text}")
            case _:
                raise WireError(f"“{kind}” is not a message, or has other parts than these.")

    def _heard(self, topic: str, plist: dict[str, Value]) -> None:
        heard = self._events.get(topic)
        if heard is None:
            return
        try:
            heard(plist)
        except SmtpsError as error:
            log(f"the event “{topic}”: {error.text}")
        except Exception as error:
            _log_error(f"the event “{topic}”", error)

    def _answered(self, uid: int, value: Value, error: SmtpsError | None) -> None:
        answer = self._waiting.get(uid)
        if answer is None or answer.done():
            # Timed out or cancelled before: the answer crossed the cancel.
            return
        if error is None:
            answer.set_result(value)
        else:
            answer.set_exception(error)

    def _called(self, uid: int, name: str, args: dict[str, Value]) -> None:
        if uid in self._running:
            raise WireError(f"The call {uid} is still under way.")
        task = asyncio.get_running_loop().create_task(self._serve(uid, name, args))
        self._running[uid] = task
        task.add_done_callback(lambda task: self._served(uid, task))

    def _served(self, uid: int, task: asyncio.Task[None]) -> None:
        del self._running[uid]
        # Cancelled before its first step, the task never came to answer.
        if task.cancelled():
            self._refuse(uid, "cancelled", "The call was cancelled.")

    async def _serve(self, uid: int, name: str, args: dict[str, Value]) -> None:
        try:
            method = self._methods.get(name)
            if method is None:
                raise UnknownMethodError(f"There is no method “{name}”.")
            self._send([Symbol("return"), uid, await method(args)])
        except SmtpsError as error:
            self._refuse(uid, error.kind, error.text, error.details)
        except Exception as error:
            _log_error(f"the method “{name}”", error)
            self._refuse(uid, "internal", f"An error of the helper's own: {type(error).__name__}.")

    def _refuse(
        self, uid: int, kind: str, text: str, details: Mapping[str, Detail] | None = None
    ) -> None:
        refusal: list[Value] = [Symbol(kind), text]
        for name, value in (details or {}).items():
            refusal += (Keyword(name.replace("_", "-")), value)
        try:
            self._send([Symbol("return-error"), uid, refusal])
        except WireError as error:
            # The text or the details can't be sent: then at least the kind.
            log(f"the error “{kind}” can't be told in full: {error.text}")
            self._send([Symbol("return-error"), uid, [Symbol(kind), "An error; see the log."]])

    def _described(self) -> list[Value]:
        return [
            [
                Symbol(name),
                str(getattr(method, "arguments", "")),
                (inspect.getdoc(method) or "").split("\n\n")[0],
            ]
            for name, method in sorted(self._methods.items())
        ]

    def gone(self) -> None:
        """The other side has gone: nobody waits for it any longer, and it is called no more.

        Calls of its that are under way go on, since they may be past their commit.
        """
        self._gone = True
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(PeerGoneError("Emacs has gone."))


async def _alive(args: dict[str, Value]) -> Value:
    """Answer nil: all that came before was read."""
    return None


def _log_error(where: str, error: Exception) -> None:
    # One line, since the last one is what is told of a helper that dies.
    frames = traceback.extract_tb(error.__traceback__)
    places = [f"{PurePath(f.filename).name}:{f.lineno} {f.name}" for f in frames]
    log(f"an error of our own in {where}: {type(error).__name__} at {', '.join(places)}")

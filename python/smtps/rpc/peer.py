"""One end of the RPC: calls in and out, events, cancelling.

The vocabulary is EPC's, with ``cancel`` and ``event`` (DESIGN section 3).  Whatever comes
in, a peer goes on: what can't be read gets an ``epc-error``.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
import traceback
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from smtps.errors import (
    CallRefusedError,
    CallTimedOutError,
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


class Peer:
    """Serves METHODS (name to coroutine function of one dictionary) and hears EVENTS.

    WRITE takes one line without LF and never blocks.
    """

    def __init__(
        self,
        methods: Mapping[str, Method],
        events: Mapping[str, OnEvent],
        write: Callable[[str], None],
    ) -> None:
        self._methods = methods
        self._events = events
        self._write = write
        self._running: dict[int, asyncio.Task[None]] = {}
        self._waiting: dict[int, asyncio.Future[Value]] = {}
        self._uid = 0

    # What goes out

    async def call(
        self, method: str, args: Mapping[str, Value], timeout: float = CALL_SECONDS
    ) -> Value:
        """Call METHOD on the other side and return its value.

        Raises CallRefusedError, CallTimedOutError after TIMEOUT seconds, PeerGoneError.
        """
        self._uid += 1
        uid = self._uid
        answer: asyncio.Future[Value] = asyncio.get_running_loop().create_future()
        self._waiting[uid] = answer
        try:
            self._send([Symbol("call"), uid, Symbol(method), args])
            async with asyncio.timeout(timeout):
                return await answer
        except TimeoutError:
            self._send([Symbol("cancel"), uid])
            raise CallTimedOutError(
                f"Emacs did not answer the call “{method}” within {timeout:g} seconds."
            ) from None
        finally:
            del self._waiting[uid]

    def event(self, topic: str, plist: Mapping[str, Value]) -> None:
        """Tell the other side of TOPIC."""
        words: list[Value] = [Symbol("event"), Symbol(topic)]
        for name, value in plist.items():
            words += (Keyword(name.replace("_", "-")), value)
        self._send(words)

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
            uid = form[1] if len(form) > 1 and type(form[1]) is int else None
            self._dispatch(str(form[0]), form[1:])
        except UnicodeDecodeError:
            self._send([Symbol("epc-error"), None, "A message is not UTF-8."])
        except WireError as error:
            self._send([Symbol("epc-error"), uid, error.text])

    def _dispatch(self, kind: str, rest: list[Value]) -> None:
        match kind, rest:
            case "call", [int(uid), Symbol() as method, args]:
                self._called(uid, str(method), codec.plist(args))
            case "methods", [int(uid)]:
                self._send([Symbol("return"), uid, self._described()])
            case "cancel", [int(uid)]:
                if uid in self._running:
                    self._running[uid].cancel()
            case "event", [Symbol() as topic, *plist]:
                heard = self._events.get(str(topic))
                if heard is not None:
                    heard(codec.plist(plist))
            case "return", [int(uid), value]:
                self._answered(uid, value, None)
            case "return-error", [int(uid), [Symbol() as name, str(text), *_]]:
                error = CallRefusedError(text, refusal=str(name))
                self._answered(uid, None, error)
            case "epc-error", [uid, str(text)]:
                if isinstance(uid, int):
                    self._answered(uid, None, WireError(text))
                else:
                    print(
                        f"smtps: the other side could not read a message: {text}", file=sys.stderr
                    )
            case _:
                raise WireError(f"“{kind}” is not a message, or has other parts than these.")

    def _answered(self, uid: int, value: Value, error: SmtpsError | None) -> None:
        answer = self._waiting.get(uid)
        if answer is None or answer.done():
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

    async def _serve(self, uid: int, name: str, args: dict[str, Value]) -> None:
        try:
            method = self._methods.get(name)
            if method is None:
                raise UnknownMethodError(f"There is no method “{name}”.")
            self._send([Symbol("return"), uid, await method(args)])
        except asyncio.CancelledError:
            self._refuse(uid, "cancelled", "The call was cancelled.")
        except SmtpsError as error:
            self._refuse(uid, error.kind, error.text, error.details)
        except Exception as error:
            traceback.print_exc()
            self._refuse(uid, "internal", f"An error of the helper's own: {type(error).__name__}.")
        finally:
            del self._running[uid]

    def _refuse(
        self, uid: int, kind: str, text: str, details: Mapping[str, Any] | None = None
    ) -> None:
        refusal: list[Value] = [Symbol(kind), text]
        for name, value in (details or {}).items():
            refusal += (Keyword(name.replace("_", "-")), value)
        self._send([Symbol("return-error"), uid, refusal])

    def _described(self) -> list[Value]:
        return [
            [Symbol(name), getattr(method, "arguments", ""), inspect.getdoc(method) or ""]
            for name, method in sorted(self._methods.items())
        ]

    def gone(self) -> None:
        """The other side has gone: nobody waits for it any longer."""
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(PeerGoneError("Emacs has gone."))

"""A server that floods a dialogue by hand: it is read no faster than it is shown."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from hostile.server import Flood, Say, Script, Server, Stall, Steps

from smtps.client.account import Account
from smtps.client.session import Closed, Event, Received, Session, Told
from smtps.client.trusting import Trust
from smtps.errors import UncertainError
from smtps.protocol import body, by_hand
from smtps.protocol.envelope import Envelope, Message
from smtps.protocol.replies import REPLY_LINES_LIMIT

SHOWN = 20
"""Events after which whoever shows them falls asleep."""

SECONDS = 10


class Sleeper:
    """Shows `SHOWN` events, and no more until it is woken up."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.awake = asyncio.Event()
        self.asleep = asyncio.Event()

    async def drain(self) -> None:
        """Wait, once enough was shown."""
        if len(self.events) >= SHOWN:
            self.asleep.set()
            await self.awake.wait()

    async def shown(self, text: str) -> None:
        """Wait until TEXT was shown."""
        async with asyncio.timeout(SECONDS):
            while text not in (getattr(event, "text", None) for event in self.events):  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    def texts(self) -> list[str]:
        """Return what was shown."""
        return [e.text for e in self.events if isinstance(e, Received | Told)]


def hold(script: Script, doing: Callable[[Session, Sleeper], object]) -> Sleeper:
    """Have DOING, an async function, do something with a session; return what showed it."""

    async def held(port: int) -> Sleeper:
        sleeper = Sleeper()
        session = Session(
            Account("localhost", port, "none"),
            sleeper.events.append,
            drain=sleeper.drain,
            trust=Trust(),
        )
        running = asyncio.create_task(session.run())
        await asyncio.wait_for(doing(session, sleeper), SECONDS)  # type: ignore[arg-type]
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return sleeper

    with Server(script) as server:
        return asyncio.run(held(server.port))


@pytest.mark.parametrize(
    "block", [b"X\r\n" * 10_000, b"250 ok\r\n" * 10_000, b"334 VXNlcm5hbWU6\r\n" * 5000]
)
def test_no_more_is_told_than_is_shown(block: bytes) -> None:
    async def typed(session: Session, sleeper: Sleeper) -> None:
        session.send("noop")
        await sleeper.asleep.wait()
        # However long it lies there.
        await asyncio.sleep(0.2)
        assert len(sleeper.events) <= SHOWN + 2

    hold(Script({"noop": (Flood(block, 1000),)}), typed)


def test_nor_while_the_engine_leads() -> None:
    replies = b"".join(b"250-%d\r\n" % n for n in range(REPLY_LINES_LIMIT - 1)) + b"250 ok\r\n"
    recipients = tuple(f"a{n}@x.org" for n in range(100))

    async def led(session: Session, sleeper: Sleeper) -> None:
        message = Message(lambda: [b"S: x\n\nx\n"], body.shape([b"S: x\n\nx\n"]))
        result = session.lead(by_hand.transaction(Envelope("", recipients), message))
        await sleeper.asleep.wait()
        await asyncio.sleep(0.2)
        assert len(sleeper.events) <= SHOWN + REPLY_LINES_LIMIT + 5
        sleeper.awake.set()
        assert await result is None

    sleeper = hold(Script({"rcpt": replies}), led)
    assert sum(text == "250-0" for text in sleeper.texts()) == len(recipients)


def test_a_flood_while_the_engine_leads_ends_its_part() -> None:
    async def led(session: Session, sleeper: Sleeper) -> None:
        sleeper.awake.set()
        why = await session.lead(by_hand.greet("none"))
        assert why is not None
        assert "more than 256 lines" in why.text

    sleeper = hold(Script({"ehlo": (Flood(b"250-X\r\n" * 1000, 5), Stall())}), led)
    assert any(text.startswith("! The server sent a reply of more") for text in sleeper.texts())


def test_nothing_is_lost_when_the_engine_takes_over() -> None:
    lines = [f"250-{n}" for n in range(200)]

    async def both(session: Session, sleeper: Sleeper) -> None:
        session.send("noop")
        await sleeper.asleep.wait()
        led = session.lead(by_hand.greet("none"))
        await asyncio.sleep(0.1)
        sleeper.awake.set()
        await led

    said = "".join(f"{line}\r\n" for line in lines).encode()
    sleeper = hold(Script({"noop": said + b"250 end\r\n"}), both)
    assert [text for text in sleeper.texts() if text.startswith("250-")][:200] == lines


def test_hanging_up_before_the_message_is_answered_is_uncertain() -> None:
    message = Message(lambda: [b"S: x\n\nx\n"], body.shape([b"S: x\n\nx\n"]))

    async def led(session: Session, sleeper: Sleeper) -> None:
        sleeper.awake.set()
        result = session.lead(by_hand.transaction(Envelope("", ("a@x.org",)), message))
        await sleeper.shown(".")
        assert not result.done()

    last = hold(Script({"end": (Stall(),)}), led).events[-1]
    assert isinstance(last, Closed)
    assert isinstance(last.error, UncertainError)
    assert "uncertain" in last.text


@pytest.mark.parametrize("lines", [("mail from:<>",), ("bdat 6 last",), ("bdat 6 last", "Te")])
def test_hanging_up_before_the_message_has_left_is_certain(lines: tuple[str, ...]) -> None:
    async def led(session: Session, sleeper: Sleeper) -> None:
        for line in lines:
            session.send(line)
            await sleeper.shown(line)

    stalled: Steps = {"mail": (Say(b""), Stall()), "bdat": (Say(b""), Stall())}
    last = hold(Script(stalled), led).events[-1]
    assert isinstance(last, Closed)
    assert last.error is None

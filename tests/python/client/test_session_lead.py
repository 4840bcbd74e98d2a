"""The engine leads for a while in a dialogue by hand, over the same connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hostile.server import Close, Say, Script, Server, Stall, Steps

from smtps.client import session
from smtps.client.account import Account
from smtps.client.login import Credentials
from smtps.client.session import Event, Offered, Received, Sent, Session, Stands, Told
from smtps.client.trusting import Trust
from smtps.errors import CertificateError, SmtpsError
from smtps.protocol import body, by_hand
from smtps.protocol.by_hand import Part
from smtps.protocol.envelope import Envelope, Message
from smtps.sandbox.server import PASSWORD, USER, Sandbox
from smtps.trust import pins

TEXT = b"Subject: x\n\n.dot\nText\n"
LOGIN = object()
Typed = str | Part | object


def message(octets: bytes = TEXT) -> Message:
    return Message(lambda: [octets], body.shape([octets]))


def held(
    account: Account,
    typed: Sequence[Typed],
    password: str = PASSWORD,
    trust: Trust | None = None,
    for_tls: bool = False,
) -> tuple[list[str], SmtpsError | None]:
    """Type and hand over in turn; return what was shown, and the error at the end."""
    shown: list[str] = []

    def emit(event: Event) -> None:
        match event:
            case Told(text):
                shown.append(text)
            case Received(text):
                shown.append(f"recv> {text}")
            case Sent(text=text, led=led):
                shown.append(f"{'led' if led else 'send'}> {text}")

    async def ask() -> Credentials:
        return Credentials(USER, password)

    async def hold() -> SmtpsError | None:
        one = Session(account, emit, 5, trust=trust or Trust())
        for what in typed:
            if isinstance(what, str):
                one.send(what)
            elif what is LOGIN:
                one.lead(by_hand.log_in, ask)
            else:
                one.lead(what, for_tls=for_tls)  # type: ignore[arg-type]
        one.end_of_input()
        return await asyncio.wait_for(one.run(), 20)

    return shown, asyncio.run(hold())


def at(sandbox: Sandbox, tls: str = "implicit", mechanism: str = "") -> Account:
    port = sandbox.port if tls == "implicit" else sandbox.starttls_port
    return Account(
        "localhost", port, tls, USER, ca_file=str(sandbox.ca_file),
        mechanisms=(mechanism,) if mechanism else (),
    )  # fmt: skip


def test_by_hand_and_by_the_engine_on_one_connection(sandbox: Sandbox) -> None:
    envelope = Envelope("me@x.org", ("you@y.org",))
    shown, error = held(
        at(sandbox, mechanism="PLAIN"),
        ["ehlo me", LOGIN, "noop", by_hand.transaction(envelope, message()), "rset", "quit"],
    )
    assert error is None
    lines = [
        line for line in shown if line.startswith(("send>", "led>", "- Logged", "- localhost"))
    ]
    assert lines == [
        "send> ehlo me",
        "led> AUTH PLAIN <the-encoded-auth-credentials>",
        "- Logged in by PLAIN.",
        "send> noop",
        f"led> MAIL FROM:<me@x.org> SIZE={len(TEXT) + 4}",
        "led> RCPT TO:<you@y.org>",
        "led> DATA",
        "led> Subject: x",
        "led> ",
        "led> ..dot",
        "led> Text",
        "led> .",
        lines[12],
        "send> rset",
        "send> quit",
    ]
    assert "accepted the message for 1 recipient" in lines[12]
    # One command after the other, though the server takes them together.
    mail = next(i for i, line in enumerate(shown) if line.startswith("led> MAIL"))
    assert [line.split()[0] for line in shown[mail : mail + 5]] == ["led>", "recv>"] * 2 + ["led>"]
    assert sum("recv> 235" in line for line in shown) == 1
    [kept] = list(Path(sandbox.maildir).glob("new/*"))
    assert kept.read_bytes().endswith(b".dot\r\nText\r\n") or kept.read_bytes().endswith(
        b".dot\nText\n"
    )


def test_the_message_alone_behind_an_envelope_typed_by_hand(sandbox: Sandbox) -> None:
    shown, error = held(
        at(sandbox),
        [by_hand.greet("none"), LOGIN, "mail from:<me@x.org>", "rcpt to:<you@y.org>", "data",
         "X-By-Hand: yes", by_hand.text(message()), "quit"],
    )  # fmt: skip
    assert error is None
    assert any(line.startswith("- localhost accepted the message") for line in shown)
    [kept] = list(Path(sandbox.maildir).glob("new/*"))
    assert b"X-By-Hand: yes" in kept.read_bytes()


def test_chunks_typed_by_hand_do_not_wait_for_a_reply(tmp_path: Path) -> None:
    with Sandbox(tmp_path / "chunks", more=("CHUNKING",)) as sandbox:
        shown, error = held(
            at(sandbox),
            [by_hand.greet("none"), LOGIN, "mail from:<me@x.org>", "rcpt to:<you@y.org>",
             "bdat 14", "Subject: x", "", "bdat 6 last", "Text", "quit"],
        )  # fmt: skip
        [kept] = list(Path(sandbox.maildir).glob("new/*"))
        assert kept.read_bytes().split()[-3:] == [b"Subject:", b"x", b"Text"]
    assert error is None
    assert not [line for line in shown if line.startswith("!")]


def test_the_message_says_data_itself_and_needs_an_envelope(sandbox: Sandbox) -> None:
    shown, error = held(
        at(sandbox),
        [LOGIN, by_hand.text(message()), "mail from:<me@x.org>", "rcpt to:<you@y.org>",
         by_hand.text(message()), "quit"],
    )  # fmt: skip
    assert error is None
    assert any(line.startswith("! The message comes behind MAIL and RCPT") for line in shown)
    assert shown.index("led> DATA") > shown.index("send> rcpt to:<you@y.org>")
    assert len(list(Path(sandbox.maildir).glob("new/*"))) == 1


def test_starttls_and_the_login_behind_it(sandbox: Sandbox) -> None:
    shown, error = held(at(sandbox, "starttls"), [by_hand.greet("starttls"), LOGIN, "quit"])
    assert error is None
    assert shown.index("led> STARTTLS") < next(
        i for i, line in enumerate(shown) if "Handshake was completed" in line
    )
    assert sum(line.startswith("led> EHLO") for line in shown) == 2
    assert any(line.startswith("- Logged in by ") for line in shown)


def test_a_server_that_tls_does_not_find_right_gets_nothing_more(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    """By the authorities it is not right; by the pin, though the handshake as such is done."""
    account = at(sandbox, "starttls", "PLAIN")
    pins.add(tmp_path / "pins", account.host, account.port, "sha256//" + "A" * 43 + "=")
    for one, trust in (
        (account._replace(ca_file=None), Trust()),
        (account, Trust(tmp_path / "pins")),
    ):
        shown, error = held(one, [by_hand.greet("starttls"), LOGIN, "noop"], trust=trust)
        assert isinstance(error, CertificateError)
        left = [line for line in shown if line.startswith(("led>", "send>"))]
        assert left == ["led> EHLO [127.0.0.1]", "led> STARTTLS"]


def test_without_starttls_it_is_told_what_was_not_sent() -> None:
    """EHLO was."""
    with Server(Script({"ehlo": b"250 mx.test\r\n"}, tls="starttls")) as server:
        shown, _ = held(
            Account("localhost", server.port, "starttls"), [by_hand.greet("starttls"), "quit"]
        )
    [told] = [line for line in shown if line.startswith("!")]
    assert "does not offer STARTTLS, so no mail and no password was sent" in told


STARTTLS_FAILS: dict[str, Steps] = {
    "more text behind it": {"starttls": (Say(b"220 go\r\n250 as if under TLS\r\n"), Stall())},
    "refused": {"starttls": b"454 4.7.0 not now\r\n"},
    "no longer offered": {"ehlo": b"250 mx.test\r\n"},
    "answered by what is none": {"starttls": b"354 hm\r\n"},
}


@pytest.mark.parametrize("steps", STARTTLS_FAILS.values(), ids=STARTTLS_FAILS)
def test_what_is_typed_behind_starttls_does_not_leave_without_it(steps: Steps) -> None:
    with Server(Script(steps, tls="starttls")) as server:
        held(
            Account("localhost", server.port, "starttls"),
            [by_hand.greet("starttls"), "mail from:<me@x.org>"], for_tls=True,
        )  # fmt: skip
    assert b"MAIL" not in server.records[0].clear.upper()


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5", "DIGEST-MD5"])
def test_a_wrong_password_is_told_and_the_person_goes_on(sandbox: Sandbox, mechanism: str) -> None:
    wrong = "Tr0ub4dor & 3"
    shown, error = held(at(sandbox, mechanism=mechanism), [LOGIN, "noop", "quit"], wrong)
    assert error is None
    told = [line for line in shown if line.startswith("! ")]
    assert len(told) == 1
    assert f"refused the login ({mechanism})" in told[0]
    assert "send> noop" in shown
    assert wrong not in "\n".join(shown)


def test_a_second_login_is_not_made(sandbox: Sandbox) -> None:
    shown, error = held(at(sandbox), [LOGIN, LOGIN, "quit"])
    assert error is None
    assert "! You are logged in already." in shown


def test_no_password_leaves_in_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    with Server(Script({}, tls="starttls", offers=("AUTH PLAIN",))) as server:
        monkeypatch.setattr(session, "is_loopback", lambda host: False)
        shown, error = held(Account("localhost", server.port, "starttls", USER), [LOGIN, "quit"])
    assert error is None
    assert any("STARTTLS comes first. No password was sent." in line for line in shown)
    assert b"AUTH" not in server.records[0].clear.upper()


def test_of_a_long_message_the_beginning_is_shown(sandbox: Sandbox) -> None:
    octets = b"S: x\n\n" + b"".join(b"%d\n" % n for n in range(5000))
    envelope = Envelope("", ("you@y.org",))
    shown, error = held(
        at(sandbox), [LOGIN, by_hand.transaction(envelope, message(octets)), "quit"]
    )
    assert error is None
    assert f"- {5003 - session.SHOWN_LINES} more lines of the message were sent." in shown
    assert sum(line.startswith("led> ") for line in shown) < session.SHOWN_LINES + 20


REFUSED: dict[str, tuple[Steps, Callable[[list[str]], bool]]] = {
    "a recipient": (
        {"rcpt": b"550 5.1.1 nobody\r\n"},
        lambda shown: "! localhost refused you@y.org: “550 5.1.1 nobody”." in shown,
    ),
    "the message": (
        {"end": b"554 5.7.1 spam\r\n"},
        lambda shown: "! localhost refused the message: “554 5.7.1 spam”." in shown,
    ),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_what_is_refused_is_told_and_the_session_goes_on(
    case: tuple[Steps, Callable[[list[str]], bool]],
) -> None:
    steps, expected = case
    with Server(Script(steps, tls="none")) as server:
        envelope = Envelope("me@x.org", ("you@y.org",))
        shown, error = held(
            Account("localhost", server.port, "none"),
            [by_hand.transaction(envelope, message()), "noop", "quit"],
        )
    assert expected(shown), shown
    assert error is None
    assert "send> noop" in shown


def test_what_a_server_offers_is_told_harmless() -> None:
    with Server(Script(offers=("EV\x1b[31mIL",), tls="none")) as server:
        shown, _ = held(Account("localhost", server.port, "none"), [by_hand.greet("none"), "quit"])
    assert any(line.startswith("- localhost offers ") and "EV" in line for line in shown)
    assert not any("\x1b" in line for line in shown)


ASKED: dict[str, tuple[Steps, str, bool]] = {
    "taken": (
        {},
        "- localhost would take you@y.org: “",
        True,
    ),
    "refused": (
        {"rcpt": b"550 5.1.1 nobody\r\n"},
        "! localhost refused you@y.org: “550 5.1.1 nobody”.",
        True,
    ),
    "no login": (
        {"mail": b"530 5.7.0 log in\r\n"},
        "! localhost refused the sender, so it was not asked about the recipient: “530 5.7.0",
        False,
    ),
}
"""What the server says to the question, what is told, and if RCPT was said."""


@pytest.mark.parametrize("case", ASKED.values(), ids=ASKED)
def test_it_asks_about_a_recipient(case: tuple[Steps, str, bool]) -> None:
    steps, expected, said = case
    with Server(Script(steps, tls="none")) as server:
        shown, error = held(
            Account("localhost", server.port, "none"),
            [by_hand.verify(Envelope("me@x.org", ("you@y.org",))), "noop", "quit"],
        )
    assert any(line.startswith(expected) for line in shown), shown
    assert error is None
    assert "led> MAIL FROM:<me@x.org>" in shown
    assert (
        [line for line in shown if line.startswith(("led> RCPT", "led> RSET"))]
        == ["led> RCPT TO:<you@y.org>", "led> RSET"]
    ) is said
    assert "send> noop" in shown


def test_a_server_that_goes_away_ends_the_session() -> None:
    with Server(Script({"mail": (Close(),)}, tls="none")) as server:
        envelope = Envelope("me@x.org", ("you@y.org",))
        shown, error = held(
            Account("localhost", server.port, "none"),
            [by_hand.transaction(envelope, message()), "noop"],
        )
    assert error is not None
    assert error.status == 69
    assert "send> noop" not in shown


def test_what_is_offered_and_who_is_logged_in_is_told(sandbox: Sandbox) -> None:
    events: list[Event] = []

    async def ask() -> Credentials:
        return Credentials(USER, PASSWORD)

    async def hold() -> None:
        one = Session(at(sandbox, "starttls"), events.append, 5)
        for line in ("ehlo me", "starttls", "ehlo me"):
            one.send(line)
        one.lead(by_hand.log_in, ask)
        one.end_of_input()
        await asyncio.wait_for(one.run(), 20)

    asyncio.run(hold())
    offered = [event.offers for event in events if isinstance(event, Offered)]
    assert ["STARTTLS" in offers for offers in offered] == [True, False, False]
    # What was heard in clear counts no more under TLS.
    assert offered[1] == ()
    assert any(offer.startswith("AUTH ") for offer in offered[2])
    mechanisms = [event.mechanism for event in events if isinstance(event, Stands)]
    assert mechanisms[0] is None
    assert mechanisms[-2] == "PLAIN"
    times = [event.at for event in events if isinstance(event, Received | Sent)]
    assert times == sorted(times)
    assert times[-1] > 0


@pytest.mark.parametrize("step", ["mail", "end"])
def test_a_reply_that_is_owed_to_the_engine_is_told(step: str) -> None:
    """Or whoever hangs up is asked whether nothing is waited for."""
    events: list[Event] = []

    async def hold(port: int) -> None:
        one = Session(Account("localhost", port, "none"), events.append, 1)
        one.lead(by_hand.transaction(Envelope("me@x.org", ("you@y.org",)), message()))
        await asyncio.wait_for(one.run(), 20)

    with Server(Script({step: (Stall(),)}, tls="none")) as server:
        asyncio.run(hold(server.port))
    stands = [event for event in events if isinstance(event, Stands)]
    # While the engine leads no typed line is a message's; the last tells that it was closed.
    assert any(one.owed == 1 and not one.data for one in stands[-3:-1])

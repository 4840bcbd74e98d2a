"""The engine against scripted servers: every verdict, whole and octet by octet."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import deliver

from smtps.errors import AddressError, LocalProtocolError, RemoteProtocolError
from smtps.protocol import address, body, commands
from smtps.protocol.connection import (
    Connection,
    Ended,
    Event,
    LineReceived,
    ReplyReceived,
    Violation,
)
from smtps.protocol.outcome import Verdict
from smtps.protocol.replies import (
    LINE_LIMIT,
    REPLY_LIMIT,
    REPLY_LINES_LIMIT,
    LineReader,
    Reply,
    ReplyAssembler,
)
from smtps.protocol.states import ALLOWED, TRANSITIONS, State
from smtps.protocol.steps import Chosen
from smtps.sasl.login import Login
from smtps.sasl.plain import Plain

EHLO = b"250-mx\r\n250-PIPELINING\r\n250-AUTH PLAIN LOGIN\r\n250 SIZE 1000\r\n"
SLOW = b"250 mx\r\n"


OK = b"250 2.0.0 ok\r\n"
GO = b"354 go\r\n"

CASES: list[tuple[str, list[bytes | None], int]] = [
    ("accepted", [b"220 hi\r\n", EHLO, OK, OK, GO, OK], 0),
    ("accepted without pipelining", [b"220 hi\r\n", SLOW, OK, OK, GO, OK], 0),
    ("HELO where EHLO is unknown", [b"220 hi\r\n", b"502 no\r\n", OK, OK, OK, GO, OK], 0),
    ("greeting refused for good", [b"554 no\r\n"], 65),
    ("greeting refused for now", [b"421 busy\r\n"], 75),
    ("garbage for a greeting", [b"SSH-2.0-x\r\n"], 76),
    ("closed at once", [None], 69),
    ("silent", [], 69),
    ("EHLO and HELO refused", [b"220 hi\r\n", b"550 no\r\n"], 65),
    (
        "sender refused for good",
        [b"220 hi\r\n", EHLO, b"550 no\r\n", b"503 no\r\n", b"503 no\r\n"],
        65,
    ),
    ("sender refused for now", [b"220 hi\r\n", SLOW, b"451 no\r\n"], 75),
    ("login wanted", [b"220 hi\r\n", SLOW, b"530 5.7.0 no\r\n"], 77),
    (
        "recipient refused for good",
        [b"220 hi\r\n", EHLO, OK, b"550 5.1.1 no\r\n", b"554 none\r\n"],
        67,
    ),
    (
        "recipient refused, 354 all the same",
        [b"220 hi\r\n", EHLO, OK, b"550 5.1.1 no\r\n", GO, b"554 none\r\n"],
        67,
    ),
    ("recipient refused for now", [b"220 hi\r\n", SLOW, OK, b"450 later\r\n"], 75),
    ("DATA refused", [b"220 hi\r\n", SLOW, OK, OK, b"554 no\r\n"], 65),
    ("250 for DATA", [b"220 hi\r\n", SLOW, OK, OK, OK], 76),
    ("message refused for good", [b"220 hi\r\n", EHLO, OK, OK, GO, b"554 5.7.1 spam\r\n"], 65),
    ("message refused for now", [b"220 hi\r\n", EHLO, OK, OK, GO, b"451 later\r\n"], 75),
    ("lost after the dot", [b"220 hi\r\n", EHLO, OK, OK, GO, None], 74),
    ("silent after the dot", [b"220 hi\r\n", EHLO, OK, OK, GO], 74),
    ("unintelligible after the dot", [b"220 hi\r\n", EHLO, OK, OK, GO, b"\x00\xff\r\n"], 74),
    ("354 after the dot", [b"220 hi\r\n", EHLO, OK, OK, GO, GO], 74),
    ("lost after RCPT", [b"220 hi\r\n", SLOW, OK, None], 69),
    ("334 for MAIL", [b"220 hi\r\n", SLOW, b"334 eA==\r\n"], 76),
    ("codes change in a reply", [b"220 hi\r\n", b"250-a\r\n251 b\r\n"], 76),
    ("a code that does not exist", [b"220 hi\r\n", b"999 a\r\n"], 76),
    ("a second reply too early", [b"220 hi\r\n220 again\r\n"], 76),
    ("too large", [b"220 hi\r\n", b"250-mx\r\n250 SIZE 3\r\n"], 65),
]


@pytest.mark.parametrize("single", [False, True], ids=["whole", "octet by octet"])
@pytest.mark.parametrize(("replies", "status"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_verdict(replies: list[bytes | None], status: int, single: bool) -> None:
    outcome, script, _ = deliver(replies, single=single)
    assert outcome.status == status, outcome
    assert outcome.text
    assert all(ord(c) >= 32 for c in outcome.text)
    # Nothing of a body leaves before the commit.
    assert b"S: x" not in (script.before_commit if script.commits else script.heard)


def test_one_refused_recipient_does_not_stop_the_other() -> None:
    outcome, script, _ = deliver(
        [b"220 hi\r\n", EHLO, OK, b"550 5.1.1 no\r\n", OK, GO, OK], ("a@x", "b@x")
    )
    assert [fate.verdict for fate in outcome.fates] == [Verdict.REFUSED, Verdict.ACCEPTED]
    assert outcome.status == 67
    assert script.commits == [(1,)]


def test_dots_are_stuffed_and_the_end_is_ours() -> None:
    _, script, _ = deliver([b"220 hi\r\n", EHLO, OK, OK, GO, OK], text=b".\r\nRCPT TO:<z@z>\n.\n")
    assert b"DATA\r\n..\r\nRCPT TO:<z@z>\r\n..\r\n.\r\n" in script.heard


@pytest.mark.parametrize("password", ["secret", 'pässwörd "quoted" 100%'])
@pytest.mark.parametrize("refused", [False, True])
def test_logins(password: str, refused: bool) -> None:
    end = b"535 5.7.8 no\r\n" if refused else b"235 ok\r\n"
    plain, heard, _ = deliver(
        [b"220 hi\r\n", EHLO, end, OK, OK, GO, OK], choice=Chosen(Plain("u", password))
    )
    login, heard_too, _ = deliver(
        [b"220 hi\r\n", EHLO, b"334 User Name\r\n", b"334 eA==\r\n", end, OK, OK, GO, OK],
        choice=Chosen(Login("u", password)),
    )
    assert plain.status == (77 if refused else 0)
    # A prompt that is not base64 ends the login.
    assert login.status == 77 or not refused
    assert password not in plain.text + login.text
    assert b"AUTH PLAIN " in heard.heard
    assert b"AUTH LOGIN\r\n" in heard_too.heard


def test_a_server_that_echoes_the_password_gets_it_masked() -> None:
    outcome, _, _ = deliver(
        [b"220 hi\r\n", EHLO, b"535 bad password hunter2 aHVudGVyMg==\r\n"],
        choice=Chosen(Plain("u", "hunter2")),
    )
    assert outcome.status == 77
    assert "hunter2" not in outcome.text
    assert "aHVudGVyMg==" not in outcome.text


@pytest.mark.parametrize(
    ("password", "told", "shown"),
    [
        ("b", b"535 5.7.8 bad b, (b) Yg==", "535 5.7.8 bad <masked>, (<masked>) <masked>"),
        ("\xe4", "535 5.7.8 \xe4h \xe4 \\u00e4".encode(), "535 5.7.8 \xe4h <masked> <masked>"),
        ("535", b"535 5.7.8 535 1535", "535 5.7.8 <masked> 1535"),
        ("535 ", b"535 5.7.8 535 -", "535 5.7.8 <masked>-"),
        (
            'p\xe4 "\U0001f600"',
            rb'535 "p\u00e4 \"\ud83d\uDE00\"',
            '535 "<masked>',
        ),
        ('p\xe4 "\U0001f600"', rb"535 p\u00e4 \"\ud83d\ude00\"", "535 <masked>"),
        ('p\xe4 "\U0001f600"', rb"535 p\u00E4 \"\uD83D\uDE00\"", "535 <masked>"),
        ("x" * 200, b"535 " + b"x" * 201, "535 <masked>x"),
        ("secret", b'500 "C2VJCMV0" Secret SECRETS', '500 "<masked>" <masked> <masked>S'),
        ("ok", b"250 Ok, not ok", "250 Ok, not <masked>"),
    ],
)
def test_what_is_masked_and_what_is_not(password: str, told: bytes, shown: str) -> None:
    connection, _, _ = by_hand(b"220 hi\r\n", "ehlo x", OK)
    connection.send(commands.auth("PLAIN", "AHUAeA==", Plain("u", password).secrets))
    connection.receive(told + b"\r\n")
    event = connection.next_event()
    assert isinstance(event, LineReceived)
    assert event.text == shown


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "a b@x",
        "a@x\r\nDATA",
        "a@x>",
        "<a@x>",
        "a@x> SIZE=1",
        "@a:b@c",
        "a@b@c",
        "a\0@x",
        "é\u202e@x",
        "a" * 300 + "@x",
        "a@",
        '"a@x',
        "a@x y",
    ],
)
def test_addresses_that_could_change_the_command_are_refused(bad: str) -> None:
    with pytest.raises(AddressError):
        address.check(bad)


@pytest.mark.parametrize(
    "good",
    ["a@x", "root", '"a b"@x', "a+b=c@x.org", "a@[127.0.0.1]", "a@[IPv6:::1]", "ü@müller.de"],
)
def test_good_addresses_are_left_as_they_are(good: str) -> None:
    assert address.check(good) == good


def test_every_state_and_reply_is_decided() -> None:
    assert set(ALLOWED) == set(State)
    assert set(TRANSITIONS) == set(commands.Verb)


@given(st.binary(max_size=200), st.integers(1, 7))
def test_replies_do_not_depend_on_how_they_arrive(octets: bytes, size: int) -> None:
    """Whole and in pieces give the same lines; nothing raises but RemoteProtocolError."""

    def read(pieces: list[bytes]) -> list[Reply | str | None]:
        reader, assembler = LineReader(), ReplyAssembler()
        found: list[Reply | str | None] = []
        for piece in pieces:
            reader.feed(piece)
            try:
                while (line := reader.next_line()) is not None:
                    found.append(assembler.add(line, line))
            except RemoteProtocolError as error:
                found.append(error.text)
                return found
        return found

    assert read([octets]) == read([octets[i : i + size] for i in range(0, len(octets), size)])


def test_a_reply_without_end_is_refused() -> None:
    assembler = ReplyAssembler()
    for _ in range(REPLY_LINES_LIMIT - 1):
        assert assembler.add(b"250-", b"250-") is None
    assert assembler.add(b"250 ", b"250 ") is not None
    for _ in range(REPLY_LINES_LIMIT):
        assert assembler.add(b"250-", b"250-") is None
    with pytest.raises(RemoteProtocolError):
        assembler.add(b"250 ", b"250 ")
    line = b"250-" + b"x" * (LINE_LIMIT - 4)
    for _ in range(REPLY_LIMIT // LINE_LIMIT):
        assert assembler.add(line, line) is None
    with pytest.raises(RemoteProtocolError):
        assembler.add(line, line)


def test_no_control_character_gets_into_a_command() -> None:
    for code in (*range(32), 127):
        with pytest.raises(LocalProtocolError):
            commands.line(commands.Verb.NOOP, f"NOOP {chr(code)}")


@given(st.lists(st.text("\r\n.x", max_size=4)))
def test_line_ends_do_not_depend_on_how_the_message_is_cut(chunks: list[str]) -> None:
    cut = [chunk.encode() for chunk in chunks]
    whole = re.sub(rb"\r\n|\r|\n", b"\r\n", b"".join(cut))
    if whole and not whole.endswith(b"\r\n"):
        whole += b"\r\n"
    assert b"".join(body.crlf(cut)) == whole


def test_a_line_without_end_is_refused_in_bounded_memory() -> None:
    reader = LineReader()
    refused = 0
    for _ in range(1000):
        reader.feed(b"2" * 1000)
        try:
            assert reader.next_line() is None
        except RemoteProtocolError:
            refused += 1
        assert len(reader) <= LINE_LIMIT + 1000
    assert refused


@given(st.lists(st.binary(max_size=40)))
def test_body_has_only_crlf_and_its_dots_come_back(chunks: list[bytes]) -> None:
    whole = b"".join(chunks)
    wire = b"".join(body.stuffed(body.crlf(chunks)))
    assert wire == b"".join(body.stuffed(body.crlf([whole])))
    assert b"\r" not in wire.replace(b"\r\n", b"")
    assert b"\n" not in wire.replace(b"\r\n", b"")
    lines = wire.split(b"\r\n")
    assert lines.pop() == b""
    assert b"." not in lines
    clear = b"\n".join(line.removeprefix(b".") if line[:1] == b"." else line for line in lines)
    expected = whole.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    assert clear == expected.removesuffix(b"\n")
    assert body.shape(chunks).octets == sum(map(len, body.crlf(chunks)))


def by_hand(*said: str | bytes) -> tuple[Connection, list[str], list[Event]]:
    """Play a dialogue by hand: text is typed, octets come from the server."""
    connection = Connection(by_hand=True)
    shown: list[str] = []
    events: list[Event] = []
    for word in said:
        if isinstance(word, str):
            shown.append(connection.send_line(word)[1].shown)
        else:
            connection.receive(word)
        while (event := connection.next_event()) is not None:
            events.append(event)
            if isinstance(event, Ended):
                break
    return connection, shown, events


def test_the_documented_dialogue_by_hand_is_masked_and_followed() -> None:
    connection, shown, _ = by_hand(
        b"220 x\r\n", "ehlo localhost.localdomain", EHLO, "auth login", b"334 VXNlcm5hbWU6\r\n",
        "dXNlcg==", b"334 UGFzc3dvcmQ6\r\n", "c2VjcmV0", b"235 ok\r\n", "mail from:<a@b>", OK,
        "rcpt to:<c@d>", OK, "data", GO, "quit", "..", "auth login", ".", OK, "quit", b"221 x\r\n",
    )  # fmt: skip
    assert shown[2:4] == ["<the-base64-username>", "<the-base64-password>"]
    assert shown[7:11] == ["quit", "..", "auth login", "."]
    assert connection.state is State.CLOSING
    assert connection.authenticated


def test_initial_responses_by_hand_are_masked() -> None:
    _, shown, events = by_hand(b"220 x\r\n", "auth plain AHUAc2VjcmV0", b"535 not AHUAc2VjcmV0\r\n")
    assert shown == ["auth plain <the-encoded-auth-credentials>"]
    assert not any("AHUAc2VjcmV0" in str(event) for event in events)


def test_behind_a_bdat_refused_at_once_a_login_is_masked() -> None:
    connection, shown, _ = by_hand(
        b"220 x\r\n", "bdat 100", b"500 what?\r\n", "auth plain AHUAc2VjcmV0"
    )
    assert shown[1:] == ["auth plain <the-encoded-auth-credentials>"]
    assert not connection.taking_message


def test_by_hand_a_server_may_do_anything() -> None:
    _, _, events = by_hand(b"hello\r\n250 too early\r\n\x1b[2J\r\n", b"")
    assert any(isinstance(event, Violation) for event in events)
    lines = [event.text for event in events if isinstance(event, LineReceived)]
    assert lines == ["hello", "250 too early", "^[[2J"]
    assert isinstance(events[-1], Ended)


def test_clear_text_behind_starttls_is_an_attack() -> None:
    connection = Connection(by_hand=True)
    connection.receive(b"220 x\r\n")
    connection.next_event()
    connection.next_event()
    connection.send_line("starttls")
    connection.receive(b"220 go\r\n250 injected\r\n")
    while not isinstance(connection.next_event(), ReplyReceived):
        pass
    with pytest.raises(RemoteProtocolError):
        connection.tls_started()


def test_what_was_said_in_clear_is_forgotten_under_tls() -> None:
    connection = Connection(by_hand=True)
    connection.receive(b"220 hi\r\n")
    for line, reply in (
        ("EHLO x", EHLO),
        ("AUTH PLAIN AHUAcA==", b"235 in\r\n"),
        ("STARTTLS", b"220 go\r\n"),
    ):
        while connection.next_event():
            pass
        connection.send_line(line)
        connection.receive(reply)
    while connection.next_event():
        pass
    assert connection.extensions
    assert connection.hello_accepted
    assert connection.authenticated
    connection.tls_started()
    assert connection.state is State.GREETED
    assert not connection.extensions
    assert not connection.hello_accepted
    assert not connection.authenticated

"""One transaction: what leaves together, and what each pattern of replies comes to."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import Script, deliver, message

from smtps.errors import MessageError
from smtps.protocol import body, parameters, steps, transaction
from smtps.protocol.connection import Connection
from smtps.protocol.dialogue import Dialogue
from smtps.protocol.envelope import Envelope, Message
from smtps.protocol.outcome import Verdict
from smtps.protocol.parameters import Notices, Wishes
from smtps.protocol.replies import Reply
from smtps.protocol.steps import Chosen
from smtps.protocol.submission import Submission
from smtps.protocol.transaction import next_group
from smtps.sasl.login import Login
from smtps.sasl.plain import Plain

HI = b"220 hi\r\n"
OK = b"250 2.0.0 ok\r\n"
GO = b"354 go\r\n"
IN = b"235 2.7.0 in\r\n"
NO_LOGIN = b"535 5.7.8 no\r\n"
NO = b"550 5.1.1 no\r\n"
LATER = b"450 4.2.1 later\r\n"


def ehlo(*keywords: str) -> bytes:
    """Return a reply to EHLO that offers KEYWORDS."""
    lines = ["mx", *keywords]
    return "".join(
        f"250{' ' if i == len(lines) - 1 else '-'}{line}\r\n" for i, line in enumerate(lines)
    ).encode()


BOTH = ehlo("PIPELINING", "CHUNKING", "AUTH PLAIN LOGIN", "SIZE 100000000")
PIPELINED = ehlo("PIPELINING", "AUTH PLAIN LOGIN")
NEW = Chosen(Plain("u", "geheim"))
PROVEN = Chosen(Plain("u", "geheim"), True)


def verbs(flight: bytes) -> list[str]:
    """Return the commands of FLIGHT, without the message."""
    words = []
    while flight:
        line, _, flight = flight.partition(b"\r\n")
        words.append(line.split()[0].decode())
        if line.startswith(b"BDAT"):
            flight = flight[int(line.split()[1]) :]
    return words


# What leaves together


@pytest.mark.parametrize("count", [1, 10])
def test_a_first_login_takes_the_envelope_along_and_the_body_waits(count: int) -> None:
    outcome, script, _ = deliver(
        [HI, BOTH, IN, *[OK] * (count + 2)],
        recipients=tuple(f"r{i}@x" for i in range(count)),
        choice=NEW,
        recent=True,
    )
    assert outcome.verdict is Verdict.ACCEPTED
    assert list(map(verbs, script.flights)) == [
        ["EHLO"],
        ["AUTH", "MAIL", *["RCPT"] * count],
        ["BDAT"],
    ]


def test_with_a_secret_known_to_work_all_leaves_in_one_flight() -> None:
    outcome, script, _ = deliver([HI, BOTH, IN, OK, OK, OK], choice=PROVEN, recent=True)
    assert outcome.verdict is Verdict.ACCEPTED
    assert list(map(verbs, script.flights)) == [["EHLO"], ["AUTH", "MAIL", "RCPT", "BDAT"]]
    assert script.bodies == [b"S: x\r\n\r\n.dot\r\n"]
    assert b"MAIL" not in script.before_commit


def test_without_chunking_data_closes_the_group() -> None:
    _, script, _ = deliver([HI, PIPELINED, IN, OK, OK, GO, OK], choice=PROVEN, recent=True)
    flights = [flight.split(b"\r\n")[0].split()[0] for flight in script.flights]
    assert flights == [b"EHLO", b"AUTH", b"S:"]
    assert verbs(script.flights[1]) == ["AUTH", "MAIL", "RCPT", "DATA"]
    assert script.before_commit.endswith(b"DATA\r\n")


def test_a_login_that_takes_turns_goes_alone() -> None:
    _, script, _ = deliver(
        [HI, BOTH, b"334 VXNlcm5hbWU6\r\n", b"334 UGFzc3dvcmQ6\r\n", IN, OK, OK, OK],
        choice=Chosen(Login("u", "geheim"), True),
        recent=True,
    )
    assert verbs(script.flights[-1]) == ["MAIL", "RCPT", "BDAT"]
    assert verbs(script.flights[1]) == ["AUTH"]


def test_a_long_initial_response_goes_alone_as_a_continuation() -> None:
    outcome, script, _ = deliver(
        [HI, BOTH, b"334 \r\n", IN, OK, OK, OK],
        choice=Chosen(Plain("u", "x" * 2000), True),
        recent=True,
    )
    assert outcome.verdict is Verdict.ACCEPTED
    assert script.flights[1] == b"AUTH PLAIN\r\n"
    assert all(len(line) < 512 for line in script.flights[3].split(b"\r\n")[:3])


def test_nothing_is_pipelined_that_was_not_offered() -> None:
    outcome, script, _ = deliver([HI, ehlo("CHUNKING"), OK, OK, OK], recent=True)
    assert outcome.verdict is Verdict.ACCEPTED
    assert list(map(verbs, script.flights)) == [["EHLO"], ["MAIL"], ["RCPT"], ["BDAT"]]


@pytest.mark.parametrize(
    ("text", "recent"),
    [
        (b"S: x\n\nmail from:<a@b>\n", True),
        (b"S: x\n\n \tQUIT\n", True),
        (b"S: x\n\n" + b"x\n" * 40000, True),
        (b"S: x\n\nhello\n", False),
    ],
    ids=["a line that is a command", "one behind blanks", "a large one", "not heard lately"],
)
def test_a_body_that_must_not_ride_waits_for_the_replies(text: bytes, recent: bool) -> None:
    _, script, _ = deliver([HI, BOTH, OK, OK, OK], text=text, recent=recent)
    assert verbs(script.flights[1]) == ["MAIL", "RCPT"]
    assert verbs(script.before_commit)[-1] == "RCPT"


def test_many_recipients_leave_in_groups_that_the_systems_can_hold() -> None:
    count = 250
    outcome, script, _ = deliver(
        [HI, BOTH, *[OK] * (count + 2)],
        recipients=tuple(f"r{i}@x" for i in range(count)),
        recent=True,
    )
    assert outcome.verdict is Verdict.ACCEPTED
    assert max(len(verbs(flight)) for flight in script.flights) == transaction.GROUP_LIMIT


def test_a_large_body_is_announced_once_and_streamed() -> None:
    text = b"S: x\n\n" + b"0123456789\n" * 100_000
    outcome, script, _ = deliver([HI, BOTH, OK, OK, OK], text=text)
    assert outcome.verdict is Verdict.ACCEPTED
    assert script.bodies == [text.replace(b"\n", b"\r\n")]


# What the replies come to


@dataclasses.dataclass(frozen=True)
class Row:
    """Replies to what leaves in one flight, and what they come to."""

    name: str
    replies: list[bytes | None]
    status: int
    verdicts: str
    choice: Chosen | None = None


V = {
    "a": Verdict.ACCEPTED,
    "r": Verdict.REFUSED,
    "d": Verdict.DEFERRED,
    "u": Verdict.UNCERTAIN,
    "l": Verdict.LOGIN,
    "w": Verdict.REFUSED_WHOLE,
    "p": Verdict.PROTOCOL,
    "n": Verdict.UNREACHED,
}

IN_ONE_FLIGHT = [
    Row("accepted", [OK, OK, OK, OK], 0, "aa"),
    Row("one refused", [OK, OK, NO, OK], 67, "ar"),
    Row("one too many for now", [OK, OK, LATER, OK], 75, "ad"),
    Row("all refused", [OK, NO, NO, b"554 none\r\n"], 67, "rr"),
    Row("all refused, message accepted", [OK, NO, NO, OK], 67, "rr"),
    Row("sender refused", [NO, b"503 x\r\n", b"503 x\r\n", b"503 x\r\n"], 65, "ww"),
    Row("message refused", [OK, OK, OK, b"554 5.7.1 spam\r\n"], 65, "ww"),
    Row("message refused for now", [OK, OK, OK, LATER], 75, "dd"),
    Row("login refused, mail accepted", [NO_LOGIN, OK, OK, OK, OK], 0, "aa", PROVEN),
    Row(
        "login refused",
        [NO_LOGIN, b"530 x\r\n", b"503 x\r\n", b"503 x\r\n", b"503 x\r\n"],
        77,
        "ll",
        PROVEN,
    ),
    Row("login refused, RCPT taken", [NO_LOGIN, OK, OK, OK, b"554 x\r\n"], 77, "ll", PROVEN),
    Row("login not possible now", [b"454 4.7.0 x\r\n", NO, NO, NO, NO], 75, "dd", PROVEN),
    Row("closed at once", [None], 74, "uu"),
    Row("closed after MAIL", [OK, None], 74, "uu"),
    Row("closed after RCPT", [OK, OK, OK, None], 74, "uu"),
    Row("closed after one RCPT was refused", [OK, OK, NO, None], 74, "ur"),
    Row("closed after the sender was refused", [NO, None], 65, "ww"),
    Row("closed after all were refused", [OK, NO, NO, None], 67, "rr"),
    Row("closed after the login was refused", [NO_LOGIN, None], 74, "uu", PROVEN),
    Row("421 to MAIL", [b"421 4.3.0 bye\r\n", None], 75, "dd"),
    Row("421 after the sender was refused", [NO, b"421 enough\r\n"], 65, "ww"),
    Row("421 after all were refused", [OK, NO, NO, b"421 enough\r\n"], 67, "rr"),
    Row("421 after the login was refused", [NO_LOGIN, NO, b"421 x\r\n"], 77, "ll", PROVEN),
    Row("421 to the message", [OK, OK, OK, b"421 4.3.0 bye\r\n"], 75, "dd"),
    Row("garbage for the last", [OK, OK, OK, b"\xff\xfe\r\n"], 74, "uu"),
    Row("garbage for MAIL", [b"hello\r\n"], 74, "uu"),
    Row("sender refused, message accepted", [NO, NO, NO, OK], 74, "uu"),
    Row("a reply too many", [OK, OK + OK, OK, OK], 74, "uu"),
    Row("354 for the chunk", [OK, OK, OK, GO], 74, "uu"),
    Row("silent after RCPT", [OK, OK, OK], 74, "uu"),
]


@pytest.mark.parametrize("single", [False, True], ids=["whole", "octet by octet"])
@pytest.mark.parametrize("row", IN_ONE_FLIGHT, ids=[row.name for row in IN_ONE_FLIGHT])
def test_in_one_flight(row: Row, single: bool) -> None:
    outcome, script, submission = deliver(
        [HI, BOTH, *row.replies], ("a@x", "b@x"), single=single, choice=row.choice, recent=True
    )
    assert script.commits == [(0, 1)]
    assert outcome.status == row.status, outcome.text
    assert [fate.verdict for fate in outcome.fates] == [V[letter] for letter in row.verdicts]
    # Behind a refusal the chunk may have been run as commands: that connection is not used again.
    clean = all(reply is not None and reply[:1] == b"2" for reply in row.replies)
    assert submission.usable == (clean and row.status == 0)


@pytest.mark.parametrize("single", [False, True], ids=["whole", "octet by octet"])
@pytest.mark.parametrize("after", ["closes", "resets"])
@pytest.mark.parametrize(
    "last",
    [OK, OK + b"421 4.3.2 bye\r\n", OK + b"25"],
    ids=["250", "250 and 421", "250 and half a line"],
)
def test_an_end_behind_the_last_reply_says_nothing_against_it(
    last: bytes, after: str, single: bool
) -> None:
    outcome, _, submission = deliver(
        [HI, BOTH, OK, OK, last], recent=True, after=after, single=single
    )
    assert outcome.verdict is Verdict.ACCEPTED, outcome.text
    assert not submission.usable


@pytest.mark.parametrize("single", [False, True], ids=["whole", "octet by octet"])
def test_what_comes_unasked_before_the_flight_stops_it(single: bool) -> None:
    outcome, script, _ = deliver([HI, BOTH + OK, OK, OK, OK], recent=True, single=single)
    assert outcome.verdict is Verdict.PROTOCOL
    assert b"MAIL" not in script.heard


@pytest.mark.parametrize(
    ("after", "recent", "replies"),
    [
        ("closes", True, [HI, BOTH]),
        ("resets", True, [HI, BOTH]),
        ("closes", False, [HI, BOTH, OK, OK]),
        ("resets", False, [HI, BOTH, OK, OK]),
        ("closes", False, [HI, ehlo(), OK, OK, GO]),
        ("resets", False, [HI, ehlo(), OK, OK, GO]),
    ],
    ids=["flight", "flight, reset", "chunk", "chunk, reset", "data", "data, reset"],
)
def test_a_server_that_has_gone_before_the_message_leaves_has_not_got_it(
    after: str, recent: bool, replies: list[bytes]
) -> None:
    outcome, script, _ = deliver(replies, recent=recent, after=after)
    assert outcome.verdict is Verdict.UNREACHED, outcome.text
    assert script.bodies == []


FIRST = [
    Row("login refused", [NO_LOGIN, b"530 x\r\n", b"503 x\r\n"], 77, "l", NEW),
    Row("login refused, envelope taken", [NO_LOGIN, OK, OK], 77, "l", NEW),
    Row("login refused and closed", [NO_LOGIN, None], 77, "l", NEW),
    Row("a continuation that was not asked for", [b"334 \r\n", NO, NO], 76, "p", NEW),
    Row("closed after MAIL", [IN, OK, None], 69, "n", NEW),
    Row("garbage after MAIL", [IN, OK, b"x\r\n"], 76, "p", NEW),
    Row("a reply too many", [IN, OK, OK + OK], 76, "p", NEW),
    Row("421 to RCPT", [IN, OK, b"421 bye\r\n"], 75, "d", NEW),
    Row("421 to the login", [b"421 bye\r\n"], 75, "d", NEW),
    Row("421 after the login was refused", [NO_LOGIN, NO, b"421 x\r\n"], 77, "l", NEW),
    Row("closed after the chunk", [IN, OK, OK, None], 74, "u", NEW),
    Row("chunk refused", [IN, OK, OK, b"500 what?\r\n"], 65, "w", NEW),
]


@pytest.mark.parametrize("row", FIRST, ids=[row.name for row in FIRST])
def test_at_a_first_login(row: Row) -> None:
    outcome, script, _ = deliver([HI, BOTH, *row.replies], choice=row.choice, recent=True)
    assert outcome.status == row.status, outcome.text
    assert [fate.verdict for fate in outcome.fates] == [V[letter] for letter in row.verdicts]
    assert (row.status in (74, 65)) == bool(script.commits)
    assert "geheim" not in outcome.text


def test_a_mechanism_turned_down_is_followed_by_the_next() -> None:
    script = Script([HI, BOTH, b"504 5.5.4 x\r\n", b"530 x\r\n", b"503 x\r\n", IN, OK, OK, OK])
    asked: list[tuple[str, ...]] = []

    submission = Submission("none", Dialogue("mx", Connection()))

    def engine() -> steps.Steps[object]:
        yield from submission.open()
        inner = submission.deliver(Envelope("me@x", ("a@x",)), message(b"S: x\n\nx\n"), True)
        answer = None
        while True:
            try:
                step = inner.send(answer)
            except StopIteration as stop:
                return stop.value
            if isinstance(step, steps.Login):
                asked.append(step.failed)
                answer = NEW
            else:
                answer = yield step

    outcome = script.run(engine())
    assert outcome.verdict is Verdict.ACCEPTED
    assert asked == [(), ("PLAIN",)]


def test_open_data_is_left_by_closing_when_the_login_was_refused() -> None:
    outcome, script, submission = deliver([HI, PIPELINED, NO_LOGIN, OK, OK, GO, OK], choice=NEW)
    assert outcome.status == 77
    assert script.bodies == []
    assert not submission.usable


def test_the_connection_serves_again_after_a_refused_recipient() -> None:
    script = Script([HI, PIPELINED, OK, NO, b"503 x\r\n", OK, OK, OK, GO, OK])
    submission = Submission("none", Dialogue("mx", Connection()))
    script.run(submission.open())
    first = script.run(submission.deliver(Envelope("me@x", ("a@x",)), message(b"S: 1\n\n"), True))
    assert first.status == 67
    assert submission.usable
    second = script.run(submission.deliver(Envelope("me@x", ("b@x",)), message(b"S: 2\n\n"), True))
    assert second.status == 0
    assert b"RSET\r\n" in script.heard


ALL = Wishes(all_or_none=True)
MANY = b"452 4.5.3 too many\r\n"


@pytest.mark.parametrize("offer", [BOTH, PIPELINED, ehlo()])
@pytest.mark.parametrize(
    ("replies", "verdicts"),
    [
        ([OK, NO, OK], ["held", "refused", "held"]),
        ([NO, LATER, OK], ["refused", "deferred", "held"]),
        ([OK, MANY, MANY], ["held", "deferred", "deferred"]),
        # For now only: it is tried again by itself, for all.
        ([OK, LATER, OK], ["deferred", "deferred", "deferred"]),
        # There are no others to decide about.
        ([NO, NO, NO], ["refused", "refused", "refused"]),
    ],
)
def test_all_or_none_stops_before_the_message(
    offer: bytes, replies: list[bytes], verdicts: list[str]
) -> None:
    envelope = Envelope("me@x", ("a@x", "b@x", "c@x"), ALL)
    outcome, script, submission = deliver(
        [HI, offer, OK, *replies, OK], envelope=envelope, recent=True
    )
    assert [fate.verdict.value for fate in outcome.fates] == verdicts
    assert not script.commits
    assert not {"DATA", "BDAT"} & set(verbs(script.heard))
    assert submission.usable
    if "held" in verdicts:
        assert outcome.verdict is Verdict.HELD
        assert "Nothing was sent to anyone" in outcome.text
        assert verbs(script.heard)[-1] == "RSET"


@pytest.mark.parametrize(
    ("offer", "flights"),
    [
        (BOTH, [["MAIL", "RCPT", "RCPT"], ["BDAT"]]),
        (PIPELINED, [["MAIL", "RCPT", "RCPT"], ["DATA"]]),
        (ehlo(), [["MAIL"], ["RCPT"], ["RCPT"], ["DATA"]]),
    ],
)
def test_all_or_none_goes_when_all_are_taken(offer: bytes, flights: list[list[str]]) -> None:
    go = [] if offer is BOTH else [GO]
    outcome, script, _ = deliver(
        [HI, offer, OK, OK, OK, *go, OK],
        envelope=Envelope("me@x", ("a@x", "b@x"), ALL),
        recent=True,
    )
    assert outcome.verdict is Verdict.ACCEPTED
    assert list(map(verbs, script.flights[1 : 1 + len(flights)])) == flights
    assert script.bodies == [b"S: x\r\n\r\n.dot\r\n"]


def test_who_is_refused_for_now_is_told_apart() -> None:
    envelope = Envelope("me@x", ("a@x", "b@x", "c@x"))
    outcome, _, _ = deliver([HI, BOTH, OK, NO, OK, LATER, OK], envelope=envelope)
    assert outcome.text.endswith(
        " It refused a@x: “550 5.1.1 no”. It refused c@x for now: “450 4.2.1 later”."
    )
    outcome, _, _ = deliver([HI, BOTH, OK, LATER, LATER, LATER, NO], envelope=envelope)
    assert outcome.text == "mx refused a@x, b@x, c@x for now: “450 4.2.1 later”."
    outcome, _, _ = deliver([HI, BOTH, OK, OK, LATER], envelope=Envelope("me@x", ("a@x",)))
    assert outcome.text == "mx refused the message for now: “450 4.2.1 later”."


@pytest.mark.parametrize(
    ("address", "step"),
    [
        (
            "b@bücher.example",
            "Write the domain of b@bücher.example in ASCII, as its owner does: xn--….",
        ),
        ("ü@x", "Send by another server, or name an address in ASCII instead of ü@x."),
    ],
)
def test_what_to_do_about_an_address_beyond_ascii_is_told(address: str, step: str) -> None:
    outcome, _, _ = deliver([HI, BOTH], envelope=Envelope("me@x", ("a@x", address)))
    assert (outcome.status, outcome.text.endswith(f"; nothing was sent. {step}")) == (65, True)


@pytest.mark.parametrize(
    ("replies", "told"),
    [
        (
            [NO, OK, b"554 5.7.1 spam\r\n", NO],
            "It refused a@x, d@x: “550 5.1.1 no”. It refused c@x: “554 5.7.1 spam”.",
        ),
        (
            [NO, b"554 b\r\n", b"554 c\r\n", OK, b"554 e\r\n", LATER],
            "It refused a@x: “550 5.1.1 no”. It refused b@x: “554 b”. It refused c@x: “554 c”. "
            "It refused 2 others, too.",
        ),
        (
            [LATER, NO, LATER],
            "mx refused b@x: “550 5.1.1 no”. It refused a@x, c@x for now: “450 4.2.1 later”.",
        ),
    ],
)
def test_each_reply_is_told_with_those_who_got_it(replies: list[bytes], told: str) -> None:
    envelope = Envelope("me@x", tuple(f"{name}@x" for name in "abcdef"[: len(replies)]))
    taken = OK in replies
    outcome, _, _ = deliver([HI, BOTH, OK, *replies, *([OK] if taken else [])], envelope=envelope)
    assert outcome.text.endswith(f" {told}" if taken else told)


def test_all_or_none_is_told_who_was_refused_with_which_words() -> None:
    envelope = Envelope("me@x", ("a@x", "b@x", "c@x"), ALL)
    outcome, _, submission = deliver([HI, BOTH, OK, NO, OK, LATER, None], envelope=envelope)
    assert outcome.text.startswith(
        "mx refused a@x (“550 5.1.1 no”), c@x (“450 4.2.1 later”). Nothing was sent to anyone"
    )
    # That RSET goes unanswered changes nothing of it.
    assert [fate.verdict for fate in outcome.fates][1] is Verdict.HELD
    assert not submission.usable


def test_a_server_that_goes_at_the_reset_before_a_mail_is_an_outcome() -> None:
    script = Script([HI, BOTH, OK, NO, None])
    submission = Submission("none", Dialogue("mx", Connection()))
    script.run(submission.open())
    for _ in range(2):
        outcome = script.run(submission.deliver(Envelope("me@x", ("a@x",)), message(b"x"), False))
    assert outcome.verdict is Verdict.UNREACHED


def test_a_message_that_changes_while_it_is_sent_is_not_sent_to_its_end() -> None:
    shape = body.shape([b"S: x\r\n\r\n" + b"x" * 70 + b"\r\n"])
    for text in (b"S: x\r\n\r\nshort\r\n", b"S: x\r\n\r\n" + b"x" * 90 + b"\r\n"):
        script = Script([HI, ehlo("CHUNKING"), OK, OK, OK])
        submission = Submission("none", Dialogue("mx", Connection()))
        script.run(submission.open())
        changed = Message(message(text).content, shape)
        outcome = script.run(submission.deliver(Envelope("me@x", ("a@x",)), changed, True))
        assert outcome.status == 65
        assert script.bodies == []
        assert not submission.usable


# Parameters


def offered(*keywords: str) -> str:
    """Return MAIL's and RCPT's lines as they go to a server that offers KEYWORDS."""
    envelope = Envelope(
        "me@x",
        ("a@x", "ü@x") if "SMTPUTF8" in keywords else ("a@x",),
        Wishes(ret="hdrs", envid="a+b=c d", priority=-3),
        (Notices(("success", "delay"), "rfc822;a+b@x"), Notices((), "utf-8;ü@x"))[
            : 2 if "SMTPUTF8" in keywords else 1
        ],
    )
    _, script, _ = deliver(
        [HI, ehlo(*keywords), OK, OK, OK, GO, OK], text="S: x\n\nü\n".encode(), envelope=envelope
    )
    return "\n".join(
        line for line in script.heard.decode().split("\r\n") if line[:4] in ("MAIL", "RCPT")
    )


def test_parameters_go_out_only_where_they_are_offered() -> None:
    assert offered("SMTPUTF8", "8BITMIME", "SIZE", "DSN", "MT-PRIORITY MIXER") == (
        "MAIL FROM:<me@x> SIZE=12 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=a+2Bb+3Dc+20d "
        "MT-PRIORITY=-3\n"
        "RCPT TO:<a@x> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;a+2Bb@x\n"
        "RCPT TO:<ü@x> ORCPT=utf-8;\\x{FC}@x"
    )
    assert offered("8BITMIME") == "MAIL FROM:<me@x> BODY=8BITMIME\nRCPT TO:<a@x>"


def test_what_was_left_out_is_told() -> None:
    envelope = Envelope("me@x", ("a@x",), Wishes(ret="full"), (Notices(("never",)),))
    outcome, _, _ = deliver([HI, ehlo(), OK, OK, GO, OK], envelope=envelope)
    assert outcome.status == 0
    assert outcome.text.endswith("mx does not offer DSN: it went without.")


@pytest.mark.parametrize(
    ("wishes", "keywords", "sent"),
    [
        (Wishes(deliver_by="600;R"), ["DELIVERBY 300"], "BY=600;R"),
        (Wishes(deliver_by="10"), ["DELIVERBY 300"], "BY=10;N"),
        (Wishes(deliver_by="10;R"), ["DELIVERBY 300"], None),
        (Wishes(deliver_by="10"), [], None),
        (Wishes(hold_for=60), ["FUTURERELEASE 3600 2030-01-01T00:00:00Z"], "HOLDFOR=60"),
        (Wishes(hold_for=7200), ["FUTURERELEASE 3600 2030-01-01T00:00:00Z"], None),
        (
            Wishes(hold_until="2030-01-01T01:00:00+02:00"),
            ["FUTURERELEASE 3600 2030-01-01T00:00:00Z"],
            "HOLDUNTIL=2030-01-01T01:00:00+02:00",
        ),
        (
            Wishes(hold_until="2030-01-01T00:00:01Z"),
            ["FUTURERELEASE 3600 2030-01-01T00:00:00Z"],
            None,
        ),
        (
            Wishes(hold_until="2030-01-01T00:00:01Z"),
            ["FUTURERELEASE 3600 2030-02-30T00:00:00Z"],
            "HOLDUNTIL=2030-01-01T00:00:01Z",
        ),
        (
            Wishes(hold_until="2027-01-31T09:00:00+01:00"),
            ["FUTURERELEASE 3600 x"],
            "HOLDUNTIL=2027-01-31T09:00:00+01:00",
        ),
        (Wishes(hold_for=60), [], None),
        (Wishes(require_tls=True), ["REQUIRETLS"], "REQUIRETLS"),
        (Wishes(require_tls=True), [], None),
    ],
)
def test_what_changes_the_mails_way_is_met_or_nothing_is_sent(
    wishes: Wishes, keywords: list[str], sent: str | None
) -> None:
    outcome, script, _ = deliver(
        [HI, ehlo(*keywords), OK, OK, GO, OK], envelope=Envelope("me@x", ("a@x",), wishes)
    )
    if sent is None:
        assert outcome.status == 65
        assert "nothing was sent" in outcome.text
        assert b"MAIL" not in script.heard
    else:
        assert outcome.status == 0
        assert f"MAIL FROM:<me@x> {sent}\r\n".encode() in script.heard


@pytest.mark.parametrize(
    "bad",
    [
        {"ret": "all"},
        {"envid": "a\r\nb"},
        {"envid": "x" * 101},
        {"envid": "é"},
        {"deliver_by": "soon"},
        {"deliver_by": "10;X"},
        {"hold_for": 0},
        {"hold_until": "tomorrow"},
        {"hold_until": "2027-01-31T09:00:00Z\nRSET"},
        {"hold_for": 1, "hold_until": "2027-01-31T09:00:00Z"},
        {"priority": 10},
    ],
)
def test_what_cannot_be_asked_is_refused_at_the_door(bad: dict[str, object]) -> None:
    with pytest.raises(MessageError):
        Wishes(**bad)


@pytest.mark.parametrize(
    "bad",
    [
        {"notify": ("never", "success")},
        {"notify": ("always",)},
        {"orcpt": "a@x"},
        {"orcpt": "rfc822;a@x\r\nDATA"},
        {"orcpt": "a b;c"},
    ],
)
def test_notices_that_cannot_be_asked_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises(MessageError):
        Notices(**bad)  # type: ignore[arg-type]


@given(st.text(st.characters(max_codepoint=126, min_codepoint=32), max_size=40))
def test_xtext_has_only_what_it_may_and_comes_back(text: str) -> None:
    coded = parameters.xtext(text)
    assert all("!" <= c <= "~" for c in coded)
    back, rest = "", coded
    while rest:
        if rest[0] == "+":
            back, rest = back + chr(int(rest[1:3], 16)), rest[3:]
        else:
            back, rest = back + rest[0], rest[1:]
    assert back == text


def test_a_mail_that_is_too_large_or_too_foreign_is_not_begun() -> None:
    outcome, script, _ = deliver([HI, ehlo("SIZE 5")])
    assert outcome.status == 65
    assert script.heard.count(b"\r\n") == 1
    outcome, script, _ = deliver([HI, ehlo()], recipients=("ü@x",))
    assert outcome.status == 65
    assert script.heard.count(b"\r\n") == 1


# Limits


def test_a_transaction_has_no_more_recipients_than_fit() -> None:
    envelope = Envelope("me@x", tuple(f"r{i}@d{i % 3}" for i in range(9)))
    assert next_group(envelope, range(9), None, None) == tuple(range(9))
    assert next_group(envelope, range(9), 4, None) == (0, 1, 2, 3)
    assert next_group(envelope, range(9), None, 2) == (0, 1, 3, 4, 6, 7)
    assert next_group(envelope, [5, 8], 4, 2) == (5, 8)


@pytest.mark.parametrize(
    ("reply", "temporary", "many"),
    [
        ((452, b"too many"), True, True),
        ((452, b"4.5.3 too many"), True, True),
        ((452, b"4.3.1 full"), True, False),
        ((552, b"too many"), True, True),
        ((552, b"5.2.2 full"), False, False),
        ((550, b"no"), False, False),
        ((450, b"later"), True, False),
    ],
)
def test_too_many_recipients(reply: tuple[int, bytes], temporary: bool, many: bool) -> None:
    made = Reply(reply[0], (reply[1],))
    assert transaction.temporary(made) == temporary
    assert transaction.too_many(made) == many


# What a body must not look like


@given(
    st.sampled_from(["MAIL", "rcpt", "Data", "bdat", "AUTH", "StartTLS", "ehlo", "RSET", "quit"]),
    st.sampled_from(["", " ", "\t ", "\0"]),
    st.sampled_from(["", " x", "\tx", ":"]),
    st.sampled_from([b"", b"x\r\n", b"x\n", b"S: x\r\n\r\n"]),
)
def test_a_line_that_is_a_command_is_seen(
    verb: str, before: str, behind: str, lines: bytes
) -> None:
    assert body.reads_as_command(lines + (before + verb + behind).encode() + b"\r\n")


def test_ordinary_text_is_no_command() -> None:
    assert not body.reads_as_command(b"Mailing list\r\nauthor\r\nDatabase\r\nhelpful\r\nx MAIL\r\n")

"""The server's half: the documented lists and texts, its strictness, and its bounds."""

from __future__ import annotations

import base64
import sys
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtps.sandbox.machine import (
    DOCUMENTED_IMPLICIT,
    DOCUMENTED_STARTTLS,
    ENVELOPE_LIMIT,
    ERRORS_LIMIT,
    FAULTS_LIMIT,
    HANG_UP,
    LOGIN_LIMIT,
    SILENCE,
    Accepted,
    Offer,
    ServerMachine,
)

LOGINS = {"tester": "secret"}
EVERYTHING = Offer(
    clear=("STARTTLS", "PIPELINING"),
    secure=(
        "PIPELINING", "SIZE 2000", "8BITMIME", "BINARYMIME", "CHUNKING", "SMTPUTF8", "DSN",
        "DELIVERBY", "FUTURERELEASE", "MT-PRIORITY", "REQUIRETLS", "AUTH PLAIN LOGIN CRAM-MD5",
        "ENHANCEDSTATUSCODES",
    ),
    login_needed=False,
)  # fmt: skip
ENVELOPE = ("EHLO x", "MAIL FROM:<a@b>", "RCPT TO:<c@d>")


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def said(machine: ServerMachine, *lines: str) -> list[str]:
    """Send each of LINES and wait for what is said to it; return all that was said to the last."""
    for line in lines:
        machine.data_to_send()
        machine.receive(line.encode() + b"\r\n")
    return machine.data_to_send().decode().split("\r\n")[:-1]


def code(machine: ServerMachine, *lines: str) -> int:
    return int(said(machine, *lines)[-1][:3])


def at_envelope(offer: Offer = EVERYTHING) -> ServerMachine:
    machine = ServerMachine(offer)
    assert code(machine, *ENVELOPE) == 250
    return machine


# The documented dialogues


def test_the_dialogue_with_tls_at_once() -> None:
    machine = ServerMachine(DOCUMENTED_IMPLICIT, LOGINS)
    assert machine.data_to_send() == b"220 sandbox.localhost ESMTP Service ready\r\n"
    assert said(machine, "ehlo localhost.localdomain")[1:] == [
        "250-DSN",
        "250-8BITMIME",
        "250-PIPELINING",
        "250-HELP",
        "250-AUTH=LOGIN",
        "250-AUTH LOGIN CRAM-MD5 DIGEST-MD5 PLAIN",
        "250-DELIVERBY 300",
        "250 SIZE",
    ]
    for line, reply in {
        "auth login": "334 VXNlcm5hbWU6",
        b64("tester"): "334 UGFzc3dvcmQ6",
        b64("secret"): "235 login authentication successful",
        "mail from:<from-address@poste.it>": "250 MAIL FROM:<from-address@poste.it> OK",
        "rcpt to:<to-address@other-host.it>": "250 RCPT TO:<to-address@other-host.it> OK",
        "data": "354 Start mail input; end with <CRLF>.<CRLF>",
        "Text.\r\n.": "250 0001 Mail accepted",
        "quit": "221 sandbox.localhost QUIT",
    }.items():
        assert said(machine, line) == [reply]
    assert machine.closed
    assert machine.faults == []
    assert machine.accepted[0].octets == b"Text.\r\n"


def test_the_dialogue_with_starttls() -> None:
    machine = ServerMachine(DOCUMENTED_STARTTLS, LOGINS, tls=False)
    assert machine.data_to_send() == b"220 sandbox.localhost ESMTP ready\r\n"
    before = ["250-SIZE 35651584", "250-8BITMIME", "250-STARTTLS", "250-ENHANCEDSTATUSCODES"]
    after = [*before[:2], "250-AUTH LOGIN PLAIN", before[3]]
    assert said(machine, "ehlo x")[1:] == [*before, "250 PIPELINING"]
    assert said(machine, "auth plain")[0].startswith("530 5.7.0 ")
    assert said(machine, "mail from:<a@b>")[0].startswith("530 5.7.0 ")
    assert said(machine, "starttls") == ["220 2.0.0 Ready to start TLS"]
    machine.tls_started()
    assert said(machine, "mail from:<a@b>")[0].startswith("503 5.5.1 ")
    assert said(machine, "ehlo x")[1:] == [*after, "250 PIPELINING"]
    for line, reply in {
        f"auth plain {b64(chr(0) + 'tester' + chr(0) + 'secret')}": "235 2.7.0 Accepted",
        "mail from:<from-address@gmail.com>": "250 2.1.0 OK 0001",
        "rcpt to:<to-address@poste.it>": "250 2.1.5 OK 0001",
        "data": "354  Go ahead 0001",
        "demo\r\n.": "250 2.0.0 OK 0001",
        "quit": "221 2.0.0 closing connection 0002",
    }.items():
        assert said(machine, line) == [reply]


def test_what_stands_behind_starttls_in_clear_is_dropped() -> None:
    machine = ServerMachine(DOCUMENTED_STARTTLS, LOGINS, tls=False)
    said(machine, "ehlo x")
    machine.receive(b"starttls\r\nehlo injected\r\n")
    machine.receive(b"ehlo late\r\n")
    assert machine.data_to_send() == b"220 2.0.0 Ready to start TLS\r\n"
    assert machine.faults
    machine.tls_started()
    machine.receive(b"noop\r\n")
    assert machine.data_to_send() == b"250 2.0.0 OK\r\n"
    assert code(machine, "starttls") == 503


# A login's ways


@pytest.mark.parametrize("line", ["AUTH LOGIN", "auth login", "Auth Login", "auth LOGIN  "])
def test_verbs_and_mechanisms_in_any_case(line: str) -> None:
    machine = ServerMachine(DOCUMENTED_IMPLICIT, LOGINS)
    assert said(machine, "eHlO x", line) == ["334 VXNlcm5hbWU6"]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["auth plain", "*"], 501),
        (["auth plain", "!"], 501),
        (["auth plain !"], 501),
        (["auth plain ="], 535),
        (["auth plain", ""], 535),
        (["auth login", "*"], 501),
        (["auth login", b64("tester"), "*"], 501),
        (["auth login", b64("nobody"), b64("secret")], 535),
        (["auth login " + b64("tester"), b64("secret")], 235),
        (["auth cram-md5 " + b64("x")], 501),
        (["auth plain " + b64("\0tester\0secret") + " more"], 501),
        (["auth plain", b64("\0tester\0secret") + "é"], 501),
        (["auth"], 504),
        (["auth scram-sha-1"], 504),
        (["mail from:<a@b>"], 530),
        (["rcpt to:<a@b>"], 503),
    ],
)
def test_a_login(lines: list[str], expected: int) -> None:
    machine = ServerMachine(DOCUMENTED_IMPLICIT, LOGINS)
    assert code(machine, "ehlo x", *lines) == expected
    assert code(machine, "noop") == 250
    assert code(machine, "mail from:<a@b>") == (250 if expected == 235 else 530)


def test_a_mechanism_that_nobody_wrote_is_refused() -> None:
    machine = ServerMachine(Offer(secure=("AUTH GSSAPI",)))
    assert code(machine, "ehlo x", "auth gssapi") == 504


def test_a_second_login_is_refused() -> None:
    machine = ServerMachine(DOCUMENTED_IMPLICIT, LOGINS)
    plain = "auth plain " + b64("\0tester\0secret")
    assert code(machine, "ehlo x", plain) == 235
    assert code(machine, plain) == 503


def test_a_slow_password_ends_the_login_as_a_wrong_user() -> None:
    machine = ServerMachine(DOCUMENTED_IMPLICIT, LOGINS)
    said(machine, "ehlo x", "auth login")
    assert not machine.between_secrets
    said(machine, b64("tester"))
    assert machine.between_secrets
    machine.time_out()
    assert machine.data_to_send() == b"535 authentication failed\r\n"
    assert not machine.closed
    assert not machine.between_secrets
    # What then comes is no password any more, and is not said back.
    assert said(machine, b64("secret")) == ["500 unrecognised command"]
    assert code(machine, "auth login", b64("tester"), b64("secret")) == 235


# Order


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["MAIL FROM:<a@b>"], 503),
        (["HELO x", "MAIL FROM:<a@b>"], 250),
        (["HELO x", "MAIL FROM:<a@b> SIZE=1"], 555),
        (["HELO x", "AUTH PLAIN"], 504),
        (["HELO x", "BDAT 0"], 501),
        (["EHLO"], 501),
        (["EHLO x", "RCPT TO:<a@b>"], 503),
        (["EHLO x", "DATA"], 503),
        (["EHLO x", "MAIL FROM:<a@b>", "DATA"], 554),
        (["EHLO x", "MAIL FROM:<a@b>", "MAIL FROM:<a@b>"], 503),
        (["EHLO x", "MAIL FROM:<a@b>", "EHLO x", "RCPT TO:<a@b>"], 503),
        (["EHLO x", "MAIL FROM:<a@b>", "RSET", "RCPT TO:<a@b>"], 503),
        (["EHLO x", "MAIL FROM:<a@b>", "AUTH PLAIN"], 503),
        ([*ENVELOPE, "BDAT 0", "DATA"], 503),
        ([*ENVELOPE, "BDAT 0", "RCPT TO:<e@f>"], 503),
        (["EHLO x", "MAIL FROM:<a@b> BODY=BINARYMIME", "RCPT TO:<c@d>", "DATA"], 503),
        (["EHLO x", "MAIL FROM:<a@b>", "BDAT 0 LAST"], 554),
        (["BDAT 0 LAST"], 501),
        (["EHLO x", "BDAT 0 LAST"], 503),
        (["EHLO x", "STARTTLS"], 503),
        (["DATA x"], 501),
        (["NOOP x"], 250),
        (["VRFY x"], 252),
        (["VRFY"], 501),
        (["HELP"], 214),
        (["EXPN x"], 500),
        (["MAIL:<a@b>"], 500),
        ([""], 500),
    ],
)
def test_order(lines: list[str], expected: int) -> None:
    assert code(ServerMachine(EVERYTHING), *lines) == expected


# Addresses and parameters


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("MAIL FROM:<>", 250),
        ("MAIL FROM:<a.b+c@x.example>", 250),
        ('MAIL FROM:<"a b\\"<>"@x>', 250),
        ("MAIL FROM:<a@[127.0.0.1]>", 250),
        ("MAIL FROM: <a@b>", 501),
        ("MAIL FROM:a@b", 501),
        ("MAIL FROM:<a@b", 501),
        ("MAIL FROM:<a b@c>", 501),
        ("MAIL FROM:<a..b@c>", 501),
        ("MAIL FROM:<a@b>SIZE=1", 501),
        ("MAIL FROM:<postmaster>", 501),
        (f"MAIL FROM:<{'l' * 65}@b>", 501),
        (f"MAIL FROM:<a@{'d' * 254}>", 501),
        ("MAIL FROM:<é@b>", 553),
        ("MAIL FROM:<é@b> SMTPUTF8", 250),
        ("MAIL FROM:<a@b> SMTPUTF8=1", 501),
        ("MAIL FROM:<a@b> SIZE=2000 BODY=8BITMIME", 250),
        ("MAIL FROM:<a@b> SIZE=2001", 552),
        ("MAIL FROM:<a@b> SIZE=", 501),
        ("MAIL FROM:<a@b> SIZE=²", 501),
        ("MAIL FROM:<a@b> ſIZE=1", 555),
        ("MAIL FROM:<a@b> SIZE=1 SIZE=1", 501),
        ("MAIL FROM:<a@b> BODY=9BIT", 501),
        ("MAIL FROM:<a@b> RET=HDRS ENVID=a+20b", 250),
        ("MAIL FROM:<a@b> ENVID=a+b", 501),
        ("MAIL FROM:<a@b> ENVID=a+2b", 501),
        (f"MAIL FROM:<a@b> ENVID={'e' * 101}", 501),
        ("MAIL FROM:<a@b> AUTH=<>", 250),
        ("MAIL FROM:<a@b> BY=120;R", 250),
        ("MAIL FROM:<a@b> BY=-120;N", 250),
        ("MAIL FROM:<a@b> BY=0;R", 501),
        ("MAIL FROM:<a@b> HOLDFOR=60", 250),
        ("MAIL FROM:<a@b> HOLDUNTIL=2026-01-01T00:00:00Z", 250),
        ("MAIL FROM:<a@b> HOLDUNTIL=2026-01-01t00:00:00+02:00", 250),
        ("MAIL FROM:<a@b> HOLDUNTIL=2026-13-01T00:00:00Z", 501),
        ("MAIL FROM:<a@b> HOLDUNTIL=2026-01-01T00:00:00", 501),
        ("MAIL FROM:<a@b> HOLDFOR=60 HOLDUNTIL=2026-01-01T00:00:00Z", 501),
        ("MAIL FROM:<a@b> MT-PRIORITY=-3", 250),
        ("MAIL FROM:<a@b> MT-PRIORITY=0", 250),
        ("MAIL FROM:<a@b> MT-PRIORITY=-0", 501),
        ("MAIL FROM:<a@b> MT-PRIORITY=10", 501),
        ("MAIL FROM:<a@b> REQUIRETLS", 250),
        ("MAIL FROM:<a@b> NOTIFY=NEVER", 555),
        ("MAIL FROM:<a@b> NONSENSE", 555),
    ],
)
def test_mail(line: str, expected: int) -> None:
    assert code(ServerMachine(EVERYTHING), "EHLO x", line) == expected


@pytest.mark.parametrize("word", ["SIZE=1", "BODY=8BITMIME", "SMTPUTF8", "RET=FULL", "BY=9;N"])
def test_a_parameter_needs_its_offer(word: str) -> None:
    machine = ServerMachine(Offer(login_needed=False))
    assert code(machine, "EHLO x", f"MAIL FROM:<a@b> {word}") == 555


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("RCPT TO:<postmaster>", 250),
        ("RCPT TO:<>", 501),
        ("RCPT TO:<@x:a@b>", 501),
        ("RCPT TO:<é@b>", 553),
        ("RCPT TO:<a@b> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;a+2Bb@c", 250),
        ("RCPT TO:<a@b> NOTIFY=NEVER,DELAY", 501),
        ("RCPT TO:<a@b> NOTIFY=DELAY,delay", 501),
        ("RCPT TO:<a@b> RET=HDRS", 555),
        ("RCPT TO:<a@b> ORCPT=a@b", 501),
        ("RCPT TO:<a@b> ORCPT=rfc822;a=b@c", 501),
        ("RCPT TO:<a@b> ORCPT=utf-8;\\x{E9}@c", 250),
        ("RCPT TO:<a@b> ORCPT=utf-8;a+2Bb@c", 501),
        ("RCPT TO:<a@b> ORCPT=utf-8;é@c", 553),
        ("RCPT TO:<a@b> SIZE=1", 555),
    ],
)
def test_rcpt(line: str, expected: int) -> None:
    machine = ServerMachine(EVERYTHING)
    assert code(machine, "EHLO x", "MAIL FROM:<a@b>", line) == expected


def test_an_original_recipient_in_utf_8() -> None:
    machine = ServerMachine(EVERYTHING)
    assert code(machine, "EHLO x", "MAIL FROM:<a@b> SMTPUTF8") == 250
    assert code(machine, "RCPT TO:<a@b> ORCPT=utf-8;é@c") == 250
    assert code(machine, "RCPT TO:<a@b> ORCPT=rfc822;é@c") == 501


def test_limits() -> None:
    machine = ServerMachine(Offer(secure=("LIMITS RCPTMAX=2 MAILMAX=2",), login_needed=False))
    # What is refused counts, too: RFC 9422 section 4 speaks of commands.
    assert code(machine, *ENVELOPE, "RCPT TO:<>") == 501
    assert code(machine, "RCPT TO:<e@f>") == 452
    assert code(machine, "DATA", ".") == 250
    assert code(machine, "MAIL FROM:<a@b>", "RCPT TO:<c@d>", "RSET") == 250
    assert code(machine, "MAIL FROM:<a@b>") == 452


def test_the_limit_of_domains() -> None:
    machine = ServerMachine(Offer(secure=("LIMITS RCPTDOMAINMAX=1",), login_needed=False))
    assert code(machine, *ENVELOPE, "RCPT TO:<e@D>") == 250
    assert code(machine, "RCPT TO:<c@e>") == 452
    # Of the connection, not of a mail.
    assert code(machine, "RSET", "MAIL FROM:<a@b>", "RCPT TO:<c@e>") == 452


# The message


def text_of(machine: ServerMachine, text: bytes) -> tuple[int, list[bytes]]:
    said(machine, "DATA")
    machine.receive(text)
    reply = machine.data_to_send()
    return int(reply[:3] or 0), [mail.octets for mail in machine.accepted]


@pytest.mark.parametrize(
    ("text", "expected", "octets"),
    [
        (b".\r\n", 250, [b""]),
        (b"\r\n.\r\n", 250, [b"\r\n"]),
        (b"..\r\n...\r\n.\r\n", 250, [b".\r\n..\r\n"]),
        (b"a\r\n..b\r\n.\r\n", 250, [b"a\r\n.b\r\n"]),
        (b"a\n.\n", 0, []),
        (b"a\r\n.\n", 0, []),
        (b"a\n.\r\n", 0, []),
        (b"a\nb\r\n.\r\n", 550, []),
        (b"a\rb\r\n.\r\n", 550, []),
        (b"x" * 998 + b"\r\n.\r\n", 250, [b"x" * 998 + b"\r\n"]),
        (b"x" * 999 + b"\r\n.\r\n", 550, []),
        (b"x\r\n" * 667 + b".\r\n", 552, []),
        (b"x\r\n" * 33400 + b".\r\n", 552, []),
        (b"..\r\n" * 666 + b".\r\n", 250, [b".\r\n" * 666]),
    ],
    ids=range(14),
)
@pytest.mark.parametrize("step", [1, 7, sys.maxsize])
def test_the_end_of_data(text: bytes, expected: int, octets: list[bytes], step: int) -> None:
    machine = at_envelope()
    said(machine, "DATA")
    for at in range(0, len(text), step):
        machine.receive(text[at : at + step])
    reply = machine.data_to_send()
    assert int(reply[:3] or 0) == expected
    assert [mail.octets for mail in machine.accepted] == octets
    assert machine.faults == []


def test_8_bit_text_undeclared_is_a_fault() -> None:
    machine = at_envelope()
    assert text_of(machine, "é\r\n.\r\n".encode())[0] == 250
    assert machine.faults == ["8-bit text without BODY=8BITMIME"]


@pytest.mark.parametrize(
    ("parameter", "text", "faults"),
    [
        ("BODY=8BITMIME", "Subject: x\r\n\r\né\r\n", []),
        ("BODY=8BITMIME", "é: no header\r\n", []),
        ("BODY=8BITMIME", "A: b\r\nSubject:\r\n é\r\n\r\n", ["an 8-bit header without SMTPUTF8"]),
        ("SMTPUTF8", "Subject: é\r\n\r\n", []),
        ("SIZE=1", "S: x\r\n\r\n\0\r\n", ["NUL in the message"]),
    ],
)
def test_what_is_wrong_and_yet_taken(parameter: str, text: str, faults: list[str]) -> None:
    machine = ServerMachine(EVERYTHING)
    assert code(machine, "EHLO x", f"MAIL FROM:<a@b> {parameter}", "RCPT TO:<c@d>") == 250
    assert text_of(machine, text.encode() + b".\r\n")[0] == 250
    assert machine.faults == faults


def test_binary() -> None:
    machine = ServerMachine(EVERYTHING)
    assert code(machine, "EHLO x", "MAIL FROM:<a@b> BODY=BINARYMIME", "RCPT TO:<c@d>") == 250
    octets = b"S: x\r\n\r\n\0\n\r\xff" + b"x" * 999
    machine.receive(b"BDAT %d LAST\r\n" % len(octets) + octets)
    assert machine.data_to_send().startswith(b"250 ")
    assert machine.accepted[0].octets == octets
    assert machine.faults == []


@pytest.mark.parametrize("line", ["BDAT ²", "BDAT 1 LAſT", "BDAT 1 LAST more", "BDAT -1", "BDAT"])
def test_a_bdat_that_is_none_ends_it(line: str) -> None:
    machine = at_envelope()
    assert code(machine, line) == 501
    # How many octets follow is not known.
    assert machine.closed


@pytest.mark.parametrize("line", ["EHLO é", "NOOP é", "AUTH LOGıN", "QUIT é"])
def test_a_line_that_is_not_ascii(line: str) -> None:
    machine = ServerMachine(EVERYTHING)
    assert code(machine, "EHLO x", line) == 501
    assert code(machine, "NOOP") == 250


@pytest.mark.parametrize("refused", ["MAIL", "RCPT"])
def test_the_chunk_of_a_refused_envelope_is_swallowed(refused: str) -> None:
    machine = ServerMachine(
        EVERYTHING, override=lambda verb, _: "550 no\r\n" if verb == refused else None
    )
    said(machine, "EHLO x")
    machine.receive(
        b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nBDAT 6\r\nQUIT\r\nBDAT 6 LAST\r\nQUIT\r\n"
    )
    codes = [line[:3] for line in machine.data_to_send().split(b"\r\n")[:-1]]
    assert codes == ([b"550", b"503"] if refused == "MAIL" else [b"250", b"550"]) + [
        b"503" if refused == "MAIL" else b"554",
        b"503",
    ]
    assert not machine.closed
    assert machine.accepted == []


def test_bdat() -> None:
    machine = at_envelope()
    machine.receive(b"BDAT 5\r\n.\r\n..BDAT 8 last\r\n\r\nQUIT\r\nQUIT\r\n")
    assert machine.data_to_send().startswith(b"250 2.0.0 chunk received\r\n250 ")
    assert machine.accepted[0].octets == b".\r\n..\r\nQUIT\r\n"
    assert machine.closed


@pytest.mark.parametrize(("swallows", "heard"), [(True, 0), (False, 1)])
def test_the_chunk_of_a_refused_bdat(swallows: bool, heard: int) -> None:
    offer = Offer(secure=("CHUNKING", "PIPELINING"), login_needed=False, swallows_chunks=swallows)
    machine = ServerMachine(offer)
    said(machine, "EHLO x")
    machine.receive(b"BDAT 6 LAST\r\nNOOP\r\nRSET\r\n")
    replies = machine.data_to_send().split(b"\r\n")[:-1]
    assert replies[0].startswith(b"503 ")
    assert replies[1:] == [b"250 OK"] * (1 + heard)


@pytest.mark.parametrize("chunk", ["BDAT 2001 LAST", "BDAT 2001"])
def test_a_chunk_beyond_the_size(chunk: str) -> None:
    machine = at_envelope()
    machine.receive(chunk.encode() + b"\r\n" + b"x\r\n" * 667)
    assert machine.data_to_send().startswith(b"552 ")
    assert machine.accepted == []
    assert code(machine, "MAIL FROM:<a@b>") == 250


def test_a_mail_that_can_not_be_kept_is_not_taken() -> None:
    def keep(mail: Accepted) -> None:
        raise OSError

    machine = ServerMachine(EVERYTHING, keep=keep)
    assert code(machine, *ENVELOPE, "DATA", ".") == 451
    assert code(machine, "MAIL FROM:<a@b>") == 250


def test_what_is_kept() -> None:
    machine = ServerMachine(EVERYTHING, LOGINS)
    login = "AUTH PLAIN " + b64("\0tester\0secret")
    envelope = ("MAIL FROM:<a@b> SIZE=9", "RCPT TO:<c@d> NOTIFY=NEVER", "RCPT TO:<e@f>")
    assert code(machine, "EHLO x", login, *envelope, "DATA", "S: x\r\n.") == 250
    assert machine.accepted == [
        Accepted("a@b", ("c@d", "e@f"), ("SIZE=9",), (("NOTIFY=NEVER",), ()), b"S: x\r\n", "tester")
    ]


# Pipelining


def test_a_group_with_pipelining() -> None:
    machine = ServerMachine(EVERYTHING)
    said(machine, "EHLO x")
    machine.receive(b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n")
    assert machine.data_to_send().count(b"\r\n") == 3
    machine.receive(b"x\r\n.\r\nMAIL FROM:<a@b>\r\nQUIT\r\n")
    assert machine.data_to_send().count(b"\r\n") == 3
    assert machine.faults == []


@pytest.mark.parametrize("group", ["EHLO x\r\nMAIL FROM:<a@b>", "NOOP\r\nNOOP", "DATA\r\nx"])
def test_a_group_that_goes_on_too_long_is_a_fault(group: str) -> None:
    machine = at_envelope()
    machine.receive(group.encode() + b"\r\n")
    assert machine.faults


def test_a_group_without_pipelining_is_refused() -> None:
    machine = ServerMachine(Offer(login_needed=False))
    said(machine, "EHLO x")
    machine.receive(b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n")
    assert machine.data_to_send().splitlines()[1].startswith(b"503 ")
    assert machine.closed


# Other replies than the usual ones


def overridden(replies: Mapping[str, str]) -> ServerMachine:
    return ServerMachine(
        EVERYTHING, LOGINS, override=lambda verb, line: replies.get(line, replies.get(verb))
    )


def test_one_recipient_refused() -> None:
    machine = overridden({"RCPT TO:<bad@x>": "550 no such\r\n"})
    assert said(machine, *ENVELOPE, "RCPT TO:<bad@x>") == ["550 no such"]
    assert code(machine, "DATA", ".") == 250
    assert machine.accepted[0].recipients == ("c@d",)


def test_a_reply_of_success_has_the_usual_effect() -> None:
    machine = overridden({"RCPT": "250-yes\r\n250 and so on\r\n", ".": "250 odd\r\n"})
    assert said(machine, *ENVELOPE) == ["250-yes", "250 and so on"]
    assert said(machine, "DATA", ".") == ["250 odd"]
    assert len(machine.accepted) == 1
    assert said(machine, "NOOP") == ["250 2.0.0 OK"]


@pytest.mark.parametrize("verb", ["GREETING", "EHLO", "MAIL", "DATA", ".", "QUIT"])
@pytest.mark.parametrize("reply", ["421 going down\r\n", HANG_UP, SILENCE])
def test_the_server_goes_at(verb: str, reply: str) -> None:
    machine = overridden({verb: reply})
    heard = machine.data_to_send()
    for line in (*ENVELOPE, "DATA", ".", "QUIT"):
        if machine.closed or (reply == SILENCE and verb in (line.split(" ")[0], "GREETING")):
            break
        heard = "".join(said(machine, line)).encode()
    assert heard.startswith(b"" if reply == HANG_UP else reply[:3].encode())
    assert machine.closed == (reply != SILENCE)
    assert machine.accepted == [] or verb == "QUIT"


@pytest.mark.parametrize("user", ["tester", "nobody"])
def test_the_outcome_of_a_login(user: str) -> None:
    machine = overridden({"LOGIN": "454 4.7.0 not now\r\n"})
    plain = "AUTH PLAIN " + b64(f"\0{user}\0secret")
    assert said(machine, "EHLO x", plain) == ["454 4.7.0 not now"]
    assert machine.user is None


def test_a_bdat_refused_for_other_reasons_swallows_its_chunk() -> None:
    machine = ServerMachine(
        EVERYTHING, override=lambda verb, _: "452 full\r\n" if verb == "BDAT" else None
    )
    said(machine, *ENVELOPE)
    machine.receive(b"BDAT 6 LAST\r\nQUIT\r\nRSET\r\n")
    assert machine.data_to_send() == b"452 full\r\n250 2.0.0 OK\r\n"
    assert machine.accepted == []


# Lines and bounds


@pytest.mark.parametrize(
    "line", [b"NOOP\n", b"NO\rOP\r\n", b"NOOP \x1b\r\n", b"NOOP \0\r\n", b"NOOP \xff\r\n"]
)
def test_a_line_that_is_none(line: bytes) -> None:
    machine = ServerMachine(EVERYTHING)
    machine.data_to_send()
    machine.receive(line)
    assert machine.data_to_send().startswith(b"500 ")
    assert code(machine, "NOOP") == 250


@pytest.mark.parametrize(
    ("line", "limit"),
    [("NOOP ", 512), ("MAIL FROM:<a@b> ", ENVELOPE_LIMIT), ("AUTH PLAIN ", LOGIN_LIMIT)],
)
@pytest.mark.parametrize("more", [0, 1, 100_000])
def test_a_line_too_long(line: str, limit: int, more: int) -> None:
    machine = ServerMachine(EVERYTHING)
    long = line + "x" * (limit - len(line) - 2 + more)
    reply = said(machine, "EHLO x", long)
    assert (reply == ["500 5.5.2 line too long"]) == (more > 0)
    assert code(machine, "NOOP") == 250


def test_too_many_errors_end_it() -> None:
    machine = ServerMachine(EVERYTHING)
    machine.receive(b"x\r\n" * 1000)
    assert machine.closed
    assert machine.data_to_send().count(b"\r\n500 ") == ERRORS_LIMIT
    assert machine.data_to_send() == b""


PIECES = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        [
            b"EHLO x\r\n", b"MAIL FROM:<a@b>\r\n", b"RCPT TO:<c@d>\r\n", b"DATA\r\n", b"RSET\r\n",
            b"\r\n.\r\n", b"BDAT 20\r\n", b"BDAT 9999999999999999999\r\n", b"BDAT 3 LAST\r\nabc",
            b"AUTH LOGIN\r\n", b"AUTH CRAM-MD5\r\n", b"AUTH PLAIN =\r\n", b"YQ==\r\n", b"*\r\n",
            b"NOOP\r\n", b"\r", b"\n", b".", b"STARTTLS\r\n", b"x" * 3000, b"x\r\n" * 1000,
        ]
    ),
)  # fmt: skip


def inside(machine: ServerMachine) -> int:
    transaction = machine._transaction
    return len(machine._in) + (len(transaction.octets) if transaction else 0)


@given(st.lists(PIECES, max_size=40), st.booleans())
def test_anything_may_be_said_to_it(pieces: list[bytes], tls: bool) -> None:
    machine = ServerMachine(EVERYTHING, LOGINS, tls)
    for piece in pieces:
        machine.receive(piece)
        assert inside(machine) <= LOGIN_LIMIT + 2000 * 4 // 3 + 8 + max(map(len, pieces))
        assert len(machine.faults) <= FAULTS_LIMIT
        for line in machine.data_to_send().splitlines(keepends=True):
            assert line[:3].isdigit()
            assert line.endswith(b"\r\n")
            assert len(line) <= 512


@given(st.lists(PIECES, max_size=25))
def test_octet_by_octet_it_does_the_same(pieces: list[bytes]) -> None:
    whole, single = ServerMachine(EVERYTHING, LOGINS), ServerMachine(EVERYTHING, LOGINS)
    text = b"".join(pieces)
    whole.receive(text)
    heard = b""
    for octet in text:
        heard += single.data_to_send()
        single.receive(bytes((octet,)))
    heard += single.data_to_send()
    # CRAM-MD5's challenge differs each time.
    codes = [line[:4] for line in heard.splitlines()]
    assert codes == [line[:4] for line in whole.data_to_send().splitlines()]
    assert single.accepted == whole.accepted
    assert single.closed == whole.closed


def test_a_hostile_address_is_refused_in_time() -> None:
    machine = ServerMachine(EVERYTHING)
    said(machine, "EHLO x")
    # Signs that are letters and not ASCII: alternatives that overlap would try each both ways.
    assert code(machine, "MAIL FROM:<a@" + "\u212a" * 60 + "!>") == 501

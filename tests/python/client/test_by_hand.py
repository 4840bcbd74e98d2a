"""What is typed ahead of a reply stays where it is when that reply changes what it would be."""

from __future__ import annotations

import asyncio
import base64
import socket
from collections.abc import Sequence
from pathlib import Path

import pytest
from authority import Authority, Kind, context
from hostile.server import Close, Say, Script, Server, Stall, Steps

from smtps.client import session
from smtps.client.account import Account
from smtps.client.session import Event, Received, Sent, Session, Told
from smtps.errors import ConfigurationError, SmtpsError
from smtps.net import dial

SECRET = base64.b64encode(b"\0user\0Tr0ub4dor").decode()
TYPED = ("ehlo x", "starttls", "ehlo x", f"auth plain {SECRET}", "quit")


def held(
    steps: Steps,
    lines: Sequence[str],
    tls: str = "starttls",
    script: bool = False,
    host: str = "localhost",
    in_clear: bool = False,
    file: Path | None = None,
) -> tuple[bytes, list[str], SmtpsError | None]:
    """Type LINES at once; return what the server got, what was shown, and the error."""
    events: list[Event] = []
    made = context(file) if file else None
    with Server(Script(steps, tls=tls, offers=("AUTH PLAIN",)), made) as server:
        account = Account(
            host, server.port, tls, send_in_clear=in_clear, ca_file=str(file) if file else None
        )
        one = Session(account, events.append, timeout=1, wait_for_replies=script)

        async def hold() -> SmtpsError | None:
            for line in lines:
                one.send(line)
            one.end_of_input()
            return await asyncio.wait_for(one.run(), 10)

        error = asyncio.run(hold())
    [record] = server.records
    shown = [event.text for event in events if isinstance(event, Told | Received | Sent)]
    return record.clear if made is None else b"".join(record.commands), shown, error


STALLED: dict[str, Steps] = {
    "no answer to STARTTLS": {"starttls": (Stall(),)},
    "no handshake": {"handshake": (Stall(),)},
}


@pytest.mark.parametrize("steps", STALLED.values(), ids=STALLED)
def test_no_patience_sends_in_clear_what_was_meant_for_tls(
    steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "PATIENCE", 0.1)
    clear, _, error = held(steps, TYPED)
    assert clear.startswith(b"ehlo x\r\nstarttls\r\n")
    assert SECRET.encode() not in clear
    assert clear.count(b"ehlo") == 1
    assert error is not None
    assert "within" in error.text


def test_a_name_of_this_machine_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dial, "found", lambda host, port: [(socket.AF_INET, ("192.0.2.1", port))])
    one = Session(Account("mail.localhost", 25, "none"), lambda event: None, timeout=1)
    error = asyncio.run(one.run())
    assert isinstance(error, ConfigurationError)
    assert "mail.localhost is 192.0.2.1:25, which is not this machine" in error.text


@pytest.mark.parametrize(
    ("steps", "told"),
    [
        ({"ehlo": (Say(b"250-x\r\n250-SI"), Close())}, "“250-SI”"),
        ({"auth": (Say(b"535 no " + SECRET.encode()[:-3]), Close())}, "24 octets"),
    ],
)
def test_a_line_that_the_server_did_not_end_is_told(steps: Steps, told: str) -> None:
    _, shown, error = held(steps, ("ehlo x", f"auth plain {SECRET}", "noop"), "none")
    assert f"! The server's last line has no end: {told}." in shown
    assert error is not None


def test_nothing_typed_ahead_follows_a_refused_starttls() -> None:
    clear, shown, error = held({"starttls": b"454 4.7.0 not now\r\n"}, TYPED)
    assert clear == b"ehlo x\r\nstarttls\r\n"
    assert "! STARTTLS was refused: 3 lines typed ahead were not sent." in shown
    assert error is None


def test_a_script_whose_starttls_is_refused_ends_there() -> None:
    clear, _, error = held({"starttls": b"454 4.7.0 not now\r\n"}, TYPED, script=True)
    assert clear == b"ehlo x\r\nstarttls\r\n"
    assert error is not None
    assert error.status == 77
    assert "refused STARTTLS: “454 4.7.0 not now”" in error.text


def test_nothing_typed_ahead_follows_a_refused_login() -> None:
    lines = ("ehlo x", "auth plain", SECRET)
    clear, shown, _ = held({"auth": b"504 5.5.4 no\r\n"}, lines, "none")
    assert clear == b"ehlo x\r\nauth plain\r\n"
    assert "! The login was refused: a line typed ahead was not sent." in shown
    assert SECRET not in "".join(shown)


def test_a_typed_secret_is_masked_in_every_form_it_comes_back_in() -> None:
    forms = (
        'p%C3%A4%20%22q%22 p\\u00e4 \\"q\\" '
        + base64.b64encode('user=p\xe4 "q"!'.encode()).decode()
    )
    steps: Steps = {"auth": f"535 5.7.8 {forms}\r\n".encode()}
    typed = base64.b64encode('\0user\0p\xe4 "q"'.encode()).decode()
    _, shown, _ = held(steps, ("ehlo x", f"auth plain {typed}"), "none", script=True)
    text = "\n".join(shown)
    assert "p%C3%A4" not in text
    assert "\\u00e4" not in text
    assert base64.b64encode('p\xe4 "q"'.encode()).decode()[4:-4] not in text


def test_a_script_s_secret_is_masked_where_the_login_was_refused_before_it() -> None:
    # aiosmtpd does both: the mechanism it knows in capitals only, and what it does not know.
    said = f"500 what is {SECRET} or {SECRET.upper()}\r\n".encode()
    steps: Steps = {"auth": b"504 5.5.4 no\r\n", "junk": said}
    _, shown, error = held(steps, ("ehlo x", "auth plain", SECRET, "quit"), "none", script=True)
    assert error is None
    assert "<the-sasl-response>" in shown
    assert "500 what is <masked> or <masked>" in shown
    assert SECRET not in "".join(shown)


def test_a_star_behind_a_refused_login_is_no_secret() -> None:
    steps: Steps = {"auth": b"504 5.5.4 no\r\n"}
    _, shown, _ = held(steps, ("ehlo x", "auth plain", "*", "quit"), "none", script=True)
    assert "*" in shown
    assert "<the-sasl-response>" not in shown


@pytest.mark.parametrize("code", ["334", "235"])
def test_what_a_server_proves_a_password_by_is_not_shown(code: str) -> None:
    """With it and the challenge before, passwords could be tried (RFC 5802 section 9)."""
    proof = base64.b64encode(b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ=").decode()
    steps: Steps = {"auth": f"{code} {proof}\r\n".encode()}
    _, shown, _ = held(steps, ("ehlo x", "auth scram-sha-1 biws", "*"), "none")
    assert f"{code} <masked>" in shown
    assert proof not in "".join(shown)


FAR = "mx.test"
LOGIN = ("ehlo x", f"auth plain {SECRET}")


@pytest.fixture
def far(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the server on this machine be one that is none."""
    found = dial.found
    monkeypatch.setattr(dial, "found", lambda host, port: found("localhost", port))


@pytest.mark.usefixtures("far")
def test_a_login_in_clear_is_typed_twice() -> None:
    clear, shown, error = held({}, (*LOGIN, "quit"), host=FAR)
    # What was typed ahead of the refusal is not sent either: it may be a password.
    assert clear == b"ehlo x\r\n"
    [told] = [line for line in shown if line.startswith("!")]
    assert "without TLS anybody on the way to mx.test could read the password" in told
    assert "Type starttls first; the same line again is sent." in told
    assert SECRET not in "".join(shown)
    assert error is None


@pytest.mark.usefixtures("far")
@pytest.mark.parametrize("typed", [f"AUTH plain {SECRET}", "auth login", "auth xoauth2"])
def test_who_insists_is_sent(typed: str) -> None:
    shown: list[Event] = []

    def emit(event: Event) -> None:
        shown.append(event)
        if isinstance(event, Told) and event.unsent:
            one.send(typed)
            one.end_of_input()

    with Server(Script(tls="starttls", offers=("AUTH PLAIN LOGIN",))) as server:
        one = Session(Account(FAR, server.port, "starttls"), emit, timeout=1)

        async def hold() -> None:
            for line in ("ehlo x", typed, "noop"):
                one.send(line)
            await asyncio.wait_for(one.run(), 10)

        asyncio.run(hold())
    [record] = server.records
    assert record.clear.startswith(f"ehlo x\r\n{typed}\r\n".encode())
    assert sum(isinstance(event, Told) and event.unsent for event in shown) == 1


@pytest.mark.usefixtures("far")
def test_a_script_s_login_in_clear_ends_there() -> None:
    clear, _, error = held({}, (*LOGIN, "quit"), script=True, host=FAR)
    assert clear == b"ehlo x\r\n"
    assert error is not None
    assert error.status == 77
    assert "--send-in-clear" in error.text


@pytest.mark.usefixtures("far")
def test_a_login_in_clear_that_the_account_allows() -> None:
    clear, _, _ = held({}, LOGIN, "none", script=True, host=FAR, in_clear=True)
    assert SECRET.encode() in clear


@pytest.mark.parametrize("script", [False, True])
def test_starttls_inside_tls_ends_the_session(script: bool, tmp_path: Path) -> None:
    file = Authority(tmp_path).issue(Kind(alone=True), "alone.pem")
    steps: Steps = {"starttls": b"220 go ahead\r\n"}
    said, _, error = held(steps, ("ehlo x", "starttls", "noop"), "implicit", script, file=file)
    assert error is not None
    assert error.status == 76
    assert "localhost agreed to STARTTLS inside TLS, which can't be begun twice" in error.text
    assert said.lower() == b"ehlo xstarttls"

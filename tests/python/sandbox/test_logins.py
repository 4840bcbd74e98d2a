"""Each mechanism's server half, right and wrong; by the RFCs' own examples where they have one."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtps.sandbox.logins import MECHANISMS, REALM, Login
from smtps.sandbox.machine import DOCUMENTED_IMPLICIT, ServerMachine

LOGINS = {
    "tester": "secret",
    "accented": 'pässwörd "quoted" 100%',
    "Ωmega": "π\\ or not",
    "empty": "",
}
"""Text of ASCII, of ISO 8859-1, and beyond: DIGEST-MD5 hashes each in its own way."""

Answer = Callable[[bytes, str, str], list[bytes]]
"""Challenge, user and password to the client's responses."""


def plain(challenge: bytes, user: str, password: str) -> list[bytes]:
    assert challenge == b""
    return [f"\0{user}\0{password}".encode()]


def login(challenge: bytes, user: str, password: str) -> list[bytes]:
    assert challenge == b"Username:"
    return [user.encode(), password.encode()]


def cram(challenge: bytes, user: str, password: str) -> list[bytes]:
    digest = hmac.new(password.encode(), challenge, "md5").hexdigest()
    return [f"{user} {digest}".encode()]


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def digest_fields(challenge: bytes, user: str, password: str) -> dict[str, str]:
    nonce = challenge.decode().split('nonce="')[1].split('"')[0]
    try:
        secret = f"{user}:{REALM}:{password}".encode("latin-1")
    except UnicodeEncodeError:
        parts = []
        for part in (user, REALM, password):
            try:
                parts.append(part.encode("latin-1"))
            except UnicodeEncodeError:
                parts.append(part.encode())
        secret = b":".join(parts)
    a1 = hashlib.md5(secret, usedforsecurity=False).digest() + f":{nonce}:OA6MHXh6VqTrRk".encode()
    a2 = md5(b"AUTHENTICATE:smtp/localhost")
    response = md5(f"{md5(a1)}:{nonce}:00000001:OA6MHXh6VqTrRk:auth:{a2}".encode())
    return {
        "charset": "utf-8", "username": quoted(user), "realm": quoted(REALM),
        "nonce": quoted(nonce), "nc": "00000001", "cnonce": '"OA6MHXh6VqTrRk"',
        "digest-uri": '"smtp/localhost"', "response": response, "qop": "auth",
    }  # fmt: skip


def spelt(fields: dict[str, str]) -> bytes:
    return ",".join(f"{name}={value}" for name, value in fields.items() if value).encode()


def digest(challenge: bytes, user: str, password: str) -> list[bytes]:
    return [spelt(digest_fields(challenge, user, password)), b""]


ANSWERS: dict[str, Answer] = {
    "PLAIN": plain,
    "LOGIN": login,
    "CRAM-MD5": cram,
    "DIGEST-MD5": digest,
}


def outcome(name: str, answers: list[bytes] | None, user: str = "", password: str = "") -> object:
    going: Login = MECHANISMS[name].begin(LOGINS)
    challenge = next(going)
    try:
        for answer in answers if answers is not None else ANSWERS[name](challenge, user, password):
            going.send(answer)
    except StopIteration as stop:
        return stop.value
    return "goes on"


OTHERS = ("SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", "XOAUTH2", "ANONYMOUS")
"""Tested with our client's half, in tests/python/sasl."""


def test_each_mechanism_is_tested() -> None:
    assert {*ANSWERS, *OTHERS} == MECHANISMS.keys()


@pytest.mark.parametrize("name", ANSWERS)
@pytest.mark.parametrize("user", LOGINS)
def test_the_right_password(name: str, user: str) -> None:
    assert outcome(name, None, user, LOGINS[user]) == user


@pytest.mark.parametrize("name", ANSWERS)
@pytest.mark.parametrize(
    ("user", "password"),
    [
        ("tester", "Secret"),
        ("tester", ""),
        ("tester", "sécret"),
        ("nobody", "secret"),
        ("", ""),
        ("TESTER", "secret"),
        ("accented", 'passwörd "quoted" 100%'),
    ],
)
def test_another_password(name: str, user: str, password: str) -> None:
    assert outcome(name, None, user, password) is None


def test_nobody_acts_for_another() -> None:
    assert outcome("PLAIN", [b"tester\0tester\0secret"]) == "tester"
    assert outcome("PLAIN", [b"root\0tester\0secret"]) is None


def test_the_example_of_rfc_2195() -> None:
    # The same computation as in section 2, by the RFC's own figures.
    challenge = b"<1896.697170952@postoffice.reston.mci.net>"
    assert cram(challenge, "tim", "tanstaaftanstaaf") == [b"tim b913a602c7eda7a495b4e6e7334d3890"]


def test_the_server_proves_itself() -> None:
    going = MECHANISMS["DIGEST-MD5"].begin(LOGINS)
    challenge = next(going)
    fields = digest_fields(challenge, "tester", "secret")
    nonce = fields["nonce"].strip('"')
    a1 = hashlib.md5(f"tester:{REALM}:secret".encode(), usedforsecurity=False).digest()
    a1 += f":{nonce}:OA6MHXh6VqTrRk".encode()
    a2 = md5(b":smtp/localhost")
    right = md5(f"{md5(a1)}:{nonce}:00000001:OA6MHXh6VqTrRk:auth:{a2}".encode())
    assert going.send(spelt(fields)) == f"rspauth={right}".encode()


@pytest.mark.parametrize(
    "wrong",
    [
        {"nonce": '"another"'},
        {"nonce": ""},
        {"nc": "00000002"},
        {"realm": '"elsewhere"'},
        {"qop": "auth-int"},
        {"digest-uri": '"imap/localhost"'},
        {"cnonce": ""},
        {"response": ""},
        {"response": "é"},
        {"authzid": '"root"'},
        {"username": '"tester"x'},
    ],
    ids=str,
)
def test_a_field_of_digest_md5_that_is_wrong(wrong: dict[str, str]) -> None:
    going = MECHANISMS["DIGEST-MD5"].begin(LOGINS)
    fields = digest_fields(next(going), "tester", "secret")
    with pytest.raises(StopIteration) as stop:
        going.send(spelt(fields | wrong))
    assert stop.value.value is None


def test_digest_md5_without_utf_8_is_latin_1() -> None:
    going = MECHANISMS["DIGEST-MD5"].begin({"é": "ü"})
    fields = digest_fields(next(going), "é", "ü")
    del fields["charset"]
    assert going.send(spelt(fields).decode().encode("latin-1")).startswith(b"rspauth=")


@pytest.mark.parametrize("name", ANSWERS)
@pytest.mark.parametrize(("user", "code"), [("accented", "235"), ("nobody", "535")])
def test_behind_auth(name: str, user: str, code: str) -> None:
    machine = ServerMachine(DOCUMENTED_IMPLICIT, LOGINS)

    def said(line: bytes) -> tuple[str, bytes]:
        machine.data_to_send()
        machine.receive(line + b"\r\n")
        reply = machine.data_to_send().decode()
        return reply[:3], base64.b64decode(reply[4:]) if reply.startswith("334 ") else b""

    said(b"ehlo x")
    reply, challenge = said(b"auth " + name.lower().encode())
    for answer in ANSWERS[name](challenge, user, LOGINS["accented"]):
        assert reply == "334"
        reply, _ = said(base64.b64encode(answer))
        if reply == "535":
            break
    assert reply == code
    assert machine.user == (user if code == "235" else None)


@given(
    st.sampled_from(sorted({*MECHANISMS} - {"ANONYMOUS"})),
    st.lists(st.binary(), min_size=1, max_size=3),
)
def test_any_answer_only_fails(name: str, answers: list[bytes]) -> None:
    assert outcome(name, answers) in (None, "goes on")


@given(st.text(alphabet='a-z=",\\ é\0', max_size=60))
def test_any_digest_only_fails(text: str) -> None:
    assert outcome("DIGEST-MD5", [text.encode()]) is None

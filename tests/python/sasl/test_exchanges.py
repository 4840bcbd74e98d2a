"""Each mechanism by its RFC's own example, against a server's half, and on bad challenges."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from contextlib import suppress

import pytest
import trustme
from hypothesis import given, settings
from hypothesis import strategies as st

from smtps.errors import ChallengeError, ConfigurationError, LoginError
from smtps.sandbox.logins import MECHANISMS, bound
from smtps.sasl import mechanisms
from smtps.sasl.anonymous import Anonymous
from smtps.sasl.binding import end_point
from smtps.sasl.cram_md5 import CramMd5
from smtps.sasl.digest_md5 import DigestMd5
from smtps.sasl.exchange import Exchange, readings
from smtps.sasl.external import External
from smtps.sasl.mechanisms import REGISTRY, Server, begin, choose, order
from smtps.sasl.oauth import OauthBearer, Xoauth2
from smtps.sasl.plain import Plain
from smtps.sasl.scram import Scram

TOKEN = "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg=="

LOGINS = {
    "tester": "secret",
    "accented": 'pässwörd "quoted" 100%',
    "Ωmega": "π\\ or not",
    "soft": "a\u00adb ª",
    "comma,=": ",=",
}


@pytest.fixture(scope="module")
def certificate() -> bytes:
    """A server's certificate in DER."""
    import ssl

    issued = trustme.CA().issue_cert("localhost").cert_chain_pems[0]
    return ssl.PEM_cert_to_DER_cert(issued.bytes().decode("ascii"))


# The RFCs' examples


def test_rfc_5802() -> None:
    run = Scram("SCRAM-SHA-1", "user", "pencil", nonce="fyko+d2lbbFgONRv9qkxdawL")
    assert run.initial() == b"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL"
    assert run.respond(
        b"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096"
    ) == (b"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=")
    assert run.respond(b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ=") == b""
    run.succeeded()


def test_rfc_7677() -> None:
    run = Scram("SCRAM-SHA-256", "user", "pencil", nonce="rOprNGfwEbeRWgbNEkqO")
    assert run.initial() == b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
    nonce = b"rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    assert run.respond(b"r=" + nonce + b",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096") == (
        b"c=biws,r=" + nonce + b",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    )
    assert run.respond(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=") == b""
    run.succeeded()


def test_rfc_2195() -> None:
    run = CramMd5("tim", "tanstaaftanstaaf")
    assert run.respond(b"<1896.697170952@postoffice.reston.mci.net>") == (
        b"tim b913a602c7eda7a495b4e6e7334d3890"
    )
    run.succeeded()


def test_rfc_2831() -> None:
    run = DigestMd5(
        "chris", "secret", "elwood.innosoft.com", cnonce="OA6MHXh6VqTrRk", service="imap"
    )
    answer = run.respond(
        b'realm="elwood.innosoft.com",nonce="OA6MG9tEQGm2hh",qop="auth",'
        b"algorithm=md5-sess,charset=utf-8"
    )
    assert b"response=d388dad90d4bbd760a152321f2143af7" in answer
    assert b'digest-uri="imap/elwood.innosoft.com"' in answer
    assert run.respond(b"rspauth=ea40f60335c427b5527b84dbabcdfffd") == b""
    run.succeeded()


def test_rfc_7628() -> None:
    run = OauthBearer("user@example.com", TOKEN, "server.example.com", 143)
    assert run.initial() == (
        b"n,a=user@example.com,\1host=server.example.com\1port=143\1"
        b"auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\1\1"
    )
    assert run.respond(b'{"status":"invalid_token","scope":"example_scope"}') == b"\1"
    assert run.told == "status: invalid_token; scope: example_scope"


def test_xoauth2() -> None:
    # The example of Google's own page.
    run = Xoauth2("someuser@example.com", "ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg", "h", 1)
    assert base64.b64encode(run.initial()) == (
        b"dXNlcj1zb21ldXNlckBleGFtcGxlLmNvbQFhdXRoPUJlYXJlciB5YTI5LnZGOWRmdDRxbVRjMk52YjNSbG"
        b"NrQmhkSFJoZG1semRHRXVZMjl0Q2cBAQ=="
    )
    assert run.respond(b'{"status":"401","schemes":"bearer","scope":"https://x/"}') == b""
    assert run.told == "status: 401; scope: https://x/; schemes: bearer"


def test_rfc_4616() -> None:
    assert Plain("tim", "tanstaaftanstaaf").initial() == b"\0tim\0tanstaaftanstaaf"


def test_rfc_4422_and_4505() -> None:
    assert External("fred@example.com").initial() == b"fred@example.com"
    assert External("").initial() == b""
    assert Anonymous().initial() == b""


# Against a server's half


def login(name: str, user: str, secret: str, server: Server, logins: dict[str, str]) -> str | None:
    """Log in at the sandbox's half of the mechanism; return the user whom that knows."""
    known = MECHANISMS
    if any(offered.endswith("-PLUS") for offered in server.offered):
        binding = end_point(server.certificate)
        assert binding is not None
        known = MECHANISMS | bound(binding)
    going = known[name].begin(logins)
    run = begin(name, user, secret, server, ())
    challenge = next(going)
    try:
        initial = run.initial()
        challenge = going.send(run.respond(challenge) if initial is None else initial)
        while True:
            challenge = going.send(run.respond(challenge))
    except StopIteration as stop:
        who: str | None = stop.value
    if who is not None:
        run.succeeded()
    return who


PASSWORDS = [name for name in MECHANISMS if "OAUTH" not in name and name != "ANONYMOUS"]


@pytest.mark.parametrize("name", PASSWORDS)
@pytest.mark.parametrize("user", LOGINS)
def test_the_right_password(name: str, user: str) -> None:
    server = Server("localhost", 465, (name,))
    assert login(name, user, LOGINS[user], server, LOGINS) == user


@pytest.mark.parametrize("name", PASSWORDS)
@pytest.mark.parametrize("user", LOGINS)
def test_a_wrong_password(name: str, user: str) -> None:
    server = Server("localhost", 465, (name,))
    assert login(name, user, LOGINS[user] + "x", server, LOGINS) is None
    assert login(name, "nobody", LOGINS[user], server, LOGINS) is None


@pytest.mark.parametrize("name", ["OAUTHBEARER", "XOAUTH2"])
def test_tokens(name: str) -> None:
    server = Server("localhost", 465, (name,))
    assert login(name, "a=b,c", TOKEN, server, {"a=b,c": TOKEN}) == "a=b,c"
    assert login(name, "ann", TOKEN, server, {"ann": "another"}) is None


@pytest.mark.parametrize("digest", ["SHA-1", "SHA-256", "SHA-512"])
def test_plus(digest: str, certificate: bytes) -> None:
    name = f"SCRAM-{digest}-PLUS"
    server = Server("localhost", 465, (name, name[:-5]), certificate)
    assert choose(server, (), ()) == name
    assert login(name, "tester", "secret", server, LOGINS) == "tester"
    assert login(name, "tester", "wrong", server, LOGINS) is None
    # Without it, "n" is said: to "y" this server would not listen.
    assert login(name[:-5], "tester", "secret", server, LOGINS) == "tester"


def test_plus_on_another_connection(certificate: bytes) -> None:
    name = "SCRAM-SHA-256-PLUS"
    server = Server("localhost", 465, (name,), certificate)
    going = bound(b"the binding of somebody between")[name].begin(LOGINS)
    run = begin(name, "tester", "secret", server, ())
    next(going)
    challenge = going.send(run.initial() or b"")
    with pytest.raises(StopIteration) as stop:
        going.send(run.respond(challenge))
    assert stop.value.value is None


def test_the_header_tells_what_could_be(certificate: bytes) -> None:
    def header(offered: Sequence[str], secured: bytes | None) -> bytes:
        server = Server("h", 1, tuple(offered), secured)
        return (begin("SCRAM-SHA-256", "u", "p", server, ()).initial() or b"")[:1]

    assert header(["SCRAM-SHA-256"], certificate) == b"y"
    assert header(["SCRAM-SHA-256", "SCRAM-SHA-1-PLUS"], certificate) == b"n"
    assert header(["SCRAM-SHA-256"], None) == b"n"


def test_plus_is_said_once_more_without(certificate: bytes) -> None:
    server = Server("h", 1, ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"), certificate)
    other = begin("SCRAM-SHA-256-PLUS", "u", "p", server, ()).again()
    assert other is not None
    assert other.name == "SCRAM-SHA-256"
    assert (other.initial() or b"")[:3] == b"n,,"
    assert other.again() is None
    wanted = ("SCRAM-SHA-256-PLUS",)
    assert begin("SCRAM-SHA-256-PLUS", "u", "p", server, wanted).again() is None


def test_scram_says_once_more_what_preparation_changed() -> None:
    run = Scram("SCRAM-SHA-1", "u", "a\u00adb")
    other = run.again()
    assert other is not None
    assert other.again() is None
    # What can't be prepared goes as it is, at once.
    assert Scram("SCRAM-SHA-1", "u", "😀").again() is None
    assert Scram("SCRAM-SHA-1", "u", "plain").again() is None


def test_the_binding(certificate: bytes) -> None:
    import hashlib

    assert end_point(certificate) == hashlib.sha256(certificate).digest()
    assert end_point(None) is None
    assert end_point(b"nonsense") is None


# What a server may not do


def first(run: Exchange, more: bytes = b"") -> bytes:
    """Return a good first challenge for a run of SCRAM."""
    nonce = (run.initial() or b"").split(b"r=")[1]
    return b"r=" + nonce + b"more,s=" + base64.b64encode(b"salt" * 4) + (more or b",i=4096")


@pytest.mark.parametrize("count", [1, 4095, 1_000_001, 10**30, 0])
def test_weak_or_endless_work_is_refused(count: int) -> None:
    run = Scram("SCRAM-SHA-256", "u", "geheim")
    with pytest.raises(LoginError, match="rounds of SCRAM-SHA-256") as caught:
        run.respond(first(run, b",i=%d" % count))
    assert not isinstance(caught.value, ChallengeError)


@pytest.mark.parametrize("count", [4096, 10_000])
def test_work_that_is_done(count: int) -> None:
    run = Scram("SCRAM-SHA-1", "u", "geheim")
    assert run.respond(first(run, b",i=%d" % count)).startswith(b"c=biws,r=")


@pytest.mark.parametrize(
    "challenge",
    [b"", b"\xff", b"r=other,s=c2FsdHNhbHRzYWx0,i=4096", b"v=AAAA", b"x", b"r=,s=,i="],
)
def test_no_first_challenge_of_scram(challenge: bytes) -> None:
    run = Scram("SCRAM-SHA-256", "u", "geheim")
    run.initial()
    with pytest.raises(ChallengeError):
        run.respond(challenge)


@pytest.mark.parametrize("more", [b",i=4096,m=x", b",i=-5", b",i=4096,i=4097", b",i=", b",i=x"])
def test_odd_attributes_of_scram(more: bytes) -> None:
    run = Scram("SCRAM-SHA-256", "u", "geheim")
    challenge = first(run, more)
    with pytest.raises(LoginError):
        run.respond(challenge)


@pytest.mark.parametrize("proof", [b"v=AAAA", b"v=", b"", b"x", b"v=!!"])
def test_a_false_proof_of_scram(proof: bytes) -> None:
    run = Scram("SCRAM-SHA-256", "u", "geheim")
    run.respond(first(run))
    with pytest.raises(LoginError, match="could not prove") as caught:
        run.respond(proof)
    assert not isinstance(caught.value, ChallengeError)
    with pytest.raises(LoginError, match="without a proof"):
        run.succeeded()


def test_scram_without_its_proof() -> None:
    run = Scram("SCRAM-SHA-256", "u", "geheim")
    with pytest.raises(LoginError, match="without a proof"):
        run.succeeded()
    run.respond(first(run))
    with pytest.raises(LoginError, match="without a proof"):
        run.succeeded()


def test_scram_s_reason() -> None:
    run = Scram("SCRAM-SHA-256", "u", "geheim")
    run.respond(first(run))
    assert run.respond(b"e=invalid-proof") == b""
    assert run.told == "invalid-proof"
    with pytest.raises(LoginError, match="without a proof"):
        run.succeeded()


GOOD = b'nonce="n",qop="auth",algorithm=md5-sess,charset=utf-8'


@pytest.mark.parametrize(
    "challenge",
    [
        b"", b"\xff", b"nonsense", b'qop="auth",algorithm=md5-sess', b'nonce="n",nonce="m",' + GOOD,
        b'nonce="",algorithm=md5-sess', b'nonce="n",algorithm=md5', b'nonce="n"',
        b'nonce="n",qop="auth-int",algorithm=md5-sess', b'nonce="n', b"=,=", b'"',
        GOOD + b" " * 3000,
    ],
)  # fmt: skip
def test_no_challenge_of_digest_md5(challenge: bytes) -> None:
    with pytest.raises(ChallengeError):
        DigestMd5("u", "geheim", "h").respond(challenge)


@pytest.mark.parametrize("proof", [b"", b"rspauth=", b"rspauth=0", b"rspauth=\xc3\xa9", b"x=1"])
def test_a_false_proof_of_digest_md5(proof: bytes) -> None:
    run = DigestMd5("u", "geheim", "h")
    run.respond(GOOD)
    with pytest.raises(LoginError, match="could not prove") as caught:
        run.respond(proof)
    assert not isinstance(caught.value, ChallengeError)
    with pytest.raises(LoginError, match="without a proof"):
        run.succeeded()


def test_digest_md5_in_latin_1() -> None:
    old = b'nonce="n",algorithm=md5-sess'
    answer = DigestMd5("é", "p", "h").respond(old)
    assert b'username="\xe9"' in answer
    assert b"charset" not in answer
    with pytest.raises(ChallengeError):
        DigestMd5("Ω", "p", "h").respond(old)


@pytest.mark.parametrize(
    ("challenge", "told"),
    [
        (b"", ""),
        (b"not json", "not json"),
        (b"[1]", "[1]"),
        (b"{}", ""),
        (b'{"status": 401, "scope": null, "x": "y"}', "status: 401"),
        (b'{"status": ["x"]}', ""),
        (b"[" * 6000, "[" * 6000),
        (b"\xff\xfe", "��"),
        (b'{"status": "' + b"x" * 900 + b'"}', "status: " + "x" * 900),
    ],
    ids=str,
)
def test_what_a_server_says_of_a_token(challenge: bytes, told: str) -> None:
    run = Xoauth2("u", TOKEN, "h", 1)
    assert run.respond(challenge) == b""
    assert run.told == told
    with pytest.raises(LoginError, match="refused the token, and then took it"):
        run.succeeded()
    with pytest.raises(ChallengeError):
        run.respond(b"")


@pytest.mark.parametrize("text", ["", "two words", "tökens", "a\1b", "a\n"])
def test_what_is_no_token(text: str) -> None:
    server = Server("h", 1, ("XOAUTH2",))
    with pytest.raises(LoginError, match="no token for XOAUTH2") as caught:
        begin("XOAUTH2", "u", text, server, ())
    assert text == "" or text not in caught.value.text


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(REGISTRY)), st.lists(st.binary(max_size=80), max_size=9))
def test_any_challenge_is_answered_or_refused(name: str, challenges: list[bytes]) -> None:
    server = Server("h", 1, (name,), b"")
    run = (
        Scram(name, "u", "p", b"binding")
        if name.startswith("SCRAM")
        else begin(name, "u", "p", server, ())
    )
    run.initial()
    for challenge in challenges:
        with suppress(LoginError):
            assert isinstance(run.respond(challenge), bytes)


@pytest.mark.parametrize("name", REGISTRY)
def test_nothing_is_endless(name: str) -> None:
    server = Server("h", 1, (name,))
    run = Scram(name, "u", "p", b"x") if "SCRAM" in name else begin(name, "u", "p", server, ())
    run.initial()
    with pytest.raises(LoginError):  # noqa: PT012
        for _ in range(4):
            run.respond(b"anything")


# What is never shown


@pytest.mark.parametrize("secret", [LOGINS["accented"], "a\\b", "😀", "x"])
@pytest.mark.parametrize("name", [n for n in REGISTRY if n not in ("ANONYMOUS", "EXTERNAL")])
def test_what_is_masked(name: str, secret: str) -> None:
    if "OAUTH" in name:
        secret = TOKEN
    run = begin(name, "u", secret, Server("h", 1, ()), ())
    octets = secret.encode()
    assert {octets, base64.b64encode(octets)} <= set(run.secrets)
    for before in range(3):
        around = base64.b64encode(b"#" * before + octets + b"##")
        assert len(octets) < 5 or any(found in around for found in run.secrets)


@given(st.text(min_size=6), st.binary(max_size=9), st.binary(max_size=9))
def test_a_secret_is_found_in_any_base64(secret: str, before: bytes, after: bytes) -> None:
    try:
        octets = secret.encode()
    except UnicodeEncodeError:
        return
    around = base64.b64encode(before + octets + after)
    assert any(found in around for found in readings(secret))


@pytest.mark.parametrize(("user", "password"), [("a\0b", "x"), ("a", "x\0"), ("a", "\udcff")])
@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_what_no_mechanism_can_say(name: str, user: str, password: str) -> None:
    with pytest.raises(LoginError, match="can't be sent"):
        begin(name, user, password, Server("h", 1, ()), ())


def test_a_password_without_a_user() -> None:
    with pytest.raises(LoginError, match="No user name"):
        begin("PLAIN", "", "x", Server("h", 1, ()), ())


# The choice

ALL = tuple(reversed(REGISTRY))


def test_the_order(certificate: bytes) -> None:
    server = Server("h", 1, ALL, certificate, client_certificate=True)
    assert order(server, ()) == [
        "EXTERNAL", "SCRAM-SHA-512-PLUS", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS",
        "SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN", "LOGIN", "DIGEST-MD5",
        "CRAM-MD5",
    ]  # fmt: skip
    clear = Server("h", 1, ALL)
    assert order(clear, ()) == [
        "SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1", "DIGEST-MD5", "CRAM-MD5",
    ]  # fmt: skip
    assert order(server, ("fast",))[:3] == ["EXTERNAL", "PLAIN", "SCRAM-SHA-512-PLUS"]
    assert order(clear, ("fast",))[0] == "SCRAM-SHA-512"
    assert order(server, ("login", "plain")) == ["LOGIN", "PLAIN"]
    assert order(server, ("fast", "login", "plain")) == ["PLAIN", "LOGIN"]
    assert order(server, ("xoauth2", "anonymous")) == ["XOAUTH2", "ANONYMOUS"]
    assert order(clear, ("external", "scram-sha-1-plus")) == []


def test_without_tls_the_password_is_said_last_or_by_name() -> None:
    clear = Server("h", 1, ("PLAIN", "LOGIN", "CRAM-MD5", "EXTERNAL"), client_certificate=True)
    assert order(clear, ()) == ["CRAM-MD5"]
    assert order(clear, ("plain", "cram-md5")) == ["PLAIN", "CRAM-MD5"]
    # Whoever is in between may turn down the digests, and gets no password for it.
    with pytest.raises(LoginError, match="PLAIN and LOGIN would show the password"):
        choose(clear, (), ("CRAM-MD5",))
    assert order(clear._replace(offered=("LOGIN", "PLAIN")), ()) == ["PLAIN", "LOGIN"]


def test_what_is_left() -> None:
    server = Server("h", 1, ("PLAIN", "LOGIN", "XOAUTH2"))
    assert choose(server, (), ()) == "PLAIN"
    assert choose(server, (), ("PLAIN",)) == "LOGIN"
    with pytest.raises(LoginError, match="of these none other can be used"):
        choose(server, (), ("PLAIN", "LOGIN"))
    with pytest.raises(LoginError, match="none of CRAM-MD5 can be used"):
        choose(server, ("cram-md5",), ())
    with pytest.raises(LoginError, match="With XOAUTH2 named"):
        choose(Server("h", 1, ("XOAUTH2",)), (), ())
    with pytest.raises(LoginError, match="offers GSSAPI for the login"):
        choose(Server("h", 1, ("\x1b[2J", "GSSAPI", "X" * 30)), (), ())
    with pytest.raises(LoginError, match=", …"):
        choose(Server("h", 1, tuple(f"X-{n}" for n in range(99))), (), ())
    with pytest.raises(LoginError, match="offers no login"):
        choose(Server("h", 1, ()), (), ())
    with pytest.raises(ConfigurationError, match="X-NEW is no mechanism"):
        choose(server, ("plain", "x-new"), ())


def test_what_needs_no_secret() -> None:
    assert [n for n in REGISTRY if not mechanisms.needs_secret(n)] == ["EXTERNAL", "ANONYMOUS"]

"""One mechanism after the other, at servers that play their replies from a list."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable

import pytest
import scripted
from hypothesis import given, settings
from hypothesis import strategies as st

from smtps.errors import SmtpsError
from smtps.protocol import steps
from smtps.protocol.connection import Connection
from smtps.protocol.dialogue import Dialogue
from smtps.protocol.envelope import Envelope
from smtps.protocol.outcome import Outcome, Verdict
from smtps.protocol.steps import Chosen
from smtps.protocol.submission import Submission
from smtps.sasl import mechanisms
from smtps.sasl.mechanisms import Server

SECRET = "Tr0ub4dor-horse"
GREETING = b"220 hi\r\n"
OK = b"250 ok\r\n"
GO = b"354 go\r\n"
REFUSED = b"535 5.7.8 no\r\n"
WELCOME = b"235 2.7.0 welcome\r\n"
SENT = [OK, OK, GO, OK]


def b64(octets: bytes) -> bytes:
    return base64.b64encode(octets)


def ehlo(*words: str) -> bytes:
    return b"250-mx\r\n250 AUTH " + " ".join(words).encode() + b"\r\n"


class Chooser:
    """Chooses as a delivery does, and remembers what was asked of it."""

    def __init__(self, *wanted: str, certificate: bytes | None = None) -> None:
        self._wanted = wanted
        self._certificate = certificate
        self.asked: list[tuple[str, ...]] = []

    def __call__(self, step: steps.Login) -> Chosen:
        self.asked.append(step.failed)
        server = Server("mx", 465, step.extensions.mechanisms, self._certificate)
        name = mechanisms.choose(server, self._wanted, step.failed)
        return Chosen(mechanisms.begin(name, "u", SECRET, server, self._wanted))


class Played:
    """A mail sent to a server that plays REPLIES, its login chosen by CHOOSER."""

    def __init__(self, replies: Iterable[bytes | None], chooser: Chooser) -> None:
        self.trace: list[str] = []
        self.script = _Script(replies, chooser)
        self.submission = Submission(
            "none",
            Dialogue(
                "mx",
                Connection(trace=lambda direction, text: self.trace.append(f"{direction}> {text}")),
            ),
        )
        self.outcome: Outcome = self.script.run(self._engine())

    def _begun(self) -> Submission:
        connection = Connection(
            trace=lambda direction, text: self.trace.append(f"{direction}> {text}")
        )
        return Submission("none", Dialogue("mx", connection))

    def _engine(self) -> steps.Steps[Outcome]:
        yield from self.submission.open()
        message = scripted.message(b"S: x\n\nText\n")
        return (yield from self.submission.deliver(Envelope("me@x", ("a@x",)), message, False))

    @property
    def tried(self) -> list[str]:
        """The mechanisms in the order of their AUTH."""
        return [line.split()[2] for line in self.trace if line.startswith("send> AUTH")]

    @property
    def sent(self) -> bool:
        """True if a message left."""
        return bool(self.script.bodies)


class _Script(scripted.Script):
    def __init__(self, replies: Iterable[bytes | None], chooser: Chooser) -> None:
        super().__init__(replies)
        self._chooser = chooser

    def chosen(self, step: steps.Login, choice: Chosen | None) -> Chosen | None:
        return self._chooser(step)


def play(*replies: bytes | None, offer: bytes, chooser: Chooser | None = None) -> Played:
    return Played([GREETING, offer, *replies], chooser or Chooser())


@pytest.mark.parametrize("code", [500, 501, 502, 503, 504, 534, 538])
def test_a_mechanism_that_is_turned_down_is_followed_by_the_next(code: int) -> None:
    down = b"%d 5.7.0 not so\r\n" % code
    played = play(down, down, WELCOME, *SENT, offer=ehlo("PLAIN", "CRAM-MD5", "SCRAM-SHA-1"),
                  chooser=Chooser("scram-sha-1", "cram-md5", "plain"))  # fmt: skip
    assert played.tried == ["SCRAM-SHA-1", "CRAM-MD5", "PLAIN"]
    assert played.outcome.verdict is Verdict.ACCEPTED


def test_all_are_turned_down() -> None:
    played = play(
        b"534 5.7.9 Application-specific password required\r\n", b"504 5.5.4 no\r\n",
        offer=ehlo("PLAIN", "LOGIN"),
    )  # fmt: skip
    assert played.outcome.verdict is Verdict.LOGIN
    text = played.outcome.text
    assert "PLAIN (“534 5.7.9 Application-specific password required”. It wants" in text
    assert "LOGIN (“504 5.5.4 no”)" in text
    assert text.endswith("of these none other can be used.")
    assert not played.sent


def test_a_server_that_closes_behind_a_turned_down_mechanism() -> None:
    played = play(b"534 5.7.9 an app password\r\n", None, offer=ehlo("PLAIN", "LOGIN"))
    assert played.outcome.verdict is Verdict.LOGIN
    assert "534 5.7.9 an app password" in played.outcome.text


@pytest.mark.parametrize("code", [535, 550, 530, 525])
def test_a_refused_secret_is_tried_by_no_other(code: int) -> None:
    played = play(b"%d 5.7.8 no\r\n" % code, offer=ehlo("PLAIN", "LOGIN", "CRAM-MD5"),
                  chooser=Chooser("plain", "login", "cram-md5"))  # fmt: skip
    assert played.tried == ["PLAIN"]
    assert played.outcome.verdict is Verdict.LOGIN
    assert played.outcome.text.endswith("Check the user name and the password.")


@pytest.mark.parametrize("code", [432, 454, 450, 421])
def test_for_now(code: int) -> None:
    played = play(b"%d 4.7.0 later\r\n" % code, offer=ehlo("PLAIN", "LOGIN"))
    assert played.tried == ["PLAIN"]
    assert played.outcome.verdict is Verdict.DEFERRED


@pytest.mark.parametrize(
    ("reply", "meaning"),
    [
        (b"432 4.7.12 A password transition is needed", "--auth PLAIN"),
        (b"535 5.7.139 Authentication unsuccessful, basic authentication is disabled", "XOAUTH2"),
        (b"550 5.7.30 Basic authentication is not supported for Client Submission", "XOAUTH2"),
        (b"538 5.7.11 Encryption required", "wants encryption"),
    ],
)
def test_what_is_meant(reply: bytes, meaning: str) -> None:
    assert meaning in play(reply + b"\r\n", offer=ehlo("PLAIN")).outcome.text


def test_too_many_connections_are_no_change_of_password() -> None:
    limit = b"432 4.3.2 Concurrent connections limit exceeded\r\n"
    assert "PLAIN" not in play(limit, offer=ehlo("PLAIN")).outcome.text


CERTIFICATE_PLUS = ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN")


@pytest.fixture(scope="module")
def certificate() -> bytes:
    """A server's certificate in DER."""
    import ssl

    import trustme

    issued = trustme.CA().issue_cert("mx").cert_chain_pems[0]
    return ssl.PEM_cert_to_DER_cert(issued.bytes().decode("ascii"))


def test_plus_is_tried_once_without(certificate: bytes) -> None:
    chooser = Chooser(certificate=certificate)
    played = play(REFUSED, b"535 5.7.8 nor so\r\n", offer=ehlo(*CERTIFICATE_PLUS), chooser=chooser)
    assert played.tried == ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"]
    assert chooser.asked == [()]
    assert played.outcome.verdict is Verdict.LOGIN
    assert "“535 5.7.8 no”" in played.outcome.text
    sent = [b"n,,", b"p=tls-server-end-point,,"]
    said = [base64.b64decode(line.split()[2]) for line in played.script.heard.splitlines()
            if line.startswith(b"AUTH")]  # fmt: skip
    assert [said[1].startswith(sent[0]), said[0].startswith(sent[1])] == [True, True]


def test_plus_refused_and_closed(certificate: bytes) -> None:
    played = play(REFUSED, None, offer=ehlo(*CERTIFICATE_PLUS),
                  chooser=Chooser(certificate=certificate))  # fmt: skip
    assert played.outcome.verdict is Verdict.LOGIN
    assert "535 5.7.8 no" in played.outcome.text


def test_anonymous_is_no_secret() -> None:
    played = play(REFUSED, WELCOME, *SENT, offer=ehlo("ANONYMOUS", "PLAIN"),
                  chooser=Chooser("anonymous", "plain"))  # fmt: skip
    assert played.tried == ["ANONYMOUS", "PLAIN"]
    assert "send> AUTH ANONYMOUS =" in played.trace
    assert played.sent


# The server's proof


def test_scram_without_its_proof_sends_nothing() -> None:
    for replies in ([WELCOME], [b"334 \r\n", WELCOME]):
        played = play(*replies, *SENT, offer=ehlo("SCRAM-SHA-256", "PLAIN"))
        assert played.tried[:1] == ["SCRAM-SHA-256"]
        if len(replies) == 1:
            assert played.outcome.verdict is Verdict.LOGIN
            assert "without a proof" in played.outcome.text
            assert not played.submission.connection.authenticated
        assert not played.sent
        assert not played.submission.usable


def test_weak_scram_is_not_followed_by_the_password_in_clear() -> None:
    class Weak(_Weak):
        rounds = 1

    played = Weak.play()
    assert played.tried == ["SCRAM-SHA-256"]
    assert played.outcome.verdict is Verdict.LOGIN
    assert "asks for 1 rounds" in played.outcome.text
    assert not played.sent
    assert played.trace[-2:] == ["send> *", "recv> 501 5.7.0 cancelled"]


class _Weak(_Script):
    """A server that takes part in SCRAM with few ROUNDS, and proves nothing."""

    rounds = 4096

    @classmethod
    def play(cls) -> Played:
        played = object.__new__(Played)
        played.trace = []
        played.script = cls([GREETING, ehlo("SCRAM-SHA-256", "PLAIN"), b"", b""], Chooser())
        played.submission = Submission(
            "none",
            Dialogue(
                "mx",
                Connection(
                    trace=lambda direction, text: played.trace.append(f"{direction}> {text}")
                ),
            ),
        )
        played.outcome = played.script.run(played._engine())
        return played

    def _hear(self, data: bytes) -> None:
        line = data.rstrip(b"\r\n")
        self.heard += data
        if line.startswith(b"AUTH"):
            nonce = base64.b64decode(line.split()[2]).split(b"r=")[1]
            first = b"r=%sx,s=%s,i=%d" % (nonce, b64(b"salt" * 4), self.rounds)
            self._pending += b"334 " + b64(first) + b"\r\n"
        elif line == b"*":
            self._pending += b"501 5.7.0 cancelled\r\n"
        elif line.startswith(b"EHLO"):
            self._play()
        else:
            self._pending += b"334 " + b64(b"v=" + b64(b"x" * 32)) + b"\r\n"


def test_a_false_proof_of_scram_sends_nothing() -> None:
    played = _Weak.play()
    assert played.outcome.verdict is Verdict.LOGIN
    assert "could not prove" in played.outcome.text
    assert played.tried == ["SCRAM-SHA-256"]
    assert not played.sent


def test_digest_md5_without_its_proof_sends_nothing() -> None:
    challenge = b"334 " + b64(b'nonce="n",algorithm=md5-sess,charset=utf-8') + b"\r\n"
    false = b"334 " + b64(b"rspauth=0") + b"\r\n"
    for replies in ([WELCOME], [false, b"501 cancelled\r\n"], [false, WELCOME], [false, false]):
        played = play(challenge, *replies, *SENT, offer=ehlo("DIGEST-MD5", "CRAM-MD5"))
        assert played.tried == ["DIGEST-MD5"]
        assert played.outcome.verdict is Verdict.LOGIN
        assert "prove" in played.outcome.text or "proof" in played.outcome.text
        assert not played.sent


# Challenges


@pytest.mark.parametrize(
    "challenge", [b"!!!", b"AAA", b"\xff\xfe", b"", b64(b"\0" * 3000), b64(b"r=1,s=2,i=4096")]
)
def test_a_broken_challenge_is_followed_by_the_next_mechanism(challenge: bytes) -> None:
    played = play(
        b"334 " + challenge + b"\r\n", b"501 5.7.0 cancelled\r\n",
        b"334 " + challenge + b"\r\n", b"501 5.7.0 cancelled\r\n",
        offer=ehlo("SCRAM-SHA-512", "DIGEST-MD5"),
    )  # fmt: skip
    assert played.tried == ["SCRAM-SHA-512", "DIGEST-MD5"]
    assert played.trace.count("send> *") == 2
    assert played.outcome.verdict is Verdict.LOGIN
    assert "SCRAM-SHA-512 (The server's challenge for SCRAM-SHA-512" in played.outcome.text


def test_a_login_taken_though_it_was_taken_back() -> None:
    played = play(b"334 !!!\r\n", WELCOME, *SENT, offer=ehlo("CRAM-MD5", "PLAIN"),
                  chooser=Chooser("cram-md5", "plain"))  # fmt: skip
    assert played.outcome.verdict is Verdict.LOGIN
    assert not played.sent


def test_challenges_for_ever() -> None:
    for name in mechanisms.REGISTRY:
        played = play(*[b"334 \r\n"] * 50, offer=ehlo(name), chooser=Chooser(name))
        assert played.outcome.verdict is Verdict.LOGIN
        assert len(played.trace) < 30
        assert not played.sent


def test_a_long_token_is_said_behind_the_prompt() -> None:
    class Long(Chooser):
        def __call__(self, step: steps.Login) -> Chosen:
            server = Server("mx", 465, step.extensions.mechanisms)
            return Chosen(mechanisms.begin("XOAUTH2", "u", "t" * 3000, server, ()))

    played = play(b"334 \r\n", WELCOME, *SENT, offer=ehlo("XOAUTH2"), chooser=Long())
    assert played.outcome.verdict is Verdict.ACCEPTED
    lines = played.script.heard.split(b"\r\n")
    assert lines[1] == b"AUTH XOAUTH2"
    assert base64.b64decode(lines[2]) == b"user=u\1auth=Bearer " + b"t" * 3000 + b"\1\1"


@pytest.mark.parametrize(("name", "answer"), [("OAUTHBEARER", b"AQ=="), ("XOAUTH2", b"")])
def test_why_a_token_is_refused(name: str, answer: bytes) -> None:
    said = json.dumps({"status": "400", "scope": f"\x1b[2J\u202e of {SECRET}"}).encode()
    played = play(b"334 " + b64(said) + b"\r\n", REFUSED, offer=ehlo(name, "PLAIN"),
                  chooser=Chooser(name, "plain"))  # fmt: skip
    assert played.tried == [name]
    assert played.script.heard.split(b"\r\n")[2] == answer
    assert played.outcome.verdict is Verdict.LOGIN
    text = played.outcome.text
    assert "Its reason: status: 400; scope: ^[[2J\\u202e of <masked>." in text
    assert "get a new token" in text
    assert "recv> 334 <masked>" in played.trace


def test_of_a_long_token_that_is_repeated_nothing_is_told() -> None:
    token = "ya29." + "".join(chr(97 + 7 * n % 26) for n in range(2048))

    class Long(Chooser):
        def __call__(self, step: steps.Login) -> Chosen:
            server = Server("mx", 465, step.extensions.mechanisms)
            return Chosen(mechanisms.begin("XOAUTH2", "u", token, server, ()))

    for said in (json.dumps({"error_description": f"bad {token}"}), f"bad {token}"):
        explained = b"334 " + b64(said.encode()) + b"\r\n"
        played = play(b"334 \r\n", explained, REFUSED, offer=ehlo("XOAUTH2"), chooser=Long())
        assert "bad <masked>." in played.outcome.text
        assert token[:20] not in played.outcome.text + "".join(played.trace)


def test_a_token_refused_by_another_code_is_refused() -> None:
    played = play(b"334 e30=\r\n", b"501 5.5.2 no\r\n", offer=ehlo("XOAUTH2", "PLAIN"),
                  chooser=Chooser("xoauth2", "plain"))  # fmt: skip
    assert played.tried == ["XOAUTH2"]
    assert played.outcome.verdict is Verdict.LOGIN


REPLIES = st.one_of(
    st.sampled_from([WELCOME, REFUSED, OK, b"504 no\r\n", b"454 later\r\n", b"421 bye\r\n", None]),
    st.binary(max_size=60).map(lambda octets: b"334 " + b64(octets) + b"\r\n"),
    st.binary(max_size=60).map(lambda octets: b"334 " + octets.replace(b"\n", b"") + b"\r\n"),
    st.sampled_from(
        [SECRET.encode(), b64(SECRET.encode()), b64(b"#" + SECRET.encode() + b"#")]
    ).map(lambda octets: b"535 5.7.8 " + octets + b"\r\n"),
)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(sorted({*mechanisms.REGISTRY} - {"ANONYMOUS"})), st.lists(REPLIES, max_size=8)
)
def test_any_replies_come_to_a_verdict(name: str, replies: list[bytes | None]) -> None:
    try:
        played = play(*replies, offer=ehlo(name, "PLAIN"), chooser=Chooser(name, "plain"))
    except SmtpsError as error:
        pytest.fail(error.text)
    shown = "\n".join([*played.trace, played.outcome.text, repr(played.outcome)])
    assert SECRET not in shown
    assert b64(SECRET.encode()).decode() not in shown

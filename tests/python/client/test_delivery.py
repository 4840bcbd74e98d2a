"""Deliveries over real TLS to the sandbox, which holds a client to what it offers."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from servers import PYTHON

from smtps.client.account import Account
from smtps.client.delivery import Delivery
from smtps.client.login import Credentials
from smtps.client.pool import Pool
from smtps.net.loop import Loop
from smtps.net.streams import run
from smtps.outbox import spool
from smtps.protocol import body
from smtps.protocol.envelope import Envelope, Message
from smtps.protocol.outcome import Outcome, Verdict
from smtps.protocol.parameters import Notices, Wishes
from smtps.sandbox.server import PASSWORD, USER, Sandbox

TEXT = b"From: me@x\r\nSubject: x\r\n\r\nHello.\r\n.\r\n"


@contextmanager
def offering(directory: Path, *more: str) -> Iterator[Sandbox]:
    """Run a sandbox that offers MORE; none of it may be used wrongly."""
    with Sandbox(directory / "sandbox", more=more) as running:
        yield running
        assert not running.faults


def account(sandbox: Sandbox) -> Account:
    return Account("localhost", sandbox.port, "implicit", user=USER, ca_file=str(sandbox.ca_file))


def message(text: bytes = TEXT) -> Message:
    return Message(lambda: [text], body.shape([text]))


async def ask() -> Credentials:
    return Credentials(USER, PASSWORD)


class Commits(list[tuple[int, ...]]):
    """Remembers what was committed."""

    async def __call__(self, recipients: tuple[int, ...]) -> None:
        self.append(recipients)


def sent(sandbox: Sandbox, *envelopes: Envelope, text: bytes = TEXT) -> list[Outcome]:
    """Send a mail by each of ENVELOPES, one after the other, without an event loop."""
    delivery = Delivery(account(sandbox))

    async def all_() -> list[Outcome]:
        try:
            return [await delivery.send(e, message(text), ask, Commits()) for e in envelopes]
        finally:
            await delivery.close()

    return run(all_())


def to(*recipients: str) -> Envelope:
    return Envelope("me@x", recipients)


MORE = {
    "CHUNKING": ([], "", ""),
    "SIZE 1000000": ([], "SIZE=", ""),
    "SMTPUTF8": (["--", "ü@x"], "SMTPUTF8", ""),
    "DSN": (
        ["-N", "success,failure", "-R", "hdrs", "-V", "id 1", "--orcpt", "rfc822;b+c@x"],
        "RET=HDRS ENVID=id+201",
        "NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;b+2Bc@x",
    ),
    "DELIVERBY 60": (["--deliver-by", "120;R"], "BY=120;R", ""),
    "FUTURERELEASE": (["--hold-for", "60"], "HOLDFOR=60", ""),
    "FUTURERELEASE 100 2030-01-01T00:00:00Z": (
        ["--hold-until", "2029-01-31T09:00:00+01:00"],
        "HOLDUNTIL=2029-01-31T09:00:00+01:00",
        "",
    ),
    "MT-PRIORITY": (["--priority=-4"], "MT-PRIORITY=-4", ""),
    "REQUIRETLS": (["--require-tls"], "REQUIRETLS", ""),
}


@pytest.mark.parametrize("keyword", MORE)
def test_each_extension_can_be_asked_for_and_is_seen_on_the_wire(
    tmp_path: Path, keyword: str
) -> None:
    words, mail, rcpt = MORE[keyword]
    with offering(tmp_path, keyword) as sandbox:
        done = subprocess.run(
            [sys.executable, "-I", str(PYTHON), "send", "--host", "localhost",
             "--port", str(sandbox.port), "--ca-file", str(sandbox.ca_file), "--user", USER,
             "--password-command", f"printf %s '{PASSWORD}'", "--outbox", str(tmp_path / "box"),
             "-f", "me@x", *(words if "--" in words else [*words, "a@x"])],
            input=TEXT, capture_output=True, timeout=30, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        (mail_,) = sandbox.accepted
        assert mail in " ".join(mail_.parameters)
        assert rcpt == " ".join(mail_.recipient_parameters[0])
        assert mail_.octets.endswith(TEXT)


SIGNED = (
    b"From: me@x\r\nMIME-Version: 1.0\r\n"
    b'Content-Type: multipart/signed; boundary="b"; protocol="application/pgp-signature"\r\n\r\n'
    b"--b\r\n\r\n" + b"word " * 400 + b"\r\n--b\r\n"
    b"Content-Type: application/pgp-signature\r\n\r\nx\r\n--b--\r\n"
)
"""Its long line can't be encoded anew without breaking the signature."""


def test_what_must_not_be_encoded_anew_goes_as_binary_or_not_at_all(tmp_path: Path) -> None:
    with Sandbox(tmp_path / "one", more=["CHUNKING", "BINARYMIME"]) as sandbox:
        (outcome,) = sent(sandbox, to("a@x"), text=SIGNED)
        assert outcome.verdict is Verdict.ACCEPTED, outcome.text
        assert "BODY=BINARYMIME" in sandbox.accepted[0].parameters
        assert sandbox.accepted[0].octets == SIGNED
    with Sandbox(tmp_path / "two", more=["CHUNKING"]) as sandbox:
        (outcome,) = sent(sandbox, to("a@x"), text=SIGNED)
        assert outcome.verdict is Verdict.UNSENDABLE
        assert "sign" in outcome.text
        assert not sandbox.accepted


def test_what_is_not_offered_is_not_used(tmp_path: Path) -> None:
    with offering(tmp_path) as sandbox:
        (outcome,) = sent(sandbox, to("a@x"))
        assert outcome.verdict is Verdict.ACCEPTED
        assert sandbox.accepted[0].parameters == (f"SIZE={len(TEXT)}",)


@pytest.mark.parametrize("chunking", [True, False])
def test_more_recipients_than_fit_go_in_several_transactions(
    tmp_path: Path, chunking: bool
) -> None:
    names = tuple(f"r{i}@d{i}" for i in range(7))
    more = ["LIMITS RCPTMAX=3", *(["CHUNKING"] if chunking else [])]
    with offering(tmp_path, *more) as sandbox:
        (outcome,) = sent(sandbox, to(*names))
        assert [fate.verdict for fate in outcome.fates] == [Verdict.ACCEPTED] * 7
        assert [fate.address for fate in outcome.fates] == list(names)
        assert [mail.recipients for mail in sandbox.accepted] == [names[:3], names[3:6], names[6:]]
        assert "In 3 transactions 7 of 7 recipients were accepted" in outcome.text


def test_a_connection_takes_no_more_domains_than_it_says(tmp_path: Path) -> None:
    hellos = 0

    def override(verb: str, line: str) -> str | None:
        nonlocal hellos
        hellos += verb == "EHLO"
        return None

    more = ["LIMITS MAILMAX=9 RCPTDOMAINMAX=1"]
    with Sandbox(tmp_path / "sandbox", more=more, override=override) as sandbox:
        (outcome,) = sent(sandbox, to("a@x", "b@y", "c@x", "d@z", "e@w"))
        assert {fate.verdict for fate in outcome.fates} == {Verdict.ACCEPTED}
        assert [mail.recipients for mail in sandbox.accepted] == [
            ("a@x", "c@x"),
            ("b@y",),
            ("d@z",),
            ("e@w",),
        ]
        assert hellos == 4


def test_a_connection_takes_no_more_mails_than_it_says(tmp_path: Path) -> None:
    with offering(tmp_path, "LIMITS MAILMAX=2") as sandbox:
        outcomes = sent(sandbox, *(to(f"r{i}@x") for i in range(5)))
        assert [outcome.status for outcome in outcomes] == [0] * 5


def test_a_server_that_says_too_late_how_many_it_takes_gets_the_rest_in_turn(
    tmp_path: Path,
) -> None:
    taken = 0

    def override(verb: str, line: str) -> str | None:
        nonlocal taken
        taken = 0 if verb == "MAIL" else taken + (verb == "RCPT")
        return "452 4.5.3 too many\r\n" if verb == "RCPT" and taken > 2 else None

    with Sandbox(tmp_path / "sandbox", override=override) as sandbox:
        (outcome,) = sent(sandbox, to(*(f"r{i}@x" for i in range(5))))
        assert {fate.verdict for fate in outcome.fates} == {Verdict.ACCEPTED}
        assert [len(mail.recipients) for mail in sandbox.accepted] == [2, 2, 1]


def test_all_or_none_of_more_than_fit_at_once_is_held(tmp_path: Path) -> None:
    envelope = to("a@x", "b@y", "c@x")._replace(wishes=Wishes(all_or_none=True))
    with offering(tmp_path, "LIMITS RCPTMAX=2") as sandbox:
        (outcome,) = sent(sandbox, envelope)
        assert {fate.verdict for fate in outcome.fates} == {Verdict.HELD}
        assert "takes 2 of the 3 recipients at once" in outcome.text
        assert not sandbox.accepted


def test_all_or_none_goes_over_a_new_connection_where_that_takes_all(tmp_path: Path) -> None:
    envelope = to("a@y")._replace(wishes=Wishes(all_or_none=True))
    with offering(tmp_path, "LIMITS RCPTDOMAINMAX=1") as sandbox:
        outcomes = sent(sandbox, to("a@x"), envelope)
        assert [outcome.status for outcome in outcomes] == [0, 0]


def test_a_server_that_takes_nobody_is_not_asked_for_ever(tmp_path: Path) -> None:
    asked = 0

    def override(verb: str, line: str) -> str | None:
        nonlocal asked
        asked += verb == "RCPT"
        return "452 4.5.3 too many\r\n" if verb == "RCPT" else None

    with Sandbox(tmp_path / "sandbox", override=override) as sandbox:
        (outcome,) = sent(sandbox, to("a@x", "b@x"))
        assert {fate.verdict for fate in outcome.fates} == {Verdict.DEFERRED}
        assert asked == 2


def test_the_next_mails_go_over_the_same_connection(tmp_path: Path) -> None:
    greeted = 0

    def override(verb: str, line: str) -> str | None:
        nonlocal greeted
        greeted += verb == "EHLO"
        return None

    with Sandbox(tmp_path / "sandbox", more=["CHUNKING"], override=override) as sandbox:
        outcomes = sent(sandbox, to("a@x"), to("b@x"), to("c@x"))
        assert {outcome.verdict for outcome in outcomes} == {Verdict.ACCEPTED}
        assert len(sandbox.accepted) == 3
        assert greeted == 1


def test_a_connection_that_died_meanwhile_is_replaced(tmp_path: Path) -> None:
    with offering(tmp_path) as sandbox:
        delivery = Delivery(account(sandbox))

        async def two() -> list[Outcome]:
            first = await delivery.send(to("a@x"), message(), ask, Commits())
            for connected in list(sandbox._open):
                connected.shutdown(2)
            second = await delivery.send(to("b@x"), message(), ask, Commits())
            await delivery.close()
            return [first, second]

        assert [outcome.status for outcome in run(two())] == [0, 0]


def test_a_secret_that_was_refused_is_no_longer_known_to_work(tmp_path: Path) -> None:
    logins = 0

    def override(verb: str, line: str) -> str | None:
        nonlocal logins
        logins += verb == "AUTH"
        return "535 5.7.8 no\r\n" if verb == "AUTH" and logins > 1 else None

    with Sandbox(tmp_path / "sandbox", more=["CHUNKING"], override=override) as sandbox:
        delivery = Delivery(account(sandbox))
        commits = Commits()

        async def each() -> list[int]:
            counts = []
            for _ in range(3):
                await delivery.send(to("a@x"), message(), ask, commits)
                await delivery.close()
                counts.append(len(commits))
            return counts

        # The second one leaves in one flight, behind a commit; the third waits for its login.
        assert run(each()) == [1, 2, 2]


def test_a_pool_closes_what_has_rested_and_remembers_what_worked(tmp_path: Path) -> None:
    asked: list[str] = []

    def override(verb: str, line: str) -> str | None:
        asked.append(verb)
        return None

    async def used(sandbox: Sandbox) -> None:
        pool = Pool(lambda name: Delivery(name, Loop()), idle=0)
        for _ in range(2):
            delivery = await pool.take(account(sandbox))
            outcome = await delivery.send(to("a@x"), message(), ask, Commits())
            assert outcome.status == 0
            pool.rest(account(sandbox))
            async with asyncio.timeout(10):
                while delivery.idle:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        await pool.close()

    with Sandbox(tmp_path / "sandbox", override=override) as sandbox:
        asyncio.run(used(sandbox))
        assert asked.count("EHLO") == asked.count("QUIT") == 2


def test_the_outbox_gives_back_all_that_was_asked_for(tmp_path: Path) -> None:
    envelope = Envelope(
        "me@x",
        ("a@x", "b@x"),
        Wishes("full", "id", "60;R", 5, None, 0, True, True),
        (Notices(("never",), "rfc822;c@x"), Notices()),
    )
    box = spool.Spool(tmp_path / "box")
    made = Account("localhost", 1, "implicit")
    directory = box.take_in(made, envelope, lambda: [TEXT], "<1@x>", "queue")
    assert box.entry(directory).envelope == envelope

"""A recorded server, and clients that do as the recorded one did, or not."""

from __future__ import annotations

import re
import signal
import smtplib
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from servers import PYTHON, Run

from smtps.protocol.transcript import Exchange, Recording, read
from smtps.sandbox.replay import Player
from smtps.sandbox.server import PASSWORD, USER, Sandbox

GOLDEN = (Path(__file__).parents[2] / "wire" / "dialogue.transcript").read_text("utf-8")

REFUSED = """
recv> 220 mx.test ESMTP
send> EHLO x
recv> 250-mx.test
recv> 250-AUTH PLAIN
recv> 250 SIZE 1000
send> AUTH PLAIN <the-encoded-auth-credentials>
recv> 235 ok
send> MAIL FROM:<a@b.c> SIZE=30
recv> 250 ok
send> RCPT TO:<d@e.f>
recv> 550 5.7.1 Not that one
send> QUIT
recv> 221 bye
"""


def play(recording: Recording, *said: str) -> tuple[str, list[str]]:
    """Return what the server says when the client says each of SAID, and what is told."""
    told: list[str] = []
    player = Player(recording, told.append)
    for line in said:
        player.receive(line.encode() + b"\r\n")
        if player.wants_tls:
            player.tls_started()
    if not player.closed:
        player.hung_up()
    return player.data_to_send().decode(), told


def test_each_reply_comes_in_its_turn() -> None:
    heard, told = play(
        read(GOLDEN), "EHLO other", "STARTTLS", "EHLO other", "AUTH LOGIN", "dQ==", "cA==",
        "mail from:<from-address@poste.it> size=9", "rcpt to:<to-address@other-host.it>", "DATA",
        "Subject: another", "", "..", ".", "NOOP",
    )  # fmt: skip
    assert not told
    assert heard.splitlines() == re.findall(r"^ *[0-9]+ recv> (.*)", GOLDEN, re.M)


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (["HELO x"], "The client said “HELO x”; recorded is “EHLO x”."),
        (["EHLO x", "secret"], "The client said “a line that is no command”;"),
        (["EHLO x", "AUTH CRAM-MD5 c2VjcmV0"], "The client said “AUTH CRAM-MD5”;"),
        (["EHLO x"], "The client said nothing more, and closed the connection; recorded is “AUTH"),
        (["x" * 20000], "The client said “a line that is no command”"),
    ],
)
def test_a_client_that_strays_is_told(said: list[str], sentence: str) -> None:
    heard, told = play(read(REFUSED), *said)
    assert told[0].startswith(sentence)
    assert len(told) == 1
    assert "secret" not in told[0]
    assert heard.splitlines()[-1].startswith("554 5.5.0 The recording has “")


def test_a_line_has_an_end() -> None:
    told: list[str] = []
    player = Player(read(REFUSED), told.append)
    player.receive(b"x" * 20000)
    assert player.closed
    assert told == ["The client said a line without an end; recorded is “EHLO x”."]


def test_a_message_may_have_long_lines() -> None:
    player = Player(read("recv> 220 x\nsend> DATA\nrecv> 354 a\nrecv> 250 b\n"), pytest.fail)
    for data in (b"DATA\r\n", b"x" * 20000, b".", b"\r\n", b"x" * 16384 + b".", b"\n"):
        player.receive(data)
    assert player.data_to_send() == b"220 x\r\n354 a\r\n"
    player.receive(b".\r\n")
    assert player.data_to_send() == b"250 b\r\n"


def test_chunks_are_swallowed() -> None:
    recording = read("recv> 220 x\nsend> BDAT 6\nrecv> 250 a\nsend> BDAT 0 LAST\nrecv> 250 b\n")
    player = Player(recording, pytest.fail)
    player.receive(b"BDAT 6\r\nRSE")
    assert player.data_to_send() == b"220 x\r\n"
    player.receive(b"T\r\nBDAT 0 LAST\r\n")
    assert player.data_to_send() == b"250 a\r\n250 b\r\n"
    assert player.closed


def test_what_begins_in_the_middle_is_greeted() -> None:
    heard, told = play(Recording({}, (Exchange("NOOP", ("250 ok",)),)), "NOOP")
    assert heard == "220 replay ESMTP\r\n250 ok\r\n"
    assert not told


@pytest.fixture
def refusing(tmp_path: Path) -> Iterator[tuple[Sandbox, list[str]]]:
    told: list[str] = []
    with Sandbox(tmp_path, recording=read(REFUSED), tell=told.append) as box:
        yield box, told


def test_a_report_becomes_a_test(
    refusing: tuple[Sandbox, list[str]], smtps: Run, tmp_path: Path
) -> None:
    box, told = refusing
    again = tmp_path / "again"
    words = (
        "send", "--host", "localhost", "--port", str(box.port), "--tls", "implicit",
        "--ca-file", str(box.ca_file), "--user", USER, "--password-command", f"echo {PASSWORD}",
        "--transcript", str(again), "-f", "a@b.c", "d@e.f",
    )  # fmt: skip
    done = smtps(*words, text="From: a@b.c\n\nText\n")
    assert done.returncode == 67, done.stderr
    assert "5.7.1 Not that one" in done.stderr
    assert not told
    # What the command writes tells the same as what it was played.
    codes = [exchange.code for exchange in read(again.read_text("utf-8")).exchanges]
    assert codes == [exchange.code for exchange in read(REFUSED).exchanges]


def test_a_client_of_somebody_else_s(refusing: tuple[Sandbox, list[str]]) -> None:
    box, told = refusing
    context = ssl.create_default_context(cafile=str(box.ca_file))
    with smtplib.SMTP_SSL("localhost", box.port, context=context) as client:
        client.ehlo("y")
        assert client.docmd("NOOP")[0] == 554
    assert told == [
        "The client said “NOOP”; recorded is “AUTH PLAIN <the-encoded-auth-credentials>”."
    ]


def test_the_command_tells_and_fails(tmp_path: Path) -> None:
    (tmp_path / "a.transcript").write_text(REFUSED)
    with subprocess.Popen(
        [sys.executable, "-I", str(PYTHON), "sandbox", "--replay", str(tmp_path / "a.transcript")],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        words = ""
        end = time.monotonic() + 20
        while "STARTTLS" not in words and time.monotonic() < end:
            words += process.stdout.readline()
        port = int(words.split("localhost:")[2].split()[0])
        with smtplib.SMTP("localhost", port) as client:
            assert client.docmd("RSET")[0] == 554
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 76
        assert "The client said “RSET”; recorded is “EHLO x”." in process.stderr.read()


@pytest.mark.parametrize(("text", "status"), [("nonsense\n", 65), (None, 66)])
def test_what_is_no_transcript(tmp_path: Path, smtps: Run, text: str | None, status: int) -> None:
    if text is not None:
        (tmp_path / "file").write_text(text)
    done = smtps("sandbox", "--replay", str(tmp_path / "file"))
    assert done.returncode == status
    assert done.stderr.count("\n") == 1

"""Each exit status, by a case that causes it, with real sockets and a real process."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from email import message_from_bytes
from email.header import decode_header, make_header
from pathlib import Path

import pytest
from servers import PYTHON, Run

from smtps.errors import SmtpsError
from smtps.protocol.outcome import STATUS
from smtps.sandbox.server import PASSWORD, USER, Sandbox

README = PYTHON.parent / "README.org"

MESSAGE = "From: a@b.c\nTo: d@e.f\nSubject: x\n\nText\n"
OK = b"250 ok\r\n"
GO = b"354 go\r\n"


@contextmanager
def server(replies: list[bytes | None]) -> Iterator[int]:
    """Play REPLIES, one for each line or message; None closes."""
    listener = socket.create_server(("127.0.0.1", 0))

    def play() -> None:
        with listener:
            connected, _ = listener.accept()
        with suppress(OSError), connected, connected.makefile("rb") as lines:
            for reply in replies:
                if reply is None:
                    return
                connected.sendall(reply)
                if reply.startswith(b"354"):
                    while lines.readline() not in (b".\r\n", b""):
                        pass
                elif not lines.readline():
                    return
            # Silent, but there.
            while lines.readline():
                pass

    thread = threading.Thread(target=play, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    thread.join(10)


CASES: dict[str, tuple[list[bytes | None], int]] = {
    "accepted": ([b"220 hi\r\n", OK, OK, OK, GO, OK, b"221 bye\r\n"], 0),
    "message refused": ([b"220 hi\r\n", OK, OK, OK, GO, b"554 no\r\n"], 65),
    "recipient refused": ([b"220 hi\r\n", OK, OK, b"550 no\r\n"], 67),
    "closes at once": ([None], 69),
    "says nothing": ([], 69),
    "lost after the dot": ([b"220 hi\r\n", OK, OK, OK, GO, None], 74),
    "silent after the dot": ([b"220 hi\r\n", OK, OK, OK, GO], 74),
    "refused for now": ([b"220 hi\r\n", OK, OK, b"450 later\r\n"], 75),
    "garbage": ([b"\x1b[2J (kill-emacs)\r\n"], 76),
    "login wanted": ([b"220 hi\r\n", OK, b"530 login\r\n"], 77),
    "endless line": ([b"2" * 200_000], 76),
}


@pytest.mark.parametrize(("replies", "status"), CASES.values(), ids=CASES)
def test_status(smtps: Run, tmp_path: Path, replies: list[bytes | None], status: int) -> None:
    with server(replies) as port:
        done = smtps(
            "send", "-t", "--host", "127.0.0.1", "--port", str(port), "--tls", "none",
            "--timeout", "1", "--outbox", str(tmp_path / "box"), text=MESSAGE,
        )  # fmt: skip
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    assert "\x1b" not in done.stderr
    kept = list((tmp_path / "box" / ("sent" if status == 0 else "failed")).iterdir())
    assert len(kept) == 1
    assert (status == 0) == (done.stderr == "")
    assert status == 0 or kept[0].name in done.stderr


WITHOUT_A_SERVER: list[tuple[list[str], str, int]] = [
    (["send", "--nonsense"], MESSAGE, 64),
    (["send", "-bs", "--host", "localhost"], MESSAGE, 64),
    (["send", "--host", "localhost"], MESSAGE, 64),
    (["send", "-t"], MESSAGE, 64),
    (["send", "x@y.z", "--host", "localhost"], "", 65),
    (["send", "x@y.z\r\nDATA", "--host", "localhost"], MESSAGE, 65),
    (["send", "-t", "/nonexistent/file", "--host", "localhost"], "", 66),
    (["send", "-t", "/", "--host", "localhost"], "", 66),
    (["send", "-t", "--host", "nosuch.invalid"], MESSAGE, 68),
    (["send", "-t", "--host", "localhost", "--outbox", "/proc/nowhere"], MESSAGE, 73),
    (["send", "-t", "--host", "mx.invalid", "--tls", "none"], MESSAGE, 78),
    (["send", "-t", "--host", "localhost", "--port", "99999"], MESSAGE, 64),
    (["send", "-t", "word", "--host", "localhost"], MESSAGE, 64),
    (["send", "-t", "x" * 300, "--host", "localhost"], MESSAGE, 64),
    (["send", "-t", "--host", "localhost", "--ca-file", "x" * 300], MESSAGE, 78),
    (["send", "-t", "--host", "localhost", "--outbox", ""], MESSAGE, 64),
    (["outbox", "--outbox", ""], "", 64),
    (["send", "-t", "/", "--host", "localhost"], MESSAGE, 66),
    (["send", "--test-message", "d@e.f", "--host", "localhost"], "", 64),
    (["send", "--test-message", "-t", "-f", "a@b.c", "--host", "localhost"], "", 64),
    (["send", "-t", "--queue", "--transcript", "x", "--host", "localhost"], MESSAGE, 64),
    (["session", "localhost:x"], "", 64),
    (["session", "localhost:99999"], "", 64),
    (["session", "localhost:"], "", 64),
    (["session", "x" * 300], "", 68),
    (["sesion"], "", 64),
    (["sned", "-t"], MESSAGE, 64),
    (["base64", "-d", "!"], "", 65),
    (["base64", "é"], "", 0),
    (["--version"], "", 0),
    (["--help"], "", 0),
    (["send", "-f", "Name <a@x.y>", "d@e.f", "--host", "localhost"], MESSAGE, 65),
    (["send", "Name <d@e.f>", "--host", "localhost"], MESSAGE, 65),
    (["send", "g@h.i,Name <d@e.f>", "--host", "localhost"], MESSAGE, 65),
    (["send", ",", "--host", "localhost"], MESSAGE, 65),
    (["send", "-h"], MESSAGE, 0),
    (["send", "-h", "d@e.f", "--host", "localhost"], MESSAGE, 64),
    (["send", "-F", "a\x1bb", "-f", "a@b.c", "d@e.f", "--host", "localhost"], "\nText\n", 65),
]


@pytest.mark.parametrize(("words", "text", "status"), WITHOUT_A_SERVER)
def test_status_without_a_server(smtps: Run, words: list[str], text: str, status: int) -> None:
    done = smtps(*words, text=text)
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    assert status == 0 or done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["-bp"], "“smtps outbox list”"),
        (["-q15m"], "“smtps outbox flush”"),
        (["-q"], "“smtps outbox flush”"),
        (["-bs"], "“smtps HOST”"),
        (["-b", "Z"], "which is -bm"),
        (["-C", "x.cf"], "--account NAME"),
        (["-Xlog"], "--transcript FILE"),
    ],
)
def test_what_sendmail_does_and_smtps_does_not_is_said(
    smtps: Run, words: list[str], told: str
) -> None:
    done = smtps("send", "--host", "localhost", *words, "d@e.f", text=MESSAGE)
    assert (done.returncode, told in done.stderr) == (64, True), done.stderr


ID = "Message-ID: <one@b.c>\n"


def test_a_mail_that_may_arrive_is_not_sent_again_by_itself(smtps: Run, tmp_path: Path) -> None:
    def send(
        replies: list[bytes | None], *words: str, text: str = ID + MESSAGE
    ) -> subprocess.CompletedProcess[str]:
        with server(replies) as port:
            return smtps(
                "send", *words, "--host", "127.0.0.1", "--port", str(port), "--tls", "none",
                "--outbox", str(tmp_path / "box"), text=text,
            )  # fmt: skip

    well: list[bytes | None] = [b"220 hi\r\n", OK, OK, OK, GO, OK, b"221 bye\r\n"]
    assert send([b"220 hi\r\n", OK, OK, b"550 no\r\n"], "-t").returncode == 67
    # Refused is not uncertain: who corrects what was wrong sends it anew.
    assert send([b"220 hi\r\n", OK, OK, OK, GO, None], "-t").returncode == 74
    (uncertain,) = [
        entry.name
        for entry in (tmp_path / "box/failed").iterdir()
        if "uncertain" in (entry / "journal.sexp").read_text()
    ]
    done = send([None], "-t")
    assert done.returncode == 65
    assert f", and it is uncertain whether that arrived: it is {uncertain} in " in done.stderr
    assert "--again" in done.stderr
    assert list((tmp_path / "box/active").iterdir()) == []
    assert send([None], "-t", "--queue").returncode == 65
    assert send(well, "other@e.f").returncode == 0
    assert send(well, "-t", text=ID.replace("one", "two") + MESSAGE).returncode == 0
    assert send(well, "-t", "--again").returncode == 0
    # What has arrived can be sent once more.
    assert send(well, "-t", text=ID.replace("one", "two") + MESSAGE).returncode == 0


def test_of_two_that_come_at_once_one_is_taken(tmp_path: Path) -> None:
    """Both were new when they began; that is looked at again when they are put away."""
    box = tmp_path / "box"
    words = ["send", "-t", "--queue", "--host", "localhost", "--port", "1", "--tls", "none"]
    both = [
        subprocess.Popen(
            [sys.executable, "-I", str(PYTHON), *words, "--outbox", str(box)],
            stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | {"HOME": str(tmp_path)},
        )
        for _ in range(2)
    ]  # fmt: skip
    for process in both:
        assert process.stdin
        process.stdin.write((ID + MESSAGE + "Text.\n" * 50_000).encode())
        process.stdin.flush()
    deadline = time.monotonic() + 20
    while len(list(box.glob("tmp/2*"))) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    told = [process.communicate(timeout=60)[1] for process in both]
    assert sorted(process.returncode for process in both) == [0, 65]
    assert sum(b"--again" in one for one in told) == 1
    assert len(list(box.glob("queue/*"))) == 1


def test_a_mail_is_queued_and_sent_later(smtps: Run, tmp_path: Path) -> None:
    box = ("--outbox", str(tmp_path / "box"))
    well: list[bytes | None] = [b"220 hi\r\n", OK, OK, OK, GO, OK, b"221 bye\r\n"]
    with server(well) as port:
        words = ("send", "-t", "--host", "127.0.0.1", "--port", str(port), "--tls", "none", *box)
        done = smtps(*words, "--queue", "--report", "json", text=ID + MESSAGE)
        assert (done.returncode, done.stderr) == (0, "")
        report = json.loads(done.stdout)
        assert (report["verdict"], report["recipients"][0]["address"]) == ("queued", "d@e.f")
        assert [path.name for path in (tmp_path / "box/queue").iterdir()] == [report["id"]]
        assert smtps(*words, text=ID + MESSAGE).returncode == 65
        assert smtps("outbox", "flush", *box).returncode == 0
    assert [path.name for path in (tmp_path / "box/sent").iterdir()] == [report["id"]]


def test_a_test_message_is_made_up(smtps: Run, tmp_path: Path, sandbox: Sandbox) -> None:
    done = smtps(
        "send", "--test-message", "--from", "a@b.c", "--to", "d@e.f", "--to", "g@h.i",
        "--host", "localhost", "--port", str(sandbox.port), "--tls", "implicit",
        "--ca-file", str(sandbox.ca_file), "--user", USER,
        "--password-command", f"echo {PASSWORD}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (mail,) = sandbox.accepted
    assert mail.recipients == ("d@e.f", "g@h.i")
    assert {b"From: a@b.c", b"To: d@e.f, g@h.i", b"Subject: A test message"} <= set(
        mail.octets.split(b"\r\n")
    )


LATER = b"450 later\r\n"
NO = b"550 no\r\n"
LOGIN = b"530 5.7.0 log in\r\n"

SEVERAL: dict[str, tuple[list[bytes | None], list[str], int]] = {
    "all": ([OK, OK, OK, GO, OK], ["accepted"] * 3, 0),
    "one later": ([OK, LATER, OK, GO, OK], ["accepted", "deferred", "accepted"], 75),
    "one refused, one later": (
        [NO, LATER, OK, GO, OK], ["refused", "deferred", "accepted"], 67
    ),
    "one refused, one later, none left": (
        [NO, LATER, NO], ["refused", "deferred", "refused"], 67
    ),
    # Whatever it said to the others before.
    "a login is wanted": ([LATER, NO, LOGIN], ["login"] * 3, 77),
    "uncertain": ([NO, LATER, OK, GO, None], ["refused", "deferred", "uncertain"], 74),
}  # fmt: skip
"""By what is said to each of three recipients, and then to the message: what becomes of each,
and the status that tells what matters most: 74, 77, 67, 75, 0."""


@pytest.mark.parametrize(("replies", "verdicts", "status"), SEVERAL.values(), ids=SEVERAL)
def test_what_matters_most_is_the_status(
    smtps: Run, tmp_path: Path, replies: list[bytes | None], verdicts: list[str], status: int
) -> None:
    with server([b"220 hi\r\n", OK, OK, *replies, b"221 bye\r\n"]) as port:
        done = smtps(
            "send", "a@x.y", "b@x.y", "c@x.y", "--host", "127.0.0.1", "--port", str(port),
            "--tls", "none", "--timeout", "1", "--outbox", str(tmp_path / "box"),
            "--report", "json", text=MESSAGE,
        )  # fmt: skip
    assert done.returncode == status, done.stderr
    told = json.loads(done.stdout)
    assert told["status"] == status
    assert [one["verdict"] for one in told["recipients"]] == verdicts


@pytest.mark.parametrize(
    "words", [[], ["--user", USER, "--password-command", "echo wrong"]], ids=["name", "password"]
)
def test_whom_we_do_not_trust_and_who_does_not_trust_us(
    sandbox: Sandbox, smtps: Run, words: list[str]
) -> None:
    trust = ["--ca-file", str(sandbox.ca_file)] if words else []
    done = smtps(
        "send", "-t", "--host", "localhost", "--port", str(sandbox.port), "--tls", "implicit",
        *trust, *words, text=MESSAGE,
    )  # fmt: skip
    assert done.returncode == 77, done.stderr
    assert not sandbox.accepted


def test_an_error_of_our_own_keeps_the_mail(smtps: Run, tmp_path: Path) -> None:
    # An installation that lost a file which is needed only when the mail is safe.
    python = tmp_path / "python"
    shutil.copytree(PYTHON, python)
    (python / "smtps/client/delivery.py").unlink()
    box = tmp_path / "box"
    done = subprocess.run(
        [sys.executable, "-I", str(python), "send", "-t", "--host", "127.0.0.1", "--port", "1",
         "--tls", "none", "--outbox", str(box)],
        input=MESSAGE, capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    assert done.returncode == 70
    assert "An error of our own (ModuleNotFoundError); a mail that was taken in is kept" in (
        done.stderr
    )
    assert done.stderr.count("\n") == 1
    (entry,) = box.glob("*/*/message.eml")
    assert entry.read_text().endswith("\n\nText\n")
    assert entry.parent.name in smtps("outbox", "--outbox", str(box)).stdout


def test_each_status_has_a_case() -> None:
    # 70 has the test above.
    caused = {70} | {status for _, status in CASES.values()}
    caused |= {status for _, _, status in WITHOUT_A_SERVER}
    documented = re.findall(r"^\|  +(\d+) \|", README.read_text("utf-8"), re.MULTILINE)
    # 130 is what shells report of SIGINT, which has tests of its own.
    assert {int(status) for status in documented} - {130} == caused
    assert {error.status for error in leaves(SmtpsError)} | set(STATUS.values()) <= caused


def leaves(kind: type[SmtpsError]) -> set[type[SmtpsError]]:
    """Return KIND and all that is below it."""
    return {kind}.union(*(leaves(below) for below in kind.__subclasses__()))


def test_a_name_that_is_not_utf_8_hides_no_address(smtps: Run, tmp_path: Path) -> None:
    file, box = tmp_path / "old", tmp_path / "box"
    file.write_bytes("From: René <a@b.c>\nTo: Zoë <d@e.f>, g@h.i\n\nText\n".encode("latin-1"))
    done = smtps("send", "-t", str(file), "--queue", "--host", "localhost", "--outbox", str(box),
                 "--report", "json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [to["address"] for to in json.loads(done.stdout)["recipients"]] == ["d@e.f", "g@h.i"]
    file.write_bytes(b"From: a@b.c\nTo: Zo\xeb@e.f\n\nText\n")
    done = smtps("send", "-t", str(file), "--queue", "--host", "localhost", "--outbox", str(box))
    assert (done.returncode, "Zo\\xeb@e.f” is not a mail address" in done.stderr) == (65, True)


def test_a_name_before_an_address_is_told(smtps: Run) -> None:
    done = smtps("send", "-f", "Name <a@x.y>", "d@e.f", "--host", "localhost", text=MESSAGE)
    assert "“Name <a@x.y>” has a name in it: give a@x.y alone" in done.stderr


def test_base64_has_no_line_breaks(smtps: Run) -> None:
    done = smtps("base64", text="é" * 100 + "\n")
    assert done.stdout.count("\n") == 1
    assert smtps("base64", "-d", done.stdout.strip()).stdout == "é" * 100 + "\n"


@pytest.mark.parametrize(
    "words",
    [
        ["-t", "-oi", "-oem", "-odb"],
        ["-it"],
        ["-bm", "-em", "-i", "-f", "q@b.c", "d@e.f"],
        ["-FCronDaemon", "-i", "-odi", "-oem", "-oi", "-t", "-f", "root@b.c"],
        ["-v", "-Ac", "-m", "-O", "DeliveryMode=b", "-t"],
        ["-FA Person", "-B8BITMIME", "-fq@b.c", "-oi", "--", "d@e.f"],
        ["-i", "d@e.f", "-f", "q@b.c", "d@e.f", "-oi"],
        ["-h", "5", "d@e.f"],
        ["-ih5", "-t"],
    ],
)
def test_sendmails_own_words_hold(smtps: Run, tmp_path: Path, words: list[str]) -> None:
    with server([b"220 hi\r\n", OK, OK, OK, GO, OK, b"221 bye\r\n"]) as port:
        done = smtps(
            "send", "--host", "127.0.0.1", "--port", str(port), "--tls", "none",
            "--outbox", str(tmp_path / "box"), *words, text=MESSAGE,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "box/sent").iterdir())) == 1


def test_addresses_may_stand_between_commas(smtps: Run, tmp_path: Path) -> None:
    done = smtps(
        "send", "--queue", "--host", "localhost", "--outbox", str(tmp_path / "box"),
        "--report", "json", "--to", "<d@e.f>,g@h.i", 'b@x.it, c@x.it,"q,r"@x.it,', text=MESSAGE,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [to["address"] for to in json.loads(done.stdout)["recipients"]] == [
        "b@x.it", "c@x.it", '"q,r"@x.it', "d@e.f", "g@h.i",
    ]  # fmt: skip


LONG = "Zoë " * 30

AUTHORS: dict[str, tuple[str, list[str], str, str, bytes]] = {
    "the account's": ("'Me <me@x.it>'", [], "", "me@x.it", b"From: me@x.it\n"),
    "the given one": ("'me@x.it'", ["-f", "a@x.it"], "", "a@x.it", b"From: a@x.it\n"),
    "with a name": (
        "['me@x.it']", ["-F", 'Cron "D"'], "", "me@x.it", b'From: "Cron \\"D\\"" <me@x.it>\n'
    ),
    "with a long name": ("'me@x.it'", ["-F", LONG], "", "me@x.it", b"From: =?utf-8?"),
    "of a notice": ("'me@x.it'", ["-f", "<>"], "", "", b"From: me@x.it\n"),
    "there is one": ("'me@x.it'", ["-F", "X"], "From: a@b.c\n", "a@b.c", b"From: a@b.c\n"),
    "sent again": (
        "'me@x.it'", ["-F", "X"], "Resent-From: a@b.c\nResent-To: d@e.f\n", "a@b.c", b""
    ),
}  # fmt: skip
"""The account's from, options, what the message has: the sender, and the line From."""


@pytest.mark.parametrize(
    ("has", "words", "header", "sender", "line"), AUTHORS.values(), ids=AUTHORS
)
def test_a_missing_from_is_added(
    smtps: Run, tmp_path: Path, has: str, words: list[str], header: str, sender: str, line: bytes
) -> None:
    accounts, box = tmp_path / "accounts.toml", tmp_path / "box"
    accounts.write_text(f'[work]\nhost = "localhost"\nfrom = {has}\n')
    header += "Date: now\nMessage-ID: <1@x>\nTo: d@e.f\n"
    done = smtps(
        "send", "-t", "--queue", "--accounts", str(accounts), "--outbox", str(box), *words,
        text=header + "\nText\n",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (mail,) = box.glob("queue/*")
    assert f'(mail "{sender}"' in (mail / "envelope.sexp").read_text()
    octets = (mail / "message.eml").read_bytes()
    assert max(map(len, octets.splitlines())) <= 78
    read = message_from_bytes(octets)
    if words == ["-F", LONG]:
        assert str(make_header(decode_header(read["From"]))) == f"{LONG}<me@x.it>"
    assert b"".join(re.findall(rb"^From: .*\n", octets, re.M)).startswith(line)
    assert octets.count(b"\nFrom:") + octets.startswith(b"From:") == bool(line)
    assert octets.endswith(header.removeprefix("From: a@b.c\n").encode() + b"\nText\n")


@pytest.mark.parametrize("has", ["'@x.it'", "['a@x.it', 'b@x.it']"])
def test_which_of_several_writes_is_not_guessed(smtps: Run, tmp_path: Path, has: str) -> None:
    accounts = tmp_path / "accounts.toml"
    accounts.write_text(f'[work]\nhost = "localhost"\nfrom = {has}\n')
    done = smtps("send", "d@e.f", "--accounts", str(accounts), text="Subject: x\n\nText\n")
    assert (done.returncode, "no sender is given with -f" in done.stderr) == (65, True)


@pytest.mark.parametrize("closed", [0, 1, 2])
def test_without_a_standard_stream_the_status_tells(tmp_path: Path, closed: int) -> None:
    mail = tmp_path / "mail"
    mail.write_text(MESSAGE)
    with server([b"220 hi\r\n", OK, OK, b"550 no\r\n"]) as port:
        done = subprocess.run(
            [sys.executable, "-I", "-c",
             "import os, sys; os.close(int(sys.argv[1])); os.execv(sys.executable, sys.argv[2:])",
             str(closed), sys.executable, "-I", str(PYTHON), "send", "-t", str(mail),
             "--host", "127.0.0.1", "--port", str(port), "--tls", "none",
             "--outbox", str(tmp_path / "box"), "--report", "json"],
            capture_output=True, text=True, timeout=20, check=False,
        )  # fmt: skip
    assert done.returncode == 67
    assert done.stdout.count("\n") == (closed != 1)
    assert done.stderr.count("\n") == (closed != 2)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize(
    ("replies", "status"),
    [
        ([], 130),
        ([b"220 hi\r\n", OK, OK, OK, GO], 74),
        ([b"220 hi\r\n", OK, OK, OK, GO, OK], 0),
    ],
    ids=["before the commit", "after the dot", "at QUIT"],
)
def test_a_signal_leaves_the_mail_as_what_it_is(
    tmp_path: Path, replies: list[bytes | None], status: int, number: signal.Signals
) -> None:
    box = tmp_path / "box"
    with server(replies) as port:
        running = subprocess.Popen(
            [sys.executable, "-I", str(PYTHON), "send", "-t", "--host", "127.0.0.1",
             "--port", str(port), "--tls", "none", "--outbox", str(box)],
            stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert running.stdin is not None
        running.stdin.write(MESSAGE)
        running.stdin.close()
        running.stdin = None
        state, word = {130: ("active", ""), 74: ("active", "(commit"), 0: ("sent", "")}[status]
        end = time.monotonic() + 10
        while not any(
            word in "".join(p.read_text() for p in e.glob("journal.sexp"))
            for e in box.glob(f"{state}/*")
        ):
            assert time.monotonic() < end
            time.sleep(0.01)
        running.send_signal(number)
        _, stderr = running.communicate(timeout=10)
    assert running.returncode == status, stderr
    assert "Traceback" not in stderr
    assert len(list((box / ("failed" if status else "sent")).iterdir())) == 1
    assert list((box / "active").iterdir()) == []

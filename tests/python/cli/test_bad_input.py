"""What people give by mistake, and places that lack what a program expects."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from servers import PYTHON, Run
from test_statuses import GO, MESSAGE, OK, server

from smtps.sandbox.server import PASSWORD, USER, Sandbox

Done = subprocess.CompletedProcess[str]

AT_PORT_1 = ["--host", "127.0.0.1", "--port", "1", "--tls", "none"]

WITHOUT_HOME = """
import os, pwd, sys
def nobody(number):
    raise KeyError(number)
pwd.getpwuid = nobody
os.environ.pop("HOME")
sys.path.insert(0, sys.argv.pop(1))
from smtps.cli import main
sys.exit(main())
"""

IMPATIENT = """
import sys
sys.path.insert(0, sys.argv.pop(1))
from smtps.cli import main, secrets
secrets.COMMAND_SECONDS = 0.5
sys.exit(main())
"""


def run(
    words: list[str], environment: Mapping[str, str], text: str = MESSAGE, program: str = ""
) -> Done:
    """Run the command without a terminal; as PROGRAM, which is given its directory first."""
    how = ["-c", program, str(PYTHON)] if program else [str(PYTHON)]
    return subprocess.run(
        ["setsid", "-w", sys.executable, "-I", "-X", "utf8=0", *how, *words],
        input=text, capture_output=True, encoding="utf-8", timeout=20, check=False,
        env=os.environ | environment,
    )  # fmt: skip


def to(sandbox: Sandbox, *more: str) -> list[str]:
    """Return the words that send a mail to SANDBOX."""
    return ["send", "-t", "--host", "localhost", "--port", str(sandbox.port), "--tls", "implicit",
            "--ca-file", str(sandbox.ca_file), *more]  # fmt: skip


def one_line(done: Done, status: int, *told: str) -> None:
    """See that DONE ended with STATUS, and one line that has TOLD in it."""
    assert done.returncode == status, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    for words in told:
        assert words in done.stderr


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("exit 3", "failed with status 3"),
        ("kill -9 $$", "failed with status -9"),
        ("nosuchcommand 2>/dev/null", "failed with status 127"),
        ("true", "printed nothing"),
        ("printf 'one\\ntwo\\n'", "printed more than a line"),
        ("printf '\\377\\n'", "not UTF-8"),
        ("exec 2>&-; sleep 15; echo late", "did not end within 0.5 seconds"),
    ],
)
def test_a_password_command(sandbox: Sandbox, tmp_path: Path, command: str, told: str) -> None:
    words = to(sandbox, "--user", USER, "--password-command", command)
    begun = time.monotonic()
    done = run(words, {"HOME": str(tmp_path)}, program=IMPATIENT)
    assert time.monotonic() - begun < 10
    one_line(done, 78, told, "The mail is kept as ")
    assert sandbox.accepted == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[work]\nhost = relay"\n', ", line 2, column 8: "),
        ('[work]\nhost = "x"\n[work]\n', ", line 3, column 6: "),
        ('[work]\nhots = "x"\n', "did you mean “host”?"),
        ('[work]\nhost = "x"\nport = "465"\n', "port has to be a number from 1 to 65535"),
    ],
)
def test_an_accounts_file(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "smtps" / "accounts.toml"
    file.parent.mkdir()
    file.write_text(text)
    for words in (["send", "-t"], ["check", "--account", "work"], ["session", "--account", "work"]):
        done = run(words, {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)})
        one_line(done, 78, str(file), told)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["sned", "-t"], "did you mean “send”?"),
        (["session", "--prot", "465", "x"], "“smtps session --help”"),
        (["send", "-t", "--host", "localhost", "--port", "smtps"], "no port number"),
        (["outbox", "lst"], "invalid choice"),
        (["generate", "csh"], "invalid choice"),
        (["smtp://localhost"], "HOST:PORT, without “smtp://”: “localhost”"),
        (["send", "-t", "--host", "smtps://h:465/"], "HOST:PORT, without “smtps://”: “h:465”"),
        (["check", "localhost:1", "--transcript", "/no/dir"], "/no/dir can't be written"),
        (["send", "-t", *AT_PORT_1, "--transcript", "/no/dir"], "/no/dir can't be written"),
    ],
)
def test_a_word_written_wrongly(smtps: Run, words: list[str], told: str) -> None:
    one_line(smtps(*words, text=MESSAGE), 64, told)


@pytest.mark.parametrize(
    ("redirection", "words", "status"),
    [
        ("<&-", ["send", "-t", "--host", "localhost"], 66),
        ("<&-", ["localhost"], 64),
        ("<&-", ["base64"], 64),
        ("<&-", ["rpc"], 64),
        (">&-", ["rpc"], 64),
        (">/dev/full", ["base64", "x"], 73),
        (">/dev/full", ["--version"], 73),
        (">/dev/full", ["send", "--help"], 73),
        (">/dev/full", ["outbox"], 73),
    ],
)
def test_a_standard_stream(tmp_path: Path, redirection: str, words: list[str], status: int) -> None:
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {redirection}', "sh", sys.executable, "-I", str(PYTHON), *words],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20, check=False,
        env=os.environ | {"HOME": str(tmp_path)},
    )  # fmt: skip
    one_line(done, status)


@pytest.mark.parametrize("words", [["--version"], ["--help"], ["base64", "x"], ["outbox"]])
def test_a_closed_standard_output(tmp_path: Path, words: list[str]) -> None:
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", sys.executable, "-I", str(PYTHON), *words],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20, check=False,
        env=os.environ | {"HOME": str(tmp_path)},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("output", ["gone", "full"])
@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["session", *AT_PORT_1], 69),
        (["check", *AT_PORT_1], 69),
        (["send", "-t", "--report", "json", *AT_PORT_1], 69),
        (["outbox", "flush"], 75),
    ],
    ids=["session", "check", "send", "flush"],
)
def test_output_that_nobody_reads_hides_no_fate(
    tmp_path: Path, words: list[str], status: int, output: str
) -> None:
    place = {"HOME": str(tmp_path), "XDG_DATA_HOME": ""}
    if "flush" in words:
        assert run(["send", "-t", "--queue", *AT_PORT_1], place).returncode == 0
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as gone, Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-I", str(PYTHON), *words],
            input=MESSAGE, stdout=gone if output == "gone" else full, stderr=subprocess.PIPE,
            text=True, timeout=20, check=False, env=os.environ | place,
        )  # fmt: skip
    assert done.returncode == status, done.stderr
    assert done.stderr.count("No space left") == (output == "full")
    assert done.stderr.count("\n") == 1 + (output == "full")


@pytest.mark.parametrize("words", [["--version"], ["--help"], ["base64", "x"], ["outbox"]])
def test_whoever_has_gone_wants_no_more(tmp_path: Path, words: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as gone:
        done = subprocess.run(
            [sys.executable, "-I", str(PYTHON), *words], stdin=subprocess.DEVNULL, stdout=gone,
            stderr=subprocess.PIPE, check=False, env=os.environ | {"HOME": str(tmp_path)},
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_transcript_does_not_overwrite_the_message(tmp_path: Path) -> None:
    mail = tmp_path / "mail"
    mail.write_text(MESSAGE)
    place = {"HOME": str(tmp_path), "XDG_DATA_HOME": ""}
    words = ["send", "-t", str(mail), "--transcript", str(mail), *AT_PORT_1]
    one_line(run(words, place), 64, "would overwrite the message")
    assert mail.read_text() == MESSAGE


def test_in_the_locale_c(sandbox: Sandbox, tmp_path: Path) -> None:
    place = {"HOME": str(tmp_path), "LC_ALL": "C"}
    words = to(sandbox, "--user", USER, "--password-command", f"echo {PASSWORD}")
    assert run(words, place, MESSAGE.replace("Text", "Täxt")).returncode == 0
    assert "Täxt".encode() in sandbox.accepted[0].octets
    one_line(
        run(["send", "-t", "/nonexistent/ä", "--host", "localhost"], place), 66, "can't be read"
    )
    done = run([f"localhost:{sandbox.port}", "--ca-file", str(sandbox.ca_file)], place, "noöp\n")
    assert "send> noöp\n" in done.stdout
    assert "“smtps VERB --help”" in run(["--help"], place).stdout
    assert run(["base64", "ä"], place).stdout == "w6Q=\n"


def test_without_a_home(sandbox: Sandbox, tmp_path: Path) -> None:
    place = {"XDG_DATA_HOME": "", "XDG_CONFIG_HOME": "", "XDG_STATE_HOME": ""}
    words = to(sandbox, "--user", USER, "--password-command", f"echo {PASSWORD}")
    one_line(run(words, place, program=WITHOUT_HOME), 73, "name one with --outbox")
    done = run([*words, "--outbox", str(tmp_path / "box")], place, program=WITHOUT_HOME)
    assert (done.returncode, done.stderr) == (0, "")


def test_without_a_terminal_nobody_is_asked(sandbox: Sandbox, tmp_path: Path) -> None:
    done = run(to(sandbox, "--user", USER), {"HOME": str(tmp_path)})
    one_line(done, 77, "no terminal to ask on", "--password-command", "The mail is kept as ")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("step", ["reading", "connecting", "password", "transaction"])
def test_a_signal_before_the_commit(tmp_path: Path, step: str, number: signal.Signals) -> None:
    box, mark = tmp_path / "box", tmp_path / "mark"
    replies: dict[str, list[bytes | None]] = {
        "reading": [],
        "connecting": [],
        "password": [b"220 hi\r\n", b"250-hi\r\n250 AUTH PLAIN\r\n"],
        "transaction": [b"220 hi\r\n", OK, OK, OK, GO],
    }
    with server(replies[step]) as port:
        words = ["send", "-t", "--host", "127.0.0.1", "--port", str(port), "--tls", "none",
                 "--outbox", str(box)]  # fmt: skip
        if step == "password":
            words += ["--user", "x", "--password-command", f"touch {mark}; sleep 9"]
        running = subprocess.Popen(
            [sys.executable, "-I", str(PYTHON), *words],
            stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert running.stdin is not None
        running.stdin.write(MESSAGE)
        if step != "reading":
            running.stdin.close()
            running.stdin = None
        end = time.monotonic() + 10
        reached = {"reading": box.parent, "password": mark}.get(step, box / "active")
        while not reached.exists() or (reached.name == "active" and not any(reached.iterdir())):
            assert time.monotonic() < end
            time.sleep(0.01)
        running.send_signal(number)
        _, stderr = running.communicate(timeout=10)
    assert "Traceback" not in stderr
    if step == "reading":
        # What it read, if anything, is nobody's yet: who hands it in still has it.
        assert running.returncode in (130, -number)
        return
    kept = [path.name for path in (box / "failed").iterdir()]
    assert len(kept) == 1
    assert kept[0] in stderr
    assert list((box / "active").iterdir()) == []
    assert running.returncode == (74 if "uncertain" in stderr else 130)

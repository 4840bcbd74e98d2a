"""Runs `smtps send` against a hostile server, and checks what must hold whatever that does."""

from __future__ import annotations

import base64
import json
import os
import re
import ssl
import subprocess
import sys
import threading
import time
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hostile.server import Record, Script, Server
from smtps.outbox import entry, journal
from smtps.rpc.codec import plist

PYTHON = Path(__file__).parents[3] / "python"

TIMEOUT = 2
"""What --timeout says, in seconds."""

SECONDS_LIMIT = 12
"""Seconds in which every run ends: some waits of TIMEOUT seconds, on a busy machine."""

KILLED_AFTER = 40

PEAK_LIMIT = 80 * 1024
"""KiB that the process may have had in memory at any time."""

LINE_LIMIT = 900
"""Characters of the line on standard error, the outbox's path in it."""

SERVER_TEXT_LIMIT = 512
"""Characters of a server's that the line may repeat: as many as a reply line may have."""

USER = "tester"
PASSWORD = "Tr0ub4dor-horse"

SENDER = "a@example.org"
RECIPIENT = "b@example.org"

MESSAGE = (
    b"From: a@example.org\nTo: b@example.org\nDate: Tue, 24 Nov 2026 10:00:00 +0000\n"
    b"Message-ID: <one@example.org>\nSubject: one\n\nOne line.\n.A dot.\n"
)

VERDICTS = {
    0: {"accepted"},
    65: {"refused-whole", "unsendable"},
    67: {"refused"},
    69: {"unreached"},
    74: {"uncertain"},
    75: {"deferred"},
    76: {"protocol"},
    77: {"login"},
}
"""What the report says of a lone recipient, by exit status."""


HARMFUL = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
"""Unicode's categories of what a terminal may obey, or nobody can see."""


def in_crlf(text: bytes) -> bytes:
    """TEXT as it goes over the wire: CRLF line ends, one at the very end."""
    lines = re.sub(rb"\r\n|\r|\n", b"\r\n", text)
    return lines if lines.endswith(b"\r\n") or not lines else lines + b"\r\n"


def secrets() -> set[bytes]:
    """How the password must not be seen anywhere."""
    word, user = PASSWORD.encode(), USER.encode()
    found = {word}
    for clear in (word, b"\0" + user + b"\0" + word, user + b"\0" + user + b"\0" + word):
        found.add(base64.b64encode(clear).rstrip(b"="))
    return found


@dataclass(frozen=True)
class Sent:
    """What one run came to."""

    status: int
    stdout: str
    stderr: str
    seconds: float
    peak: int
    """KiB of memory, 0 where nobody looked."""
    home: Path
    records: list[Record]

    @property
    def report(self) -> dict[str, Any]:
        """The report.  There is none where the mail was not even taken in."""
        found: dict[str, Any] = json.loads(self.stdout)
        return found

    @property
    def verdicts(self) -> list[str]:
        """Each recipient's."""
        return [recipient["verdict"] for recipient in self.report["recipients"]]

    @property
    def messages(self) -> list[bytes]:
        """Every whole message that the server got."""
        return [message for record in self.records for message in record.messages]

    @property
    def commands(self) -> list[bytes]:
        """Every line that the server took for a command."""
        return [command for record in self.records for command in record.commands]

    @property
    def played(self) -> set[str]:
        """The steps that were reached."""
        return {step for record in self.records for step in record.played}

    @property
    def transcript(self) -> str:
        """The masked dialogue."""
        path = self.home / "transcript"
        return path.read_text("utf-8") if path.exists() else ""

    def entries(self, state: str) -> list[Path]:
        """The outbox's entries in STATE; a name with a dot before it is none."""
        return sorted((self.home / "box" / state).glob("[!.]*"))


def run(
    script: Script,
    home: Path,
    *,
    context: ssl.SSLContext | None = None,
    ca_file: Path | None = None,
    user: bool = False,
    message: bytes = MESSAGE,
    sender: str = SENDER,
    recipients: Collection[str] = (RECIPIENT,),
    options: Collection[str] = (),
    watched: bool = False,
) -> Sent:
    """Send MESSAGE to a server that plays SCRIPT; WATCHED looks at the process's memory."""
    home.mkdir(parents=True, exist_ok=True)
    words = ["--tls", script.tls, "--timeout", str(TIMEOUT), "--outbox", str(home / "box"),
             "--transcript", str(home / "transcript"), "--report", "json"]  # fmt: skip
    if ca_file is not None:
        words += ["--ca-file", str(ca_file)]
    if user:
        secret = home / "secret"
        secret.write_text(PASSWORD + "\n", "utf-8")
        words += ["--user", USER, "--password-command", f"cat '{secret}'"]
    kept = {k: v for k, v in os.environ.items() if k not in ("SMTPS_DEBUG", "XDG_CONFIG_HOME")}
    with Server(script, context) as server:
        begun = time.monotonic()
        running = subprocess.Popen(
            [sys.executable, "-I", str(PYTHON), "send", "--host", "127.0.0.1",
             "--port", str(server.port), *words, *options, "-f", sender, *recipients],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=kept | {"HOME": str(home), "XDG_DATA_HOME": str(home / "data")},
        )  # fmt: skip
        peak = _Peak(running.pid) if watched else None
        try:
            stdout, stderr = running.communicate(message, KILLED_AFTER)
        except subprocess.TimeoutExpired:
            running.kill()
            stdout, stderr = running.communicate()
        seconds = time.monotonic() - begun
    return Sent(
        running.returncode, stdout.decode(), stderr.decode(), seconds,
        peak.stop() if peak else 0, home, server.records,
    )  # fmt: skip


class _Peak(threading.Thread):
    """Reads the kernel's own account of a process's peak until it has gone.

    The account of ended children counts the memory of whoever started them, too.
    """

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._path = Path(f"/proc/{pid}/status")
        self._end = threading.Event()
        self._peak = 0
        self.start()

    def run(self) -> None:
        while not self._end.wait(0.005):
            try:
                found = re.search(r"VmHWM:\s+([0-9]+)", self._path.read_text())
            except OSError:
                return
            if found:
                self._peak = max(self._peak, int(found[1]))

    def stop(self) -> int:
        self._end.set()
        self.join()
        return self._peak


def check(sent: Sent, recipients: Collection[str] = (RECIPIENT,), messages: int = 1) -> None:
    """Check what must hold after every run in which the mail was taken in.

    MESSAGES may go out at most, each for recipients of its own.
    """
    check_words(sent)
    check_secrets(sent)
    check_outbox(sent, recipients)
    check_truth(sent, messages)


def check_words(sent: Sent) -> None:
    """One line, of words that do nothing to a terminal, soon and in little memory."""
    told = f"status {sent.status}, {sent.seconds:.1f} s, {sent.stderr}"
    assert sent.seconds < SECONDS_LIMIT, told
    assert sent.peak < PEAK_LIMIT, f"{sent.peak} KiB: {told}"
    assert "Traceback" not in sent.stderr, told
    if sent.status == 0:
        assert sent.stderr == ""
    else:
        assert sent.stderr.startswith("smtps: "), told
        assert sent.stderr.endswith("\n"), told
        assert sent.stderr.count("\n") == 1, told
        assert len(sent.stderr) <= LINE_LIMIT, f"{len(sent.stderr)} characters: {told}"
        assert sent.stderr.count("X") <= SERVER_TEXT_LIMIT, told
    for text in (sent.stderr, sent.stdout, sent.transcript):
        bad = {c for c in text if c != "\n" and unicodedata.category(c) in HARMFUL}
        assert not bad, f"{bad} in {text!r}"
    assert len(sent.transcript) < 1_000_000


def check_secrets(sent: Sent) -> None:
    """The password is nowhere, but for what went over TLS."""
    seen = {
        "stderr": sent.stderr.encode(),
        "stdout": sent.stdout.encode(),
        "transcript": sent.transcript.encode(),
    }
    for path in (sent.home / "box").rglob("*"):
        if path.is_file():
            seen[str(path.relative_to(sent.home))] = path.read_bytes()
    for name, text in seen.items():
        for secret in secrets():
            assert secret not in text, f"{secret!r} in {name}: {text!r}"


def check_outbox(sent: Sent, recipients: Collection[str]) -> None:
    """The mail lies where it belongs, whole, and its journal tells all."""
    state = "sent" if sent.status == 0 else "failed"
    found = sent.entries(state)
    told = f"status {sent.status}: {sent.stderr}"
    assert len(found) == 1, told
    for other in ("tmp", "queue", "held", "active", "failed" if state == "sent" else "sent"):
        assert sent.entries(other) == [], f"in {other}, {told}"
    [directory] = found
    assert (directory / "message.eml").stat().st_size > 0
    if sent.status:
        assert directory.name in sent.stderr
    assert sent.report["status"] == sent.status
    assert sent.report["id"] == directory.name
    assert [r["address"] for r in sent.report["recipients"]] == list(recipients)
    assert entry.read(directory).envelope.recipients == tuple(recipients)
    records = journal.Journal(directory).records()
    assert journal.unanswered(records) == ()
    results = [plist(rest) for name, rest in records if name == "result"]
    assert [str(result["verdict"]) for result in results] == sent.verdicts
    assert [name for name, _ in records].count("outcome") == 1
    if any(sent.messages):
        assert "commit" in [name for name, _ in records]


def check_truth(sent: Sent, messages: int) -> None:
    """What is told is what happened: never sent twice, never "sent" for what was not."""
    whole = len(sent.messages)
    assert whole <= messages, "it was sent more than once"
    confirmed = [v for r in sent.records for v in r.verdicts if re.fullmatch(rb"2.*\n", v, re.S)]
    if sent.status == 0:
        assert whole == messages
        assert len(confirmed) == messages
        assert set(sent.verdicts) == {"accepted"}
    if "accepted" in sent.verdicts:
        assert confirmed
    if sent.status in (69, 76) or "unsendable" in sent.verdicts:
        assert whole == 0, "the whole message left, and it is told as not sent"
    if "uncertain" in sent.verdicts:
        assert whole or confirmed, "uncertain, although the message had not left"

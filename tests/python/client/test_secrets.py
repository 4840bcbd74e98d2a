"""No secret is anywhere but on the wire: every mechanism, good and bad, and every file."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import pytest
from servers import PYTHON

from smtps.sandbox import server
from smtps.sandbox.machine import Offer
from smtps.sandbox.server import Sandbox
from smtps.sasl.mechanisms import REGISTRY

TOKEN = "ya29." + "Tr0ub4dor-horse_" * 128 + "~x+/=="
ACCENTED = 'pässwörd "quoted" 100%'
USERS = {
    "accented@poste.it": ACCENTED,
    "ascii@poste.it": "Tr0ub4dor-horse",
    "word@poste.it": "secret",
    "long@poste.it": "Tr0ub4dor-horse" * 13 + "-stap",
    "t@poste.it": TOKEN,
}

PIECE = 20
"""Octets that tell something of a secret."""

OFFER = Offer(secure=("8BITMIME", "PIPELINING", "CHUNKING", "AUTH " + " ".join(REGISTRY)))


def forms(secret: str) -> dict[str, bytes]:
    """Return what SECRET could look like in a file."""
    clear = secret.encode()
    return {
        "clear": clear,
        "Latin-1": secret.encode("latin-1"),
        "quoted": secret.replace("\\", "\\\\").replace('"', '\\"').encode(),
        "JSON": json.dumps(secret)[1:-1].encode(),
        "percent": quote(secret, safe="").encode(),
        "base64": base64.b64encode(clear),
        **{f"base64, {n}": base64.b64encode(b"#" * n + clear)[4:-4] for n in range(1, 3)},
        "without padding": base64.b64encode(clear).rstrip(b"="),
        # What is left of one that was cut.
        "its beginning": clear[:PIECE],
        "its beginning in base64": base64.b64encode(clear)[:PIECE],
    }


def repeated(secret: str) -> list[str]:
    """Return SECRET in all the ways in which a server could repeat it in a line of a reply."""
    named = forms(secret)
    whole = [
        named[how] for how in ("clear", "quoted", "JSON", "percent", "base64", "without padding")
    ]
    # As part of more, and in base64 where any octet of a group of three begins it.
    around = [base64.b64encode(b"#" * n + secret.encode() + b"###") for n in range(3)]
    return [form.decode() for form in [*whole, *around]]


class Seen:
    """What runs of the command left behind in HOME, and said."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.outputs: list[bytes] = []
        self.processes: set[bytes] = set()
        """The arguments and variables of the command, looked at from the server."""
        self._secret = home.parent / "given"

    def run(
        self,
        sandbox: Sandbox,
        words: Sequence[str],
        text: str = "",
        before: Sequence[str] = (sys.executable, "-I", str(PYTHON)),
    ) -> int:
        """Run the command with WORDS at SANDBOX, TEXT as its input, and return the status."""
        number = len(self.outputs)
        done = subprocess.run(
            [*before, *words, "--host", "localhost", "--port", str(sandbox.port),
             "--ca-file", str(sandbox.ca_file),
             "--transcript", str(self.home / f"transcript-{number}")],
            input=text.encode(), capture_output=True, timeout=60, check=False,
            # Not pytest's variable: it has the name of this file.
            env={name: value for name, value in os.environ.items() if "PYTEST" not in name}
            | {"HOME": str(self.home), "SMTPS_DEBUG": "1"},
        )  # fmt: skip
        self.outputs += [done.stdout, done.stderr]
        return done.returncode

    def _login(self, user: str, secret: str, mechanism: str) -> list[str]:
        self._secret.write_text(secret + "\n", "utf-8")
        return [
            "--user", user, "--auth", mechanism, "--report", "json",
            "--password-command", f"cat '{self._secret}'",
        ]  # fmt: skip

    def send(
        self,
        sandbox: Sandbox,
        user: str,
        secret: str,
        mechanism: str,
        before: Sequence[str] = (sys.executable, "-I", str(PYTHON)),
    ) -> int:
        """Send a mail and return the status."""
        words = ["send", "-t", "--outbox", str(self.home / "box")]
        text = "From: a@poste.it\nTo: b@other-host.it\n\nText\n"
        return self.run(sandbox, [*words, *self._login(user, secret, mechanism)], text, before)

    def check(self, sandbox: Sandbox, user: str, secret: str, mechanism: str) -> int:
        """Check the login and return the status."""
        return self.run(sandbox, ["check", *self._login(user, secret, mechanism)])

    def look(self) -> None:
        """Note what the process list has of the command, and of what it runs."""
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                environ = (process / "environ").read_bytes()
                if f"HOME={self.home}\0".encode() in environ:
                    self.processes |= {environ, (process / "cmdline").read_bytes()}

    def assert_none(self, *secrets: str) -> None:
        """Search everything for SECRETS."""
        texts = {f"output {n}": text for n, text in enumerate(self.outputs)}
        texts |= {str(p): p.read_bytes() for p in self.home.rglob("*") if p.is_file()}
        assert any("transcript" in name for name in texts)
        texts |= {"process list": b"\n".join(self.processes)}
        for name, text in texts.items():
            for secret in secrets:
                for how, form in forms(secret).items():
                    assert form not in text, (name, how, text)


class Repeating:
    """An override that repeats what it is told to in the replies to VERBS."""

    def __init__(self) -> None:
        self.secret: str | None = None
        self.verbs: tuple[str, ...] = ()
        self.look: Callable[[], None] = lambda: None

    def __call__(self, verb: str, line: str) -> str | None:
        if verb == "LOGIN":
            self.look()
        if self.secret is None or verb not in self.verbs:
            return None
        code = {"LOGIN": "235 2.7.0" if line else "535 5.7.8", "RCPT": "550 5.1.1"}
        begin, _, enhanced = code.get(verb, "250 2.0.0").partition(" ")
        lines = repeated(self.secret)
        # In one line, unless that is longer than a line may be.
        parts = [" ".join(lines)] if len(self.secret) < 500 else lines
        *most, last = [f"{enhanced} {part}\r\n" for part in parts]
        return "".join(f"{begin}-{line}" for line in most) + f"{begin} {last}"


@pytest.fixture
def repeating() -> Repeating:
    return Repeating()


@pytest.fixture
def all_mechanisms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repeating: Repeating
) -> Iterator[Sandbox]:
    """A sandbox that offers every mechanism and knows USERS."""
    for user, secret in USERS.items():
        monkeypatch.setitem(server.LOGINS, user, secret)
    with Sandbox(tmp_path / "sandbox", implicit=OFFER, override=repeating) as running:
        yield running


@pytest.fixture
def seen(tmp_path: Path, repeating: Repeating) -> Seen:
    (tmp_path / "home").mkdir()
    seen = Seen(tmp_path / "home")
    repeating.look = seen.look
    return seen


WITH_SECRETS = [name for name in REGISTRY if name not in ("EXTERNAL", "ANONYMOUS")]


@pytest.mark.parametrize("mechanism", WITH_SECRETS)
def test_nothing_is_left(
    all_mechanisms: Sandbox, seen: Seen, repeating: Repeating, mechanism: str
) -> None:
    users = ["t@poste.it"] if "OAUTH" in mechanism else [*USERS][:-1]
    for user in users:
        right = USERS[user]
        wrong = f"{right}-x"
        assert seen.send(all_mechanisms, user, right, mechanism) == 0, seen.outputs
        assert all_mechanisms.accepted[-1].user == user
        assert seen.send(all_mechanisms, user, wrong, mechanism) == 77, seen.outputs
        repeating.secret, repeating.verbs = right, ("LOGIN", "MAIL", ".")
        assert seen.send(all_mechanisms, user, right, mechanism) == 0, seen.outputs
        repeating.verbs = ("RCPT",)
        assert seen.send(all_mechanisms, user, right, mechanism) == 67, seen.outputs
        repeating.secret, repeating.verbs = wrong, ("LOGIN",)
        assert seen.send(all_mechanisms, user, wrong, mechanism) == 77, seen.outputs
        repeating.secret = None
    assert list(seen.home.rglob("journal*"))
    assert any(b"--transcript" in words for words in seen.processes)
    seen.assert_none(*(USERS[user] for user in users))


@pytest.mark.parametrize("mechanism", WITH_SECRETS)
def test_nothing_is_left_by_a_check(
    all_mechanisms: Sandbox, seen: Seen, repeating: Repeating, mechanism: str
) -> None:
    for user in ["t@poste.it"] if "OAUTH" in mechanism else ["accented@poste.it", "t@poste.it"]:
        right = USERS[user]
        assert seen.check(all_mechanisms, user, f"{right}-x", mechanism) == 77, seen.outputs
        repeating.secret, repeating.verbs = right, ("LOGIN",)
        assert seen.check(all_mechanisms, user, right, mechanism) == 0, seen.outputs
        repeating.secret = None
    seen.assert_none(ACCENTED, TOKEN)


TYPED = {
    "PLAIN": ["\0{user}\0{secret}"],
    "LOGIN": ["{user}", "{secret}"],
    # A person who does not know what is asked for may type the secret.
    "CRAM-MD5": ["{secret}"],
    "SCRAM-SHA-256": ["{secret}"],
    "OAUTHBEARER": ["n,a={user},\1host=localhost\1auth=Bearer {secret}\1\1"],
    "XOAUTH2": ["user={user}\1auth=Bearer {secret}\1\1"],
}
"""What is typed in base64 for a login by hand."""


@pytest.mark.parametrize("mechanism", TYPED)
@pytest.mark.parametrize("user", ["accented@poste.it", "word@poste.it", "t@poste.it"])
def test_nothing_is_left_by_a_dialogue(
    all_mechanisms: Sandbox, seen: Seen, repeating: Repeating, mechanism: str, user: str
) -> None:
    right = USERS[user]
    for secret, reply in ((f"{right}-x", b"recv> 535 "), (right, b"recv> 235 ")):
        said = [
            base64.b64encode(text.format(user=user, secret=secret).encode()).decode()
            for text in TYPED[mechanism]
        ]
        repeating.secret, repeating.verbs = secret, ("LOGIN", "MAIL")
        for beside in (" ", "\n"):
            # A token that is refused is told why, and then wants an answer.
            after = ["AQ=="] if "OAUTH" in mechanism and secret != right else []
            typed = [f"auth {mechanism}{beside}{said[0]}", *said[1:], *after]
            text = "\n".join(("ehlo x", *typed, "mail from:<a@b>", "quit", ""))
            assert seen.run(all_mechanisms, ["session"], text) == 0, seen.outputs
            known = mechanism not in ("CRAM-MD5", "SCRAM-SHA-256")
            assert (reply if known else b"recv> 5") in seen.outputs[-2]
    seen.assert_none(right)


BROKEN = """
import sys
sys.path.insert(0, {python!r})
from smtps.protocol import commands
def broken(*arguments): raise RuntimeError("broken on purpose")
setattr(commands, {name!r}, broken)
from smtps.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("name", "mechanism"), [("auth", "PLAIN"), ("sasl_response", "LOGIN"), ("auth", "SCRAM-SHA-1")]
)
def test_no_secret_is_in_a_traceback(
    all_mechanisms: Sandbox, seen: Seen, name: str, mechanism: str
) -> None:
    program = BROKEN.format(python=str(PYTHON), name=name)
    before = (sys.executable, "-I", "-X", "faulthandler", "-c", program)
    for user in ("accented@poste.it", "ascii@poste.it"):
        assert seen.send(all_mechanisms, user, USERS[user], mechanism, before) != 0
        assert b"Traceback" in seen.outputs[-1]
        assert b"broken on purpose" in seen.outputs[-1]
    seen.assert_none(ACCENTED, USERS["ascii@poste.it"])


def test_no_secret_is_in_a_repr() -> None:
    from smtps.client.login import Credentials
    from smtps.sasl.mechanisms import Server, begin

    for name in WITH_SECRETS:
        run = begin(name, "u", TOKEN, Server("h", 1, ()), ())
        assert TOKEN not in repr(run) + repr(Credentials("u", TOKEN))

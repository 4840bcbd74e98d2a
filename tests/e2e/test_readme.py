"""README.org is true: each command, key, name and piece of configuration in it is tried."""

from __future__ import annotations

import ast
import base64
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from servers import ELISP
from terminal import Terminal

from smtps.cli import VERBS
from smtps.sandbox.server import Sandbox

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.org").read_text("utf-8")
SECONDS = 300
"""What a command may take: pip fetches."""


def blocks(language: str) -> list[str]:
    """Return the source blocks in LANGUAGE."""
    return re.findall(rf"^#\+begin_src {language}\n(.*?)^#\+end_src$", README, re.M | re.S)


VERBATIM = re.findall(r"(?:^|[\s(|])=(\S(?:.*?\S)?)=(?=[\s).,:;|]|$)", README, re.M)
"""What stands between equals signs: commands, keys, names, files."""

_COMMAND = re.compile(r"\./|tests/|\.venv/|(?:smtps|pip|python3) ")

COMMANDS = [
    *(line for block in blocks("sh") for line in block.splitlines()),
    *(text for text in VERBATIM if _COMMAND.match(text)),
]
"""Each command of README.org, in blocks, tables and text."""

KEYS = re.findall(r"^\| =([^=]+)= +\| ([^|]+?) +\|$", README.split("* In a shell")[0], re.M)
"""The key table: key and what it does."""


@dataclass(frozen=True)
class House:
    """A home for README's commands, where they are run, and the server for those that need one."""

    home: Path
    checkout: Path
    sandbox: Sandbox

    def run(
        self, command: str, text: str = "", status: int = 0, where: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run COMMAND in a shell with TEXT as its input; see that it exits with STATUS."""
        done = subprocess.run(
            ["sh", "-c", command],
            input=text, capture_output=True, encoding="utf-8", timeout=SECONDS, check=False,
            cwd=where or self.checkout, env=self.environment(),
        )  # fmt: skip
        assert done.returncode == status, done.stdout + done.stderr
        return done

    def environment(self) -> dict[str, str]:
        """Return an environment with this home, in which the installed command is found."""
        kept = {name: os.environ[name] for name in os.environ if not name.startswith("XDG_")}
        path = f"{self.home}/smtps/bin:{os.environ['PATH']}"
        return kept | {"HOME": str(self.home), "PATH": path, "LC_ALL": "C.UTF-8"}

    def host(self, command: str) -> str:
        """Return COMMAND with the sandbox in the place of HOST, and its user in that of USER."""
        command = command.replace("HOST[:PORT]", f"localhost:{self.sandbox.port}")
        command = command.replace("HOST", f"localhost --port {self.sandbox.port}")
        command = command.replace("USER", self.sandbox.user)
        return f"{command} --tls implicit --ca-file {self.sandbox.ca_file}"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A home with a copy of the checkout in ~/src/smtps, and a running sandbox."""
    home = tmp_path_factory.mktemp("home")
    checkout = home / "src" / "smtps"
    for name in ("python", "elisp", "tests", ".ci", "pyproject.toml", "README.org", "LICENSE"):
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
        copy(ROOT / name, checkout / name)
    (checkout / ".venv").symlink_to(ROOT / ".venv")
    with Sandbox(home / "sandbox") as sandbox:
        (home / ".authinfo").write_text(
            f"machine localhost login {sandbox.user} password {sandbox.password}\n"
        )
        (home / ".authinfo").chmod(0o600)
        yield House(home, checkout, sandbox)


@pytest.fixture(scope="module")
def installed(house: House) -> House:
    """The house after the commands that make the command `smtps` in it."""
    (block,) = (block for block in blocks("sh") if "pip install" in block)
    for command in block.splitlines():
        house.run(command)
    return house


Try = Callable[[House, str], None]
TRIES: dict[str, Try] = {}
"""How each command of README.org is tried."""


def tries(command: str) -> Callable[[Try], Try]:
    """Note that the decorated function tries COMMAND."""

    def note(function: Try) -> Try:
        TRIES[command] = function
        return function

    return note


@tries("./elisp/try")
def opens_a_session(house: House, command: str) -> None:
    with Terminal(f"cd {house.checkout} && {command}", house.environment()) as terminal:
        terminal.until(r"^recv> 220 .*\nsend>$")
        terminal.keys("C-x", "C-c")
        terminal.until("^status=0$")


@tries("./elisp/try --batch")
def plays_the_dialogue(house: House, command: str) -> None:
    printed = house.run(command).stdout
    assert "send> <the-base64-password>\nrecv> 235 " in printed
    assert printed.endswith("\nThe mail lies in the sandbox's Maildir.\n")


@tries("./tests/run")
@tries("tests/run")
def sets_up_and_checks(house: House, command: str) -> None:
    # All of them would run this, too; each is a function, and this tells them all.
    told = house.run(f"{command} nonsense", status=64).stderr
    checks = re.findall(r"^check_([\w-]+)\(\)", (ROOT / "tests/run").read_text(), re.M)
    assert sorted(told.split("There are: ")[1].split()) == sorted(checks)
    printed = house.run(f"{command} format").stdout
    assert printed.startswith("== set-up\n")
    assert printed.endswith("1 passed, 0 failed\n")


@tries("tests/run pytest ert")
def runs_the_checks_named(house: House, command: str) -> None:
    printed = house.run(command.replace("pytest ert", "format shellcheck")).stdout
    assert re.findall("^== (.*)", printed, re.M) == ["set-up", "format", "shellcheck", "summary"]


@tries("tests/bench/run")
def prints_what_is_measured(house: House, command: str) -> None:
    assert re.search(r"^hello, .* [0-9]\.[0-9]+ ", house.run(command).stdout, re.M)


@tries("python3 -m venv ~/smtps")
@tries("~/smtps/bin/pip install '.[sandbox]'")
def makes_the_command(house: House, command: str) -> None:
    done = house.run("command -v smtps; smtps --version", where=house.home)
    assert done.stdout.startswith(f"{house.home}/smtps/bin/smtps\nsmtps ")


@tries(".venv/bin/python -I python")
def is_the_command_too(house: House, command: str) -> None:
    assert house.run(f"{command} base64 x").stdout == "eA==\n"


@tries("smtps HOST[:PORT]")
def is_the_dialogue(house: House, command: str) -> None:
    printed = house.run(house.host(command), "ehlo x\nquit\n", where=house.home).stdout
    assert "\nsend> ehlo x\nrecv> 250-" in printed
    assert printed.endswith("\nrecv> - Peer has closed the TLS connection\n")


@tries("smtps send -t --host HOST --user USER")
def sends_what_is_on_standard_input(house: House, command: str) -> None:
    before = len(house.sandbox.accepted)
    house.run(house.host(command), "From: a@b.c\nTo: d@e.f\nSubject: x\n\nText\n", where=house.home)
    (mail,) = house.sandbox.accepted[before:]
    assert mail.user == house.sandbox.user
    assert mail.octets.endswith(b"\r\n\r\nText\r\n")
    assert_outbox(house.home / ".local/share/smtps/outbox", sent=1)


@tries("smtps check HOST")
def says_what_works(house: House, command: str) -> None:
    printed = house.run(house.host(command), where=house.home).stdout
    assert "\n- Status: The certificate is trusted, and it is for localhost.\n" in printed
    assert "\n- Offers PIPELINING: " in printed


@tries("smtps base64 TEXT")
def encodes_without_line_breaks(house: House, command: str) -> None:
    assert house.run(command.replace("TEXT", "x" * 99)).stdout == "eHh4" * 33 + "\n"


@tries("smtps sandbox")
def serves_until_its_input_ends(house: House, command: str) -> None:
    assert "a mail server on this machine only" in house.run(command, where=house.home).stdout


@tries("smtps VERB --help")
def tells_the_options(house: House, command: str) -> None:
    for verb in VERBS:
        help_of_verb = house.run(command.replace("VERB", verb), where=house.home).stdout
        assert help_of_verb.startswith(f"usage: smtps {verb}")


def assert_outbox(outbox: Path, sent: int) -> None:
    """See that OUTBOX has the directories that README.org names, and so many mails in sent."""
    told = re.search(r"Mails lie in =~/(.*?)=: (.*?), a\s", README, re.S)
    assert told is not None
    assert str(outbox).endswith(told[1])
    names = re.findall("=(.*?)=", told[2])
    assert {*names} <= {path.name for path in outbox.iterdir()}
    assert len(list((outbox / "sent").iterdir())) == sent


def test_nothing_in_the_readme_goes_untried() -> None:
    assert set(COMMANDS) == set(TRIES)


@pytest.mark.parametrize("command", sorted(TRIES))
def test_a_command(installed: House, command: str) -> None:
    TRIES[command](installed, command)


def test_the_two_commands_open_it() -> None:
    assert COMMANDS[:2] == ["./elisp/try", "./tests/run"]
    assert README.index("./elisp/try") < README.index("./tests/run") < README.index("\n* ")


def in_emacs(house: House, *forms: str) -> list[str]:
    """Evaluate FORMS in a batch Emacs in HOUSE's home; return the lines that they print."""
    words = [word for form in forms for word in ("--eval", form)]
    done = subprocess.run(
        ["emacs", "-Q", "--batch", *words],
        capture_output=True, encoding="utf-8", timeout=SECONDS, check=False,
        cwd=house.home, env=house.environment(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_configuration_sends_a_mail(house: House) -> None:
    (block,) = blocks("emacs-lisp")
    for told, here in (
        (':host "relay.example.org" :port 465', f':host "localhost" :port {house.sandbox.port}'),
        (':user "me@example.org"', f':user "{house.sandbox.user}"'),
        (':from "me@example.org"', f':from "me@example.org" :ca-file "{house.sandbox.ca_file}"'),
    ):
        assert told in block
        block = block.replace(told, here)
    before = len(house.sandbox.accepted)
    outbox = house.home / ".local/share/smtps/outbox"
    sent = len(list((outbox / "sent").iterdir())) if outbox.exists() else 0
    in_emacs(
        house,
        f"(progn {block})",
        """(progn (compose-mail "d@e.f" "Subject") (message-goto-body) (insert "Text\n")
                  (call-interactively (key-binding (kbd "C-c C-c"))) (smtps-outbox-wait 30))""",
    )
    (mail,) = house.sandbox.accepted[before:]
    assert mail.recipients == ("d@e.f",)
    assert mail.octets.endswith(b"\r\n\r\nText\r\n")
    assert_outbox(outbox, sent=sent + 1)


BOUND = {
    "RET": "smtps-session-send-input",
    "C-c C-b": "smtps-session-send-base64",
    "C-c C-d": "smtps-session-quit",
    "C-c C-c": "smtps-session-hang-up",
    "g": "smtps-session-reconnect",
}
"""What the keys of the table run."""


def test_each_key_is_bound_as_told(house: House) -> None:
    assert [key for key, _ in KEYS] == list(BOUND)
    forms = [
        f'(princ (format "%s\n" (lookup-key smtps-session-{kind}-map (kbd "{key}"))))'
        for key, does in KEYS
        for kind in ["closed" if does.startswith("in a closed session") else "mode"]
    ]
    load = f'(progn (add-to-list (quote load-path) "{ELISP}") (require (quote smtps-session)))'
    assert in_emacs(house, load, *forms) == list(BOUND.values())


def alike(session: str) -> list[str]:
    """Return the lines of SESSION without what differs from one sandbox to the next."""
    for pattern in (
        r"(?<=localhost:|127\.0\.0\.1:)[0-9]+", "#[A-Za-z0-9_-]+", "serial 0x[0-9a-f]+",
        "fingerprint [0-9a-f]{64}", "sha256//[A-Za-z0-9+/=]{44}", "in [0-9]+ days",
    ):  # fmt: skip
        session = re.sub(pattern, "...", session)
    return session.splitlines()


def test_the_session_is_as_it_stands_there(house: House) -> None:
    (told,) = re.findall(r"^#\+begin_example\n(.*?)^#\+end_example$", README, re.M | re.S)
    sandbox = house.sandbox
    program = f'(smtps-session "localhost" {sandbox.port} :ca-file "{sandbox.ca_file}")'
    command = f"emacs -Q -nw -L {ELISP} -l smtps --eval '{program}' -f delete-other-windows"
    secrets = {
        "<the-base64-username>": base64.b64encode(sandbox.user.encode()).decode(),
        "<the-base64-password>": base64.b64encode(sandbox.password.encode()).decode(),
    }
    steps = re.findall(r"^send>(?: (.*))?\n((?:(?!send>).*\n)*)", told, re.M)
    with Terminal(command, house.environment(), size=(160, told.count("\n") + 4)) as terminal:
        screen = terminal.until(r"^recv> 220 .*\nsend>$")
        for line, answers in steps:
            shown = re.escape(f"send> {line}".rstrip())
            prompt = "send>$" if line != "quit" else "$"
            after = f"^{shown}\n" + r".+\n" * answers.count("\n") + prompt
            screen = terminal.enter(secrets.get(line, line), after)
    assert alike(screen[screen.index("Resolving") : screen.index("\n\n")]) == alike(told)


def test_each_name_is_one_of_emacs(house: House) -> None:
    commands = [text[4:] for text in VERBATIM if text.startswith("M-x ")]
    variables = [text for text in VERBATIM if re.fullmatch("smtps-[a-z-]+", text)]
    assert {"smtps-session", "smtps-install-helper"} <= set(commands)
    assert "smtps-accounts" in variables
    load = f'(progn (add-to-list (quote load-path) "{ELISP}") (require (quote smtps)))'
    forms = [f'(princ (format "%s\\n" (commandp \'{name})))' for name in commands]
    forms += [f'(princ (format "%s\\n" (boundp \'{name})))' for name in variables]
    assert in_emacs(house, load, *forms) == ["t"] * len(forms)


def test_the_statuses_are_those_of_the_errors() -> None:
    told = re.search(r"exit status\s+of sending tells(.*?)sysexits", README, re.S)
    assert told is not None
    tree = ast.parse((ROOT / "python/smtps/errors.py").read_text("utf-8"))
    ours = {
        node.value.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Constant)
        and getattr(node.targets[0], "id", "") == "status"
    }
    assert {int(number) for number in re.findall("[0-9]+", told[1])} >= ours | {0}

"""README.org is true: each command, key, name and piece of configuration in it is tried."""

from __future__ import annotations

import ast
import base64
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hostile.server import Close, Script, Server
from servers import ELISP
from terminal import Terminal

from smtps import VERSION
from smtps.cli import INTERRUPTED, VERBS
from smtps.cli.front import parser
from smtps.cli.secrets import FILES
from smtps.client import accounts
from smtps.explain.book import forms
from smtps.protocol.outcome import STATUS
from smtps.sandbox.server import Sandbox
from smtps.sasl.mechanisms import REGISTRY

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.org").read_text("utf-8")
SECONDS = 300
"""What a command may take: pip fetches."""


def blocks(language: str) -> list[str]:
    """Return the source blocks in LANGUAGE."""
    return re.findall(rf"^#\+begin_src {language}\n(.*?)^#\+end_src$", README, re.M | re.S)


EXAMPLES = re.findall(r"^#\+begin_example\n(.*?)^#\+end_example$", README, re.M | re.S)
"""The dialogues."""

VERBATIM = re.findall(r"(?:^|[\s(|])=(\S(?:.*?\S)?)=(?=[\s).,:;|]|$)", README, re.M)
"""What stands between equals signs: commands, keys, names, files."""

_COMMAND = re.compile(r"\./|tests/|\.venv/|(?:smtps|pip|python3|git|ln) ")

COMMANDS = [
    *(line for block in blocks("sh") for line in block.splitlines()),
    *(text for text in VERBATIM if _COMMAND.match(text)),
]
"""Each command of README.org, in blocks, tables and text."""


def section(heading: str) -> str:
    """Return what stands under HEADING, up to the next one."""
    (text,) = re.findall(rf"^\*+ {heading}\n(.*?)(?=^\*|\Z)", README, re.M | re.S)
    return str(text)


def rows(heading: str) -> list[tuple[str, str]]:
    """Return the tables under HEADING: the first two columns of each row below a head."""
    found = re.findall(r"^\| *([^|\n]+?) *\| ([^|\n]+?) *\|$", section(heading), re.M)
    heads = ("key", "command", "property", "status", "directory", "with gnutls-cli",
             "with sendmail-mbfl.sh", "what names the copy")  # fmt: skip
    return [row for row in found if row[0] not in heads and not row[0].startswith("option")]


KEYS = [(key.strip("="), does) for key, does in rows("A session")]
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
        if "HOST:587" in command:
            port = self.sandbox.starttls_port
            command = command.replace("HOST:587", f"localhost:{port}")
            return f"{command} --tls starttls --ca-file {self.sandbox.ca_file}"
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
    # Its whole table is a check of its own: here, until it has a figure.
    with subprocess.Popen(
        ["sh", "-c", f"exec {command}"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        cwd=house.checkout, env=house.environment(),
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert any(re.search(r" [0-9]\.[0-9]+ .*\|", line) for line in process.stdout)
        process.send_signal(signal.SIGINT)
        process.stdout.read()


@tries("python3 -m venv ~/smtps")
@tries("~/smtps/bin/pip install '.[sandbox,generate]'")
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


@tries("smtps HOST --user USER")
def begins_behind_the_login(house: House, command: str) -> None:
    words = f"{house.host(command)}".replace("smtps localhost --port ", "smtps localhost:")
    printed = house.run(words, "quit\n", where=house.home).stdout
    assert "\nrecv> 235 " in printed
    assert "\n- Logged in by " in printed
    assert printed.endswith("\nrecv> - Peer has closed the TLS connection\n")


@tries("smtps send -t --host HOST --user USER")
def sends_what_is_on_standard_input(house: House, command: str) -> None:
    before = len(house.sandbox.accepted)
    outbox = house.home / ".local/share/smtps/outbox"
    sent = len(list((outbox / "sent").iterdir())) if outbox.exists() else 0
    house.run(house.host(command), "From: a@b.c\nTo: d@e.f\nSubject: x\n\nText\n", where=house.home)
    (mail,) = house.sandbox.accepted[before:]
    assert mail.user == house.sandbox.user
    assert mail.octets.endswith(b"\r\n\r\nText\r\n")
    assert_outbox(outbox, sent=sent + 1)


@tries("smtps send -t --account work")
@tries("smtps send -t --queue --account work")
def sends_by_an_account(house: House, command: str) -> None:
    (block,) = blocks("toml")
    for told, here in (
        ('host = "relay.example.org"', f'host = "localhost"\nca-file = "{house.sandbox.ca_file}"'),
        ("port = 465", f'port = {house.sandbox.port}\ntls = "implicit"'),
        ('user = "me@example.org"', f'user = "{house.sandbox.user}"'),
    ):
        assert told in block
        block = block.replace(told, here)
    (told_file,) = re.findall(r"In =~/(\S+)=, a table an account", README)
    file = house.home / told_file
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(block + '[other]\nhost = "nosuch.invalid"\nfrom = "x@y.z"\n')
    mine = "From: me@example.org\nTo: d@e.f\n\nText\n"
    for words, sender in (
        ("smtps send -t --account work", "a@b.c"),
        ("smtps send -t", "me@example.org"),
    ):
        before = len(house.sandbox.accepted)
        house.run(words, f"From: {sender}\nTo: d@e.f\n\nText\n", where=house.home)
        (mail,) = house.sandbox.accepted[before:]
        assert mail.user == house.sandbox.user
    before = len(house.sandbox.accepted)
    house.run("smtps send -t --queue --account work", mine, where=house.home)
    assert len(house.sandbox.accepted) == before
    house.run("smtps outbox flush", where=house.home)
    assert len(house.sandbox.accepted) == before + 1
    file.unlink()


@tries("smtps HOST:587")
def begins_in_clear(house: House, command: str) -> None:
    told = next(text for text in EXAMPLES if text.startswith("$ "))
    first, told = told.split("\n", 1)
    assert first == f"$ {command}"
    user, password = house.sandbox.user, house.sandbox.password
    credentials = base64.b64encode(f"\0{user}\0{password}".encode()).decode()
    typed = "".join(
        line.removeprefix("send>").removeprefix(" ") + "\n"
        for line in told.splitlines()
        if line.startswith("send>")
    ).replace("<the-encoded-auth-credentials>", credentials)
    printed = house.run(house.host(command), typed, where=house.home).stdout
    assert alike(printed) == alike(told)


@tries("smtps send -t --host HOST --port 465 --user USER")
@tries("smtps send -t --host HOST --port 587 --user USER")
@tries("smtps send -t --host HOST --user USER --auth plain")
@tries("smtps send -t --host HOST --user USER --auth login")
@tries("smtps send -t --host HOST --user USER --password-command COMMAND")
@tries("smtps send --from FROM --to TO --host HOST --user USER")
@tries("smtps send -t FILE --host HOST --user USER")
@tries("smtps send --test-message --from FROM --to TO --host HOST --user USER")
@tries("smtps send -t --host HOST --user USER --timeout 30")
def does_what_the_script_did(house: House, command: str) -> None:
    sandbox, text = house.sandbox, "From: a@b.c\nTo: d@e.f\nSubject: x\n\nText\n"
    file, transcript = house.home / "FILE", house.home / "transcript"
    file.write_text(text)
    here = {
        "--port 465": f"--port {sandbox.port} --tls implicit",
        "--port 587": f"--port {sandbox.starttls_port} --tls starttls",
        "FROM": "a@b.c", "TO": "d@e.f", "HOST": "localhost", "USER": sandbox.user,
        "COMMAND": shlex.quote(f"echo {sandbox.password}"),
    }  # fmt: skip
    words = re.sub("|".join(here), lambda match: here[match[0]], command)
    if "--port" not in words:
        words += f" --port {sandbox.port} --tls implicit"
    before = len(sandbox.accepted)
    words += f" --ca-file {sandbox.ca_file} --transcript {transcript}"
    house.run(words, "" if "FILE" in words or "--test" in words else text, where=house.home)
    (mail,) = sandbox.accepted[before:]
    assert (mail.user, mail.mail_from, mail.recipients) == (sandbox.user, "a@b.c", ("d@e.f",))
    said = transcript.read_text()
    assert ("send> STARTTLS\n" in said) == ("--port 587" in command)
    if "--auth" in command:
        assert f"send> AUTH {command.split()[-1].upper()}" in said


@tries("smtps send -t --host localhost --port 25 --tls none")
def does_without_tls_on_this_machine(house: House, command: str) -> None:
    with Server(Script()) as server:
        words = command.replace("--port 25", f"--port {server.port}")
        house.run(words, "From: a@b.c\nTo: d@e.f\n\nText\n", where=house.home)


@tries("smtps send")
def is_sendmail(house: House, command: str) -> None:
    words = house.host(f"{command} -oi -oem -bm -f a@b.c --host HOST --user USER d@e.f")
    house.run(words, "From: x@y.z\n\nText\n", where=house.home)
    assert house.sandbox.accepted[-1].recipients == ("d@e.f",)


def by_sendmail(house: House, *commands: str) -> None:
    """See that COMMANDS send one mail, of me@example.org, by the account in accounts.toml."""
    file = house.home / ".config/smtps/accounts.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    sandbox = house.sandbox
    file.write_text(
        f'[work]\nhost = "localhost"\nport = {sandbox.port}\ntls = "implicit"\n'
        f'user = "{sandbox.user}"\nca-file = "{sandbox.ca_file}"\n'
    )
    before = len(sandbox.accepted)
    for command in commands:
        house.run(command, "From: me@example.org\nTo: d@e.f\n\nText\n", where=house.home)
    file.unlink()
    (mail,) = sandbox.accepted[before:]
    assert mail.mail_from == "me@example.org"


@tries('git config --global sendemail.sendmailCmd "smtps send"')
def git_sends_by_it(house: House, command: str) -> None:
    me = "-c user.name=Me -c user.email=me@example.org -c sendemail.confirm=never"
    by_sendmail(
        house, command, "git init -q repository",
        f"cd repository && git {me} commit -q --allow-empty -m x && echo x >x && git add x"
        f" && git {me} commit -q -m y && git {me} send-email --to=d@e.f -1",
    )  # fmt: skip


@tries("ln -s smtps ~/smtps/bin/sendmail")
def is_sendmail_by_that_name(house: House, command: str) -> None:
    by_sendmail(house, command, "sendmail -oi -t")
    lines = re.findall(r"^: (\(.*\))$", section("As a sendmail"), re.M)
    set_up = f"""(progn {" ".join(lines)} (setq user-mail-address "me@example.org")
                  (message-mail "d@e.f" "x") (message-send))"""
    by_sendmail(house, f"emacs -Q --batch --eval {shlex.quote(set_up)}")
    (line,) = re.findall("^: (set .*)$", section("As a sendmail"), re.M)
    (file,) = re.findall(r"In =~/(\.\S+)=\n\n: set ", section("As a sendmail"))
    (house.home / file).write_text(f"{line}\nset from=me@example.org\nunset record\n")
    by_sendmail(house, "mutt -s x -- d@e.f")


@tries("smtps send -oi -t")
def is_what_cron_pipes_into(house: House, command: str) -> None:
    by_sendmail(house, command)


@tries("smtps check HOST")
def says_what_works(house: House, command: str) -> None:
    printed = house.run(house.host(command), where=house.home).stdout
    assert "\n- Status: The certificate is trusted, and it is for localhost.\n" in printed
    assert "\n- Offers PIPELINING: " in printed
    # A server that waits for TLS, and does not say so.
    wrong = command.replace("HOST", f"localhost:{house.sandbox.port} --tls none --timeout 2")
    assert "\n- Next: " in house.run(wrong, status=69, where=house.home).stdout


@tries("smtps base64 TEXT")
def encodes_without_line_breaks(house: House, command: str) -> None:
    assert house.run(command.replace("TEXT", "x" * 99)).stdout == "eHh4" * 33 + "\n"


@tries("smtps base64 -d TEXT")
def decodes(house: House, command: str) -> None:
    assert house.run(command.replace("TEXT", "UGFzc3dvcmQ6")).stdout == "Password:\n"


@tries("smtps base64 --auth-plain USER")
def makes_the_string_of_auth_plain(house: House, command: str) -> None:
    command = f"setsid -w {command.replace('USER', 'me')}"
    assert base64.b64decode(house.run(command, "secret\n").stdout) == b"\0me\0secret"


@tries("smtps outbox")
@tries("smtps outbox list")
@tries("smtps outbox show ID")
@tries("smtps outbox retry ID")
@tries("smtps outbox retry ID --others")
@tries("smtps outbox retry ID --uncertain")
@tries("smtps outbox drop ID")
@tries("smtps outbox flush")
@tries("smtps outbox flush --keep-sent 90")
def does_with_what_is_kept(house: House, command: str) -> None:
    outbox = house.home / "kept"
    shutil.rmtree(outbox, ignore_errors=True)
    # What the mail is: it may have been taken, for the answer did not come.
    with Server(Script(steps={"end": (Close(),)})) as server:
        report = house.run(
            f"smtps send -f a@b.c d@e.f --host 127.0.0.1 --port {server.port} --tls none "
            f"--outbox {outbox} --report json",
            "From: a@b.c\n\nText\n", 74, where=house.home,
        ).stdout  # fmt: skip
    name = json.loads(report)["id"]
    assert {path.name for path in (outbox / "failed" / name).iterdir()} >= set(
        re.findall("=([a-z.]+)=", section("The outbox").split("\n|")[0].split("directory with")[1])
    )

    def run(words: str, status: int = 0) -> str:
        words = words.replace("ID", name[-6:])
        return house.run(f"{words} --outbox {outbox}", status=status, where=house.home).stdout

    if "ID" not in command:
        printed = run(command)
        assert printed == ("" if "flush" in command else f"{name}  uncertain     d@e.f\n")
    elif "show" in command:
        assert run(command).startswith(f"{name} uncertain\n")
    else:
        if "retry" in command and "--uncertain" not in command:
            run(command, 64)
            command += " --uncertain"
        run(command)
        there = {path.parent.name for path in outbox.glob(f"*/{name}")}
        assert there == ({"queue"} if "retry" in command else set())
    if "retry" in command:
        # The server is not there any more.
        run("smtps outbox flush", 75)


@tries("smtps outbox file ID")
def makes_the_copies_that_are_missing(house: House, command: str) -> None:
    box = house.home / "filed"
    words = house.host(f"smtps send --host HOST --user USER -f a@b.c d@e.f --outbox {box}")
    house.run(words, "From: a@b.c\n\nText\n", where=house.home)
    (entry,) = (box / "sent").iterdir()
    maildir = house.home / "Sent"
    (entry / "afterwork.sexp").write_text(
        f'(afterwork :version 1 :message-id "<1@x>")\n(fcc :kind maildir :path "{maildir}")\n'
    )
    command = f"{command.replace('ID', entry.name[-6:])} --outbox {box}"
    assert "is no maildir" in house.run(command, status=75, where=house.home).stderr
    for part in ("cur", "new", "tmp"):
        (maildir / part).mkdir(parents=True)
    house.run(command, where=house.home)
    (copy,) = (maildir / "cur").iterdir()
    assert copy.read_bytes() == (entry / "message.eml").read_bytes()


@tries("smtps sandbox")
def serves_until_its_input_ends(house: House, command: str) -> None:
    assert "a mail server on this machine only" in house.run(command, where=house.home).stdout


@tries("smtps generate bash > ~/.local/share/bash-completion/completions/smtps")
@tries("smtps generate zsh > ~/.zsh/_smtps")
@tries("smtps generate fish > ~/.config/fish/completions/smtps.fish")
@tries("smtps generate man > ~/smtps/share/man/man1/smtps.1")
def makes_what_shells_and_man_read(house: House, command: str) -> None:
    file = house.home / command.split("~/")[1]
    file.parent.mkdir(parents=True, exist_ok=True)
    house.run(command, where=house.home)
    assert "outbox" in file.read_text("utf-8")
    if "man/" in command:
        assert "SMTPS(1)" in house.run("man smtps", where=house.home).stdout


@tries("smtps sandbox --replay FILE")
def plays_what_stands_there(house: House, command: str) -> None:
    told = next(text for text in EXAMPLES if text.startswith("smtps transcript"))
    file = house.home / "told.transcript"
    file.write_text(told)
    replay = command.replace("FILE", str(file)) + f" --directory {house.home / 'played'}"
    for last, status in (("quit", 0), ("noop", 76)):
        process = subprocess.Popen(
            ["sh", "-c", f"exec {replay}"], cwd=house.home, env=house.environment(),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        with process:
            assert process.stdout is not None
            words = ""
            while "Try: " not in words:
                assert process.poll() is None
                words += process.stdout.readline()
            where = words.split("Try: ")[1].strip()
            typed = f"ehlo other\nauth plain AGEAYg==\n{last}\n"
            house.run(f"{where} --tls implicit", typed, where=house.home)
            _, complaints = process.communicate(timeout=SECONDS)
            assert process.returncode == status, complaints
            assert ("recorded is “quit”" in complaints) == (status == 76)


@tries("smtps VERB --help")
def tells_the_options(house: House, command: str) -> None:
    for verb in VERBS:
        help_of_verb = house.run(command.replace("VERB", verb), where=house.home).stdout
        assert help_of_verb.startswith(f"usage: smtps {verb}")


def assert_outbox(outbox: Path, sent: int) -> None:
    """See that OUTBOX has the directories that README.org names, and so many mails in sent."""
    told = re.search(r"=~/(\S+)= is that of Emacs and of the command line", README)
    assert told is not None
    assert str(outbox).endswith(told[1])
    names = {cell.strip("=") for cell, _ in rows("The outbox") if not cell.startswith("=smtps")}
    assert names <= {path.name for path in outbox.iterdir()}
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
    "TAB": "smtps-session-tab",
    "C-c C-b": "smtps-session-send-base64",
    "C-c C-y": "smtps-base64-decode-at-point",
    "C-c C-e": "smtps-session-greet",
    "C-c C-s": "smtps-session-start-tls",
    "C-c C-a": "smtps-session-log-in",
    "C-c C-f": "smtps-session-send-message",
    "C-c C-t": "smtps-session-send-transaction",
    "C-c C-v": "smtps-session-verify",
    "C-c C-r": "smtps-session-reset",
    "C-c C-d": "smtps-session-quit",
    "C-c C-c": "smtps-session-hang-up",
    "C-c :": "smtps-session-toggle-times",
    "C-c ;": "smtps-session-toggle-octets",
    "C-c C-j": "imenu",
    "C-x C-w": "smtps-session-save",
    "C-c C-w": "smtps-session-copy-as",
    "g": "smtps-session-reconnect",
    "t": "smtps-session-trust",
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
    # Which of its addresses localhost has first is the machine's affair.
    session = session.replace("[::1]:", "127.0.0.1:")
    for pattern in (
        r"(?<=localhost:|127\.0\.0\.1:)[0-9]+", "#[A-Za-z0-9_-]+", "serial 0x[0-9a-f]+",
        "fingerprint [0-9a-f]{64}", "sha256//[A-Za-z0-9+/=]{44}", "in [0-9]+ days",
    ):  # fmt: skip
        session = re.sub(pattern, "...", session)
    return session.splitlines()


def test_the_session_is_as_it_stands_there(house: House) -> None:
    told = next(text for text in EXAMPLES if text.startswith("Resolving"))
    sandbox = house.sandbox
    program = f'(smtps-session "localhost" {sandbox.port} :ca-file "{sandbox.ca_file}")'
    command = f"emacs -Q -nw -L {ELISP} -l smtps --eval '{program}' -f delete-other-windows"
    secrets = {
        "<the-base64-username>": base64.b64encode(sandbox.user.encode()).decode(),
        "<the-base64-password>": base64.b64encode(sandbox.password.encode()).decode(),
    }
    steps = re.findall(r"^send>(?: (.*))?\n((?:(?!send>).*\n)*)", told, re.M)
    with Terminal(command, house.environment(), size=(160, told.count("\n") + 5)) as terminal:
        screen = terminal.until(r"^recv> 220 .*\nsend>$")
        for line, answers in steps:
            shown = re.escape(f"send> {line}".rstrip())
            prompt = "send>$" if line != "quit" else "$"
            after = f"^{shown}\n" + r".+\n" * answers.count("\n") + prompt
            screen = terminal.enter(secrets.get(line, line), after)
    assert alike(screen[screen.index("Resolving") : screen.index("\n\n")]) == alike(told)


def test_a_transcript_is_as_it_stands_there(house: House, tmp_path: Path) -> None:
    told = next(text for text in EXAMPLES if text.startswith("smtps transcript"))
    file, sandbox = tmp_path / "transcript", house.sandbox
    house.run(
        f".venv/bin/python -I python localhost:{sandbox.port} --tls implicit "
        f"--ca-file {sandbox.ca_file} --transcript {file}",
        "ehlo localhost.localdomain\nauth plain AGEAYg==\nquit\n",
    )

    def lines(text: str) -> list[str]:
        for pattern in ("(?<=Date: ).*", "(?<=Port: ).*", "^ *[0-9]+(?= (?:recv|send)> )"):
            text = re.sub(pattern, "...", text, flags=re.M)
        return [line for line in alike(text) if line != "       ..."]

    written = lines(file.read_text("utf-8"))
    left_out = [line for line in written if line not in lines(told)]
    assert [line for line in written if line not in left_out] == lines(told)
    assert left_out
    assert all(line.lstrip().startswith("- ") for line in left_out)
    form = f'(princ (length (plist-get (smtps-session-keep-read-file "{file}") :exchanges)))'
    load = f'(progn (add-to-list (quote load-path) "{ELISP}") (require (quote smtps-session-keep)))'
    assert in_emacs(house, load, form) == ["4"]


def test_what_eshell_runs_it_runs(house: House) -> None:
    (block,) = blocks("eshell")
    sandbox = house.sandbox
    (house.home / "mail").write_text("From: me@example.org\nTo: d@e.f\n\nText\n")
    before = len(sandbox.accepted)
    for told, here in (
        ("HOST", "localhost"), ("FILE", f"{house.home}/mail"), ("ADDRESS", "to@host.test"),
        ("NAME", "draft"), ("TEXT", "Username:"), ("cat ", "*cat "),
    ):  # fmt: skip
        assert told in block
        block = block.replace(told, here)
    load = f"""(progn (setq load-path (append '("{ELISP}" "{ELISP}/../tests/elisp") load-path))
                 (require 'smtps-eshell-driver) (require 'smtps)
                 (setq smtps-accounts '(("work" :host "localhost" :port {sandbox.port}
                                         :user "{sandbox.user}" :ca-file "{sandbox.ca_file}")))
                 (with-current-buffer (get-buffer-create "draft")
                   (insert "From: me@example.org\nTo: g@h.i\n\nText\n")))"""
    dialogue, *others = block.splitlines()
    runs = " ".join(
        f"(smtps-eshell-test-run {json.dumps(line)})"
        '(princ (concat (smtps-eshell-test-run "echo $?") "\n"))'
        for line in others
    )
    statuses = in_emacs(
        house, load,
        f"""(smtps-eshell-test-with (smtps-eshell-test-type {json.dumps(dialogue)})
              (smtps-eshell-test-until (string-suffix-p "send> " (smtps-eshell-test-text)))
              (call-interactively (key-binding (kbd "C-c C-c")))
              (smtps-eshell-test-until (not eshell-current-command))
              {runs})""",
    )  # fmt: skip
    assert statuses == ["0"] * len(others)
    assert [mail.recipients for mail in sandbox.accepted[before:]] == [
        ("d@e.f",), ("to@host.test",), ("g@h.i",),
    ]  # fmt: skip


def test_a_reply_is_explained_as_it_stands_there(house: House) -> None:
    heading = "What a reply means"
    (asked,) = re.findall(r"^Asked for =([^=]+)= it says:$", section(heading), re.M)
    (told,) = re.findall(r"^#\+begin_example\n(.*?)^#\+end_example$", section(heading), re.M | re.S)
    load = f'(progn (add-to-list (quote load-path) "{ELISP}") (require (quote smtps)))'
    shown = in_emacs(
        house, load,
        f"""(progn (smtps-explain "{asked}")
              (with-current-buffer "*smtps explanation*" (princ (buffer-string))))""",
    )  # fmt: skip
    assert shown == told.splitlines()


def test_the_providers_are_those_that_are_known() -> None:
    (told,) = re.findall(r"knows texts of (.*?)\.  A", section("What a reply means"), re.S)
    names = [re.sub("[^a-z]", "", n.lower()) for n in re.split(r",\s+(?:and\s+of)?|\sand\s", told)]
    known = [form.key for form in forms("provider") if form.key != "greylisting"]
    assert len(names) == len(known)
    assert all(any(name.endswith(key) for name in names) for key in known)


def test_each_name_is_one_of_emacs(house: House) -> None:
    commands = [text[4:] for text in VERBATIM if text.startswith("M-x ")]
    variables = [text for text in VERBATIM if re.fullmatch("smtps-[a-z-]+", text)]
    assert {"smtps-session", "smtps-install-helper"} <= set(commands)
    assert "smtps-accounts" in variables
    load = f'(progn (add-to-list (quote load-path) "{ELISP}") (require (quote smtps)))'
    forms = [f'(princ (format "%s\\n" (commandp \'{name})))' for name in commands]
    # Those of a session come with the first.
    forms.append("(require 'smtps-session)")
    forms += [f'(princ (format "%s\\n" (boundp \'{name})))' for name in variables]
    assert in_emacs(house, load, *forms) == ["t"] * len(commands + variables)


def test_what_may_be_asked_for_can_be(installed: House, tmp_path: Path) -> None:
    cells = [cell.strip("=") for cell, _ in rows("What a mail may ask for")]
    cells += ["-N never", "-R full"]
    more = ("DSN", "DELIVERBY", "FUTURERELEASE", "MT-PRIORITY", "REQUIRETLS")
    text = "From: a@b.c\nTo: d@e.f\n\nText\n"
    words = f"smtps send -t --host HOST --user {installed.sandbox.user}"
    with Sandbox(tmp_path / "offering", more=more) as offering:
        house = House(installed.home, installed.checkout, offering)
        for cell in cells:
            assert cell in VERBATIM or f"={cell}=" in README
            transcript = tmp_path / "transcript"
            house.run(
                f"{house.host(words)} {cell} --transcript {transcript}", text, where=house.home
            )
            value = shlex.split(cell)[-1].upper().replace("--REQUIRE-TLS", "REQUIRETLS")
            (parameters,) = re.findall("send> (MAIL FROM:.*\n.*send> RCPT TO:.*)$",
                                       transcript.read_text(), re.M)  # fmt: skip
            assert re.search(f"[= ]{re.escape(value)}(?: |$)", parameters.upper(), re.M)
    # Where it is not offered.
    words = words.replace("HOST", f"127.0.0.1 --port {{}} --tls none --outbox {tmp_path / 'box'}")
    for cell in cells:
        harmless = cell.startswith(("-N", "-R", "-V", "--orcpt", "--priority"))
        with Server(Script()) as server:
            command = words.replace(f" --user {installed.sandbox.user}", "").format(server.port)
            installed.run(f"{command} {cell}", text, 0 if harmless else 65, where=installed.home)


def test_each_option_is_one() -> None:
    has = {word for verb in VERBS for action in parser(verb)._actions
           for word in action.option_strings}  # fmt: skip
    told = {
        word
        for text in VERBATIM
        for word in re.findall(r"(?<!\S)--?[a-zA-Z][\w-]*", text)
        if text.startswith(("-", "smtps "))
    }
    assert "--auth" in told
    assert told - {"--batch"} <= has


@pytest.mark.parametrize(
    "words", [text for text in VERBATIM if text.startswith(("--auth ", "--client-", "--send-"))]
)
def test_an_option_holds(installed: House, words: str) -> None:
    if "--client-" in words:
        import trustme

        mine = trustme.CA().issue_cert("me")
        mine.private_key_pem.write_to_path(str(installed.home / "me.key"))
        mine.cert_chain_pems[0].write_to_path(str(installed.home / "me.pem"))
    command = installed.host("smtps check --host HOST --user USER")
    printed = installed.run(f"{command} {words}", where=installed.home).stdout
    assert "✓ Login: " in printed
    if words.startswith("--auth "):
        assert " was accepted by PLAIN." in printed


def test_the_mechanisms_stand_in_their_order() -> None:
    told = re.search(r"the first of these logs in: (.*?)\.  =", README, re.S)
    assert told is not None
    families = [re.sub(r"^SCRAM.*", "SCRAM", n) for n, m in REGISTRY.items() if m.unasked]
    names = re.findall(r"[A-Z][A-Z0-9-]{3,}", told[1])
    assert names == list(dict.fromkeys(families))
    assert {"OAUTHBEARER", "XOAUTH2"} <= {n for n, m in REGISTRY.items() if not m.unasked}


def test_the_properties_are_those_of_an_account(house: House) -> None:
    names = [cell.strip("=:") for cell, _ in rows("An account's properties")]
    text = (ELISP / "smtps.el").read_text("utf-8")
    assert names == list(accounts.PROPERTIES)
    here = re.findall(r"^`:([a-z-]+)' ", text[: text.index(":risky")], re.M)
    assert here == names
    (copies,) = re.findall(r"An account with =:([a-z-]+) t=", section("What happens to Fcc"))
    assert copies in names


def test_what_files_copies_is_bound_as_told(house: House) -> None:
    ((key, command),) = re.findall(r"=([A-Z])= in\n=M-x (.*?)=", section("What happens to Fcc"))
    load = f'(progn (add-to-list (quote load-path) "{ELISP}") (require (quote smtps-outbox-ui)))'
    bound = f'(princ (format "%s\\n" (lookup-key {command}-mode-map (kbd "{key}"))))'
    assert in_emacs(house, load, bound) == ["smtps-outbox-follow"]


def test_what_edits_a_mail_is_bound_as_told(house: House) -> None:
    ((key, command, sends),) = re.findall(
        r"=([a-z])= in =M-x (\S+)= .*\(=(\S+)=\)",
        " ".join(section("Editing what is in the outbox").split()),
    )
    load = f'(progn (add-to-list (quote load-path) "{ELISP}") (require (quote smtps-outbox-ui)))'
    bound = f'(princ (format "%s\\n" (lookup-key {command}-mode-map (kbd "{key}"))))'
    there = f'(progn (require (quote message)) (princ (format "%s\\n" (commandp (quote {sends})))))'
    assert in_emacs(house, load, bound, there) == ["smtps-outbox-edit", "t"]


def test_what_takes_a_mail_back_is_bound_as_told(house: House) -> None:
    ((command, key),) = re.findall(r"^\| =M-x (\S+)=, =(C-c .)= +\|", section("In Emacs"), re.M)
    load = f'(progn (add-to-list (quote load-path) "{ELISP}") (require (quote smtps)))'
    bound = f'(princ (format "%s\\n" (lookup-key smtps-mode-map (kbd "{key}"))))'
    assert in_emacs(house, load, bound) == [command]


def test_what_goes_on_by_hand_is_bound_as_told(house: House) -> None:
    told = " ".join(README.split())
    ((opens, outbox, sends, marks),) = re.findall(
        r"=(\w)= in =M-x (\S+)= goes on by hand .*? =(C-c \S+)= sends the message .*? =(\w)= in",
        told,
    )
    load = (
        f'(progn (add-to-list (quote load-path) "{ELISP}") (require (quote smtps-outbox-session)))'
    )
    bound = (
        f'(princ (format "%s %s %s\n" (lookup-key {outbox}-mode-map "{opens}")'
        f' (lookup-key smtps-session-mode-map (kbd "{sends}"))'
        f' (lookup-key {outbox}-mode-map "{marks}")))'
    )
    assert in_emacs(house, load, bound) == [
        "smtps-outbox-session smtps-session-send-message smtps-outbox-mark-sent"
    ]


def test_a_line_of_authinfo_is_found(house: House) -> None:
    (line,) = re.findall("^: (machine .*)$", README, re.M)
    from smtps.cli import authinfo

    found = authinfo.find(authinfo.read(line, "x"), "relay.example.org", 465, ["me@example.org"])
    assert found is not None
    assert found.password == "secret"
    order = section("Passwords").split(" and the terminal")[0]
    assert tuple(re.findall(r"=~/(\S+)=", order)) == FILES
    assert in_emacs(
        house,
        f"""(progn (require 'auth-source) (with-temp-file "~/told" (insert "{line}\n"))
              (let ((auth-sources '("~/told")))
                (princ (plist-get (car (auth-source-search :host "relay.example.org" :port "465"))
                                  :user))))""",
    ) == ["me@example.org"]  # fmt: skip


def test_what_emacs_is_told_to_do_it_does(house: House) -> None:
    sandbox = house.sandbox
    lines = in_emacs(
        house,
        f"""(progn (add-to-list 'load-path "{ELISP}") (require 'smtps)
              (setq smtps-accounts '(("work" :host "localhost" :port {sandbox.port}
                                      :user "{sandbox.user}" :ca-file "{sandbox.ca_file}"))))""",
        """(with-current-buffer (smtps-check "work")
             (while (get-buffer-process (current-buffer)) (accept-process-output nil 0.1))
             (princ (buffer-string)))""",
        """(with-current-buffer (smtps-doctor)
             (with-timeout (30) (while (save-excursion (goto-char (point-min))
                                         (search-forward "starting..." nil t))
                                  (accept-process-output nil 0.1)))
             (princ (buffer-string)))""",
        "(smtps-answer)",
    )
    assert f"✓ Login: {sandbox.user} was accepted by PLAIN." in lines
    assert any(line.startswith(f"  Helper: {VERSION}, wire ") for line in lines)


def test_the_statuses_are_those_there_are() -> None:
    told = {int(number) for number, _ in rows("Exit statuses")}
    tree = ast.parse((ROOT / "python/smtps/errors.py").read_text("utf-8"))
    ours = {
        node.value.value
        for node in ast.walk(tree)
        if isinstance(node, ast.AnnAssign | ast.Assign)
        and isinstance(node.value, ast.Constant)
        and getattr(node.target if isinstance(node, ast.AnnAssign) else node.targets[0], "id", "")
        == "status"
    }
    assert told == ours | set(STATUS.values()) | {INTERRUPTED}

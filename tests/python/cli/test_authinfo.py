"""Password files as they occur, and which entry is taken."""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtps.cli import authinfo, secrets
from smtps.cli.authinfo import Entry, find, read
from smtps.client.account import Account
from smtps.errors import ConfigurationError, LoginError

HOST = "smtp.example.org"
ACCOUNT = Account(HOST, 465, "implicit", user="ann")
SECRET = 'pässwörd "quoted" 100%'


@pytest.mark.parametrize(
    ("text", "entries"),
    [
        ("machine h login u password p", [Entry("h", "u", "p")]),
        ("machine h port smtps login u password p\n", [Entry("h", "u", "p", "smtps")]),
        ('machine h login u password "with blanks"', [Entry("h", "u", "with blanks")]),
        (r'machine h login u password "a \"b\" \\ c\d"', [Entry("h", "u", r'a "b" \ c\d')]),
        (f"machine h login u password '{SECRET}'", [Entry("h", "u", SECRET)]),
        ("machine h user u secret p protocol 587", [Entry("h", "u", "p", "587")]),
        ("machine h\n  login u\r\n\tpassword p\r\n", [Entry("h", "u", "p")]),
        ("machine h login u password p#1 force yes", [Entry("h", "u", "p#1")]),
        ("# machine x\n\n  # y\nmachine h login u password p", [Entry("h", "u", "p")]),
        ("machine h login u password a'b\"c", [Entry("h", "u", "a'b\"c")]),
        ("machine h login u password machine", [Entry("h", "u", "machine")]),
        ('machine h login u password ""', [Entry("h", "u", "")]),
        (
            "machine a login u password p account x\nmacdef init\nmachine evil\n\n"
            "machine b login v password q\ndefault login w password r",
            [Entry("a", "u", "p"), Entry("b", "v", "q"), Entry(None, "w", "r")],
        ),
        ("", []),
    ],
)
def test_a_file(text: str, entries: list[Entry]) -> None:
    assert read(text, "~/x") == entries


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("machine h login u password 'geheim", 1),
        ('machine h\nlogin u password "geheim', 2),
        ("machine h\nlogin geheim password", 2),
        ("geheim", 1),
    ],
)
def test_a_file_that_is_none(text: str, line: int) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(text, "~/.authinfo")
    assert caught.value.text.startswith(f"~/.authinfo, line {line}: ")
    assert "geheim" not in caught.value.text


@given(st.text(alphabet="machine login password\"'\\\n#default ", max_size=80))
def test_any_text_is_entries_or_an_error_of_ours(text: str) -> None:
    with suppress(ConfigurationError):
        assert all(isinstance(entry, Entry) for entry in read(text, "~/x"))


@given(st.text(st.characters(exclude_characters="\n\r", exclude_categories=["Cs"]), min_size=1))
def test_a_quoted_password_is_read_as_it_was(password: str) -> None:
    quoted = password.replace("\\", "\\\\").replace('"', '\\"')
    assert read(f'machine h login u password "{quoted}"', "~/x")[0].password == password


def test_an_entry_hides_itself() -> None:
    assert "geheim" not in repr(read("machine h login u password geheim", "~/x"))


FILE = """\
machine smtp.example.org port 993 login ann password imap
machine smtp.example.org login ann password any
machine SMTP.example.org. port smtp login ann password name
machine smtp.example.org port 587 login ann password number
machine smtp.example.org login bob password bob
machine alone.example.org port 465 login carl password carl
default login ann password everywhere
"""


@pytest.mark.parametrize(
    ("host", "port", "users", "password"),
    [
        (HOST, 587, ["ann"], "number"),
        (HOST, 25, ["ann"], "name"),
        (HOST, 2525, ["ann"], "name"),
        (HOST, 465, ["ann"], "any"),
        (HOST, 465, ["bob"], "bob"),
        (HOST, 465, ["dora", "bob", None], "bob"),
        (HOST, 465, ["dora", None], None),
        ("alone.example.org", 465, [None], None),
        ("alone.example.org", 465, ["carl"], "carl"),
        ("alone.example.org", 587, ["carl"], None),
        ("other.example.org", 465, ["ann"], "everywhere"),
        ("other.example.org", 465, ["bob"], None),
    ],
)
def test_which_entry(host: str, port: int, users: list[str | None], password: str | None) -> None:
    found = find(read(FILE, "~/x"), host, port, users)
    assert (found.password if found else None) == password


def test_the_only_one() -> None:
    entries = read("machine h login u password p\nmachine h port 465 login u password q", "~/x")
    found = find(entries, "h", 465, [None])
    assert found == Entry("h", "u", "q", "465")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home directory, and no terminal."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(os, "open", _without_terminal(os.open))
    return tmp_path


def _without_terminal(real: object) -> object:
    def opened(path: object, *more: object, **named: object) -> object:
        if path == "/dev/tty":
            raise OSError(6, "No such device or address")
        return real(path, *more, **named)  # type: ignore[operator]

    return opened


def write(path: Path, text: str, mode: int = 0o600) -> None:
    path.write_text(text, "utf-8")
    path.chmod(mode)


def test_the_files_in_turn(home: Path) -> None:
    write(home / ".netrc", f"machine {HOST} login ann password '{SECRET}'\n")
    assert secrets.credentials(ACCOUNT).password == SECRET
    write(home / ".authinfo", f"machine {HOST} port 465 login ann password first\n")
    assert secrets.credentials(ACCOUNT).password == "first"


def test_the_sender_is_the_user_where_none_is_named(home: Path) -> None:
    account = ACCOUNT._replace(user=None)
    write(home / ".authinfo", f"machine {HOST} login a@x password 1\n"
          f"machine {HOST} login b@x password 2\n")  # fmt: skip
    assert secrets.credentials(account, "b@x") == ("b@x", "2")
    with pytest.raises(LoginError, match="No user is known"):
        secrets.credentials(account)
    write(home / ".authinfo", f"machine {HOST} login a@x password 1\n")
    assert secrets.credentials(account, "c@x") == ("a@x", "1")


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_write_is_refused(home: Path, mode: int) -> None:
    write(home / ".authinfo", f"machine {HOST} login ann password geheim\n", mode)
    with pytest.raises(ConfigurationError, match=r"~/\.authinfo can be written by others"):
        secrets.credentials(ACCOUNT)


def test_a_file_that_others_read_is_told(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(home / ".authinfo", f"machine {HOST} login ann password geheim\n", 0o644)
    assert secrets.credentials(ACCOUNT).password == "geheim"
    told = capsys.readouterr().err
    assert told == "smtps: ~/.authinfo can be read by others: chmod 600 ~/.authinfo.\n"


def test_a_file_that_gpg_reads(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gnupg = home / "gnupg"
    gnupg.mkdir(mode=0o700)
    monkeypatch.setenv("GNUPGHOME", str(gnupg))
    key = ["gpg", "--batch", "--quiet", "--passphrase", ""]
    subprocess.run([*key, "--quick-generate-key", "me@x"], check=True, capture_output=True)
    try:
        subprocess.run(
            [*key, "--output", str(home / ".authinfo.gpg"), "--recipient", "me@x", "--encrypt"],
            input=f"machine {HOST} port smtps login ann password '{SECRET}'\n".encode(),
            check=True, capture_output=True,
        )  # fmt: skip
        assert secrets.credentials(ACCOUNT).password == SECRET
    finally:
        subprocess.run(["gpgconf", "--kill", "gpg-agent"], check=True)


def test_a_file_that_gpg_can_not_read(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write(home / ".authinfo.gpg", "geheim")
    with pytest.raises(LoginError, match="no terminal to ask on"):
        secrets.credentials(ACCOUNT)
    told = capfd.readouterr().err
    assert "smtps: gpg, to read ~/.authinfo.gpg, failed with status 2." in told
    assert "geheim" not in told


@pytest.mark.parametrize(
    ("command", "password"),
    [("echo geheim", "geheim"), ("printf 'a b\\r\\n'", "a b"), (f"printf %s '{SECRET}'", SECRET)],
)
def test_a_command(command: str, password: str) -> None:
    account = ACCOUNT._replace(password_command=command)
    assert secrets.credentials(account) == ("ann", password)


def test_a_command_is_told_whose_password_is_wanted() -> None:
    command = 'echo "$SMTPS_HOST $SMTPS_PORT $SMTPS_USER"'
    account = ACCOUNT._replace(password_command=command, user=None)
    told = f"{ACCOUNT.host} {ACCOUNT.port} bob@x.org"
    assert secrets.credentials(account, "bob@x.org") == ("bob@x.org", told)


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("false", "failed with status 1"),
        ("no-such-command-here 2>/dev/null", "failed with status 127"),
        ("true", "printed nothing"),
        ("echo", "printed nothing"),
        ("echo geheim; echo geheim", "more than a line"),
        ("printf '\\nxx'", "printed nothing"),
        ("printf '\\377\\n'", "not UTF-8"),
        ("sleep 9", "did not end"),
        ("exec yes geheim", "printed more than 1048576 octets"),
        ("exec 1>&-; exec sleep 9", "did not end"),
    ],
)
def test_a_command_that_prints_no_password(
    monkeypatch: pytest.MonkeyPatch, command: str, text: str
) -> None:
    monkeypatch.setattr(secrets, "COMMAND_SECONDS", 1)
    with pytest.raises(ConfigurationError, match=text) as caught:
        secrets.credentials(ACCOUNT._replace(password_command=command))
    assert "geheim" not in caught.value.text


def test_nothing_is_known(home: Path) -> None:
    with pytest.raises(LoginError, match=r"No password for ann at smtp\.example\.org port 465"):
        secrets.credentials(ACCOUNT)


def test_the_names_are_emacs_s() -> None:
    elisp = (Path(__file__).parents[3] / "elisp" / "smtps-credentials.el").read_text("utf-8")
    for port, names in authinfo.SERVICES.items():
        words = " ".join(f'"{name}"' for name in names)
        assert f"({port} {words})" in elisp

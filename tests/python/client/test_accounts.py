"""Accounts of the command line: which one is taken, what wins over it, and what is told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from servers import Run

from smtps.client import accounts
from smtps.client.accounts import Named
from smtps.errors import ConfigurationError, UsageError
from smtps.sandbox.server import PASSWORD, USER, Sandbox

MESSAGE = "From: me@work.org\nTo: d@e.f\nSubject: x\n\nText\n"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where accounts.toml of this test is to lie."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    path = tmp_path / "config" / "smtps" / "accounts.toml"
    path.parent.mkdir(parents=True)
    return path


def table(name: str, sandbox: Sandbox, *more: str) -> str:
    """Return the account NAME at SANDBOX, with MORE lines."""
    return "\n".join(
        [f"[{name}]", 'host = "localhost"', f"port = {sandbox.port}", 'tls = "implicit"',
         f'ca-file = "{sandbox.ca_file}"', *more, ""]
    )  # fmt: skip


def login(user: str = USER) -> tuple[str, str]:
    return (f'user = "{user}"', f"password-command = \"printf %s '{PASSWORD}'\"")


def test_an_account_is_all_that_is_needed(sandbox: Sandbox, smtps: Run, file: Path) -> None:
    file.write_text(table("work", sandbox, *login()))
    done = smtps("send", "-t", "--account", "work", text=MESSAGE)
    assert done.returncode == 0, done.stderr
    (mail,) = sandbox.accepted
    assert mail.user == USER
    done = smtps("check", "--account", "work")
    assert f"✓ Login: {USER} was accepted by " in done.stdout
    done = smtps("session", "--account", "work", text="quit\n")
    assert "\nsend> quit\n" in done.stdout
    # Without a verb, too; and without a name the only account is meant.
    assert "\nsend> quit\n" in smtps("--account", "work", text="quit\n").stdout
    assert smtps("check").returncode == 0


def test_the_sender_chooses(sandbox: Sandbox, smtps: Run, file: Path, tmp_path: Path) -> None:
    with Sandbox(tmp_path / "other") as other:
        file.write_text(
            table("home", other, *login(), 'from = ["me@home.org", "@family.org"]')
            + table("work", sandbox, *login(), 'from = "Me@Work.org"')
        )
        for words, box in (
            ([], sandbox),
            (["-f", "me@home.org"], other),
            (["-f", "x@family.org"], other),
            (["-f", "x@family.org", "--account", "work"], sandbox),
        ):
            before = len(box.accepted)
            done = smtps("send", "-t", *words, text=MESSAGE)
            assert done.returncode == 0, done.stderr
            assert len(box.accepted) == before + 1
        done = smtps("send", "-t", "-f", "x@home.org", text=MESSAGE)
        assert done.returncode == 78
        assert "None of the accounts (home, work) is for mail from x@home.org" in done.stderr
        assert len(other.accepted) + len(sandbox.accepted) == 4
    done = smtps("check")
    assert done.returncode == 64
    assert "Name one with --account: home, work." in done.stderr


def test_options_win(sandbox: Sandbox, smtps: Run, file: Path) -> None:
    file.write_text(
        table("work", sandbox, *login("nobody"), 'mechanisms = ["cram-md5"]')
        .replace(str(sandbox.port), "1")
        .replace(str(sandbox.ca_file), "missing.pem")
    )
    done = smtps(
        "check", "--account", "work", "--port", str(sandbox.port), "--user", USER,
        "--auth", "plain", "--ca-file", str(sandbox.ca_file),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"✓ Login: {USER} was accepted by PLAIN." in done.stdout
    # A host that is named has nothing to do with the accounts.
    done = smtps("check", f"localhost:{sandbox.port}", "--ca-file", str(sandbox.ca_file))
    assert done.returncode == 0, done.stderr
    assert "- Login: none was asked for" in done.stdout
    done = smtps("check", "--account", "work")
    assert done.returncode == 78
    assert f"Account “work”: There is no CA file {file.parent}/missing.pem" in done.stderr


def test_another_file(sandbox: Sandbox, smtps: Run, file: Path, tmp_path: Path) -> None:
    file.write_text('[work]\nhost = "nosuch.invalid"\n')
    other = tmp_path / "other.toml"
    done = smtps("send", "-t", "--accounts", str(other), text=MESSAGE)
    assert done.returncode == 78
    assert f"There is no accounts file {other}." in done.stderr
    other.write_text(table("work", sandbox, *login()))
    done = smtps("send", "-t", "--accounts", str(other), text=MESSAGE)
    assert done.returncode == 0, done.stderr


def test_who_logs_in(sandbox: Sandbox, smtps: Run, file: Path) -> None:
    file.write_text(table("work", sandbox))
    assert "- Login: none was asked for" in smtps("check").stdout
    # The sender's name, where no other is known.
    file.write_text(table("work", sandbox, login()[1]))
    done = smtps("send", "d@e.f", "-f", USER, text=MESSAGE)
    assert done.returncode == 0, done.stderr
    assert sandbox.accepted[-1].user == USER


def test_of_port_and_tls_what_fits_is_taken(sandbox: Sandbox, smtps: Run, file: Path) -> None:
    file.write_text(table("work", sandbox))
    done = smtps("check", "--account", "work", "--port", str(sandbox.starttls_port))
    assert done.returncode != 0
    done = smtps(
        "check", "--account", "work", "--port", str(sandbox.starttls_port), "--tls", "starttls"
    )
    assert done.returncode == 0, done.stderr
    file.write_text(table("work", sandbox).replace(str(sandbox.port), "465"))
    done = smtps("check", "--account", "work", "--tls", "starttls", "--timeout", "5")
    assert "localhost:587" in done.stdout


GOOD = 'host = "x.org"\n'

WRONG = {
    "[work]\nhost = relay\n": "accounts.toml, line 2, column 8: Invalid value.",
    "[work\n": "accounts.toml, line 1, column 6: ",
    f"[a]\n{GOOD}[a]\n{GOOD}": "accounts.toml, line 3, column 3: [a] stands here a second time;",
    "[work]\nhost": "accounts.toml, at its end: ",
    '[work]\n# \udce9\nhost = "x.org"\n': "accounts.toml, line 2: this is not UTF-8.",
    GOOD: "accounts.toml, line 1: “host” belongs to no account",
    f"[work]\n{GOOD}{GOOD}": "this property stands there a second time.",
    f"\ufeff[work]\n{GOOD}port = 0": "accounts.toml, line 3, account “work”: port has to be",
    f"[work]\n{GOOD}prot = 465\n": "toml, line 3, account “work”: there is no property “prot”; did",
    f"[work]\n{GOOD}form = 'a@b.c'\n": "no property “form”; did you mean “from”?",
    f"[work]\n{GOOD}ca_file = 'x'\n": "no property “ca_file”; did you mean “ca-file”?",
    f"[work]\n{GOOD}password = 'hush'\n": "did you mean “password-command”?",
    f"[work]\n{GOOD}zzz = 'hush'\n": "no property “zzz”; there are host, port, tls,",
    f"[work]\n{GOOD}port = 'hush'\n": "port has to be a number from 1 to 65535.",
    f"[work]\n{GOOD}port = 70000\n": "port has to be a number from 1 to 65535.",
    f"[work]\n{GOOD}port = true\n": "port has to be a number from 1 to 65535.",
    f"[work]\n{GOOD}tls = 'ssl'\n": 'tls has to be "implicit" or "starttls" or "none".',
    f"[work]\n{GOOD}tls = ['none']\n": 'tls has to be "implicit" or "starttls" or "none".',
    f"[work]\n{GOOD}user = ''\n": "user has to be one line of text.",
    f"[work]\n{GOOD}from = []\n": "from has to be an address or a list of addresses.",
    f"[b]\n{GOOD}from = [\n 'port=1',\n] # port\n# port\nport = 0\n\n[work]\n{GOOD}": (
        "accounts.toml, line 7, account “b”: port has to be"
    ),
    f"[b]\n{GOOD}from = [\n 'from = 1',\n 1]\n[c]\n{GOOD}": "line 3, account “b”: from has to be",
    f"[work]\n{GOOD}from = [1]\n": "from has to be an address or a list of addresses.",
    f"[work]\n{GOOD}from = 'Me me@b.c'\n": "from has to be an address or a list of addresses.",
    f"[work]\n{GOOD}mechanisms = ['hush']\n": "mechanisms for a login; there are EXTERNAL, SCRAM-",
    f"[work]\n{GOOD}mechanisms = 1\n": "mechanisms has to be a list of names",
    f"[work]\n{GOOD}client-certificate = ['a', 'b', 'c']\n": "client-certificate has to be a file",
    f"[work]\n{GOOD}send-in-clear = 'yes'\n": "send-in-clear has to be true or false.",
    f"[a]\n{GOOD}[work]\nport = 465\n": "accounts.toml, line 3, account “work”: it has no host.",
    f"[work]\n{GOOD}tls = 'none'\n": "Account “work”: Without TLS the mail and the password",
}  # fmt: skip


@pytest.mark.parametrize(("text", "told"), WRONG.items())
def test_what_is_wrong_is_told_with_its_place(smtps: Run, file: Path, text: str, told: str) -> None:
    file.write_text(text, "utf-8", "surrogateescape")
    done = smtps("send", "-t", text=MESSAGE)
    assert done.returncode == 78
    assert told in done.stderr
    assert "hush" not in done.stderr
    assert done.stderr.count("\n") == 1
    # Who names a host does not need the file.
    assert smtps("send", "-t", "--host", "nosuch.invalid", text=MESSAGE).returncode == 68


def test_a_name_that_is_not_there_is_told(smtps: Run, file: Path) -> None:
    done = smtps("check", "--account", "work")
    assert done.returncode == 78
    assert f"There is no account “work” in {file}." in done.stderr
    file.write_text(f"[work]\n{GOOD}[home]\n{GOOD}")
    assert "did you mean “work”?" in smtps("check", "--account", "wrok").stderr
    assert "there are work, home." in smtps("check", "--account", "zzz").stderr


def test_an_account_in_place_of_a_host_is_told(smtps: Run, file: Path) -> None:
    file.write_text(f"['nosuch.invalid']\n{GOOD}")
    hint = "“nosuch.invalid” is an account: --account nosuch.invalid goes to its host.\n"
    for words in (["nosuch.invalid"], ["check", "nosuch.invalid"]):
        done = smtps(*words)
        assert (done.returncode, done.stderr.count(hint)) == (68, 1), done.stderr
    assert "is an account" not in smtps("other.invalid").stderr


def test_a_file_that_others_can_write_is_not_used(smtps: Run, file: Path) -> None:
    file.write_text(f"[work]\n{GOOD}")
    file.chmod(0o620)
    done = smtps("check", "--account", "work")
    assert done.returncode == 78
    assert f"{file} can be written by others" in done.stderr
    file.unlink()
    file.mkdir()
    assert f"{file} is no file" in smtps("check", "--account", "work").stderr


def test_files_are_named_from_where_the_accounts_lie(file: Path) -> None:
    file.write_text(
        f'[work]\n{GOOD}ca-file = "ca.pem"\nclient-certificate = ["~/me.pem", "/k.pem"]\n'
    )
    (account,) = accounts.read(file)
    assert account.ca_file == str(file.parent / "ca.pem")
    assert account.client_certificate == os.path.expanduser("~/me.pem")  # noqa: PTH111
    assert account.client_key == "/k.pem"


def test_a_name_may_stand_before_a_sender(file: Path) -> None:
    file.write_text(f'[work]\n{GOOD}from = ["Me <me@b.c>", "@b.org", "root"]\n')
    (account,) = accounts.read(file)
    assert account.senders == ("me@b.c", "@b.org", "root")


def test_the_choice_is_that_of_emacs() -> None:
    work, home = Named("work", senders=("me@x.org",)), Named("home")
    assert accounts.chosen([work, home], "ME@X.ORG") is work
    assert accounts.chosen([work, home], "other@x.org") is home
    assert accounts.chosen([work, home]) is home
    assert accounts.chosen([work], "other@x.org") is work
    assert accounts.chosen([work]) is work
    # An address of its own tells more than a domain that stands before it.
    domain = Named("domain", senders=("@x.org",))
    assert accounts.chosen([domain, work], "me@X.org") is work
    assert accounts.chosen([domain, work], "you@x.org") is domain
    many = [work, Named("third", senders=("@y.org",))]
    with pytest.raises(ConfigurationError, match="for mail from <>"):
        accounts.chosen(many, "")
    with pytest.raises(UsageError):
        accounts.chosen(many)


def test_a_byte_order_mark_is_passed_over(file: Path) -> None:
    file.write_text(f'[work]\n{GOOD}mechanisms = ["fast", "plain"]\n', "utf-8-sig")
    (account,) = accounts.read(file)
    assert (account.name, account.mechanisms) == ("work", ("FAST", "PLAIN"))

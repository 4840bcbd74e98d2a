"""Where a password comes from on the command line: a command, a password file, the terminal.

Nothing is asked for, and no file is opened, before the server's identity is settled.
"""

from __future__ import annotations

import os
import select
import stat
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from smtps.cli import authinfo
from smtps.cli.front import complain
from smtps.client.account import Account
from smtps.client.login import Credentials
from smtps.client.private import refuse_if_others_write
from smtps.errors import ConfigurationError, LoginError

COMMAND_SECONDS = 60
"""A password command, or gpg, may ask for a smart card; it may not hang for ever."""

FILES = (".authinfo", ".netrc", ".authinfo.gpg")
"""The password files in the home directory; last the one that may cost a passphrase."""

FILE_LIMIT = 1024 * 1024
"""Octets of a password file that are read."""


def credentials(account: Account, sender: str = "") -> Credentials:
    """Return who logs in at ACCOUNT's host, and the password or token.

    Where the account has no user, it is SENDER, or the only one that a file has for the host.
    Raises ConfigurationError or LoginError.
    """
    if account.password_command:
        user = _known(account, account.user or sender)
        return Credentials(user, _from_command(account, user))
    return written(account, sender) or _from_terminal(
        account, _known(account, account.user or sender)
    )


def written(account: Account, sender: str = "") -> Credentials | None:
    """Return the credentials that a file has, as `credentials` does; None if none has."""
    users = [account.user] if account.user else [*([sender] if sender else []), None]
    for name in FILES:
        found = authinfo.find(_entries(name), account.host, account.port, users)
        if found is not None and found.password:
            return Credentials(found.user or "", found.password)
    return None


def _known(account: Account, user: str) -> str:
    if not user:
        raise LoginError(f"No user is known for the login at {account.host}: name one with --user.")
    return user


def _from_command(account: Account, user: str) -> str:
    # So that one command can do for many accounts.
    told = {"SMTPS_HOST": account.host, "SMTPS_PORT": str(account.port), "SMTPS_USER": user}
    printed = _printed("The password command", account.password_command or "", told)
    line, _, more = printed.removesuffix(b"\n").partition(b"\n")
    line = line.removesuffix(b"\r")
    if not line:
        raise ConfigurationError("The password command printed nothing: it has to print a line.")
    if more:
        raise ConfigurationError(
            "The password command printed more than a line: it has to print the password alone."
        )
    return _text(line, "The password command printed what is not UTF-8.")


def _printed(what: str, command: str | list[str], told: Mapping[str, str] | None = None) -> bytes:
    """Return what COMMAND prints, with TOLD in its environment; it can ask on its terminal.

    Raises ConfigurationError.
    """
    try:
        running = subprocess.Popen(
            command,
            shell=isinstance(command, str),
            stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            env=os.environ | told if told else None,
        )
    except OSError as error:
        raise ConfigurationError(f"{what} can't run: {error.strerror}.") from None
    try:
        printed = _read(running, time.monotonic() + COMMAND_SECONDS)
    except BaseException as error:
        # What it began itself may hold the pipe open, so its end is not waited for.
        running.kill()
        running.wait()
        if running.stdout is not None:
            running.stdout.close()
        if isinstance(error, subprocess.TimeoutExpired):
            raise ConfigurationError(
                f"{what} did not end within {COMMAND_SECONDS} seconds."
            ) from None
        raise
    if len(printed) > FILE_LIMIT:
        raise ConfigurationError(f"{what} printed more than {FILE_LIMIT} octets.")
    if running.returncode:
        raise ConfigurationError(f"{what} failed with status {running.returncode}.")
    return printed


def _read(running: subprocess.Popen[bytes], until: float) -> bytes:
    """Return what RUNNING prints before it ends; no more than FILE_LIMIT and an octet of it.

    Raises TimeoutExpired if that takes UNTIL then.
    """
    assert running.stdout is not None
    printed = b""
    with running.stdout as pipe:
        while len(printed) <= FILE_LIMIT:
            if not select.select([pipe], [], [], max(0, until - time.monotonic()))[0]:
                raise subprocess.TimeoutExpired(running.args, COMMAND_SECONDS)
            if not (chunk := os.read(pipe.fileno(), FILE_LIMIT + 1 - len(printed))):
                break
            printed += chunk
    running.wait(max(0, until - time.monotonic()))
    return printed


def _text(octets: bytes, otherwise: str) -> str:
    try:
        return octets.decode()
    except UnicodeDecodeError:
        raise ConfigurationError(otherwise) from None


def _entries(name: str) -> list[authinfo.Entry]:
    """Return the entries of the home directory's file NAME; none if it is not there."""
    shown = f"~/{name}"
    try:
        path = Path.home() / name
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            return []
        _check(shown, status)
        if name.endswith(".gpg"):
            octets = _decrypted(shown, path)
        else:
            with path.open("rb") as file:
                octets = file.read(FILE_LIMIT)
    except FileNotFoundError:
        return []
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or "there is no home directory"
        raise ConfigurationError(f"{shown} can't be read: {reason}.") from None
    return authinfo.read(_text(octets, f"{shown} is not UTF-8."), shown)


def _decrypted(shown: str, path: Path) -> bytes:
    """Return what gpg makes of PATH, nothing if it can't: there may be a terminal to ask on."""
    try:
        return _printed(f"gpg, to read {shown},", ["gpg", "--quiet", "--decrypt", str(path)])
    except ConfigurationError as error:
        complain(error.text)
        return b""


def _check(shown: str, status: os.stat_result) -> None:
    """Refuse a file that others can write; warn of one that others can read.

    Emacs takes the latter, and the password in it is none the worse for being used.
    """
    refuse_if_others_write(shown, status)
    if status.st_mode & (stat.S_IRGRP | stat.S_IROTH) and not shown.endswith(".gpg"):
        complain(f"{shown} can be read by others: chmod 600 {shown}.")


async def passphrase(account: Account, file: str) -> str:
    """Return the passphrase of ACCOUNT's client key in FILE.  Raises LoginError."""
    return _asked(
        f"Passphrase for {file}: ",
        f"The key in {file} wants a passphrase, and there is no terminal to ask on.",
    )


def _from_terminal(account: Account, user: str) -> Credentials:
    given = _asked(
        f"Password for {user} at {account.host}: ",
        f"No password for {user} at {account.host} port {account.port} was found in "
        f"{', '.join(f'~/{name}' for name in FILES)}, and there is no terminal to ask on. "
        "Give --password-command, or a line in ~/.authinfo.",
    )
    return Credentials(user, given)


def _asked(prompt: str, nobody: str) -> str:
    """Ask on the terminal by PROMPT.  Raises LoginError with NOBODY where there is none."""
    import getpass

    try:
        os.close(os.open("/dev/tty", os.O_RDWR))
    except OSError:
        raise LoginError(nobody) from None
    try:
        given = getpass.getpass(prompt)
    except EOFError:
        given = ""
    if not given:
        raise LoginError(f"Nothing was given for “{prompt.removesuffix(': ')}”.")
    return given

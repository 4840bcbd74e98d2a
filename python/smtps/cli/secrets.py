"""Where a password comes from on the command line: a command, ~/.authinfo, or the terminal."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from smtps.client.account import Account
from smtps.errors import ConfigurationError, LoginError

COMMAND_SECONDS = 60
"""A password command may ask for a smart card; it may not hang for ever."""


def password(account: Account, user: str) -> str:
    """Return USER's password at ACCOUNT's host.  Raises ConfigurationError or LoginError."""
    if account.password_command:
        return _from_command(account.password_command)
    return _from_netrc(account, user) or _from_terminal(account, user)


def _from_command(command: str) -> str:
    try:
        done = subprocess.run(  # noqa: S602 - the user's own command line
            command,
            shell=True,
            stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            timeout=COMMAND_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ConfigurationError(
            f"The password command did not end within {COMMAND_SECONDS} seconds."
        ) from None
    except OSError as error:
        raise ConfigurationError(f"The password command can't run: {error.strerror}.") from None
    if done.returncode:
        raise ConfigurationError(f"The password command failed with status {done.returncode}.")
    lines = done.stdout.split(b"\n")
    if not lines[0] or any(lines[1:]):
        raise ConfigurationError("The password command has to print one line, the password.")
    try:
        return lines[0].removesuffix(b"\r").decode()
    except UnicodeDecodeError:
        raise ConfigurationError("The password command printed what is not UTF-8.") from None


def _from_netrc(account: Account, user: str) -> str | None:
    from smtps.cli import authinfo

    for name in (".authinfo", ".netrc"):
        try:
            text = (Path.home() / name).read_text("utf-8")
        except (OSError, RuntimeError, UnicodeDecodeError):
            continue
        found = authinfo.find(text, account.host, account.port, user)
        if found:
            return found
    return None


async def passphrase(account: Account, file: str) -> str:
    """Return the passphrase of ACCOUNT's client key in FILE.  Raises LoginError."""
    return _asked(
        f"Passphrase for {file}: ",
        f"The key in {file} wants a passphrase, and there is no terminal to ask on.",
    )


def _from_terminal(account: Account, user: str) -> str:
    return _asked(
        f"Password for {user} at {account.host}: ",
        f"No password for {user} at {account.host} was found, and there is no terminal to "
        "ask on. Give --password-command, or a line in ~/.authinfo.",
    )


def _asked(prompt: str, nobody: str) -> str:
    """Ask on the terminal by PROMPT.  Raises LoginError with NOBODY where there is none."""
    import getpass

    try:
        os.close(os.open("/dev/tty", os.O_RDWR))
    except OSError:
        raise LoginError(nobody) from None
    try:
        return getpass.getpass(prompt)
    except EOFError:
        raise LoginError(f"Nothing was given for “{prompt}”.") from None

"""The options that verbs share, and the account they come to."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

from smtps.cli.front import Aside
from smtps.client import accounts
from smtps.client.account import PORTS, TLS_BY_PORT, Account, split_host
from smtps.client.accounts import Named
from smtps.errors import ConfigurationError, MessageError, UsageError
from smtps.protocol.parameters import Notices, Wishes
from smtps.protocol.visible import visible


def add_connection(parser: argparse.ArgumentParser) -> None:
    """Add the options that tell where to connect and how."""
    parser.add_argument(
        "--account", metavar="NAME", help="of accounts.toml or --accounts FILE; options win"
    )
    parser.add_argument("--accounts", metavar="FILE", help=argparse.SUPPRESS)
    parser.add_argument(
        "--host", metavar="HOST", help="the server; --port PORT: else 465 (starttls 587)"
    )
    parser.add_argument("--port", type=port, help=Aside("its port: 465, or with starttls 587"))
    parser.add_argument(
        "--tls", choices=tuple(PORTS), metavar="HOW", help="implicit (at once), starttls, or none"
    )
    parser.add_argument(
        "--send-in-clear", action="store_true", help="without TLS also beyond this machine"
    )
    parser.add_argument("--ca-file", metavar="FILE", help="trust these certificates only (PEM)")
    parser.add_argument(
        "--client-certificate", metavar="FILE", help="show this (PEM), if asked; --client-key FILE"
    )
    parser.add_argument(
        "--client-key", metavar="FILE", help=Aside("the key of the certificate shown (PEM)")
    )
    parser.add_argument(
        "--timeout", type=timeout, metavar="SECONDS", help="one time-out for every wait"
    )


def add_login(
    parser: argparse.ArgumentParser, told: str = "log in so; --auth MECH[,MECH]: by these, or fast"
) -> None:
    """Add the options that tell who logs in and how; TOLD explains --user and --auth."""
    parser.add_argument("--user", help=told)
    parser.add_argument(
        "--auth", metavar="MECH[,MECH]", help=Aside("log in by these mechanisms only, or fast")
    )
    parser.add_argument(
        "--password-command", metavar="COMMAND", help="a command that prints the password"
    )


def add_wishes(parser: argparse.ArgumentParser) -> None:
    """Add the options that ask something of the server; sendmail's names where it has one."""
    group = parser.add_argument_group("what to ask of the server, where it offers that")
    group.add_argument(
        "-N",
        "--notify",
        metavar="WHEN",
        help="notices: never, or success,failure,delay",
    )
    group.add_argument(
        "-R", "--ret", metavar="WHAT", help="full or hdrs comes back; -V, --envid ID: and this"
    )
    group.add_argument("-V", "--envid", metavar="ID", help=Aside("this comes back in notices"))
    group.add_argument(
        "--orcpt",
        metavar="TYPE;ADDRESS",
        help="for whom it was, as in rfc822;ann@example.org",
    )
    group.add_argument(
        "--deliver-by", metavar="SECONDS[;R]", help="deliver in that time, or (R) give it back"
    )
    group.add_argument(
        "--hold-for", metavar="SECONDS", type=int, help="let the server wait; --hold-until TIME"
    )
    group.add_argument("--hold-until", metavar="TIME", help=Aside("let the server wait until then"))
    group.add_argument("--all-or-none", action="store_true", help=Aside("to all, or to nobody"))
    group.add_argument(
        "--require-tls",
        action="store_true",
        help="TLS to the end; --priority N; --all-or-none",
    )
    group.add_argument("--priority", metavar="N", type=int, help=Aside("how urgent, from -9 to 9"))


def wishes(arguments: argparse.Namespace) -> tuple[Wishes, Notices]:
    """Return what ARGUMENTS ask for the mail, and for each recipient."""
    words = tuple(filter(None, (arguments.notify or "").lower().split(",")))
    try:
        return Wishes(
            ret=arguments.ret.lower() if arguments.ret else None,
            envid=arguments.envid,
            deliver_by=arguments.deliver_by,
            hold_for=arguments.hold_for,
            hold_until=arguments.hold_until,
            priority=arguments.priority,
            require_tls=arguments.require_tls,
            all_or_none=arguments.all_or_none,
        ), Notices(words, arguments.orcpt)
    except MessageError as error:
        raise UsageError(error.text) from None


def port(text: str) -> int:
    """Return the port that TEXT names."""
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 65536):
        raise argparse.ArgumentTypeError(f"{text!r} is no port number from 1 to 65535")
    return int(text)


def timeout(text: str) -> float:
    """Return the seconds that TEXT names."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (0 < value < 1e6):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds")
    return value


def outbox(text: str) -> Path:
    """Return the directory TEXT; an empty one would be wherever the command is run."""
    if not text:
        raise argparse.ArgumentTypeError("the name of the directory is empty")
    return Path(text)


def known(arguments: argparse.Namespace, where: str | None = None) -> tuple[Named, ...]:
    """Return the accounts of the accounts file that ARGUMENTS leave to choose from.

    That is the one of --account; none where WHERE or --host tells the host; else all.
    Raises UsageError if there is none then, and ConfigurationError.
    """
    name = arguments.account
    if name is None and (where or arguments.host):
        return ()
    given = _file(arguments.accounts, "accounts file")
    path = Path(given) if given else accounts.default()
    found = accounts.read(path)
    if name is not None:
        return (accounts.one(found, name, path),)
    if not found:
        raise UsageError("No host is given: name one with --host, or an account with --account.")
    return found


def account(
    arguments: argparse.Namespace,
    among: Sequence[Named],
    where: str | None = None,
    sender: str | None = None,
) -> Account:
    """Return the account that ARGUMENTS describe, over the one AMONG those that SENDER uses.

    WHERE stands as HOST or HOST:PORT.  Raises UsageError or ConfigurationError.
    """
    named = accounts.chosen(among, sender) if among else Named()
    try:
        name, number = split_host(where or arguments.host or named.host or "")
    except ConfigurationError as error:
        if where or arguments.host:
            raise UsageError(error.text) from None
        raise
    if number is not None and arguments.port not in (None, number):
        raise UsageError(f"Two ports are given, {number} and {arguments.port}.")
    number, tls = _way(arguments.tls, number or arguments.port, named)
    if arguments.client_certificate:
        certificate, key = arguments.client_certificate, arguments.client_key
    else:
        certificate = named.client_certificate
        key = arguments.client_key or named.client_key
    if key and not certificate:
        raise UsageError("A client key needs its --client-certificate.")
    auth = getattr(arguments, "auth", None)
    try:
        return Account(
            host=name,
            port=number,
            tls=tls,
            user=getattr(arguments, "user", None) or named.user,
            name=named.name,
            mechanisms=tuple(word.strip().upper() for word in auth.split(","))
            if auth
            else named.mechanisms,
            ca_file=_file(arguments.ca_file or named.ca_file, "CA file"),
            send_in_clear=arguments.send_in_clear or named.send_in_clear,
            client_certificate=_file(certificate, "client certificate"),
            client_key=_file(key, "client key"),
            password_command=getattr(arguments, "password_command", None) or named.password_command,
        )
    except ConfigurationError as error:
        if named.name is None:
            raise
        raise ConfigurationError(f"Account “{visible(named.name)}”: {error.text}") from None


def logs_in(account: Account) -> bool:
    """Return True if ACCOUNT says that somebody is to log in."""
    return bool(account.user or account.mechanisms or account.password_command)


def _way(tls: str | None, port: int | None, named: Named) -> tuple[int, str]:
    """Return port and way of TLS, from what was given and what the account NAMED has.

    What was given holds; of the account's, what fits it.
    """
    if port is not None:
        tls = tls or TLS_BY_PORT.get(port) or named.tls or "implicit"
    elif tls is not None:
        fits = named.port is not None and TLS_BY_PORT.get(named.port, tls) == tls
        port = named.port if fits else None
    else:
        port = named.port
        tls = named.tls or TLS_BY_PORT.get(port or 465, "implicit")
    return port or PORTS[tls], tls


def _file(name: str | None, what: str) -> str | None:
    """Return NAME as an absolute path.  Raises ConfigurationError if there is no such file."""
    if not name:
        return None
    path = Path(name)
    try:
        # The working directory may be gone, and what cannot be looked at is no file for us.
        path = path.absolute()
        found = path.is_file()
    except OSError:
        found = False
    if not found:
        raise ConfigurationError(f"There is no {what} {path}.")
    return str(path)

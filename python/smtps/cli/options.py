"""The options that verbs share, and the account they come to."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from smtps.client.account import PORTS, TLS_BY_PORT, Account, split_host
from smtps.errors import ConfigurationError, MessageError, UsageError
from smtps.protocol.parameters import Notices, Wishes


def add_connection(parser: argparse.ArgumentParser) -> None:
    """Add the options that tell where to connect and how."""
    parser.add_argument("--host", help="the server's name")
    parser.add_argument("--port", type=port, help="its port (465, 587 for starttls)")
    parser.add_argument("--tls", choices=tuple(PORTS), help="TLS at once, by STARTTLS, or none")
    parser.add_argument(
        "--send-in-clear", action="store_true", help="without TLS also beyond this machine"
    )
    parser.add_argument("--ca-file", metavar="FILE", help="trust these certificates only (PEM)")
    parser.add_argument(
        "--client-certificate", metavar="FILE", help="show this certificate (PEM), if asked"
    )
    parser.add_argument("--client-key", metavar="FILE", help="its key, if that is elsewhere")
    parser.add_argument(
        "--timeout", type=timeout, metavar="SECONDS", help="one time-out for every wait"
    )


def add_login(parser: argparse.ArgumentParser) -> None:
    """Add the options that tell who logs in and how."""
    parser.add_argument("--user", help="log in as this user")
    parser.add_argument(
        "--auth",
        metavar="MECH[,MECH]",
        help="only these mechanisms, in that order; fast: by round trips",
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
        help="notices to the sender: never, or success,failure,delay",
    )
    group.add_argument(
        "-R", "--ret", metavar="WHAT", help="what a notice brings back: full or hdrs"
    )
    group.add_argument("-V", "--envid", metavar="ID", help="an identifier that notices repeat")
    group.add_argument(
        "--orcpt",
        metavar="TYPE;ADDRESS",
        help="the original recipient, as in rfc822;ann@example.org",
    )
    group.add_argument(
        "--deliver-by", metavar="SECONDS[;R]", help="deliver within that time, or (R) give it back"
    )
    group.add_argument("--hold-for", metavar="SECONDS", type=int, help="let the server wait")
    group.add_argument("--hold-until", metavar="TIME", help="the same, as in 2027-01-31T09:00:00Z")
    group.add_argument("--priority", metavar="N", type=int, help="-9 to 9")
    group.add_argument(
        "--require-tls", action="store_true", help="under verified TLS to the end, or not at all"
    )


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


def account(arguments: argparse.Namespace, host: str | None = None) -> Account:
    """Return the account that ARGUMENTS describe; HOST stands as HOST or HOST:PORT."""
    host = host or arguments.host
    if not host:
        raise UsageError("No host is given: name one with --host.")
    name, number = split_host(host)
    if number is not None and arguments.port not in (None, number):
        raise UsageError(f"Two ports are given, {number} and {arguments.port}.")
    number = number or arguments.port
    tls = arguments.tls or TLS_BY_PORT.get(number or 465, "implicit")
    if arguments.client_key and not arguments.client_certificate:
        raise UsageError("A client key needs its --client-certificate.")
    auth = getattr(arguments, "auth", None)
    return Account(
        host=name,
        port=number or PORTS[tls],
        tls=tls,
        user=getattr(arguments, "user", None),
        mechanisms=tuple(word.strip().upper() for word in auth.split(",")) if auth else (),
        ca_file=_file(arguments.ca_file, "CA file"),
        send_in_clear=arguments.send_in_clear,
        client_certificate=_file(arguments.client_certificate, "client certificate"),
        client_key=_file(arguments.client_key, "client key"),
        password_command=getattr(arguments, "password_command", None),
    )


def _file(name: str | None, what: str) -> str | None:
    """Return NAME as an absolute path.  Raises ConfigurationError if there is no such file."""
    if not name:
        return None
    path = Path(name).absolute()
    if not path.is_file():
        raise ConfigurationError(f"There is no {what} {path}.")
    return str(path)

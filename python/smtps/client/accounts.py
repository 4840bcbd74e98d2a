"""The accounts file: TOML, a table an account.

::

    [work]
    host = "relay.example.org"
    user = "me@example.org"
    from = ["me@example.org", "@lists.example.org"]

The properties are those of ``smtps-accounts`` in Emacs, which reads this file where it has none.
No error repeats a value of the file.
"""

from __future__ import annotations

import ast
import codecs
import contextlib
import re
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from smtps import xdg
from smtps.client.account import PORTS
from smtps.client.private import refuse_if_others_write
from smtps.errors import ConfigurationError, UsageError
from smtps.protocol.visible import visible

FILE_LIMIT = 1024 * 1024
"""Octets of the file that are read: more than any list of accounts has."""

_TWICE = re.compile(r"Cannot declare (\(.*\)) twice", re.DOTALL)
"""How tomllib tells, by a tuple, which table stands there again."""

_PLACE = re.compile(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", re.DOTALL)
"""How tomllib tells where a text is no TOML."""


class Named(NamedTuple):
    """An account as the file has it; None, or empty, is what it does not say."""

    name: str | None = None
    host: str | None = None
    port: int | None = None
    tls: str | None = None
    user: str | None = None
    senders: tuple[str, ...] = ()
    mechanisms: tuple[str, ...] = ()
    ca_file: str | None = None
    client_certificate: str | None = None
    client_key: str | None = None
    password_command: str | None = None
    send_in_clear: bool = False
    server_keeps_sent: bool = False
    """For Emacs: no copy is to be made of what was sent."""

    def is_for(self, sender: str, of_domain: bool) -> bool:
        """Return True if SENDER is one of this account's, or with OF_DOMAIN of its domains."""
        sender = sender.lower()
        patterns = (text.lower() for text in self.senders if text.startswith("@") == of_domain)
        return any(
            sender.endswith(pattern) if of_domain else sender == pattern for pattern in patterns
        )


def default() -> Path | None:
    """Return ``${XDG_CONFIG_HOME:-~/.config}/smtps/accounts.toml``, None if there is no home."""
    return xdg.config("accounts.toml")


def read(path: Path | None) -> tuple[Named, ...]:
    """Return the accounts in the file at PATH, none if it is not there.

    Raises ConfigurationError with the file and the line and, in what is no TOML, the column.
    """
    octets = _octets(path) if path else b""
    if not octets or path is None:
        return ()
    import tomllib

    try:
        # Some editors put a byte order mark in front.
        octets = octets.removeprefix(codecs.BOM_UTF8)
        text = octets.decode()
        tables = tomllib.loads(text)
    except UnicodeDecodeError as error:
        line = octets.count(b"\n", 0, error.start) + 1
        raise ConfigurationError(f"{path}, line {line}: this is not UTF-8.") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(_no_toml(path, str(error))) from None
    found: list[Named] = []
    for name, table in tables.items():
        try:
            found.append(_account(path, name, table))
        except _FaultError as fault:
            line = _line(text, name, fault.key)
            raise ConfigurationError(f"{path}, line {line}{fault}") from None
    return tuple(found)


def one(known: Sequence[Named], name: str, path: Path | None) -> Named:
    """Return the one of KNOWN, from PATH, that is called NAME.  Raises ConfigurationError."""
    for account in known:
        if account.name == name:
            return account
    names = [str(account.name) for account in known]
    raise ConfigurationError(
        f"There is no account “{visible(name)}” in {path or 'accounts.toml'}{_nearest(name, names)}"
    )


def chosen(known: Sequence[Named], sender: str | None = None) -> Named:
    """Return the one of KNOWN for mail from SENDER, None where it is not about mail.

    That is the first that is for SENDER, else for all of its domain, else the first that is for
    no sender in particular, else the only one; the same as in Emacs.  Raises UsageError or
    ConfigurationError.
    """
    if sender is not None:
        # Its own address tells more than its domain, wherever it stands.
        for of_domain in (False, True):
            for account in known:
                if account.is_for(sender, of_domain):
                    return account
    general = [account for account in known if not account.senders] or known
    if general and (len(known) == 1 or not general[0].senders):
        return general[0]
    names = ", ".join(visible(str(account.name)) for account in known)
    if sender is None:
        raise UsageError(f"Which account is meant?  Name one with --account: {names}.")
    raise ConfigurationError(
        f"None of the accounts ({names}) is for mail from {visible(sender) or '<>'}: "
        "name one with --account."
    )


_PATTERN = re.compile(r'(?=.)(?:"[^"]*"|[^][",:;()<>@ \t]*)(?:@[^",:;()<>@ \t]+)?')
"""An address, or ``@DOMAIN``."""


def _octets(path: Path) -> bytes:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ConfigurationError(f"{path} is no file.")
        # It names commands that are run, and where passwords go.
        refuse_if_others_write(str(path), status)
        with path.open("rb") as file:
            octets = file.read(FILE_LIMIT + 1)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise ConfigurationError(f"{path} can't be read: {error.strerror}.") from None
    if len(octets) > FILE_LIMIT:
        raise ConfigurationError(f"{path} is larger than {FILE_LIMIT} octets.")
    return octets


def _no_toml(path: Path, text: str) -> str:
    match = _PLACE.fullmatch(text)
    if match is None:
        return f"{path}: {visible(text)}."
    what, line, column = match.groups()
    place = f"line {line}, column {column}" if line else "at its end"
    if twice := _TWICE.fullmatch(what):
        name = ".".join(ast.literal_eval(twice[1]))
        what = f"[{name}] stands here a second time; what belongs to it goes behind the first"
    elif what == "Cannot overwrite a value":
        what = "this property stands there a second time"
    return f"{path}, {place}: {visible(what)}."


def _line(text: str, name: str, key: str | None) -> int:
    """Return the line of TEXT, which is TOML, on which KEY of the table NAME stands, or that.

    Lines are left out from the end until it is gone: tomllib tells no places.
    """
    import tomllib

    lines = text.split("\n")
    without, within = 0, len(lines)
    while True:
        middle = (without + within) // 2
        for count in sorted(range(without + 1, within), key=lambda count: abs(count - middle)):
            # In the midst of a value that takes several lines it is no TOML.
            with contextlib.suppress(tomllib.TOMLDecodeError):
                table = tomllib.loads("\n".join(lines[:count]) + "\n").get(name)
                break
        else:
            return without + 1
        if table is None or (key is not None and key not in table):
            without = count
        else:
            within = count


def _nearest(word: str, words: Sequence[str]) -> str:
    """Return how a sentence ends that says that WORD is none of WORDS."""
    import difflib

    near = difflib.get_close_matches(word.lower().replace("_", "-"), words, 1)
    if near:
        return f"; did you mean “{visible(near[0])}”?"
    return f"; there are {', '.join(map(visible, words))}." if words else "."


class _FaultError(Exception):
    """What is wrong with an account, the end of a sentence, and which KEY of its has it."""

    def __init__(self, text: str, key: str | None = None) -> None:
        super().__init__(text)
        self.key = key


class _UnfitError(ValueError):
    """What a property has to be, where its `told` does not say enough."""


# The properties: each function returns a value of Named from one of the file's, or raises
# ValueError if that can't be.


def _text(value: object, directory: Path) -> str:
    if not isinstance(value, str) or not value or re.search(r"[\0-\x1f\x7f-\x9f]", value):
        raise ValueError
    return value


def _texts(value: object, directory: Path) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    if not values:
        raise ValueError
    return tuple(_text(one, directory) for one in values)


def _senders(value: object, directory: Path) -> tuple[str, ...]:
    """A name may stand before an address in angle brackets (RFC 5322 3.4)."""
    texts = [re.sub(r"[^<>]*<([^<>]+)>[ \t]*", r"\1", text) for text in _texts(value, directory)]
    if not all(_PATTERN.fullmatch(text) for text in texts):
        raise ValueError
    return tuple(texts)


def _mechanisms(value: object, directory: Path) -> tuple[str, ...]:
    names = tuple(word.upper() for word in _texts(value, directory))
    from smtps.sasl.mechanisms import FAST, REGISTRY

    known = (*REGISTRY, FAST)
    if not set(names) <= set(known):
        raise _UnfitError(f"a list of mechanisms for a login; there are {', '.join(known)}")
    return names


def _port(value: object, directory: Path) -> int:
    if type(value) is not int or not 0 < value < 65536:
        raise ValueError
    return value


def _tls(value: object, directory: Path) -> str:
    if _text(value, directory) not in PORTS:
        raise ValueError
    return str(value)


def _file(value: object, directory: Path) -> str:
    """The file's own directory is where a relative name begins: it is run from anywhere."""
    return str(directory / Path(_text(value, directory)).expanduser())


def _files(value: object, directory: Path) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    if not 1 <= len(values) <= 2:
        raise ValueError
    return tuple(_file(one, directory) for one in values)


def _truth(value: object, directory: Path) -> bool:
    if not isinstance(value, bool):
        raise ValueError
    return value


class _Property(NamedTuple):
    fields: tuple[str, ...]
    value: Callable[[object, Path], Any]
    told: str


_LINE = "one line of text"

PROPERTIES = {
    "host": _Property(("host",), _text, _LINE),
    "port": _Property(("port",), _port, "a number from 1 to 65535"),
    "tls": _Property(("tls",), _tls, " or ".join(f'"{way}"' for way in PORTS)),
    "user": _Property(("user",), _text, _LINE),
    "from": _Property(("senders",), _senders, "an address or a list of addresses"),
    "mechanisms": _Property(("mechanisms",), _mechanisms, 'a list of names, like ["PLAIN"]'),
    "ca-file": _Property(("ca_file",), _file, "the name of a file"),
    "client-certificate": _Property(
        ("client_certificate", "client_key"), _files, "a file, or a list: certificate and key"
    ),
    "password-command": _Property(("password_command",), _text, _LINE),
    "send-in-clear": _Property(("send_in_clear",), _truth, "true or false"),
    "server-keeps-sent": _Property(("server_keeps_sent",), _truth, "true or false"),
}
"""The properties of an account: what they are to `Named`, and what they have to be."""


def _account(path: Path, name: str, table: object) -> Named:
    """Return the account that TABLE of the file at PATH describes.  Raises _FaultError."""
    if not isinstance(table, dict):
        raise _FaultError(
            f": “{visible(name)}” belongs to no account; one begins with its name in "
            "brackets, like [work]."
        )
    fields: dict[str, Any] = {}
    for key, value in table.items():
        known = PROPERTIES.get(key)
        where = f", account “{visible(name)}”"
        if known is None:
            nearest = _nearest(key, list(PROPERTIES))
            raise _FaultError(f"{where}: there is no property “{visible(key)}”{nearest}", key)
        try:
            found = known.value(value, path.parent)
        except (ValueError, RuntimeError) as error:
            told = str(error) if isinstance(error, _UnfitError) else known.told
            raise _FaultError(f"{where}: {key} has to be {told}.", key) from None
        values = found if len(known.fields) > 1 else (found,)
        fields |= dict(zip(known.fields, values, strict=False))
    if "host" not in fields:
        raise _FaultError(f", account “{visible(name)}”: it has no host.")
    return Named(name, **fields)

"""Pins: which public key a server has to show, whatever an authority says (RFC 7469 2.4).

A file that a person can read and edit, a line a server::

    mail.example.org 465 sha256//pL1+qb9HTMRZJmuC/bB/ZI9d302BYrrqiVuRyW+DGrU=

Blanks part the words, # begins a comment.  More than one line for a server is more than one
key, as while a key is being changed.
"""

from __future__ import annotations

import binascii
import contextlib
import fcntl
import os
import re
import stat
import tempfile
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path

from smtps import xdg
from smtps.errors import ConfigurationError

_HOST = re.compile(r"[^\0-\x20\x7f*/]+")
"""What a host can be written with.  No pattern is one: it would look as if it pinned."""

_PIN = re.compile(r"sha256//([A-Za-z0-9+/]{43}=)")

HEAD = """\
# Servers whose public key is trusted whatever its certificate says, and no other key:
# HOST PORT sha256//KEY
"""


def default() -> Path | None:
    """Return ``${XDG_CONFIG_HOME:-~/.config}/smtps/pins``, None where there is no home."""
    return xdg.config("pins")


def line(host: str, port: int, pin: str) -> str:
    """Return the line that pins PIN, without its end."""
    return f"{host.lower()} {port} {pin}"


def of(path: Path | None, host: str, port: int) -> tuple[str, ...]:
    """Return the pins of HOST at PORT in the file at PATH, none if there is no such file.

    Raises ConfigurationError, naming the line, for a file that can't be read: a pin that is
    overlooked would let any key pass.
    """
    found = []
    for number, words in _lines(path):
        if not _is_line(words):
            raise ConfigurationError(
                f"Line {number} of {path} is no pin: HOST PORT sha256//KEY was expected."
            )
        if _is_for(words, host, port):
            found.append(words[2])
    return tuple(found)


def _lines(path: Path | None) -> list[tuple[int, list[str]]]:
    if path is None:
        return []
    try:
        with path.open(encoding="utf-8-sig") as file:
            _check(path, os.fstat(file.fileno()))
            text = file.read()
    except FileNotFoundError:
        if not path.is_symlink():
            return []
        raise ConfigurationError(
            f"The pins in {path} can't be read: it is a link to nowhere."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise ConfigurationError(f"The pins in {path} can't be read: {reason}.") from None
    numbered = enumerate(text.splitlines(), 1)
    words = ((number, text.partition("#")[0].split()) for number, text in numbered)
    return [(number, found) for number, found in words if found]


def _check(path: Path, status: os.stat_result) -> None:
    """Refuse a file of pins in which anybody could have put one."""
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) or status.st_uid not in (0, os.geteuid()):
        raise ConfigurationError(
            f"{path} can be written by others, so its pins are not used: chmod 600 {path}."
        )


def _is_line(words: list[str]) -> bool:
    return (
        len(words) == 3
        and _HOST.fullmatch(words[0]) is not None
        and _is_port(words[1])
        and _is_pin(words[2])
    )


def _is_port(word: str) -> bool:
    return re.fullmatch("[0-9]{1,5}", word) is not None and 0 < int(word) < 65536


def _is_pin(word: str) -> bool:
    match = _PIN.fullmatch(word)
    try:
        return match is not None and len(b64decode(match[1], validate=True)) == 32
    except binascii.Error:
        return False


def add(path: Path | None, host: str, port: int, pin: str) -> None:
    """Pin PIN for HOST at PORT in the file at PATH, instead of what was pinned there.

    Other lines stay as they are, those that another process adds at the same time, too.  Raises
    ConfigurationError if it can't be written.
    """
    if not _is_pin(pin):
        raise ConfigurationError("A pin is written as sha256//KEY.")
    if path is None:
        raise ConfigurationError("There is no home directory to keep pins in.")
    # What it is a link to is replaced, not the link.
    path = Path(os.path.realpath(path))
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _alone(path.parent):
            of(path, host, port)
            _write(path, [*_without(path, host, port), line(host, port, pin)])
    except OSError as error:
        raise ConfigurationError(f"The pin can't be kept in {path}: {error.strerror}.") from None


@contextlib.contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Let one process at a time change a file of DIRECTORY, which itself is locked.

    The file can't be: it is replaced.  It is held for the writing of a page, so it is waited for.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _without(path: Path, host: str, port: int) -> list[str]:
    """Return the lines of the file at PATH but those for HOST at PORT."""
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except FileNotFoundError:
        lines = HEAD.splitlines()
    return [text for text in lines if not _is_for(text.partition("#")[0].split(), host, port)]


def _write(path: Path, lines: list[str]) -> None:
    """Replace the file at PATH by LINES: whoever reads it sees all of them, or those before."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix="pins-")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _is_for(words: list[str], host: str, port: int) -> bool:
    """Return True if WORDS, a line's, are of HOST at PORT."""
    return len(words) == 3 and _plain(words[0]) == _plain(host) and int(words[1]) == port


def _plain(host: str) -> str:
    """Return HOST in the one spelling in which hosts are compared.

    Case, the dot behind the root, brackets around an address and the ways to write one of IPv6
    tell no difference, nor does it how a name beyond ASCII is written (RFC 5891).
    """
    name = host.lower().removesuffix(".")
    if name.startswith("[") and name.endswith("]"):
        name = name[1:-1]
    if ":" in name:
        import ipaddress

        with contextlib.suppress(ValueError):
            return str(ipaddress.ip_address(name))
    if not name.isascii():
        with contextlib.suppress(UnicodeError):
            return name.encode("idna").decode("ascii")
    return name

"""A message from a file or standard input, made ready to be handed in, as sendmail would.

Bcc goes out, From, Date and Message-ID come in where they are missing, and nothing else is
touched: header octets are never parsed and written anew.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import BinaryIO, NamedTuple

from smtps import VERSION
from smtps.errors import MessageError
from smtps.protocol import mailboxes
from smtps.protocol.visible import visible

HEADER_LIMIT = 1024 * 1024
"""Octets of a header section; a longer one is no header."""

READ_SIZE = 64 * 1024

LINE_LENGTH = 78
"""Octets of a line that is made here, without its end (RFC 5322 2.1.1)."""

_END = re.compile(rb"(?:\A|\r\n|\n|\r(?!\n))(?=\r\n|\n|\r(?=[^\n]))")
_FIELD = re.compile(rb"([!-9;-~]+)[ \t]*:(.*)", re.DOTALL)
_RECIPIENTS = (b"to", b"cc", b"bcc")
_REMOVED = (b"bcc", b"resent-bcc")


class Field(NamedTuple):
    """A header field: its name in lower case, its body, and its octets as they stand."""

    name: bytes
    body: bytes
    octets: bytes


class Header(NamedTuple):
    """The header section, and what was read beyond it."""

    fields: tuple[Field, ...]
    rest: bytes
    """The empty line and the beginning of the body."""
    whole: bool
    """True if that is all: a terminal tells its end once, so it is not to be read again."""

    def values(self, name: bytes) -> list[bytes]:
        """Return the bodies of all fields NAME (lower case)."""
        return [field.body for field in self.fields if field.name == name]


def read_header(file: BinaryIO) -> Header:
    """Read the header section at the start of FILE.

    Raises MessageError for an empty message, or a header over the limit.
    """
    data, ended = b"", False
    while (end := _END.search(data)) is None and not ended:
        chunk = file.read(READ_SIZE)
        ended = len(chunk) < READ_SIZE
        data += chunk
        if len(data) > HEADER_LIMIT:
            raise MessageError(
                f"The message has no end of its header within {HEADER_LIMIT} octets."
            )
    if not data:
        raise MessageError("The message is empty: nothing was sent.")
    if line := re.match(rb"From [^\r\n]*(?:\r\n|\n|\r)", data):
        # An mbox's separator line is no header field; sendmail drops it too.
        data = data[line.end() :]
        end = _END.search(data)
    cut = end.end() if end is not None else len(data)
    fields: list[Field] = []
    for octets in _unfolded(data[:cut]):
        match = _FIELD.fullmatch(octets)
        if match is None:
            # No header, or no longer one: from here on it is the body.
            position = sum(len(field.octets) for field in fields)
            return Header(tuple(fields), b"\n" + data[position:], ended)
        fields.append(Field(match[1].lower(), match[2], octets))
    return Header(tuple(fields), data[cut:], ended)


def _unfolded(section: bytes) -> Iterator[bytes]:
    """Yield each field with its continuation lines and its line end."""
    lines = re.findall(rb"[^\r\n]*(?:\r\n|\n|\r)|[^\r\n]+\Z", section)
    field = b""
    for line in lines:
        if field and line[:1] in (b" ", b"\t"):
            field += line
            continue
        if field:
            yield field
        field = line
    if field:
        yield field


def recipients(header: Header) -> list[str]:
    """Return the addresses in To, Cc and Bcc, or in the Resent- ones where there are such."""
    resent = any(field.name.startswith(b"resent-") for field in header.fields)
    prefix = b"resent-" if resent else b""
    return addresses(header, *(prefix + name for name in _RECIPIENTS))


def sender(header: Header) -> str | None:
    """Return the address in (Resent-)Sender or From, or None."""
    for name in (b"resent-sender", b"resent-from", b"sender", b"from"):
        found = addresses(header, name)
        if found:
            return found[0]
    return None


def addresses(header: Header, *names: bytes) -> list[str]:
    """Return the bare addresses in the fields NAMES of HEADER, each once, in order."""
    found: list[str] = []
    for field in header.fields:
        if field.name in names:
            name = field.name.decode("ascii").title()
            # A name may be in an older encoding: an address in it is refused where it is used.
            text = field.body.decode("utf-8", "surrogateescape")
            found += mailboxes.addresses(re.sub(r"[\r\n]+(?=[ \t])", "", text), name)
    return list(dict.fromkeys(found))


def message_id(header: Header) -> str | None:
    """Return the Message-ID, or None."""
    for body in header.values(b"message-id"):
        return body.decode("ascii", "replace").strip() or None
    return None


def from_whom(header: Header, author: str | None, name: str | None) -> Header:
    """Return HEADER with a From of AUTHOR, called NAME, if it has none.

    None is made where nobody is known, and in front of Resent- fields, which tell who sends it.
    Raises MessageError for a NAME that can't stand in a header.
    """
    present = {field.name for field in header.fields}
    if not author or b"from" in present or any(one.startswith(b"resent-") for one in present):
        return header
    end = _line_end(header)
    body = author.encode("utf-8", "surrogateescape")
    if name and name.strip():
        phrase = _phrase(name)
        folded = len(phrase.rpartition(b"\n")[2]) + len(body) > LINE_LENGTH - len("From:  <>")
        body = phrase + (b"\n" if folded else b"") + b" <" + body + b">"
    field = Field(b"from", b" " + body, b"From: " + body.replace(b"\n", end) + end)
    return header._replace(fields=(field, *header.fields))


def _phrase(name: str) -> bytes:
    """Return NAME as it stands before an address (RFC 5322 3.2.5; RFC 2047 5).

    A long one is folded at LF.  Raises MessageError.
    """
    name = " ".join(name.split())
    if visible(name, len(name)) != name:
        raise MessageError(
            f"The sender's name “{visible(name, 100)}” has a character that no header can carry."
        )
    if name.isascii():
        return b'"' + re.sub(r'(["\\])', r"\\\1", name).encode() + b'"'
    # Seldom needed, and it takes long to import.
    from email.header import Header as Encoded

    return Encoded(name, "utf-8", header_name="From").encode().encode()


def _line_end(header: Header) -> bytes:
    return b"\r\n" if header.fields and header.fields[0].octets.endswith(b"\r\n") else b"\n"


def test(from_address: str, to: Sequence[str]) -> bytes:
    """Return a message that is made up, from FROM_ADDRESS to the addresses TO."""
    text = (
        f"From: {from_address}\nTo: {', '.join(to)}\nSubject: A test message\n"
        "Content-Type: text/plain; charset=utf-8\n\n"
        f"This was made up and sent by “smtps send --test-message”, version {VERSION}.\n"
    )
    return text.encode("utf-8", "surrogateescape")


def finished(
    header: Header, more: Callable[[], Iterable[bytes]], from_address: str
) -> tuple[Callable[[], Iterator[bytes]], str]:
    """Return how to read the message as it is sent, and its Message-ID.

    MORE reads what follows the header's rest; FROM_ADDRESS gives a new Message-ID its domain.
    """
    added = b""
    identity = message_id(header)
    end = _line_end(header)
    if identity is None:
        domain = from_address.rpartition("@")[2] or "localhost"
        if not domain.isascii() or domain.startswith("["):
            domain = "localhost"
        # email.utils has both, and takes longer to import than all of this file.
        identity = f"<{time.time_ns():x}.{os.urandom(8).hex()}@{domain}>"
        added += b"Message-ID: " + identity.encode() + end
    if not header.values(b"date"):
        added += b"Date: " + time.strftime("%a, %d %b %Y %H:%M:%S %z").encode() + end
    kept = b"".join(f.octets for f in header.fields if f.name not in _REMOVED)
    if kept and not kept.endswith((b"\n", b"\r")):
        kept += end

    def chunks() -> Iterator[bytes]:
        yield added + kept + (header.rest or end)
        yield from more()

    return chunks, identity

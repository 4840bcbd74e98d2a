"""Bodies that a server can't take as they are: Content-Transfer-Encoding (RFC 2045 section 6).

The message is read twice.  The first reading finds the parts that need another encoding,
keeps one octet about each, and refuses what can't be changed; the second streams.
Constant memory, whatever the sizes of parts and lines; what needs nothing stays octet for
octet as it is.  Parts are found as Python's `email` finds them.
"""

from __future__ import annotations

import binascii
import codecs
import re
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from email import message_from_bytes
from enum import Enum, IntEnum, auto
from os.path import commonprefix

from smtps.errors import MessageError
from smtps.protocol.body import LINE_LIMIT, crlf
from smtps.protocol.envelope import Content
from smtps.protocol.visible import visible

BLOCK = 65536
"""Octets that are looked at at once, however the content is cut."""

NESTING_LIMIT = 100
"""Entities inside each other: what Postfix reads at most (its mime_nesting_limit)."""

PARTS_LIMIT = 10_000
"""Entities in a message: large digests have hundreds, and each costs time and an octet."""

HEADER_LIMIT = 1 << 20
"""Octets of one header, which is held in memory: ten times what Postfix takes."""

NAME_SHOWN = 40
"""Characters of a type or encoding that an error shows."""


def reencoded(content: Content, eight_bit: bool) -> Content:
    """Return CONTENT with every part encoded that the server can't take as it is.

    What it yields has CRLF line ends, no line of more than 998 octets, no NUL, and, unless
    EIGHT_BIT (the server has 8BITMIME), no octet over 127.  Text becomes quoted-printable,
    anything else base64; quoted-printable and base64 that break the rules stay what they
    are and are wrapped anew.  Of the headers only Content-Transfer-Encoding changes, and
    MIME's are added to a message that has none.

    CONTENT is read once here, and must be the same each time it is opened.

    Raises MessageError for what can't be encoded (headers, the text around parts, unknown
    encodings) or would break a signature: RFC 2045, 2046, 1847, 6376, 8617.
    """
    plan = _plan(content, eight_bit)
    return lambda: _carried_out(content, plan)


def _blocks(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield CHUNKS, CRLF at line ends, in blocks that do not depend on how they were cut."""

    def even() -> Iterator[bytes]:
        held: list[bytes] = []
        size = 0
        for chunk in chunks:
            held.append(chunk)
            size += len(chunk)
            if size < BLOCK:
                continue
            view = memoryview(b"".join(held) if len(held) > 1 else chunk)
            whole = size - size % BLOCK
            for start in range(0, whole, BLOCK):
                yield bytes(view[start : start + BLOCK])
            held, size = [bytes(view[whole:])], size - whole
        yield b"".join(held)

    return crlf(even())


# The parts of a message


class _Kind(Enum):
    LEAF = auto()
    MULTIPART = auto()
    MESSAGE = auto()


_RAW = ("", "7bit", "8bit", "binary")


def _field(names: bytes) -> re.Pattern[bytes]:
    return re.compile(rb"(?im)^((?:%s):)[^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*" % names)


_ENCODING = _field(b"content-transfer-encoding")
_TYPE = _field(b"content-type")
_VERSION = _field(b"mime-version")
_SEAL = _field(b"dkim-signature|arc-seal|arc-message-signature|arc-authentication-results")

_HEADER_LINE = re.compile(rb"[!-9;-~]*:|[\t ]")
"""How `email` tells a line of a header from a body that no empty line precedes."""

_MBOX_LINE = b"From "
"""What may stand before a header, for `email` and Postfix."""

_TOKEN = re.compile(r"[^\s()<>@,;:\\\"/\[\]?=]*")


@dataclass(eq=False)
class _Entity:
    """A message or a part: its header, and what is to be known about it.

    ``separator`` is the empty line after the header, where there is one; ``sealed`` says
    why nothing inside may change.  ``changed`` and ``kept`` tell of what was found inside:
    that something is re-encoded, and that octets over 127 stay.
    """

    index: int
    header: bytes
    separator: bytes
    parent: _Entity | None
    kind: _Kind = _Kind.LEAF
    main: str = ""
    sub: str = ""
    encoding: str = ""
    boundary: bytes = b""
    sealed: str = ""
    closed: bool = False
    changed: bool = False
    kept: bool = False

    @property
    def is_message(self) -> bool:
        """True if the header is a whole message's, and not only a part's."""
        return self.parent is None or self.parent.kind is _Kind.MESSAGE

    @property
    def ancestors(self) -> Iterator[_Entity]:
        """The entities around this one, the innermost first."""
        entity = self.parent
        while entity:
            yield entity
            entity = entity.parent


def _entity(index: int, header: bytes, separator: bytes, parent: _Entity | None) -> _Entity:
    """Read HEADER.  Raises MessageError if its Content-Type is not readable at all."""
    entity = _Entity(index, header, separator, parent)
    fields = [found[0] for found in (_TYPE.search(header), _ENCODING.search(header)) if found]
    try:
        message = message_from_bytes(b"".join(fields))
        if parent and parent.kind is _Kind.MULTIPART and parent.sub == "digest":
            message.set_default_type("message/rfc822")
        main, _, sub = message.get_content_type().partition("/")
        entity.main, entity.sub = main.strip(), _token(sub)
        boundary = message.get_boundary("") if entity.main == "multipart" else ""
    except Exception as error:
        # `email` raises whatever happens to it in parameters that make no sense.
        raise MessageError("The Content-Type of a part of the message can't be read.") from error
    entity.boundary = boundary.encode() if boundary.isascii() else b""
    entity.encoding = _token(str(message.get("content-transfer-encoding", "")))
    if entity.boundary:
        entity.kind = _Kind.MULTIPART
    elif entity.main == "message" and entity.sub in ("rfc822", "global"):
        # One that is encoded, as RFC 6532 allows for global, is as opaque as a leaf.
        entity.kind = _Kind.MESSAGE if entity.encoding in _RAW else _Kind.LEAF
    if entity.main == "multipart" and entity.sub in ("signed", "encrypted"):
        entity.sealed = f"it would break the multipart/{entity.sub} around it"
    elif entity.is_message and _SEAL.search(header):
        entity.sealed = "it would break the message's DKIM or ARC signature"
    elif parent:
        entity.sealed = parent.sealed
    return entity


def _token(value: str) -> str:
    """Return the word that VALUE begins with, in lower case; all of it if it has none."""
    value = value.strip().lower()
    word = _TOKEN.match(value)
    return word[0] if word and word[0] else value


_Piece = tuple[_Entity, bytes | None]
_Step = Generator[_Piece, None, int | None]


class _Parts:
    """Cuts a message into headers and text (RFC 2046), holding no more than a header."""

    def __init__(self) -> None:
        self._count = 0
        self._entity: _Entity | None = None
        # The lines of the header that is being read; None in text.
        self._lines: list[bytes] | None = []
        self._size = 0
        # True if what is looked at next is the beginning of a line.
        self._fresh = True
        self._delimiters: dict[bytes, tuple[_Entity, bool]] = {}
        # What every delimiter begins with.
        self._before = b""

    def read(self, blocks: Iterable[bytes]) -> Iterator[_Piece]:
        """Yield each entity with None, when its header is read, then with pieces of its text.

        The text of a multipart is what stands around its parts, delimiters included.
        Raises MessageError where a limit is passed.
        """
        data = b""
        for block in blocks:
            data += block
            at = 0
            while at < len(data):
                step = self._in_text if self._lines is None else self._in_header
                reached = yield from step(data, at)
                if reached is None:
                    break
                at = reached
            data = data[at:]
        yield from self._header_ended(b"")
        if data:
            # A line end that no delimiter follows, but should: it is not the part's.
            around, _ = list(self._delimiters.values())[-1]
            yield around, data

    def _in_header(self, data: bytes, at: int) -> _Step:
        """Read one line of a header.  Returns where it ends, None to see more first."""
        end = data.find(b"\r\n", at)
        line = data[at:] if end < 0 else data[at:end]
        if end < 0 and len(line) <= LINE_LIMIT:
            return None
        if end >= 0 and line.rstrip(b" \t") in self._delimiters:
            return (yield from self._delimited(data, at, end + 2))
        if end >= 0 and not line:
            yield from self._header_ended(data[at : end + 2], once=True)
            return end + 2
        begins = not self._lines and line.startswith(_MBOX_LINE)
        if self._lines is None or not (begins or _HEADER_LINE.match(line)):
            yield from self._header_ended(b"", once=True)
            return at
        self._size += len(line)
        if end < 0:
            raise MessageError(_too_long(b"".join([*self._lines, line])))
        if self._size > HEADER_LIMIT:
            raise MessageError(f"A header of the message is over {HEADER_LIMIT} octets.")
        self._lines.append(data[at : end + 2])
        return end + 2

    def _header_ended(self, separator: bytes, once: bool = False) -> Iterator[_Piece]:
        """Yield the entity whose header has been read; unless ONCE, also one that it begins."""
        while self._lines is not None:
            parent = self._entity
            entity = _entity(self._count, b"".join(self._lines), separator, parent)
            self._count += 1
            if self._count > PARTS_LIMIT:
                raise MessageError(f"The message has over {PARTS_LIMIT} parts.")
            if sum(1 for _ in entity.ancestors) >= NESTING_LIMIT:
                raise MessageError(f"The message's parts are nested over {NESTING_LIMIT} deep.")
            self._entity, self._size, self._fresh = entity, 0, True
            self._lines = [] if entity.kind is _Kind.MESSAGE else None
            if entity.kind is _Kind.MULTIPART:
                self._look_for_delimiters(entity)
            yield entity, None
            separator = b""
            if once:
                return

    def _look_for_delimiters(self, innermost: _Entity) -> None:
        around = [innermost, *innermost.ancestors]
        # Where two have the same one it is the inner's.
        self._delimiters = {
            line: (entity, closes)
            for entity in reversed(around)
            if entity.kind is _Kind.MULTIPART and not entity.closed
            for line, closes in (
                (b"--" + entity.boundary, False),
                (b"--" + entity.boundary + b"--", True),
            )
        }
        shared = commonprefix(list(self._delimiters))  # noqa: RUF071 - no paths
        self._before = b"\r\n" + (shared or b"")

    def _delimited(self, data: bytes, start: int, end: int) -> _Step:
        """Go on after the delimiter from START to END, which may close several entities."""
        yield from self._header_ended(b"")
        entity, closes = self._delimiters[data[start:end].strip(b" \t\r\n")]
        entity.closed = closes
        self._entity = entity
        self._lines = None if closes else []
        self._fresh = True
        self._look_for_delimiters(entity)
        yield entity, data[start:end]
        return end

    def _in_text(self, data: bytes, at: int) -> _Step:
        """Read text up to and with a delimiter, or all.  Returns as `_in_header` does."""
        assert self._entity
        if not self._delimiters:
            yield self._entity, data[at:]
            return len(data)
        line = at if self._fresh else -1
        after = at
        while True:
            if line < 0:
                found = data.find(self._before, after)
                if found < 0:
                    found = data.rfind(b"\r\n", after)
                if found < 0:
                    break
                line = found + 2
            # The line end before a delimiter is part of it (RFC 2046 5.1.1).
            cut = max(at, line - 2)
            end = data.find(b"\r\n", line)
            if end < 0:
                if self._may_delimit(data[line:]):
                    if cut == at:
                        return None
                    self._fresh = False
                    yield self._entity, data[at:cut]
                    return cut
                break
            if data[line:end].rstrip(b" \t") in self._delimiters:
                if cut > at:
                    yield self._entity, data[at:cut]
                return (yield from self._delimited(data, cut, end + 2))
            line, after = -1, end
        self._fresh = False
        yield self._entity, data[at:]
        return len(data)

    def _may_delimit(self, begun: bytes) -> bool:
        """Return True if the line BEGUN may turn out to be a delimiter."""
        word = begun.rstrip(b" \t")
        if not any(line.startswith(begun) or line == word for line in self._delimiters):
            return False
        if len(begun) > LINE_LIMIT:
            raise MessageError(f"A delimiter in the message has over {LINE_LIMIT} octets.")
        return True


# First reading: what is to be done


class _Change(IntEnum):
    """What becomes of an entity: its body, or only what its header says about the body."""

    NOTHING = 0
    QUOTED = auto()
    QUOTED_NOT_UTF8 = auto()
    BASE64 = auto()
    QUOTED_ANEW = auto()
    BASE64_ANEW = auto()
    SEVEN_BIT = auto()
    EIGHT_BIT = auto()


OVER_127 = "has octets over 127, which the server does not take"


class _Measure:
    """What is in a text that comes in pieces."""

    def __init__(self) -> None:
        self.eight_bit = self._nul = False
        self.utf8 = True
        self._line = self._longest = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")()

    def add(self, data: bytes) -> None:
        ascii_only = data.isascii()
        self.eight_bit = self.eight_bit or not ascii_only
        self._nul = self._nul or b"\0" in data
        first, *others = data.split(b"\r\n")
        self._line += len(first)
        self._longest = max(self._longest, self._line)
        if others:
            self._longest = max(self._longest, max(map(len, others)))
            self._line = len(others[-1])
        if self.utf8 and self.eight_bit:
            try:
                self._decoder.decode(data)
            except UnicodeDecodeError:
                self.utf8 = False

    @property
    def overlong(self) -> bool:
        """True if a line is longer than SMTP allows."""
        return self._longest > LINE_LIMIT

    def complaint(self, eight_bit: bool) -> str:
        """Return what a server, with 8BITMIME if EIGHT_BIT, can't take; nothing if it can."""
        if self._nul:
            return "has a NUL"
        if self.overlong:
            return f"has a line over {LINE_LIMIT} octets"
        if self.eight_bit and not eight_bit:
            return OVER_127
        return ""


def _plan(content: Content, eight_bit: bool) -> bytes:
    """Return the `_Change` of each entity, by index.  Raises MessageError."""
    plan = bytearray()
    current: _Entity | None = None
    measure = _Measure()

    def ended() -> None:
        if not current:
            return
        complaint = measure.complaint(eight_bit)
        if complaint:
            plan[current.index] = _change(current, complaint, measure)
        for entity in (current, *current.ancestors):
            entity.changed = entity.changed or bool(complaint)
            entity.kept = entity.kept or (measure.eight_bit and not complaint)
            if entity.kind is not _Kind.LEAF:
                plan[entity.index] = _label(entity)

    for entity, text in _Parts().read(_blocks(content())):
        if text is None or entity is not current:
            ended()
            current, measure = entity, _Measure()
        if text is not None:
            measure.add(text)
            continue
        plan.append(_Change.NOTHING)
        header = _Measure()
        header.add(entity.header)
        complaint = header.complaint(eight_bit)
        if complaint:
            if header.overlong:
                raise MessageError(_too_long(entity.header))
            whose = "" if entity.parent is None else " of a part"
            step = (
                ": write them as encoded-words (RFC 2047), or send by a server that offers 8BITMIME"
                if complaint == OVER_127
                else "; it stays as it is"
            )
            raise MessageError(f"The header{whose} of the message {complaint}{step}.")
        for around in entity.ancestors:
            around.kept = around.kept or header.eight_bit
    ended()
    return bytes(plan)


def _too_long(header: bytes) -> str:
    """Return the sentence that a line of HEADER is too long: which, and what to do."""
    name = b""
    for line in header.split(b"\r\n"):
        name = name if line.startswith((b" ", b"\t")) else line.partition(b":")[0].rstrip()
        if len(line) > LINE_LIMIT:
            break
    return (
        f"The field {visible(name, NAME_SHOWN)} of the message has a line over {LINE_LIMIT} "
        "octets: fold it, that is, break it, behind a comma say, and begin the next line with a "
        "blank."
    )


def _change(entity: _Entity, complaint: str, measure: _Measure) -> _Change:
    """Return how the text of ENTITY, that has COMPLAINT, is encoded, or raise MessageError."""
    reason = entity.sealed
    if entity.kind is _Kind.MULTIPART:
        reason = reason or "it stands before, between or after the parts of a multipart"
    elif entity.main == "multipart":
        reason = reason or "it is a multipart without a usable boundary"
    elif entity.main == "message" and not re.fullmatch("rfc822|global.*", entity.sub):
        # Such are 7bit (RFC 2046 5.2.4); only global has leave (RFC 6532, 6533).
        reason = reason or f"a message/{visible(entity.sub, NAME_SHOWN)} may not be encoded"
    elif entity.encoding == "quoted-printable" and not reason:
        return _Change.QUOTED_ANEW
    elif entity.encoding == "base64" and not reason:
        return _Change.BASE64_ANEW
    elif entity.encoding not in _RAW:
        reason = reason or f"its encoding, {visible(entity.encoding, NAME_SHOWN)}, is unknown"
    if reason:
        raise MessageError(f"A part of the message {complaint}, and can't be encoded: {reason}.")
    if entity.main != "text":
        return _Change.BASE64
    return _Change.QUOTED if measure.utf8 else _Change.QUOTED_NOT_UTF8


def _label(entity: _Entity) -> _Change:
    """Return what a multipart or message must say of itself once its parts are encoded."""
    if not entity.changed or entity.encoding not in ("8bit", "binary"):
        return _Change.NOTHING
    if not entity.kept:
        return _Change.SEVEN_BIT
    return _Change.EIGHT_BIT if entity.encoding == "binary" else _Change.NOTHING


# Second reading: doing it


_NAMES = {
    _Change.QUOTED: b"quoted-printable",
    _Change.QUOTED_NOT_UTF8: b"quoted-printable",
    _Change.BASE64: b"base64",
    _Change.SEVEN_BIT: b"7bit",
    _Change.EIGHT_BIT: b"8bit",
}
"""What Content-Transfer-Encoding becomes; anew it stays as it is."""


def _carried_out(content: Content, plan: bytes) -> Iterator[bytes]:
    """Yield CONTENT, changed as PLAN says."""
    encoder: _Quoted | _Base64 | None = None
    current: _Entity | None = None
    for entity, text in _Parts().read(_blocks(content())):
        if entity is not current or text is None:
            if encoder:
                yield encoder.end()
            if entity.index >= len(plan):
                raise MessageError("The message has changed while it was being read.")
            change = _Change(plan[entity.index])
            current, encoder = entity, _ENCODERS[change]() if change in _ENCODERS else None
        if text is None:
            yield _header(entity, change)
        else:
            yield encoder.add(text) if encoder else text
    if encoder:
        # The part had the message's last line end.
        yield encoder.end() + encoder.line_end


def _header(entity: _Entity, change: _Change) -> bytes:
    """Return ENTITY's header, with the encoding that CHANGE brings, and its empty line."""
    name = _NAMES.get(change)
    if name is None:
        return entity.header + entity.separator
    header, found = _ENCODING.subn(rb"\1 " + name + b"\r\n", entity.header)
    if change in _ENCODERS and entity.is_message:
        if not _VERSION.search(header):
            header += b"MIME-Version: 1.0\r\n"
        if not _TYPE.search(header):
            charset = b"utf-8" if change is _Change.QUOTED else b"unknown-8bit"
            header += b"Content-Type: text/plain; charset=" + charset + b"\r\n"
    if not found:
        header += b"Content-Transfer-Encoding: " + name + b"\r\n"
    return header + (b"\r\n" if change in _ENCODERS else entity.separator)


_SAFE = re.compile(
    # A possessive repetition of a group matches wrongly before Python 3.11.4.
    rb"(?:[^=]++|==|=[0-9A-Fa-f]{2}|=(?=[^=0-9A-Fa-f])|=(?=[0-9A-Fa-f][^0-9A-Fa-f]))*"
)
"""What can be cut off without cutting through something encoded."""

_ILLEGAL = re.compile(rb"==|=(?![0-9A-Fa-f]{2}|[ \t]*(?:\r\n|\Z))|[^\t\r\n -~]")
"""What may not stand in quoted-printable.  `binascii` takes two equal signs for one."""

_QUOTED_LINE = 76

_SEGMENT = re.compile(rb".{71,73}(?<!=)(?<!=.)(?=..)|.{1,74}")
"""A piece of a long line: room is left for the soft break, and to quote its beginning."""

_DANGEROUS = re.compile(rb"(?m)^(?:\.|-(?=-)|F(?=rom ))")
"""Beginnings of lines that someone takes for a dot, a delimiter or a line of an mbox."""


def _octet(match: re.Match[bytes]) -> bytes:
    return b"=%02X" % match[0][0]


def _quoted(lines: bytes) -> bytes:
    """Return LINES of text, with their line ends, in quoted-printable but for long lines."""
    # An equal sign at a line's end can only be a soft break: any other has become =3D.
    return binascii.b2a_qp(lines, istext=True).replace(b"=\r\n", b"")


def _quoted_anew(lines: bytes) -> bytes:
    return _ILLEGAL.sub(_octet, lines)


class _Quoted:
    """Quoted-printable (RFC 2045 6.7), from text or, repaired, from quoted-printable."""

    line_end = b""

    def __init__(self, escaped: Callable[[bytes], bytes]) -> None:
        self._escaped = escaped
        self._held = b""

    def add(self, data: bytes) -> bytes:
        """Take DATA; return what is ready."""
        data = self._held + data
        cut = data.rfind(b"\r\n") + 2
        if cut >= 2:
            self._held = data[cut:]
            return self._wrapped(data[:cut])
        self._held = data
        if len(data) < BLOCK:
            return b""
        safe = _SAFE.match(data, 0, len(data) - 1)
        cut = safe.end() if safe else 0
        self._held = data[cut:]
        return self._wrapped(data[:cut] + b"\r\n")[:-2] + b"=\r\n"

    def end(self) -> bytes:
        """Return the rest."""
        return self._wrapped(self._held + b"\r\n")[:-2]

    def _wrapped(self, text: bytes) -> bytes:
        lines = []
        for line in self._escaped(text).split(b"\r\n"):
            if len(line) <= _QUOTED_LINE and not _DANGEROUS.match(line):
                lines.append(line)
            else:
                broken = b"=\r\n".join(_SEGMENT.findall(line))
                lines.append(_DANGEROUS.sub(_octet, broken))
        return b"\r\n".join(lines)


_BASE64_LINE = 76

_NOT_BASE64 = bytes(set(range(256)) - set(binascii.b2a_base64(bytes(range(256)), newline=False)))


class _Base64:
    """Base64 (RFC 2045 6.8), from octets or, repaired, from base64."""

    line_end = b"\r\n"

    def __init__(self, anew: bool) -> None:
        self._anew = anew
        self._held = b""
        self._begun = False

    def add(self, data: bytes) -> bytes:
        """Take DATA; return the lines that are full."""
        if self._anew:
            # Repaired by what stays, so that every decoder gets the same as before.
            data = data.translate(None, _NOT_BASE64)
        data = self._held + data
        unit = _BASE64_LINE if self._anew else _BASE64_LINE // 4 * 3
        whole = len(data) - len(data) % unit
        self._held = data[whole:]
        return self._lines(data[:whole])

    def end(self) -> bytes:
        """Return the rest."""
        return self._lines(self._held)

    def _lines(self, data: bytes) -> bytes:
        if not data:
            return b""
        text = data if self._anew else binascii.b2a_base64(data, newline=False)
        lines = [text[at : at + _BASE64_LINE] for at in range(0, len(text), _BASE64_LINE)]
        if self._begun:
            lines.insert(0, b"")
        self._begun = True
        return b"\r\n".join(lines)


_ENCODERS: dict[_Change, Callable[[], _Quoted | _Base64]] = {
    _Change.QUOTED: lambda: _Quoted(_quoted),
    _Change.QUOTED_NOT_UTF8: lambda: _Quoted(_quoted),
    _Change.BASE64: lambda: _Base64(anew=False),
    _Change.QUOTED_ANEW: lambda: _Quoted(_quoted_anew),
    _Change.BASE64_ANEW: lambda: _Base64(anew=True),
}

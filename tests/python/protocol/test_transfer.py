"""Content-Transfer-Encoding in a stream: Python's `email` must find what it found before."""

from __future__ import annotations

import base64
import re
import tracemalloc
from collections.abc import Iterator
from email import message_from_bytes
from email.message import Message
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smtps.errors import MessageError
from smtps.protocol import transfer
from smtps.protocol.body import LINE_LIMIT, crlf
from smtps.protocol.envelope import Content
from smtps.protocol.transfer import NESTING_LIMIT, PARTS_LIMIT, reencoded

LONG = b"long " * 300
RAW = b"Content-Transfer-Encoding: 8bit\r\n"


def needy(octets: bytes, eight_bit: bool) -> bool:
    """Return True if OCTETS, as they go on the wire, are too much for the server."""
    return (
        b"\0" in octets
        or not (eight_bit or octets.isascii())
        or max(map(len, octets.split(b"\r\n"))) > LINE_LIMIT
    )


def run(message: bytes, eight_bit: bool = False) -> bytes:
    """Return MESSAGE re-encoded; it always obeys the rules."""
    done = b"".join(reencoded(lambda: [message], eight_bit)())
    assert not needy(done, eight_bit)
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n", done)
    assert not done or done.endswith(b"\r\n")
    return done


def part(*header: bytes, body: bytes) -> bytes:
    return b"".join(line + b"\r\n" for line in (*header, b"")) + body


def multipart(*parts: bytes, kind: bytes = b"mixed", more: bytes = b"") -> bytes:
    return part(
        b"Content-Type: multipart/" + kind + b"; boundary=b" + more,
        body=b"".join(b"--b\r\n" + each + b"\r\n" for each in parts) + b"--b--\r\n",
    )


# Whatever the message


LINES = st.sampled_from(
    [
        *(b"", b"plain", b"trailing \t", b" ", b".", b"..", b".dot", b"-", b"--", b"-- ", b"--=_"),
        *(b"--=_b0-no", b"From me", b"a: b", b"=", b"==", b"=3D", b"=3", b"===\xe9", b"soft="),
        *(b"=  ", b"=\0", b"tab\tin", b"\x7f\x0c", b"caf\xc3\xa9", b"\xff", b"n\0l", LONG),
        *(b"\xc3\xa9" * 700, b"=" * 1001, b"--" * 700, b"." * 1100, b" " * 1200, b"x=3D" * 300),
        *(b"-" + b"x" * 72 + b"--=_b0", b"From " * 250, b"=\xe9" * 600, b"x" * 998, b"x" * 999),
    ]
)
ENDS = st.sampled_from([b"\r\n", b"\r\n", b"\n", b"\r"])
TEXTS = st.lists(st.tuples(LINES, ENDS), max_size=6).map(
    lambda lines: b"".join(line + end for line, end in lines)
)
HARMLESS = st.sampled_from([b"", b"around\r\n", b"two\r\n\r\n", b"--x\r\n"])
TYPES = st.sampled_from(
    [
        b"",
        b"Content-Type: text/plain; charset=utf-8\r\n",
        b"Content-type: TEXT/html;\r\n charset=iso-8859-1\r\n",
        b"Content-Type: application/octet-stream\r\n",
        b"Content-Type: image/png; name=\r\n\tx.png\r\n",
        b"Content-Type: nonsense\r\n",
    ]
)
OTHERS = st.sampled_from([b"", b"Subject: kept  as\r\n\tit is\r\n", b"X-Empty:\r\nDate: now\r\n"])


@st.composite
def leaves(draw: st.DrawFn) -> bytes:
    header = draw(OTHERS) + draw(TYPES)
    encoding = draw(st.sampled_from(["", "7bit", "8BIT", "binary", "Base64", "quoted-printable"]))
    if encoding:
        header += f"Content-transfer-encoding:  {encoding}\r\n".encode()
    header += draw(OTHERS)
    if encoding != "Base64":
        return header + b"\r\n" + draw(TEXTS)
    octets = draw(st.binary(max_size=80)) * draw(st.sampled_from([1, 40]))
    text = base64.b64encode(octets)
    width = draw(st.sampled_from([76, 75, 2000]))
    cut = [text[at : at + width] for at in range(0, len(text), width)]
    stray = draw(st.sampled_from([b"", b"", b"\0", b"\xe9!"]))
    return header + b"\r\n" + (stray + b"\r\n").join(cut) + draw(st.sampled_from([b"", b"\n"]))


@st.composite
def entities(draw: st.DrawFn, inward: bool, depth: int = 0) -> bytes:
    """A message or part; a boundary begins with the next one inward, or the other way round."""
    kind = draw(st.sampled_from(["leaf", "multipart", "message"])) if depth < 4 else "leaf"
    if kind == "leaf":
        return draw(leaves())
    header = draw(OTHERS) + draw(st.sampled_from([b"", RAW, RAW.replace(b"8bit", b"binary")]))
    inside = entities(inward=inward, depth=depth + 1)
    if kind == "message":
        return header + b"Content-Type: message/rfc822\r\n\r\n" + draw(inside)
    boundary = b"=_b" + b"0" * (depth if inward else 4 - depth)
    parameter = draw(
        st.sampled_from(
            [b'boundary="%s"', b'x=y;\r\n BOUNDARY = "%s"', b"boundary*0=%s; boundary*1=''"]
        )
    )
    if parameter.startswith(b"boundary*"):
        value = b"boundary*=us-ascii''" + boundary.replace(b"=", b"%3D")
    else:
        value = parameter % boundary
    subtype = draw(st.sampled_from([b"mixed", b"alternative", b"digest"]))
    parts = draw(st.lists(inside, min_size=1, max_size=3))
    if subtype == b"digest":
        # Its parts are messages without saying so.
        parts = [b"\r\n" + each for each in parts]
    padding = draw(st.sampled_from([b"", b" \t"]))
    delimiter = b"--" + boundary
    return (
        header
        + (b"Content-Type: multipart/" + subtype + b"; " + value + b"\r\n\r\n")
        + draw(HARMLESS)
        + b"".join(delimiter + padding + b"\r\n" + each + b"\r\n" for each in parts)
        + draw(st.sampled_from([delimiter + b"--", b"", delimiter + b"--" + padding + b"\r\nend"]))
        + draw(st.sampled_from([b"", b"\r\n"]))
    )


MESSAGES = st.booleans().flatmap(lambda inward: entities(inward=inward))


def raw(entity: Message) -> bytes:
    """Return the octets of the leaf ENTITY, not decoded."""
    return str(entity.__dict__["_payload"]).encode("ascii", "surrogateescape")


def headers(entity: Message) -> list[tuple[str, str]]:
    return [(name, str(value)) for name, value in entity.raw_items()]


def check(before: Message, after: Message, eight_bit: bool) -> None:
    """Fail if AFTER is not what BEFORE says, with only what was needed changed."""
    added = {"mime-version", "content-type"} - {name.lower() for name in before}
    changing = {"content-transfer-encoding", *added}
    assert [h for h in headers(after) if h[0].lower() not in changing] == [
        h for h in headers(before) if h[0].lower() not in changing
    ]
    assert after.get_content_type() == before.get_content_type()
    assert (after.preamble, after.epilogue) == (before.preamble, before.epilogue)
    assert after.is_multipart() == before.is_multipart()
    if before.is_multipart():
        ours, theirs = after.get_payload(), before.get_payload()
        assert isinstance(ours, list)
        assert isinstance(theirs, list)
        assert len(ours) == len(theirs)
        for inner, outer in zip(theirs, ours, strict=True):
            check(inner, outer, eight_bit)
        return
    assert after.get_payload(decode=True) == before.get_payload(decode=True)
    if not needy(raw(before), eight_bit):
        assert (headers(after), raw(after)) == (headers(before), raw(before))
    else:
        assert after["content-transfer-encoding"].lower() in ("base64", "quoted-printable")
        assert max(map(len, raw(after).split(b"\r\n"))) <= 76


@settings(deadline=None, max_examples=200)
@given(MESSAGES, st.booleans(), st.sampled_from([3, 100, 65536]))
def test_email_finds_what_it_found_before(message: bytes, eight_bit: bool, block: int) -> None:
    with mock.patch.object(transfer, "BLOCK", block):
        done = run(message, eight_bit)
    wire = b"".join(crlf([message]))
    check(message_from_bytes(wire), message_from_bytes(done), eight_bit)
    if not needy(wire, eight_bit):
        assert done == wire
    assert run(done, eight_bit) == done


@settings(deadline=None, max_examples=50)
@given(MESSAGES, st.booleans(), st.lists(st.integers(0, 500), max_size=5))
def test_how_the_content_is_cut_changes_nothing(
    message: bytes, eight_bit: bool, cuts: list[int]
) -> None:
    places = sorted(min(cut, len(message)) for cut in cuts)
    pieces = [message[a:b] for a, b in zip([0, *places], [*places, len(message)], strict=True)]
    octets = [bytes([octet]) for octet in message]
    whole = run(message, eight_bit)
    with mock.patch.object(transfer, "BLOCK", 50):
        small = run(message, eight_bit)
        for chunks in (pieces, octets):
            assert b"".join(reencoded(lambda c=chunks: c, eight_bit)()) == small  # type: ignore[misc]
    for chunks in (pieces, octets):
        assert b"".join(reencoded(lambda c=chunks: c, eight_bit)()) == whole  # type: ignore[misc]


JUNK = st.lists(
    st.sampled_from(
        [
            *(
                b"\r\n",
                b"\n",
                b"\r",
                b"--b",
                b"--",
                b"-",
                b" ",
                b"\t",
                b":",
                b";",
                b"=",
                b"*",
                b'"',
            ),
            *(b"'", b"\0", b"\xff", b"b", LONG, b"Content-Type: ", b"multipart/mixed; boundary=b"),
            *(
                b"message/rfc822",
                b"boundary*0",
                b"boundary*1*",
                b"boundary*",
                b"multipart/",
                b"%0D",
            ),
            *(
                b"Content-Transfer-Encoding: ",
                b"base64",
                b"binary",
                b"(",
                b")",
                b"us-ascii''",
                b"A",
            ),
        ]
    ),
    max_size=30,
).map(b"".join)


@settings(deadline=None, max_examples=500)
@given(JUNK, st.booleans())
def test_junk_obeys_the_rules_or_is_refused(message: bytes, eight_bit: bool) -> None:
    try:
        run(message, eight_bit)
    except MessageError as error:
        told = error.text
    else:
        told = "Nothing."
    assert told.isprintable()
    assert told.endswith(".")


# What is written


def test_text_becomes_quoted_printable() -> None:
    body = (
        "Größe \r\n.\r\n.dot\r\n--\r\nFrom here\r\ntab\t\r\n1=2\r\n\r\n".encode()
        + b"x" * 80
        + b"\r\n"
    )
    header = b"Subject: kept  as\r\n\tit is"
    types = b"MIME-Version: 1.0\r\nContent-Type: TEXT/plain; charset=utf-8"
    assert run(part(header, types, body=body)) == part(
        header,
        types,
        b"Content-Transfer-Encoding: quoted-printable",
        body=b"Gr=C3=B6=C3=9Fe=20\r\n=2E\r\n=2Edot\r\n=2D-\r\n=46rom here\r\n"
        + b"tab=09\r\n1=3D2\r\n\r\n"
        + b"x" * 73
        + b"=\r\n"
        + b"x" * 7
        + b"\r\n",
    )


def test_a_soft_break_makes_no_delimiter() -> None:
    done = run(multipart(part(body=b"x" * 146 + b"--b\r\n" + LONG)))
    assert done.count(b"\r\n--b") == done.count(b"\r\n--b\r\n") + done.count(b"\r\n--b--") == 2
    assert b"x=\r\n=2D-b\r\n" in done


def test_other_parts_become_base64() -> None:
    octets = bytes(range(14, 256)) + b"\0"
    done = run(multipart(part(b"Content-Type: image/png", RAW.strip(), body=octets)))
    text = base64.b64encode(octets)
    lines = b"\r\n".join(text[at : at + 76] for at in range(0, len(text), 76))
    encoded = part(b"Content-Type: image/png", b"Content-Transfer-Encoding: base64", body=lines)
    assert done == multipart(encoded)


@pytest.mark.parametrize(
    ("encoding", "body", "expected"),
    [
        (b"base64", b"QUJD" * 300, (b"QUJD" * 19 + b"\r\n") * 15 + b"QUJD" * 15),
        (b"base64", b"QU\0J\xe9D!\r\n QQ=\r\n=\r\n", b"QUJDQQ=="),
        (b"quoted-printable", b"soft=\r\ncaf\xe9 =3D=3d =\r\n", b"soft=\r\ncaf=E9 =3D=3d =\r\n"),
        (b"quoted-printable", b"== =x =", b"== =x ="),
        (b"quoted-printable", b"padded= \t\r\nsoft \0= ", b"padded= \t\r\nsoft =00= "),
        (b"quoted-printable", b"== =x \0=", b"=3D =3Dx =00="),
        (b"quoted-printable", b"x" * 72 + b"=3D" * 400, None),
    ],
)
def test_what_is_encoded_is_wrapped_anew(
    encoding: bytes, body: bytes, expected: bytes | None
) -> None:
    header = (b"Content-transfer-encoding: " + encoding, b"X: y")
    done = run(multipart(part(*header, body=body)))
    if expected is None:
        assert b"x" * 72 + b"=\r\n=3D=3D" in done
    else:
        assert done == multipart(part(*header, body=expected))


def test_its_label_is_replaced_in_place() -> None:
    folded = b"content-transfer-encoding:\r\n 8bit"
    done = run(part(b"MIME-Version: 1.0", b"Content-Type: a/b", folded, b"X: y", body=b"\xe9"))
    assert done == part(
        b"MIME-Version: 1.0",
        b"Content-Type: a/b",
        b"content-transfer-encoding: base64",
        b"X: y",
        body=b"6Q0K\r\n",
    )


@pytest.mark.parametrize(
    ("header", "octets", "expected"),
    [
        (
            [b"A: b"],
            b"\xc3\xa9",
            [b"MIME-Version: 1.0", b"Content-Type: text/plain; charset=utf-8"],
        ),
        ([], b"\xe9", [b"MIME-Version: 1.0", b"Content-Type: text/plain; charset=unknown-8bit"]),
        ([b"mime-version: 1.0"], LONG, [b"Content-Type: text/plain; charset=utf-8"]),
        ([b"Content-Type: text/x"], b"\xe9", [b"MIME-Version: 1.0"]),
    ],
)
def test_a_message_gets_the_headers_of_mime(
    header: list[bytes], octets: bytes, expected: list[bytes]
) -> None:
    label = b"Content-Transfer-Encoding: quoted-printable"
    done = run(part(*header, body=octets))
    assert done.startswith(part(*header, *expected, label, body=b""))
    inner = run(part(b"Content-Type: message/rfc822", body=part(*header, body=octets)))
    assert inner == part(b"Content-Type: message/rfc822", body=done)
    # A part is no message: only its encoding is new.
    assert run(multipart(part(*header, body=octets))).startswith(
        multipart(part(*header, label, body=b""))[: -len(b"\r\n--b--\r\n")]
    )


def test_a_body_without_header_gets_one() -> None:
    done = run(b"Caf\xc3\xa9 \xc3\xa0 huit\r\nX: y\r\n")
    assert done.endswith(b"printable\r\n\r\nCaf=C3=A9 =C3=A0 huit\r\nX: y\r\n")
    assert run(b"A: b\r\nno header\xe9\r\n").endswith(b"\r\n\r\nno header=E9\r\n")
    assert run(b"x" * 5000).endswith(
        b"\r\n\r\n" + (b"x" * 73 + b"=\r\n") * 68 + b"x" * 36 + b"\r\n"
    )
    assert run(b"From me today\r\nA: b\r\n\r\n\xe9").startswith(b"From me today\r\nA: b\r\nMIME")
    assert run(b"") == b""


@pytest.mark.parametrize(
    ("label", "other", "eight_bit", "expected"),
    [
        (b"8bit", b"ascii", False, b"7bit"),
        (b"BINARY", b"ascii", True, b"7bit"),
        (b"8bit", b"\xe9", False, b"7bit"),
        (b"8bit", b"\xe9", True, b"8bit"),
        (b"binary", b"\xe9", True, b"8bit"),
        (b"7bit", b"\xe9", True, b"7bit"),
    ],
)
def test_what_is_around_says_what_is_inside(
    label: bytes, other: bytes, eight_bit: bool, expected: bytes
) -> None:
    field = b"Content-Transfer-Encoding: "
    inside = multipart(part(body=LONG), part(body=other)).replace(
        b"\r\n\r\n", b"\r\n" + field + label + b"\r\n\r\n", 1
    )
    done = run(part(field + label, b"Content-Type: message/rfc822", body=inside), eight_bit)
    assert re.findall(field + b"([78]bit)\r\n", done) == [expected, expected]


def test_a_header_that_stays_8bit_is_told_around() -> None:
    label = b"Content-Transfer-Encoding: binary"
    inside = part(b"Subject: \xc3\xa9", b"MIME-Version: 1.0", b"Content-Type: a/b", body=LONG)
    done = run(part(b"Content-Type: message/global", label, body=inside), True)
    assert done.startswith(
        part(b"Content-Type: message/global", label.replace(b"binary", b"8bit"), body=b"")
    )


def test_what_needs_nothing_says_what_it_said() -> None:
    message = part(
        RAW.strip(), b"Content-Type: message/rfc822", body=part(RAW.strip(), body=b"x\r\n")
    )
    assert run(message) == message


# Where the parts are


def test_an_outer_delimiter_ends_all_inside() -> None:
    inner = part(
        b'Content-Type: multipart/alternative; boundary="b-inner"', body=b"--b-inner\r\n\r\n\xe9"
    )
    done = run(multipart(inner, part(body=b"--b-inner\r\nleft\r\n")))
    assert done == multipart(
        inner.replace(
            b"\r\n\r\n\xe9", b"\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=E9"
        ),
        part(body=b"--b-inner\r\nleft\r\n"),
    )


def test_a_delimiter_that_looks_like_a_header_is_one() -> None:
    label = b"Content-Transfer-Encoding: "
    first = b"--b:c\r\n" + label + b"base64\r\n--b:c\r\n"
    header = b'Content-Type: multipart/mixed; boundary="b:c"'
    done = run(part(header, body=first + b"\r\n\xe9"))
    assert done == part(header, body=first + label + b"quoted-printable\r\n\r\n=E9\r\n")


def test_after_the_last_delimiter_there_are_no_parts() -> None:
    message = multipart(part(body=b"\xe9")) + b"--b\r\n\r\nleft\r\n"
    assert run(message).endswith(b"=E9\r\n--b--\r\n--b\r\n\r\nleft\r\n")
    with pytest.raises(MessageError, match="before, between or after"):
        reencoded(lambda: [message.replace(b"left", b"\xe9")], False)


def test_an_encoded_message_is_a_leaf() -> None:
    header = (b"Content-Type: message/global", b"Content-Transfer-Encoding: base64")
    done = run(multipart(part(*header, body=b"QUJD" * 300)))
    assert done.startswith(multipart(part(*header, body=b"QUJD" * 19))[: -len(b"\r\n--b--\r\n")])


def test_the_missing_last_delimiter_takes_its_line_end() -> None:
    message = multipart(part(b"Content-Type: a/b", body=b"\0")).removesuffix(b"--b--\r\n")
    assert run(message).endswith(b"base64\r\n\r\nAA==\r\n")


def nested(depth: int, inside: bytes) -> bytes:
    """Return INSIDE in DEPTH messages."""
    return part(b"Content-Type: message/rfc822", body=b"") * depth + inside


def test_nesting_has_a_limit() -> None:
    assert run(nested(NESTING_LIMIT - 1, b"A: b\r\n\r\n\xe9")).endswith(b"\r\n\r\n=E9\r\n")
    with pytest.raises(MessageError, match="nested over 100 deep"):
        reencoded(lambda: [nested(NESTING_LIMIT, b"A: b\r\n\r\nx")], True)


def test_the_number_of_parts_has_a_limit() -> None:
    run(multipart(*[b"\r\n\xe9"] * (PARTS_LIMIT - 1)))
    with pytest.raises(MessageError, match="over 10000 parts"):
        reencoded(lambda: [multipart(*[b"\r\nx"] * PARTS_LIMIT)], True)


# What is refused


SIGNED = multipart(part(body=b"\xe9"), kind=b"signed")
SEALS = ["DKIM-Signature", "arc-seal", "ARC-Message-Signature", "ARC-Authentication-Results"]


@pytest.mark.parametrize(
    ("message", "eight_bit", "words"),
    [
        (SIGNED, False, "can't be encoded: it would break the multipart/signed"),
        (multipart(part(body=LONG), kind=b"SIGNED (so)"), True, "multipart/signed"),
        (multipart(nested(1, SIGNED), kind=b"digest"), False, "multipart/signed"),
        (SIGNED.replace(b"signed", b"encrypted"), False, "multipart/encrypted"),
        (multipart(nested(1, part(body=b"\xe9")), kind=b"signed"), False, "multipart/signed"),
        *(
            (part(seal.encode() + b": v=1", body=b"\xe9"), False, "DKIM or ARC signature")
            for seal in SEALS
        ),
        (nested(2, part(b"ARC-Seal: i=1", body=b"\xe9")), False, "DKIM or ARC signature"),
        (part(b"A: \0", body=b""), True, "The header of the message has a NUL"),
        (part(b"A: \xc3\xa9", body=b""), False, "does not take: write them as encoded-words"),
        (part(b"A: " + LONG, body=b""), True, "The field A of the message has a line over 998"),
        (part(b"B: x", b"A: x,", b" " + LONG * 100, body=b""), True, "The field A of the message"),
        (part(b"B: x", b"A: " + LONG * 9000, body=b""), True, "The field A of the message"),
        (part(*[b"A: b" * 200] * 1400, body=b""), True, "A header of the message is over"),
        (
            multipart(part(b"A: \0", body=b"")),
            True,
            "The header of a part of the message has a NUL",
        ),
        (
            multipart(part(b"A: \xe9", body=b"")),
            False,
            "header of a part of the message has octets",
        ),
        (part(b"Content-Type: message/partial", body=b"\xe9"), False, "message/partial may not"),
        (
            part(b"Content-Type: message/external-body", body=LONG),
            True,
            "message/external-body may",
        ),
        (
            part(b"Content-Type: message/partial", b"Content-Transfer-Encoding: base64", body=LONG),
            True,
            "message/partial may not",
        ),
        (
            part(b"Content-Transfer-Encoding: X-UUencode (old)", body=LONG),
            True,
            "its encoding, x-uuencode, is unknown",
        ),
        (part(b"Content-Transfer-Encoding: (old) base64", body=LONG), True, "is unknown"),
        (multipart().replace(b"--b--", b"\xe9\r\n--b--"), False, "before, between or after"),
        (multipart(b"") + LONG, True, "before, between or after"),
        (
            multipart(b"").replace(b"--b\r", b"--b" + b" " * 999 + b"\r"),
            True,
            "has a line over 998",
        ),
        (multipart(b"", b"").replace(b"--b\r", b"--b" + b" " * 99999), True, "delimiter in the"),
        (part(b"Content-Type: multipart/mixed", body=b"--b\r\n\r\n\xe9"), False, "usable boundary"),
        (part(b"Content-Type: multipart/x; boundary*0=a; boundary*=b", body=b""), True, "be read"),
    ],
)
def test_it_is_refused_with_the_reason(message: bytes, eight_bit: bool, words: str) -> None:
    with pytest.raises(MessageError) as caught:
        reencoded(lambda: [message], eight_bit)
    assert words in caught.value.text


@pytest.mark.parametrize(
    "message",
    [
        multipart(part(body=b"ascii"), kind=b"signed"),
        part(b"DKIM-Signature: v=1", body=b"ascii\r\n"),
        part(b"Content-Type: message/partial", body=b"ascii\r\n"),
        part(b"Content-Transfer-Encoding: x-uuencode", body=b"begin 644 x\r\nend\r\n"),
        part(b"Content-Type: multipart/mixed", body=b"ascii\r\n"),
    ],
)
def test_it_is_not_refused_where_nothing_is_to_do(message: bytes) -> None:
    assert run(message) == message


def test_what_is_beside_the_signed_part_is_encoded() -> None:
    signed = multipart(part(body=b"ascii"), kind=b"signed").replace(b"=b", b"=c")
    signed = signed.replace(b"--b", b"--c")
    assert signed in run(multipart(signed, part(body=b"\xe9")))


def test_a_message_that_changes_meanwhile_is_noticed() -> None:
    versions = iter([b"\xe9", multipart(part(body=b"x"))])
    content = reencoded(lambda: [next(versions)], False)
    with pytest.raises(MessageError, match="has changed while"):
        list(content())


# What it costs


MEMORY = 4_000_000
"""Octets: what is held are some blocks of 64 KB, and one header."""


def repeated(header: bytes, piece: bytes, octets: int) -> Content:
    def content() -> Iterator[bytes]:
        yield header
        for _ in range(octets // len(piece)):
            yield piece

    return content


@pytest.mark.parametrize(
    ("content", "least"),
    [
        (repeated(part(b"Content-Type: a/b", body=b""), b"\xe9" * 65535 + b"\n", 50_000_000), 66e6),
        (repeated(b"A: b\n\n", b"x" * 65000, 20_000_000), 20e6),
        (repeated(b"", b"x" * 65000, 20_000_000), 20e6),
        (repeated(SIGNED[:40] + b"\r\n\r\n--b\r\n\r\n", b"ascii\r\n" * 9000, 50_000_000), 49e6),
    ],
    ids=["a large part", "one line", "no header", "passed through"],
)
def test_memory_is_bounded(content: Content, least: float) -> None:
    tracemalloc.start()
    try:
        size = sum(map(len, reencoded(content, False)()))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size >= least
    assert peak < MEMORY


def test_one_huge_chunk_is_not_copied_whole() -> None:
    chunk = b"x" * 20_000_000
    tracemalloc.start()
    try:
        sum(map(len, reencoded(lambda: [chunk], False)()))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < MEMORY

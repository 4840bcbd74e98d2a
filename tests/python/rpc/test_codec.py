"""The closed grammar: what Python reads and writes, Emacs reads and writes the same."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smtps.errors import WireError
from smtps.rpc import codec
from smtps.rpc.codec import Keyword, Symbol, Value, plist
from smtps.rpc.framing import Lines

WIRE = Path(__file__).parents[2] / "wire"
ELISP = Path(__file__).parents[3] / "elisp"
ECHO = Path(__file__).parents[2] / "elisp" / "smtps-wire-echo.el"

EMACS_SECONDS = 30
"""Far more than Emacs needs to start, or for any one answer."""


def lines(name: str) -> list[str]:
    return (WIRE / name).read_text("utf-8").split("\n")[:-1]


def described(value: object) -> Value:
    """The value that a golden frame's description tells, which is JSON."""
    match value:
        case None:
            return []
        case list():
            return [described(inner) for inner in value]
        case {"symbol": str(name)}:
            return Symbol(name)
        case {"keyword": str(name)}:
            return Keyword(name)
        case str() | int():
            return value
    raise AssertionError(value)


names = st.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True)
symbols = names.filter(lambda name: name not in ("t", "nil", "nan", "inf", "infinity"))
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
controls = st.text(
    st.sampled_from('\x00\x07\b\t\n\f\r\x1b\x7f\x80\x9f\xa0\\"01afnu%;')
    | st.characters(codec="utf-8"),
    max_size=20,
)
atoms = st.one_of(
    texts,
    controls,
    st.integers(codec.FIXNUM_MIN, codec.FIXNUM_MAX),
    st.just(True),
    symbols.map(Symbol),
    names.map(Keyword),
)
values: st.SearchStrategy[Value] = st.recursive(
    atoms, lambda inner: st.lists(inner, max_size=4), max_leaves=12
)


def same(one: Value, other: Value) -> bool:
    """Equality that tells 1 from True and a symbol from a string."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


GOOD = lines("good.txt")


@pytest.mark.parametrize(("frame", "told"), list(zip(GOOD[::2], GOOD[1::2], strict=True)))
def test_golden_frame_is_read_as_described_and_printed_the_same(frame: str, told: str) -> None:
    assert same(codec.loads(frame), described(json.loads(told)))
    assert codec.dumps(codec.loads(frame)) == frame


@pytest.mark.parametrize("line", lines("bad.txt"))
def test_frame_outside_the_grammar_is_refused(line: str) -> None:
    octets = unquote_to_bytes(line)
    with pytest.raises((WireError, UnicodeDecodeError)):
        codec.loads(octets.decode("utf-8"))


@given(values)
def test_values_survive(value: Value) -> None:
    text = codec.dumps(value)
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in text)
    assert same(codec.loads(text), value)


@given(st.text(max_size=60) | st.text(st.sampled_from('() "\\nrtbfu01:-ainft'), max_size=30))
def test_any_text_is_read_as_it_would_be_printed_or_refused_by_name(text: str) -> None:
    try:
        value = codec.loads(text)
    except WireError:
        return
    assert same(codec.loads(codec.dumps(value)), value)


@pytest.mark.parametrize(
    "value",
    [
        b"bytes",
        bytearray(b"bytes"),
        1.5,
        float("nan"),
        "\ud800",
        {1},
        {1: "key"},
        {"Key": 1},
        codec.FIXNUM_MAX + 1,
        codec.FIXNUM_MIN - 1,
        Symbol("A"),
        Symbol("a b"),
        Symbol(""),
        Symbol("a\n"),
        Symbol("t"),
        Symbol("nil"),
        Symbol("inf"),
        Symbol(":a"),
        Keyword(":a"),
        "x" * 70000,
        "é" * 33000,
        object(),
    ],
)
def test_value_outside_the_grammar_is_refused_where_it_is_made(value: Value) -> None:
    with pytest.raises(WireError):
        codec.dumps(value)


def test_a_line_is_at_most_64_kilobytes_with_its_lf() -> None:
    most = "x" * (codec.LINE_LIMIT - 3)
    assert codec.loads(codec.dumps(most)) == most
    with pytest.raises(WireError):
        codec.dumps(most + "x")
    with pytest.raises(WireError):
        codec.loads('"' + most + 'x"')


def test_no_value_is_nil_whatever_python_calls_it() -> None:
    assert codec.dumps([None, False, [], (), {}]) == "(nil nil nil nil nil)"


def test_a_dictionary_is_a_plist_and_back() -> None:
    text = codec.dumps({"ca_file": None, "seq": 1, "inner": {"a": "b"}})
    assert text == '(:ca-file nil :seq 1 :inner (:a "b"))'
    assert plist(codec.loads(text)) == {"ca-file": [], "seq": 1, "inner": [Keyword("a"), "b"]}


@pytest.mark.parametrize("text", ["a", "(:a)", "(a 1)", '("a" 1)', "(:a 1 :a 2)", "t"])
def test_what_is_no_plist_is_refused(text: str) -> None:
    with pytest.raises(WireError):
        plist(codec.loads(text))


def test_depth_is_limited() -> None:
    value: Value = Symbol("deep")
    for _ in range(16):
        value = [value]
    assert same(codec.loads(codec.dumps(value)), value)
    with pytest.raises(WireError):
        codec.dumps([value])


@given(st.lists(st.binary(max_size=20).filter(lambda b: b"\n" not in b)), st.data())
def test_lines_do_not_depend_on_how_they_arrive(whole: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(line + b"\n" for line in whole)
    framing = Lines()
    found = []
    while stream:
        cut = data.draw(st.integers(1, len(stream)))
        found += framing.feed(stream[:cut])
        stream = stream[cut:]
    assert found == whole


@pytest.mark.parametrize("size", [1, 10000, 65536, 200000])
def test_an_endless_line_is_dropped_and_the_next_one_read(size: int) -> None:
    framing = Lines()
    stream = b"x" * 200000 + b"\nnext\n"
    found: list[bytes | WireError] = []
    for start in range(0, len(stream), size):
        found += framing.feed(stream[start : start + size])
        assert len(framing._buffer) < codec.LINE_LIMIT
    assert len(found) == 2
    assert isinstance(found[0], WireError)
    assert found[1] == b"next"


def test_the_longest_line_is_whole() -> None:
    longest = b"x" * (codec.LINE_LIMIT - 1)
    assert Lines().feed(longest + b"\n") == [longest]


class Emacs:
    """A batch Emacs that reads each line with `smtps-wire-read` and prints it back."""

    def __init__(self, directory: Path) -> None:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(directory / "echo"))
            listening.listen()
            listening.settimeout(EMACS_SECONDS)
            self.process = subprocess.Popen(
                ["emacs", "-Q", "--batch", "-L", ELISP, "-l", ECHO, directory / "echo"],
                env={"HOME": str(directory), "PATH": "/usr/local/bin:/usr/bin:/bin"},
                stdin=subprocess.DEVNULL,
            )
            self.socket = listening.accept()[0]
        self.socket.settimeout(EMACS_SECONDS)
        self.answers = self.socket.makefile("rb")

    def say(self, octets: bytes) -> bytes:
        """Send OCTETS as one line and return the line that comes back."""
        self.socket.sendall(octets + b"\n")
        return self.answers.readline().removesuffix(b"\n")

    def close(self) -> None:
        self.answers.close()
        self.socket.close()
        try:
            self.process.wait(EMACS_SECONDS)
        finally:
            self.process.kill()


@pytest.fixture(scope="module")
def emacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emacs]:
    if shutil.which("emacs") is None:
        pytest.skip("Emacs is not installed")
    emacs = Emacs(tmp_path_factory.mktemp("emacs"))
    yield emacs
    emacs.close()


in_emacs = settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@in_emacs
@given(values)
def test_values_go_to_emacs_and_back_unchanged(emacs: Emacs, value: Value) -> None:
    text = codec.dumps(value)
    back = emacs.say(text.encode()).decode("utf-8")
    assert back == text
    assert same(codec.loads(back), value)


@in_emacs
@given(
    st.text(st.sampled_from('() "\\nrtbfu0178ae:-inft'), max_size=30)
    | st.text(st.characters(codec="utf-8"), max_size=20)
    | st.binary(max_size=20).map(lambda octets: octets.decode("latin-1"))
)
def test_emacs_and_python_refuse_the_same(emacs: Emacs, text: str) -> None:
    text = text.replace("\n", "")
    try:
        expected = codec.dumps(codec.loads(text))
    except WireError:
        expected = "refused"
    assert emacs.say(text.encode()).decode("utf-8") == expected


def test_every_unicode_scalar_goes_to_emacs_and_back(emacs: Emacs) -> None:
    scalars = [*range(0xD800), *range(0xE000, 0x110000)]
    step = 8000
    for start in range(0, len(scalars), step):
        value = "".join(map(chr, scalars[start : start + step]))
        text = codec.dumps(value)
        assert emacs.say(text.encode()).decode("utf-8") == text
        assert codec.loads(text) == value

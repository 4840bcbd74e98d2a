"""The closed grammar: what Python reads and writes, Emacs reads and writes the same."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smtps.errors import WireError
from smtps.rpc import codec
from smtps.rpc.codec import Keyword, Symbol, Value
from smtps.rpc.framing import Lines

WIRE = Path(__file__).parents[2] / "wire"
ELISP = Path(__file__).parents[3] / "elisp"


def lines(name: str) -> list[str]:
    return (WIRE / name).read_text("utf-8").split("\n")[:-1]


names = st.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True).filter(
    lambda name: name not in ("t", "nil")
)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
atoms = st.one_of(
    texts,
    st.integers(codec.FIXNUM_MIN, codec.FIXNUM_MAX),
    st.just(True),
    names.map(Symbol),
    names.map(Keyword),
)
values: st.SearchStrategy[Value] = st.recursive(
    atoms, lambda inner: st.lists(inner, max_size=4), max_leaves=12
)


def same(one: Value, other: Value) -> bool:
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


@pytest.mark.parametrize("line", lines("good.txt"))
def test_golden_frame_is_read_and_printed_the_same(line: str) -> None:
    assert codec.dumps(codec.loads(line)) == line


@pytest.mark.parametrize("line", lines("bad.txt"))
def test_frame_outside_the_grammar_is_refused(line: str) -> None:
    with pytest.raises(WireError):
        codec.loads(line)


@given(values)
def test_values_survive(value: Value) -> None:
    text = codec.dumps(value)
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in text)
    assert same(codec.loads(text), value)


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused_by_name(text: str) -> None:
    try:
        codec.loads(text)
    except WireError:
        return


@pytest.mark.parametrize(
    "value",
    [b"bytes", 1.5, "\ud800", {1}, codec.FIXNUM_MAX + 1, Symbol("A"), Symbol("a b"), "x" * 70000],
)
def test_value_outside_the_grammar_is_refused_where_it_is_made(value: Value) -> None:
    with pytest.raises(WireError):
        codec.dumps(value)


def test_depth_is_limited() -> None:
    value: Value = []
    for _ in range(17):
        value = [value]
    with pytest.raises(WireError):
        codec.dumps(value)


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


def test_an_endless_line_is_dropped_and_the_next_one_read() -> None:
    framing = Lines()
    found: list[bytes | WireError] = []
    for _ in range(100):
        found += framing.feed(b"x" * 10000)
    found += framing.feed(b"\nnext\n")
    assert len(found) == 2
    assert isinstance(found[0], WireError)
    assert found[1] == b"next"


@settings(max_examples=1, deadline=None)
@given(st.lists(values, min_size=150, max_size=150))
def test_values_go_to_emacs_and_back_unchanged(many: list[Value]) -> None:
    program = (
        "(let ((coding-system-for-read 'utf-8-unix) line)"
        " (set-terminal-coding-system 'utf-8-unix) (setq locale-coding-system 'utf-8-unix)"
        ' (while (setq line (ignore-errors (read-from-minibuffer "")))'
        '  (princ (concat (smtps-wire-print (smtps-wire-read line)) "\\n"))))'
    )
    done = subprocess.run(
        ["emacs", "-Q", "--batch", "-L", str(ELISP), "-l", "smtps-wire", "--eval", program],
        input="".join(codec.dumps(value) + "\n" for value in many).encode(),
        capture_output=True,
        timeout=60,
        check=True,
    )
    back = done.stdout.decode("utf-8").split("\n")[:-1]
    assert len(back) == len(many)
    for text, value in zip(back, many, strict=True):
        assert same(codec.loads(text), value)

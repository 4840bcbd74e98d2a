"""Address lists: what is in them comes out, and what is none is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtps.errors import AddressError
from smtps.protocol.mailboxes import addresses

GOOD = [
    ("ann@x", ["ann@x"]),
    (" ann@x , bob@y ", ["ann@x", "bob@y"]),
    ("Ann <ann@x>, Bob B. <bob@y>", ["ann@x", "bob@y"]),
    ('"Doe, Ann" <ann@x>', ["ann@x"]),
    ('"a b"@x', ['"a b"@x']),
    ('Ann <"a>b"@x>', ['"a>b"@x']),
    ("ann@x (Ann (the first) \\) Doe), bob@y", ["ann@x", "bob@y"]),
    ("(c) ann@x", ["ann@x"]),
    ("friends: ann@x, Bob <bob@y>; , eve@z", ["ann@x", "bob@y", "eve@z"]),
    ("undisclosed-recipients:;", []),
    ("=?utf-8?q?J=C3=BCrg?= <j@x>", ["j@x"]),
    ("Jürg <j@x>", ["j@x"]),
    ("ann@[IPv6:::1]", ["ann@[IPv6:::1]"]),
    ("root", ["root"]),
    ("<ann@x>,,", ["ann@x"]),
    ("", []),
    (",", []),
]

BAD = [
    "<ann@x> NOTIFY=NEVER",
    "ann@x NOTIFY=NEVER",
    "ann@x bob@y",
    "<ann@x> <bob@y>",
    "Ann Doe",
    "<ann@x",
    "ann@x>",
    '"ann@x',
    "ann@x (",
    "ann@x )",
    "a@[x",
]


@pytest.mark.parametrize(("text", "found"), GOOD)
def test_what_is_in_a_list_comes_out(text: str, found: list[str]) -> None:
    assert addresses(text, "To") == found


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_list_is_refused(text: str) -> None:
    with pytest.raises(AddressError, match=r"^To "):
        addresses(text, "To")


NAMES = st.sampled_from(["", "Ann ", "Ann B. Doe ", '"Doe, <A>; (x)" ', "Jürg ", "(a, b) "])
BARE = st.sampled_from(["ann@x", "b.c+d@example.org", '"q, r"@x', "e@[127.0.0.1]", "ü@müller.de"])


@given(st.lists(st.tuples(NAMES, BARE)), st.sampled_from([",", ", ", " ,\t", ",,"]))
def test_lists_that_were_put_together_come_apart(
    mailboxes: list[tuple[str, str]], between: str
) -> None:
    text = between.join(f"{name}<{address}>" if name else address for name, address in mailboxes)
    assert addresses(text, "To") == [address for _, address in mailboxes]


@given(st.text('ab@<>"\\(),;: [].', max_size=30))
def test_anything_is_a_list_or_refused(text: str) -> None:
    """Nothing raises but AddressError, and no address holds what ends one."""
    try:
        found = addresses(text, "To")
    except AddressError:
        return
    assert all(address == address.strip() for address in found)

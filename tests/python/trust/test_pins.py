"""The files that trust keeps: pins, and what servers offered."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from servers import PYTHON

from smtps.client.account import Account
from smtps.client.trusting import Trust
from smtps.errors import ConfigurationError
from smtps.net.group import group
from smtps.trust import offers, pins

KEY = "sha256//" + "A" * 43 + "="
OTHER = "sha256//" + "B" * 42 + "A="


def test_a_pin_is_kept_and_replaced_and_the_rest_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "pins"
    assert pins.of(path, "mx", 465) == ()
    pins.add(path, "mx", 465, KEY)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_text(path.read_text() + "# mine\n\nother 25 " + OTHER + " # too\n")
    pins.add(path, "MX", 465, OTHER)
    assert pins.of(path, "mX.", 465) == (OTHER,)
    assert pins.of(path, "other", 25) == (OTHER,)
    assert pins.of(path, "mx", 587) == ()
    assert "# mine\n" in path.read_text()


@pytest.mark.parametrize(
    "bad",
    [
        "mx 465",
        "mx x " + KEY,
        "mx 465 sha256//AAAA",
        "mx 465 x y",
        "mx:465 " + KEY,
        f"mx {'4' * 5000} {KEY}",
        "mx 0 " + KEY,
        "mx 65536 " + KEY,
        "*.test 465 " + KEY,
        "m\0x 465 " + KEY,
    ],
)
def test_a_bad_line_is_told_and_never_overlooked(tmp_path: Path, bad: str) -> None:
    path = tmp_path / "pins"
    path.write_text(f"# one\n{bad}\n")
    with pytest.raises(ConfigurationError, match="Line 2 of"):
        pins.of(path, "another", 1)
    with pytest.raises(ConfigurationError):
        pins.add(path, "another", 1, KEY)
    assert path.read_text() == f"# one\n{bad}\n"


def test_a_pin_replaces_the_same_host_s_however_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "pins"
    path.write_text(f"\ufeffMX. 465 {KEY}\n", "utf-8")
    assert pins.of(path, "mx", 465) == (KEY,)
    pins.add(path, "mx", 465, OTHER)
    assert pins.of(path, "mx.", 465) == (OTHER,)


@pytest.mark.parametrize(
    ("written", "named"),
    [
        ("[2001:db8::1]", "2001:db8::1"),
        ("2001:DB8:0:0::1", "2001:db8::1"),
        ("2001:db8::1", "2001:db8:0:0:0:0:0:1"),
        ("fe80::1%lo", "FE80:0::1%lo"),
        ("bücher.test", "xn--bcher-kva.test"),
        ("xn--bcher-kva.test", "BÜCHER.test."),
    ],
)
def test_a_pin_is_not_overlooked_for_its_spelling(tmp_path: Path, written: str, named: str) -> None:
    path = tmp_path / "pins"
    path.write_bytes(f"{written} 465 {KEY}\r\n".encode())
    assert pins.of(path, named, 465) == (KEY,)
    pins.add(path, named, 465, OTHER)
    assert pins.of(path, written, 465) == (OTHER,)


ADD = """
import sys; sys.path.insert(0, sys.argv[1])
from pathlib import Path
from smtps.trust import pins
input()
for number in range(int(sys.argv[4])):
    pins.add(Path(sys.argv[2]), f"{sys.argv[3]}-{number}.test", 465, sys.argv[5])
"""


def test_those_who_pin_at_once_lose_none(tmp_path: Path) -> None:
    path, count, each = tmp_path / "deep" / "pins", 4, 10
    adding = [
        subprocess.Popen(
            [sys.executable, "-I", "-c", ADD, str(PYTHON), str(path), f"mx{n}", str(each), KEY],
            stdin=subprocess.PIPE,
        )
        for n in range(count)
    ]
    for process in adding:
        # None begins before all were started.
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.close()
    assert [process.wait(60) for process in adding] == [0] * count
    for n in range(count):
        for number in range(each):
            assert pins.of(path, f"mx{n}-{number}.test", 465) == (KEY,)
    assert [left.name for left in path.parent.iterdir()] == ["pins"]


def test_a_link_stays_one(tmp_path: Path) -> None:
    path = tmp_path / "pins"
    path.symlink_to(tmp_path / "real")
    with pytest.raises(ConfigurationError, match="link to nowhere"):
        Trust(path).keys(Account("mx", 465, "implicit"))
    pins.add(path, "mx", 465, KEY)
    assert path.is_symlink()
    assert Trust(path).keys(Account("mx", 465, "implicit")) == (KEY,)


def test_pins_that_others_can_write_are_not_used(tmp_path: Path) -> None:
    path = tmp_path / "pins"
    path.write_text(f"mx 465 {KEY}\n")
    for mode in (0o666, 0o660):
        path.chmod(mode)
        with pytest.raises(ConfigurationError, match="can be written by others"):
            pins.of(path, "mx", 465)


@pytest.mark.parametrize("where", ["loop", "file/pins"])
def test_a_file_that_cannot_be_looked_at(tmp_path: Path, where: str) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "file").write_text("")
    trust = Trust(tmp_path / where)
    account = Account("mx", 465, "implicit")
    if where == "loop":
        with pytest.raises(ConfigurationError, match="can't be read"):
            trust.keys(account)
        with pytest.raises(ConfigurationError, match="can't be read"):
            pins.add(tmp_path / where, "mx", 465, KEY)
    else:
        assert trust.keys(account) == ()


def test_two_lines_are_two_keys(tmp_path: Path) -> None:
    path = tmp_path / "pins"
    path.write_text(f"mx 465 {KEY}\nmx 465 {OTHER}\n")
    assert pins.of(path, "mx", 465) == (KEY, OTHER)


def test_it_is_seen_when_a_server_offers_less(tmp_path: Path) -> None:
    path = tmp_path / "offers"
    server = "mx 465 tls"
    assert offers.noted(path, server, ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"]) == []
    assert offers.noted(path, server, ["SCRAM-SHA-1-PLUS", "SCRAM-SHA-1"]) == []
    assert offers.noted(path, "mx 587 tls", ["PLAIN"]) == []
    assert offers.noted(path, server, ["SCRAM-SHA-1"]) == ["SCRAM with channel binding"]
    assert offers.noted(path, server, ["PLAIN"]) == ["SCRAM"]
    # It is told once: the user was warned.
    assert offers.noted(path, server, ["PLAIN"]) == []
    assert offers.noted(path, "mx 25 clear", ["STARTTLS"]) == []
    assert offers.noted(path, "mx 25 clear", []) == ["STARTTLS"]


def test_offers_that_cannot_be_kept_stop_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert offers.noted(tmp_path / "file" / "offers", "mx 1 tls", ["STARTTLS"]) == []
    assert offers.noted(None, "mx 1 tls", ["STARTTLS"]) == []


@given(st.binary(max_size=300))
def test_whatever_a_server_says_first_the_worst_is_no_group(octets: bytes) -> None:
    group(octets)
    group(b"\x16\x03\x03" + len(octets).to_bytes(2) + octets)
    group(b"\x16\x03\x03\x01\x00\x02" + len(octets).to_bytes(3) + octets)

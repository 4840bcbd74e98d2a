"""The rules of the house: who may import whom, and what may lie where."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "python" / "smtps"

ALLOWED = {
    "protocol": set(),
    "sasl": set(),
    "net": set(),
    "trust": {"xdg"},
    "rpc": set(),
    # Words, for whoever shows something; their file is of the wire's form, too.
    "explain": {"rpc.codec"},
    "client": {"protocol", "net", "sasl", "trust", "explain", "xdg"},
    # The outbox's files are lines of the wire's form.
    "outbox": {"client", "protocol", "net", "rpc.codec", "xdg"},
    "sandbox": {"protocol", "sasl"},
}
"""Room to the rooms that it may import, beside itself and the errors."""


def imported(path: Path) -> set[str]:
    """Return what the file at PATH imports of smtps, as ``room.file``."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "smtps" or node.module.startswith("smtps."):
                base = node.module.removeprefix("smtps").removeprefix(".")
                found |= {f"{base}.{alias.name}".strip(".") for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {
                a.name.removeprefix("smtps.") for a in node.names if a.name.startswith("smtps.")
            }
    return found


@pytest.mark.parametrize("room", ALLOWED)
def test_a_room_imports_only_what_it_may(room: str) -> None:
    files = list((PACKAGE / room).glob("*.py"))
    assert files
    for path in files:
        for name in imported(path):
            head = name.split(".")[0]
            allowed = {room, "errors", "VERSION"} | ALLOWED[room]
            assert head in allowed or any(name.startswith(a) for a in allowed if "." in a), (
                path.name,
                name,
            )


def test_only_the_codec_imports_sexpdata() -> None:
    users = [
        path.name
        for path in PACKAGE.rglob("*.py")
        if re.search(r"^\s*(import|from) sexpdata", path.read_text("utf-8"), re.MULTILINE)
    ]
    assert sorted(users) == ["codec.py"]


def test_the_protocol_is_pure() -> None:
    names = [f"smtps.protocol.{path.stem}" for path in (PACKAGE / "protocol").glob("[a-z]*.py")]
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT / 'python')!r}); before = set(sys.modules)\n"
        f"import {', '.join(names)}\n"
        "new = set(sys.modules) - before\n"
        "print(new & {'asyncio', 'socket', 'ssl', 'sexpdata', 'logging', 'subprocess'})"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("leaf", ["errors", "xdg"])
def test_a_leaf_imports_nothing(leaf: str) -> None:
    assert imported(PACKAGE / f"{leaf}.py") == set()


def test_where_a_user_s_files_lie_is_known_in_one_place_a_language() -> None:
    # Two rules would be two places for the pins, or for the outbox.
    asking = {path.name for path in PACKAGE.rglob("*.py") if '"XDG_' in path.read_text("utf-8")}
    assert asking == {"xdg.py"}
    for path in (ROOT / "elisp").glob("*.el"):
        calls = re.findall(r'\(([^ ()]+)\s+"XDG_', path.read_text("utf-8"))
        assert set(calls) <= {"smtps--xdg"}, path.name


def test_a_version_is_told_without_loading_a_verb() -> None:
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT / 'python')!r}); import smtps.cli as c\n"
        "c.main(['--version']); print('argparse' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[1] == "False"


def tracked() -> list[str]:
    return subprocess.run(
        ["git", "-C", str(ROOT), "ls-files"], capture_output=True, text=True, check=True
    ).stdout.splitlines()


def test_the_top_level_holds_what_it_may() -> None:
    top = {name.split("/")[0] for name in tracked()}
    assert {name for name in top if not name.startswith(".")} == {
        "pyproject.toml", "python", "elisp", "tests", "README.org", "LICENSE",
    }  # fmt: skip


def test_no_file_is_named_for_nothing() -> None:
    assert not [name for name in tracked() if re.search(r"util|manager|helpers\b|misc", name)]


@pytest.mark.parametrize("path", sorted((ROOT / "elisp").glob("*.el")), ids=lambda p: p.name)
def test_elisp_is_lexical_and_licensed(path: Path) -> None:
    text = path.read_text("utf-8")
    assert "lexical-binding: t" in text.splitlines()[0]
    assert "SPDX-License-Identifier: GPL-3.0-or-later" in text


@pytest.mark.parametrize(
    "name",
    ["wire", "rpc", "helper", "credentials", "outbox", "afterwork", "message", "mail", "gnus"],
)
def test_the_core_opens_no_window(name: str) -> None:
    text = (ROOT / "elisp" / f"smtps-{name}.el").read_text("utf-8")
    assert not re.search(r"\((pop-to-buffer|switch-to-buffer|display-buffer)\b", text)

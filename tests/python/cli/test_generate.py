"""Completion in the shells themselves, and a man page that man reads."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from servers import PYTHON, Run
from terminal import Terminal

from smtps.cli import VERBS
from smtps.cli.front import parser

SHELLS = {
    "bash": "bash --norc --noprofile",
    "zsh": "zsh -f",
    "fish": "fish --private --no-config",
}
"""How each is begun without its user's files."""

READ = {"zsh": "fpath=(~ $fpath); autoload -U compinit; compinit -u -D"}
"""How a script of completions in the home directory is read, where not by source."""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with the command in ~/bin, and two accounts."""
    command = tmp_path / "bin" / "smtps"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -I {PYTHON} "$@"\n')
    command.chmod(0o755)
    file = tmp_path / ".config" / "smtps" / "accounts.toml"
    file.parent.mkdir(parents=True)
    file.write_text('[work]\nhost = "x.invalid"\n[home]\nhost = "y.invalid"\n')
    return tmp_path


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_completes(smtps: Run, home: Path, shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed: tests/run installs it as root.")
    done = smtps("generate", shell)
    assert (done.returncode, done.stderr) == (0, "")
    queue = ["send", "--queue", "--account", "work", "-f", "a@b.c", "d@e.f"]
    assert smtps(*queue, text="Subject: x\n\nText\n").returncode == 0
    (mail,) = smtps("generate", "mails").stdout.split()
    script = home / "_smtps"
    script.write_text(done.stdout)
    environment = {n: v for n, v in os.environ.items() if not n.startswith("XDG_")} | {
        "HOME": str(home),
        "XDG_DATA_HOME": str(home / "data"),
        "PATH": f"{home}/bin:{os.environ['PATH']}",
    }
    with Terminal(f"cd {home}; {SHELLS[shell]}", environment) as terminal:
        read = READ.get(shell, "source ~/_smtps")
        terminal.enter(f"{read}; echo re''ady", "^ready$")
        terminal.type("smtps out")
        terminal.keys("Tab")
        terminal.until(r"smtps outbox$")
        terminal.type("sho")
        terminal.keys("Tab")
        terminal.until(r"smtps outbox show$")
        terminal.keys("C-u")
        terminal.type("smtps send --acc")
        terminal.keys("Tab")
        if shell == "zsh":
            # It tells what an option does before it takes it.
            terminal.until(r"^--account +-- of accounts\.toml")
            terminal.keys("Tab")
        terminal.until("smtps send --account( |$)")
        terminal.keys("C-u")
        terminal.type("smtps send --account w")
        terminal.keys("Tab")
        terminal.until("smtps send --account work$")
        terminal.keys("C-u")
        terminal.type("smtps send --transcript _sm")
        terminal.keys("Tab")
        terminal.until("smtps send --transcript _smtps$")
        terminal.keys("C-u")
        # A host needs no verb, nor do the options behind it.
        terminal.type("smtps x.inv")
        terminal.keys("Tab")
        terminal.until("smtps x.invalid$")
        terminal.type(" --account w")
        terminal.keys("Tab")
        terminal.until("smtps x.invalid *--account work$")
        terminal.keys("C-u")
        terminal.type("smtps --account ho")
        terminal.keys("Tab")
        terminal.until("smtps --account home$")
        terminal.keys("C-u")
        terminal.type("smtps check y.")
        terminal.keys("Tab")
        terminal.until("smtps check y.invalid$")
        terminal.keys("C-u")
        terminal.type(f"smtps outbox drop {mail[:9]}")
        terminal.keys("Tab")
        terminal.until(f"smtps outbox drop {mail}$")


def test_man_reads_the_page(smtps: Run, tmp_path: Path) -> None:
    if shutil.which("mandoc") is None:
        pytest.skip("mandoc is not installed: tests/run installs it as root.")
    done = smtps("generate", "man")
    assert (done.returncode, done.stderr) == (0, "")
    page = tmp_path / "smtps.1"
    page.write_text(done.stdout)
    words = ["mandoc", "-W", "error", "-T", "ascii", str(page)]
    read = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (read.returncode, read.stderr) == (0, "")
    text = re.sub(".\b", "", read.stdout)
    assert "SMTPS(1)" in text
    for verb in VERBS:
        if verb == "rpc":
            continue
        for action in parser(verb)._actions:
            if action.help != "==SUPPRESS==":
                for option in action.option_strings:
                    assert re.search(rf"(?<!\S){option}(?!\S\S)", text), (verb, option)


def test_what_can_be_named_is_told(smtps: Run, home: Path) -> None:
    assert smtps("generate", "accounts").stdout == "work\nhome\n"
    assert smtps("generate", "hosts").stdout == "x.invalid\ny.invalid\n"

"""--help: all of a verb on one screen, and an example that can be typed."""

from __future__ import annotations

import re
import shlex

import pytest
from servers import Run

from smtps.cli import VERBS, sendmail
from smtps.cli.front import parser

SCREEN = (80, 24)
"""Columns and lines of a terminal."""

SENDMAILS = {"-r", "-b", *sendmail.FLAGS, *sendmail.VALUES, *sendmail.ELSEWHERE}
"""What is taken because other programs say it, and does nothing of its own."""


@pytest.mark.parametrize("verb", VERBS)
def test_help_fits_a_screen_and_ends_with_an_example(smtps: Run, verb: str) -> None:
    lines = smtps(verb, "--help").stdout.splitlines()
    # The last line of a screen is the next prompt.
    assert len(lines) < SCREEN[1]
    assert max(map(len, lines)) < SCREEN[0]
    assert lines[0].startswith(f"usage: smtps {verb}")
    assert lines[-1].startswith("example: ")
    (words,) = re.findall(rf"\bsmtps {verb}\b([^<|]*)", lines[-1])
    parser(verb).parse_args(shlex.split(words))


def test_help_may_stand_before_the_verb(smtps: Run) -> None:
    assert smtps("help", "send").stdout == smtps("send", "--help").stdout
    assert smtps("help", "nosuch").stdout == smtps("help").stdout == smtps("--help").stdout


@pytest.mark.parametrize("verb", VERBS)
def test_help_leaves_no_option_out(smtps: Run, verb: str) -> None:
    told = set(re.findall(r"(?<!\S)--?[a-zA-Z][\w-]*", smtps(verb, "--help").stdout))
    known = {"-h", "--help"} | (SENDMAILS if verb == "send" else set())
    has = {word for action in parser(verb)._actions for word in action.option_strings}
    assert has - known <= told
    assert told <= has


def test_help_tells_the_verbs(smtps: Run) -> None:
    told = smtps("--help").stdout
    for verb in VERBS:
        assert re.search(rf"^ +smtps {verb} ", told, re.M)
    assert max(map(len, told.splitlines())) < SCREEN[0]

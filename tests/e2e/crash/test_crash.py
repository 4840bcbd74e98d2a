"""Kills, errors and cuts, some of each kind.  All of them are tried by tests/bench/crash."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from crash import cuts, kills, steps
from crash.counting import END_SECONDS, Counts, Server, addresses, queue
from smtps.outbox.spool import Spool


def good(counts: Counts) -> bool:
    return counts.clean and counts.kills > 0 and counts.accepted > 0


def test_kills_of_the_helper_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    assert good(kills.helper(tmp_path, 15, 1))


def test_kills_of_two_drainers_beside_retries_lose_nothing_and_double_nothing(
    tmp_path: Path,
) -> None:
    assert good(kills.company(tmp_path, 6, 1))


@pytest.mark.parametrize("both", [False, True], ids=["Emacs", "both"])
def test_kills_of_an_emacs_lose_nothing_and_double_nothing(tmp_path: Path, both: bool) -> None:
    assert good(kills.of_emacs(tmp_path, 4, 1, both))


EVERY = {"outbox flush": 5, "send": 5, "Emacs": 8, "both": 8, "helper": 18}
"""Which of a process's steps are tried here: one in so many."""


@pytest.mark.parametrize("kind", steps.PROCESSES)
def test_a_kill_at_a_step_loses_nothing_and_doubles_nothing(kind: str) -> None:
    counts, bad = steps.each(steps.PROCESSES[kind], steps.kill, EVERY[kind])
    assert not bad
    assert good(counts)


@pytest.mark.parametrize("kind", ["outbox flush", "send", "Emacs"])
def test_a_step_that_fails_loses_nothing_and_doubles_nothing(kind: str) -> None:
    counts, bad = steps.each(steps.PROCESSES[kind], steps.refuse, EVERY[kind])
    assert not bad
    assert good(counts)


def test_who_sends_hears_of_the_250_though_the_mail_cannot_be_moved() -> None:
    process = steps.PROCESSES["send"]
    with Server(random.Random(0), reliable=True) as server:  # noqa: S311
        # Out of tmp/, and out of active/.
        *_, moved = [step for step in steps.steps(process, server) if step.call == "rename"]
        counts = steps.refuse(process, moved, server)
    assert counts.accepted == 1
    assert counts.clean


SELDOM = 17
"""Which cuts are made here: one in so many; a prime, so that it is not always the same kind."""


def test_a_drainer_that_cannot_take_a_mail_does_not_wait_for_ever() -> None:
    process = steps.PROCESSES["outbox flush"]
    with Server(random.Random(0), reliable=True) as server:  # noqa: S311
        taken = next(step for step in steps.steps(process, server) if step.call == "rename")
        counts = steps.refuse(process, taken, server)
    assert counts.accepted == steps.MAILS
    assert counts.clean


@pytest.mark.parametrize("kind", cuts.WAYS)
def test_a_cut_at_a_step_loses_nothing_and_doubles_nothing(tmp_path: Path, kind: str) -> None:
    counts, bad = cuts.each(cuts.WAYS[kind], tmp_path, SELDOM)
    assert not bad
    assert good(counts)


def test_two_drainers_at_once_send_each_mail_once(tmp_path: Path) -> None:
    box = Spool(tmp_path / "box")
    names = addresses(200)
    with Server(random.Random(0), reliable=True) as server:  # noqa: S311
        for name in names:
            queue(box, server.account, [name])
        lives = [kills.Life(box.root) for _ in range(2)]
        deadline = time.monotonic() + END_SECONDS
        while box.names("queue") or box.names("active"):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        for life in lives:
            life.end(None)
    assert server.accepted == dict.fromkeys(names, 1)
    assert len(box.names("sent")) == 200
    assert not list((box.root / "log").iterdir())

"""The long form: ``python -m crash [KILLS [SEED]]``.

KILLS at random moments (500), and a kill, an error and a cut at every step there is; a table
of what became of the mails.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from pathlib import Path

from crash import cuts, kills, steps
from crash.counting import Counts, total

KILLS = 500

Found = tuple[Counts, list[str]]
"""What was counted, and at which steps it went wrong."""

Kind = Callable[[Path], Found]
"""Tries one kind, in a directory of its own."""


def _kinds(number: int, seed: int) -> list[Kind]:
    """Return the trials; NUMBER kills at random moments from SEED."""
    quarter = number // 4
    made: list[Kind] = [
        partial(_of_helper, kills.helper, number - 3 * quarter, seed),
        partial(_of_helper, kills.company, quarter, seed),
        partial(_of_emacs, quarter, seed, False),
        partial(_of_emacs, quarter, seed, True),
    ]
    for kind in steps.PROCESSES:
        made += [partial(_steps, kind, steps.kill), partial(_steps, kind, steps.refuse)]
    made += [partial(_cuts, kind) for kind in cuts.WAYS]
    return made


def _of_helper(
    trial: Callable[[Path, int, int], Counts], number: int, seed: int, directory: Path
) -> Found:
    return trial(directory, number, seed), []


def _of_emacs(number: int, seed: int, both: bool, directory: Path) -> Found:
    return kills.of_emacs(directory, number, seed, both), []


def _steps(kind: str, trial: steps.Trial, directory: Path) -> Found:
    counted, bad = steps.each(steps.PROCESSES[kind], trial)
    return counted, [f"{step.call} {step.number}" for step in bad]


def _cuts(kind: str, directory: Path) -> Found:
    counted, bad = cuts.each(cuts.WAYS[kind], directory)
    return counted, [str(cut) for cut in bad]


def _tried(trial: Kind) -> Found:
    with tempfile.TemporaryDirectory() as directory:
        return trial(Path(directory))


def _row(cells: tuple[object, ...]) -> str:
    return f"{cells[0]!s:<46}" + "".join(f"{cell!s:>11}" for cell in cells[1:])


def main() -> int:
    """Print the table; return 1 if a mail was lost or sent twice, or what was told is wrong."""
    number = int(sys.argv[1]) if len(sys.argv) > 1 else KILLS
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else int(time.time())
    print(f"seed {seed}")
    print(_row(Counts._fields), flush=True)
    counts, wrong = [], []
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for done in as_completed(pool.submit(_tried, trial) for trial in _kinds(number, seed)):
            counted, bad = done.result()
            counts.append(counted)
            wrong += [f"{counted.kind}: {step}" for step in bad]
            print(_row(counted), flush=True)
    print(_row(total("all", counts)))
    for line in wrong:
        print(line)
    return 0 if all(counted.clean for counted in counts) else 1


if __name__ == "__main__":
    sys.exit(main())

"""tests/run: each check fails on what it is there for, and a skip is never silent."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SECONDS = 120

ELISP = """\
;;; smtps-wire.el --- A file with a fault  -*- lexical-binding: t; -*-

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; A fault.

;;; Code:

{}

(provide 'smtps-wire)
;;; smtps-wire.el ends here
"""
PYTEST = "import pytest\n\n\ndef test_it() -> None:\n    {}\n"
ERT = '(require \'ert)\n(ert-deftest smtps-fault () "It." {})\n'

FAULTS = {
    "ruff": ("python/smtps/fault.py", "import os\n"),
    "format": ("python/smtps/fault.py", "x=1\n"),
    "mypy": ("python/smtps/fault.py", 'x: int = ""\n'),
    "shellcheck": (".ci/run", "#!/bin/sh\nrm $1\n"),
    "compile": ("elisp/smtps-wire.el", ELISP.format('(defun smtps-wire-x () "X." nowhere)')),
    "declare": ("elisp/smtps-wire.el", ELISP.format('(declare-function smtps-x "smtps-rpc")')),
    "checkdoc": ("elisp/smtps-wire.el", ELISP.format("(defun smtps-wire-x () nil)")),
    "package-lint": ("elisp/smtps-wire.el", ELISP.format('(defun other-x () "X." nil)')),
    "relint": ("elisp/smtps-wire.el", ELISP.format('(looking-at "a**")')),
    "ert": ("tests/elisp/fault-test.el", ERT.format("(should nil)")),
    "pytest": ("tests/python/test_fault.py", PYTEST.format("assert not pytest")),
    "e2e": ("tests/e2e/test_fault.py", PYTEST.format("assert not pytest")),
    "bench": ("tests/bench/hello.py", "raise SystemExit(1)\n"),
}  # fmt: skip
"""A file that makes each check fail."""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what tests/run needs, without the tests, which take long."""
    for name in ("python", "elisp", "tests", ".ci"):
        shutil.copytree(ROOT / name, tmp_path / name, symlinks=True)
    shutil.copy2(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    for room in ("python", "elisp", "e2e"):
        for path in (tmp_path / "tests" / room).rglob("*test*"):
            if path.is_file():
                path.unlink()
    return tmp_path


def summary(checkout: Path, *words: str, ci: str = "1") -> tuple[int, dict[str, str], str]:
    """Run tests/run; return its status, the verdict of each check, and the last line."""
    done = subprocess.run(
        ["tests/run", *words],
        cwd=checkout, capture_output=True, encoding="utf-8", timeout=SECONDS, check=False,
        env=os.environ | {"CI": ci}, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    told = done.stdout.split("== summary\n")[1].splitlines()
    return done.returncode, dict(line.split()[:2] for line in told[:-1]), told[-1]


def test_each_check_has_a_fault() -> None:
    checks = re.findall(r"^check_([\w-]+)\(\)", (ROOT / "tests/run").read_text(), re.M)
    assert sorted(FAULTS) == sorted(checks)


@pytest.mark.parametrize("check", FAULTS)
def test_a_check_fails_on_its_fault(checkout: Path, check: str) -> None:
    name, text = FAULTS[check]
    (checkout / name).write_text(text)
    assert summary(checkout, check) == (1, {check: "FAILED"}, "0 passed, 1 failed")


@pytest.mark.parametrize(("ci", "verdict"), [("", "skipped"), ("1", "FAILED")])
def test_a_skip_is_told_and_with_ci_a_failure(checkout: Path, ci: str, verdict: str) -> None:
    (checkout / "tests/python/test_skip.py").write_text(PYTEST.format('pytest.skip("x")'))
    (checkout / "tests/elisp/skip-test.el").write_text(ERT.format("(skip-unless nil)"))
    status, verdicts, last = summary(checkout, "pytest", "ert", ci=ci)
    assert verdicts == {"pytest": verdict, "ert": verdict}
    assert status == int(bool(ci))
    assert last == ("0 passed, 2 failed" if ci else "0 passed, 0 failed, 2 skipped")


def test_checks_named_twice_run_once(checkout: Path) -> None:
    (checkout / "tests/python/test_passes.py").write_text(PYTEST.format("assert pytest"))
    status, verdicts, last = summary(checkout, "pytest", "python", "ruff")
    assert list(verdicts) == ["pytest", "ruff", "format", "mypy"]
    assert (status, last) == (0, "4 passed, 0 failed"), verdicts

"""The helper's hello, from spawn to answer, beside a Python that does nothing."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

PYTHON = Path(__file__).parents[2] / "python"
RUNS = 11
BAR = 0.25
"""Seconds that the hello may take on a quiet machine."""


def hello() -> float:
    """Return the seconds from spawning the helper to its answer."""
    begun = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-I", str(PYTHON), "rpc"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as helper:
        assert helper.stdin is not None
        assert helper.stdout is not None
        helper.stdin.write(b'(call 1 hello (:version "0.1.0" :wire 1))\n')
        helper.stdin.flush()
        answer = helper.stdout.readline()
        taken = time.perf_counter() - begun
        assert answer.startswith(b"(return 1 (:name"), answer
        helper.stdin.close()
    return taken


def nothing() -> float:
    """Return the seconds of a Python that does nothing."""
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-I", "-c", "pass"], check=True)
    return time.perf_counter() - begun


def main() -> int:
    """Print the table; return 1 if the bar is not met."""
    ours = statistics.median(hello() for _ in range(RUNS))
    peer = statistics.median(nothing() for _ in range(RUNS))
    print(f"{'figure':<32}{'median':>10}{'bar':>10}{'python3 -c pass':>18}")
    print(f"{'hello, from spawn, seconds':<32}{ours:>10.3f}{BAR:>10.2f}{peer:>18.3f}")
    return int(ours > BAR)


if __name__ == "__main__":
    sys.exit(main())

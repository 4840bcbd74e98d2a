"""What a process costs the machine."""

from __future__ import annotations

import resource
import time
from pathlib import Path


def cpu(pid: int) -> float:
    """Return the CPU seconds, user and system, of the process PID with all its threads."""
    # The clock that clock_getcpuclockid(3) names; Python has that call for threads only.
    return time.clock_gettime((~pid << 3) | 2)


def peak_rss(pid: int | str) -> float:
    """Return the most memory that the process PID ever had resident, in MB (10^6 octets)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError("the kernel tells no VmHWM")


def children() -> float:
    """Return the CPU seconds, user and system, of all children that have ended so far."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime

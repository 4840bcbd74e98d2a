"""Our Lisp as it is installed: compiled."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

ELISP = Path(__file__).parents[2] / "elisp"


def compiled(directory: Path) -> Path:
    """Compile a copy of our Lisp below DIRECTORY, once; return where it is."""
    copy = directory / "elisp"
    if not copy.exists():
        shutil.copytree(ELISP, copy)
        files = [str(path) for path in sorted(copy.glob("*.el"))]
        subprocess.run(
            ["emacs", "-Q", "--batch", "-L", str(copy), "-f", "batch-byte-compile", *files],
            check=True,
            capture_output=True,
        )
    return copy

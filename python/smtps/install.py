"""Install the libraries of smtps into a directory of their own.

    python3 -I install.py DIRECTORY [sandbox|test]

Makes a virtual environment in DIRECTORY, with whatever this machine has for that: venv,
uv, or pip without venv.  Where everything is there already, nothing is asked of the
network.  Only the standard library is used, in a syntax that an old Python can read.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

LIBRARIES = ["sexpdata>=1.0.2", "asn1crypto>=1.5"]
SANDBOX = ["trustme>=1.1"]
TEST = ["pytest>=8", "hypothesis>=6.100", "mypy>=1.10", "ruff>=0.6"]
EXTRAS = {"": [], "sandbox": SANDBOX, "test": SANDBOX + TEST}

STAMP = "smtps-libraries.json"
CONFIGURATION = 78


def complete(directory: str, wanted: list[str]) -> bool:
    """Return True if DIRECTORY has all WANTED libraries already."""
    try:
        with open(os.path.join(directory, STAMP), encoding="utf-8") as file:  # noqa: PTH118, PTH123
            have = json.load(file)
    except (OSError, ValueError):
        return False
    return set(wanted) <= set(have) and os.access(python_in(directory), os.X_OK)


def python_in(directory: str) -> str:
    """Return the Python of the virtual environment in DIRECTORY."""
    return os.path.join(directory, "bin", "python")  # noqa: PTH118


def ways(directory: str, wanted: list[str]) -> list[list[list[str]]]:
    """Return the ways to install, each a list of commands, the plainest first."""
    python = python_in(directory)
    pip = [sys.executable, "-m", "pip"]
    found = [
        [
            [sys.executable, "-m", "venv", directory],
            [python, "-m", "pip", "install", "--quiet", *wanted],
        ]
    ]
    uv = shutil.which("uv")
    if uv:
        found.append(
            [
                [uv, "venv", "--quiet", "--allow-existing", "--python", sys.executable, directory],
                [uv, "pip", "install", "--quiet", "--python", python, *wanted],
            ]
        )
    found.append(
        [
            [sys.executable, "-m", "venv", "--without-pip", directory],
            [*pip, "--python", python, "install", "--quiet", *wanted],
        ]
    )
    return found


def install(directory: str, wanted: list[str]) -> str:
    """Try each way; return an empty string, or what the last one said."""
    said = ""
    for commands in ways(directory, wanted):
        for command in commands:
            try:
                done = subprocess.run(
                    command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
                )
            except OSError as error:
                said = str(error)
                break
            if done.returncode:
                said = done.stdout.decode("utf-8", "replace").strip()
                break
        else:
            with open(os.path.join(directory, STAMP), "w", encoding="utf-8") as file:  # noqa: PTH118, PTH123
                json.dump(wanted, file)
            return ""
    return said


def main(words: list[str]) -> int:
    """Install, and return the exit status."""
    if sys.version_info < (3, 11):  # noqa: UP036 - old Pythons are told so
        sys.stderr.write(
            "smtps: needs Python 3.11 or newer; this is %d.%d.\n" % sys.version_info[:2]  # noqa: UP031
        )
        return CONFIGURATION
    if not 1 <= len(words) <= 2 or (words[1:] and words[1] not in EXTRAS):
        sys.stderr.write("usage: python3 -I install.py DIRECTORY [sandbox|test]\n")
        return 64
    directory = os.path.abspath(words[0])  # noqa: PTH100
    wanted = LIBRARIES + EXTRAS[words[1] if words[1:] else ""]
    if complete(directory, wanted):
        return 0
    said = install(directory, wanted)
    if said:
        sys.stderr.write(
            said + "\nsmtps: its libraries could not be installed. On Debian: "
            "apt install python3-venv, then try again.\n"
        )
        return CONFIGURATION
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Install the helper's libraries: ``python3 -I DIR/python/smtps/install.py TARGET [EXTRA]``.

Makes a virtual environment in TARGET and installs into it what the helper needs, and what
the EXTRA (``sandbox``, ``generate`` or ``test``) needs beside that, in whatever way this
machine has.
Needs nothing but the standard library; and where everything is there already, no network.

This file keeps to syntax that Python 3.6 can read, so that an old one is told so.
"""

# ruff: noqa: UP006, UP022, UP035, UP045

import fcntl
import importlib.util
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Optional, Tuple

OLDEST = (3, 11)

NEWER = 9
"""How many minor versions after OLDEST are looked for by name, where ``python3`` is too old."""

REQUIREMENTS: Dict[str, Tuple[str, ...]] = {
    "": ("sexpdata>=1.0.2", "asn1crypto>=1.5", "scramp>=1.5"),
    "sandbox": ("trustme>=1.1",),
    "generate": ("shtab>=1.13", "argparse-manpage>=4.7"),
    "test": ("pytest>=8", "hypothesis>=6.100", "mypy>=1.10", "ruff>=0.6"),
}
"""What pyproject.toml declares, which is not there in an installed package."""

EXTRAS = {
    "": ("",),
    "sandbox": ("", "sandbox"),
    "generate": ("", "generate"),
    "test": ("", "sandbox", "generate", "test"),
}
"""Which groups of REQUIREMENTS an extra takes in."""

STAMP = "smtps-requirements.txt"
"""In TARGET: the requirements that were installed whole, one a line."""

PIP_OPTIONS = ["--quiet", "--disable-pip-version-check", "--no-input"]

USAGE = 64
UNAVAILABLE = 69
CONFIGURATION = 78
INTERRUPTED = 130
"""Exit statuses: from sysexits, and what shells report for SIGINT."""


class InstallError(Exception):
    """It can't be done; the text says why, and what to do."""

    def __init__(self, text: str, status: int = CONFIGURATION) -> None:
        super().__init__(text)
        self.status = status


class WayClosed(Exception):  # noqa: N818
    """This way of installing is not there on this machine, for the reason it tells."""


def required(extra: str) -> List[str]:
    """Return the requirements of EXTRA, as pip takes them."""
    return [line for group in EXTRAS[extra] for line in REQUIREMENTS[group]]


def name(requirement: str) -> str:
    """Return the name of the package that REQUIREMENT asks for."""
    return requirement.split(">")[0]


def interpreter(target: Path) -> str:
    """Return the Python of the virtual environment in TARGET."""
    return str(target / "bin" / "python")


def installed(target: Path) -> List[str]:
    """Return the requirements that TARGET is known to hold, none if it can't run."""
    try:
        lines = (target / STAMP).read_text("utf-8").split("\n")
    except OSError:
        return []
    # It stops running when the Python it was made with is replaced by the next version.
    return [line for line in lines if line] if _works([interpreter(target), "-c", ""]) else []


def install(target: Path, extra: str) -> bool:
    """Make TARGET hold what EXTRA requires; return False if it did already.

    Raises InstallError with a sentence for a person.
    """
    wanted = required(extra)
    if set(wanted) <= set(installed(target)):
        return False
    try:
        _refuse_foreign(target)
        target.mkdir(parents=True, exist_ok=True)
        with _alone(target):
            held = installed(target)
            if set(wanted) <= set(held):
                return False
            _say(f"Installing {', '.join(map(name, wanted))} in {target}")
            _by_any_way(target, wanted)
            names = {name(line) for line in wanted}
            _write_stamp(target, wanted + [line for line in held if name(line) not in names])
    except OSError as error:
        raise InstallError(f"{target} can't be written: {error.strerror}.") from None
    return True


def _refuse_foreign(target: Path) -> None:
    """Keep hands off a directory that is something else than an environment."""
    if not target.is_dir():
        if os.path.lexists(str(target)):
            raise InstallError(f"{target} is not a directory. Name one to install in.")
        return
    entries = {path.name for path in target.iterdir()}
    if entries and "pyvenv.cfg" not in entries:
        raise InstallError(
            f"{target} holds something else. Name a new or an empty directory to install in."
        )


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Let one process at a time install in TARGET: the directory itself is locked."""
    descriptor = os.open(str(target), os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write_stamp(target: Path, lines: List[str]) -> None:
    new = target / (STAMP + ".new")
    new.write_text("".join(line + "\n" for line in lines), "utf-8")
    new.replace(target / STAMP)


# The ways, tried in this order until one is open


def _by_any_way(target: Path, wanted: List[str]) -> None:
    ways: List[Callable[[Path, List[str]], None]] = [
        _own_pip,
        _venv_with_pip,
        _uv,
        _another_pip,
    ]
    reasons: List[str] = []
    for way in ways:
        try:
            way(target, wanted)
        except WayClosed as closed:
            reasons.append(str(closed))
        else:
            return
    raise InstallError(
        f"The libraries {', '.join(map(name, wanted))} can't be installed "
        f"({'; '.join(filter(None, reasons))}). Install venv for {sys.executable}, uv or pip "
        "(on Debian and Ubuntu: sudo apt install python3-venv) and run this again."
    )


def _own_pip(target: Path, wanted: List[str]) -> None:
    """The pip that the environment has already."""
    command = [interpreter(target), "-I", "-m", "pip"]
    if not _works([*command, "--version"]):
        raise WayClosed
    _fetch([*command, "install", *PIP_OPTIONS, *wanted])


def _venv_with_pip(target: Path, wanted: List[str]) -> None:
    # Debian's Python has venv without ensurepip unless python3-venv is there.
    if importlib.util.find_spec("ensurepip") is None:
        raise WayClosed("no ensurepip")
    _make([sys.executable, "-I", "-m", "venv", "--clear", str(target)])
    _own_pip(target, wanted)


def _uv(target: Path, wanted: List[str]) -> None:
    uv = shutil.which("uv")
    if uv is None:
        raise WayClosed("no uv")
    # Newer ones ask before they replace what is there.
    os.environ["UV_VENV_CLEAR"] = "1"
    _make([uv, "venv", "--quiet", "--python", sys.executable, str(target)])
    _fetch([uv, "pip", "install", "--quiet", "--python", interpreter(target), *wanted])


def _another_pip(target: Path, wanted: List[str]) -> None:
    for pip in ([sys.executable, "-I", "-m", "pip"], ["pip3"], ["pip"]):
        if _works([*pip, "--version"]):
            break
    else:
        raise WayClosed("no pip")
    _make([sys.executable, "-I", "-m", "venv", "--clear", "--without-pip", str(target)])
    into = [*pip, "--python", interpreter(target)]
    if _works([*into, "--version"]):
        _fetch([*into, "install", *PIP_OPTIONS, *wanted])
        return
    # Before pip 22.3. Its --target is where the environment's Python looks.
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    libraries = str(target / "lib" / version / "site-packages")
    _fetch([*pip, "install", "--upgrade", "--target", libraries, *PIP_OPTIONS, *wanted])


def _run(command: List[str]) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def _works(command: List[str]) -> bool:
    try:
        return _run(command).returncode == 0
    except OSError:
        return False


def _make(command: List[str]) -> None:
    """Run COMMAND, which makes an environment; where it fails, another way may not."""
    done = _run(command)
    if done.returncode != 0:
        raise WayClosed(f"{' '.join(command)} failed: {_told(done)}")


def _fetch(command: List[str]) -> None:
    """Run COMMAND, which fetches; no other way would do better if it fails."""
    done = _run(command)
    if done.returncode != 0:
        raise InstallError(
            f"The libraries can't be fetched ({_told(done)}). "
            "See that the network is up, and run this again.",
            UNAVAILABLE,
        )


def _told(done: "subprocess.CompletedProcess[bytes]") -> str:
    """Return the line in which a command that failed said why."""
    lines = [line for line in done.stderr.decode("utf-8", "replace").split("\n") if line.strip()]
    # The first of pip's errors is the cause; those after it only sum up.
    causes = [line for line in lines if line.startswith("ERROR:")] or lines[-1:] or ["no reason"]
    return causes[0].strip().rstrip(".")


def _say(text: str) -> None:
    sys.stderr.write(f"smtps: {text}\n")
    sys.stderr.flush()


def _newer_python() -> Optional[str]:
    for minor in range(OLDEST[1] + NEWER, OLDEST[1] - 1, -1):
        path = shutil.which(f"python{OLDEST[0]}.{minor}")
        if path:
            return path
    return None


def main(arguments: List[str]) -> int:
    """Install as ARGUMENTS (TARGET and perhaps EXTRA) say; return the exit status."""
    if sys.version_info < OLDEST:
        newer = _newer_python()
        if newer:
            os.execv(newer, [newer, "-I", str(Path(__file__).resolve()), *arguments])  # noqa: S606
        _say(
            f"This is Python {sys.version.split()[0]}, and {OLDEST[0]}.{OLDEST[1]} or newer is "
            "needed. Install one, and run this again."
        )
        return CONFIGURATION
    extra = arguments[1] if len(arguments) > 1 else ""
    if not 1 <= len(arguments) <= 2 or extra not in EXTRAS:
        _say("usage: install.py DIRECTORY [sandbox | test]")
        return USAGE
    try:
        if install(Path(os.path.abspath(arguments[0])), extra):  # noqa: PTH100
            _say("Installed.")
    except InstallError as error:
        _say(str(error))
        return error.status
    except KeyboardInterrupt:
        _say("Interrupted. Run this again to finish it.")
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

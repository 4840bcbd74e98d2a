"""install.py: what it takes for installed, the ways it goes, and what it says without one."""

from __future__ import annotations

import ast
import base64
import hashlib
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from smtps import install
from smtps.install import InstallError, WayClosed

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "python" / "smtps" / "install.py"


def test_it_asks_for_what_the_project_declares() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    assert install.required("") == project["dependencies"]
    assert install.required("sandbox") == project["dependencies"] + extras["sandbox"]
    assert install.required("generate") == project["dependencies"] + extras["generate"]
    assert extras["test"][0] == "smtps[sandbox,generate]"
    assert install.required("test") == (
        install.required("sandbox") + extras["generate"] + extras["test"][1:]
    )


def test_an_old_python_can_read_it() -> None:
    for path in (SCRIPT, ROOT / "python" / "__main__.py"):
        ast.parse(path.read_text("utf-8"), feature_version=(3, 6))


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """An environment in which everything for the sandbox is installed, as far as one can see."""
    target = tmp_path / "venv"
    (target / "bin").mkdir(parents=True)
    (target / "pyvenv.cfg").touch()
    (target / "bin" / "python").symlink_to(sys.executable)
    install._write_stamp(target, install.required("sandbox"))
    return target


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What would have been fetched."""
    found: list[list[str]] = []
    monkeypatch.setattr(install, "_by_any_way", lambda target, wanted: found.append(wanted))
    return found


def test_what_is_there_is_not_fetched_again(environment: Path, fetched: list[list[str]]) -> None:
    assert not install.install(environment, "sandbox")
    assert not install.install(environment, "")
    assert fetched == []


def test_what_is_missing_is_fetched_and_noted(environment: Path, fetched: list[list[str]]) -> None:
    assert install.install(environment, "test")
    assert fetched == [install.required("test")]
    assert not install.install(environment, "sandbox")
    assert install.installed(environment) == install.required("test")


def test_an_environment_whose_python_is_gone_is_made_anew(
    environment: Path, fetched: list[list[str]]
) -> None:
    (environment / "bin" / "python").unlink()
    (environment / "bin" / "python").symlink_to("/nonexistent")
    assert install.install(environment, "")
    assert fetched == [install.required("")]


def test_a_directory_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.org").touch()
    with pytest.raises(InstallError, match="holds something else"):
        install.install(tmp_path, "")
    with pytest.raises(InstallError, match="is not a directory"):
        install.install(tmp_path / "thesis.org", "")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.org"]


def test_a_directory_that_can_not_be_written_is_told() -> None:
    with pytest.raises(InstallError, match=r"can't be written: "):
        install.install(Path("/proc/nowhere"), "")


def test_where_no_way_is_open_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setattr(install, "_works", lambda command: False)
    with pytest.raises(
        InstallError, match=r"no ensurepip; no uv; no pip.*apt install python3-venv"
    ):
        install.install(tmp_path / "venv", "")


def test_a_failed_fetch_tells_the_cause_and_that_a_network_is_needed() -> None:
    program = "import sys; sys.exit('x\\nERROR: no route\\nERROR: no matching version\\n')"
    with pytest.raises(
        InstallError, match=r"fetched \(ERROR: no route\)\. See that the net"
    ) as told:
        install._fetch([sys.executable, "-c", program])
    assert told.value.status == install.UNAVAILABLE


def test_an_environment_that_can_not_be_made_closes_only_that_way() -> None:
    with pytest.raises(WayClosed, match="failed: no space"):
        install._make([sys.executable, "-c", "import sys; sys.exit('no space')"])


def wheel(directory: Path, name: str) -> None:
    """Make the smallest wheel there is, of NAME, in DIRECTORY."""
    info = f"{name}-1.0.dist-info"
    files = {
        f"{name}.py": "ANSWER = 42\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    digests = {
        path: base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")
        for path, text in files.items()
    }
    files[f"{info}/RECORD"] = "".join(
        f"{path},sha256={digests[path]},{len(text)}\n" for path, text in files.items()
    )
    with zipfile.ZipFile(directory / f"{name}-1.0-py3-none-any.whl", "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)


def test_it_really_installs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel(tmp_path, "smtps_nothing")
    for name, value in (
        ("PIP_NO_INDEX", "1"), ("PIP_FIND_LINKS", str(tmp_path)), ("PIP_EXTRA_INDEX_URL", ""),
        ("UV_NO_INDEX", "1"), ("UV_FIND_LINKS", str(tmp_path)),
    ):  # fmt: skip
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(install, "REQUIREMENTS", {"": ("smtps_nothing>=1.0",)})
    target = tmp_path / "a place with ä"
    assert install.install(target, "")
    program = "import smtps_nothing; print(smtps_nothing.ANSWER)"
    done = subprocess.run(
        [install.interpreter(target), "-I", "-c", program], capture_output=True, check=True
    )
    assert done.stdout == b"42\n"
    assert not install.install(target, "")


def test_an_old_python_without_a_newer_one_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(install, "OLDEST", (3, 99))
    assert install.main(["x"]) == install.CONFIGURATION
    assert "and 3.99 or newer is needed" in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["a", "b"], ["a", "test", "c"]])
def test_usage(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert install.main(words) == install.USAGE
    assert "usage: install.py DIRECTORY [sandbox | test]" in capsys.readouterr().err


def test_it_runs_by_itself(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    done = subprocess.run(
        [sys.executable, "-I", str(SCRIPT), str(tmp_path)],
        capture_output=True, encoding="utf-8", check=False,
    )  # fmt: skip
    assert done.returncode == install.CONFIGURATION
    assert done.stderr.startswith("smtps: ")
    assert "Traceback" not in done.stderr

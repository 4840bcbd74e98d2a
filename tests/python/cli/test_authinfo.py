"""Password files as people have them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtps.cli.authinfo import find

LINE = "machine mx.test login me"


@pytest.mark.parametrize(
    "text",
    [
        f"{LINE} password secret\n",
        f"{LINE} password secret",
        f"{LINE} port 465 password secret\n",
        f"{LINE} port smtps password secret\n",
        f"{LINE} port submissions password 'secret'\n",
        'host mx.test port 465 user me password "secret"\n',
        "machine MX.test\n\tlogin me\n\tpassword secret\n",
        "machine mx.test password secret\n",
        "default login me password secret\n",
        f"# {LINE} password wrong\n{LINE} password secret\n",
        f"machine mx.test login other password wrong\n{LINE} password secret\n",
        f"{LINE} port imaps password wrong\n{LINE} port 465 password secret\n",
        f"{LINE} port 587 password wrong\n{LINE} password secret\n",
        f"{LINE} force yes password secret\n",
        f"macdef init\nmachine mx.test login me password wrong\n\n{LINE} password secret\n",
        f"{LINE} password secret\n{LINE} password second\n",
    ],
)
def test_found(text: str) -> None:
    assert find(text, "mx.test", 465, "me") == "secret"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "machine",
        "password secret\n",
        f"{LINE} password",
        f"{LINE} port imaps password secret\n",
        f"{LINE} port 993 password secret\n",
        "machine mx.test login you password secret\n",
        "machine mx2.test login me password secret\n",
    ],
)
def test_not_found(text: str) -> None:
    assert find(text, "mx.test", 465, "me") is None


@pytest.mark.parametrize(
    ("written", "password"),
    [
        ("#secret", "#secret"),
        ("'pässwörd \"quoted\" 100%'", 'pässwörd "quoted" 100%'),
        ('"pässwörd \\"quoted\\" 100%"', 'pässwörd "quoted" 100%'),
        ("back\\slash", "back\\slash"),
        ("machine", "machine"),
    ],
)
def test_passwords(written: str, password: str) -> None:
    text = f"{LINE} password {written}\nmachine other login me password no\n"
    assert find(text, "mx.test", 465, "me") == password


@given(st.text(alphabet="machinelogpsword '\"\\#\n\tx:", max_size=80))
def test_anything_can_be_read(text: str) -> None:
    find(text, "mx.test", 465, "me")


@given(st.text(min_size=1).filter(lambda text: "'" not in text))
def test_any_password_can_be_quoted(password: str) -> None:
    assert find(f"{LINE} password '{password}'", "mx.test", 465, "me") == password

"""A certificate in words."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from authority import Authority, Kind

from smtps.client.account import Account
from smtps.errors import ConfigurationError
from smtps.trust import certificate


def test_names_are_told_as_people_know_them(tmp_path: Path) -> None:
    file = Authority(tmp_path).issue(Kind(common_name='a,"b'), "x.pem")
    der = ssl.PEM_cert_to_DER_cert(file.read_text()[file.read_text().index("-----BEGIN CERT") :])
    text = "\n".join(certificate.told([der, b"junk"]))
    assert " - subject 'CN=a\\,\\\"b'" in text
    assert " - issuer 'CN=Test authority', serial 0x" in text
    assert "- Certificate[1]: it can't be read." in text


def test_nothing_goes_in_clear_beyond_this_machine_unless_that_was_said() -> None:
    assert Account("localhost", 25, "none").tls == "none"
    with pytest.raises(ConfigurationError, match="send-in-clear"):
        Account("mx.test", 25, "none")
    assert Account("mx.test", 25, "none", send_in_clear=True).tls == "none"

"""Certificates, good and bad, and the runs of all rows, some at a time."""

from __future__ import annotations

import datetime
import ssl
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from hostile.rows import Row
from hostile.sending import Sent, run

AT_ONCE = 8
"""Runs under way: many of them wait."""


@dataclass(frozen=True)
class Certificates:
    """One authority that is trusted, and what servers show."""

    ca_file: Path
    contexts: dict[str, ssl.SSLContext]


def _context(certificate: trustme.LeafCert) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(made)
    return made


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Certificates by what is wrong with them."""
    root = tmp_path_factory.mktemp("certificates")
    authority, stranger = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(str(root / "ca.pem"))
    past = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    alone = root / "alone.pem"
    stranger.private_key_pem.write_to_path(str(alone))
    stranger.cert_pem.write_to_path(str(alone), append=True)
    self_signed = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    self_signed.load_cert_chain(alone)
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(old)
    old.minimum_version = ssl.TLSVersion.TLSv1_2
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    return Certificates(
        root / "ca.pem",
        {
            "good": _context(authority.issue_cert("127.0.0.1")),
            "TLS 1.2": old,
            "wrong name": _context(authority.issue_cert("mx.example.org")),
            "name only in CN": _context(
                authority.issue_cert("mx.example.org", common_name="127.0.0.1")
            ),
            "expired": _context(
                authority.issue_cert(
                    "127.0.0.1", not_before=past, not_after=past + datetime.timedelta(days=9)
                )
            ),
            "untrusted": _context(stranger.issue_cert("127.0.0.1")),
            "self-signed": self_signed,
        },
    )


Fetch = Callable[[Row], Sent]


@pytest.fixture(scope="session")
def fetch(
    request: pytest.FixtureRequest,
    certificates: Certificates,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Fetch]:
    """Return what the run of a row came to; all rows that are wanted start at once."""
    root = tmp_path_factory.mktemp("hostile")

    def play(row: Row, home: Path) -> Sent:
        secured = row.script.tls != "none"
        return run(
            row.script,
            home,
            context=certificates.contexts[row.certificate] if secured else None,
            ca_file=certificates.ca_file if secured else None,
            user=row.user,
            message=row.message,
            sender=row.sender,
            recipients=row.recipients,
            watched=row.watched,
        )

    wanted: dict[int, Row] = {}
    for item in request.session.items:
        row = item.callspec.params.get("row") if isinstance(item, pytest.Function) and hasattr(
            item, "callspec"
        ) else None  # fmt: skip
        if isinstance(row, Row):
            wanted[id(row)] = row
    with ThreadPoolExecutor(AT_ONCE) as pool:
        running: dict[int, Future[Sent]] = {
            key: pool.submit(play, row, root / str(number))
            for number, (key, row) in enumerate(wanted.items())
        }
        yield lambda row: running[id(row)].result()
        for future in running.values():
            future.cancel()

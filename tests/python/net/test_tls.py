"""One TLS connection, fed by hand with what no server's library would send."""

from __future__ import annotations

import contextlib
import ssl
from pathlib import Path

import pytest
import trustme

from smtps.errors import ConnectionLostError
from smtps.net.tls import Layer, context

Ends = tuple[Layer, ssl.SSLObject, ssl.MemoryBIO]
"""Our end, the server's, and what it has sent."""


@pytest.fixture
def ends(tmp_path: Path) -> Ends:
    """A connection whose handshake is done."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(made)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = made.wrap_bio(to_server, to_client, server_side=True)
    client = Layer(context(str(tmp_path / "ca.pem")), "127.0.0.1")
    octets, done = client.handshake(None)
    while not done:
        to_server.write(octets)
        with contextlib.suppress(ssl.SSLWantReadError):
            server.do_handshake()
        octets, done = client.handshake(to_client.read())
    to_server.write(octets)
    server.do_handshake()
    return client, server, to_client


def test_what_came_before_tls_broke_is_read(ends: Ends) -> None:
    client, server, to_client = ends
    server.write(b"250 ok\r\n")
    broken = b"\x17\x03\x03\x00\x20" + b"?" * 32
    clear, _, ended = client.decrypt(to_client.read() + broken)
    assert (clear, ended) == (b"250 ok\r\n", True)


def test_clear_text_within_tls_is_told_and_not_believed(ends: Ends) -> None:
    # Exim 4.96 takes leave so of a client that was silent for too long.
    client, _, to_client = ends
    octets = to_client.read() + b"421 mx.test: SMTP command timeout - closing connection\r\n"
    with pytest.raises(ConnectionLostError) as caught:
        client.decrypt(octets)
    assert caught.value.text == (
        "The TLS connection to 127.0.0.1 broke: it said something that is not TLS."
    )

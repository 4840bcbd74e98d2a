"""The peers, each in a process of its own: smtplib, and a raw ``ssl`` socket.

``peers.py smtplib|raw-bdat|raw-data PORT CA-FILE [MESSAGE:RECIPIENTS]...`` sends each message
over one connection, CRLF line ends expected, and prints as JSON the CPU seconds that each took
and the peak RSS in MB.
"""

from __future__ import annotations

import base64
import json
import re
import socket
import ssl
import sys
import time
from pathlib import Path

import cost

HOST = "127.0.0.1"
PIECE = 64 * 1024


def with_smtplib(port: int, ca_file: str, mails: list[tuple[Path, int]]) -> list[float]:
    """Send MAILS as a program that uses smtplib does."""
    import smtplib

    import messages
    import sink

    spent = []
    context = ssl.create_default_context(cafile=ca_file)
    with smtplib.SMTP_SSL(HOST, port, context=context) as client:
        client.login(sink.USER, sink.PASSWORD)
        for message, count in mails:
            begun = time.process_time()
            client.sendmail(messages.SENDER, messages.recipients(count), message.read_bytes())
            spent.append(time.process_time() - begun)
    return spent


def with_raw(port: int, ca_file: str, mails: list[tuple[Path, int]], chunking: bool) -> list[float]:
    """Write MAILS, which are as on the wire, with no more than the server needs to take them."""
    import sink

    login = base64.b64encode(f"\0{sink.USER}\0{sink.PASSWORD}".encode())
    context = ssl.create_default_context(cafile=ca_file)
    spent = []
    with (
        socket.create_connection((HOST, port)) as connected,
        context.wrap_socket(connected, server_hostname=HOST) as made,
    ):
        _answered(made, b"220")
        for line, code in ((b"EHLO raw", b"250"), (b"AUTH PLAIN " + login, b"235")):
            made.sendall(line + b"\r\n")
            _answered(made, code)
        for message, _ in mails:
            begun = time.process_time()
            head = b"MAIL FROM:<from@example.org>\r\nRCPT TO:<to@example.org>\r\n"
            if chunking:
                made.sendall(head + b"BDAT %d LAST\r\n" % message.stat().st_size)
            else:
                made.sendall(head + b"DATA\r\n")
                _answered(made, b"250", b"250", b"354")
            with message.open("rb") as file:
                while piece := file.read(PIECE):
                    made.sendall(piece)
            if chunking:
                _answered(made, b"250", b"250", b"250")
            else:
                made.sendall(b".\r\n")
                _answered(made, b"250")
            spent.append(time.process_time() - begun)
    return spent


def _answered(made: ssl.SSLSocket, *codes: bytes) -> None:
    """Read one reply for each of CODES."""
    replies = b""
    while re.findall(rb"^(\d+) .*\n", replies, re.MULTILINE) != list(codes):
        data = made.recv(PIECE)
        if not data:
            raise RuntimeError(f"{codes!r} were expected, not {replies!r}")
        replies += data


def main() -> None:
    """Read the command line, send, and print."""
    kind, port, ca_file, *words = sys.argv[1:]
    mails = [(Path(path), int(count)) for path, _, count in (w.rpartition(":") for w in words)]
    match kind:
        case "smtplib":
            spent = with_smtplib(int(port), ca_file, mails)
        case _:
            spent = with_raw(int(port), ca_file, mails, kind == "raw-bdat")
    print(json.dumps({"cpu": spent, "rss": cost.peak_rss("self")}))


if __name__ == "__main__":
    main()

"""The mails that are sent: their envelope, and files of any size."""

from __future__ import annotations

from pathlib import Path

SENDER = "from@example.org"

HEADER = b"""\
From: from@example.org
To: to0@example.org
Subject: a mail that is measured
Date: Mon, 02 Jan 2023 15:04:05 +0000
Message-ID: <bench@example.org>

"""
LINE = b"VGhlIHF1aWNrIGJyb3duIGZveCBqdW1wcyBvdmVyIHRoZSBsYXp5IGRvZywgYW5kIHRoZW4gc29t\n"
"""A line of an attachment in base64: 76 letters and, as on this machine, LF."""


def recipients(count: int) -> list[str]:
    """Return COUNT addresses."""
    return [f"to{number}@example.org" for number in range(count)]


def local(path: Path, megabytes: int) -> Path:
    """Write a mail of MEGABYTES (10^6 octets on the wire) as it lies on this machine to PATH."""
    lines = max(1, megabytes * 10**6 // (len(LINE) + 1))
    path.write_bytes(HEADER + LINE * lines)
    return path


def wire(path: Path, mail: Path) -> Path:
    """Write the MAIL with the line ends of the wire to PATH."""
    path.write_bytes(mail.read_bytes().replace(b"\n", b"\r\n"))
    return path

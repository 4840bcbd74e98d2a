"""A raw ``ssl`` socket that writes a mail: what nobody who uses Python's ssl can go below.

``raw.py BDAT|DATA PORT CA-FILE LOGIN MESSAGE``: LOGIN is the initial response, MESSAGE a file
as it is on the wire.  Prints the CPU seconds from MAIL to the last reply.
"""

import os
import socket
import ssl
import sys
import time

HOST = "127.0.0.1"
PIECE = 64 * 1024
HEAD = b"MAIL FROM:<from@example.org>\r\nRCPT TO:<to@example.org>\r\n"


def answered(made: ssl.SSLSocket, last: bytes) -> None:
    """Read replies up to the one that begins with LAST."""
    replies = b""
    while last not in replies or not replies.endswith(b"\n"):
        data = made.recv(PIECE)
        if not data:
            raise RuntimeError(f"{last!r} was expected, not {replies!r}")
        replies += data


def main() -> None:
    """Send the message."""
    way, port, ca_file, login, message = sys.argv[1:]
    context = ssl.create_default_context(cafile=ca_file)
    connected = socket.create_connection((HOST, int(port)))
    made = context.wrap_socket(connected, server_hostname=HOST)
    answered(made, b"220 ")
    made.sendall(b"EHLO raw\r\n")
    answered(made, b"250 ")
    made.sendall(f"AUTH PLAIN {login}\r\n".encode())
    answered(made, b"235 ")
    begun = time.process_time()
    if way == "BDAT":
        made.sendall(HEAD + b"BDAT %d LAST\r\n" % os.stat(message).st_size)  # noqa: PTH116
    else:
        made.sendall(HEAD + b"DATA\r\n")
        answered(made, b"354 ")
    with open(message, "rb") as file:  # noqa: PTH123 - pathlib would cost what is measured
        while piece := file.read(PIECE):
            made.sendall(piece)
    if way == "DATA":
        made.sendall(b".\r\n")
    answered(made, b" accepted")
    print(time.process_time() - begun)
    made.close()


if __name__ == "__main__":
    main()

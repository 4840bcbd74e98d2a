"""smtplib, as a program that uses it does.

``peer.py PORT CA-FILE USER PASSWORD MESSAGE:RECIPIENTS...`` sends each message, which has CRLF
line ends, over one connection.  Prints the CPU seconds of the last one, the peak RSS in MB, and
the seconds from the connection to the last reply.
"""

import smtplib
import ssl
import sys
import time
from pathlib import Path

import cost
import messages

HOST = "127.0.0.1"


def main() -> None:
    """Send the messages."""
    port, ca_file, user, password, *words = sys.argv[1:]
    spent = 0.0
    connected = time.perf_counter()
    with smtplib.SMTP_SSL(
        HOST, int(port), context=ssl.create_default_context(cafile=ca_file)
    ) as client:
        client.login(user, password)
        for path, _, count in (word.rpartition(":") for word in words):
            begun = time.process_time()
            to = messages.recipients(int(count))
            client.sendmail(messages.SENDER, to, Path(path).read_bytes())
            spent = time.process_time() - begun
        taken = time.perf_counter() - connected
    print(spent, cost.peak_rss("self"), taken)


if __name__ == "__main__":
    main()

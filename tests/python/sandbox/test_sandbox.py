"""The sandbox, by a client of somebody else's and by our own command line."""

from __future__ import annotations

import base64
import mailbox
import signal
import smtplib
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from servers import PYTHON, Run

from smtps.errors import ConfigurationError
from smtps.rpc import codec
from smtps.sandbox.machine import DOCUMENTED_IMPLICIT, Accepted
from smtps.sandbox.server import (
    ADDRESS,
    ADDRESS_6,
    CONNECTIONS_LIMIT,
    LOGINS,
    PASSWORD,
    USER,
    Sandbox,
)

SECONDS = 20
"""What an answer may take."""

DOCUMENTED = [f"250-{line}" for line in DOCUMENTED_IMPLICIT.secure[:-1]] + ["250 SIZE"]


@contextmanager
def connected(sandbox: Sandbox, address: str = ADDRESS) -> Iterator[ssl.SSLSocket]:
    """A connection with TLS, its greeting read."""
    context = ssl.create_default_context(cafile=str(sandbox.ca_file))
    with (
        socket.create_connection((address, sandbox.port), timeout=SECONDS) as clear,
        context.wrap_socket(clear, server_hostname=address) as secured,
    ):
        assert secured.recv(4096).startswith(b"220 ")
        yield secured


def until(client: socket.socket, end: bytes) -> bytes:
    """Read until END has come, or the end of it all."""
    heard = b""
    while end not in heard and (data := client.recv(4096)):
        heard += data
    return heard


@pytest.mark.parametrize("mechanism", ["login", "plain", "cram_md5"])
@pytest.mark.parametrize("user", LOGINS)
@pytest.mark.parametrize("right", [True, False])
def test_logins_are_really_checked(
    sandbox: Sandbox, mechanism: str, user: str, right: bool
) -> None:
    context = ssl.create_default_context(cafile=str(sandbox.ca_file))
    with smtplib.SMTP_SSL("localhost", sandbox.port, context=context) as client:
        client.ehlo("x")
        client.user, client.password = user, LOGINS[user] + ("" if right else "x")
        if not client.password.isascii():
            # smtplib can't: it encodes as ASCII.
            string = base64.b64encode(f"\0{user}\0{client.password}".encode()).decode()
            code = client.docmd("AUTH PLAIN", string)[0]
            assert code == (235 if right else 535)
            return
        method = getattr(client, f"auth_{mechanism}")
        if right:
            assert client.auth(mechanism.replace("_", "-"), method)[0] == 235
        else:
            with pytest.raises(smtplib.SMTPAuthenticationError):
                client.auth(mechanism.replace("_", "-"), method)


def test_both_ports_keep_a_mail(sandbox: Sandbox) -> None:
    context = ssl.create_default_context(cafile=str(sandbox.ca_file))
    with smtplib.SMTP("localhost", sandbox.starttls_port) as client:
        client.starttls(context=context)
        client.login(USER, PASSWORD)
        client.sendmail("a@b", ["c@d"], "Subject: 1\r\n\r\n..dot\r\n")
    with smtplib.SMTP_SSL("localhost", sandbox.port, context=context) as client:
        client.login(USER, PASSWORD)
        client.sendmail("a@b", ["c@d"], "Subject: 2\r\n\r\n.\r\n")
    assert [mail.octets for mail in sandbox.accepted] == [
        b"Subject: 1\r\n\r\n..dot\r\n",
        b"Subject: 2\r\n\r\n.\r\n",
    ]
    assert len(list((sandbox.maildir / "new").iterdir())) == 2


def test_a_mail_lies_in_the_maildir_as_it_was_sent(sandbox: Sandbox) -> None:
    context = ssl.create_default_context(cafile=str(sandbox.ca_file))
    text = "From: a@b\r\nSubject: \u2709\r\n\r\n.\r\n\r\nFrom here\r\n\r\n"
    with smtplib.SMTP_SSL("localhost", sandbox.port, context=context) as client:
        client.login(USER, PASSWORD)
        client.sendmail("a@b", ["c@d", "e@f"], text.encode(), ["BODY=8BITMIME"])
    (path,) = (sandbox.maildir / "new").iterdir()
    head = "Return-Path: <a@b>\nDelivered-To: c@d\nDelivered-To: e@f\n"
    assert path.read_bytes() == (head + text.replace("\r\n", "\n")).encode()
    (mail,) = mailbox.Maildir(sandbox.maildir)
    assert mail["Return-Path"] == "<a@b>"


@pytest.mark.parametrize("address", [ADDRESS, ADDRESS_6])
def test_its_certificate_holds_for_each_address(sandbox: Sandbox, address: str) -> None:
    if address == ADDRESS_6 and not Path("/proc/net/if_inet6").exists():
        pytest.skip("There is no IPv6 here.")
    with connected(sandbox, address) as client:
        client.sendall(b"quit\r\n")
        assert until(client, b"QUIT\r\n").startswith(b"221 ")
        # The end is told by TLS too.
        assert client.recv(1) == b""


def test_a_password_that_comes_too_slowly_resets_the_login(tmp_path: Path) -> None:
    user, password = (base64.b64encode(text.encode()) for text in (USER, PASSWORD))
    with Sandbox(tmp_path, login_seconds=0.3) as slow, connected(slow) as client:
        client.sendall(b"ehlo x\r\nauth login\r\n" + user + b"\r\n")
        heard = until(client, b"535 authentication failed\r\n")
        assert heard.count(b"\r\n334 ") == 2
        client.sendall(b"auth login\r\n" + user + b"\r\n" + password + b"\r\n")
        assert b"\r\n235 " in until(client, b"\r\n235 login authentication successful\r\n")


def test_the_time_for_a_password_is_not_prolonged_by_its_octets(tmp_path: Path) -> None:
    user = base64.b64encode(USER.encode())
    with Sandbox(tmp_path, login_seconds=0.5) as slow, connected(slow) as client:
        client.sendall(b"ehlo x\r\nauth login\r\n" + user + b"\r\n")
        until(client, b"\r\n334 UGFzc3dvcmQ6\r\n")
        heard = b""
        end = time.monotonic() + SECONDS
        client.settimeout(0.05)
        while not heard and time.monotonic() < end:
            client.sendall(b"A")
            with suppress(TimeoutError):
                heard = client.recv(4096)
        assert heard == b"535 authentication failed\r\n"


def test_more_can_be_offered_and_is_taken(tmp_path: Path) -> None:
    more = ["CHUNKING", "SMTPUTF8", "LIMITS RCPTMAX=1"]
    with Sandbox(tmp_path, more=more) as sandbox, connected(sandbox) as client:
        plain = base64.b64encode(f"\0{USER}\0{PASSWORD}".encode())
        client.sendall(b"ehlo x\r\n")
        assert until(client, b"RCPTMAX=1\r\n").splitlines()[1:] == [
            *(f"250-{line}".encode() for line in DOCUMENTED_IMPLICIT.secure),
            b"250-CHUNKING", b"250-SMTPUTF8", b"250 LIMITS RCPTMAX=1",
        ]  # fmt: skip
        client.sendall(
            b"auth plain " + plain + b"\r\n"
            b"mail from:<a@b> SMTPUTF8 BODY=8BITMIME\r\nrcpt to:<\xc3\xa9@d> NOTIFY=NEVER\r\n"
            b"rcpt to:<e@f>\r\nbdat 3\r\n\0\r\nbdat 4 last\r\n.\r\n\n"
        )
        assert b"\r\n550 " in until(client, b"message\r\n")
        client.sendall(b"mail from:<a@b> SMTPUTF8\r\nrcpt to:<\xc3\xa9@d> NOTIFY=NEVER\r\n")
        client.sendall(b"bdat 3\r\n\0\r\nbdat 3 last\r\n.\r\n")
        until(client, b"accepted\r\n")
        assert sandbox.accepted == [
            Accepted("a@b", ("é@d",), ("SMTPUTF8",), (("NOTIFY=NEVER",),), b"\0\r\n.\r\n", USER)
        ]
        assert list(sandbox.faults) == ["NUL in the message"]


def test_nothing_sent_in_clear_reaches_the_other_side_of_starttls(sandbox: Sandbox) -> None:
    context = ssl.create_default_context(cafile=str(sandbox.ca_file))
    with socket.create_connection((ADDRESS, sandbox.starttls_port), timeout=SECONDS) as clear:
        until(clear, b"\r\n")
        clear.sendall(b"ehlo x\r\n")
        until(clear, b"250 PIPELINING\r\n")
        clear.sendall(b"starttls\r\nehlo injected\r\n")
        assert until(clear, b"TLS\r\n") == b"220 2.0.0 Ready to start TLS\r\n"
        with context.wrap_socket(clear, server_hostname="localhost") as secured:
            secured.sendall(b"noop\r\n")
            assert secured.recv(4096) == b"250 2.0.0 OK\r\n"


@pytest.mark.parametrize(
    "said",
    [b"", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00", b"\xff" * 100_000],
    ids=range(4),
)
def test_who_speaks_no_tls_is_dropped_quietly(
    sandbox: Sandbox, capfd: pytest.CaptureFixture[str], said: bytes
) -> None:
    with (
        socket.create_connection((ADDRESS, sandbox.port), timeout=SECONDS) as clear,
        suppress(OSError),
    ):
        clear.sendall(said)
        clear.shutdown(socket.SHUT_WR)
        until(clear, b"no end")
    with connected(sandbox) as client:
        client.sendall(b"\0" * 50_000 + b"\r\nquit\r\n")
        assert b"221 " in until(client, b"QUIT\r\n")
    assert capfd.readouterr() == ("", "")


def test_so_many_connections_and_no_more(sandbox: Sandbox) -> None:
    with ExitStack() as held:
        for _ in range(CONNECTIONS_LIMIT):
            held.enter_context(socket.create_connection((ADDRESS, sandbox.starttls_port)))
        with socket.create_connection((ADDRESS, sandbox.starttls_port), timeout=SECONDS) as more:
            assert more.recv(100) == b""
    end = time.monotonic() + SECONDS
    while True:
        with socket.create_connection((ADDRESS, sandbox.starttls_port), timeout=SECONDS) as again:
            if again.recv(100):
                break
        assert time.monotonic() < end


def test_a_taken_port_is_told(sandbox: Sandbox, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"can't start: .*in use"):
        Sandbox(tmp_path / "another", port=sandbox.port)


def test_a_directory_that_can_not_be_written_is_told() -> None:
    with pytest.raises(ConfigurationError, match="can't write /proc/nowhere"):
        Sandbox(Path("/proc/nowhere"))


@contextmanager
def process(*words: str) -> Iterator[subprocess.Popen[str]]:
    """The verb as a process of its own; it must have ended at the end."""
    running = subprocess.Popen(
        [sys.executable, "-I", str(PYTHON), "sandbox", *words],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield running
        _, stderr = running.communicate(timeout=SECONDS)
        assert stderr == ""
        assert running.returncode == 0
    finally:
        running.kill()
        running.wait()


@pytest.mark.parametrize("end", ["end of input", "SIGTERM", "SIGINT", "SIGHUP"])
def test_the_process_ends_as_it_is_told(end: str) -> None:
    with process("--report", "sexp") as running:
        assert running.stdout is not None
        report = codec.loads(running.stdout.readline().rstrip("\n"))
        assert isinstance(report, list)
        facts = codec.plist(report[1:])
        assert report[0] == codec.Symbol("sandbox")
        assert [*facts] == [
            "host", "port", "starttls-port", "ca-file", "user", "password", "maildir", "pid",
        ]  # fmt: skip
        assert facts["pid"] == running.pid
        ca_file = Path(str(facts["ca-file"]))
        assert ca_file.exists()
        if end != "end of input":
            running.send_signal(signal.Signals[end])
            running.wait(SECONDS)
    # It was its own directory, and goes with it.
    assert not ca_file.parent.exists()


def test_the_directory_that_was_named_stays(tmp_path: Path) -> None:
    with process("--directory", str(tmp_path / "mine"), "--login-seconds", "0.5") as running:
        assert running.stdout is not None
        assert "mail server on this machine only" in running.stdout.readline()
    assert (tmp_path / "mine" / "Maildir" / "new").is_dir()


def test_the_process_offers_what_it_is_told(smtps: Run) -> None:
    with process("--report", "sexp", "--offer", "CHUNKING,size 9", "--offer", "DSN") as running:
        assert running.stdout is not None
        report = codec.loads(running.stdout.readline().rstrip("\n"))
        assert isinstance(report, list)
        facts = codec.plist(report[1:])
        done = smtps(
            f"localhost:{facts['port']}", "--tls", "implicit", "--ca-file", str(facts["ca-file"]),
            text="ehlo x\nquit\n",
        )  # fmt: skip
    assert "recv> 250-SIZE 9\nrecv> 250 CHUNKING\n" in done.stdout


def test_the_process_lets_log_in_by_what_it_is_told(smtps: Run) -> None:
    with process("--report", "sexp", "--auth", "scram-sha-256-plus,XOAUTH2") as running:
        assert running.stdout is not None
        report = codec.loads(running.stdout.readline().rstrip("\n"))
        assert isinstance(report, list)
        facts = codec.plist(report[1:])
        words = [
            "check", f"localhost:{facts['port']}", "--tls", "implicit",
            "--ca-file", str(facts["ca-file"]), "--user", USER,
            "--password-command", f"echo {PASSWORD}",
        ]  # fmt: skip
        assert "accepted by SCRAM-SHA-256-PLUS" in smtps(*words).stdout
        assert "accepted by XOAUTH2" in smtps(*words, "--auth", "xoauth2").stdout
        assert "offers SCRAM-SHA-256-PLUS, XOAUTH2" in smtps(*words, "--auth", "plain").stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--offer", "BURL"], "The sandbox can't offer BURL."),
        (["--auth", "GSSAPI"], "AUTH can't be offered with 'GSSAPI' behind it"),
    ],
)
def test_an_offer_that_is_none_is_told(smtps: Run, words: list[str], told: str) -> None:
    done = smtps("sandbox", *words)
    assert done.returncode == 64
    assert told in done.stderr
    assert "Traceback" not in done.stderr


DIALOGUE = f"""ehlo localhost.localdomain
auth login
{base64.b64encode(USER.encode()).decode()}
{base64.b64encode(PASSWORD.encode()).decode()}
mail from:<from-address@poste.it>
rcpt to:<to-address@other-host.it>
data
Subject: interactive attempt

Text for interactive attempt.
.
quit
"""


def test_the_documented_dialogue_with_tls_at_once(sandbox: Sandbox, smtps: Run) -> None:
    done = smtps(
        f"localhost:{sandbox.port}", "--tls", "implicit", "--ca-file", str(sandbox.ca_file),
        text=DIALOGUE,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    start = lines.index("send> ehlo localhost.localdomain")
    assert lines[start + 2 : start + 10] == ["recv> " + line for line in DOCUMENTED]
    assert "send> <the-base64-username>" in lines
    assert "send> <the-base64-password>" in lines
    assert lines[-1] == "recv> - Peer has closed the TLS connection"
    assert base64.b64encode(PASSWORD.encode()).decode() not in done.stdout
    assert sandbox.accepted[0].octets == (
        b"Subject: interactive attempt\r\n\r\nText for interactive attempt.\r\n"
    )


def test_the_documented_dialogue_with_starttls(sandbox: Sandbox, smtps: Run) -> None:
    plain = base64.b64encode(f"\0{USER}\0{PASSWORD}".encode()).decode()
    done = smtps(
        "session", f"localhost:{sandbox.starttls_port}", "--tls", "starttls",
        "--ca-file", str(sandbox.ca_file),
        text=f"ehlo x\nstarttls\nehlo x\nauth plain {plain}\nmail from:<a@b.c>\n"
        "rcpt to:<d@e.f>\ndata\nSubject: x\n\ndemo\n.\nquit\n",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "send> auth plain <the-encoded-auth-credentials>" in done.stdout
    assert plain not in done.stdout
    assert "- Handshake was completed" in done.stdout
    assert len(sandbox.accepted) == 1


@pytest.mark.parametrize("tls", ["implicit", "starttls"])
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
@pytest.mark.parametrize("user", LOGINS)
def test_send(sandbox: Sandbox, smtps: Run, tls: str, mechanism: str, user: str) -> None:
    port = sandbox.port if tls == "implicit" else sandbox.starttls_port
    done = smtps(
        "send", "-t", "--host", "localhost", "--port", str(port), "--tls", tls,
        "--ca-file", str(sandbox.ca_file), "--user", user, "--auth", mechanism,
        "--password-command", f"printf '%s' '{LOGINS[user]}'",
        text="From: a@b.c\nTo: d@e.f\nBcc: g@h.i\nSubject: x\n\n.\nText\n",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    mail = sandbox.accepted[0]
    assert mail.recipients == ("d@e.f", "g@h.i")
    assert b"Bcc" not in mail.octets
    assert mail.octets.endswith(b"Subject: x\r\n\r\n.\r\nText\r\n")
    assert LOGINS[user] not in done.stdout + done.stderr


def test_send_with_a_wrong_password(sandbox: Sandbox, smtps: Run) -> None:
    done = smtps(
        "send", "x@y.z", "-f", "a@b.c", "--host", "localhost", "--port", str(sandbox.port),
        "--tls", "implicit", "--ca-file", str(sandbox.ca_file), "--user", USER,
        "--password-command", "echo wrongpass", text="Subject: x\n\ny\n",
    )  # fmt: skip
    assert done.returncode == 77
    assert "wrongpass" not in done.stderr
    assert "kept as" in done.stderr
    assert not sandbox.accepted


def test_an_unknown_certificate_gets_nothing(sandbox: Sandbox, smtps: Run) -> None:
    done = smtps(
        "send", "x@y.z", "-f", "a@b.c", "--host", "localhost", "--port", str(sandbox.port),
        "--tls", "implicit", text="Subject: x\n\ny\n",
    )  # fmt: skip
    assert done.returncode == 77
    assert "has an issuer that is not known" in done.stderr

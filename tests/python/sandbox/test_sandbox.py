"""The sandbox, by a client of somebody else's and by our own command line."""

from __future__ import annotations

import base64
import smtplib
import socket
import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st
from servers import Run

from smtps.sandbox.machine import DOCUMENTED_IMPLICIT, MESSAGE_LIMIT, Offer, ServerMachine
from smtps.sandbox.server import LOGINS, PASSWORD, USER, Sandbox

DOCUMENTED = [
    "250-DSN",
    "250-8BITMIME",
    "250-PIPELINING",
    "250-HELP",
    "250-AUTH=LOGIN",
    "250-AUTH LOGIN CRAM-MD5 DIGEST-MD5 PLAIN",
    "250-DELIVERBY 300",
    "250 SIZE",
]


def said(machine: ServerMachine, *lines: str) -> list[str]:
    for line in lines:
        machine.receive(line.encode() + b"\r\n")
    return machine.data_to_send().decode().split("\r\n")[:-1]


def test_the_ehlo_list_is_the_documented_one() -> None:
    machine = ServerMachine(DOCUMENTED_IMPLICIT, LOGINS)
    machine.data_to_send()
    assert said(machine, "ehlo x")[1:] == DOCUMENTED


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


def test_a_password_that_comes_too_slowly_resets_the_login(sandbox: Sandbox) -> None:
    context = ssl.create_default_context(cafile=str(sandbox.ca_file))
    with (
        socket.create_connection(("localhost", sandbox.port)) as clear,
        context.wrap_socket(clear, server_hostname="localhost") as client,
    ):
        client.sendall(b"ehlo x\r\nauth login\r\ndXNlcg==\r\n")
        heard = b""
        while data := client.recv(4096):
            heard += data
    assert heard.split(b"\r\n")[-2].startswith(b"421")


def test_mail_needs_a_login_and_its_order() -> None:
    machine = ServerMachine(DOCUMENTED_IMPLICIT, LOGINS)
    machine.data_to_send()
    assert said(machine, "mail from:<a@b>")[0].startswith("503")
    said(machine, "ehlo x")
    assert said(machine, "mail from:<a@b>")[0].startswith("530")
    assert said(machine, "auth nonsense")[0].startswith("504")
    assert said(machine, "auth login", "!")[1].startswith("501")
    assert said(machine, "auth login", "*")[1].startswith("501")
    assert said(machine, "data")[0].startswith("503")


@given(st.lists(st.binary(max_size=60), max_size=20), st.booleans())
def test_anything_may_be_said_to_it(pieces: list[bytes], tls: bool) -> None:
    machine = ServerMachine(Offer(secure=("CHUNKING", "AUTH PLAIN"), login_needed=False), {}, tls)
    machine.receive(b"EHLO x\r\n")
    for piece in pieces:
        machine.receive(piece)
        machine.receive(b"\r\n")
    assert len(machine.data_to_send()) < MESSAGE_LIMIT


def test_a_message_octet_by_octet() -> None:
    machine = ServerMachine(Offer(login_needed=False), {})
    dialogue = (
        b"EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nS: x\r\n\r\n..a\r\n.\r\nQUIT\r\n"
    )
    for octet in dialogue:
        machine.receive(bytes((octet,)))
    assert machine.accepted[0].octets == b"S: x\r\n\r\n.a\r\n"
    assert machine.closed


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
    assert "issuer is not known" in done.stderr

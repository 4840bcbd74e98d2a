"""Real processes for tests: our command line, and Postfix with Dovecot's SASL.

The servers are as Debian packages them, in a directory of their own, on loopback only.
"""

from __future__ import annotations

import base64
import hmac
import json
import os
import pwd
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

PYTHON = Path(__file__).parents[2] / "python"
ELISP = Path(__file__).parents[2] / "elisp"

USERS = {"tester": "secret", "accented": 'pässwörd "quoted" 100%'}

UNPREPARED = {"smile": "😀 pass", "soft": "a\u00adb ª"}
"""What SASLprep forbids, and what it changes."""

START_SECONDS = 20

MAIN_CF = """\
compatibility_level = 3.6
queue_directory = {root}/queue
data_directory = {root}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
maillog_file = {root}/log/postfix.log
maillog_file_prefixes = {root}
mail_owner = postfix
setgid_group = postdrop
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = mx.test
mydestination =
virtual_mailbox_domains = other-host.it
virtual_mailbox_base = {root}/mail
virtual_mailbox_maps = static:box/
virtual_minimum_uid = 1
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
mynetworks =
alias_maps =
alias_database =
smtpd_tls_cert_file = {root}/chain.pem
smtpd_tls_key_file = {root}/key.pem
smtpd_tls_auth_only = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = private/auth
smtpd_sasl_security_options = noanonymous
smtpd_relay_restrictions = permit_sasl_authenticated, reject
smtpd_recipient_restrictions = permit_sasl_authenticated, reject
"""

MASTER_CF = """\
127.0.0.1:{port} inet n - n - - smtpd
  -o smtpd_tls_wrappermode=yes -o smtpd_sasl_auth_enable=yes -o smtpd_tls_security_level=encrypt
127.0.0.1:{starttls_port} inet n - n - - smtpd
  -o smtpd_sasl_auth_enable=yes -o smtpd_tls_security_level=encrypt
127.0.0.1:{relay_port} inet n - n - - smtpd
  -o smtpd_relay_restrictions=reject_unauth_destination
  -o smtpd_recipient_restrictions=reject_unauth_destination
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - discard
relay unix - - n - - discard
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""

DOVECOT_CONF = """\
base_dir = {root}/dovecot
state_dir = {root}/dovecot-state
log_path = {root}/log/dovecot.log
protocols =
ssl = no
disable_plaintext_auth = no
auth_mechanisms = plain login cram-md5 digest-md5 scram-sha-1 scram-sha-256 oauthbearer xoauth2
auth_failure_delay = 0
passdb {{
  driver = passwd-file
  mechanisms = plain login cram-md5 digest-md5 scram-sha-1 scram-sha-256
  args = scheme=plain username_format=%u {root}/users
}}
passdb {{
  driver = oauth2
  mechanisms = oauthbearer xoauth2
  args = {root}/oauth2.conf
}}
# Without it each failed login makes the next wait longer.
service anvil {{
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home=/nonexistent
}}
service auth {{
  unix_listener {root}/queue/private/auth {{
    mode = 0660
    user = postfix
    group = postfix
  }}
}}
"""


OAUTH2_CONF = """\
introspection_mode = local
local_validation_key_dict = fs:posix:prefix={root}/tokens/
username_attribute = sub
"""

TOKEN_KEY = b"a key that the servers of a test share"


def token(user: str, key: bytes = TOKEN_KEY, expires: float = 3600) -> str:
    """Return a token (a JWT, RFC 7519) for USER, signed with KEY, that EXPIRES in seconds."""
    now = time.time()
    parts = (
        {"alg": "HS256", "typ": "JWT"},
        {"sub": user, "iat": int(now) - 10, "exp": int(now + expires)},
    )
    said = b".".join(_base64url(json.dumps(part).encode()) for part in parts)
    signature = hmac.new(key, said, "sha256").digest()
    return (said + b"." + _base64url(signature)).decode()


def _base64url(octets: bytes) -> bytes:
    return base64.urlsafe_b64encode(octets).rstrip(b"=")


@dataclass(frozen=True)
class Postfix:
    """Where the running server is."""

    port: int
    starttls_port: int
    relay_port: int
    """Without TLS and for anybody: for another server in front of it."""
    ca_file: Path
    maildir: Path
    root: Path

    def mails(self, count: int) -> list[bytes]:
        """Wait until COUNT mails lie in the Maildir, and return them."""
        end = time.monotonic() + START_SECONDS
        new = self.maildir / "new"
        while time.monotonic() < end:
            found = sorted(new.iterdir()) if new.is_dir() else []
            if len(found) >= count:
                return [path.read_bytes() for path in found]
            time.sleep(0.05)
        log = (self.root / "log" / "postfix.log").read_text("utf-8", "replace")
        raise AssertionError(f"{count} mails did not come:\n{log[-2000:]}")

    def forget(self) -> None:
        """Empty the Maildir."""
        shutil.rmtree(self.maildir, ignore_errors=True)


def free_port() -> int:
    """Return a port of loopback on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def answers(port: int, tls: ssl.SSLContext | None) -> bool:
    """Return True if a server greets on PORT, by TLS at once or None."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as clear:
            if tls is None:
                return clear.recv(4).startswith(b"220")
            with tls.wrap_socket(clear, server_hostname="localhost") as secured:
                return secured.recv(4).startswith(b"220")
    except OSError:
        return False


def _certificates(root: Path) -> None:
    import trustme

    authority = trustme.CA()
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    authority.cert_pem.write_to_path(str(root / "ca.pem"))
    certificate.private_key_pem.write_to_path(str(root / "key.pem"))
    for number, blob in enumerate(certificate.cert_chain_pems):
        blob.write_to_path(str(root / "chain.pem"), append=number > 0)


@pytest.fixture(scope="session")
def postfix_server() -> Iterator[Postfix]:
    """Start Postfix and Dovecot's SASL; stop what was started."""
    if not (Path("/usr/sbin/postfix").exists() and Path("/usr/sbin/dovecot").exists()):
        pytest.skip("Postfix and Dovecot are not installed: tests/run installs them as root.")
    if os.geteuid() != 0:
        pytest.skip("Postfix can be started only by root.")
    with started() as running:
        yield running


@contextmanager
def started() -> Iterator[Postfix]:
    """Run Postfix and Dovecot's SASL within a with statement."""
    # Postfix wants a path that its own user can walk, and a short one for its sockets.
    root = Path(tempfile.mkdtemp(prefix="smtps-e2e-", dir="/tmp"))
    root.chmod(0o755)
    owner = pwd.getpwnam("postfix")
    port, starttls_port, relay_port = free_port(), free_port(), free_port()
    facts = {"root": root, "uid": owner.pw_uid, "gid": owner.pw_gid, "port": port,
             "starttls_port": starttls_port, "relay_port": relay_port}  # fmt: skip
    for name in ("config", "queue", "data", "mail", "log", "dovecot", "dovecot-state"):
        (root / name).mkdir()
    for name in ("data", "mail"):
        os.chown(root / name, owner.pw_uid, owner.pw_gid)
    _certificates(root)
    (root / "users").write_text(
        "".join(f"{user}:{{PLAIN}}{password}\n" for user, password in (USERS | UNPREPARED).items()),
        "utf-8",
    )
    (root / "config" / "main.cf").write_text(MAIN_CF.format(**facts))
    (root / "config" / "master.cf").write_text(MASTER_CF.format(**facts))
    (root / "dovecot.conf").write_text(DOVECOT_CONF.format(**facts))
    (root / "oauth2.conf").write_text(OAUTH2_CONF.format(**facts))
    keys = root / "tokens" / "default" / "HS256"
    keys.mkdir(parents=True)
    (keys / "default").write_bytes(base64.b64encode(TOKEN_KEY))
    config = str(root / "config")
    started = subprocess.run(
        ["postfix", "-c", config, "start"], capture_output=True, text=True, check=False
    )
    assert started.returncode == 0, started.stderr
    dovecot = subprocess.Popen(
        ["dovecot", "-F", "-c", str(root / "dovecot.conf")],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        context = ssl.create_default_context(cafile=str(root / "ca.pem"))
        end = time.monotonic() + START_SECONDS
        # The socket first: an smtpd that is asked before dies, and Postfix throttles it.
        while not (
            (root / "queue/private/auth").exists()
            and answers(port, context)
            and answers(starttls_port, None)
            and answers(relay_port, None)
        ):
            if time.monotonic() > end:
                logs = "".join(
                    path.read_text("utf-8", "replace")[-2000:] for path in (root / "log").iterdir()
                )
                raise AssertionError(f"Postfix did not start:\n{logs}")
            time.sleep(0.1)
        yield Postfix(port, starttls_port, relay_port, root / "ca.pem", root / "mail" / "box", root)
    finally:
        dovecot.terminate()
        dovecot.wait(START_SECONDS)
        subprocess.run(["postfix", "-c", config, "stop"], capture_output=True, check=False)
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def postfix(postfix_server: Postfix) -> Postfix:
    """The running server, its Maildir empty."""
    postfix_server.forget()
    return postfix_server


Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def smtps(tmp_path: Path) -> Run:
    """Run `smtps` with words and input, in a home of its own, UNDER a program if given."""

    def run(
        *words: str, text: str = "", under: Sequence[str] = ()
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*under, sys.executable, "-I", str(PYTHON), *words],
            input=text, capture_output=True, encoding="utf-8", timeout=60, check=False,
            env=os.environ | {"HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path / "data")},
        )  # fmt: skip

    return run

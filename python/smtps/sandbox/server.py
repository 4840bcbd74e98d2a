"""The sandbox's two ports, its throwaway certificate and its Maildir."""

from __future__ import annotations

import mailbox
import socket
import ssl
import threading
from contextlib import ExitStack, suppress
from pathlib import Path

from smtps.errors import ConfigurationError
from smtps.sandbox.machine import (
    DOCUMENTED_IMPLICIT,
    DOCUMENTED_STARTTLS,
    Accepted,
    Offer,
    Override,
    ServerMachine,
)

HOST = "localhost"
ADDRESS = "127.0.0.1"
USER = "from-address@poste.it"
PASSWORD = "secret"  # noqa: S105 - it is told to everybody
LOGINS = {USER: PASSWORD, "accented@poste.it": 'pässwörd "quoted" 100%'}

LOGIN_SECONDS = 10.0
"""A login whose next answer takes longer is reset, as the documented server does."""

IDLE_SECONDS = 300.0
"""RFC 5321 4.5.3.2.7."""

CONNECTIONS_LIMIT = 100


class Sandbox:
    """A running sandbox, as a context manager; files lie below DIRECTORY.

    Port 0 takes a free one.  OVERRIDE can change the reply to any command.
    """

    def __init__(
        self,
        directory: Path,
        port: int = 0,
        starttls_port: int = 0,
        login_seconds: float = LOGIN_SECONDS,
        implicit: Offer = DOCUMENTED_IMPLICIT,
        starttls: Offer = DOCUMENTED_STARTTLS,
        override: Override | None = None,
    ) -> None:
        self.host = HOST
        self.user = USER
        self.password = PASSWORD
        self.directory = directory
        self.ca_file = directory / "ca.pem"
        self.maildir = directory / "Maildir"
        self.accepted: list[Accepted] = []
        self._login_seconds = login_seconds
        self._override = override
        self._offers = {True: implicit, False: starttls}
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._box = mailbox.Maildir(self.maildir)
            self._listeners = {
                True: socket.create_server((ADDRESS, port)),
                False: socket.create_server((ADDRESS, starttls_port)),
            }
        except OSError as error:
            raise ConfigurationError(f"The sandbox can't start: {error.strerror}.") from None
        self._context = self._certified()

    @property
    def port(self) -> int:
        """The port with implicit TLS."""
        return int(self._listeners[True].getsockname()[1])

    @property
    def starttls_port(self) -> int:
        """The port with STARTTLS."""
        return int(self._listeners[False].getsockname()[1])

    def _certified(self) -> ssl.SSLContext:
        try:
            import trustme
        except ImportError:
            raise ConfigurationError(
                "The sandbox needs the library trustme: pip install 'smtps[sandbox]'."
            ) from None
        authority = trustme.CA(organization_name="smtps sandbox")
        certificate = authority.issue_cert(
            HOST, ADDRESS, "::1", common_name=HOST, organization_name="smtps sandbox"
        )
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(made)
        authority.cert_pem.write_to_path(str(self.ca_file))
        return made

    def __enter__(self) -> Sandbox:
        for implicit in (True, False):
            threading.Thread(target=self._listen, args=(implicit,), daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        for listener in self._listeners.values():
            # Wakes the thread that waits in accept.
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        with self._lock:
            still_open = list(self._open)
        for connected in still_open:
            with suppress(OSError):
                connected.shutdown(socket.SHUT_RDWR)

    def _listen(self, implicit: bool) -> None:
        listener = self._listeners[implicit]
        while True:
            try:
                connected, _ = listener.accept()
            except OSError:
                return
            if len(self._open) >= CONNECTIONS_LIMIT:
                connected.close()
                continue
            threading.Thread(target=self._serve, args=(connected, implicit), daemon=True).start()

    def _serve(self, connected: socket.socket, implicit: bool) -> None:
        with self._lock:
            self._open.add(connected)
        try:
            connected.settimeout(IDLE_SECONDS)
            self._converse(connected, implicit)
        except (OSError, ValueError):
            # The client broke off, or never spoke TLS: it is its own affair.
            pass
        finally:
            with self._lock:
                self._open.discard(connected)
            connected.close()

    def _converse(self, connected: socket.socket, implicit: bool) -> None:
        machine = ServerMachine(self._offers[implicit], LOGINS, implicit, self._override)
        with ExitStack() as opened:
            if implicit:
                connected = self._secured(connected, opened)
            self._exchange(connected, machine, opened)

    def _secured(self, connected: socket.socket, opened: ExitStack) -> ssl.SSLSocket:
        secured = self._context.wrap_socket(
            connected, server_side=True, do_handshake_on_connect=False
        )
        opened.callback(secured.close)
        with self._lock:
            self._open.add(secured)
        opened.callback(self._open.discard, secured)
        secured.do_handshake()
        return secured

    def _exchange(
        self, connected: socket.socket, machine: ServerMachine, opened: ExitStack
    ) -> None:
        kept = 0
        while True:
            for mail in machine.accepted[kept:]:
                self._keep(mail)
            kept = len(machine.accepted)
            connected.sendall(machine.data_to_send())
            if machine.closed:
                if isinstance(connected, ssl.SSLSocket):
                    with suppress(OSError, ValueError):
                        connected.unwrap()
                return
            if machine.wants_tls:
                connected = self._secured(connected, opened)
                machine.tls_started()
                continue
            connected.settimeout(self._login_seconds if machine.between_secrets else IDLE_SECONDS)
            try:
                data = connected.recv(65536)
            except TimeoutError:
                machine.time_out()
                continue
            if not data:
                return
            machine.receive(data)

    def _keep(self, mail: Accepted) -> None:
        """Put MAIL into the Maildir, its envelope above it (RFC 5321 4.4)."""
        head = f"Return-Path: <{mail.mail_from}>\n" + "".join(
            f"Delivered-To: {recipient}\n" for recipient in mail.recipients
        )
        with self._lock:
            self._box.add(head.encode() + mail.octets.replace(b"\r\n", b"\n"))
            self.accepted.append(mail)

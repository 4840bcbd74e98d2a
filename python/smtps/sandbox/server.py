"""The sandbox's two ports, its throwaway certificate and its Maildir."""

from __future__ import annotations

import mailbox
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from itertools import chain
from pathlib import Path

from smtps.errors import ConfigurationError
from smtps.protocol.transcript import Recording
from smtps.sandbox.machine import (
    DOCUMENTED_IMPLICIT,
    DOCUMENTED_STARTTLS,
    Accepted,
    Offer,
    Override,
    ServerMachine,
)
from smtps.sandbox.replay import Player
from smtps.sasl.binding import end_point

HOST = "localhost"
ADDRESS = "127.0.0.1"
ADDRESS_6 = "::1"
USER = "from-address@poste.it"
PASSWORD = "secret"  # noqa: S105 - it is told to everybody
TOKEN = "Tr0ub4dor-horse_" * 128
"""As long as the tokens of large providers, and each part of it tells what it is of."""
LOGINS = {USER: PASSWORD, "accented@poste.it": 'pässwörd "quoted" 100%', "token@poste.it": TOKEN}

LOGIN_SECONDS = 10.0
"""A login whose password takes longer is reset, as the documented server does."""

IDLE_SECONDS = 300.0
"""RFC 5321 4.5.3.2.7."""

HANDSHAKE_SECONDS = 30.0
"""On loopback a handshake takes milliseconds; who takes longer does not speak TLS."""

STOP_SECONDS = 5.0
"""What an orderly end of a connection, or of all, may take."""

CONNECTIONS_LIMIT = 100

FAULTS_REMEMBERED = 100

REMEMBERED_LIMIT = 128 * 1024 * 1024
"""Octets of mails in ``accepted``; the Maildir has them all."""


class Sandbox:
    """A running sandbox, as a context manager; files lie below DIRECTORY.

    Port 0 takes a free one.  LOGIN_SECONDS is what a password may take after the user name.
    IMPLICIT and STARTTLS are what the ports offer, MORE what they offer beside that, each a
    keyword of `extensions` and what may follow it in EHLO.  OVERRIDE can change the reply to
    any command.  Of a RECORDING they play the server's side instead, and TELL gets what a client
    did otherwise than the recorded one.  Raises UsageError where MORE can't be offered, and
    ConfigurationError where a port can't be had, DIRECTORY can't be written, or the library
    trustme is missing.
    """

    def __init__(
        self,
        directory: Path,
        port: int = 0,
        starttls_port: int = 0,
        login_seconds: float = LOGIN_SECONDS,
        implicit: Offer = DOCUMENTED_IMPLICIT,
        starttls: Offer = DOCUMENTED_STARTTLS,
        more: Sequence[str] = (),
        override: Override | None = None,
        recording: Recording | None = None,
        tell: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        self.host = HOST
        self.user = USER
        self.password = PASSWORD
        self.directory = directory
        self.ca_file = directory / "ca.pem"
        self.maildir = directory / "Maildir"
        self.accepted: list[Accepted] = []
        """The last mails, as `REMEMBERED_LIMIT` allows: envelope, parameters, and the octets."""
        self.faults: deque[str] = deque(maxlen=FAULTS_REMEMBERED)
        """What clients did wrong and was taken all the same, the last of it."""
        self._login_seconds = login_seconds
        self._override = override
        self._recording = recording
        self._tell = tell
        self._offers = {True: implicit.with_more(more), False: starttls.with_more(more)}
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads: set[threading.Thread] = set()
        self._context = self._certified()
        self._listeners: dict[bool, list[socket.socket]] = {}
        try:
            self._box = mailbox.Maildir(self.maildir)
            self._listeners[True] = _listeners(port)
            self._listeners[False] = _listeners(starttls_port)
        except OSError as error:
            self._close_listeners()
            raise ConfigurationError(f"The sandbox can't start: {error.strerror}.") from None

    @property
    def port(self) -> int:
        """The port with implicit TLS."""
        return int(self._listeners[True][0].getsockname()[1])

    @property
    def starttls_port(self) -> int:
        """The port with STARTTLS."""
        return int(self._listeners[False][0].getsockname()[1])

    def _certified(self) -> ssl.SSLContext:
        try:
            import trustme
        except ImportError:
            raise ConfigurationError(
                "The sandbox needs the library trustme beside smtps: pip install trustme."
            ) from None
        authority = trustme.CA(organization_name="smtps sandbox")
        certificate = authority.issue_cert(
            HOST, ADDRESS, ADDRESS_6, common_name=HOST, organization_name="smtps sandbox"
        )
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(made)
        own = certificate.cert_chain_pems[0].bytes().decode("ascii")
        self._binding = end_point(ssl.PEM_cert_to_DER_cert(own))
        try:
            self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            authority.cert_pem.write_to_path(str(self.ca_file))
        except OSError as error:
            raise ConfigurationError(
                f"The sandbox can't write {self.directory}: {error.strerror}."
            ) from None
        return made

    def __enter__(self) -> Sandbox:
        for implicit, listeners in self._listeners.items():
            for listener in listeners:
                self._start(self._listen, listener, implicit)
        return self

    def __exit__(self, *exc: object) -> None:
        self._close_listeners()
        with self._lock:
            still_open, threads = list(self._open), list(self._threads)
        for connected in still_open:
            with suppress(OSError):
                connected.shutdown(socket.SHUT_RDWR)
        end = time.monotonic() + STOP_SECONDS
        for thread in threads:
            thread.join(max(0.0, end - time.monotonic()))

    def _close_listeners(self) -> None:
        for listener in chain(*self._listeners.values()):
            # Wakes the thread that waits in accept.
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()

    def _start(
        self, work: Callable[[socket.socket, bool], None], connected: socket.socket, implicit: bool
    ) -> None:
        def run() -> None:
            try:
                work(connected, implicit)
            finally:
                with self._lock:
                    self._threads.discard(thread)

        thread = threading.Thread(target=run, daemon=True)
        with self._lock:
            self._threads.add(thread)
        thread.start()

    def _listen(self, listener: socket.socket, implicit: bool) -> None:
        while True:
            try:
                connected, _ = listener.accept()
            except OSError:
                return
            with self._lock:
                full = len(self._open) >= CONNECTIONS_LIMIT
                if not full:
                    self._open.add(connected)
            if full:
                connected.close()
            else:
                self._start(self._serve, connected, implicit)

    def _serve(self, connected: socket.socket, implicit: bool) -> None:
        with ExitStack() as opened:
            opened.callback(self._close, connected)
            # The client broke off, or never spoke TLS: it is its own affair.
            opened.enter_context(suppress(OSError, ValueError))
            self._converse(connected, implicit, opened)

    def _close(self, connected: socket.socket) -> None:
        with self._lock:
            self._open.discard(connected)
        connected.close()

    def _converse(self, connected: socket.socket, implicit: bool, opened: ExitStack) -> None:
        if implicit:
            connected = self._secured(connected, opened)
        machine = self._machine(implicit)
        login_end: float | None = None
        while True:
            connected.settimeout(IDLE_SECONDS)
            connected.sendall(machine.data_to_send())
            if machine.closed:
                if isinstance(connected, ssl.SSLSocket):
                    connected.settimeout(STOP_SECONDS)
                    connected.unwrap()
                return
            if machine.wants_tls:
                connected = self._secured(connected, opened)
                machine.tls_started()
                continue
            if not machine.between_secrets:
                login_end = None
            else:
                login_end = login_end or time.monotonic() + self._login_seconds
                left = login_end - time.monotonic()
                if left <= 0:
                    machine.time_out()
                    continue
                connected.settimeout(left)
            try:
                data = connected.recv(65536)
            except TimeoutError:
                if login_end is None:
                    return
                continue
            if not data:
                if isinstance(machine, Player):
                    machine.hung_up()
                return
            machine.receive(data)
            self.faults.extend(machine.faults)
            machine.faults.clear()

    def _machine(self, implicit: bool) -> ServerMachine | Player:
        if self._recording is not None:
            return Player(self._recording, self._tell)
        offer = self._offers[implicit]
        return ServerMachine(offer, LOGINS, implicit, self._override, self._keep, self._binding)

    def _secured(self, connected: socket.socket, opened: ExitStack) -> ssl.SSLSocket:
        connected.settimeout(HANDSHAKE_SECONDS)
        secured = self._context.wrap_socket(
            connected, server_side=True, do_handshake_on_connect=False
        )
        with self._lock:
            # Wrapping took the socket over.
            self._open.discard(connected)
            self._open.add(secured)
        opened.callback(self._close, secured)
        secured.do_handshake()
        return secured

    def _keep(self, mail: Accepted) -> None:
        """Put MAIL into the Maildir, its envelope above it (RFC 5321 4.4)."""
        head = f"Return-Path: <{mail.mail_from}>\n" + "".join(
            f"Delivered-To: {recipient}\n" for recipient in mail.recipients
        )
        with self._lock:
            try:
                self._box.add(head.encode() + mail.octets.replace(b"\r\n", b"\n"))
            except mailbox.Error as error:
                raise OSError(str(error)) from None
            self.accepted.append(mail)
            while sum(len(kept.octets) for kept in self.accepted) > REMEMBERED_LIMIT:
                del self.accepted[0]


def _listeners(port: int) -> list[socket.socket]:
    """Listen at PORT of loopback: IPv4's, and the same of IPv6's where there is one."""
    first = socket.create_server((ADDRESS, port))
    listening = [first]
    with suppress(OSError):
        same = first.getsockname()[1]
        listening.append(socket.create_server((ADDRESS_6, same), family=socket.AF_INET6))
    return listening

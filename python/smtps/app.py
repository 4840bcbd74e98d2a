"""The helper: the only room that knows both the RPC and the clients.  The method table."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from smtps import VERSION
from smtps.errors import (
    ConfigurationError,
    PeerGoneError,
    SmtpsError,
    UsageError,
    WireError,
)
from smtps.rpc.codec import Symbol, Value, plist
from smtps.rpc.peer import Peer
from smtps.rpc.stdio import Wire, ignore_hangups

if TYPE_CHECKING:
    from smtps.client.account import Account
    from smtps.client.accounts import Named
    from smtps.client.login import Credentials
    from smtps.client.session import Event, Session
    from smtps.client.trusting import Trust
    from smtps.outbox.drain import Drainer
    from smtps.outbox.overview import Listed
    from smtps.outbox.spool import Spool
    from smtps.protocol.commands import Verb
    from smtps.protocol.dialogue import Stop
    from smtps.protocol.envelope import Message

WIRE_VERSION = 1

LIBRARIES = ("sexpdata", "asn1crypto", "scramp")
"""What is imported when it is needed, and has to be there by then."""

WINDOW = 64
"""Events of a session that may lie unacknowledged before its server is no longer read."""

LAST_SECONDS = 620
"""How long the helper may finish what is past its commit: the last reply's ten minutes."""


def run() -> int:
    """Serve Emacs on standard input and output until it goes; return the exit status."""
    from importlib.util import find_spec

    missing = [name for name in LIBRARIES if find_spec(name) is None]
    if missing:
        raise ConfigurationError(
            f"The helper lacks {' and '.join(missing)} for this Python "
            f"({sys.executable}). M-x smtps-install-helper installs that."
        )
    ignore_hangups()
    asyncio.run(_serve())
    return 0


async def _serve() -> None:
    wire = Wire()
    app = App(wire)
    ended = asyncio.Event()
    wire.read(app.peer.receive, ended.set)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    await ended.wait()
    await app.close()
    wire.flush(1)


@dataclass
class _Held:
    """A session, and how many of its events Emacs has seen."""

    session: Session
    task: asyncio.Task[SmtpsError | None] | None = None
    sent: int = 0
    seen: int = 0
    room: asyncio.Event = field(default_factory=asyncio.Event)


class App:
    """What Emacs can call, and what it holds open."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self.peer = Peer(
            {
                "hello": self.hello,
                "session-open": self.session_open,
                "session-send": self.session_send,
                "session-greet": self.session_greet,
                "session-log-in": self.session_log_in,
                "session-message": self.session_message,
                "session-verify": self.session_verify,
                "session-close": self.session_close,
                "accounts": self.accounts,
                "trust": self.trust,
                "warm": self.warm,
                "outbox-drain": self.outbox_drain,
                "outbox-retry": self.outbox_retry,
                "outbox-drop": self.outbox_drop,
                "outbox-mark-sent": self.outbox_mark_sent,
                "outbox-follow": self.outbox_follow,
                "outbox-stop": self.outbox_stop,
            },
            {"session-ack": self._acknowledged},
            wire.write,
        )
        self._trust: Trust | None = None
        self._sessions: dict[int, _Held] = {}
        self._last_session = 0
        self._drainers: dict[str, Drainer] = {}

    async def close(self) -> None:
        """Emacs has gone: end the sessions, finish what is past its commit."""
        self.peer.gone()
        for held in list(self._sessions.values()):
            if held.task is not None:
                held.task.cancel()
        drainers = list(self._drainers.values())
        if drainers:
            await asyncio.wait(
                [asyncio.create_task(drainer.stop()) for drainer in drainers],
                timeout=LAST_SECONDS,
            )

    async def hello(self, args: dict[str, Value]) -> Value:
        """Tell who is here: name, version, wire version, Python's and OpenSSL's versions."""
        import ssl

        return {
            "name": "smtps",
            "version": VERSION,
            "wire": WIRE_VERSION,
            "python": sys.version.split()[0],
            "openssl": ssl.OPENSSL_VERSION,
        }

    async def accounts(self, args: dict[str, Value]) -> Value:
        """Read the accounts file; return a plist for each account, as ``smtps-accounts`` has it."""
        from smtps.client import accounts

        return [_account_plist(named) for named in accounts.read(accounts.default())]

    # Sessions

    async def session_open(self, args: dict[str, Value]) -> Value:
        """Open a dialogue by hand (:host :port :tls :ca-file :timeout); return (:session N)."""
        from smtps.client.session import Session

        account = _account(args)
        self._last_session += 1
        number = self._last_session
        timeout = args.get("timeout")
        held: _Held

        def emit(event: Event) -> None:
            self._tell(number, held, event)

        async def drain() -> None:
            while held.sent - held.seen >= WINDOW:
                held.room.clear()
                await held.room.wait()
            # One that was dropped would never be acknowledged.
            await self._wire.drain()

        held = _Held(
            Session(
                account,
                emit,
                float(timeout) if isinstance(timeout, int) and timeout else None,
                drain=drain,
                trust=self._trusting(),
            )
        )
        self._sessions[number] = held
        # Begun only when the return has been written: no event comes before it.
        asyncio.get_running_loop().call_soon(self._begin, number, held)
        return {"session": number}

    def _begin(self, number: int, held: _Held) -> None:
        async def hold() -> SmtpsError | None:
            try:
                return await held.session.run()
            finally:
                self._sessions.pop(number, None)

        held.task = asyncio.get_running_loop().create_task(hold())

    def _tell(self, number: int, held: _Held, event: Event) -> None:
        held.sent += 1
        self.peer.event("session", {"session": number, "seq": held.sent, **_plist(event)})

    def _acknowledged(self, args: dict[str, Value]) -> None:
        held = self._sessions.get(_number(args, "session"))
        if held is not None:
            held.seen = max(held.seen, _number(args, "seq"))
            if held.sent - held.seen < WINDOW:
                held.room.set()

    async def session_send(self, args: dict[str, Value]) -> Value:
        """Send a typed line (:session :line)."""
        line = args.get("line")
        if not isinstance(line, str) or "\n" in line or "\r" in line:
            raise UsageError("A line to send is text without line breaks.")
        self._held(args).session.send(line)
        return None

    async def session_greet(self, args: dict[str, Value]) -> Value:
        """Say EHLO (:session), and with :starttls start TLS and say it again.

        This and what follows return when it is done: (:done t), or (:done nil :code N) with the
        reply that refused it.  What happens is told by events.
        """
        from smtps.protocol import by_hand

        tls = bool(args.get("starttls"))
        part = by_hand.greet("starttls" if tls else "none")
        return await _led(self._held(args).session.lead(part, for_tls=tls))

    async def session_log_in(self, args: dict[str, Value]) -> Value:
        """Log in (:session) as :user by :mechanisms, a list; or as the credentials call says."""
        from smtps.client.login import Credentials
        from smtps.protocol import by_hand

        session = self._held(args).session
        mechanisms = args.get("mechanisms") or []
        if not isinstance(mechanisms, list):
            raise UsageError("The argument :mechanisms has to be a list.")
        account = session.account = session.account._replace(
            user=_optional(args, "user") or session.account.user,
            mechanisms=tuple(str(name).upper() for name in mechanisms),
        )

        async def ask() -> Credentials | None:
            found = await self._credentials(account)
            return Credentials(*found) if found else None

        return await _led(session.lead(by_hand.log_in, ask))

    async def session_message(self, args: dict[str, Value]) -> Value:
        """Send the message in :file (:session); the whole transaction if :from and :to, a list.

        :from may be empty, for the null reverse-path.
        """
        from smtps.protocol import by_hand
        from smtps.protocol.envelope import Envelope

        session = self._held(args).session
        message = await asyncio.to_thread(_message, _text(args, "file"))
        recipients = args.get("to")
        sender = args.get("from") or ""
        if not recipients:
            return await _led(session.lead(by_hand.text(message)))
        if not isinstance(recipients, list) or not isinstance(sender, str):
            raise UsageError(":to has to be a list of addresses, and :from an address.")
        envelope = Envelope(sender, tuple(map(str, recipients)))
        return await _led(session.lead(by_hand.transaction(envelope, message)))

    async def session_verify(self, args: dict[str, Value]) -> Value:
        """Ask what a mail :from an address, or an empty one, :to another would be told (:session).

        Nothing is sent: MAIL and RCPT are taken back by RSET.
        """
        from smtps.protocol import by_hand
        from smtps.protocol.envelope import Envelope

        sender = args.get("from") or ""
        if not isinstance(sender, str):
            raise UsageError("The argument :from has to be an address.")
        envelope = Envelope(sender, (_text(args, "to"),))
        return await _led(self._held(args).session.lead(by_hand.verify(envelope)))

    async def session_close(self, args: dict[str, Value]) -> Value:
        """Hang up (:session)."""
        held = self._sessions.get(_number(args, "session"))
        if held is not None and held.task is not None:
            held.task.cancel()
        return None

    def _held(self, args: dict[str, Value]) -> _Held:
        held = self._sessions.get(_number(args, "session"))
        if held is None:
            raise UsageError("This session is closed.")
        return held

    # Trust

    async def trust(self, args: dict[str, Value]) -> Value:
        """Take the key of a server (:host :port :key), with :pin for good; a person said so."""
        from smtps.trust import pins

        host, port, key = _text(args, "host"), _number(args, "port"), _text(args, "key")
        trusting = self._trusting()
        if args.get("pin"):
            await asyncio.to_thread(pins.add, trusting.pins, host, port, key)
        else:
            trusting.once(host, port, key)
        return None

    def _trusting(self) -> Trust:
        if self._trust is None:
            from smtps.client.trusting import of_user

            self._trust = of_user(self._passphrase)
        return self._trust

    async def _passphrase(self, account: Account, file: str) -> str:
        """Ask Emacs for the passphrase of a client key."""
        what = f"The passphrase for {file}"
        answer = await self._asked("passphrase", account, {"file": file}, what)
        return str(answer["password"]) if answer else ""

    # The outbox

    async def outbox_drain(self, args: dict[str, Value]) -> Value:
        """Send what is due in the outbox (:outbox DIR); return (:due N).

        What was sent more than :keep-sent-days N ago is deleted; without it, nothing is.
        """
        drainer = self._drainer(_text(args, "outbox"))
        if args.get("keep-sent-days") is not None:
            drainer.keep_sent_days = _number(args, "keep-sent-days")
        return {"due": drainer.wake()}

    def _drainer(self, root: str) -> Drainer:
        from smtps.outbox.drain import Drainer

        if root not in self._drainers:
            self._drainers[root] = Drainer(
                root, self._tell_outbox, self._credentials, self._trusting()
            )
        return self._drainers[root]

    async def warm(self, args: dict[str, Value]) -> Value:
        """Open a connection for a mail to come (:outbox DIR :account PLIST, as in an envelope).

        Return (:open t) if a mail can go over one now.
        """
        from smtps.outbox import entry

        drainer = self._drainer(_text(args, "outbox"))
        try:
            account = entry.frozen(plist(args.get("account") or []))
        except (KeyError, WireError):
            raise UsageError("The argument :account has to be one of an envelope.") from None
        return {"open": await drainer.warm(account)}

    async def outbox_retry(self, args: dict[str, Value]) -> Value:
        """Try a mail of the outbox (:outbox DIR :id ID), however long it was to wait.

        One that failed or is held goes to all who have not got it; with :others t only to those
        who were not refused, although it was for all or none; with :now t before its time.  Those
        whom it may have reached are left out, unless with :uncertain t.
        """
        from smtps.outbox import overview

        others, now, uncertain = (args.get(name) is True for name in ("others", "now", "uncertain"))
        await self._on_entry(
            args, lambda spool, entry: overview.retry(spool, entry, others, now, uncertain)
        )
        await self.outbox_drain(args)
        self._drainers[_text(args, "outbox")].hurry(_text(args, "id"))
        return None

    async def outbox_drop(self, args: dict[str, Value]) -> Value:
        """Delete a mail of the outbox (:outbox DIR :id ID)."""
        from smtps.outbox import overview

        await self._on_entry(args, overview.drop)
        return None

    async def outbox_mark_sent(self, args: dict[str, Value]) -> Value:
        """Note that an uncertain mail of the outbox has arrived (:outbox DIR :id ID)."""
        from smtps.outbox import overview

        await self._on_entry(args, overview.mark_sent)
        await self.outbox_follow(args)
        return None

    async def outbox_follow(self, args: dict[str, Value]) -> Value:
        """Do what is to follow the acceptance of a mail (:outbox DIR :id ID), failed before or not.

        An event tells what became of it.
        """
        from pathlib import Path

        from smtps.outbox import afterwork, drain
        from smtps.outbox.spool import Spool

        root, name = _text(args, "outbox"), _text(args, "id")
        done = await asyncio.to_thread(afterwork.carry_out, Spool(Path(root)), name, True)
        if done is not None:
            self._tell_outbox({"outbox": root, "id": name, **drain.told(done)})
        return None

    async def _on_entry(
        self, args: dict[str, Value], change: Callable[[Spool, Listed], None]
    ) -> None:
        from pathlib import Path

        from smtps.outbox import overview
        from smtps.outbox.spool import Spool

        name = _text(args, "id")

        def do(spool: Spool) -> None:
            change(spool, overview.found(spool, name))

        await asyncio.to_thread(do, Spool(Path(_text(args, "outbox"))))

    def _tell_outbox(self, plist: Mapping[str, Value]) -> None:
        self.peer.event("outbox", plist)

    async def outbox_stop(self, args: dict[str, Value]) -> Value:
        """Send nothing more from the outbox (:outbox DIR); finish what is past its commit."""
        drainer = self._drainers.pop(_text(args, "outbox"), None)
        if drainer is not None:
            await drainer.stop()
        return None

    async def _credentials(self, account: Account) -> tuple[str, str] | None:
        """Ask Emacs for the account's user and password; None if nobody is to log in."""
        whose = f"{account.user} at {account.host}" if account.user else account.host
        found = await self._asked("credentials", account, {}, f"The password for {whose}")
        if found is None:
            return None
        return str(found.get("user") or account.user or ""), str(found["password"])

    async def _asked(
        self, method: str, account: Account, more: dict[str, Value], what: str
    ) -> dict[str, Value] | None:
        """Call Emacs's METHOD for a secret of ACCOUNT, which is WHAT; None if there is none.

        Raises CredentialsLaterError if a person has to be asked.
        """
        from smtps.errors import CredentialsLaterError

        known: dict[str, Value] = {
            "account": account.name,
            "host": account.host,
            "port": account.port,
            "user": account.user,
            "from": account.author,
        }
        try:
            answer = await self.peer.call(method, known | more)
        except PeerGoneError:
            answer = Symbol("later")
        if isinstance(answer, Symbol):
            raise CredentialsLaterError(f"{what} has to be asked for.")
        return plist(answer) if answer else None


def _number(args: dict[str, Value], name: str) -> int:
    value = args.get(name)
    if type(value) is not int:
        raise UsageError(f"The argument :{name} has to be a number.")
    return value


def _text(args: dict[str, Value], name: str) -> str:
    value = args.get(name)
    if not isinstance(value, str) or not value:
        raise UsageError(f"The argument :{name} has to be a text.")
    return value


def _account(args: dict[str, Value]) -> Account:
    from smtps.client.account import PORTS, TLS_BY_PORT, Account

    port = args.get("port") or None
    if port is not None and type(port) is not int:
        raise UsageError("The argument :port has to be a number.")
    tls = str(args.get("tls") or TLS_BY_PORT.get(port or 465, "implicit"))
    return Account(
        host=_text(args, "host"),
        port=port or PORTS.get(tls, 465),
        tls=tls,
        ca_file=_optional(args, "ca-file"),
        client_certificate=_optional(args, "client-certificate"),
        client_key=_optional(args, "client-key"),
        send_in_clear=args.get("send-in-clear") is True,
    )


async def _led(result: asyncio.Future[Stop | SmtpsError | None]) -> Value:
    """Wait for RESULT, and return what tells it.  Raises UsageError where it was not begun."""
    from smtps.protocol.dialogue import Stop

    try:
        why = await result
    except asyncio.CancelledError:
        if result.cancelled():
            raise UsageError("The session ended before that, so it was not done.") from None
        raise
    reply = why.reply if isinstance(why, Stop) else None
    return {"done": why is None, "code": reply.code if reply else None}


def _message(file: str) -> Message:
    """Return the message in FILE.  Raises MessageUnreadableError."""
    from pathlib import Path

    from smtps.outbox.spool import octets
    from smtps.protocol import body
    from smtps.protocol.envelope import Message

    content = octets(Path(file))
    return Message(content, body.shape(content()))


def _account_plist(named: Named) -> Value:
    """Return what the accounts file says of NAMED, under the names of Emacs's properties."""
    facts: dict[str, Value] = {
        "name": named.name,
        "host": named.host,
        "port": named.port,
        "tls": Symbol(named.tls) if named.tls else None,
        "user": named.user,
        "from": list(named.senders),
        "mechanisms": list(named.mechanisms),
        "ca-file": named.ca_file,
        "client-certificate": [
            file for file in (named.client_certificate, named.client_key) if file
        ],
        "password-command": named.password_command,
        "send-in-clear": named.send_in_clear,
        "server-keeps-sent": named.server_keeps_sent,
    }
    return {key: value for key, value in facts.items() if value}


def _optional(args: dict[str, Value], name: str) -> str | None:
    return _text(args, name) if args.get(name) else None


def _key(error: SmtpsError | None) -> str | None:
    """Return the key of the server that ERROR refused and that could be trusted, if any."""
    key = error.details.get("key") if error is not None else None
    return key if isinstance(key, str) else None


def _told(error: SmtpsError | None) -> str | None:
    """Return what ERROR says to a person, whom Emacs itself asks about a key to be trusted."""
    if error is None:
        return None
    return str(error.details["told"]) if _key(error) else error.text


def _verb(verb: Verb) -> Symbol:
    return Symbol(verb.name.lower().replace("_", "-"))


def _plist(event: Event) -> dict[str, Value]:
    from smtps.client import session

    match event:
        case session.Told(text, unsent):
            return {"kind": Symbol("info"), "text": text, "unsent": unsent}
        case session.Received(text, code, decoded, verb, bare, at, led):
            return {
                "kind": Symbol("recv"),
                "text": text,
                "code": code,
                "decoded": decoded,
                "verb": _verb(verb) if verb else None,
                "bare": bare,
                "led": led,
                "at": at,
            }
        case session.Sent(text, secret, verb, led, at):
            return {
                "kind": Symbol("send"),
                "text": text,
                "secret": secret,
                "verb": _verb(verb),
                "led": led,
                "at": at,
            }
        case session.Offered(offers):
            return {"kind": Symbol("offers"), "offers": list(offers)}
        case session.Stands(state, due, data, owed, tls, mechanism):
            return {
                "kind": Symbol("state"),
                "state": Symbol(state),
                "secret": Symbol(due) if due else None,
                "data": data,
                "owed": owed,
                "tls": tls,
                "mechanism": mechanism,
            }
        case session.Closed(text, error):
            return {
                "kind": Symbol("closed"),
                "text": text,
                "error": Symbol(error.kind) if error else None,
                "message": _told(error),
                "key": _key(error),
            }

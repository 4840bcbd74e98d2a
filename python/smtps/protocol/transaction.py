"""One mail transaction: which commands leave together, and what their replies come to.

With PIPELINING (RFC 2920) the envelope leaves in one flight, behind an AUTH that is said
in one line; with CHUNKING (RFC 3030) a small body rides along where nothing can go wrong
by it: `Transaction._may_ride` has the conditions.

Where nobody is to get it unless all do (`Wishes.all_or_none`), nothing of the body leaves,
nor DATA, before each RCPT was taken.

The commit point is where the octets that could complete the message begin to leave.  What
is not answered after it is *uncertain*, unless an answer that came excludes acceptance.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

from smtps.errors import (
    ConnectionLostError,
    MessageError,
    NetworkError,
    RemoteProtocolError,
    SmtpsError,
)
from smtps.protocol import address, body, commands, login, parameters
from smtps.protocol.commands import Command, Verb
from smtps.protocol.connection import SERVICE_CLOSING, ReplyReceived
from smtps.protocol.dialogue import Dialogue, Stop, as_stop
from smtps.protocol.envelope import Envelope, Message
from smtps.protocol.outcome import Fate, Outcome, Verdict
from smtps.protocol.replies import Reply
from smtps.protocol.states import State
from smtps.protocol.steps import Chosen, Commit, Exchange, Phase, Send, Steps, Work

RIDING_LIMIT = 64 * 1024
"""Octets of a body that may ride with the envelope: what is lost if that is refused."""

GROUP_LIMIT = 100
"""Commands of one flight.  Their replies, of up to 512 octets, must fit into what the two
sides' systems hold while nobody reads (RFC 2920 section 3.1)."""

WRITE_SIZE = 64 * 1024
"""Octets of a body written at once: four TLS records."""

LOGIN_WANTED = 530
"""The reply to MAIL or RCPT that asks for AUTH first (RFC 4954 section 6)."""


class Transaction:
    """Sends MESSAGE by ENVELOPE over DIALOGUE; `run` says what became of it."""

    def __init__(
        self, dialogue: Dialogue, envelope: Envelope, message: Message, recent: bool
    ) -> None:
        self._dialogue = dialogue
        self._connection = dialogue.connection
        self._envelope = envelope
        self._message = message
        self._recent = recent
        self._exchange: Exchange | None = None
        """Whose AUTH leaves with the envelope."""
        self._octets = b""
        """The body that rides with it."""
        self._parameters: list[str] = []
        self._left_out: list[str] = []
        self._last_sent = False
        """The octets that could complete the message began to leave."""
        self._auth: Reply | None = None
        self._mail: Reply | None = None
        self._rcpts: list[Reply] = []
        """The replies to RCPT, in the recipients' order."""
        self._data: Reply | None = None
        self._final: Reply | None = None

    def run(self) -> Steps[Outcome]:
        """Carry it out; whatever happens is an outcome, but for an error of the driver's own."""
        try:
            if self._connection.state in (State.MAIL, State.RCPT):
                # Left by a transaction of which nothing came.
                yield from self._dialogue.say(commands.rset())
            yield from self._prepare()
            choice = yield from login.chosen(self._dialogue)
            failed: login.Failed = ()
            auth = self._at_once(choice)
            if choice is not None and auth is None:
                yield from login.login_with(self._dialogue, choice)
            if self._may_ride(choice if auth else None):
                yield from self._ride(auth)
                return self._judged()
            while not (yield from self._envelope_taken(auth)):
                # The mechanism was turned down, not the secret.
                down = self._turned_down()
                assert down is not None
                failed = (*failed, down)
                yield from self._start_over(failed)
                auth = None
            if self._all_or_none:
                yield from self._all_taken()
            yield from self._body()
            return self._judged()
        except (Stop, SmtpsError) as error:
            return self._stopped(as_stop(error))

    # Before anything is sent

    def _prepare(self) -> Steps[None]:
        """Make the message one that this server takes, and MAIL's parameters.  Raises Stop."""
        host, offered = self._dialogue.host, self._connection.extensions
        binary = yield from self._reencode()
        shape = self._message.shape
        limit = offered.size
        if limit is not None and shape.octets > limit:
            raise Stop(
                Verdict.UNSENDABLE,
                f"The message has {shape.octets} octets and {host} takes {limit} at most; "
                "nothing was sent.",
            )
        if "SIZE" in offered:
            self._parameters.append(f"SIZE={shape.octets}")
        if binary:
            self._parameters.append("BODY=BINARYMIME")
        elif shape.eight_bit:
            self._parameters.append("BODY=8BITMIME")
        if self._envelope.international:
            if "SMTPUTF8" not in offered:
                raise Stop(
                    Verdict.UNSENDABLE,
                    f"An address has letters beyond ASCII, and {host} does not take such "
                    f"(SMTPUTF8); nothing was sent. {_in_ascii(self._envelope)}",
                )
            self._parameters.append("SMTPUTF8")
        try:
            more, self._left_out = parameters.of_mail(self._envelope.wishes, offered)
        except parameters.Unmet as unmet:
            raise Stop(
                Verdict.UNSENDABLE, f"{host} can't take this mail: {unmet.text}; nothing was sent."
            ) from None
        self._parameters += more
        if any(notice.notify for notice in self._envelope.notices) and "DSN" not in offered:
            self._left_out.append("DSN")

    def _reencode(self) -> Steps[bool]:
        """Encode anew what this server can't take; return True if it takes it as BINARYMIME."""
        offered, shape = self._connection.extensions, self._message.shape
        eight_bit = "8BITMIME" in offered
        if not (shape.nul or shape.long_lines or (shape.eight_bit and not eight_bit)):
            return False
        content = self._message.content

        def encoded() -> Message:
            from smtps.protocol import transfer

            made = transfer.reencoded(content, eight_bit)
            return Message(made, body.shape(made()))

        try:
            self._message = yield Work(encoded)
        except MessageError as error:
            if "BINARYMIME" in offered and "CHUNKING" in offered:
                return True
            raise Stop(Verdict.UNSENDABLE, error.text) from None
        return False

    def _at_once(self, choice: Chosen | None) -> Command | None:
        """Return the AUTH command that may have others behind it, None if there is none."""
        if choice is None or "PIPELINING" not in self._connection.extensions:
            return None
        command = login.at_once(choice.exchange)
        self._exchange = choice.exchange if command else None
        return command

    def _may_ride(self, choice: Chosen | None) -> bool:
        """Return True if the body may leave with the envelope, behind AUTH if there is CHOICE.

        The server has to swallow it whatever it thinks of the envelope, so it can be none
        that does not know us yet; and were it run as commands, no line may be one.
        """
        offered = self._connection.extensions
        if not (
            "PIPELINING" in offered
            and "CHUNKING" in offered
            and self._recent
            and not self._all_or_none
            and (choice is None or choice.proven)
            and self._message.shape.octets <= RIDING_LIMIT
            and len(self._envelope.recipients) < GROUP_LIMIT
        ):
            return False
        self._octets = b"".join(self._pieces())
        return not body.reads_as_command(self._octets)

    # The envelope

    def _commands(self) -> list[Command]:
        """MAIL and the RCPTs."""
        envelope, offered = self._envelope, self._connection.extensions
        return [
            commands.mail(envelope.sender, tuple(self._parameters)),
            *(
                commands.rcpt(recipient, parameters.of_rcpt(envelope.notice(index), offered))
                for index, recipient in enumerate(envelope.recipients)
            ),
        ]

    def _flight(self, group: Sequence[Command], behind: bytes = b"") -> Steps[None]:
        """Send GROUP together, with octets BEHIND it, and take all its replies."""
        yield from self._dialogue.clear_input()
        octets = b"".join(map(self._connection.send, group)) + behind
        self._last_sent = group[-1].verb is Verb.BDAT_LAST
        yield from self._dialogue.write(octets)
        for _ in group:
            self._take((yield from self._dialogue.reply()))

    def _take(self, event: ReplyReceived) -> None:
        """Note the reply in EVENT as what it answers.  Raises Stop where no more will come."""
        reply = event.reply
        before = self._cause()
        match event.command.verb if event.command else None:
            case Verb.AUTH:
                if event.challenge is not None:
                    # What comes behind is read as the response: it answers nothing we said.
                    self._connection.broken = True
                    raise Stop(
                        Verdict.PROTOCOL,
                        f"{self._dialogue.host} wants more for a login in which all was said "
                        f"({self._exchange.name if self._exchange else 'AUTH'}).",
                    )
                self._auth = reply
            case Verb.MAIL:
                self._mail = reply
            case Verb.RCPT:
                self._rcpts.append(reply)
            case Verb.DATA:
                self._data = reply
            case _:
                self._final = reply
        if reply.code == SERVICE_CLOSING:
            self._connection.broken = True
            # A server that has had enough of errors says so, and not which was the first.
            raise before or self._dialogue.refusal(reply, "to go on")

    def _envelope_taken(self, auth: Command | None) -> Steps[bool]:
        """Send AUTH, if there is one, the envelope, and DATA where it is needed.

        Return True if the body may follow, False if AUTH's mechanism was turned down.
        Raises Stop where there is nothing to go on with.
        """
        offered = self._connection.extensions
        group = [*([auth] if auth else []), *self._commands()]
        data = [] if "CHUNKING" in offered else [commands.data()]
        # Once DATA is open there is no way back: those who were taken get what is in it.
        behind = [] if self._all_or_none else data
        if "PIPELINING" in offered:
            while group:
                now, group = group[:GROUP_LIMIT], group[GROUP_LIMIT:]
                yield from self._flight(now if group else [*now, *behind])
                if group and self._cause() is not None:
                    break
        else:
            for command in group:
                yield from self._flight([command])
                if self._cause() is not None:
                    break
            if behind and self._cause() is None:
                yield from self._flight(behind)
        return (yield from self._answered())

    @property
    def _all_or_none(self) -> bool:
        return self._envelope.wishes.all_or_none

    def _all_taken(self) -> Steps[None]:
        """See that the server took all recipients, and open DATA where it is needed.

        Raises Stop, the transaction reset, if it refused one: HELD if that is for the user to
        decide, DEFERRED if it is for now.
        """
        refused = self._refused()
        if refused:
            try:
                yield from self._dialogue.say(commands.rset())
            except (Stop, SmtpsError):
                self._connection.broken = True
            passing = all(temporary(reply) and not too_many(reply) for _, reply in refused)
            raise Stop(
                Verdict.DEFERRED if passing else Verdict.HELD,
                f"{self._dialogue.host} refused {'for now ' * passing}{_told(refused)}. "
                "Nothing was sent to anyone, since all were to get it or none.",
            )
        if "CHUNKING" not in self._connection.extensions:
            yield from self._flight([commands.data()])
            yield from self._answered()

    def _refused(self) -> list[tuple[str, Reply]]:
        """Return the recipients that were refused, each with the reply."""
        return [
            (recipient, reply)
            for recipient, reply in zip(self._envelope.recipients, self._rcpts, strict=True)
            if reply.category != 2
        ]

    def _answered(self) -> Steps[bool]:
        """Judge the replies to the envelope, see `_envelope_taken`."""
        connection = self._connection
        in_data = connection.state is State.DATA
        if self._auth is not None and self._auth.category != 2:
            # With DATA open there is no way back: a dot would send an empty mail.
            connection.broken = connection.broken or in_data
            if not in_data and self._turned_down() is not None:
                return False
        cause = self._cause()
        if cause is not None:
            if in_data and not self._accepted and not connection.broken:
                # 354 although nobody was accepted: the dot alone ends it (RFC 2920 3.1).
                yield from self._dialogue.write(connection.send_body())
                yield from self._dialogue.reply()
            raise cause
        if self._data is not None and self._data.category != 3:
            raise self._dialogue.refusal(self._data, "DATA")
        return True

    def _turned_down(self) -> login.TurnedDown | None:
        if self._auth is None or self._exchange is None:
            return None
        return login.turned_down(self._dialogue, self._exchange, self._auth)

    def _start_over(self, failed: login.Failed) -> Steps[None]:
        """Log in with another mechanism than those that FAILED, alone, after a flight."""
        if self._connection.state in (State.MAIL, State.RCPT):
            yield from self._dialogue.say(commands.rset())
        self._auth = self._mail = self._data = None
        self._rcpts = []
        yield from login.login(self._dialogue, failed)

    # The body

    def _ride(self, auth: Command | None) -> Steps[None]:
        """Send everything in one flight."""
        yield Commit(tuple(range(len(self._envelope.recipients))))
        group = [
            *([auth] if auth else []),
            *self._commands(),
            commands.bdat(len(self._octets), True),
        ]
        yield from self._flight(group, self._octets)
        if self._cause() is not None or any(reply.category != 2 for reply in self._rcpts):
            # A server that did not swallow the chunk goes on to answer its lines.
            self._connection.broken = True
        elif self._final is not None and self._final.category == 2:
            yield from self._last_reply()

    def _last_reply(self) -> Steps[None]:
        """Look for a reply too many: the one taken for the last would have answered another.

        Raises RemoteProtocolError.  That the server closes says nothing against its reply.
        """
        try:
            yield from self._dialogue.clear_input()
        except (Stop, NetworkError):
            self._connection.broken = True

    def _pieces(self) -> Iterator[bytes]:
        """The message as it goes under BDAT."""
        content = self._message.content()
        return iter(content) if self._message.shape.canonical else body.crlf(content)

    def _body(self) -> Steps[None]:
        """Send the message alone, and take the last reply."""
        connection, dialogue = self._connection, self._dialogue
        yield from dialogue.clear_input()
        yield Commit(self._accepted)
        if connection.state is State.DATA:
            pieces = body.stuffed(self._unchanged(self._pieces()))
            begin = b""
        else:
            pieces = self._unchanged(self._pieces())
            begin = connection.send(commands.bdat(self._message.shape.octets, True))
        pending = begin
        for piece in blocks(pieces):
            if len(pending) > len(begin):
                yield from self._block(pending)
                pending = b""
            else:
                yield from self._early_reply()
            pending += piece
        if connection.state is State.DATA:
            pending += connection.send_body()
        self._last_sent = True
        yield from dialogue.write(pending, Phase.BLOCK)
        self._take((yield from dialogue.reply()))

    def _block(self, octets: bytes) -> Steps[None]:
        """Send OCTETS, which are not the last, and see if the server has had enough."""
        try:
            yield Send(octets, Phase.BLOCK)
        except ConnectionLostError:
            yield from self._early_reply()
            raise
        yield from self._early_reply()

    def _unchanged(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """Yield PIECES, which have to be as many octets as were announced.  Raises Stop."""
        left = self._message.shape.octets
        for piece in pieces:
            left -= len(piece)
            if left < 0:
                break
            yield piece
        if left:
            self._connection.broken = True
            raise Stop(
                Verdict.UNSENDABLE,
                "The message was changed by somebody while it was being sent, so it was not "
                "sent to its end.",
            )

    def _early_reply(self) -> Steps[None]:
        """Look for a reply that came before the end of the message.

        A refusal ends the transaction; anything else before its time breaks the protocol.
        """
        connection = self._connection
        if not (yield from self._dialogue.peek()):
            return
        under_data = not connection.owed
        if under_data:
            connection.owed.append(Command(Verb.OTHER, b"", ""))
        event = connection.next_event()
        if event is None:
            if under_data:
                connection.owed.pop()
            return
        connection.broken = True
        if isinstance(event, ReplyReceived) and event.reply.category in (4, 5):
            raise self._dialogue.refusal(event.reply, "the message before its end")
        raise RemoteProtocolError(
            f"{self._dialogue.host} answered the message before its end was sent."
        )

    # What the replies come to

    @property
    def _accepted(self) -> tuple[int, ...]:
        return tuple(index for index, reply in enumerate(self._rcpts) if reply.category == 2)

    @property
    def _whole(self) -> bool:
        """True if login and MAIL were taken, so that each RCPT's reply says what it says."""
        return all(reply is None or reply.category == 2 for reply in (self._auth, self._mail))

    def _cause(self) -> Stop | None:
        """Return why nobody gets the mail, by the first reply that says so; None if none does."""
        if self._auth is not None and self._auth.category != 2 and self._exchange is not None:
            return login.refusal(self._dialogue, self._exchange, self._auth)
        return self._excluded()

    def _excluded(self) -> Stop | None:
        """Return the refusal that excludes acceptance, whatever became of the login."""
        if self._mail is not None and self._mail.category != 2:
            return self._login_wanted(self._mail) or self._dialogue.refusal(
                self._mail, "the sender"
            )
        if len(self._rcpts) < len(self._envelope.recipients) or self._accepted:
            return None
        for reply in self._rcpts:
            wanted = self._login_wanted(reply)
            if wanted is not None:
                return wanted
        last = self._rcpts[-1]
        return Stop(
            Verdict.DEFERRED if temporary(last) else Verdict.REFUSED,
            f"{self._dialogue.host} {_each_told(self._refused())}.",
            last,
        )

    def _login_wanted(self, reply: Reply) -> Stop | None:
        if reply.code != LOGIN_WANTED:
            return None
        return Stop(Verdict.LOGIN, f"{self._dialogue.host} wants a login first: “{reply}”.", reply)

    def _judged(self) -> Outcome:
        """Return what the last reply comes to, which decides."""
        final = self._final
        assert final is not None
        if final.category != 2:
            # Of a chunk that was refused lines may still be read as commands.
            self._connection.broken = self._connection.broken or self._data is None
            raise self._cause() or self._dialogue.refusal(final, "the message")
        if self._mail is not None and self._mail.category != 2:
            raise Stop(
                Verdict.UNCERTAIN,
                f"{self._dialogue.host} refused the sender (“{self._mail}”) and then accepted the "
                f"message (“{final}”): it may have been delivered.",
            )
        excluded = self._excluded()
        if excluded is not None:
            raise excluded
        return self._outcome(Stop(Verdict.ACCEPTED, self._accepted_text(final), final))

    def _accepted_text(self, final: Reply) -> str:
        host = self._dialogue.host
        refused = self._refused()
        count = len(self._rcpts) - len(refused)
        text = f"{host} accepted the message for {count} recipient{'s' * (count != 1)}: “{final}”."
        if self._envelope.wishes.hold_until:
            text += f" It holds the message until {self._envelope.wishes.hold_until}."
        if refused:
            text += f" It {_each_told(refused)}."
        if self._auth is not None and self._auth.category != 2:
            text += f" It had refused the login: “{self._auth}”."
        return text + parameters.without(host, self._left_out)

    def _stopped(self, stop: Stop) -> Outcome:
        """Return what it comes to that STOP ended the transaction."""
        if stop.verdict in (Verdict.UNREACHED, Verdict.PROTOCOL):
            if not self._last_sent:
                stop = self._cause() or stop
            elif self._final is not None and self._final.category == 2:
                stop = Stop(
                    Verdict.UNCERTAIN,
                    f"{stop.text} So it is not certain that the message was accepted.",
                )
            else:
                stop = self._excluded() or Stop(
                    Verdict.UNCERTAIN,
                    f"{stop.text} The whole message had left by then, so it may have been "
                    "delivered.",
                )
        return self._outcome(stop)

    def _outcome(self, stop: Stop) -> Outcome:
        # Where a login is wanted, no reply to RCPT is about its recipient.
        judged = self._whole and stop.verdict is not Verdict.LOGIN
        own = dict(enumerate(self._rcpts)) if judged else {}
        fates = []
        for index, recipient in enumerate(self._envelope.recipients):
            reply = own.get(index)
            if reply is None or reply.category == 2:
                fates.append(Fate(recipient, stop.verdict, stop.reply))
            else:
                verdict = Verdict.DEFERRED if temporary(reply) else Verdict.REFUSED
                fates.append(Fate(recipient, verdict, reply))
        return Outcome(tuple(fates), stop.text)


def temporary(reply: Reply) -> bool:
    """Return True if REPLY to RCPT refuses for now.

    552 for too many recipients is an old mistake for 452 (RFC 5321 4.5.3.1.10).
    """
    return reply.category == 4 or (reply.code == 552 and too_many(reply))


def too_many(reply: Reply) -> bool:
    """Return True if REPLY to RCPT says that a transaction takes no more recipients."""
    enhanced = reply.enhanced
    return reply.code in (452, 552) and (enhanced is None or enhanced[1:] == (5, 3))


def next_group(
    envelope: Envelope,
    pending: Sequence[int],
    most: int | None,
    domains: int | None = None,
    named: Collection[str] = (),
) -> tuple[int, ...]:
    """Return those of the recipients PENDING that go into the next transaction.

    It takes MOST recipients (RCPTMAX of RFC 9422), and the connection DOMAINS different ones
    (RCPTDOMAINMAX), of which those NAMED have been; None: any number.
    """
    group: list[int] = []
    seen = set(named)
    for index in pending:
        if most is not None and len(group) >= most:
            break
        domain = address.domain(envelope.recipients[index])
        if domains is not None and domain not in seen and len(seen) >= domains:
            continue
        seen.add(domain)
        group.append(index)
    return tuple(group)


def blocks(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield PIECES joined into blocks of at least WRITE_SIZE octets, but for the last.

    These are the writes of a body.
    """
    block = bytearray()
    for piece in pieces:
        if not block and len(piece) >= WRITE_SIZE:
            yield piece
            continue
        block += piece
        if len(block) >= WRITE_SIZE:
            yield bytes(block)
            block.clear()
    if block:
        yield bytes(block)


def _in_ascii(envelope: Envelope) -> str:
    """Return what to do about the first address of ENVELOPE that is not ASCII."""
    # It is not rewritten here: which A-labels a domain has depends on the edition of IDNA.
    address = next(one for one in (envelope.sender, *envelope.recipients) if not one.isascii())
    if address.rpartition("@")[0].isascii():
        return f"Write the domain of {address} in ASCII, as its owner does: xn--…."
    return f"Send by another server, or name an address in ASCII instead of {address}."


def _listed(addresses: Sequence[str]) -> str:
    if len(addresses) <= 3:
        return ", ".join(addresses)
    return f"{', '.join(addresses[:2])} and {len(addresses) - 2} others"


def _told(refused: Sequence[tuple[str, Reply]]) -> str:
    """Return REFUSED in words, each recipient with the reply it got, but not too many."""
    words = [f"{recipient} (“{reply}”)" for recipient, reply in refused[:3]]
    return ", ".join(words) + (f" and {len(refused) - 3} others" if len(refused) > 3 else "")


def _each_told(refused: Sequence[tuple[str, Reply]]) -> str:
    """Return REFUSED in words: each reply with those who got it, for good before for now."""
    by_reply: dict[tuple[bool, str], list[str]] = {}
    for recipient, reply in refused:
        by_reply.setdefault((temporary(reply), str(reply)), []).append(recipient)
    groups = sorted(by_reply.items(), key=lambda group: group[0][0])
    words = [
        f"refused {_listed(who)}{' for now' * for_now}: “{reply}”"
        for (for_now, reply), who in groups[:3]
    ]
    others = sum(len(who) for _, who in groups[3:])
    if others:
        words.append(f"refused {others} other{'s' * (others != 1)}, too")
    return ". It ".join(words)

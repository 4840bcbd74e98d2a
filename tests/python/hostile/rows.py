"""What hostile servers do, a row each: what the server does, and what smtps has to say then.

`status` is for a message that has not left; `whole` where the server already had all of it
when it went wrong, since then nobody can say that it was not delivered (DESIGN 4, DECISIONS
2 to 4 of the flights): the same faults come to 69 or 76 before, and to 74 after.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from hostile.sending import MESSAGE, RECIPIENT, SENDER
from hostile.server import Action, Close, Doing, Echo, Flood, Pause, Say, Script, Stall, Steps

Statuses = int | tuple[int, ...]

SLOW = ()
GROUPS = ("PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES")
FLIGHTS = (*GROUPS, "CHUNKING")
LOGIN = "AUTH PLAIN LOGIN"
STEPPED = ("LOGIN", "CRAM-MD5", "DIGEST-MD5", "SCRAM-SHA-256")


@dataclass(frozen=True)
class Row:
    """One server, one mail."""

    name: str
    script: Script
    status: Statuses
    whole: Statuses | None = None
    user: bool = False
    certificate: str = "good"
    message: bytes = field(default=MESSAGE, repr=False)
    sender: str = SENDER
    recipients: tuple[str, ...] = (RECIPIENT,)
    verdicts: tuple[str, ...] | None = None
    """Each recipient's, where the exit status does not tell."""
    reached: str | None = None
    """The step that has to be reached, or the row shows nothing."""
    silent: tuple[str, ...] = ()
    """Words that may stand in no command."""
    says: str = ""
    """Words that have to be in the line on standard error."""
    watched: bool = False
    """Look at the memory."""
    messages: int = 1
    """How often the message goes out, each time to recipients of its own."""

    def allowed(self, whole: bool) -> tuple[int, ...]:
        """The exit statuses that are right; WHOLE if the server got the whole message."""
        found = self.whole if whole and self.whole is not None else self.status
        return (found,) if isinstance(found, int) else found


def script(
    steps: Mapping[str, Doing],
    offers: tuple[str, ...] = SLOW,
    tls: str = "none",
    single: bool = False,
    swallows: bool = True,
) -> Script:
    """A Script, shortly."""
    return Script(dict(steps), offers, tls, single, swallows)


# -- every step, and every way of going wrong at it

GOOD_CODE = {
    "greeting": b"220", "ehlo": b"250", "starttls": b"220", "ehlo2": b"250", "auth": b"235",
    "mail": b"250", "rcpt": b"250", "data": b"354", "end": b"250", "quit": b"221",
}  # fmt: skip

REFUSED: dict[str, tuple[bytes, Statuses]] = {
    # RFC 5321 3.1 has 554 for a greeting; DESIGN 10 names MAIL, DATA and the body for 65, and a
    # server that wants nobody has refused as a whole, too.
    "greeting": (b"554", (65, 69)), "ehlo": (b"550", (65, 69)), "starttls": (b"501", 77),
    "ehlo2": (b"550", (65, 69)), "auth": (b"535", 77), "mail": (b"550", 65), "rcpt": (b"550", 67),
    "data": (b"554", 65), "end": (b"554", 65), "quit": (b"500", 0),
}  # fmt: skip

DEFERRED = {
    "greeting": b"450", "ehlo": b"451", "starttls": b"454", "ehlo2": b"451", "auth": b"454",
    "mail": b"451", "rcpt": b"450", "data": b"451", "end": b"452", "quit": b"450",
}  # fmt: skip

NASTY = {
    "NUL": b"no\0thing",
    "bare CR": b"no\rsmtps: The mail was sent.",
    "8-bit": b"no\x80\xff\xc3(\xa0",
    "escapes": b"no\x1b[2J\x1b]0;title\x07\x9b31m",
    "Lisp": b'(progn (kill-emacs)) #.(delete-file "~") `,@',
    "bidi": "no \u202egnp.exe\u202c \u2066\u200b\ufeff\U000e0041".encode(),
    "separators": "no \u2028line \u2029paragraph \u0085next".encode(),
    "long": b"X" * 4000,
    "formats": b"%s%n%d {0} {} $(reboot) `reboot` \\x1b[2J",
}
"""Texts of replies that do something to whoever obeys them."""

HUGE = 100_000_000


def _lost(code: bytes) -> dict[str, tuple[Action, ...]]:
    """Ways of saying nothing, or not enough."""
    return {
        "closes": (Close(),),
        "closes mid-line": (Say(code + b" o"), Close()),
        "closes between CR and LF": (Say(code + b" ok\r"), Close()),
        "closes mid-reply": (Say(code + b"-one\r\n"), Close()),
        "resets": (Close("reset"),),
        "stalls": (Stall(),),
        "stalls mid-line": (Say(code + b" o"), Stall()),
        "stalls mid-reply": (Say(code + b"-one\r\n" + code + b"-two\r\n"), Stall()),
        "drips": (Say(code + b" " + b"o" * 60, single=True, pause=0.25), Stall()),
        "drips lines": tuple(
            action for _ in range(60) for action in (Say(code + b"-one\r\n"), Pause(0.25))
        ),
    }


def _broken(code: bytes) -> dict[str, tuple[Action, ...]]:
    """Ways of saying what no server may say, whatever was asked."""
    other = b"250" if code[:1] == b"5" else b"550"
    lines = {
        "a code of 000": b"000 no\r\n",
        "a code of 199": b"199 no\r\n",
        "a code of 600": b"600 no\r\n",
        "a code of 999": b"999 no\r\n",
        "1yz": b"150 wait\r\n",
        "letters": b"abc hello\r\n",
        "Lisp": b"(kill-emacs)\r\n",
        "an escape": b"\x1b[2J\x1b[H\r\n",
        "an empty line": b"\r\n",
        "two digits": code[:2] + b" ok\r\n",
        "four digits": code + b"0 ok\r\n",
        "an underscore": code + b"_ok\r\n",
        "a blank first": b" " + code + b" ok\r\n",
        "digits of elsewhere": "\u0662\u0665\u0660 ok\r\n".encode(),
        "another protocol": b"SSH-2.0-OpenSSH_9.2\r\n",
        "codes that differ": code + b"-one\r\n" + other + b" two\r\n",
        "codes that differ late": code + b"-one\r\n" + code + b"-two\r\n" + b"251 three\r\n",
        "a 555 within": b"555-one\r\n" + code + b" two\r\n",
    }
    return {name: (Say(line), Stall()) for name, line in lines.items()} | {
        "a line of 100 MB": (Say(code + b" "), Flood(b"X" * 100_000, HUGE // 100_000), Stall()),
        "a reply without end": (Flood((code + b"-X\r\n") * 10_000, HUGE // 70_000), Stall()),
        "garbage without end": (Flood(b"\0\xff\r\n" * 10_000, HUGE // 40_000), Stall()),
    }


WRONG = {
    "greeting": (b"221", b"235", b"334", b"354"),
    "ehlo": (b"220", b"221", b"235", b"334", b"354"),
    "ehlo2": (b"220", b"334"),
    "auth": (b"220", b"221", b"354"),
    "mail": (b"220", b"221", b"235", b"334", b"354"),
    "rcpt": (b"220", b"221", b"235", b"334", b"354"),
    "data": (b"220", b"221", b"235", b"250", b"334"),
    "end": (b"220", b"221", b"235", b"334", b"354"),
    "quit": (b"354", b"334", b"220"),
}
"""Codes that belong to another command."""


def _fine(code: bytes) -> dict[str, tuple[Action, ...]]:
    """Ways of saying yes that look odd and mean it."""
    good = code + b" ok\r\n"
    return {
        "octet by octet": (Say(good, single=True),),
        "split in CRLF": (Say(good[:-1]), Pause(0.1), Say(b"\n")),
        "bare LF": (Say(code + b"-one\n" + code + b" two\n"),),
        "code alone": (Say(code + b"\r\n"),),
        "many lines": (Say((code + b"-one\r\n") * 100 + good),),
        "NUL in it": (Say(code + b" o\0k\r\n"),),
        "CR in it": (Say(code + b" ok\r550 no\r\n"),),
        "escapes in it": (Say(code + b" \x1b[2J\xff\r\n"),),
        "late": (Pause(0.7), Say(good)),
    }


@dataclass(frozen=True)
class At:
    """A step, in a dialogue that comes to it."""

    step: str
    offers: tuple[str, ...]
    tls: str = "none"
    user: bool = False
    brief: bool = False
    """Only the faults that differ: the step has been seen in another dialogue."""

    @property
    def name(self) -> str:
        how = "flight" if "CHUNKING" in self.offers else "groups" if self.offers else "steps"
        return f"{self.step} ({how}{', ' + self.tls if self.tls != 'none' else ''})"


PLACES = (
    At("greeting", FLIGHTS, brief=True),
    At("ehlo", FLIGHTS, brief=True),
    At("starttls", FLIGHTS, "starttls", brief=True),
    At("ehlo2", FLIGHTS, "starttls", brief=True),
    At("auth", (*FLIGHTS, LOGIN), "implicit", user=True, brief=True),
    At("mail", SLOW, brief=True),
    At("mail", FLIGHTS),
    At("rcpt", SLOW, brief=True),
    At("rcpt", GROUPS, brief=True),
    At("rcpt", FLIGHTS, brief=True),
    At("data", GROUPS, brief=True),
    At("end", SLOW, brief=True),
    At("end", FLIGHTS),
    At("quit", FLIGHTS, brief=True),
)

BRIEF = (
    "closes", "closes mid-line", "resets", "stalls", "drips", "a code of 600", "letters",
    "codes that differ", "a line of 100 MB", "octet by octet", "bare LF", "421", "with escapes",
    "another's", " later",
)  # fmt: skip


def rows_of_steps() -> Iterator[Row]:
    """Every place with everything that can go wrong there."""
    for place in PLACES:
        for name, doing, status, whole in _faults(place):
            if place.brief and not any(name.endswith(end) for end in BRIEF):
                continue
            if place.step == "quit":
                status = whole = 0
            flooded = any(isinstance(action, Flood) for action in doing)
            yield Row(
                f"{place.name}: {name}",
                script({place.step: doing}, place.offers, place.tls),
                status,
                whole,
                user=place.user,
                reached=place.step,
                watched=flooded,
            )


def _faults(place: At) -> Iterator[tuple[str, tuple[Action, ...], Statuses, Statuses]]:
    refusal: bytes
    status: Statuses
    step, code = place.step, GOOD_CODE[place.step]
    # Nothing is known to be refused by TLS, but nothing in clear is believed either.
    broken: Statuses = (76, 77) if step == "starttls" else 76
    for name, doing in _lost(code).items():
        yield name, doing, 69, 74
    for name, doing in _broken(code).items():
        yield name, doing, broken, 74
    for wrong in WRONG.get(step, ())[: 2 if place.brief else None]:
        yield f"{wrong.decode()}, another's", (Say(wrong + b" what\r\n"), Stall()), broken, 74
    refusal, status = REFUSED[step]
    for kind, text in NASTY.items():
        yield (
            f"{refusal.decode()} with {kind}",
            (Say(refusal + b" " + text + b"\r\n"),),
            status,
            status,
        )
    yield "421", (Say(b"421 4.3.2 Shutting down\r\n"), Close()), 75, 75
    yield "421 in two lines", (Say(b"421-4.3.2 Shutting\r\n421 4.3.2 down\r\n"), Close()), 75, 75
    yield f"{DEFERRED[step].decode()} later", (Say(DEFERRED[step] + b" 4.0.0 later\r\n"),), 75, 75
    if step in ("starttls", "ehlo", "ehlo2", "auth"):
        return
    for name, doing in _fine(code).items():
        yield name, doing, 0, 0
    if step != "data":
        unknown = code[:1] + b"99"
        yield f"{unknown.decode()}, unknown", (Say(unknown + b" ok\r\n"),), 0, 0
        if step in ("greeting", "mail", "end"):
            # Of replies that all say yes nobody can tell which was the one too many.
            yield "says it twice", (Say((code + b" ok\r\n") * 2),), 76, (74, 0)


# -- who goes on, and how
# fmt: off

EVIL = (
    b"From: a@example.org\nDate: Tue, 24 Nov 2026 10:00:00 +0000\nMessage-ID: <two@example.org>\n"
    b"Subject: a quoted dialogue\n\nHe typed:\nMAIL FROM:<evil@example.net>\n"
    b"RCPT TO:<victim@example.net>\n  rcpt to:<victim@example.net>\nDATA\nAUTH PLAIN AAAA\nQUIT\n"
)
"""A text that does harm where it is run as commands."""

PLAIN = b"From: a@example.org\nDate: x\nMessage-ID: <three@example.org>\n\n" + b"Words.\n" * 20

BIG = MESSAGE + b"A line of the many in a large message, to be sent in several pieces.\n" * 20_000

OK = b"250 2.0.0 ok\r\n"
NO = b"550 5.1.1 no\r\n"
LATER = b"451 4.3.0 later\r\n"

THREE = ("b@example.org", "c@example.org", "d@example.org")


def rows_of_flights() -> Iterator[Row]:
    """Replies in groups, chunks that are not read, drops in between."""
    for offers, how in ((SLOW, "steps"), (GROUPS, "groups"), (FLIGHTS, "flight")):

        def row(
            name: str,
            steps: Steps,
            status: Statuses,
            whole: Statuses | None = None,
            offers: tuple[str, ...] = offers,
            how: str = how,
            **more: object,
        ) -> Row:
            made = Row(f"{how}: {name}", script(steps, offers), status, whole)
            return replace(made, **more)  # type: ignore[arg-type]

        yield row("all is well", {}, 0)
        yield Row(f"{how}: all octet by octet", script({}, offers, single=True), 0)
        yield row("three recipients", {}, 0, recipients=THREE, verdicts=("accepted",) * 3)
        yield row("second refused", {"rcpt2": NO}, 67, recipients=THREE,
                  verdicts=("accepted", "refused", "accepted"))
        yield row("second for now", {"rcpt2": LATER}, 75, recipients=THREE,
                  verdicts=("accepted", "deferred", "accepted"))
        # RFC 5321 4.5.3.1.10: the others may go in a transaction of their own.
        many = b"452 4.5.3 too many\r\n"
        yield row("too many at the third, then not", {"rcpt3": many}, 0, recipients=THREE,
                  verdicts=("accepted",) * 3, messages=2)
        if how != "flight":  # which goes on with another connection
            yield row("too many at the third, for ever",
                      {f"rcpt{number}": many for number in range(3, 99)}, 75, recipients=THREE,
                      verdicts=("accepted", "accepted", "deferred"))
        yield row("one refused, one for now", {"rcpt1": NO, "rcpt3": LATER}, 67, recipients=THREE,
                  verdicts=("refused", "accepted", "deferred"))
        yield row("251 and 252", {"rcpt1": b"251 will forward\r\n", "rcpt2": b"252 will try\r\n"},
                  0, recipients=THREE, verdicts=("accepted",) * 3)
        yield row("all refused", {"rcpt": NO}, 67, recipients=THREE, verdicts=("refused",) * 3)
        yield row("all for now", {"rcpt": LATER}, 75, recipients=THREE, verdicts=("deferred",) * 3)
        yield row("530 to MAIL", {"mail": b"530 5.7.0 login first\r\n"}, 77)
        yield row("530 to RCPT", {"rcpt": b"530 5.7.0 login first\r\n"}, 77)
        yield row("552 to MAIL", {"mail": b"552 5.3.4 too large\r\n"}, 65)
        yield row("452 to MAIL", {"mail": b"452 4.3.1 full\r\n"}, 75)
        yield row("refused at the end, one refused before", {"rcpt2": NO, "end": b"554 no\r\n"},
                  67, recipients=THREE, verdicts=("refused-whole", "refused", "refused-whole"))
        yield row("lost at the end, one refused before", {"rcpt2": NO, "end": (Close(),)},
                  74, recipients=THREE, verdicts=("uncertain", "refused", "uncertain"))
        yield row("drops after MAIL", {"mail": (Say(OK), Close())}, 69, 74)
        yield row("drops after the first RCPT", {"rcpt1": (Say(OK), Close())}, 69, 74,
                  recipients=THREE)
        yield row("drops after RCPT", {"rcpt": (Say(OK), Close())}, 69, 74)
        yield row("resets after RCPT", {"rcpt": (Say(OK), Close("reset"))}, 69, 74)
        yield row("stalls after RCPT", {"rcpt": (Say(OK), Stall())}, 69, 74)
        # What came excludes that anybody got it, whatever is still missing.
        yield row("refuses MAIL and drops", {"mail": (Say(NO), Close())}, 65)
        yield row("refuses MAIL for now and drops", {"mail": (Say(LATER), Close())}, 75)
        yield row("refuses MAIL and stalls", {"mail": (Say(NO), Stall())}, 65)
        yield row("refuses all and drops", {"rcpt": (Say(NO), Close())}, 67)
        yield row("refuses all and stalls", {"rcpt": (Say(NO), Stall())}, 67)
        yield row("421 to the second RCPT", {"rcpt2": (Say(b"421 4.3.2 bye\r\n"), Close())},
                  75, recipients=THREE)
        yield row("drops after the final reply", {"end": (Say(OK), Close())}, 0)
        yield row("resets after the final reply", {"end": (Say(OK), Close("reset"))}, 0)
        yield row("final reply and 421", {"end": OK + b"421 4.4.2 bye\r\n"}, 0)
        yield row("final reply in two lines", {"end": b"250-2.0.0 ok\r\n250 2.0.0 ok\r\n"}, 0)
        yield row("final reply and another", {"end": OK + NO}, (74, 0))
        yield row("a reply too many, and refused at the end",
                  {"mail": OK * 2, "end": b"554 no\r\n"}, 76, (74, 65))
        yield row("a recipient too many, and refused at the end",
                  {"rcpt": OK * 2, "end": b"554 no\r\n"}, 76, (74, 65))
        yield row("all replies in the greeting",
                  {"greeting": b"220 hi\r\n" + OK * 3 + b"354 go\r\n" + OK + b"221 bye\r\n"}, 76)
        yield row("the whole dialogue with EHLO", {"ehlo": OK * 4}, 76)
        yield row("another reply a little later",
                  {"mail": (Say(OK), Pause(0.3), Say(OK))}, 76, (74, 0))
        yield row("QUIT is refused", {"quit": b"500 what\r\n"}, 0)
        yield row("HELO only", {"ehlo": b"500 what\r\n"}, 0)
        yield row("EHLO closes", {"ehlo": (Close(),)}, 69)
        yield row("another EHLO name", {"ehlo1": b"504 5.5.2 who\r\n"}, 0)


def rows_of_chunks() -> Iterator[Row]:
    """CHUNKING: chunks that are not swallowed, and those that come in many."""
    for junk, how in ((b"500 5.5.2 what\r\n", "500"), (OK, "250"), (b"354 go\r\n", "354")):
        for text, what in ((EVIL, "commands"), (PLAIN, "words")):
            for step, said, status in (
                ("mail", NO, 65), ("mail", LATER, 75), ("rcpt", NO, 67), ("rcpt", LATER, 75),
            ):
                if how == "354" and (what, said) != ("words", NO):
                    continue
                # An acceptance of what was refused: who knows what that server did.
                doubt: Statuses = (status, 74) if how == "250" else status
                yield Row(
                    f"{said[:3].decode()} to {step}, the chunk's {what} are run, {how} each",
                    Script({step: said, "junk": junk, "end": junk}, FLIGHTS, swallows=False),
                    doubt,
                    message=text,
                    silent=("EVIL", "VICTIM", "AAAA"),
                )
    yield Row("535, then its chunk's words are run",
              Script({"auth": b"535 5.7.8 no\r\n", "mail": b"530 login\r\n", "junk": OK, "end": OK},
                     (*FLIGHTS, LOGIN), "implicit", swallows=False),
              77, user=True, message=EVIL, silent=("EVIL", "VICTIM"))
    for offers, how in ((FLIGHTS, "BDAT"), (GROUPS, "DATA")):
        yield Row(f"large {how}: well", script({}, offers), 0, message=BIG)
        yield Row(f"large {how}: refused at the end", script({"end": b"554 no\r\n"}, offers), 65,
                  message=BIG)
        for close in ("orderly", "reset"):
            yield Row(f"large {how}: closes within, {close}",
                      script({"body": (Close(close),)}, offers), 69, 74, message=BIG,
                      reached="body")
        yield Row(f"larger {how}: closes within", script({"body": (Close("abruptly"),)}, offers),
                  69, message=BIG * 8, reached="body")
        yield Row(f"larger {how}: 421 within",
                  script({"body": (Say(b"421 4.3.2 bye\r\n"), Pause(0.2), Close("abruptly"))},
                         offers), (69, 75), message=BIG * 8, reached="body")
        yield Row(f"large {how}: lost at the end", script({"end": (Close(),)}, offers), 74,
                  message=BIG)
        yield Row(f"large {how}: 421 within",
                  script({"body": (Say(b"421 4.3.2 bye\r\n"), Close())}, offers), 75,
                  message=BIG, reached="body")
        yield Row(f"large {how}: stops reading",
                  script({"body": (Pause(8), Close("reset"))}, offers), 69,
                  message=BIG * 8, reached="body")
    yield Row("large DATA: 552 within", script({"body": (Say(b"552 no\r\n"), Close())}, GROUPS), 65,
              message=BIG, reached="body")
    yield Row("large DATA: 250 within", script({"body": OK}, GROUPS), 76, (74, 0), message=BIG,
              reached="body")


def rows_of_data() -> Iterator[Row]:
    """DATA and its end."""
    for offers, how in ((SLOW, "steps"), (GROUPS, "groups")):
        yield Row(f"{how}: 250 with the 354", script({"data": b"354 go\r\n" + OK}, offers), 76,
                  (74, 0))
        yield Row(
            f"{how}: 550 with the 354", script({"data": b"354 go\r\n" + NO}, offers), (65, 76)
        )
        yield Row(f"{how}: 452 with the 354", script({"data": b"354 go\r\n" + LATER}, offers),
                  (75, 76))
        yield Row(f"{how}: 354 twice", script({"data": b"354 go\r\n" * 2}, offers), 76, 74)
        yield Row(f"{how}: 354, nobody accepted",
                  script({"rcpt": NO, "data": b"354 go\r\n", "end": b"554 none\r\n"}, offers),
                  67)
        yield Row(f"{how}: 354 and 250, nobody accepted",
                  script({"rcpt": NO, "data": b"354 go\r\n", "end": OK}, offers), 67)
        yield Row(f"{how}: 354, MAIL refused",
                  script({"mail": NO, "data": b"354 go\r\n", "end": OK}, offers), 65)
        yield Row(f"{how}: 354, MAIL refused, recipients accepted",
                  script({"mail": NO, "rcpt": OK, "data": b"354 go\r\n", "end": OK}, offers),
                  65)
        yield Row(f"{how}: 250 to DATA", script({"data": OK}, offers), 76)
        yield Row(f"{how}: 354 to the end", script({"end": (Say(b"354 go\r\n"), Stall())}, offers),
                  74)
        yield Row(f"{how}: 503 to DATA", script({"data": b"503 5.5.1 no\r\n"}, offers), 65)


def rows_of_offers() -> Iterator[Row]:
    """What EHLO says."""
    for how, offers in (("steps", SLOW), ("flight", FLIGHTS)):
        small = (*offers, "SIZE 100")
        yield Row(f"{how}: SIZE too small", script({}, small), 65, verdicts=("unsendable",),
                  silent=("MAIL",))
        sizes = ("SIZE", "SIZE 0", "SIZE 100000", "SIZE abc", "SIZE -1", "SIZE 1e3",
                 "SIZE " + "9" * 30, "SIZE \u0661")
        for size in sizes if offers else sizes[:2]:
            yield Row(f"{how}: {size[:20]!a}", script({}, (*offers, size)), 0)
        yield Row(f"{how}: no SMTPUTF8, a foreign recipient", script({}, offers), 65,
                  recipients=("\u00fc@example.org",), verdicts=("unsendable",),
                  silent=("MAIL",))
        yield Row(f"{how}: no SMTPUTF8, a foreign sender", script({}, offers), 65,
                  sender="\u00fc@example.org", verdicts=("unsendable",), silent=("MAIL",))
        yield Row(f"{how}: SMTPUTF8", script({}, (*offers, "SMTPUTF8", "8BITMIME")), 0,
                  recipients=("\u00fc@example.org",))
        yield Row(f"{how}: odd keywords",
                  script({}, (*offers, "", "-", "=", "AUTH", "AUTH=", "X" * 2000, "\u202eSIZE 1",
                              "\x1b[2J", "PIPELINING" * 50)), 0)
        yield Row(f"{how}: the same keyword in 200 lines", script({}, offers + ("DSN",) * 200), 0)
    many = tuple(f"X-{number} " + "X" * 500 for number in range(200))
    yield Row("an EHLO of 100 KB", script({}, many), (0, 76), watched=True)


# -- login


def _plain(text: bytes) -> bytes:
    return base64.b64encode(text)


def rows_of_logins() -> Iterator[Row]:
    """AUTH, under TLS."""
    refusal = b"535 5.7.8 Wrong\r\n"

    def row(
        name: str, steps: Steps, status: Statuses, whole: Statuses | None = None,
        auth: str = LOGIN, offers: tuple[str, ...] = FLIGHTS, **more: object,
    ) -> Row:
        shown = (*offers, auth) if auth else offers
        made = Row(f"login: {name}", script(steps, shown, "implicit"), status, whole, user=True)
        return replace(made, **more)  # type: ignore[arg-type]

    yield row("PLAIN", {}, 0)
    yield row("LOGIN", {}, 0, auth="AUTH LOGIN")
    yield row("AUTH=", {}, 0, auth="AUTH=PLAIN LOGIN")
    # Who is let in without a login may still hand in: only the final reply counts.
    for offers, how in ((SLOW, "steps"), (GROUPS, "groups"), (FLIGHTS, "flight")):
        yield row(f"535, then 250s ({how})", {"auth": refusal}, (77, 0), offers=offers)
        yield row(f"535, then 530s ({how})",
                  {"auth": refusal, "mail": b"530 5.7.0 no\r\n", "rcpt": b"530 5.7.0 no\r\n",
                   "end": b"530 5.7.0 no\r\n"}, 77, offers=offers)
        # chasquid's third error, where the envelope rides behind AUTH, gets a 421.
        yield row(f"535, then 421 ({how})",
                  {"auth": refusal, "mail": b"550 5.7.9 no\r\n",
                   "rcpt": (Say(b"421 4.5.0 Too many errors, bye\r\n"), Close())},
                  77, offers=offers)
        yield row(f"535, then closes ({how})", {"auth": (Say(refusal), Close())}, 77, offers=offers)
        yield row(f"535, then stalls ({how})", {"auth": (Say(refusal), Stall())}, 77, offers=offers)
        yield row(f"535, then garbage ({how})",
                  {"auth": refusal, "mail": b"abc\r\n"}, (77, 76), offers=offers)
        yield row(f"235, then 530 ({how})", {"mail": b"530 5.7.0 no\r\n"}, 77, offers=offers)
    yield row("535 to LOGIN", {"response2": refusal}, 77, auth="AUTH LOGIN")
    yield row("535 to LOGIN's user", {"response1": refusal}, 77, auth="AUTH LOGIN")
    for code in (b"432", b"454", b"421", b"450"):
        yield row(f"{code.decode()}", {"auth": code + b" 4.7.0 later\r\n"}, 75)
        yield row(f"{code.decode()} to LOGIN", {"response": code + b" 4.7.0 later\r\n"}, 75,
                  auth="AUTH LOGIN")
    for code in (b"534", b"538", b"504", b"550"):
        yield row(f"{code.decode()}", {"auth": code + b" 5.7.0 no\r\n"}, 77)
    yield row("PLAIN 504, then LOGIN", {"auth1": b"504 5.7.4 no\r\n"}, 0)
    yield row("535 is not followed by LOGIN", {"auth1": refusal}, (77, 0), silent=("AUTH LOGIN",))
    for auth, how in ((LOGIN, "PLAIN"), *((f"AUTH {name}", name) for name in STEPPED)):
        loops = {"auth": b"334 VXNlcm5hbWU6\r\n", "response": b"334 UGFzc3dvcmQ6\r\n"}
        yield row(f"{how}: 334 for ever", loops, (77, 76), auth=auth)
        challenges = {
            "no base64": b"334 !!!\r\n", "empty": b"334 \r\n", "bare": b"334\r\n",
            "cut base64": b"334 VXN\r\n", "8-bit": b"334 \xff\xfe\r\n",
            "long": b"334 " + b"QUFB" * 1500 + b"\r\n",
            "with escapes": b"334 " + _plain(b"\x1b[2J\0\r\n") + b"\r\n",
            "of two lines": b"334-VXNl\r\n334 cm5h\r\n",
        }
        for name, challenge in challenges.items():
            steps = {"auth": challenge, "response": b"535 5.7.8 no\r\n"}
            yield row(f"{how}: a challenge {name}", steps, (77, 76), auth=auth)
        yield row(f"{how}: cancelled, 250", {"auth": b"334 !\r\n", "response": OK}, (77, 76, 0),
                  auth=auth)
    yield row("not offered", {}, 77, auth="", silent=("AUTH", "MAIL"))
    yield row("only unknown mechanisms", {}, 77, auth="AUTH X-NEW GSSAPI", silent=("AUTH", "MAIL"))
    yield row("no mechanism at all", {}, 77, auth="AUTH", silent=("AUTH", "MAIL"))
    yield row("odd mechanisms", {}, 77, auth="AUTH \x1b[2J plain\u202e (kill-emacs)",
              silent=("MAIL",))
    yield row("closes", {"auth": (Close(),)}, 69)
    yield row("cut", {"auth": (Close("cut"),)}, 69)
    echo = b"%LINE% and Tr0ub4dor-horse and " + _plain(b"Tr0ub4dor-horse")
    for code, status in ((b"535 5.7.8 ", 77), (b"454 4.7.0 ", 75), (b"504 5.5.4 ", 77)):
        yield row(f"{code[:3].decode()} with the secret",
                  {"auth": (Echo(code + echo + b"\r\n"),)}, status)
    for step in ("response1", "response2"):
        yield row(f"LOGIN: 535 with the secret at {step}",
                  {step: (Echo(b"535 5.7.8 " + echo + b"\r\n"),)}, 77, auth="AUTH LOGIN")
    # It is one prompt too many; that this server then takes "*" for a login convinces nobody.
    yield row("LOGIN: a challenge with the secret",
              {"response1": b"334 " + _plain(b"Tr0ub4dor-horse") + b"\r\n"}, 77,
              auth="AUTH LOGIN")
    whole = _plain(b"\0tester\0Tr0ub4dor-horse")
    for step, status in (("mail", 65), ("rcpt", 67), ("end", 65)):
        yield row(f"the secret in the refusal of {step}",
                  {step: b"550 " + whole + b" " + echo.replace(b"%LINE%", b"") + b"\r\n"},
                  status)
    yield row("the secret in the final reply", {"end": b"250 ok " + whole + b" " + echo + b"\r\n"},
              0)
    yield row("the secret in no reply at all", {"mail": echo + whole + b"\r\n"}, 76, 74)
    yield row("the secret in a long line",
              {"mail": b"550 " + b"X" * 985 + whole + b"\r\n"}, 65)
    yield row("the secret at the edge of an excerpt",
              {"mail": b"X" * 50 + b"Tr0ub4dor-horse" * 3 + b"\r\n"}, 76, 74)
    yield row("the secret in a line without end",
              {"mail": (Say(b"Tr0ub4dor-horse" * 1000), Stall())}, 76, 74)


# -- TLS


def rows_of_tls() -> Iterator[Row]:
    """STARTTLS, certificates, and TLS that ends without a word."""

    def row(name: str, steps: Steps, status: Statuses, whole: Statuses | None = None,
            tls: str = "starttls", offers: tuple[str, ...] = (*FLIGHTS, LOGIN),
            **more: object) -> Row:
        made = Row(f"{tls}: {name}", script(steps, offers, tls), status, whole, user=True)
        return replace(made, **more)  # type: ignore[arg-type]

    secret = ("AUTH", "MAIL", "RCPT")
    for tls in ("implicit", "starttls"):
        yield row("all is well", {}, 0, tls=tls)
        yield row("all octet by octet", {}, 0, tls=tls,
                  script=script({}, (*FLIGHTS, LOGIN), tls, single=True))
        yield row("TLS 1.2", {}, 0, tls=tls, certificate="TLS 1.2")
        for certificate in ("wrong name", "name only in CN", "expired", "untrusted", "self-signed"):
            yield row(f"certificate {certificate}", {}, 77, tls=tls, certificate=certificate,
                      silent=secret)
        for name, doing, status in (
            ("an alert", (Say(b"\x15\x03\x03\x00\x02\x02\x28"),), 77),
            ("plain text", (Say(b"220 mx.test ESMTP\r\n"),), 77),
            ("Lisp", (Say(b"(kill-emacs)\r\n" * 9),), 77),
            ("zeros", (Say(b"\0" * 5000),), 77),
            ("HTTP", (Say(b"HTTP/1.1 400 Bad Request\r\n\r\n"),), 77),
            ("a flood", (Flood(b"\x16\x03\x03\x40\x00" + b"\2" * 16384, 6000),), 77),
            ("closes", (Close(),), (69, 77)),
            ("resets", (Close("reset"),), (69, 77)),
            ("stalls", (Stall(),), 69),
            ("drips", (Say(b"\x16\x03\x03\x40\x00" + b"\2" * 60, single=True, pause=0.25),),
             # Behind a 220 it may look as if somebody had put it there.
             69 if tls == "implicit" else (69, 77)),
        ):
            yield row(f"for a handshake {name}", {"handshake": doing}, status, tls=tls,
                      silent=secret, watched=name == "a flood")
        yield row("cut before the greeting" if tls == "implicit" else "cut before EHLO",
                  {"greeting" if tls == "implicit" else "ehlo2": (Close("cut"),)}, 69,
                  tls=tls)
        yield row("cut after MAIL", {"mail": (Say(OK), Close("cut"))}, 69, 74, tls=tls)
        yield row("cut instead of the final reply", {"end": (Close("cut"),)}, 74, tls=tls)
        yield row("cut in the final reply", {"end": (Say(b"250 2.0"), Close("cut"))}, 74, tls=tls)
        yield row("cut before the final LF", {"end": (Say(b"250 ok\r"), Close("cut"))}, 74, tls=tls)
        yield row("cut after the final reply", {"end": (Say(OK), Close("cut"))}, 0, tls=tls)
        yield row("reset after the final reply", {"end": (Say(OK), Close("reset"))}, 0, tls=tls)
        yield row("cut at QUIT", {"quit": (Close("cut"),)}, 0, tls=tls)
        yield row("reset at QUIT", {"quit": (Close("reset"),)}, 0, tls=tls)
    clear = ("AUTH", "MAIL", "RCPT", "DATA")
    yield row(
        "not offered", {"ehlo1": b"250-mx\r\n250 AUTH PLAIN\r\n"}, 77, silent=(*clear, "STARTTLS")
    )
    yield row("EHLO unknown", {"ehlo": b"500 what\r\n"}, (77, 65), silent=clear)
    yield row("EHLO refused", {"ehlo": b"550 what\r\n"}, (65, 69, 77), silent=clear)
    yield row("refused 454", {"starttls": b"454 4.7.0 later\r\n"}, 75, silent=clear)
    yield row("refused 421", {"starttls": b"421 4.7.0 bye\r\n"}, 75, silent=clear)
    for code in (b"501", b"502", b"554"):
        yield row(f"refused {code.decode()}", {"starttls": code + b" no\r\n"}, 77, silent=clear)
    yield row("answered 250", {"starttls": b"250 ok\r\n"}, (76, 77, 0), silent=())
    yield row("answered 334", {"starttls": (Say(b"334 VXNlcm5hbWU6\r\n"), Stall())}, (76, 77),
              silent=clear)
    for name, text in {
        "a reply": b"250-mx\r\n250 AUTH PLAIN\r\n", "half a reply": b"250-mx\r\n",
        "half a line": b"250", "an octet": b"x", "a line end": b"\r\n",
    }.items():
        yield row(f"{name} behind the 220", {"starttls": b"220 go\r\n" + text}, (77, 76),
                  silent=clear)
    yield row("a reply a little behind the 220",
              {"starttls": (Say(b"220 go\r\n"), Say(b"250 AUTH PLAIN\r\n", single=True))},
              (77, 76, 69), silent=clear)
    yield row("a reply before the 220", {"ehlo1": b"250-mx\r\n250 STARTTLS\r\n220 go\r\n"},
              (76, 77, 69), silent=clear)
    # What was said in clear is forgotten.
    yield row("AUTH only before", {"ehlo1": b"250-mx\r\n250-AUTH PLAIN\r\n250 STARTTLS\r\n"}, 77,
              offers=FLIGHTS, silent=("AUTH", "MAIL"))
    yield row("AUTH LOGIN before, PLAIN after",
              {"ehlo1": b"250-mx\r\n250-AUTH LOGIN\r\n250 STARTTLS\r\n"}, 0,
              offers=("AUTH PLAIN",), silent=("AUTH LOGIN",))
    yield row("SIZE only before", {"ehlo1": b"250-mx\r\n250-SIZE 10\r\n250 STARTTLS\r\n"}, 0,
              silent=("SIZE=",))
    yield row("SIZE only after", {}, 65, offers=("SIZE 10", LOGIN), silent=("MAIL",))
    yield row("CHUNKING only before",
              {"ehlo1": b"250-mx\r\n250-CHUNKING\r\n250-PIPELINING\r\n250 STARTTLS\r\n"}, 0,
              offers=(LOGIN,), silent=("BDAT",))
    yield row("offered again under TLS", {"ehlo2": b"250-mx\r\n250-STARTTLS\r\n250 AUTH PLAIN\r\n"},
              0)
    yield row("EHLO refused under TLS", {"ehlo2": b"550 no\r\n"}, (65, 69), silent=clear)
    yield row("greeted again under TLS", {"ehlo2": b"220 mx\r\n250 mx\r\n"}, 76, silent=clear)
    yield row("implicit wanted, clear spoken", {"handshake": (Say(b"220 mx\r\n"),)}, 77,
              tls="implicit", says="STARTTLS")


# fmt: on
def all_rows() -> list[Row]:
    """Every row, each name once."""
    found: list[Row] = []
    for table in (
        rows_of_steps,
        rows_of_flights,
        rows_of_chunks,
        rows_of_data,
        rows_of_offers,
        rows_of_logins,
        rows_of_tls,
    ):
        found += table()
    return found


ROWS = all_rows()

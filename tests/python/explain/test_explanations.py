"""What replies mean: a sentence for everything that is registered, none that is invented."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hostile.server import Script, Server
from hypothesis import given
from hypothesis import strategies as st

from smtps.explain import book, replies
from smtps.explain.replies import explained
from smtps.protocol.commands import TYPED, Verb
from smtps.protocol.outcome import Verdict
from smtps.rpc import codec
from smtps.rpc.codec import Keyword, Symbol, Value
from smtps.sandbox.extensions import EXTENSIONS
from smtps.sandbox.machine import DOCUMENTED_IMPLICIT, DOCUMENTED_STARTTLS

ELISP = Path(__file__).parents[3] / "elisp"
LINES = book.FILE.read_text("utf-8").splitlines()

RFC_5321 = (
    211, 214, 220, 221, 250, 251, 252, 354, 421, 450, 451, 452, 455, 500, 501, 502, 503, 504,
    550, 551, 552, 553, 554, 555,
)  # fmt: skip
"""The codes of RFC 5321 4.2.3."""
RFC_4954 = (235, 334, 432, 454, 500, 501, 530, 534, 535, 538)
RFC_7504 = (521, 556)

REGISTERED = {0: 0, 1: 10, 2: 4, 3: 6, 4: 7, 5: 6, 6: 10, 7: 30}
"""Subject to its last detail, in IANA's registry of enhanced codes of 2024-12-06."""

KEYWORDS = (
    "8BITMIME", "ATRN", "AUTH", "BINARYMIME", "BURL", "CHECKPOINT", "CHUNKING", "CONNEG",
    "CONPERM", "DELIVERBY", "DSN", "ENHANCEDSTATUSCODES", "ETRN", "EXPN", "FUTURERELEASE",
    "HELP", "LIMITS", "MT-PRIORITY", "MTRK", "NO-SOLICITING", "ONEX", "PIPELINING", "REQUIRETLS",
    "RRVS", "SAML", "SEND", "SIZE", "SMTPUTF8", "SOML", "STARTTLS", "SUBMITTER", "TURN",
    "UTF8SMTP", "VERB", "VRFY",
)  # fmt: skip
"""IANA's registry of SMTP Service Extensions, of 2024-04-25."""

VERBS = [verb.name.lower().replace("_", "-") for verb in Verb]

SAID = (
    "550 5.1.1 <x@y.z>: Recipient address rejected: User unknown in local recipient table",
    "535-5.7.8 Username and Password not accepted. Learn more at\n"
    "535 5.7.8  https://support.google.com/mail/?p=BadCredentials a1b2.3 - gsmtp",
    "535 5.7.139 Authentication unsuccessful, basic authentication is disabled. [PROD.OUTLOOK.COM]",
    "534-5.7.9 Application-specific password required.\n534 5.7.9 x - gsmtp",
    "535 5.7.8 Username and Password not accepted.",
    "454 4.7.1 <x@y.z>: Relay access denied",
    "450 4.2.0 <x@y.z>: Recipient address rejected: GREYLISTED, see x",
    "535 Incorrect authentication data",
    "535 5.7.8 Error: authentication failed",
    "250-mx.example.org\n250-SIZE 1000\n250 HELP",
    "250 2.1.5 Ok", "354 Go ahead", "421", "5.7.26", "4.99.99 x", "550 4.1.1 of another class",
    "299 x", "550  5.1.1 two blanks", "550-5.01.001 zeros", "550\t5.1.1", "99 x", "", "Ok",
    "550 5.1.1\x00\x1b[31m", "550 \u0130\u212a RELAY NOT PERMITTED", " 550 x",
)  # fmt: skip
"""Replies that both languages explain alike."""

HOSTS = (None, "smtp.gmail.com", "SMTP.Office365.com.", "mail.gmx.net", "notgmail.com", "x")


def test_every_code_has_a_sentence() -> None:
    for code in {*RFC_5321, *RFC_4954, *RFC_7504}:
        found = explained(f"{code} x")
        assert found is not None
        assert any(line.startswith(f"{code}: ") for line in found.lines), code


def test_every_enhanced_code_has_a_sentence() -> None:
    listed = {f"{s}.{d}" for s, last in REGISTERED.items() for d in range(last + 1)}
    assert {form.key for form in book.forms("enhanced")} == listed


def test_every_keyword_has_a_sentence() -> None:
    offers = (DOCUMENTED_IMPLICIT, DOCUMENTED_STARTTLS)
    offered = {word for offer in offers for tls in (True, False) for word in offer.keywords(tls)}
    for keyword in {*KEYWORDS, *EXTENSIONS, *offered}:
        assert replies.keyword(keyword), keyword


def test_every_verb_has_a_step_or_a_sentence() -> None:
    told = {form.key for form in book.forms("verb")}
    assert {*TYPED} <= told
    steps = [verb for form in book.forms("step") for verb in form.words("verbs")]
    assert len(steps) == len(set(steps))
    assert {*steps} <= {*VERBS}


def test_every_form_is_whole() -> None:
    providers = {form.key for form in book.forms("provider")}
    steps = {form.key for form in book.forms("step")}
    menders = {form.key for form in book.forms("mender")}
    assert {form.key for form in book.forms("failure")} <= {verdict.value for verdict in Verdict}
    for name in ("class", "code", "enhanced", "keyword", "verb", "reply"):
        for form in book.forms(name):
            assert len(form.means) <= 110, form
            assert re.fullmatch(r"(RFC [0-9]+.*|.+, 20[0-9]{2}(-[0-9]{2}){0,2})", form.source), form
            assert {*form.words("mend")} <= menders, form
            assert form.text("at") in {None, *steps}, form
            if name in ("class", "code", "enhanced", "reply"):
                assert form.means.endswith("."), form
            assert len(form.text("next") or "") <= 110, form
    for form in book.forms("reply"):
        assert form.key in providers
        assert form.words("mend"), form
        words = form.words("words")
        assert words or form.text("at"), form
        assert words == [word.lower() for word in words]
        # What is anybody's words must be words.
        (provider,) = (p for p in book.forms("provider") if p.key == form.key)
        assert words or provider.words("hosts"), form
    for key in "45":
        for form in (*book.forms("code"), *book.forms("enhanced")):
            if form.key.startswith(key) and "." not in form.key:
                assert form.words("mend"), form


def test_the_file_is_of_the_wires_form() -> None:
    for line in LINES:
        assert codec.dumps(codec.loads(line)) == line


def test_no_form_hides_another() -> None:
    keys = [(n, f.key, f.text("at")) for n in ("code", "enhanced", "keyword", "verb")
            for f in book.forms(n)]  # fmt: skip
    assert len(keys) == len(set(keys))
    # Each known reply is found by its own words.
    for form in book.forms("reply"):
        (provider,) = (p for p in book.forms("provider") if p.key == form.key)
        hosts = provider.words("hosts")
        for code in form.words("codes") or ["550"]:
            text = f"{code} {' '.join(form.words('words'))}"
            verb = {"auth": "auth"}.get(form.text("at") or "")
            found = explained(text, verb, hosts[0] if hosts else None)
            assert found is not None
            assert f": {form.means} " in found.short, text


GOOGLES = "535 5.7.8 Username and Password not accepted."
APP_PASSWORD = "Gmail takes no account password here"


@pytest.mark.parametrize(
    ("text", "host", "is_googles"),
    [
        (GOOGLES, "smtp.gmail.com", True),
        (GOOGLES, "smtp.GMAIL.com.", True),
        (GOOGLES, "mail.example.org", False),
        (GOOGLES, "gmail.com.example.org", False),
        (GOOGLES, "notgmail.com", False),
        (GOOGLES, None, False),
        # Its mark is unmistakable, whoever passes it on.
        (GOOGLES + "\n535 5.7.8 x - gsmtp", "relay.example.org", True),
        ("535 5.7.8 Some other text", "smtp.gmail.com", False),
        ("454 4.7.8 Username and Password not accepted.", "smtp.gmail.com", False),
    ],
)
def test_a_provider_is_known_by_host_and_text(text: str, host: str, is_googles: bool) -> None:
    found = explained(text, "auth", host)
    assert found is not None
    assert (APP_PASSWORD in found.short) == is_googles


def test_what_a_step_adds() -> None:
    short = {
        verb: found.short
        for verb in ("greeting", "mail", "rcpt", "data", "bdat-last", None)
        if (found := explained("554 x", verb))
    }
    assert len({*short.values()}) == 4
    assert short["mail"] == short[None]


def test_what_is_refused_for_now_needs_only_patience() -> None:
    found = explained("450 4.2.1 x", "rcpt")
    assert found is not None
    assert str(found.next).startswith("Wait, then try again; ")
    accepted = explained("250 2.0.0 x", "bdat-last")
    assert accepted is not None
    assert accepted.next is None
    assert "can mend it" not in accepted.short


codes = st.from_regex(r"[2-5][0-9]{2}[ -]?([245]\.[0-9]{1,3}\.[0-9]{1,3})? ?", fullmatch=True)


@given(
    st.builds("".join, st.lists(st.one_of(codes, st.text(max_size=20), st.just("\n")), max_size=4)),
    st.sampled_from([None, *VERBS, "nonsense"]),
    st.one_of(st.none(), st.text(max_size=20), st.sampled_from(HOSTS)),
)
def test_any_text_is_explained_or_not_and_harmless(
    text: str, verb: str | None, host: str | None
) -> None:
    found = explained(text, verb, host)
    if found is not None:
        assert re.match(r"[0-9.]+( [0-9.]+)?: [A-Z]", found.short)
        assert len(found.short) <= 180
        for line in (found.short, *found.lines):
            assert line.isprintable()


@pytest.mark.parametrize("refused", [False, True])
def test_a_mail_is_sent_without_them(tmp_path: Path, refused: bool) -> None:
    """No mail waits until they are read, not even one that is refused."""
    steps = {"rcpt": b"550 5.1.1 x\r\n"} if refused else {}
    with Server(Script(steps=steps)) as server:
        done = subprocess.run(
            [sys.executable, "-X", "importtime", "-I", str(book.FILE.parents[2]), "send",
             "--host", "127.0.0.1", "--port", str(server.port), "--tls", "none",
             "--outbox", str(tmp_path), "-f", "a@b.c", "d@e.f"],
            input="From: a@b.c\n\nText\n", capture_output=True, encoding="utf-8", timeout=60,
            check=False,
        )  # fmt: skip
    assert done.returncode == (67 if refused else 0)
    assert "smtps.protocol.transaction" in done.stderr
    assert "smtps.explain" not in done.stderr


ANSWERS = """
(progn
  (require 'smtps-explain)
  (set-language-environment "UTF-8")
  (maphash (lambda (name forms)
             (dolist (form forms)
               (princ (concat (smtps-wire-print (cons name form)) "\n"))))
           (progn (smtps-explain--forms 'code) smtps-explain--book))
  (princ "--\n")
  (let (line)
    (while (setq line (ignore-errors (read-string "")))
      (pcase-let* ((`(,text ,verb ,host) (smtps-wire-read line))
                   (found (smtps-explain-reply text :step verb :host host)))
        (princ (concat (smtps-wire-print
                        (and found (mapcar (lambda (key) (plist-get found key))
                                           '(:short :long :next))))
                       "\n"))))))
"""


def properties(form: book.Form) -> list[Value]:
    """Return FORM's properties as a list of the wire's."""
    return [part for name, value in form.facts.items() for part in (Keyword(name), value)]


def test_emacs_explains_the_same() -> None:
    """One file, two readers."""
    cases = [(text, verb, host) for text in SAID for verb in (None, "auth", "rcpt")
             for host in HOSTS]  # fmt: skip
    cases += [
        (f"{code} {code[0]}.{subject}.{detail} x", verb, None)
        for code in ("250", "450", "550")
        for subject, detail in ((1, 0), (1, 1), (7, 8), (9, 9))
        for verb in VERBS
    ]
    done = subprocess.run(
        ["emacs", "-Q", "--batch", "-L", str(ELISP), "--eval", ANSWERS],
        input="".join(
            codec.dumps([text, Symbol(verb) if verb else None, host]) + "\n"
            for text, verb, host in cases
        ),
        capture_output=True, encoding="utf-8", timeout=60, check=True,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
    )  # fmt: skip
    read, _, answers = done.stdout.partition("--\n")
    names = dict.fromkeys(line[1:].split(" ")[0] for line in LINES)
    ours = [
        codec.dumps([Symbol(name), form.key, *properties(form)])
        for name in names
        for form in book.forms(name)
    ]
    assert read.splitlines() == ours
    told = [codec.loads(line) for line in answers.splitlines()]
    assert len(told) == len(cases)
    for case, theirs in zip(cases, told, strict=True):
        found = explained(*case)
        mine: Value = [found.short, "\n".join(found.lines), found.next or []] if found else []
        assert theirs == mine, case

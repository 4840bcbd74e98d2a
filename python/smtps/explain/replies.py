"""What a reply means: by its code, its enhanced code, its step, and who says it.

What is returned has no word of the server's in it, and so can be shown as it is.  Emacs does
the same by the same file, in smtps-explain.el.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable
from typing import NamedTuple

from smtps.explain.book import Form, forms

_HEAD = re.compile(
    r"(?:([2-5][0-9][0-9])(?:[ -]|$))?"
    r"(?:(([245])\.([0-9]{1,3})\.([0-9]{1,3}))(?: |$))?"
)
_BLANKS = re.compile("[ \t\r\n]+")
_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


class Explanation(NamedTuple):
    """What a reply means."""

    short: str
    """One sentence or two, for a line."""
    lines: tuple[str, ...]
    """Everything that is known, a line each: the codes, who can mend it, what to do next."""
    next: str | None
    """What to do next, in a sentence; None if nothing failed."""


def explained(text: str, verb: str | None = None, host: str | None = None) -> Explanation | None:
    """Return what the reply TEXT, all its lines, means; None if it is no reply.

    A code or an enhanced code alone will do.  VERB is what it answers, as `Verb` has it in
    lower case with hyphens, and HOST who said it, where that is known.  Sources: RFC 5321
    4.2, RFC 3463, and for each sentence its own.
    """
    first, *others = (line.strip(" \t\r") for line in text.split("\n"))
    head = _HEAD.match(first)
    assert head is not None
    code, enhanced, category = head[1], head[2], head[3]
    if enhanced and code and code[0] != category:
        enhanced = None
    if not (code or enhanced):
        return None
    step = next((form for form in forms("step") if verb in form.words("verbs")), None)
    by_code = _by_code(code, step)
    by_enhanced = _by_enhanced(f"{int(head[4])}.{int(head[5])}") if enhanced else None
    said = _BLANKS.sub(" ", " ".join([first, *(_unheaded(line) for line in others)]))
    known = _known(said.translate(_LOWER), code, step, host)
    by_class = forms("class")[int((code or category)[0]) - 2]
    precise = by_enhanced is not None and "vague" not in by_enhanced.facts
    best = known or (by_enhanced if precise else None) or by_code or by_enhanced or by_class
    failed = by_class.key in "45"
    menders = [form for name in best.words("mend") if (form := _one("mender", name))]
    who = _who(menders) if failed and menders else None
    then = _next(best, by_class, menders) if failed else None
    name = " ".join(part for part in (code, enhanced) if part)
    lines = [
        f"This answers {step.text('name')}." if step else None,
        _sourced(known),
        _line(code, by_code),
        _line(f"{by_class.key}yz", by_class) if failed else None,
        _line(enhanced, by_enhanced),
        who,
        f"Next: {then}" if then else None,
    ]
    short = f"{name}: {best.means}" + (f" {who}" if who else "")
    return Explanation(short, tuple(line for line in lines if line), then)


def next_after(verdict: str) -> str | None:
    """Return what to do next after VERDICT, where no reply tells more; None if it says so."""
    form = _one("failure", verdict)
    return form.text("next") if form else None


def keyword(name: str) -> str | None:
    """Return what a server says with the EHLO keyword NAME, or None if it is unknown."""
    form = _one("keyword", name.upper())
    return f"{form.means} ({form.text('source')})" if form else None


def _one(name: str, key: str) -> Form | None:
    return next((form for form in forms(name) if form.key == key), None)


def _by_code(code: str | None, step: Form | None) -> Form | None:
    found = [form for form in forms("code") if form.key == code]
    at_step = [form for form in found if step and form.text("at") == step.key]
    return next(iter(at_step + [form for form in found if "at" not in form.facts]), None)


def _by_enhanced(key: str) -> Form | None:
    # What is in no registry is at least about its subject.
    return _one("enhanced", key) or _one("enhanced", key.split(".")[0] + ".0")


def _known(said: str, code: str | None, step: Form | None, host: str | None) -> Form | None:
    """Return what is known of the words SAID, if they are a provider's, or anybody's."""
    providers = {form.key for form in forms("provider") if _speaks(form, said, host)}
    for form in forms("reply"):
        codes, at = form.words("codes"), form.text("at")
        if (
            form.key in providers
            and (not codes or code in codes)
            and (at is None or step is None or at == step.key)
            and all(words in said for words in form.words("words"))
        ):
            return form
    return None


def _speaks(provider: Form, said: str, host: str | None) -> bool:
    """True if it is PROVIDER that SAID this: by HOST, by a mark, or since it may be any."""
    hosts = provider.words("hosts")
    name = (host or "").translate(_LOWER).rstrip(".")
    return (
        not hosts
        or any(name == ours or name.endswith("." + ours) for ours in hosts)
        or any(mark in said for mark in provider.words("marks"))
    )


def _unheaded(line: str) -> str:
    head = _HEAD.match(line)
    return line[head.end() :] if head else line


def _who(menders: Iterable[Form]) -> str:
    names = " or ".join(str(form.text("name")) for form in menders)
    return f"{names[0].upper()}{names[1:]} can mend it."


def _next(best: Form, by_class: Form, menders: list[Form]) -> str:
    # What is refused for now mends itself, as a rule.
    general = by_class if by_class.key == "4" or not menders else menders[0]
    return str(best.text("next") or general.text("next"))


def _sourced(form: Form | None) -> str | None:
    return f"{form.means} ({form.source})" if form else None


def _line(name: str | None, form: Form | None) -> str | None:
    return f"{name}: {_sourced(form)}" if name and form else None

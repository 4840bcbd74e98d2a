"""Whether a server can be reached, trusted, greeted and logged in to, without sending a mail."""

from __future__ import annotations

from typing import NamedTuple

from smtps.client.account import Account
from smtps.client.delivery import Delivery
from smtps.client.dialling import Tell
from smtps.client.link import Link
from smtps.client.login import Ask
from smtps.net.tls import Established
from smtps.protocol.ehlo import Extensions
from smtps.protocol.outcome import Outcome, Verdict
from smtps.protocol.visible import visible

WORKS, FAILS = "✓", "✗"
"""What a line on a step begins with."""


class Checked(NamedTuple):
    """What was found; OUTCOME is None if all went well."""

    outcome: Outcome | None
    tls: Established | None
    offered: Extensions
    login: str | None
    """The mechanism that was accepted."""


async def check(delivery: Delivery, ask: Ask | None, tell: Tell) -> Checked:
    """Connect by DELIVERY, log in if its account has a user, and tell what works."""
    from smtps.explain import replies

    link, outcome = await delivery.connected(ask)
    offered = link.submission.connection.extensions if link else Extensions()
    mechanism = link.submission.connection.mechanism if link and link.authenticated else None
    if link is not None:
        for keyword, words in offered.items():
            meaning = replies.keyword(keyword)
            said = visible(" ".join([keyword, *words]))
            tell(f"- Offers {said}: {meaning}" if meaning else f"- Offers {said}")
        for warning in link.warnings:
            tell(f"! {warning}")
    for worked, step in _steps(delivery.account, link, mechanism, outcome):
        tell(f"{WORKS if worked else FAILS} {step}")
    if link is not None and not mechanism and outcome is None:
        tell("- Login: none was asked for (--user).")
    then = _next(delivery.account, outcome) if outcome else None
    if then:
        tell(f"- Next: {then}")
    return Checked(outcome, link.established if link else None, offered, mechanism)


def _next(account: Account, outcome: Outcome) -> str | None:
    """Return what to do next, in a sentence, where OUTCOME's text does not say so."""
    from smtps.explain import replies

    fate = outcome.fates[0]
    told = replies.explained(str(fate.reply), host=account.host) if fate.reply else None
    return told.next if told else replies.next_after(fate.verdict.value)


def _steps(
    account: Account, link: Link | None, mechanism: str | None, outcome: Outcome | None
) -> list[tuple[bool, str]]:
    """Return each step, up to the one that failed, in words, and whether it worked."""
    connected = (True, f"Connection: to {account.host}:{account.port}.")
    if link is None:
        assert outcome is not None
        if outcome.verdict is Verdict.UNREACHED:
            return [(False, f"Connection: {outcome.text}")]
        what = "TLS" if outcome.verdict is Verdict.LOGIN else "Greeting"
        return [connected, (False, f"{what}: {outcome.text}")]
    steps = [connected]
    if link.established is not None:
        steps.append((True, f"TLS: {link.established.version}, and the server is trusted."))
    count = len(link.submission.connection.extensions)
    steps.append((True, f"EHLO: it offers {count} extension{'' if count == 1 else 's'}."))
    if mechanism:
        steps.append((True, f"Login: {account.user or 'anonymous'} was accepted by {mechanism}."))
    elif outcome is not None:
        steps.append((False, f"Login: {outcome.text}"))
    return steps
